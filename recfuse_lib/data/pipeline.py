"""From events to the arrays that a model is trained on.

Taught in notebook 01.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from recfuse_lib.data.splits import Queries, in_order


@dataclasses.dataclass(frozen=True)
class Examples:
    """One training example an event: who did what, and what they had done just before.

    Attributes:
        user: User codes, (N,).
        history: Item codes of the last L earlier events, oldest first, padded on the left with 0, (N, L).
        history_rating: Their ratings; 0 marks padding (no rating is 0), (N, L).
        item: Item codes, (N,).
        rating: Stars given, (N,).
    """

    user: np.ndarray
    history: np.ndarray
    history_rating: np.ndarray
    item: np.ndarray
    rating: np.ndarray

    def __len__(self) -> int:
        return len(self.user)

    def inputs(self) -> dict[str, np.ndarray]:
        """The arrays by name, as the joint model takes them."""
        return dataclasses.asdict(self)


def examples(history: pd.DataFrame, length: int) -> Examples:
    """Every event of a history with the L events before it.

    Args:
        history: Columns `user`, `item`, `rating`, `timestamp`.
        length: L, how many earlier events are kept.

    Example:
        >>> events = pd.DataFrame({"user": [0, 0, 1], "item": [5, 6, 7], "rating": [4.0, 3, 5], "timestamp": [1, 2, 3]})
        >>> examples(events, length=2).history
        array([[0, 0],
               [0, 5],
               [0, 0]], dtype=int32)
    """
    events = in_order(history)
    user, item = events["user"].to_numpy("int32"), events["item"].to_numpy("int32")
    rating = events["rating"].to_numpy("float32")
    start = np.searchsorted(user, user)
    before, before_rating = _windows(item, rating, start, np.arange(len(events)), length)
    return Examples(user, before, before_rating, item, rating)


def latest(queries: Queries, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The last L events of each query's history.

    Args:
        queries: The queries, (Q,).
        length: L.

    Returns:
        Item codes (Q, L), oldest first, padded on the left with 0; their ratings (Q, L), 0 where padded.
    """
    return _windows(queries.item, queries.rating, queries.indptr[:-1], queries.indptr[1:], length)


def _windows(
    item: np.ndarray, rating: np.ndarray, start: np.ndarray, end: np.ndarray, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Elements `end - length … end - 1` of the flat arrays, as far as they are at `start` or after it."""
    position = end[:, None] + np.arange(-length, 0)
    exists = position >= start[:, None]
    position = np.where(exists, position, 0)
    if not len(item):
        return np.zeros(exists.shape, "int32"), np.zeros(exists.shape, "float32")
    return np.where(exists, item[position], 0).astype("int32"), np.where(exists, rating[position], 0).astype("float32")
