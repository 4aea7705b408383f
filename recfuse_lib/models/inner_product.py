"""Recommenders that score an item by the inner product of its vector with a vector of the person.
Taught in notebook 18.
"""

import abc
import functools

import numpy as np

from recfuse_lib.data.splits import Queries
from recfuse_lib.models.contract import Recommender, clip


class InnerProduct(Recommender):
    """s(u, i) = p_uᵀ v_i; scores of a few candidates cost nothing for the others, standardised ones too.

    A subclass defines `interest`, and calls `keep` in `fit`.
    """

    vectors: np.ndarray
    """v, float32 (I, D)."""

    @abc.abstractmethod
    def interest(self, queries: Queries) -> np.ndarray:
        """Compute p of each query, float32 (Q, D)."""

    def keep(self, vectors: np.ndarray) -> None:
        """Take these as the vectors of the items."""
        self.vectors = np.ascontiguousarray(vectors, "float32")
        self.__dict__.pop("moments", None)

    @functools.cached_property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of the vectors, (D,) and (D, D): p's scores have mean pᵀv̄ and variance pᵀCp."""
        covariance = np.cov(self.vectors.T, bias=True).reshape(2 * self.vectors.shape[1:])
        return self.vectors.mean(axis=0), covariance.astype("float32")

    def score(self, queries: Queries, candidates: np.ndarray | None = None) -> np.ndarray:
        """Score items for each query; see `Recommender.score`."""
        interest = self.interest(queries)
        if candidates is None:
            return np.asarray(interest @ self.vectors.T)
        return self._products(interest, candidates)

    def standardised(self, queries: Queries, candidates: np.ndarray | None = None) -> np.ndarray:
        """Compute z; see `Recommender.standardised`."""
        if candidates is None:
            return super().standardised(queries)
        return self.standardise(self.interest(queries), candidates)

    def standardise(self, interest: np.ndarray, candidates: np.ndarray | None = None) -> np.ndarray:
        """Compute z of the candidates, (Q, C), or of all items, for interests, (Q, D), wherever they come from."""
        mean, covariance = self.moments
        deviation = np.sqrt(np.maximum(np.einsum("qd,qd->q", interest @ covariance, interest), 0))
        scores = self._products(interest, candidates) - (interest @ mean)[:, None]
        return clip(scores / (deviation[:, None] + 1e-6))

    def _products(self, interest: np.ndarray, candidates: np.ndarray | None) -> np.ndarray:
        if candidates is None:
            return np.asarray((self.vectors @ interest.T).T)
        if len(interest) == 1:  # the usual case when serving, and one product instead of many
            return np.asarray(self.vectors[candidates[0]] @ interest[0])[None]
        return np.asarray((self.vectors[candidates] @ interest[:, :, None])[..., 0])
