"""What lesson 14 shows in one market, in five: estimators of a policy's value, and policies for a coupon.

    python benchmarks/cause_and_effect.py               # all tables, about four processor minutes
    python benchmarks/cause_and_effect.py uplift        # one of estimators, uplift, debiased

Everything is simulated. `estimators` writes 200 logs at each of five overlaps; `uplift` deals coupons to half of the
shoppers or to a tenth, with two base learners, and judges every policy by the true gain; nothing is tuned. `debiased`
chooses λ of three ways to learn from clicks by weighted clicks and looks at the true taste.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np
import pandas as pd
import tables
from sklearn.ensemble import HistGradientBoostingRegressor

from course.lessons import definitions
from recfuse_lib.data import market

lesson = definitions("14_cause_and_effect")

COMMAND = "python benchmarks/cause_and_effect.py"
MARKETS = (0, 1, 2, 3, 4)
SCALE, LOGS = 0.5, 200
DEALT = (0.5, 0.1)
L2 = (100, 300, 1_000, 3_000, 10_000, 30_000)
TREES = {"max_iter": 60, "learning_rate": 0.05, "max_leaf_nodes": 8, "min_samples_leaf": 40, "random_state": 0}

CODE = ("notebooks/14_cause_and_effect.ipynb", "recfuse_lib/data/market")
ESTIMATORS = tables.Table(
    "lessons/14_estimators.csv",
    f"{COMMAND} estimators",
    {"markets": list(MARKETS), "scale": SCALE, "logs": LOGS},
    ("market",),
    CODE,
    ("market", "beta", "estimator", "propensities"),
    {"bias": 0.002, "sd": 0.002, "rmse": 0.002},
)
UPLIFT = tables.Table(
    "lessons/14_uplift.csv",
    f"{COMMAND} uplift",
    {"markets": list(MARKETS), "scale": SCALE, "dealt": list(DEALT), "trees": TREES},
    ("market",),
    CODE,
    ("market", "dealt", "learner", "policy"),
    {"gain": 0.5, "coupons": 0.5},
)
DEBIASED = tables.Table(
    "lessons/14_debiased.csv",
    f"{COMMAND} debiased",
    {"markets": list(MARKETS), "scale": SCALE, "l2": list(L2)},
    ("market",),
    CODE,
    ("market", "variant"),
    {"true taste": 0.3},
)
TABLES = [ESTIMATORS, UPLIFT, DEBIASED]


def boosted() -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(**TREES)


LEARNERS = {"ridge": lesson.ridge, "boosted trees": boosted}


@functools.lru_cache(maxsize=1)
def made(seed: int) -> tuple[market.Market, market.Truth]:
    return market.make(seed=seed, scale=SCALE)


def estimator_rows(seeds: tuple[int, ...]) -> pd.DataFrame:
    found = []
    for seed in seeds:
        found.append(lesson.study(*made(seed), seed, LOGS).assign(market=seed))
        print(f"estimators, market {seed}: done", flush=True)
    return pd.concat(found)


def uplift_rows(seeds: tuple[int, ...], learners: tuple[str, ...]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        mails = lesson.reminders(*made(seed))
        x, price = lesson.known_before(made(seed)[0], mails).to_numpy(), mails["price"].to_numpy()
        gain = lesson.profit(mails["p1"], price, True) - lesson.profit(mails["p0"], price, False)
        for dealt in DEALT:
            learning, coupon, bought = lesson.experiment(mails, seed, dealt)
            for learner in learners:
                ranked = lesson.rankings(x, price, learning, coupon, bought, LEARNERS[learner])
                verdict = lesson.judged(ranked, gain[~learning].to_numpy()).itertuples()
                key = {"market": seed, "dealt": dealt, "learner": learner}
                rows += [{**key, "policy": policy, "gain": got, "coupons": sent} for policy, got, sent in verdict]
        print(f"uplift, market {seed}: done", flush=True)
    return pd.DataFrame(rows)


def debiased_rows(seeds: tuple[int, ...], variants: tuple[str, ...]) -> pd.DataFrame:
    """λ is chosen by the weighted clicks, which a shop has."""
    rows = []
    for seed in seeds:
        shop, truth = made(seed)
        chance = lesson.look_probability(shop, truth)
        clicked = lesson.clicked_before(shop, chance.shape)
        utility = truth.utility(np.arange(len(chance)), day=lesson.TASTE_DAY)
        for variant in variants:
            x = lesson.debiased(clicked, chance, variant)
            tried = [
                {"l2": l2, **lesson.judged_lists(shop, truth, lesson.ease_scores(x, l2), clicked, utility)} for l2 in L2
            ]
            best = max(tried, key=lambda one: one["weighted clicks"])
            rows.append({"market": seed, "variant": variant, **best})
        print(f"debiased, market {seed}: done", flush=True)
    return pd.DataFrame(rows)


def repeat(table: tables.Table) -> pd.DataFrame:
    """The rows of one market, made again."""
    if table is DEBIASED:
        return debiased_rows(MARKETS[:1], lesson.VARIANTS)
    return estimator_rows(MARKETS[:1]) if table is ESTIMATORS else uplift_rows(MARKETS[:1], ("ridge",))


def main(asked: list[str]) -> None:
    """Makes the tables that are asked for, all without a name."""
    parts = {
        "estimators": lambda: tables.write(ESTIMATORS, estimator_rows(MARKETS)),
        "uplift": lambda: tables.write(UPLIFT, uplift_rows(MARKETS, tuple(LEARNERS))),
        "debiased": lambda: tables.write(DEBIASED, debiased_rows(MARKETS, lesson.VARIANTS)),
    }
    for part in tables.parts(tuple(parts), asked):
        parts[part]()


if __name__ == "__main__":
    main(sys.argv[1:])
