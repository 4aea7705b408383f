"""How much each interaction of a history counts: by its rating and by how recent it is. Taught in notebook 04."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import scipy.sparse

from recfuse_lib.data.splits import POSITIVE, Queries


@dataclasses.dataclass(frozen=True)
class Weighting:
    """Weight of an interaction with rating r that lies n interactions before the end of its history:

        w = (1 if r ≥ 4 else `low_rating`) · (`floor` + (1 − `floor`) · 2^(−n / `half_life`))

    An infinite `half_life` means no recency; the share `floor`, 0–1, never decays.

    >>> history = pd.DataFrame({"user": 0, "item": [0, 1, 2], "rating": [5.0, 2, 5], "timestamp": [1, 2, 3]})
    >>> Weighting(low_rating=0.5, half_life=1.0).matrix(Queries.of(history, np.array([0]), n_items=3)).toarray()
    array([[0.25, 0.25, 1.  ]], dtype=float32)
    """

    low_rating: float = 0.0
    half_life: float = np.inf
    floor: float = 0.0

    def matrix(self, queries: Queries) -> scipy.sparse.csr_array:
        """Return the weighted histories, sparse (Q, n_items); what weighs nothing is not stored."""
        matrix = queries.matrix(self.weights(queries))
        matrix.eliminate_zeros()
        return matrix

    def weights(self, queries: Queries) -> np.ndarray:
        """Return w of all that the queries' histories hold, (H,)."""
        weights = np.where(queries.rating >= POSITIVE, 1.0, self.low_rating)
        if not np.isfinite(self.half_life):
            return weights
        recency = np.exp2(-queries.steps_back / self.half_life)
        return np.asarray(weights * (self.floor + (1 - self.floor) * recency))

    def without_recency(self) -> Weighting:
        """Return the weighting for fitting: every interaction counts alike whenever it was."""
        return Weighting(self.low_rating)


def by_user(history: pd.DataFrame, n_items: int) -> Queries:
    """Return every person's history as queries, in the order of user codes."""
    return Queries.of(history, np.unique(history["user"]), n_items)
