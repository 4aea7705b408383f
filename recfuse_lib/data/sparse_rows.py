"""Positions in arrays that hold rows of different lengths one after the other, as sparse matrices and histories do."""

from __future__ import annotations

import numpy as np
import scipy.sparse


def entries_of(matrix: scipy.sparse.csr_array, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds what a matrix stores in some rows, (R,): how many entries in each, (R,), and where they are, (E,)."""
    start = matrix.indptr[rows]
    lengths = matrix.indptr[rows + 1] - start
    return lengths, runs_of(start, lengths)[1]


def runs_of(start: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lays runs of positions one after the other: where each begins there, (Q + 1,), and the positions, (H,)."""
    indptr = np.zeros(len(lengths) + 1, "int64")
    np.cumsum(lengths, out=indptr[1:])
    position = np.repeat(start - indptr[:-1], lengths)
    position += np.arange(indptr[-1])
    return indptr, position
