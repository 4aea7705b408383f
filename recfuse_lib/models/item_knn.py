"""Recommend what is liked together with what this person liked. Taught in notebook 04."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import scipy.sparse

from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import Queries
from recfuse_lib.data.weighting import Weighting, by_user
from recfuse_lib.models import memory
from recfuse_lib.models.contract import Recommender, entries, resized

BLOCK = 1_024


class ItemKNN(Recommender):
    """Scores by item-based nearest neighbours with a shrunk cosine.

        s(j, i) = x_jᵀ x_i / (‖x_j‖ ‖x_i‖ + `shrinkage`),   score(u, i) = Σ_{j ∈ h_u} w_j s(j, i)

    x_i is item i's column of the users × items matrix; of each item's similarities the `neighbours` largest are kept.
    `shrinkage` pulls those that rest on few people towards 0; `weighting` gives w_j.

    References:
        Sarwar, Karypis, Konstan and Riedl (2001), Item-Based Collaborative Filtering Recommendation Algorithms, WWW.
    """

    def __init__(self, neighbours: int = 100, shrinkage: float = 10.0, weighting: Weighting | None = None) -> None:
        self.neighbours, self.shrinkage, self.weighting = neighbours, shrinkage, weighting or Weighting()

    def fit(self, history: pd.DataFrame, items: Items) -> ItemKNN:
        """Computes the similarities; raises `DataError` where they do not fit into memory."""
        x = self.weighting.without_recency().matrix(by_user(history, items.n_items))
        norms = np.sqrt(np.asarray(x.multiply(x).sum(0)))
        known = np.flatnonzero(norms)  # what nobody has liked has no similarity to anything
        x, norms = x[:, known], norms[known]
        needed = 8 * BLOCK * len(known) + 12 * self.neighbours * len(known)
        memory.check(needed, f"item-kNN over {len(known):,} items", "keep fewer neighbours")
        transposed = x.T.tocsr()
        rows, columns, values = [], [], []
        for start in range(0, len(known), BLOCK):
            block = np.arange(start, min(start + BLOCK, len(known)))
            similarity = transposed[block] @ x
            row = np.repeat(block, np.diff(similarity.indptr))
            similarity.data /= norms[row] * norms[similarity.indices] + self.shrinkage
            similarity.data[row == similarity.indices] = 0
            kept = _largest_of_rows(similarity, self.neighbours)
            rows.append(known[row[kept]])
            columns.append(known[similarity.indices[kept]])
            values.append(similarity.data[kept])
        entries = _joined(values), (_joined(rows), _joined(columns))
        self.similarity = scipy.sparse.csr_array(entries, (items.n_items, items.n_items), dtype="float32")
        return self

    def extended(self, history: pd.DataFrame, items: Items) -> ItemKNN:
        """Keeps the similarities: a new item has none."""
        larger = copy.copy(self)
        larger.similarity = resized(self.similarity, items.n_items)
        return larger

    def _score(self, queries: Queries) -> np.ndarray:
        return np.asarray(queries.product(self.weighting.weights(queries), self.similarity), "float32")

    def touched(self, query: Queries) -> tuple[np.ndarray, np.ndarray]:
        """Finds the items that one query's scores are not 0 of, and these."""
        return entries(query, self.weighting.weights(query), self.similarity)


def _largest_of_rows(matrix: scipy.sparse.csr_array, count: int) -> np.ndarray:
    """Positions of each row's `count` largest entries, or of all where it has no more."""
    parts = [np.empty(0, "int64")]
    for start, stop in zip(matrix.indptr, matrix.indptr[1:], strict=False):
        values = matrix.data[start:stop]
        row = np.arange(len(values)) if len(values) <= count else np.argpartition(values, -count)[-count:]
        parts.append(start + row)
    return np.concatenate(parts)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty(0, "int64")
