"""EASE: a linear model in which every item is explained by all others, solved in closed form. Taught in notebook 04."""

from __future__ import annotations

import contextlib
import copy
import os
from typing import Any

import numpy as np
import pandas as pd
import scipy.linalg.lapack
import scipy.sparse
import threadpoolctl

from recfuse_lib.data.faults import DataError
from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import Queries
from recfuse_lib.data.weighting import Weighting, by_user
from recfuse_lib.models import memory
from recfuse_lib.models.contract import Recommender, resized, strongest_of_rows

LARGE, BLOCK = 3_000, 1_024


class EASE(Recommender):
    """Explains every item by all others (embarrassingly shallow autoencoder).

        min_B ‖X − XB‖² + λ‖B‖²  with diag(B) = 0   ⟹   B = I − P · diag(P)⁻¹,   P = (XᵀX + λI)⁻¹

    P is items × items (9,066² numbers on MovieLens). The matrix inversion lemma gives the same P from a users × users
    inverse, 671² there; the smaller of the two is inverted:

        P = (I − Xᵀ K X) / λ,   K = (XXᵀ + λI)⁻¹

    λ is `l2`. `weighting` sets how much each interaction counts; recency is applied to the query's history only.

    >>> history = pd.DataFrame({"user": [0, 0, 1], "item": [0, 1, 0], "rating": 5.0, "timestamp": [1, 2, 3]})
    >>> model = EASE(l2=1.0).fit(history, Items.unnamed(3))
    >>> model.score(Queries.of(history, np.array([1]), 3)).round(2)
    array([[0.  , 0.33, 0.  ]], dtype=float32)

    Source: Steck (2019), Embarrassingly Shallow Autoencoders for Sparse Data, WWW.
    """

    def __init__(self, l2: float = 100.0, weighting: Weighting | None = None) -> None:
        self.l2 = l2
        self.weighting = weighting or Weighting()

    def fit(self, history: pd.DataFrame, items: Items) -> EASE:
        """Solves for B; raises `DataError` where the inverse does not fit into memory."""
        x = self.weighting.without_recency().matrix(by_user(history, items.n_items))
        self.by_items = x.shape[0] > items.n_items
        if self.by_items:
            self.b = inverse(x.T @ x, self.l2)
            self.b /= -np.diagonal(self.b).copy()
            np.fill_diagonal(self.b, 0)
            return self
        self.k = inverse(x @ x.T, self.l2)
        self.diagonal = ((1 - np.asarray(x.multiply(self.k @ x).sum(0))) / self.l2).astype("float32")
        self.x, self.chosen_by = x, x.T.tocsr()
        return self

    def pruned(self, strongest: int) -> EASE:
        """Stores B sparse where it is items × items; of a users × users inverse nothing needs to go."""
        if not self.by_items:
            return self
        smaller = copy.copy(self)
        smaller.b = strongest_of_rows(self.b, strongest)
        return smaller

    def extended(self, history: pd.DataFrame, items: Items) -> EASE:
        """Keeps B: a new item explains nothing and is explained by nothing yet."""
        larger = copy.copy(self)
        if self.by_items:
            larger.b = resized(scipy.sparse.csr_array(self.b), items.n_items)
        else:
            new = np.ones(items.n_items - len(self.diagonal), "float32")
            larger.x, larger.diagonal = resized(self.x, items.n_items, rows=False), np.append(self.diagonal, new)
            larger.chosen_by = larger.x.T.tocsr()
        return larger

    def _score(self, queries: Queries) -> np.ndarray:
        weights = self.weighting.weights(queries)
        if self.by_items:
            return queries.product(weights, self.b)
        # With whom somebody shares an item is nearly everybody, so from there on a dense product is the faster one.
        alike = queries.product(weights, self.chosen_by) @ self.k
        scale = 1 / (self.l2 * self.diagonal)
        scores = np.asarray((self.chosen_by @ alike.T).T * scale)
        owner = np.repeat(np.arange(len(queries)), queries.lengths)
        np.add.at(scores, (owner, queries.item), weights * (1 - scale[queries.item]))
        return scores


def inverse(gram: scipy.sparse.csr_array, l2: float) -> np.ndarray:
    """Computes (gram + λI)⁻¹, float32 (N, N), for a symmetric matrix of products; raises as `solve` does."""
    n = gram.shape[0]
    # In place, and only one triangle of it: half the work and a third of the memory.
    with _all_cores(n):
        solved, _ = scipy.linalg.lapack.dpotri(_factor(gram, l2), lower=1, overwrite_c=1)
    found = np.empty((n, n), "float32")
    for start in range(0, n, BLOCK):
        rows, before = slice(start, start + BLOCK), slice(0, start)
        lower = np.tril(solved[rows, rows])
        found[rows, rows] = lower + np.tril(lower, -1).T
        found[rows, before] = solved[rows, before]
        found[before, rows] = solved[rows, before].T
    return found


def solve(gram: scipy.sparse.csr_array, l2: float, wanted: np.ndarray) -> np.ndarray:
    """Computes (gram + λI)⁻¹ `wanted`, (N, ·), in a third of the work that the inverse takes.

    Raises:
        DataError: The matrix does not fit into memory, or λ is too small.
    """
    with _all_cores(gram.shape[0]):
        return np.asarray(scipy.linalg.lapack.dpotrs(_factor(gram, l2), wanted, lower=1)[0])


def _all_cores(n: int) -> Any:
    """Lifts a limit on BLAS's threads, such as that of small products, where a matrix (n, n) takes seconds."""
    limits = {"limits": os.cpu_count(), "user_api": "blas"}
    return threadpoolctl.threadpool_limits(**limits) if n > LARGE else contextlib.nullcontext()


def _factor(gram: scipy.sparse.csr_array, l2: float) -> np.ndarray:
    """The lower Cholesky factor of gram + λI."""
    n = gram.shape[0]
    way_out = "leave out people or items with few interactions, or take item-kNN, which keeps a hundred numbers an item"
    memory.check(14 * n**2, f"inverting a matrix of {n:,} × {n:,}", way_out)
    dense = gram.astype("float64").toarray()
    dense[np.diag_indices(n)] += l2
    factor, failed = scipy.linalg.lapack.dpotrf(dense.T, lower=1, overwrite_a=1)
    if failed:
        raise DataError(f"a matrix of {n:,} × {n:,} products cannot be inverted with λ = {l2:g}; give a larger λ")
    return np.asarray(factor)
