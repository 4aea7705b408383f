"""What makes encodings fit for recommending: take away what all items share, spread out what tells them apart.

Taught in notebook 02.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt

from recfuse_lib.encoders.text import Encodings


class Centring:
    """Take away what all items have in common:  e′ = (e − μ) / ‖e − μ‖.

    Sentence encodings lie in a narrow cone, so their cosines are all alike; around their mean they differ. μ comes from
    the training items alone: an item that is held out must not have a say in it.

    Example:
        >>> training = np.array([[1.0, 0.1], [1.0, -0.1]], "float32")
        >>> Centring().fit(training).transform(training)
        array([[ 0.,  1.],
               [ 0., -1.]], dtype=float32)

    References:
        Mu and Viswanath (2018), All-but-the-Top, ICLR.
    """

    mean: Encodings | None = None

    def fit(self, encodings: Encodings) -> Self:
        """Learn μ from the training items.

        Args:
            encodings: (N, D), training items only.

        Raises:
            ValueError: Not a matrix of at least two finite rows.
        """
        self.mean = _matrix(encodings).mean(axis=0).astype(np.float32)
        return self

    def transform(self, encodings: Encodings) -> Encodings:
        """Centre encodings of any items, seen or not.

        Args:
            encodings: (N, D).

        Returns:
            float32 (N, D), rows of length 1 (a row that equals μ becomes zero).

        Raises:
            ValueError: Not fitted, or another width than the training items have.
        """
        return _unit(_less_mean(encodings, self.mean))


class Whitening:
    """Make all directions equally wide:  e′ = Λ^(−1/2) Uᵀ (e − μ), divided by its length.

    U and Λ are eigenvectors and eigenvalues of the training items' covariance, widest first. Directions with next to
    no width hold mostly noise: a share of the mean eigenvalue is added to Λ, and `dimensions` drops the narrowest.

    Args:
        dimensions: Directions that are kept. Defaults to all.
        shrinkage: The share of the mean eigenvalue that is added to each eigenvalue. Defaults to 0.1.

    Example:
        >>> random = np.random.default_rng(0)
        >>> training = (random.normal(size=(500, 3)) * [5.0, 1.0, 0.2]).astype("float32")
        >>> whitened = Whitening(shrinkage=0.0).fit(training).transform(training)
        >>> bool(np.abs(np.cov(whitened.T) - np.eye(3) / 3).max() < 0.03)
        True

    References:
        Su et al. (2021), Whitening Sentence Representations for Better Semantics and Faster Retrieval.
    """

    mean: Encodings | None = None
    projection: Encodings | None = None

    def __init__(self, dimensions: int | None = None, shrinkage: float = 0.1) -> None:
        self.dimensions = dimensions
        self.shrinkage = shrinkage

    def fit(self, encodings: Encodings) -> Self:
        """Learn μ, U and Λ from the training items.

        Args:
            encodings: (N, D), training items only.

        Raises:
            ValueError: Not a matrix of at least two finite rows.
        """
        matrix = _matrix(encodings)
        values, vectors = np.linalg.eigh(np.cov(matrix.T))
        values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
        floor = max(self.shrinkage * values.mean(), np.finfo(np.float32).tiny)
        self.mean = matrix.mean(axis=0).astype(np.float32)
        self.projection = (vectors / np.sqrt(values + floor))[:, : self.dimensions].astype(np.float32)
        return self

    def transform(self, encodings: Encodings) -> Encodings:
        """Whiten encodings of any items, seen or not.

        Args:
            encodings: (N, D).

        Returns:
            float32 (N, `dimensions`), rows of length 1.

        Raises:
            ValueError: Not fitted, or another width than the training items have.
        """
        centred = _less_mean(encodings, self.mean)
        assert self.projection is not None
        return _unit(centred @ self.projection)


def _matrix(encodings: Encodings) -> npt.NDArray[np.float64]:
    matrix = np.asarray(encodings, np.float64)
    if matrix.ndim != 2 or len(matrix) < 2 or not np.isfinite(matrix).all():
        raise ValueError(f"expected a matrix of at least two finite encodings, got shape {matrix.shape}")
    return matrix


def _less_mean(encodings: Encodings, mean: Encodings | None) -> Encodings:
    if mean is None:
        raise ValueError("not fitted yet: call fit() with the encodings of the training items first")
    encodings = np.asarray(encodings, np.float32)
    if encodings.ndim != 2 or encodings.shape[1] != len(mean):
        raise ValueError(f"expected encodings of shape (N, {len(mean)}), got {encodings.shape}")
    return encodings - mean


def _unit(rows: npt.NDArray[Any]) -> Encodings:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)
