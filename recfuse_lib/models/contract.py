"""What every recommender can do, from popularity to the whole system: learn from a history, score, predict.

Baselines, towers and the dimensions of the fused model are the same kind of thing. Taught in notebook 04.
"""

from __future__ import annotations

import abc
from typing import Self

import numpy as np
import pandas as pd

from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import Queries


class Recommender(abc.ABC):
    """A model that is fitted on what people did, and then answers for any history, known or not.

    A subclass defines `fit`, and `_score`, `predict` or both.

    Attributes:
        is_flag: Whether the scores say yes or no, and keep their scale beside other models' scores.

    Example:
        >>> class Newest(Recommender):
        ...     def fit(self, history, items):
        ...         self.level = np.arange(items.n_items, dtype="float32")
        ...         return self
        ...
        ...     def _score(self, queries):
        ...         return np.tile(self.level, (len(queries), 1))
        >>> history = pd.DataFrame({"user": [0], "item": [2], "rating": [5.0], "timestamp": [1]})
        >>> queries = Queries.of(history, np.array([0]), n_items=3)
        >>> Newest().fit(history, Items.unnamed(3)).score(queries, candidates=np.array([[2, 0]]))
        array([[2., 0.]], dtype=float32)
    """

    is_flag = False

    @abc.abstractmethod
    def fit(self, history: pd.DataFrame, items: Items) -> Self:
        """Learn from the beginning.

        Args:
            history: Columns `user`, `item`, `rating`, `timestamp`.
            items: What is known of the items.

        Raises:
            DataError: The model cannot learn from these, or does not fit into memory.
        """

    def score(self, queries: Queries, candidates: np.ndarray | None = None) -> np.ndarray:
        """Score items for each query; more is better.

        Args:
            queries: Q histories.
            candidates: Item codes, (Q, C); None for all items.

        Returns:
            float32 (Q, C), or (Q, I) for all items.
        """
        scores = self._score(queries)
        return scores if candidates is None else np.take_along_axis(scores, candidates, axis=1)

    def _score(self, queries: Queries) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} predicts stars and does not rank")

    def predict(self, queries: Queries, asked: pd.DataFrame) -> np.ndarray:
        """Predict the stars that the people of the queries give.

        Args:
            queries: Q histories.
            asked: Columns `user` (among the queries'), `item`, `timestamp`.

        Returns:
            Stars, (N,).
        """
        raise NotImplementedError(f"{type(self).__name__} ranks and does not predict stars")


def rows_of(queries: Queries, asked: pd.DataFrame) -> np.ndarray:
    """Return the position of the query of each row of `asked`, (N,); the queries' users are sorted."""
    return np.searchsorted(queries.user, asked["user"])
