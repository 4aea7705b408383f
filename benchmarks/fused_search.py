"""Search the fused model's settings on validation: 24 trials, as many as every peer gets.

    python benchmarks/fused_search.py   # half an hour; what is finished is kept in build/fused_search

A trial takes the best setting so far and draws each of its values again with probability `MOVES`; the first was chosen
by hand. All are judged on the validation of `warm`, with seed 0. The best `FINALISTS` and the first are judged on the
validations of `rolling` and of the first three splits of `cold` too: there is one setting for every protocol. No test
is scored. `docs/lessons/11_search.csv` has every trial. After a change of code, delete build/fused_search.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import tables

from recfuse_lib.data import movielens, splits
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import Fold
from recfuse_lib.data.weighting import Weighting
from recfuse_lib.encoders.text import encode_texts
from recfuse_lib.evaluation.metrics import evaluate
from recfuse_lib.models import gates, holdouts
from recfuse_lib.models.closed_form import TemporalPopularity, Transitions
from recfuse_lib.models.dimensions import DIMENSIONS, TIMES, Dimension
from recfuse_lib.models.ease import EASE
from recfuse_lib.models.fused import FusedModel
from recfuse_lib.models.item_knn import ItemKNN
from recfuse_lib.pretrained import store

RUNS = tables.REPOSITORY / "build" / "fused_search"
COMMAND = "python benchmarks/fused_search.py"
TRIALS, MOVES, FINALISTS = 24, 0.3, 3
BY_HAND: dict[str, float] = {
    "l2": 100.0,
    "l2_recent": 50.0,
    "half_life": 10.0,
    "floor": 0.2,
    "neighbours": 100,
    "tau": 6.0,
    "days": 30.0,
    "week": 0,
    "hidden": 32,
    "gate_l2": 1e-3,
    "rate": 0.02,
    "epochs": 14,
    "share": 0.1,
}
SPACE: dict[str, tuple[float, ...]] = {
    "l2": (50.0, 100.0, 200.0, 400.0),
    "l2_recent": (25.0, 50.0, 100.0, 200.0),
    "half_life": (3.0, 5.0, 10.0, 20.0),
    "floor": (0.1, 0.2, 0.4),
    "neighbours": (50, 100, 200),
    "tau": (3.0, 6.0, 12.0),
    "days": (10.0, 30.0, 60.0),
    "week": (0, 1),
    "hidden": (16, 32, 64),
    "gate_l2": (3e-4, 1e-3, 3e-3),
    "rate": (0.01, 0.02),
    "epochs": (10, 14, 20),
    "share": (0.1, 0.2),
}
"""l2 and l2_recent of the two EASE, half_life and floor of what is recent, τ of `Transitions`, days of "month", whether
there is a dimension of seven days too, the gates' width, penalty, rate and epochs, and how much of each person's likes
the first round of training holds out."""


CODE = (
    *(f"recfuse_lib/data/{name}.py" for name in ("items", "splits", "weighting")),
    *(f"recfuse_lib/encoders/{name}.py" for name in ("attributes", "centring")),
    "recfuse_lib/evaluation/metrics.py",
    *(f"recfuse_lib/models/{name}.py" for name in ("closed_form", "content", "contract", "dimensions", "ease")),
    *(f"recfuse_lib/models/{name}.py" for name in ("fitted_gate", "fused", "gates", "holdouts", "item_knn")),
    *(f"recfuse_lib/models/{name}.py" for name in ("inner_product", "ratings")),
)
SETTINGS = {"trials": TRIALS, "moves": MOVES, "finalists": FINALISTS, "space": SPACE, "first": BY_HAND}
SEARCH = tables.Table("lessons/11_search.csv", COMMAND, SETTINGS, ("movielens",), CODE, ("trial",), {"warm": 0.003})
TABLES = [SEARCH]


@functools.cache
def world() -> Dataset:
    dataset = movielens.load()
    return dataset.encoded(text=encode_texts(dataset.texts()))


@functools.cache
def folds(protocol: str) -> tuple[Fold, ...]:
    if protocol == "cold":
        return tuple(splits.cold(world(), number).validation for number in range(3))
    return splits.warm(world()).tuning if protocol == "warm" else splits.rolling(world()).tuning


def model(settings: dict[str, float]) -> FusedModel:
    recent = Weighting(0.3, settings["half_life"], settings["floor"])
    changed = {
        "linear": Dimension(EASE(settings["l2"])),
        "linear, recent": Dimension(EASE(settings["l2_recent"], recent), (TIMES,)),
        "neighbours": Dimension(ItemKNN(int(settings["neighbours"]), 10.0, recent)),
        "sequence": Dimension(Transitions(tau=settings["tau"]), (TIMES,)),
        "month": Dimension(TemporalPopularity(settings["days"]), (TIMES,)),
    }
    if settings["week"]:
        changed["week"] = Dimension(TemporalPopularity(7.0), (TIMES,))
    return FusedModel({**DIMENSIONS, **changed}, hidden=int(settings["hidden"]))


def measured(settings: dict[str, float], protocol: str) -> float:
    """NDCG@10, the mean over the protocol's validations."""
    first_round = functools.partial(holdouts.hold_out_positives, share=settings["share"])
    training = {"L2": settings["gate_l2"], "LEARNING_RATE": settings["rate"], "EPOCHS": int(settings["epochs"])}
    found = []
    with mock.patch.multiple(gates, **training), mock.patch.object(holdouts, "hold_out_positives", first_round):
        for fold in folds(protocol):
            available = ~fold.candidates if protocol == "cold" else None
            items = dataclasses.replace(world().items, available=available)
            ranking = evaluate(model(settings).fit(fold.history, items), fold)
            found.append(float(ranking.per_query["ndcg"].mean()))
    return float(np.mean(found))


def judged(settings: dict[str, float], protocol: str) -> float:
    """The same; what was measured before is read."""
    path = RUNS / f"{protocol}-{store.content_key([json.dumps(settings, sort_keys=True)], {})[:16]}.json"
    if not path.exists():
        started = time.process_time()
        store.write(path, json.dumps(measured(settings, protocol)))
        told = ", ".join(f"{name} {value:g}" for name, value in settings.items() if value != BY_HAND[name]) or "by hand"
        print(
            f"{protocol} {path.read_text('utf-8')} in {time.process_time() - started:.0f} processor s: {told}",
            flush=True,
        )
    return float(json.loads(path.read_text("utf-8")))


def search() -> pd.DataFrame:
    """Runs what is not finished, and returns every trial."""
    random = np.random.default_rng(0)
    trials: list[dict[str, Any]] = []
    for number in range(TRIALS):
        best = max(trials, key=lambda trial: trial["warm"], default=BY_HAND)
        settings = {name: best[name] for name in SPACE}
        tried = [{name: trial[name] for name in SPACE} for trial in trials]
        while settings in tried:
            moved = random.random(len(SPACE)) < MOVES
            drawn = {name: random.choice(values).item() for name, values in SPACE.items()}
            settings = {name: drawn[name] if moves else best[name] for (name, moves) in zip(SPACE, moved, strict=True)}
        trials.append({"trial": number, **settings, "warm": judged(settings, "warm")})
    order = sorted(trials, key=lambda trial: -trial["warm"])
    for trial in {one["trial"]: one for one in (trials[0], *order[:FINALISTS])}.values():
        for protocol in ("rolling", "cold"):
            trial[protocol] = judged({name: trial[name] for name in SPACE}, protocol)
    return pd.DataFrame(trials)


def repeat(table: tables.Table) -> pd.DataFrame:
    """The best trial, judged again on `warm`."""
    trials = pd.read_csv(tables.DOCUMENTS / table.path)
    best = trials.loc[trials["warm"].idxmax()]
    found = measured({name: float(best[name]) for name in SPACE}, "warm")
    return pd.DataFrame([{"trial": int(best["trial"]), "warm": found}])


if __name__ == "__main__":
    tables.write(SEARCH, search())
