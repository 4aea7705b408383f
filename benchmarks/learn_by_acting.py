"""What lesson 15 shows a part of: recommenders that learn from what they show, on the simulated market.

    python benchmarks/learn_by_acting.py            # all tables, about six processor minutes
    python benchmarks/learn_by_acting.py regret     # one of regret, choices, weeks, topk, critiques

Each seed is a market of its own with 600 products and 800 shoppers. The strength and the λ of a strategy are chosen on
the markets of `VALIDATION`, those of `SEEDS` decide nothing. Nothing else is tuned.
"""

import itertools
import sys

import numpy as np
import pandas as pd
import tables

from course.lessons import definitions
from recfuse_lib.data import market
from recfuse_lib.evaluation.significance import bootstrap, paired_bootstrap

lesson = definitions("15_learn_by_acting")

COMMAND = "python benchmarks/learn_by_acting.py"
SEEDS, VALIDATION = (0, 1, 2, 3, 4), (10, 11)
STRATEGIES = {
    "chance": (lesson.by_chance, (0.0,), (10.0,)),
    "greedy": (lesson.greedy, (0.0,), (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0)),
    "ε-greedy": (lesson.epsilon_greedy, (0.02, 0.05, 0.1, 0.2), (10.0, 30.0, 100.0, 300.0)),
    "LinUCB": (lesson.lin_ucb, (0.1, 0.25, 0.5, 1.0), (10.0, 30.0, 100.0, 300.0)),
    "Thompson": (lesson.thompson, (0.05, 0.1, 0.2, 0.4), (10.0, 30.0, 100.0, 300.0)),
}
"""Name → the strategy, and the strengths and the λ that are tried on the validation markets."""

OFFERED = {"others every time": False, "the same every time": True}
ROUNDS = (1, 5, 10, 20, 30, 50, 75, 100, 125, 150)
SIZES, LOGS, LEAST = (300, 1_000, 3_000, 10_000), 40, 0.005
HYPES = (1.0, 3.0, 6.0)
SHARES = (0.0, 0.1, 0.5, 1.0)
KS, LISTS = (1, 5, 10), (1, 5, 10)
CONVERSATIONS = 300

CODE = (
    "notebooks/15_learn_by_acting.ipynb",
    "recfuse_lib/data/market",
    "recfuse_lib/evaluation/significance.py",
)
DATA = ("market/photographs.csv", "market/photographs.png", "market/phrases.json")
ACTING = {"seeds": list(SEEDS), "validation": list(VALIDATION), "rounds": lesson.ROUNDS}


def declared(name, part, settings, keys, tolerance):
    return tables.Table(f"lessons/15_{name}.csv", f"{COMMAND} {part}", settings, DATA, CODE, keys, tolerance)


STRENGTHS = declared("strengths", "regret", ACTING, ("offered", "strategy", "strength", "l2"), {"regret": 1.0})
REGRET = declared("regret", "regret", ACTING, ("offered", "strategy", "seed", "round"), {"regret": 1.0})
DIFFERENCES = declared("differences", "regret", ACTING, ("offered", "strategy"), {"regret": 1.0})
CHOICES = declared(
    "choices",
    "choices",
    {"seeds": list(SEEDS), "logs of each seed": LOGS, "sizes": list(SIZES), "least difference": LEAST},
    ("logger", "size", "estimator", "seed"),
    {"right": 0.05, "bias": 0.01},
)
WEEKS = declared(
    "weeks",
    "weeks",
    {"seeds": list(SEEDS), "visits": lesson.VISITS, "hype": list(HYPES)},
    ("hype", "reward", "seed", "visit"),
    {"here": 15, "satisfaction": 0.1},
)
EXPLORATION = declared(
    "exploration",
    "weeks",
    {"seeds": list(SEEDS), "visits": lesson.VISITS, "shares": list(SHARES)},
    ("share", "seed"),
    {"stay": 0.02},
)
TOPK = declared(
    "topk", "topk", {"seeds": list(SEEDS), "K": list(KS)}, ("learned for", "list", "seed"), {"sampled": 0.2}
)
CRITIQUES = declared(
    "critiques",
    "critiques",
    {"seeds": list(SEEDS), "conversations of each seed": CONVERSATIONS},
    ("way", "swapped"),
    {"turns": 1.0},
)
TABLES = [STRENGTHS, REGRET, DIFFERENCES, CHOICES, WEEKS, EXPLORATION, TOPK, CRITIQUES]


def open_market(seed):
    made, truth = market.make(seed, lesson.SCALE)
    return made, truth, lesson.open_world(made, truth)


def played(world, name, strength, l2, fixed, seed):
    strategy = STRATEGIES[name][0]
    return lesson.act(world, strategy, strength, fixed, seed=seed, l2=l2)[0].cumsum(axis=0)


def strengths(names=tuple(STRATEGIES), seeds=VALIDATION):
    """The mean regret of every setting on the validation markets."""
    worlds = {seed: open_market(seed)[2] for seed in seeds}
    return pd.DataFrame(
        {
            "offered": offered,
            "strategy": name,
            "strength": strength,
            "l2": l2,
            "regret": np.mean([played(one, name, strength, l2, fixed, seed)[-1] for seed, one in worlds.items()]),
        }
        for offered, fixed in OFFERED.items()
        for name in names
        for strength, l2 in itertools.product(*STRATEGIES[name][1:])
    )


def best_of(found):
    """The strength and the λ with the least regret, by what is offered and strategy."""
    best = found.loc[found.groupby(["offered", "strategy"])["regret"].idxmin()].set_index(["offered", "strategy"])
    return {key: (row["strength"], row["l2"]) for key, row in best.iterrows()}


def regret_rows(chosen, names=tuple(STRATEGIES), seeds=SEEDS):
    """The curves, and the regret of every shopper at the end."""
    rows, ends = [], {}
    for seed in seeds:
        world = open_market(seed)[2]
        for offered, fixed in OFFERED.items():
            for name in names:
                curve = played(world, name, *chosen[offered, name], fixed, seed)
                ends.setdefault((offered, name), []).append(curve[-1])
                key = {"offered": offered, "strategy": name, "seed": seed}
                rows += [{**key, "round": number, "regret": curve[number - 1].mean()} for number in ROUNDS]
    return pd.DataFrame(rows), {key: np.concatenate(parts) for key, parts in ends.items()}


def difference_rows(ends):
    for (offered, name), values in ends.items():
        people = np.arange(len(values))
        row = {"offered": offered, "strategy": name, "people": len(people), "regret": values.mean()}
        if (offered, "greedy") in ends:
            against = paired_bootstrap(values, ends[offered, "greedy"], people)
            row |= {"over greedy": against.mean, "low": against.low, "high": against.high}
        yield row


def choice_rows(seeds=SEEDS, sizes=SIZES):
    """Of pairs of versions with different true values: in which share does an estimate prefer the better one?"""
    for seed in seeds:
        world = open_market(seed)[2]
        versions = lesson.versions_of(world, seed)
        value = {
            name: lesson.true_value(world, one, np.random.default_rng([seed, 42])) for name, one in versions.items()
        }
        pairs = [(a, b) for a in value for b in value if value[a] > value[b] + LEAST]
        for number, (logger, writes) in enumerate(lesson.loggers_of(versions).items()):
            for size in sizes:
                generator = np.random.default_rng([seed, 41, number, size])
                logs = [lesson.write_log(world, writes, size, generator) for _ in range(LOGS)]
                found = {
                    name: pd.DataFrame([lesson.estimates(world, log, one) for log in logs])
                    for name, one in versions.items()
                }
                for estimator in found["popular"]:
                    said = {name: frame[estimator] for name, frame in found.items()}
                    yield {
                        "logger": logger,
                        "size": size,
                        "estimator": estimator,
                        "seed": seed,
                        "pairs": len(pairs),
                        "right": np.mean([(said[a] > said[b]).mean() for a, b in pairs]),
                        "bias": np.mean([said[name].mean() - value[name] for name in value]),
                        "absolute bias": np.mean([abs(said[name].mean() - value[name]) for name in value]),
                        "deviation": np.mean([said[name].std() for name in value]),
                    }
        print(f"choices, seed {seed}: done", flush=True)


def week_rows(seeds=SEEDS, rewards=("chance", *lesson.REWARDS, "truth"), hypes=HYPES):
    for seed in seeds:
        made, truth = market.make(seed, lesson.SCALE)
        for hype in hypes:
            for reward in rewards:
                weeks = lesson.run_weeks(made, truth, reward, hype, seed)
                yield weeks.assign(hype=hype, reward=reward, seed=seed)


def exploration_rows(seeds=SEEDS, shares=SHARES):
    for seed in seeds:
        made, truth = market.make(seed, lesson.SCALE)
        for share in shares:
            weeks = lesson.run_weeks(made, truth, "likes", seed=seed, share=share)
            answers = weeks["here"].sum()
            row = {"share": share, "seed": seed, "answers": answers, "stay": weeks["stay"].iloc[-1]}
            yield row | {name: weeks[name].sum() / answers for name in ("clicks", "likes")}


def topk_rows(seeds=SEEDS, ks=(*KS, None)):
    for seed in seeds:
        made, truth, world = open_market(seed)
        items = np.random.default_rng([seed, 51]).choice(len(world.vectors), lesson.SHELF, replace=False)
        shelf, chance = world.vectors[items], world.chance[:, items]
        context = lesson.contexts(made, truth, lesson.item_vectors(made, truth))
        for k in ks:
            if k is None:  # its scores are predictions, so nothing is drawn from them
                weights, largest = lesson.predict(shelf, context, chance, seed), np.nan
            else:
                weights = lesson.reinforce(shelf, context, chance, k, seed)
                largest = lesson.softmax(context @ weights @ shelf.T).max(axis=1).mean()
            for length in LISTS:
                highest, sampled = lesson.clicks_of_lists(weights, shelf, context, chance, length, seed)
                row = {"learned for": f"K = {k}" if k else "prediction", "list": length, "seed": seed}
                row |= {"highest": highest, "sampled": sampled if k else np.nan, "largest": largest}
                best = -np.sort(-chance, axis=1)[:, :length].sum(axis=1).mean()
                yield row | {"by chance": length * chance.mean(), "best": best}


def critique_rows(seeds=SEEDS):
    found = [lesson.conversations(*market.make(seed, lesson.SCALE), CONVERSATIONS, seed) for seed in seeds]
    every = pd.concat([one.assign(seed=seed) for seed, one in zip(seeds, found, strict=True)])
    for (way, swapped), one in every.groupby(["way", "swapped"], sort=False):
        turns = bootstrap(one["turns"].to_numpy(), (one["seed"] * 10_000 + one["user"]).to_numpy())
        row = {"way": way, "swapped": swapped, "conversations": len(one)}
        row |= {"turns": turns.mean, "low": turns.low, "high": turns.high, "found": one["found"].mean()}
        yield row | {"at once": (one["turns"].eq(1) & one["found"]).mean()}


def repeat(table):
    """The cheapest rows of a table, made again."""
    if table is STRENGTHS:
        return strengths(("chance",))
    if table in (REGRET, DIFFERENCES):
        chosen = best_of(pd.read_csv(tables.DOCUMENTS / STRENGTHS.path))
        rows, ends = regret_rows(chosen, ("chance",))
        return rows if table is REGRET else pd.DataFrame(difference_rows(ends)).drop(columns="people")
    if table is CHOICES:
        return pd.DataFrame(choice_rows(SEEDS[:1], SIZES[:1]))
    if table is WEEKS:
        return pd.concat(week_rows(SEEDS[:1], ("clicks", "likes"), HYPES[:1]))
    if table is EXPLORATION:
        return pd.DataFrame(exploration_rows(SEEDS[:1], SHARES[:1]))
    return pd.DataFrame(topk_rows(SEEDS[:1], KS[:1]) if table is TOPK else critique_rows())


def main(asked):
    """Makes the tables that are asked for, all without a name."""
    for part in tables.parts(("regret", "choices", "weeks", "topk", "critiques"), asked):
        if part == "regret":
            found = strengths()
            tables.write(STRENGTHS, found)
            rows, ends = regret_rows(best_of(found))
            tables.write(REGRET, rows)
            tables.write(DIFFERENCES, pd.DataFrame(difference_rows(ends)))
        elif part == "choices":
            tables.write(CHOICES, pd.DataFrame(choice_rows()))
        elif part == "weeks":
            rows = pd.concat(week_rows(), ignore_index=True)
            tables.write(WEEKS, rows[["hype", "reward", "seed", *rows.columns.drop(["hype", "reward", "seed"])]])
            tables.write(EXPLORATION, pd.DataFrame(exploration_rows()))
        elif part == "topk":
            tables.write(TOPK, pd.DataFrame(topk_rows()))
        else:
            tables.write(CRITIQUES, pd.DataFrame(critique_rows()))


if __name__ == "__main__":
    main(sys.argv[1:])
