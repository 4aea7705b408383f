"""Every setting of a small space, trained once: lesson 11's races of search strategies and its optimism gap.

    python benchmarks/tuning.py            # about six processor minutes; what is finished is kept in build/tuning
    python benchmarks/tuning.py --report   # only write docs/lessons/11_*.csv from it

`11_grid.csv` has all settings of iALS that the lesson's space holds: NDCG@10 on the validation of `warm` after each
rung, and the processor seconds until then. With it any search can be run again as often as one likes: it looks a
result up and is charged its seconds. `11_races.csv` is what 30 such runs of each strategy have found by a budget.
`11_people.csv` has the NDCG@10 of every person, on validation and on the test, of `KEPT` of these settings in a random
order, and of `REPEATS` seeds of one setting. There the test is never used to choose: the lesson measures with it by how
much validation flatters what was chosen on it. An NDCG@10 is kept as a whole number of 255ths, two hexadecimal digits.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import time
from typing import Any

import numpy as np
import optuna
import pandas as pd
import tables

from course.lessons import definitions
from recfuse_lib.data import movielens, splits
from recfuse_lib.data.splits import Fold
from recfuse_lib.pretrained import store

LESSON = definitions("11_tune_and_ensemble")
SPACE, RUNGS = LESSON.SPACE, LESSON.RUNGS
RUNS = tables.REPOSITORY / "build" / "tuning"
COMMAND = "python benchmarks/tuning.py"
REPEATS = 32
OF_SEEDS = {"dimension": 24, "unobserved": 1.0, "l2": 0.003, "half_life": 10.0, "low_rating": 0.3}
BUDGETS = (5, 10, 20, 40)
RACES = 30
STRATEGIES = ("random", "random, pruned", "TPE", "TPE, pruned")
COLUMNS = [f"ndcg {rung}" for rung in RUNGS], [f"seconds {rung}" for rung in RUNGS]

DATA = ("movielens",)
CODE = (
    "notebooks/11_tune_and_ensemble.ipynb",
    *(f"recfuse_lib/data/{name}.py" for name in ("splits", "weighting")),
    "recfuse_lib/evaluation/metrics.py",
    "recfuse_lib/models/ials.py",
)
SPACE_SETTINGS = {"space": {name: list(values) for name, values in SPACE.items()}, "rungs": list(RUNGS)}
GRID = tables.Table(
    "lessons/11_grid.csv", COMMAND, SPACE_SETTINGS, DATA, CODE, tuple(SPACE), dict.fromkeys(COLUMNS[0], 0.003)
)
PEOPLE = tables.Table(
    "lessons/11_people.csv",
    COMMAND,
    {**SPACE_SETTINGS, "seeds": REPEATS, "setting of the seeds": OF_SEEDS},
    DATA,
    CODE,
    ("kind", "number"),
    {"validation mean": 0.003, "test mean": 0.003},
)
RACE = tables.Table(
    "lessons/11_races.csv",
    COMMAND,
    {**SPACE_SETTINGS, "budgets in processor seconds": list(BUDGETS), "races": RACES},
    DATA,
    CODE,
    ("strategy", "seconds"),
    {"ndcg": 0.001},
)
TABLES = [GRID, PEOPLE, RACE]


@functools.cache
def folds() -> tuple[Fold, Fold]:
    split = splits.warm(movielens.load())
    return split.validation, split.test


def grid() -> list[dict[str, Any]]:
    """All settings, in a random order that is always the same."""
    everything = [dict(zip(SPACE, values, strict=True)) for values in itertools.product(*SPACE.values())]
    return [everything[k] for k in np.random.default_rng(0).permutation(len(everything))]


def kept(name: str, make: Any) -> dict[str, np.ndarray]:
    path = RUNS / f"{name}.npz"
    if not path.exists():
        with store.replacing(path) as file:
            np.savez(file, **make())
    return dict(np.load(path))


def measured(settings: dict[str, Any], fold: Fold, seed: int = 0, rungs: tuple[int, ...] = RUNGS) -> dict[str, Any]:
    """NDCG@10 and the processor seconds so far at each rung, and of everybody at the last."""
    begun, means, seconds = time.process_time(), [], []
    for _, ndcg in LESSON.trial(settings, fold, seed, rungs):
        means.append(ndcg.mean())
        seconds.append(time.process_time() - begun)
    return {"means": np.array(means), "seconds": np.array(seconds), "people": ndcg}


def on_validation(number: int) -> dict[str, np.ndarray]:
    return kept(f"validation {number}", lambda: measured(grid()[number], folds()[0]))


def grid_row(settings: dict[str, Any], found: dict[str, np.ndarray]) -> dict[str, Any]:
    values = dict(zip(COLUMNS[0], found["means"], strict=True)) | dict(zip(COLUMNS[1], found["seconds"], strict=True))
    return settings | values


def digits(ndcg: np.ndarray) -> str:
    return np.round(255 * ndcg).astype("uint8").tobytes().hex()


def people_row(kind: str, number: int) -> dict[str, Any]:
    """Everybody's NDCG@10 of a setting with seed 0, or of a seed of one setting."""
    settings, seed = (grid()[number], 0) if kind == "setting" else (OF_SEEDS, number)
    last = RUNGS[-1:]
    of_test = kept(f"test {kind} {number}", lambda: measured(settings, folds()[1], seed, last))["people"]
    if kind == "setting":
        of_validation = on_validation(number)["people"]
    else:
        of_validation = kept(f"validation seed {number}", lambda: measured(settings, folds()[0], seed, last))["people"]
    row: dict[str, Any] = {"kind": kind, "number": number, **settings, "seed": seed}
    row |= {"validation mean": of_validation.mean(), "test mean": of_test.mean()}
    return row | {"validation": digits(of_validation), "test": digits(of_test)}


def suggested(one: optuna.Trial) -> tuple[Any, ...]:
    return tuple(values[one.suggest_int(name, 0, len(values) - 1)] for name, values in SPACE.items())


def race(
    strategy: str, seed: int, results: dict[tuple[Any, ...], np.ndarray], budget: float
) -> list[tuple[float, ...]]:
    """Seconds spent, trials begun and the best NDCG@10 so far, after each trial; in place of what was tried, a draw."""
    sampler = optuna.samplers.RandomSampler(seed=seed)
    if strategy.startswith("TPE"):
        sampler = optuna.samplers.TPESampler(seed=seed)
    pruner = optuna.pruners.MedianPruner() if strategy.endswith("pruned") else optuna.pruners.NopPruner()
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    random, last_rung = np.random.default_rng(seed), len(RUNGS) - 1
    spent, best, story, left = 0.0, 0.0, [], set(results)
    while spent < budget and left:
        one = study.ask()
        key = suggested(one)
        if key not in left:
            study.tell(one, state=optuna.trial.TrialState.FAIL)
            key = sorted(left)[random.integers(len(left))]
            study.enqueue_trial({name: SPACE[name].index(value) for name, value in zip(SPACE, key, strict=True)})
            one = study.ask()
            suggested(one)
        left.remove(key)
        means, seconds = results[key].reshape(2, -1)
        for last, mean in enumerate(means):
            one.report(mean, RUNGS[last])
            if last < last_rung and one.should_prune():
                break
        is_complete = last == last_rung
        study.tell(one, means[last] if is_complete else None, None if is_complete else optuna.trial.TrialState.PRUNED)
        spent += seconds[last]
        if is_complete:
            best = max(best, means[last])
        story.append((spent, len(story) + 1, best))
    return story


def lookup() -> dict[tuple[Any, ...], np.ndarray]:
    table = pd.read_csv(tables.DOCUMENTS / GRID.path)
    values = table[[*COLUMNS[0], *COLUMNS[1]]].to_numpy()
    return dict(zip(table[list(SPACE)].itertuples(index=False, name=None), values, strict=True))


def race_rows(strategy: str, races: int = RACES) -> list[dict[str, Any]]:
    """What `races` runs of a strategy have found by each budget."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    results, stories = lookup(), []
    for seed in range(races):
        stories.append(race(strategy, seed, results, max(BUDGETS)))
    rows = []
    for budget in BUDGETS:
        states = [max((one for one in story if one[0] <= budget), default=(0, 0, 0.0)) for story in stories]
        trials, best = np.array([state[1:] for state in states]).T
        low, high = np.quantile(best, [0.1, 0.9])
        error = best.std(ddof=1) / np.sqrt(races)
        row = {"strategy": strategy, "seconds": budget, "ndcg": best.mean(), "error": error, "p10": low, "p90": high}
        rows.append(row | {"trials": trials.mean()})
    return rows


def report() -> None:
    """Writes the tables."""
    rows = [grid_row(settings, on_validation(number)) for number, settings in enumerate(grid())]
    tables.write(GRID, pd.DataFrame(rows))
    people = [people_row("setting", number) for number in range(len(grid()))]
    tables.write(PEOPLE, pd.DataFrame(people + [people_row("seed", number) for number in range(REPEATS)]))
    tables.write(RACE, pd.DataFrame([row for strategy in STRATEGIES for row in race_rows(strategy)]))


def repeat(table: tables.Table) -> pd.DataFrame:
    """One setting or one seed again; the races of random search again."""
    if table == GRID:
        return pd.DataFrame([grid_row(grid()[0], measured(grid()[0], folds()[0]))])
    if table == RACE:
        return pd.DataFrame(race_rows(STRATEGIES[0]))
    last = [measured(OF_SEEDS, fold, 0, RUNGS[-1:])["people"].mean() for fold in folds()]
    return pd.DataFrame([{"kind": "seed", "number": 0, "validation mean": last[0], "test mean": last[1]}])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", action="store_true", help="train nothing")
    if not parser.parse_args().report:
        for number in range(len(grid())):
            on_validation(number)
        for kind, count in (("setting", len(grid())), ("seed", REPEATS)):
            for number in range(count):
                people_row(kind, number)
            print(kind, "done", f"{time.process_time():.0f} processor seconds", flush=True)
    report()


if __name__ == "__main__":
    main()
