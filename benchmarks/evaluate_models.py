"""What lesson 10 shows a part of: seven models tuned and tested on `rolling`, and four models on disturbed logs.

    python benchmarks/evaluate_models.py              # both tables
    python benchmarks/evaluate_models.py rolling      # one of rolling, stress

`rolling` tunes on a fifth of the questions of its three validations, by the mean over them, scores the test once and
puts its rows on the leaderboard of this machine. `stress` uses the validation of `warm`.
"""

from __future__ import annotations

import copy
import dataclasses
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import tables

from course.lessons import definitions
from recfuse_lib.data import movielens, splits
from recfuse_lib.data.weighting import Weighting
from recfuse_lib.evaluation.metrics import Ranking, evaluate
from recfuse_lib.evaluation.significance import bootstrap, paired_bootstrap
from recfuse_lib.models.ease import EASE
from recfuse_lib.models.ials import ImplicitALS
from recfuse_lib.models.item_knn import ItemKNN
from recfuse_lib.models.popularity import Popularity
from recfuse_lib.teaching import leaderboard

lesson = definitions("10_evaluate")
search = definitions("04_collaborative_filtering").search
COMMAND = "python benchmarks/evaluate_models.py"
TRIALS = 12
EVERY = 5
"""Of the questions of the validation one in so many is asked."""

SPACES: dict[str, dict[str, list[Any]]] = {
    "popularity": {"half_life_days": [np.inf]},
    "item-kNN": {"neighbours": [20, 50, 100, 200], "shrinkage": [0.0, 10.0, 50.0]},
    "EASE": {"l2": [20.0, 50.0, 100.0, 200.0, 400.0, 800.0], "weighting": [Weighting(), Weighting(0.3)]},
    "iALS": {"dimension": [32], "iterations": [5], "unobserved": [0.1, 0.3, 1.0], "l2": [0.003, 0.01, 0.03]},
}
"""Model → name → the values that are tried, those of lesson 04."""

RECENT = [Weighting(low, half, floor) for low in (0.0, 0.3) for half in (3, 10, 30) for floor in (0.0, 0.2)]
"""Tried with the best setting of a model that weighs histories."""

KINDS = {"popularity": Popularity, "item-kNN": ItemKNN, "EASE": EASE, "iALS": ImplicitALS}
STRESSED: dict[str, dict[str, Any]] = {
    "popularity": {},
    "item-kNN": {"neighbours": 20, "shrinkage": 10.0},
    "EASE": {"l2": 100.0},
    "iALS": {"dimension": 32, "unobserved": 1.0, "l2": 0.003, "iterations": 5},
}
"""Model → the settings that lesson 04 chose."""

SHARES = [0.1, 0.2, 0.4]
CODE = (
    "recfuse_lib/data/weighting.py",
    *(f"recfuse_lib/models/{name}.py" for name in ("ease", "ials", "item_knn", "popularity")),
    *("recfuse_lib/data/splits.py", "recfuse_lib/evaluation/metrics.py", "recfuse_lib/evaluation/significance.py"),
)
ROLLING = tables.Table(
    "lessons/10_rolling.csv",
    f"{COMMAND} rolling",
    {
        "trials": TRIALS,
        "every": EVERY,
        "spaces": {k: str(v) for k, v in SPACES.items()},
        "recent": str(RECENT),
        "seed": 0,
    },
    ("movielens",),
    (*CODE, "notebooks/04_collaborative_filtering.ipynb"),
    ("model",),
    {"ndcg": 0.001, "low": 0.002, "high": 0.002, "recall": 0.002, "coverage": 0.002},
)
STRESS = tables.Table(
    "lessons/10_stress.csv",
    f"{COMMAND} stress",
    {"models": STRESSED, "shares": SHARES, "seed": 0},
    ("movielens",),
    (*CODE, "notebooks/10_evaluate.ipynb"),
    ("model", "kind", "share"),
    {"ndcg": 0.001, "change": 0.001, "low": 0.002, "high": 0.002},
)
TABLES = [ROLLING, STRESS]


def every_fifth(fold: splits.Fold) -> splits.Fold:
    """The same fold with a fifth of its questions."""
    queries, kept = fold.queries, np.arange(0, len(fold.queries), EVERY)
    taken = np.concatenate([np.arange(queries.indptr[row], queries.indptr[row + 1]) for row in kept])
    ends = np.concatenate([[0], np.cumsum(queries.lengths[kept])])
    parts = (getattr(queries, name)[taken] for name in ("item", "rating", "timestamp"))
    fewer = splits.Queries(queries.user[kept], ends, *parts, queries.n_items)
    return dataclasses.replace(fold, queries=fewer, targets=fold.targets[kept])


def rolling_row(
    name: str, trials: str, settings: dict[str, Any], validation: float, test: splits.Fold
) -> dict[str, Any]:
    """Refits a model on all that precedes the test and scores it once."""
    ranking: Ranking = evaluate(KINDS[name.split(" +")[0]](**settings).fit(test.history, test.items), test)
    found = bootstrap(ranking.per_query["ndcg"].to_numpy(), test.queries.user)
    print(f"rolling, {name}: {found} with {settings}", flush=True)
    weighting = {} if name == "popularity" else dict(vars(settings.get("weighting", Weighting())))
    return {
        "model": name,
        "trials": trials,
        "validation": validation,
        **{"ndcg": found.mean, "low": found.low, "high": found.high},
        **{"recall": ranking.summary()["recall@10"], "coverage": ranking.coverage},
        **{key: value for key, value in settings.items() if key != "weighting"},
        **weighting,
    }


def searched(fits: list[Callable[..., Any]], space: dict[str, list[Any]], folds: list[splits.Fold]) -> pd.DataFrame:
    """The settings that were tried on every fold, best mean NDCG@10 first; `fits` makes the model of each fold."""
    trials = [search(fit, space, fold, TRIALS) for fit, fold in zip(fits, folds, strict=True)]
    means = pd.concat(trials).groupby([*space], sort=False)["ndcg"].mean()
    # As objects, so that a row keeps whole numbers whole.
    return means.sort_values(ascending=False, kind="stable").reset_index().astype(object)


def rolling_rows() -> pd.DataFrame:
    """Every model tuned, and those that weigh histories once more with recency."""
    split = splits.rolling(movielens.load())
    folds = [every_fifth(fold) for fold in split.tuning]
    rows = []
    for name, space in SPACES.items():
        kind = KINDS[name]

        def fitted(fold: splits.Fold, kind: Any = kind, **values: Any) -> Any:
            return kind(**values).fit(fold.history, fold.items)

        found = searched([partial(fitted, fold) for fold in folds], space, folds)
        best = found.loc[0, [*space]].to_dict()
        rows.append(rolling_row(name, str(len(found)), best, found["ndcg"].iloc[0], split.test))
        if name == "popularity":
            continue
        kept = {key: value for key, value in best.items() if key != "weighting"}
        weighted = [{low: fitted(fold, **kept, weighting=Weighting(low)) for low in (0.0, 0.3)} for fold in folds]
        recent = searched([partial(reweighted, models) for models in weighted], {"weighting": RECENT}, folds)
        trials, settings = f"{len(found)} + {len(recent)}", {**kept, "weighting": recent["weighting"].iloc[0]}
        rows.append(rolling_row(f"{name} + recency", trials, settings, recent["ndcg"].iloc[0], split.test))
    return pd.DataFrame(rows).convert_dtypes()


def reweighted(fitted: dict[float, Any], weighting: Weighting) -> Any:
    """Recency applies to the question only, so nothing is fitted again."""
    changed = copy.copy(fitted[weighting.low_rating])
    changed.weighting = weighting
    return changed


def record(rolling: pd.DataFrame) -> None:
    """Put the rows on this machine's leaderboard."""
    for row in rolling.itertuples():
        tuned = f"{row.trials} trials on validation" if row.model != "popularity" else "not tuned"
        metrics = {"ndcg@10": (row.ndcg, row.low, row.high), "recall@10": row.recall, "coverage@10": row.coverage}
        leaderboard.record("rolling", row.model, metrics, seeds=0, command=ROLLING.command, tuned=tuned)


def stress_rows(names: list[str], kinds: tuple[str, ...], shares: list[float]) -> pd.DataFrame:
    """NDCG@10 and its change when the log is disturbed, on the validation of `warm`."""
    fold = splits.warm(movielens.load()).validation
    rows = []
    for name in names:
        clean = stressed_ndcg(name, fold)
        for kind in kinds:
            for share in (0.0, *shares):
                values = stressed_ndcg(name, lesson.corrupt(fold, kind, share)) if share else clean
                change = paired_bootstrap(values, clean, fold.queries.user)
                row = {"model": name, "kind": kind, "share": share, "ndcg": float(values.mean())}
                rows.append({**row, "change": change.mean, "low": change.low, "high": change.high})
        print(f"stress, {name}: done", flush=True)
    return pd.DataFrame(rows)


def stressed_ndcg(name: str, fold: splits.Fold) -> np.ndarray:
    """NDCG@10 of each query, of a model that is fitted on the fold's history."""
    model = KINDS[name](**STRESSED[name]).fit(fold.history, fold.items)
    return evaluate(model, fold).per_query["ndcg"].to_numpy()


def repeat(table: tables.Table) -> pd.DataFrame:
    """The cheapest row of a table, made again."""
    if table is ROLLING:
        test = splits.rolling(movielens.load()).test
        return pd.DataFrame([rolling_row("popularity", "1", {}, 0.0, test)])
    return stress_rows(["EASE"], ("missing",), [SHARES[-1]])


def main(asked: list[str]) -> None:
    """Makes the tables that are asked for, both without a name."""
    for part in asked or ("rolling", "stress"):
        if part == "rolling":
            rolling = rolling_rows()
            tables.write(ROLLING, rolling)
            record(rolling)
        elif part == "stress":
            tables.write(STRESS, stress_rows(list(STRESSED), lesson.KINDS, SHARES))
        else:
            raise SystemExit(f"{part} is no table of this script; see its first lines")


if __name__ == "__main__":
    main(sys.argv[1:])
