"""Post-processing that fits encodings for recommending: removes what items share, spreads out what differs.
Taught in notebook 02.
"""

from typing import Any, Self

import numpy as np
import numpy.typing as npt

from recfuse_lib.encoders.text import Encodings

SHRINKAGE = 0.1


class Centring:
    """Subtract what all items have in common:  e′ = (e − μ) / ‖e − μ‖.

    Sentence encodings lie in a narrow cone, so their cosines are all alike; around their mean they differ. μ comes from
    the training items alone: held-out items must not influence it.

    >>> training = np.array([[1.0, 0.1], [1.0, -0.1]], "float32")
    >>> Centring().fit(training).transform(training)
    array([[ 0.,  1.],
           [ 0., -1.]], dtype=float32)

    Source: Mu and Viswanath (2018), All-but-the-Top, ICLR.
    """

    mean: Encodings | None = None

    def fit(self, encodings: Encodings) -> Self:
        """Learn from the encodings of the training items alone, (N, D)."""
        matrix = np.asarray(encodings, np.float64)
        if matrix.ndim != 2 or len(matrix) < 2 or not np.isfinite(matrix).all():
            raise ValueError(f"expected a matrix of at least two finite encodings, got shape {matrix.shape}")
        self.mean = matrix.mean(axis=0).astype(np.float32)
        self._learn(matrix)
        return self

    def transform(self, encodings: Encodings) -> Encodings:
        """Treat encodings of any items, (N, D): rows of norm 1 (a row that equals μ becomes zero)."""
        if self.mean is None:
            raise ValueError("not fitted yet: call fit() with the encodings of the training items first")
        encodings = np.asarray(encodings, np.float32)
        if encodings.ndim != 2 or encodings.shape[1] != len(self.mean):
            raise ValueError(f"expected encodings of shape (N, {len(self.mean)}), got {encodings.shape}")
        rows = self._turned(encodings - self.mean)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)

    def _learn(self, matrix: npt.NDArray[np.float64]) -> None:
        """Nothing more than the mean."""

    def _turned(self, centred: Encodings) -> npt.NDArray[Any]:
        return centred


class Whitening(Centring):
    """Make all directions equally wide:  e′ = (Λ + ε I)^(−1/2) Uᵀ (e − μ), divided by its norm.

    U and Λ are eigenvectors and eigenvalues of the training items' covariance, widest first. Directions with next to no
    width hold mostly noise, so ε, `SHRINKAGE` times the mean eigenvalue, is added to each.

    Source: Su et al. (2021), Whitening Sentence Representations for Better Semantics and Faster Retrieval.
    """

    def _learn(self, matrix: npt.NDArray[np.float64]) -> None:
        values, vectors = np.linalg.eigh(np.cov(matrix.T))
        values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
        floor = max(SHRINKAGE * values.mean(), np.finfo(np.float32).tiny)
        self.projection = (vectors / np.sqrt(values + floor)).astype(np.float32)

    def _turned(self, centred: Encodings) -> npt.NDArray[Any]:
        return np.asarray(centred @ self.projection)
