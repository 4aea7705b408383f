"""iALS: matrix factorisation of implicit feedback by alternating least squares. Taught in notebook 04."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse

from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import Queries
from recfuse_lib.data.weighting import Weighting, by_user
from recfuse_lib.models import memory
from recfuse_lib.models.contract import Recommender

BLOCK = 1_024


class ImplicitALS(Recommender):
    """Factorises interactions: every pair asks for the score 0 with weight α₀, every interaction for 1 with weight w.

        min_{p,q} Σ_{(u,i) seen} w_ui (1 − p_uᵀq_i)² + α₀ Σ_{all u,i} (p_uᵀq_i)² + λ(Σ_u c_u ‖p_u‖² + Σ_i c_i ‖q_i‖²)

    c counts the interactions of a row plus α₀ times the number of rows on the other side, so that λ means the same for
    frequent and rare items. One side is solved exactly while the other is fixed, `iterations` times over. α₀ is
    `unobserved`, λ `l2`; `weighting` gives w, its recency for the query's history only.

    References:
        Hu, Koren and Volinsky (2008), Collaborative Filtering for Implicit Feedback Datasets, ICDM.
        Rendle et al. (2022), Revisiting the Performance of iALS on Item Recommendation Benchmarks, RecSys.
    """

    def __init__(
        self,
        dimension: int = 64,
        unobserved: float = 0.1,
        l2: float = 0.03,
        iterations: int = 8,
        weighting: Weighting | None = None,
        seed: int = 0,
    ) -> None:
        self.dimension, self.unobserved, self.l2, self.iterations = dimension, unobserved, l2, iterations
        self.weighting = weighting or Weighting()
        self.seed = seed

    def fit(self, history: pd.DataFrame, items: Items) -> ImplicitALS:
        """Alternates from random item vectors; raises `DataError` where that does not fit into memory."""
        x = self.weighting.without_recency().matrix(by_user(history, items.n_items))
        larger = max(x.shape)
        needed = 4 * self.dimension**2 * larger
        memory.check(needed, f"iALS with {self.dimension} factors for {larger:,} rows", "take fewer factors")
        transposed = x.T.tocsr()
        generator = np.random.default_rng(self.seed)
        start = generator.normal(0, 0.1 / np.sqrt(self.dimension), (items.n_items, self.dimension))
        self.items = start.astype("float32")
        for _ in range(self.iterations):
            users = self._solve(x, self.items)
            self.items = self._solve(transposed, users)
        return self

    def _solve(self, weights: scipy.sparse.csr_array, others: np.ndarray) -> np.ndarray:
        """The best vector of every row of `weights` (R, S), given the vectors of the columns `others` (S, D)."""
        d = self.dimension
        outer = np.einsum("sd,se->sde", others, others).reshape(len(others), d * d)
        gram = self.unobserved * outer.sum(0).reshape(d, d)
        solved = np.empty((weights.shape[0], d), "float32")
        for start in range(0, len(solved), BLOCK):
            block = weights[start : start + BLOCK]
            count = np.diff(block.indptr) + self.unobserved * len(others)
            left = (
                (block @ outer).reshape(-1, d, d) + gram + (self.l2 * count)[:, None, None] * np.eye(d, dtype="float32")
            )
            solved[start : start + BLOCK] = np.linalg.solve(left, (block @ others)[:, :, None])[:, :, 0]
        return solved

    def _score(self, queries: Queries) -> np.ndarray:
        return np.asarray(self._solve(self.weighting.matrix(queries), self.items) @ self.items.T)
