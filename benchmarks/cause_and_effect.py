"""What lesson 14 shows in one market, in five: estimators of a policy's value, and policies for a coupon.

    python benchmarks/cause_and_effect.py               # all tables, about eight processor minutes
    python benchmarks/cause_and_effect.py uplift        # one of estimators, uplift, library, debiased, joint

Everything is simulated. `estimators` writes 200 logs at each of five overlaps; `uplift` deals coupons to half of the
shoppers or to a tenth, with two base learners, and judges every policy by the true gain; nothing is tuned. `library`
does the first of these with econml beside the lesson's learners (`pip install econml==0.17.0`). `debiased` chooses λ of
three ways to learn from clicks by weighted clicks and looks at the true taste; `joint` does so with the joint model in
smaller markets, and chooses its epochs.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pandas as pd
import tables
from keras import ops
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression

from course.lessons import definitions
from recfuse_lib.data import market
from recfuse_lib.data.market.simulator import BEHAVIOURS
from recfuse_lib.data.splits import Queries
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.evaluation.significance import bootstrap
from recfuse_lib.models import content
from recfuse_lib.models.joint import JointModel, JointNetwork

lesson = definitions("14_cause_and_effect")

COMMAND = "python benchmarks/cause_and_effect.py"
MARKETS = (0, 1, 2, 3, 4)
SCALE, LOGS = 0.5, 200
DEALT = (0.5, 0.1)
SMALL, EPOCHS, WIDTH, FLOOR = 0.3, (2, 4, 8, 12), 32, 0.005
JOINT_VARIANTS = ("clicks", "weighted", "corrected", "control")
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
LIBRARY = tables.Table(
    "lessons/14_library.csv",
    f"{COMMAND} library",
    {"markets": list(MARKETS), "scale": SCALE, "econml": "0.17.0"},
    ("market",),
    CODE,
    ("market", "what", "econml's"),
    {"ours": 0.5},
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
JOINT = tables.Table(
    "lessons/14_joint.csv",
    f"{COMMAND} joint",
    {"markets": list(MARKETS), "scale": SMALL, "epochs": list(EPOCHS), "width": WIDTH, "floor": FLOOR},
    ("market",),
    (
        *CODE,
        *(f"recfuse_lib/data/{name}.py" for name in ("schema", "sequences", "splits")),
        "recfuse_lib/evaluation/significance.py",
        *(f"recfuse_lib/models/{name}.py" for name in ("content", "item_tower", "joint", "user_tower")),
    ),
    ("market", "variant"),
    {"true taste": 4.0},
)
TABLES = [ESTIMATORS, UPLIFT, LIBRARY, DEBIASED, JOINT]


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


class EachArm(RegressorMixin, BaseEstimator):
    """A model of the outcome for each value of the last column: what Equation 14.6 has, as econml wants it."""

    def __init__(self, learner: Any) -> None:
        self.learner = learner

    def fit(self, x: np.ndarray, y: np.ndarray) -> EachArm:
        self.models_ = lesson.outcome_models(x[:, :-1], x[:, -1] > 0, y.ravel(), self.learner)
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        without, with_coupon = (model.predict(x[:, :-1]) for model in self.models_)
        return np.where(x[:, -1] > 0, with_coupon, without)


SAME, OWN, AVERAGE = "same settings", "its own settings", "average effect (€)"


def library_learners(settings: str, learner: Any, n: int) -> dict[str, Any]:
    """econml's learners with the base model of ours: `SAME` also sets propensities, folds and outcome models as we do.

    Its own settings model propensities by a logistic regression of x, draw folds, and let one model of the outcome read
    x and the coupon.
    """
    from econml.dr import DRLearner
    from econml.metalearners import TLearner, XLearner

    fold = np.arange(n) % 5
    splits = [(np.flatnonzero(fold != part), np.flatnonzero(fold == part)) for part in range(5)]
    same = settings == SAME
    chance = DummyClassifier() if same else LogisticRegression(max_iter=1_000)
    outcome, folds = (EachArm(learner), splits) if same else (learner(), 5)
    models = {"model_propensity": chance, "model_regression": outcome, "cv": folds, "random_state": 0}
    return {
        "T-learner": TLearner(models=learner()),
        "X-learner": XLearner(models=learner(), propensity_model=chance),
        "DR-learner": DRLearner(**models, model_final=learner()),
        AVERAGE: DRLearner(**models),
    }


def library_rows(seeds: tuple[int, ...], econml: bool = True) -> pd.DataFrame:
    """Correlation of the effects and both gains in per cent of the best; the average effect in euros beside the truth.

    Without econml its columns are left out.
    """
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        mails = lesson.reminders(*made(seed))
        x, price = lesson.known_before(made(seed)[0], mails).to_numpy(), mails["price"].to_numpy()
        gain = (lesson.profit(mails["p1"], price, True) - lesson.profit(mails["p0"], price, False)).to_numpy()
        learning, coupon, bought = lesson.experiment(mails, seed)
        given, new = coupon[learning], x[~learning]
        earned = lesson.profit(bought[learning].astype(float), price[learning], given)
        best = 100 / gain[~learning & (gain > 0)].sum()
        chance = np.full(len(given), given.mean())
        average = lesson.dr_scores(x[learning], given, earned, chance, lesson.ridge).mean()
        ways = zip(lesson.LEARNERS, (lesson.t_learner, lesson.x_learner, lesson.dr_learner), strict=True)
        ours = {name: way(x[learning], given, earned, new) for name, way in ways}
        for settings in (SAME, OWN):
            learners = library_learners(settings, lesson.ridge, len(given)) if econml else {}
            for name, score in ours.items():
                row = {
                    "market": seed,
                    "what": name,
                    "econml's": settings,
                    "ours": best * gain[~learning][score > 0].sum(),
                }
                if econml:
                    theirs = learners[name].fit(earned, given.astype(int), X=x[learning]).effect(new)
                    gained = best * gain[~learning][theirs > 0].sum()
                    row |= {"econml": gained, "correlation": np.corrcoef(score, theirs)[0, 1]}
                rows.append(row)
            row = {"market": seed, "what": AVERAGE, "econml's": settings, "ours": average}
            if econml:
                fitted = learners[AVERAGE].fit(earned, given.astype(int), W=x[learning])
                row |= {"econml": fitted.ate(), "truth": gain[learning].mean()}
            rows.append(row)
        print(f"library, market {seed}: done", flush=True)
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


def early_clicks(shop: market.Market) -> pd.DataFrame:
    """Each pair that was clicked before day 60, at its first click, with the stars of the most that it led to."""
    log = shop.impressions
    log = log[log["clicked"] & ((log["timestamp"] - lesson.OPENING) / lesson.DAY < lesson.LEARNED)]
    stars = np.zeros(len(log))
    for behaviour, value in BEHAVIOURS.items():
        stars = np.where(log[behaviour], value, stars)
    clicks = pd.DataFrame({"user": log["user_id"] - 1, "item": log["item_id"] - 1, "timestamp": log["timestamp"]})
    clicks = clicks.assign(rating=stars).groupby(["user", "item"], as_index=False)
    return clicks.agg({"timestamp": "min", "rating": "max"})


def exposure_of(clicked: np.ndarray, chance: np.ndarray, variant: str) -> tuple[np.ndarray, np.ndarray]:
    """The weight of each pair in both losses, and what is added to its score in training alone, (U, I) each."""
    weight, added = np.ones(chance.shape, "float32"), np.zeros(chance.shape, "float32")
    if variant == "weighted":
        weight = (np.median(chance[clicked > 0]) / np.maximum(chance, FLOOR)).astype("float32")
    elif variant == "corrected":
        added = np.log(np.maximum(chance, FLOOR)).astype("float32")
    elif variant == "control":
        added += np.log(np.maximum(clicked.sum(axis=0), 0.5)).astype("float32")
    return weight, added


class Exposed(JointNetwork):
    """The joint model whose losses know how likely each pair was to be looked at."""

    pair_weight: Any
    pair_offset: Any

    def losses_of(self, x: Mapping[str, Any], answers: Mapping[str, Any]) -> tuple[Any, Any]:
        weight = ops.take_along_axis(ops.take(self.pair_weight, x["user"], axis=0), x["item"][:, None], axis=1)[:, 0]
        scores = answers["scores"] + ops.take(self.pair_offset, x["user"], axis=0)
        stars = ops.sum(weight * ops.square(answers["rating"] - x["rating"])) / ops.sum(weight)
        return self.retrieval_loss_of(scores, x["item"], weight), stars


class Watch(keras.callbacks.Callback):
    """Keeps the scores of all pairs after some epochs."""

    def __init__(self, joint: JointModel, queries: Queries) -> None:
        super().__init__()
        self.joint, self.queries, self.scores = joint, queries, {}

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch + 1 in EPOCHS:
            self.scores[epoch + 1] = self.joint.score(self.queries)


def trained(shop: market.Market, clicked: np.ndarray, chance: np.ndarray, variant: str, seed: int) -> dict[int, Any]:
    """Epochs → the scores of all pairs, (U, I)."""
    history, items = early_clicks(shop), shop.dataset().items
    keras.utils.set_random_seed(seed)
    weight, offset = exposure_of(clicked, chance, variant)
    network = type("Network", (Exposed,), {"pair_weight": weight, "pair_offset": offset})
    joint = JointModel(network, dimension=WIDTH, mean_rating=float(history["rating"].mean()))
    queries = Queries.of(history, np.arange(len(clicked)), clicked.shape[1])
    watch = Watch(joint, queries)
    encodings = ItemEncodings.of({"content": content.content(items, history)})
    joint.fit(history, encodings, chance.max(axis=0) > 0, n_users=len(clicked), epochs=max(EPOCHS), callbacks=[watch])
    return watch.scores


def joint_rows(seeds: tuple[int, ...], variants: tuple[str, ...]) -> pd.DataFrame:
    """The number of epochs is chosen by the weighted clicks; intervals are paired, over the shoppers."""
    rows, leads = [], {}
    for seed in seeds:
        shop, truth = market.make(seed=seed, scale=SMALL)
        chance = lesson.look_probability(shop, truth)
        clicked, new = lesson.clicked_before(shop, chance.shape), truth.products.new
        utility = truth.utility(np.arange(len(chance)), day=lesson.TASTE_DAY)
        usual, found = utility[(clicked == 0) & ~new].mean(), {}
        best = utility[lesson.list_of(utility, clicked, new)].mean() - usual
        for variant in variants:
            after = trained(shop, clicked, chance, variant, seed)
            judged = {n: lesson.judged_lists(shop, truth, score, clicked, utility) for n, score in after.items()}
            epochs = max(judged, key=lambda n: judged[n]["weighted clicks"])
            chosen = lesson.list_of(after[epochs], clicked, new)
            found[variant] = 100 * (np.where(chosen, utility, 0).sum(axis=1) / 10 - usual) / best
            row = {"market": str(seed), "variant": variant, "epochs": epochs, **judged[epochs]}
            if variant != variants[0]:
                gap = found[variant] - found[variants[0]]
                leads.setdefault(variant, []).append(gap)
                row |= over(gap)
            rows.append(row)
        print(f"joint, market {seed}: done", flush=True)
    every = [{"market": "all", "variant": one, **over(np.concatenate(gaps))} for one, gaps in leads.items()]
    return pd.DataFrame(rows + every)


def over(gap: np.ndarray) -> dict[str, float]:
    found = bootstrap(gap, np.arange(len(gap)))
    return {"over clicks": found.mean, "low": found.low, "high": found.high}


def repeat(table: tables.Table) -> pd.DataFrame:
    """The rows of one market, made again."""
    if table is LIBRARY:
        return library_rows(MARKETS[:1], econml=False)
    if table is JOINT:
        return joint_rows(MARKETS[:1], JOINT_VARIANTS[:1])
    if table is DEBIASED:
        return debiased_rows(MARKETS[:1], lesson.VARIANTS)
    return estimator_rows(MARKETS[:1]) if table is ESTIMATORS else uplift_rows(MARKETS[:1], ("ridge",))


def main(asked: list[str]) -> None:
    """Makes the tables that are asked for, all without a name."""
    parts = {
        "estimators": lambda: tables.write(ESTIMATORS, estimator_rows(MARKETS)),
        "uplift": lambda: tables.write(UPLIFT, uplift_rows(MARKETS, tuple(LEARNERS))),
        "library": lambda: tables.write(LIBRARY, library_rows(MARKETS)),
        "debiased": lambda: tables.write(DEBIASED, debiased_rows(MARKETS, lesson.VARIANTS)),
        "joint": lambda: tables.write(JOINT, joint_rows(MARKETS, JOINT_VARIANTS)),
    }
    for part in tables.parts(tuple(parts), asked):
        parts[part]()


if __name__ == "__main__":
    main(sys.argv[1:])
