"""The fused model on MovieLens beside tuned peers: `warm`, `rolling`, `cold` and `rating`, each test scored once.

    python benchmarks/fused_model.py [warm] [rolling] [cold] [rating] [size]

Peers come from `benchmarks/peers.py`, 24 trials each; so does the fused model's setting, from
`benchmarks/fused_search.py`. `size` learns from half, all and ten copies of the log, and says how time grows. Rows go
to the leaderboard of this machine.
"""

from __future__ import annotations

import copy
import dataclasses
import resource
import sys
import time

import numpy as np
import pandas as pd
import peers

from recfuse_lib.data import movielens, splits
from recfuse_lib.data.splits import Fold, Queries, Split
from recfuse_lib.encoders.text import encode_texts
from recfuse_lib.evaluation.metrics import Scorer, evaluate
from recfuse_lib.evaluation.significance import Interval, bootstrap, paired_bootstrap
from recfuse_lib.models.closed_form import ContentEASE
from recfuse_lib.models.fused import FusedModel
from recfuse_lib.models.two_stage import TwoStage
from recfuse_lib.teaching import leaderboard

NAME = "fused model (13 dimensions)"
SERVED = "the system as served (two stages)"
RIDGE = "ridge: text, genres, year → EASE columns"
COMMAND = "python benchmarks/fused_model.py"
TUNED = "24 trials on validation"
STRONGEST = "EASE + recency"
SEEDS = [0, 1, 2]
AMONG_ALL = 3
"""Splits of `cold` that are also ranked in the whole catalogue."""

dataset = movielens.load()
items = dataset.items.encoded(text=encode_texts(dataset.texts()))


def ndcg(model: Scorer, fold: Fold) -> np.ndarray:
    return evaluate(model, fold).per_query["ndcg"].to_numpy()


def trained(history: pd.DataFrame, available: np.ndarray | None = None, seed: int = 0) -> FusedModel:
    started = time.perf_counter()
    model = FusedModel(seed=seed).fit(history, dataclasses.replace(items, available=available))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"  learned in {time.perf_counter() - started:.0f} s, peak memory so far {peak:.1f} GB", flush=True)
    return model


def served(model: FusedModel) -> TwoStage:
    """The same gates in the system that answers requests: candidates, pruned weights."""
    return TwoStage(copy.copy(model)).refit(model.events, model.items)


def by_user(protocol: str, split: Split) -> None:
    fold, people = split.test, split.test.queries.user
    models = [trained(fold.history, seed=seed) for seed in SEEDS]
    scores = [ndcg(model, fold) for model in models]
    answered = [ndcg(served(model), fold) for model in models]
    print(f"{protocol}: seeds " + ", ".join(f"{found.mean():.4f}" for found in scores))
    ours = np.mean(scores, axis=0)
    found = peers.tuned(STRONGEST, split)
    lead = paired_bootstrap(ours, found, people)
    print(f"{protocol}: {STRONGEST} {bootstrap(found, people)}, lead {lead}, × {ours.mean() / found.mean():.2f}")
    interval = bootstrap(ours, people)
    print(f"{protocol}: {NAME} {interval}")
    leaderboard.record(protocol, NAME, {"ndcg@10": interval}, seeds=SEEDS, command=COMMAND, tuned=TUNED)
    interval = bootstrap(np.mean(answered, axis=0), people)
    print(f"{protocol}: {SERVED} {interval}, beside all: {paired_bootstrap(np.mean(answered, axis=0), ours, people)}")
    leaderboard.record(protocol, SERVED, {"ndcg@10": interval}, seeds=SEEDS, command=COMMAND, tuned=TUNED)


def cold() -> None:
    """Ten splits; the peers are the two dimensions that know new items best, each alone."""
    rows: dict[str, list[float]] = {}
    shares: list[tuple[float, float, float, float]] = []
    for number in range(10):
        fold = splits.cold(dataset, number).test
        available = ~fold.candidates
        model = trained(fold.history, available)
        rows.setdefault(NAME, []).append(ndcg(model, fold).mean())
        rows.setdefault(SERVED, []).append(ndcg(served(model), fold).mean())
        for name in ("content", "popularity by content"):
            rows.setdefault(f"dimension “{name}” alone", []).append(ndcg(model.towers[name], fold).mean())
        rows.setdefault(RIDGE, []).append(ndcg(ridge(fold), fold).mean())
        if number < AMONG_ALL:
            shares.append(among_all(fold))
        told = ", ".join(f"{name} {values[-1]:.4f}" for name, values in rows.items())
        print(f"  split {number}: {told}", flush=True)
    for name, values in rows.items():
        interval = bootstrap(np.array(values), np.arange(len(values)))
        print(f"cold: {name} {interval}")
        tuning = (
            TUNED
            if name in (NAME, SERVED)
            else "l2 and ridge on validation, 12 trials"
            if name == RIDGE
            else "as in the fused model"
        )
        leaderboard.record("cold", name, {"ndcg@10": interval}, seeds=list(range(10)), command=COMMAND, tuned=tuning)
    for name in (RIDGE, "dimension “content” alone"):
        lead = np.array(rows[NAME]) - np.array(rows[name])
        print(f"cold: lead over {name} {bootstrap(lead, np.arange(10))}, ahead on {(lead > 0).sum()} of 10 splits")
    liked, shown, without, beside = np.mean(shares, axis=0)
    print(
        f"whole catalogue: {liked:.3f} of the last likes are new items, {shown:.3f} of what is shown; warm targets' "
        f"NDCG@10 {without:.4f} without new items, {beside:.4f} beside them ({beside / without - 1:+.1%})"
    )


def ridge(fold: Fold) -> ContentEASE:
    """The strongest peer measured beforehand: ridge regression from text, genres and year to EASE's columns."""
    roles = {name: role for name, role in dataset.roles.items() if name in ("title", "year", "genres")}
    return ContentEASE().fit(fold.history, dataclasses.replace(items, roles=roles))


def among_all(cold_fold: Fold) -> tuple[float, float, float, float]:
    """New items among all others: their share of likes and of recommendations, and NDCG of warm items without and with.

    Each person's last fifth of likes is asked for, whether the item is new or not, from a history that ends before it.
    """
    new = cold_fold.candidates
    whole = splits.warm(dataset).test
    known = whole.history[~new[whole.history["item"]]]
    queries = Queries.of(known, whole.queries.user, dataset.n_items)
    model = trained(known, ~new)
    scores = model.score(queries)
    scores[queries.matrix().toarray() > 0] = -np.inf
    top = np.argsort(-scores, axis=1)[:, :10]
    liked = whole.targets.multiply(new).sum() / whole.targets.sum()
    warm_targets = (whole.targets.toarray() & ~new).astype(bool)
    people = warm_targets.any(axis=1)

    def found(candidates: np.ndarray) -> float:
        ranked = np.argsort(-np.where(candidates, scores, -np.inf), axis=1)[:, :10]
        hits = np.take_along_axis(warm_targets, ranked, axis=1)
        discount = 1 / np.log2(np.arange(10) + 2)
        best = np.array([discount[: min(10, n)].sum() for n in warm_targets.sum(axis=1)])
        return float(((hits * discount).sum(axis=1)[people] / best[people]).mean())

    figures = float(liked), float(new[top].mean()), found(~new), found(np.ones_like(new))
    print("  whole catalogue: liked {:.3f}, shown {:.3f}, warm NDCG without {:.4f}, beside {:.4f}".format(*figures))
    return figures


def rating() -> None:
    """Five folds: the fused model's stars, and what is usual beside them."""
    squares: dict[str, list[np.ndarray]] = {NAME: [], SERVED: [], "expected stars alone": []}
    people = []
    for number in range(splits.RATING_FOLDS):
        split = splits.rating(dataset, number)
        known = pd.concat([split.train, split.validation])
        model = trained(known)
        queries = Queries.of(known, np.unique(split.test["user"]), dataset.n_items)
        stars = split.test["rating"].to_numpy()
        predicted = model.predict(queries, split.test)
        squares[NAME].append((predicted - stars) ** 2)
        answered = served(model).predict(queries, split.test)
        squares[SERVED].append((answered - stars) ** 2)
        usual = np.clip(model.expected.predict(queries, split.test), 0.5, 5)
        squares["expected stars alone"].append((usual - stars) ** 2)
        people.append(split.test["user"].to_numpy())
        told = ", ".join(f"{name} {np.sqrt(found[-1].mean()):.4f}" for name, found in squares.items())
        print(f"  fold {number}: {told}", flush=True)
    for name, found in squares.items():
        squared = bootstrap(np.concatenate(found), np.concatenate(people))
        interval = Interval(*np.sqrt([squared.mean, squared.low, squared.high]))
        print(f"rating: {name} RMSE {interval}")
        tuning = "on fold 0's validation" if name in (NAME, SERVED) else "not tuned"
        leaderboard.record("rating", name, {"rmse": interval}, seeds=0, command=COMMAND, tuned=tuning)


def size() -> None:
    """Time and memory by the length of the log: half of the people, all, and ten copies with other items mixed in."""
    events = dataset.events()
    random = np.random.default_rng(0)
    copies = []
    for number in range(10):
        order = random.permutation(dataset.n_items) if number else np.arange(dataset.n_items)
        swapped = random.random(len(events)) < 0.3
        item = np.where(swapped & (number > 0), order[events["item"]], events["item"])
        copies.append(events.assign(user=events["user"] + number * dataset.n_users, item=item))
    many = pd.concat(copies).drop_duplicates(["user", "item"])
    logs = {0.5: events[events["user"] % 2 == 0], 1: events, 10: many}
    for times, log in logs.items():
        # Processor seconds: the same whatever else the machine does.
        started = time.process_time()
        trained(log.reset_index(drop=True))
        print(
            f"size {times}: {len(log):,} interactions, {time.process_time() - started:.0f} processor seconds",
            flush=True,
        )


if __name__ == "__main__":
    asked = sys.argv[1:] or ["warm", "rolling", "cold", "rating"]
    if "warm" in asked:
        by_user("warm", splits.warm(dataset))
    if "rolling" in asked:
        by_user("rolling", splits.rolling(dataset))
    if "cold" in asked:
        cold()
    if "rating" in asked:
        rating()
    if "size" in asked:
        size()
