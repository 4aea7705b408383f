"""The baselines that the fused model is compared with: tuned on validation, each scored once on the test.
Taught in notebook 21.
"""

import copy
import itertools
import json
import time
from typing import Any

import numpy as np

from recfuse_lib.command.work import Work
from recfuse_lib.data.faults import DataError
from recfuse_lib.data.splits import Fold, Split
from recfuse_lib.data.weighting import Weighting
from recfuse_lib.evaluation.metrics import evaluate
from recfuse_lib.models.ease import EASE
from recfuse_lib.models.item_knn import ItemKNN
from recfuse_lib.models.popularity import Popularity

SEED = 0
TRIALS = 12
"""Most settings that each baseline is tried with."""

TUNING_SHARE = 0.35
"""Of the budget, for the baselines; each is tried with one setting at least."""

Settings = dict[str, Any]


def tune(split: Split, work: Work) -> tuple[list[dict[str, Any]], list[str]]:
    """Tries the baselines in turn on validation, until each had `TRIALS` or their share of the budget is used. Returns
    the trials (`baseline`, `settings`, `ndcg`, `seconds`), and what was left out and why.
    """
    trials: list[dict[str, Any]] = work.kept("trials") or []
    until = work.left * (1 - TUNING_SHARE)
    waiting = _grids(bool(split.test.history["timestamp"].any()))
    skipped: list[str] = []
    fitted: dict[str, Any] = {}
    for turn, name in itertools.product(range(TRIALS), list(waiting)):
        settings = waiting[name][turn] if turn < len(waiting.get(name, ())) else None
        done = [trial["settings"] for trial in trials if trial["baseline"] == name]
        if settings is None or settings in done or (turn and work.left < until):
            continue
        begun = time.monotonic()
        try:
            model = _fitted(name, settings, split.validation, fitted)
        except DataError as error:
            skipped.append(f"{name} was left out: {error}")
            del waiting[name]
            continue
        ndcg = evaluate(model, split.validation).summary()["ndcg@10"]
        trials.append({"baseline": name, "settings": settings, "ndcg": ndcg, "seconds": time.monotonic() - begun})
        work.keep("trials", trials)
        work.tell(f"tuning {name} {turn + 1}/{len(waiting[name])}: NDCG@10 {ndcg:.4f}")
    return trials, skipped


def tested(name: str, trials: list[dict[str, Any]], split: Split, work: Work) -> list[float]:
    """Computes NDCG@10 of each test query with the setting that is best on validation."""

    def score() -> list[float]:
        best = max((trial for trial in trials if trial["baseline"] == name), key=lambda trial: trial["ndcg"])
        model = _fitted(name, best["settings"], split.test, {})
        ndcg = evaluate(model, split.test).per_query["ndcg"].tolist()
        work.tell(f"{name} on what was held out: NDCG@10 {np.mean(ndcg):.4f}")
        return ndcg

    scores: list[float] = work.once(f"test of {name}", score)
    return scores


def _grids(has_times: bool) -> dict[str, list[Settings]]:
    recent = [(3.0, 0.0), (10.0, 0.2), (30.0, 0.2)] if has_times else []
    weightings: list[Settings] = [
        {"low_rating": low, "half_life": half_life, "floor": floor}
        for low in (0.0, 0.3)
        for half_life, floor in [(None, 0.0), *recent]
    ]
    penalties = (20.0, 50.0, 100.0, 200.0, 400.0, 800.0)
    every: dict[str, list[Settings]] = {
        "popularity": [{"half_life_days": days} for days in ([None, 3, 30, 180, 720] if has_times else [None])],
        "item-kNN": [
            {"neighbours": neighbours, "shrinkage": shrinkage, **weighting}
            for neighbours in (20, 100)
            for shrinkage in (0.0, 10.0, 50.0)
            for weighting in weightings
        ],
        "EASE": [{"l2": l2, **weighting} for l2 in penalties for weighting in weightings],
    }
    random = np.random.default_rng(SEED)
    return {name: [grid[k] for k in random.permutation(len(grid))][:TRIALS] for name, grid in every.items()}


def _fitted(name: str, settings: Settings, fold: Fold, fitted: dict[str, Any]) -> Any:
    """A baseline fitted to a fold; settings that differ only in the weights of a query share one fit."""
    own = {key: value for key, value in settings.items() if key not in ("half_life", "floor")}
    key = json.dumps([name, own, len(fold.history)])
    if name == "popularity":
        return Popularity(own["half_life_days"] or np.inf).fit(fold.history, fold.items)
    weighting = Weighting(own.pop("low_rating"), settings["half_life"] or np.inf, settings["floor"])
    if fitted.get(name, ("", None))[0] != key:
        fitted.pop(name, None)
        model = (EASE if name == "EASE" else ItemKNN)(**own, weighting=weighting)
        fitted[name] = key, model.fit(fold.history, fold.items)
    again = copy.copy(fitted[name][1])
    again.weighting = weighting
    return again
