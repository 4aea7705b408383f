"""Recommend to everybody what most people liked. Taught in notebook 04."""

from __future__ import annotations

import numpy as np
import pandas as pd

from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import POSITIVE, Queries
from recfuse_lib.models.contract import Recommender

SECONDS_PER_DAY = 86_400


class Popularity(Recommender):
    """Scores an item by its number of positives, each halved for every `half_life_days` of age at the end of the log.

    >>> history = pd.DataFrame({"user": [0, 1, 1], "item": [2, 2, 0], "rating": [5.0, 4, 1], "timestamp": 1})
    >>> model = Popularity().fit(history, Items.unnamed(3))
    >>> model.score(Queries.of(history, np.array([0]), 3))
    array([[0., 0., 2.]], dtype=float32)
    """

    def __init__(self, half_life_days: float = np.inf) -> None:
        self.half_life_days = half_life_days

    def fit(self, history: pd.DataFrame, items: Items) -> Popularity:
        """Counts the positives of `history`."""
        liked = history[history["rating"] >= POSITIVE]
        age = (history["timestamp"].max() - liked["timestamp"]) / SECONDS_PER_DAY
        weights = np.exp2(-age / self.half_life_days)
        self.counts = np.bincount(liked["item"], weights, minlength=items.n_items).astype("float32")
        return self

    def _score(self, queries: Queries) -> np.ndarray:
        return np.tile(self.counts, (len(queries), 1))
