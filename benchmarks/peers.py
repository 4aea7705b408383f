"""Every peer tuned with the same budget, `warm` and `rolling`: 24 trials on validation, then the test once.

Where a protocol has several validations, a trial is judged by the mean over them; SASRec's, of which each takes as long
as all of another peer's, by the last of them alone, where 1,000 questions tell it when to stop.

    python benchmarks/peers.py [warm] [rolling] [peer ...]

Without a protocol both are run, without a peer all: `python benchmarks/peers.py warm SASRec` runs one row again. Rows
go to the leaderboard of this machine, each query's NDCG to the cache, so that `tuned` need not tune again for a paired
comparison.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from bpr import BPR

from recfuse_lib.data import movielens, splits
from recfuse_lib.data.splits import Fold, Split
from recfuse_lib.data.weighting import Weighting
from recfuse_lib.evaluation.metrics import Ranking, evaluate
from recfuse_lib.evaluation.significance import bootstrap
from recfuse_lib.models.ease import EASE
from recfuse_lib.models.ials import ImplicitALS
from recfuse_lib.models.item_knn import ItemKNN
from recfuse_lib.models.popularity import Popularity
from recfuse_lib.pretrained import store
from recfuse_lib.teaching import leaderboard

Settings = dict[str, Any]

PROTOCOLS = {"warm": splits.warm, "rolling": splits.rolling}
MOST_EPOCHS = 30
"""Of SASRec; a trial is stopped before when it lags behind the others or no longer gains."""
FREE_EPOCHS = 8
"""Of SASRec, before a trial may be stopped: it stands at popularity for some epochs before it takes off."""
PATIENCE = 3
"""Epochs without a better validation after which a trial is stopped."""
ASKED = 1_000
"""Most questions that are asked of SASRec after every epoch."""


def grid(**values: Any) -> list[Settings]:
    return [dict(zip(values, point, strict=True)) for point in itertools.product(*values.values())]


PLAIN = [Weighting(low) for low in (0.0, 0.3)]
RECENT = [Weighting(0.3, half_life, floor) for half_life in (3.0, 10.0, 30.0) for floor in (0.0, 0.2)]
SASREC = {
    "length": [50],
    "batch_size": [32],
    "positives_only": [True, False],
    "dropout": [0.2, 0.5],
    "learning_rate": [0.003, 0.01],
}
GRIDS: dict[str, list[Settings]] = {
    "popularity": [{}],
    "popularity + recency": grid(half_life_days=np.geomspace(30, 12_000, 24).round().tolist()),
    "item-kNN": grid(neighbours=[10, 20, 50, 100], shrinkage=[0.0, 10.0, 50.0], weighting=PLAIN),
    "item-kNN + recency": grid(neighbours=[10, 20, 50, 100], weighting=RECENT),
    "EASE": grid(l2=[20.0, 50.0, 100.0, 200.0, 400.0, 800.0], weighting=[Weighting(w) for w in (0.0, 0.1, 0.3, 0.5)]),
    "EASE + recency": grid(l2=[50.0, 100.0, 200.0, 400.0], weighting=RECENT),
    "iALS": grid(dimension=[32, 64], iterations=[5], unobserved=[0.1, 0.3, 1.0, 3.0], l2=[0.003, 0.01, 0.03]),
    "iALS + recency": grid(dimension=[32], iterations=[5], unobserved=[0.3, 1.0], l2=[0.003, 0.01], weighting=RECENT),
    "BPR": grid(dimension=[32, 64, 128], l2=[0.01, 0.02, 0.03, 0.05], epochs=[20, 50]),
    "BPR + recency": grid(l2=[0.02, 0.03], epochs=[20, 50], weighting=RECENT),
    "SASRec": grid(loss=["full"], blocks=[1, 2], **SASREC) + grid(loss=["one"], blocks=[2], **SASREC),
}
"""Peer -> the settings that are tried on validation; what a setting leaves out is the model's default."""


@dataclasses.dataclass(frozen=True)
class Tuned:
    """What tuning found: the best setting, its NDCG@10 on validation, and its one ranking of the test."""

    settings: Settings
    validation: float
    test: Ranking
    seconds: float


def tuned(name: str, split: Split) -> np.ndarray:
    """NDCG@10 of every test query for the peer's setting that is best on validation: kept, or else found now."""
    kept = store.fetch(_key(name, split))
    return tune(name, split).test.per_query["ndcg"].to_numpy() if kept is None else kept[:, 0].astype("float64")


def tune(name: str, split: Split) -> Tuned:
    """Tries the peer's grid on validation, refits the best on all that precedes the test, and scores the test once."""
    begun = time.perf_counter()
    best, validation = max(_trials(name, split.tuning), key=lambda trial: trial[1])
    model = _model(name)(**best).fit(split.test.history, split.test.items)
    test = evaluate(model, split.test)
    store.keep(_key(name, split), test.per_query[["ndcg"]].to_numpy("float32"))
    return Tuned(best, validation, test, time.perf_counter() - begun)


def _trials(name: str, folds: Sequence[Fold]) -> Iterator[tuple[Settings, float]]:
    """Each setting with the mean over the folds of its NDCG@10."""
    if name == "SASRec":
        yield from _sasrec_trials(folds[-1].drawn(ASKED, seed=0))
        return
    yield from zip(GRIDS[name], np.mean([_scores(name, fold) for fold in folds], axis=0).tolist(), strict=True)


def _scores(name: str, fold: Fold) -> list[float]:
    found = []
    fitted: dict[str, Any] = {}
    for settings in GRIDS[name]:
        weighting = settings.get("weighting")
        # Recency applies to the question only, so what differs in nothing else is fitted once.
        fit = {**settings, "weighting": weighting.without_recency()} if weighting else settings
        if str(fit) not in fitted:
            fitted = {str(fit): _model(name)(**fit).fit(fold.history, fold.items)}
        model = copy.copy(fitted[str(fit)])
        if weighting:
            model.weighting = weighting
        found.append(evaluate(model, fold).summary()["ndcg@10"])
    return found


def _sasrec_trials(fold: Fold) -> Iterator[tuple[Settings, float]]:
    """Each setting with the number of epochs that was best for it.

    After `FREE_EPOCHS` a trial ends when it is worse than the median of the earlier trials up to that epoch, or when
    validation has not risen for `PATIENCE` epochs.

    References:
        Golovin et al. (2017), Google Vizier: A Service for Black-Box Optimization, KDD (the median stopping rule).
    """
    import keras

    earlier: list[list[float]] = []
    for settings in GRIDS["SASRec"]:
        model = _model("SASRec")(**settings, epochs=MOST_EPOCHS)
        curve: list[float] = []

        def watch(epoch: int, _: Any, model: Any = model, curve: list[float] = curve) -> None:
            curve.append(evaluate(model, fold).summary()["ndcg@10"])
            others = [max(one[: epoch + 1]) for one in earlier]
            lags = len(others) >= 3 and max(curve) < np.median(others)
            tired = epoch - int(np.argmax(curve)) >= PATIENCE
            model.model.stop_training = epoch >= FREE_EPOCHS and bool(lags or tired)

        keras.utils.set_random_seed(0)
        model.fit(fold.history, fold.items, [keras.callbacks.LambdaCallback(on_epoch_end=watch)])
        earlier.append(curve)
        print(f"    {len(curve)} epochs, {max(curve):.4f}: {settings}", flush=True)
        yield {**settings, "epochs": int(np.argmax(curve)) + 1}, max(curve)


def _model(name: str) -> Any:
    if name == "SASRec":
        import keras
        from sasrec import SASRec

        keras.utils.set_random_seed(0)
        return SASRec
    return {"popularity": Popularity, "item-kNN": ItemKNN, "EASE": EASE, "iALS": ImplicitALS, "BPR": BPR}[
        name.removesuffix(" + recency")
    ]


def _key(name: str, split: Split) -> str:
    """Another entry when the data, the grid or the peer's code is another."""
    parts = [fold.history for fold in (*split.tuning, split.test)]
    content = [store.sha256(part.to_numpy("float64")) for part in parts]
    content.append(store.sha256(split.test.targets.indices))
    content.append(inspect.getsource(sys.modules[_model(name).__module__]))
    how: dict[str, Any] = {"peer": name, "protocol": split.protocol, "grid": str(GRIDS[name])}
    if name == "SASRec":
        how["epochs"] = [MOST_EPOCHS, FREE_EPOCHS, PATIENCE, ASKED]
    return store.content_key(content, how)


def main(asked: list[str]) -> None:
    """Tunes, prints and records what is asked for.

    Raises:
        ValueError: A name is neither a protocol nor a peer.
    """
    unknown = [name for name in asked if name not in PROTOCOLS and name not in GRIDS]
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: neither a protocol ({', '.join(PROTOCOLS)}) nor a peer {list(GRIDS)}")
    dataset = movielens.load()
    for protocol in [name for name in PROTOCOLS if name in asked] or PROTOCOLS:
        split = PROTOCOLS[protocol](dataset)
        for name in [name for name in GRIDS if name in asked] or GRIDS:
            found = tune(name, split)
            interval = bootstrap(found.test.per_query["ndcg"].to_numpy(), split.test.queries.user)
            trials = len(GRIDS[name])
            print(
                f"{protocol}: {name}: validation {found.validation:.4f}, test {interval}, {trials} trials in "
                f"{found.seconds:.0f} s, {found.settings}",
                flush=True,
            )
            means = found.test.summary()
            leaderboard.record(
                protocol,
                f"{name} ({trials} trials)" if trials > 1 else name,
                {"ndcg@10": interval, "recall@10": means["recall@10"], "coverage@10": means["coverage@10"]},
                seeds=0,
                command=f'python benchmarks/peers.py {protocol} "{name}"',
                tuned=f"{trials} trials on validation" if trials > 1 else "not tuned",
            )


if __name__ == "__main__":
    main(sys.argv[1:])
