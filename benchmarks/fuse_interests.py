"""What each way to fuse, each group of dimensions and each view of a rating brings: the tables of lesson 07.

    python benchmarks/fuse_interests.py            # 48 trainings; what is finished is kept in build/fuse_interests
    python benchmarks/fuse_interests.py --report   # only write docs/lessons/07_*.csv from it

Every variant learns with three seeds from the history of a validation fold and is judged on it: `warm`, films that
people know; `cold`, split 0, films that nobody has rated; `rating`, split 0, stars. No test is scored. Variants of one
seed share the examples, and all of them the fitted dimensions. Of equal scores one drawn at random comes first. After a
change of code, delete build/fuse_interests.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import functools
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import tables
from sklearn.cluster import KMeans

from course.lessons import definitions
from recfuse_lib.data import movielens, splits
from recfuse_lib.data.items import Items
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import Fold, Queries
from recfuse_lib.data.weighting import Weighting
from recfuse_lib.encoders.text import encode_texts
from recfuse_lib.evaluation.metrics import evaluate
from recfuse_lib.evaluation.significance import Interval, bootstrap
from recfuse_lib.models import content, holdouts
from recfuse_lib.models.contract import Recommender
from recfuse_lib.models.dimensions import DIMENSIONS, Dimension
from recfuse_lib.models.ease import EASE
from recfuse_lib.models.fused import FusedModel
from recfuse_lib.models.gates import EvidenceGate
from recfuse_lib.models.ratings import UserGaussianProcess
from recfuse_lib.pretrained import store

LESSON = definitions("07_fuse_interests")
WAYS = {
    "EvidenceGate": EvidenceGate,
    **{name: getattr(LESSON, name) for name in ("LateFusion", "EarlyFusion", "AttentionFusion")},
}
RUNS = tables.REPOSITORY / "build" / "fuse_interests"
COMMAND = "python benchmarks/fuse_interests.py"
SEEDS = (0, 1, 2)
BATCH = 64
GROUPS = {
    "behaviour": ("linear", "linear, recent", "neighbours", "popularity"),
    "order": ("sequence",),
    "time": ("month", "year", "future", "era"),
    "meaning": ("text", "labels", "content", "popularity by content"),
}
BEST_OF_EACH = ("linear, recent", "sequence", "year", "content")
"""The dimension of each group that is best alone on `warm`."""
NO_HIDDEN_ROUNDS = "late, without the hidden rounds"
WHOEVER = "gated, whoever asks"
WORDS, WITH_WORDS = "words", "with words"
"""A profile in words, alone and as a fourteenth dimension."""
WARM: dict[str, dict[str, Any]] = {
    "gated + network": {},
    "gated": {"hidden": 0},
    WHOEVER: {"hidden": 0},
    "late": {"gate": "LateFusion"},
    NO_HIDDEN_ROUNDS: {"gate": "LateFusion"},
    "early": {"gate": "EarlyFusion"},
    "attention": {"gate": "AttentionFusion"},
    **{f"without {name}": {"without": GROUPS[name]} for name in ("behaviour", "order", "time")},
    WITH_WORDS: {},
}
COLD: dict[str, dict[str, Any]] = {
    "gated + network": {},
    "gated": {"hidden": 0},
    "without meaning": {"without": GROUPS["meaning"]},
    "texts of other films": {},
}
VIEWS = ("what is usual", "+ like-minded", "+ taste", "+ taste and mood", "fused")
PEER, TUNED_PEER = "EASE + recency", EASE(100.0, Weighting(0.3, 3.0, 0.2))
"""The strongest peer that `peers.py` tuned on the same validation fold."""
EQUAL, EQUAL_FEW, NEAREST, CHANCE = "equal weights", "equal weights, best of each group", "nearest of eight", "chance"
COMPARED = [
    *[("warm", "gated + network", name) for name in (EQUAL, EQUAL_FEW, *list(WARM)[1:-1], PEER)],
    *[("warm", "gated", name) for name in (EQUAL, EQUAL_FEW, "late", NO_HIDDEN_ROUNDS, WHOEVER)],
    ("warm", NO_HIDDEN_ROUNDS, "late"),
    *[("cold", "gated + network", name) for name in ("without meaning", "texts of other films", "content", EQUAL)],
    *[("cold", "gated", name) for name in ("content", EQUAL)],
    *[(asked, NEAREST, "text") for asked in ("warm", "cold")],
    ("warm", WITH_WORDS, "gated + network"),
    *[(asked, "text", WORDS) for asked in ("warm", "cold")],
    *[("rating", "what is usual", view) for view in ("+ like-minded", "+ taste")],
    ("rating", "+ taste", "+ taste and mood"),
    ("rating", "+ taste and mood", "fused"),
]
"""What is asked for, variant, and what is subtracted from it: NDCG@10, or for `rating` the squared error."""

DATA = ("movielens",)
CODE = (
    "notebooks/07_fuse_interests.ipynb",
    "recfuse_lib/models/content.py",
    "recfuse_lib/models/contract.py",
    "recfuse_lib/models/dimensions.py",
    "recfuse_lib/models/fitted_gate.py",
    "recfuse_lib/models/gates.py",
    "recfuse_lib/models/fused.py",
    "recfuse_lib/models/holdouts.py",
    "recfuse_lib/models/closed_form.py",
    "recfuse_lib/models/ratings.py",
    "recfuse_lib/models/ease.py",
    "recfuse_lib/models/item_knn.py",
    "recfuse_lib/data/weighting.py",
    "recfuse_lib/data/items.py",
    "recfuse_lib/data/splits.py",
    "recfuse_lib/encoders/attributes.py",
    "recfuse_lib/encoders/centring.py",
    "recfuse_lib/stated/histories.py",
    "recfuse_lib/stated/profiles.py",
    "recfuse_lib/evaluation/metrics.py",
    "recfuse_lib/evaluation/significance.py",
)
SETTINGS = {"seeds": list(SEEDS), "warm": WARM, "cold": COLD, "best of each group": list(BEST_OF_EACH)}
# One seed is made again and compared with the mean of three.
VARIANTS = tables.Table("lessons/07_variants.csv", COMMAND, SETTINGS, DATA, CODE, ("asked", "variant"), {"ndcg": 0.005})
STARS = tables.Table("lessons/07_stars.csv", COMMAND, {"seeds": list(SEEDS)}, DATA, CODE, ("view",), {"rmse": 0.002})
DIFFERENCES = tables.Table(
    "lessons/07_differences.csv", COMMAND, SETTINGS, DATA, CODE, ("asked", "variant", "minus"), {"difference": 0.007}
)
TABLES = [VARIANTS, STARS, DIFFERENCES]

Measured = dict[str, np.ndarray]
"""Variant → NDCG@10 of every person, or the squared error of every rating."""


@functools.cache
def world() -> Dataset:
    dataset = movielens.load()
    return dataset.encoded(text=encode_texts(dataset.texts()))


@functools.cache
def question(asked: str) -> tuple[Fold, pd.DataFrame, Items]:
    """The fold, its history in order, and the films, with which of them could be chosen during it."""
    dataset = world()
    split = splits.warm(dataset) if asked == "warm" else splits.cold(dataset, 0)
    fold = split.validation
    available = None if asked == "warm" else ~fold.candidates & ~split.test.candidates
    return fold, splits.in_order(fold.history), dataclasses.replace(fold.items, available=available)


def exchanged(items: Items, seed: int | None) -> Items:
    """The films with each other's texts; None leaves them as they are."""
    if seed is None:
        return items
    return items.encoded(text=np.random.default_rng(seed).permutation(items.encodings["text"]))


@functools.lru_cache(maxsize=2)
def fitted(asked: str, permuted: int | None = None, words: bool = False) -> tuple[FusedModel, np.ndarray]:
    """A model with its dimensions fitted, without gates, and the standardised scores for all questions.

    Args:
        asked: "warm" or "cold".
        permuted: Seed by which the films exchange their texts.
        words: Whether a profile in words is one of the dimensions.
    """
    fold, events, items = question(asked)
    profile = {WORDS: Dimension(LESSON.ProfileInWords(world()), needs=("text",))} if words else {}
    model = FusedModel({**DIMENSIONS, **profile}, task_weight=0).fit_dimensions(events, exchanged(items, permuted))
    return model, model.scores_of_dimensions(fold.queries)


class MultiInterest(Recommender):
    """Semantic, several interests a person: an item is compared with the one of them that it is nearest to.

        p_uk = Σ_{j ∈ h_u, topic k} w_j e_j / √(Σ_j w_j + 1),   s(u, i) = max_k p_ukᵀ e_i

    Topics are clusters of the known items; a person's interests are the K of them that weigh most in the history.

    Args:
        topics: Number of clusters.
        interests: K.

    References:
        Pal et al. (2020), PinnerSage: Multi-Modal User Embedding Framework for Recommendations at Pinterest, KDD.
    """

    def __init__(self, topics: int = 48, interests: int = 8) -> None:
        self.topics, self.interests = topics, interests

    def fit(self, history: pd.DataFrame, items: Items) -> MultiInterest:
        """Clusters the items of `history`."""
        self.encodings = content.encoding(items, history, "text")
        known = self.encodings[np.unique(history["item"])]
        clusters = KMeans(min(self.topics, len(known)), n_init=1, max_iter=15, random_state=0).fit(known)
        self.topic = clusters.predict(self.encodings)
        return self

    def _score(self, queries: Queries) -> np.ndarray:
        """s, float32 (Q, n_items)."""
        weights = Weighting(half_life=20.0).matrix(queries)
        scores = np.zeros((len(queries), queries.n_items), "float32")
        for row in range(len(queries)):
            own = slice(*weights.indptr[row : row + 2])
            item, weight = weights.indices[own], weights.data[own]
            mass = np.bincount(self.topic[item], weight, self.topics)
            strongest = np.argsort(-mass, kind="stable")[: self.interests]
            belongs = weight * (self.topic[item] == strongest[:, None])
            vectors = belongs @ self.encodings[item] / np.sqrt(mass[strongest, None] + 1)
            scores[row] = (vectors @ self.encodings.T).max(axis=0)
        return scores


class Given:
    """A scorer whose scores are there already."""

    def __init__(self, scores: np.ndarray, people: np.ndarray) -> None:
        self.scores, self.people = scores, people

    def score(self, queries: Queries) -> np.ndarray:
        return self.scores[np.searchsorted(self.people, queries.user)]


def ndcg(scores: np.ndarray, fold: Fold) -> np.ndarray:
    return evaluate(Given(scores, fold.queries.user), fold).per_query["ndcg"].to_numpy()


def without_ties(scores: np.ndarray) -> np.ndarray:
    """The scores, of which a little chance puts equal ones into an order."""
    spread = scores.std(axis=1, keepdims=True)
    chance = np.random.default_rng(0).random(scores.shape, "float32")
    return (scores - scores.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1) + 1e-4 * chance


def alone(asked: str) -> Iterator[tuple[str, np.ndarray]]:
    """What has no gate: each dimension, the nearest of several interests, equal weights, a tuned peer, chance."""
    fold, events, items = question(asked)
    model, z = fitted(asked)
    others = {NEAREST: MultiInterest().fit(events, items), WORDS: LESSON.ProfileInWords(world()).fit(events, items)}
    for name, tower in {**model.towers, **others}.items():
        yield name, ndcg(without_ties(tower.score(fold.queries)), fold)
    yield EQUAL, ndcg(z.sum(axis=0), fold)
    yield EQUAL_FEW, ndcg(z[[model.names.index(name) for name in BEST_OF_EACH]].sum(axis=0), fold)
    if asked == "warm":
        yield PEER, ndcg(TUNED_PEER.fit(events, fold.items).score(fold.queries), fold)
    yield CHANCE, ndcg(without_ties(np.zeros_like(z[0])), fold)


def without_hidden_rounds(asked: str, examples: Measured) -> Measured:
    """The examples of the first and the last round; those between them ask for hidden films alone."""
    _, events, items = question(asked)
    first, last = holdouts.hold_out_positives(events, items, seed=2)[0], holdouts.hold_out_future(events, items)[0]
    return {
        name: np.concatenate([values[: len(first.queries)], values[-len(last.queries) :]])
        for name, values in examples.items()
    }


def fused(asked: str, variant: str, seed: int, examples: Measured, permuted: int | None = None) -> np.ndarray:
    """NDCG@10 of every person for one training."""
    fold, (base, z) = question(asked)[0], fitted(asked, permuted, variant == WITH_WORDS)
    settings = {"without": (), "hidden": 32, "gate": "EvidenceGate", **(WARM if asked == "warm" else COLD)[variant]}
    # A copy shares the fitted dimensions; it is given gates of its own.
    model = copy.copy(base)
    model.hidden, model.seed, model.new_gate = settings["hidden"], seed, WAYS[settings["gate"]]
    model.names = [name for name in base.names if name not in settings["without"]]
    used = [base.names.index(name) for name in model.names]
    if variant == NO_HIDDEN_ROUNDS:
        examples = without_hidden_rounds(asked, examples)
    if variant == WHOEVER:
        # Weights that start at 0 and never see evidence about the person stay at 0.
        examples = examples | {"user": np.zeros_like(examples["user"])}
    model.train(examples | {"scores": examples["scores"][..., used]})
    starts = range(0, len(fold.queries), BATCH)
    parts = [model.fuse(z[used, k : k + BATCH], fold.queries[k : k + BATCH]) for k in starts]
    scores = np.concatenate(parts)
    # Without meaning, new films of one year score alike.
    return ndcg(without_ties(scores) if asked == "cold" else scores, fold)


def examples(asked: str, seed: int, permuted: int | None = None, words: bool = False) -> Measured:
    """What a model of this seed learns from."""
    _, events, items = question(asked)
    model = copy.copy(fitted(asked, permuted, words)[0])
    model.seed = seed
    return model.examples(events, exchanged(items, permuted))


def trained(asked: str, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """All variants of one seed."""
    learned_from = examples(asked, seed)
    for variant in WARM if asked == "warm" else COLD:
        if variant not in ("texts of other films", WITH_WORDS):
            yield variant, fused(asked, variant, seed, learned_from)
    if asked == "warm":
        yield WITH_WORDS, fused(asked, WITH_WORDS, seed, examples(asked, seed, words=True))
    if asked == "cold":
        learned_from = examples(asked, seed, permuted=seed)
        yield variant, fused(asked, variant, seed, learned_from, permuted=seed)


def stars(seed: int, views: tuple[str, ...] = VIEWS) -> Iterator[tuple[str, np.ndarray]]:
    """Squared error of every rating, view by view."""
    dataset = world()
    split = splits.rating(dataset, 0)
    asked = split.validation
    model = FusedModel(seed=seed).fit(split.train, dataset.items)
    queries = Queries.of(split.train, np.unique(asked["user"]), dataset.n_items)
    usual = model.expected.predict(queries, asked)
    timeless = UserGaussianProcess(model.expected, session=(0, 1), day=(0, 1))
    predictions = {
        "what is usual": lambda: usual,
        "+ like-minded": lambda: usual + model.like_minded.predict(queries, asked),
        "+ taste": lambda: usual + timeless.predict(queries, asked),
        "+ taste and mood": lambda: usual + UserGaussianProcess(model.expected).predict(queries, asked),
        "fused": lambda: model.predict(queries, asked),
    }
    for view in views:
        yield view, (np.clip(predictions[view](), 0.5, 5) - asked["rating"].to_numpy()) ** 2


def keep(name: str, measured: Iterator[tuple[str, np.ndarray]]) -> None:
    """Measures what is not yet kept."""
    path = RUNS / f"{name}.npz"
    if path.exists():
        return
    found, begun = {}, time.process_time()
    for variant, values in measured:
        found[variant] = values
        print(f"{name}, {variant}: {values.mean():.4f}, {time.process_time() - begun:.0f} CPU s so far", flush=True)
    with store.replacing(path) as file:
        np.savez(file, **found)


def kept(asked: str) -> dict[str, list[np.ndarray]]:
    """Variant → the values of its trainings, or of the one time that it was measured."""
    names = [f"{asked}, alone", *(f"{asked}, seed {seed}" for seed in SEEDS)]
    found: dict[str, list[np.ndarray]] = {}
    for name in names:
        if (RUNS / f"{name}.npz").exists():
            for variant, values in np.load(RUNS / f"{name}.npz").items():
                found.setdefault(variant, []).append(values)
    return found


def owner(asked: str) -> np.ndarray:
    """Whose each value is."""
    if asked == "rating":
        return splits.rating(world(), 0).validation["user"].to_numpy()
    return question(asked)[0].queries.user


def over_seeds(values: list[np.ndarray], asked: str) -> tuple[Interval, dict[str, float]]:
    """The interval of the seeds' mean over people, and the smallest and the largest of the seeds."""
    means = [float(one.mean()) for one in values]
    return bootstrap(np.mean(values, axis=0), owner(asked)), {"smallest": min(means), "largest": max(means)}


def variant_row(asked: str, variant: str, values: list[np.ndarray]) -> dict[str, Any]:
    interval, seeds = over_seeds(values, asked)
    row = {"asked": asked, "variant": variant, "ndcg": interval.mean, "low": interval.low, "high": interval.high}
    return row | seeds


def stars_row(view: str, values: list[np.ndarray]) -> dict[str, Any]:
    interval, _ = over_seeds(values, "rating")
    per_seed = [float(np.sqrt(one.mean())) for one in values]
    low, high = np.sqrt([interval.low, interval.high])
    row = {"view": view, "rmse": float(np.mean(per_seed)), "low": float(low), "high": float(high)}
    return row | {"smallest": min(per_seed), "largest": max(per_seed)}


def difference_row(asked: str, variant: str, minus: str, values: dict[str, list[np.ndarray]]) -> dict[str, Any]:
    a, b = values[variant], values[minus]
    n = max(len(a), len(b))
    pairs = zip(a * (n // len(a)), b * (n // len(b)), strict=True)
    interval, seeds = over_seeds([one - other for one, other in pairs], asked)
    row = {"asked": asked, "variant": variant, "minus": minus}
    return row | {"difference": interval.mean, "low": interval.low, "high": interval.high} | seeds


def report() -> None:
    """Writes the tables."""
    values = {asked: kept(asked) for asked in ("warm", "cold", "rating")}
    rows = [variant_row(asked, name, found) for asked in ("warm", "cold") for name, found in values[asked].items()]
    tables.write(VARIANTS, pd.DataFrame(rows))
    tables.write(STARS, pd.DataFrame([stars_row(view, values["rating"][view]) for view in VIEWS]))
    compared = [difference_row(*key, values[key[0]]) for key in COMPARED]
    tables.write(DIFFERENCES, pd.DataFrame(compared))


def repeat(table: tables.Table) -> pd.DataFrame:
    """One row of a table again, of a single seed."""
    if table == STARS:
        return pd.DataFrame([stars_row(view, [errors]) for view, errors in stars(0, ("fused",))])
    gated = again()
    if table == VARIANTS:
        return pd.DataFrame([variant_row("warm", "gated", [gated])])
    equal = ndcg(fitted("warm")[1].sum(axis=0), question("warm")[0])
    return pd.DataFrame([difference_row("warm", "gated", EQUAL, {"gated": [gated], EQUAL: [equal]})])


@functools.cache
def again() -> np.ndarray:
    return fused("warm", "gated", 0, examples("warm", 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", action="store_true", help="measure nothing")
    if not parser.parse_args().report:
        for asked in ("warm", "cold"):
            keep(f"{asked}, alone", alone(asked))
            for seed in SEEDS:
                keep(f"{asked}, seed {seed}", trained(asked, seed))
        for seed in SEEDS:
            keep(f"rating, seed {seed}", stars(seed))
    report()


if __name__ == "__main__":
    main()
