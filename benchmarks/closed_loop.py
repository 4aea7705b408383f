"""Ten weeks of the closed loop on the simulated market, five seeds: which rule of retraining satisfies shoppers most?

    python benchmarks/closed_loop.py            # finished runs are kept in build/closed_loop
    python benchmarks/closed_loop.py --report   # only write the tables from them

Each seed has a market of its own (scale 0.2: 600 products, 800 shoppers), a model of its own and weeks of its own; the
rules of one seed meet the same shoppers with the same dice. The training job of week 5 has a fault: it
writes what it learned of the items in the order of another catalogue. The models know attributes alone.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import tables

from course.lessons import definitions
from recfuse_lib.data import market

LESSON = definitions("19_keep_learning")
REPOSITORY = Path(__file__).resolve().parents[1]
RUNS = REPOSITORY / "build" / "closed_loop"
PAGE = REPOSITORY / "docs" / "keep_learning.md"
SEEDS, SCALE, WEEKS, FASHION, FAULT = range(5), 0.2, 10, 2.0, 4
RULES = {
    "never": {},
    **{rule: {"broken": (FAULT,)} for rule in ("always", "when better", "unless worse")},
}
AGAIN = {"never": WEEKS, "unless worse": 2}
"""So many weeks of which rules `repeat` makes again, with seed 0."""

TABLES = [
    tables.Table(
        path="closed_loop.csv",
        command="python benchmarks/closed_loop.py",
        settings={"seeds": list(SEEDS), "scale": SCALE, "weeks": WEEKS, "fashion": FASHION, "rules": RULES},
        data=("market/photographs.csv", "market/photographs.png", "market/phrases.json"),
        code=(
            *(f"recfuse_lib/data/{name}" for name in ("market", "schema.py", "sequences.py", "splits.py")),
            *(f"recfuse_lib/encoders/{name}.py" for name in ("attributes", "centring", "item_encodings")),
            *(f"recfuse_lib/evaluation/{name}.py" for name in ("metrics", "significance")),
            "recfuse_lib/serving/comparison.py",
            "notebooks/19_keep_learning.ipynb",
            *(f"recfuse_lib/models/{name}.py" for name in ("joint", "user_tower", "item_tower")),
        ),
        keys=("rule", "seed", "week"),
        tolerance={"satisfaction": 25, "visits": 25},
    )
]


def run(seed):
    missing = [rule for rule in RULES if not (RUNS / f"{seed} {rule}.csv").exists()]
    if not missing:
        return
    shop = LESSON.open_shop(*market.make(seed, SCALE), seed=seed)
    for rule in missing:
        begun = time.perf_counter()
        weeks = LESSON.run_weeks(shop, rule, weeks=WEEKS, seed=seed, fashion=FASHION, **RULES[rule])
        made = RUNS / f".{seed} {rule}.csv"
        weeks.assign(seed=seed, rule=rule).to_csv(made, index=False)
        made.rename(RUNS / f"{seed} {rule}.csv")
        total = weeks["satisfaction"].sum()
        print(f"seed {seed}, {rule}: satisfaction {total:,.0f}, {time.perf_counter() - begun:.0f} s", flush=True)


def report():
    runs = pd.concat([pd.read_csv(RUNS / f"{seed} {rule}.csv") for seed in SEEDS for rule in RULES], ignore_index=True)
    tables.write(TABLES[0], runs[["rule", "seed", *runs.columns.drop(["rule", "seed"])]])
    total = runs.pivot_table("satisfaction", "rule", "seed", "sum").loc[list(RULES)]
    last = runs[runs["week"] == WEEKS].pivot_table("visits", "rule", "seed", "sum")
    promoted = (runs["action"] == "promote").groupby([runs["rule"], runs["seed"]]).sum().unstack()
    fault = runs[runs["week"] == FAULT + 1].set_index(["rule", "seed"])["action"].unstack()
    lines = ["| rule | satisfaction, seeds 0–4 | mean | over never | visits, week 10 | promotions | fault served |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    for rule in RULES:
        values = total.loc[rule].to_numpy()
        gain = 100 * (values / total.loc["never"].to_numpy() - 1)
        over = "" if rule == "never" else f"{gain.mean():+.1f} % ({gain.min():+.1f} to {gain.max():+.1f})"
        served = "" if rule == "never" else f"{(fault.loc[rule] == 'promote').sum()} of {len(SEEDS)}"
        each = ", ".join(f"{value:,.0f}" for value in values)
        lines.append(
            f"| {rule} | {each} | {values.mean():,.0f} | {over} | {last.loc[rule].mean():,.0f} "
            f"| {promoted.loc[rule].mean():.1f} of {WEEKS} | {served} |"
        )
    begin, end = "<!-- closed loop -->\n", "<!-- end -->"
    page = PAGE.read_text("utf-8")
    before, rest = page.split(begin)
    PAGE.write_text(before + begin + "\n".join(lines) + "\n" + end + rest.split(end)[1], "utf-8")
    print("\n".join(lines))
    assert np.isfinite(total.to_numpy()).all()


def repeat(table):
    """The first weeks of seed 0 under a rule that never trains, and under one that does."""
    shop = LESSON.open_shop(*market.make(0, SCALE), seed=0)
    parts = [
        LESSON.run_weeks(shop, rule, weeks=weeks, seed=0, fashion=FASHION, **RULES[rule]).assign(rule=rule, seed=0)
        for rule, weeks in AGAIN.items()
    ]
    return pd.concat(parts, ignore_index=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", action="store_true")
    RUNS.mkdir(parents=True, exist_ok=True)
    if not parser.parse_args().report:
        for seed in SEEDS:
            run(seed)
    report()


if __name__ == "__main__":
    main()
