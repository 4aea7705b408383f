"""What every recommender can do, from popularity to the whole system: learn from a history, score, predict.

Baselines, towers and the dimensions of the fused model are the same kind of thing. Taught in notebook 04.
"""

from __future__ import annotations

import abc
import copy
from collections.abc import Mapping
from typing import Self

import numpy as np
import pandas as pd
import scipy.sparse

from recfuse_lib.data.items import Items
from recfuse_lib.data.sparse_rows import entries_of
from recfuse_lib.data.splits import Queries


class Recommender(abc.ABC):
    """A model that is fitted on what people did, and then answers for any history, known or not.

    A subclass defines `fit`, and `_score`, `predict` or both.

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
    """Whether the scores say yes or no, and keep their scale beside other models' scores."""

    @abc.abstractmethod
    def fit(self, history: pd.DataFrame, items: Items) -> Self:
        """Learn from the beginning, from `history` (`user`, `item`, `rating`, `timestamp`) and what the items are.
        Raises `DataError`: the model cannot learn from these, or does not fit into memory.
        """

    def score(self, queries: Queries, candidates: np.ndarray | None = None) -> np.ndarray:
        """Score items for each of Q queries; more is better.

        `candidates` are item codes, (Q, C), None for all I items. Returns float32 (Q, C), or (Q, I) for all.
        """
        scores = self._score(queries)
        return scores if candidates is None else np.take_along_axis(scores, candidates, axis=1)

    def standardised(self, queries: Queries, candidates: np.ndarray | None = None) -> np.ndarray:
        """Compute z, the scores with mean 0 and standard deviation 1 over all items, cut at −4 and 12.

        Shapes are as in `score`; the whole catalogue is what z compares with, for a few candidates too. The scores stay
        as they are where the model `is_flag`.
        """
        scores = np.array(self.score(queries), "float32")
        if not self.is_flag:
            standardise(scores)
        return scores if candidates is None else np.take_along_axis(scores, candidates, axis=1)

    def extended(self, history: pd.DataFrame, items: Items) -> Self:
        """Return the model for items of which some are new, at the end; `history` is what it was fitted on.

        What takes long to learn is kept: nobody has chosen a new item yet.
        """
        return copy.copy(self).fit(history, items)

    def pruned(self, strongest: int) -> Self:
        """Return the model with only the strongest weights of each item; the same where it keeps nothing for pairs."""
        return self

    def _score(self, queries: Queries) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} predicts stars and does not rank")

    def predict(self, queries: Queries, asked: Asked) -> np.ndarray:
        """Predict the stars, (N,), that people of the queries give to what is `asked`; see `Asked`."""
        raise NotImplementedError(f"{type(self).__name__} ranks and does not predict stars")


def standardise(scores: np.ndarray) -> np.ndarray:
    """Give each row, (·, I), mean 0 and standard deviation 1, and `clip` it, in place."""
    scores -= scores.mean(axis=1, keepdims=True)
    scores /= np.sqrt(np.einsum("qi,qi->q", scores, scores) / scores.shape[1])[:, None] + 1e-6
    return clip(scores)


def clip(scores: np.ndarray) -> np.ndarray:
    """Cut standardised scores at −4 and 12, in place."""
    return np.clip(scores, -4, 12, out=scores)


Asked = pd.DataFrame | Mapping[str, np.ndarray]
"""What stars are asked for: columns `user` (among the queries'), `item`, `timestamp`, (N,) each."""


def rows_of(queries: Queries, asked: Asked) -> np.ndarray:
    """Return the position of the query of each row of `asked`, (N,); the queries' users are sorted."""
    if len(queries) == 1:
        return np.zeros(len(asked["item"]), "int64")
    return np.searchsorted(queries.user, asked["user"])


def entries(query: Queries, weights: np.ndarray, matrix: scipy.sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Find where one query's `Queries.product` with a matrix is not 0, sorted codes, and its values there."""
    some = np.flatnonzero(weights)
    lengths, taken = entries_of(matrix, query.item[some])
    codes, place = np.unique(matrix.indices[taken], return_inverse=True)
    return codes, np.bincount(place, np.repeat(weights[some], lengths) * matrix.data[taken], len(codes))


def resized(matrix: scipy.sparse.csr_array, n_items: int, rows: bool = True) -> scipy.sparse.csr_array:
    """Return a matrix with empty columns, and `rows`, for items that came after it was made."""
    larger = matrix.copy()
    larger.resize((n_items if rows else matrix.shape[0], n_items))
    return larger


def strongest_of_rows(matrix: scipy.sparse.csr_array | np.ndarray, count: int) -> scipy.sparse.csr_array:
    """Keep the `count` entries of each row that are furthest from 0."""
    matrix = scipy.sparse.csr_array(matrix)
    owner = np.repeat(np.arange(matrix.shape[0], dtype=matrix.indices.dtype), np.diff(matrix.indptr))
    order = np.lexsort((-np.abs(matrix.data), owner))
    kept = order[np.arange(len(order)) - matrix.indptr[owner[order]] < count]
    entries = matrix.data[kept], (owner[kept], matrix.indices[kept])
    return scipy.sparse.csr_array(entries, shape=matrix.shape)
