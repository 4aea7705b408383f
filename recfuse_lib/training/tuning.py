"""Random search over a grid, on the validation fold, with the same number of trials for every model.

Taught in notebook 04; notebook 11 goes further.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from recfuse_lib.data.splits import Fold
from recfuse_lib.evaluation.metrics import Scorer, evaluate


@dataclasses.dataclass(frozen=True)
class Search:
    """The values of the best trial; and a row a trial: the values, `ndcg` on validation, `seconds`; best first."""

    best: dict[str, Any]
    trials: pd.DataFrame


def search(
    fit: Callable[..., Scorer], space: Mapping[str, Sequence[Any]], fold: Fold, budget: int, seed: int = 0, k: int = 10
) -> Search:
    """Try `budget` random points of a grid and rank them by NDCG@k on a validation fold.

    Args:
        fit: Called with one value of each name in `space`; returns a model fitted on the fold's history.
        space: Name → the values to try.
        fold: The validation fold; the test fold has no business here.
        budget: Number of trials; all points are tried when the grid has no more.
        seed: Of the choice of points.
        k: Cut-off.

    References:
        Bergstra and Bengio (2012), Random Search for Hyper-Parameter Optimization, JMLR 13.
    """
    points = list(itertools.product(*space.values()))
    chosen = np.random.default_rng(seed).permutation(len(points))[:budget]
    trials = []
    for number in sorted(chosen):
        values = dict(zip(space, points[number], strict=True))
        start = time.perf_counter()
        ndcg = evaluate(fit(**values), fold, k).summary()[f"ndcg@{k}"]
        trials.append({**values, "ndcg": ndcg, "seconds": time.perf_counter() - start})
    table = pd.DataFrame(trials, dtype=object).sort_values("ndcg", ascending=False, kind="stable", ignore_index=True)
    table = table.astype({"ndcg": float, "seconds": float})
    return Search({name: table.loc[0, name] for name in space}, table)
