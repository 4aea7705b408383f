"""The people whom notebook 03 describes in words: two hundred with their histories, as newcomers, and before new films.

Taught in notebook 03.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from recfuse_lib.data import splits
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import Fold, Queries

PEOPLE, FIRST = 200, 5


def sample_users(dataset: Dataset, people: int = PEOPLE, seed: int = 0) -> dict[str, Fold]:
    """Three folds with the same number of people, drawn at random.

    Args:
        dataset: Interactions of at least so many people.
        people: How many.
        seed: Of the draw.

    Returns:
        `"warm"`: the test of `splits.warm`; `"newcomers"`: the same people and targets, of whose history only the first
        five interactions are known; `"cold"`: the test of `splits.cold`, split 0.

    Example:
        >>> from recfuse_lib.data import movielens
        >>> {name: len(fold.queries) for name, fold in sample_users(movielens.load()).items()}
        {'warm': 200, 'newcomers': 200, 'cold': 200}
    """
    warm = _some(splits.warm(dataset).test, people, seed)
    first = splits.in_order(warm.history).groupby("user").head(FIRST)
    newcomers = dataclasses.replace(warm, queries=Queries.of(first, warm.queries.user, dataset.n_items))
    return {"warm": warm, "newcomers": newcomers, "cold": _some(splits.cold(dataset, 0).test, people, seed)}


def _some(fold: Fold, people: int, seed: int) -> Fold:
    rows = np.sort(np.random.default_rng(seed).choice(len(fold.queries), people, replace=False))
    queries = Queries.of(fold.history, fold.queries.user[rows], fold.n_items)
    return dataclasses.replace(fold, queries=queries, targets=fold.targets[rows])
