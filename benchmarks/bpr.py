"""BPR: matrix factorisation that puts what a person liked above what they did not choose."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse

from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import Queries
from recfuse_lib.data.weighting import Weighting, by_user
from recfuse_lib.models import memory
from recfuse_lib.models.contract import Recommender

START = 0.1
"""Length of a vector before training, about."""

RIDGE = 1e-3
"""Penalty of the regression that folds histories in, as a share of the mean variance of what it reads."""


class BPR(Recommender):
    """Bayesian personalised ranking with matrix factorisation.

        min_{p,q,b} Σ_{(u,i) seen} w_ui E_j [−log σ(s(u,i) − s(u,j)) + λ/2 (‖p_u‖² + ‖q_i‖² + ‖q_j‖²)]

    with s(u, i) = p_uᵀq_i + b_i and j drawn evenly from what u did not choose, anew at each pass; descended in batches
    with Adagrad. A query is answered from its history alone, so people who are not known are answered as well: p_u is
    folded in as Rᵀx̄_u, with x̄_u the weighted mean of the vectors q of the history and R the ridge regression that
    gives the known people's learned vectors back. On MovieLens that ranks better than the learned vectors do.

    Args:
        dimension: Width D of the vectors.
        l2: λ.
        epochs: Passes over the interactions.
        learning_rate: Of Adagrad.
        batch_size: Interactions a step.
        weighting: How much each interaction counts; recency is applied to the query's history only.
        seed: Of the initial vectors and the draws.

    References:
        Rendle, Freudenthaler, Gantner and Schmidt-Thieme (2009), BPR: Bayesian Personalized Ranking from Implicit
        Feedback, UAI.
        Duchi, Hazan and Singer (2011), Adaptive Subgradient Methods for Online Learning and Stochastic Optimization,
        JMLR 12 (Adagrad).
    """

    def __init__(
        self,
        dimension: int = 64,
        l2: float = 0.02,
        epochs: int = 40,
        learning_rate: float = 0.05,
        batch_size: int = 2_048,
        weighting: Weighting | None = None,
        seed: int = 0,
    ) -> None:
        self.dimension, self.l2, self.epochs = dimension, l2, epochs
        self.learning_rate, self.batch_size = learning_rate, batch_size
        self.weighting = weighting or Weighting()
        self.seed = seed

    def fit(self, history: pd.DataFrame, items: Items) -> BPR:
        """Learns from `history` (columns `user`, `item`, `rating`, `timestamp`)."""
        x = self.weighting.without_recency().matrix(by_user(history, items.n_items))
        n_users, n_items = x.shape
        memory.check(n_users * n_items, f"BPR for {n_users:,} people and {n_items:,} items", "leave some out")
        generator = np.random.default_rng(self.seed)
        sizes = (x.shape[0], self.dimension), (items.n_items, self.dimension)
        people, self.items = (
            generator.normal(0, START / np.sqrt(self.dimension), size).astype("float32") for size in sizes
        )
        self.biases = np.zeros(items.n_items, "float32")
        learned = (people, self.items, self.biases)
        squares = [np.full_like(values, 1e-8) for values in learned]
        user, liked, weight = np.repeat(np.arange(x.shape[0]), np.diff(x.indptr)), x.indices, x.data
        chosen = np.zeros(x.shape, bool)
        chosen[user, liked] = True
        for _ in range(self.epochs):
            order = generator.permutation(len(user))
            for start in range(0, len(order), self.batch_size):
                part = order[start : start + self.batch_size]
                other = generator.integers(0, items.n_items, len(part))
                kept = ~chosen[user[part], other]
                part, other = part[kept], other[kept]
                steps = gradients(*learned, user[part], liked[part], other, weight[part], self.l2)
                for values, square, gradient in zip(learned, squares, steps, strict=True):
                    square += gradient**2
                    values -= self.learning_rate * gradient / np.sqrt(square)
        means = self._mean(x)
        gram = means.T @ means
        ridge = (RIDGE * np.trace(gram) / self.dimension + 1e-9) * np.eye(self.dimension, dtype="float32")
        self.folding = np.linalg.solve(gram + ridge, means.T @ people)
        return self

    def _mean(self, weights: scipy.sparse.csr_array) -> np.ndarray:
        """x̄ of every row of weighted histories (Q, n_items); of an empty one 0."""
        total = np.asarray(weights.sum(axis=1), "float32")
        return np.asarray(weights @ self.items) / np.where(total > 0, total, 1)[:, None]

    def _score(self, queries: Queries) -> np.ndarray:
        """Folds each query's history in and multiplies with the items' vectors, float32 (Q, n_items)."""
        return np.asarray(self._mean(self.weighting.matrix(queries)) @ self.folding @ self.items.T + self.biases)


def gradients(
    people: np.ndarray,
    items: np.ndarray,
    biases: np.ndarray,
    user: np.ndarray,
    liked: np.ndarray,
    other: np.ndarray,
    weight: np.ndarray,
    l2: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The gradient of Σ_n w_n (−log σ(s(u,i) − s(u,j)) + λ/2 (‖p_u‖² + ‖q_i‖² + ‖q_j‖²)) over N triples (u, i, j).

    Args:
        people: p, (U, D).
        items: q, (I, D).
        biases: b, (I,).
        user: u of each triple, (N,).
        liked: i, (N,).
        other: j, (N,).
        weight: w, (N,).
        l2: λ.

    Returns:
        The gradients by p (U, D), q (I, D) and b (I,).
    """
    p, q_i, q_j = people[user], items[liked], items[other]
    gap = (p * (q_i - q_j)).sum(axis=1) + biases[liked] - biases[other]
    # −σ(−gap), written so that no exponential overflows.
    slope = (weight * (np.tanh(gap / 2) - 1) / 2)[:, None]
    decay = (l2 * weight)[:, None]
    by_items = _summed(liked, slope * p + decay * q_i, len(items)) + _summed(other, decay * q_j - slope * p, len(items))
    by_biases = np.bincount(liked, slope[:, 0], len(items)) - np.bincount(other, slope[:, 0], len(items))
    return _summed(user, slope * (q_i - q_j) + decay * p, len(people)), by_items, by_biases.astype(biases.dtype)


def _summed(row: np.ndarray, values: np.ndarray, n_rows: int) -> np.ndarray:
    """The sums of the values (N, D) that belong to each row, (R, D)."""
    ones = np.ones(len(row), values.dtype)
    belongs = scipy.sparse.csr_array((ones, row, np.arange(len(row) + 1)), shape=(len(row), n_rows))
    return np.asarray(belongs.T @ values)
