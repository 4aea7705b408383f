"""The fused model on MovieLens beside tuned peers: `warm`, `rolling` and `cold`, each test scored once.

    python benchmarks/fused_model.py [warm] [rolling] [cold]

Peers are tuned on validation, 24 trials each; the fused model's settings were chosen on the same validation folds. Rows
go to the leaderboard of this machine. About eight minutes on two cores.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable

import numpy as np

from recfuse_lib.baselines.ease import EASE
from recfuse_lib.baselines.item_knn import ItemKNN
from recfuse_lib.baselines.popularity import Popularity
from recfuse_lib.baselines.weighting import Weighting
from recfuse_lib.data import movielens, splits
from recfuse_lib.data.splits import Fold, Split
from recfuse_lib.encoders.text import encode_texts
from recfuse_lib.evaluation.metrics import Scorer, evaluate
from recfuse_lib.evaluation.significance import bootstrap, paired_bootstrap
from recfuse_lib.fusion import FusedModel
from recfuse_lib.teaching import leaderboard

NAME = "fused model (13 dimensions)"
COMMAND = "python benchmarks/fused_model.py"
RECENCIES = [Weighting(0.3, half_life, floor) for half_life in (3.0, 10.0, 30.0) for floor in (0.0, 0.2)]
GRIDS: dict[str, list[Callable[[], object]]] = {
    "EASE + recency": [
        lambda a=a, w=w: EASE(a, w) for a, w in itertools.product((50.0, 100.0, 200.0, 400.0), RECENCIES)
    ],
    "item-kNN + recency": [
        lambda k=k, w=w: ItemKNN(k, 10.0, w) for k, w in itertools.product((20, 50, 100, 200), RECENCIES)
    ],
    "popularity": [Popularity],
}

dataset = movielens.load()
text = encode_texts(dataset.texts())


def ndcg(model: Scorer, fold: Fold) -> np.ndarray:
    return evaluate(model, fold).per_query["ndcg"].to_numpy()


def tuned(name: str, split: Split) -> np.ndarray:
    """Test NDCG of the peer's setting that is best on validation."""
    fitted = [make().fit(split.validation.history, dataset.n_items) for make in GRIDS[name]]  # type: ignore[attr-defined]
    best = int(np.argmax([ndcg(model, split.validation).mean() for model in fitted]))
    return ndcg(GRIDS[name][best]().fit(split.test.history, dataset.n_items), split.test)  # type: ignore[attr-defined]


def fused(fold: Fold, seed: int = 0) -> np.ndarray:
    model = FusedModel(dataset, text, seed=seed)
    started = time.perf_counter()
    model.learn(fold.history)
    trained = time.perf_counter() - started
    found = ndcg(model, fold)
    scoring = time.perf_counter() - started - trained
    print(f"  trained in {trained:.0f} s, {len(found) / scoring:,.0f} queries a second: {found.mean():.4f}", flush=True)
    return found


def by_user(protocol: str, split: Split, seeds: list[int]) -> None:
    people = split.test.queries.user
    peers = {name: tuned(name, split) for name in GRIDS}
    ours = np.mean([fused(split.test, seed) for seed in seeds], axis=0)
    for name, found in peers.items():
        lead = paired_bootstrap(ours, found, people)
        print(
            f"{protocol}: {name} {bootstrap(found, people)}, lead of the fused model {lead}, "
            f"× {ours.mean() / found.mean():.2f}"
        )
        trials = len(GRIDS[name])
        if protocol != "warm":
            leaderboard.record(
                protocol,
                name,
                {"ndcg@10": bootstrap(found, people)},
                seeds=0,
                command=COMMAND,
                tuned=f"{trials} trials on validation" if trials > 1 else "not tuned",
            )
    print(f"{protocol}: {NAME} {bootstrap(ours, people)}")
    interval = {"ndcg@10": bootstrap(ours, people)}
    leaderboard.record(
        protocol, NAME, interval, seeds=seeds, command=COMMAND, tuned="about 12 runs on validation, by hand"
    )


def cold() -> None:
    """Ten splits; the peers are the two dimensions that know new items best, each alone."""
    rows: dict[str, list[float]] = {}
    for number in range(10):
        fold = splits.cold(dataset, number).test
        model = FusedModel(dataset, text)
        model.learn(fold.history)
        rows.setdefault(NAME, []).append(ndcg(model, fold).mean())
        for name in ("content", "popularity by content"):
            rows.setdefault(f"dimension “{name}” alone", []).append(ndcg(model.towers[name], fold).mean())
        print(
            f"  split {number}: " + ", ".join(f"{name} {values[-1]:.4f}" for name, values in rows.items()), flush=True
        )
    for name, values in rows.items():
        interval = bootstrap(np.array(values), np.arange(len(values)))
        print(f"cold: {name} {interval}")
        tuning = "about 12 runs on validation, by hand" if name == NAME else "as in the fused model"
        leaderboard.record("cold", name, {"ndcg@10": interval}, seeds=list(range(10)), command=COMMAND, tuned=tuning)


if __name__ == "__main__":
    asked = sys.argv[1:] or ["warm", "rolling", "cold"]
    if "warm" in asked:
        by_user("warm", splits.warm(dataset), [0, 1, 2])
    if "rolling" in asked:
        by_user("rolling", splits.rolling(dataset), [0])
    if "cold" in asked:
        cold()
