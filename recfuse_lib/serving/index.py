"""The retrieval index: the items with the largest inner product, exactly or, in a large catalogue, nearly so.

Taught in notebook 18.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

EXACT_BELOW = 100_000
"""Up to so many items, comparing with all of them takes a millisecond or two; beyond, cells are looked into."""

CELLS_PER_ROOT, TRAINED_ON = 4, 40
"""Cells over the square root of the number of items, and vectors a cell that its centre is learned from."""


def build(vectors: np.ndarray, exact_below: int = EXACT_BELOW, share: float = 1 / 64) -> Any:
    """Builds a faiss index over items, float32 (I, D), one row an item code.

    Below `exact_below` items a search compares with all. Beyond, items are sorted into cells around centres found by
    k-means, and a search compares with the `share` of the cells whose centres are nearest.

    References:
        Jégou, Douze and Schmid (2011), Product Quantization for Nearest Neighbor Search, IEEE TPAMI (inverted file).
    """
    vectors = np.ascontiguousarray(vectors, "float32")
    n_items, width = vectors.shape
    index: Any = faiss.IndexFlatIP(width)
    if n_items > exact_below:
        cells = int(CELLS_PER_ROOT * np.sqrt(n_items))
        index = faiss.IndexIVFFlat(index, width, cells, faiss.METRIC_INNER_PRODUCT)
        index.cp.max_points_per_centroid = TRAINED_ON
        index.train(vectors)
        index.nprobe = max(1, round(share * cells))
    index.add(vectors)
    return index


def search(index: Any, query: np.ndarray, k: int, allowed: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Finds the k items with the largest inner product with a query (D,), among the allowed ones, bool (I,)."""
    parameters: Any = None
    if allowed is not None:
        bits = np.packbits(allowed, bitorder="little")
        selector = faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg,arg-type]
        if isinstance(index, faiss.IndexIVF):
            parameters = faiss.SearchParametersIVF(sel=selector, nprobe=index.nprobe)  # type: ignore[call-arg]
        else:
            parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
    scores, codes = index.search(query[None], min(k, index.ntotal), params=parameters)
    found = codes[0] >= 0
    return codes[0][found], scores[0][found]
