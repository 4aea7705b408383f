"""The retrieval index: the items with the largest inner product, exact or, in a large catalogue, approximate.
Taught in notebook 18.
"""

from typing import Any

import faiss
import numpy as np

EXACT_BELOW = 100_000
"""Up to so many items, an exhaustive search takes a millisecond or two; beyond, only some cells are searched."""

CELLS_PER_ROOT, TRAINED_ON = 4, 40
"""Cells over the square root of the number of items, and training vectors a cell."""


def build(vectors: np.ndarray, exact_below: int = EXACT_BELOW, share: float = 1 / 64) -> Any:
    """Builds a faiss index over items, float32 (I, D), in the order of item codes. Up to `exact_below` items a search
    is exhaustive; beyond, it reads the `share` of k-means cells with the nearest centres (inverted file: Jégou, Douze
    and Schmid, 2011, Product Quantization for Nearest Neighbor Search, IEEE TPAMI).
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


def packed(index: Any) -> np.ndarray | None:
    """Returns an index that takes long to build as bytes, uint8; None for an exhaustive one."""
    return faiss.serialize_index(index) if isinstance(index, faiss.IndexIVF) else None


def unpacked(content: np.ndarray) -> Any:
    """Reads an index that was `packed`."""
    return faiss.deserialize_index(np.ascontiguousarray(content))


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
