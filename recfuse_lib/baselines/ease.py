"""EASE: a linear model in which every item is explained by all others, solved in closed form.

Taught in notebook 04.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from recfuse_lib.baselines.weighting import Weighting, by_user
from recfuse_lib.data.splits import Queries


class EASE:
    """Embarrassingly shallow autoencoder.

        min_B ‖X − XB‖² + λ‖B‖²  with diag(B) = 0   ⟹   B = I − P · diag(P)⁻¹,   P = (XᵀX + λI)⁻¹

    P is items × items (9,066² numbers on MovieLens). With fewer people than items the same P follows from a
    users × users inverse (the matrix inversion lemma), which is never larger than 671² there:

        P = (I − Xᵀ K X) / λ,   K = (XXᵀ + λI)⁻¹

    Args:
        l2: λ, the strength of the penalty.
        weighting: How much each interaction counts; recency is applied to the query's history only.

    Example:
        >>> history = pd.DataFrame({"user": [0, 0, 1], "item": [0, 1, 0], "rating": 5.0, "timestamp": [1, 2, 3]})
        >>> model = EASE(l2=1.0).fit(history, n_items=3)
        >>> model.score(Queries.of(history, np.array([1]), 3)).round(2)
        array([[0.  , 0.33, 0.  ]], dtype=float32)

    References:
        Steck (2019), Embarrassingly Shallow Autoencoders for Sparse Data, WWW.

    Taught in notebook 04.
    """

    def __init__(self, l2: float = 100.0, weighting: Weighting | None = None) -> None:
        self.l2 = l2
        self.weighting = weighting or Weighting()

    def fit(self, history: pd.DataFrame, n_items: int) -> EASE:
        """Solves for B from `history` (columns `user`, `item`, `rating`, `timestamp`)."""
        x = self.weighting.without_recency().matrix(by_user(history, n_items))
        self.k = np.linalg.inv((x @ x.T).toarray().astype("float64") + self.l2 * np.eye(x.shape[0])).astype("float32")
        self.diagonal = ((1 - np.asarray(x.multiply(self.k @ x).sum(0))) / self.l2).astype("float32")
        self.x = x
        return self

    def score(self, queries: Queries) -> np.ndarray:
        """Weighted histories times B, float32 (Q, n_items)."""
        history = self.weighting.matrix(queries)
        # With whom somebody shares an item is nearly everybody, so from there on a dense product is the faster one.
        alike = (history @ self.x.T).toarray() @ self.k
        own = history.toarray()
        return np.asarray(own - (own - alike @ self.x) / (self.l2 * self.diagonal))
