"""From events to sequences: what came before, in order, and what came next at every place.

Taught in notebook 05.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from recfuse_lib.data.splits import Queries, in_order

COLUMNS = ("item", "rating", "timestamp")


@dataclasses.dataclass(frozen=True)
class Sequences:
    """Stretches of histories. At each of the last S places of a row a model is asked what comes next.

    Attributes:
        history: Item codes, oldest first, padded on the left with 0, (R, L).
        history_rating: Their ratings; 0 marks padding (no rating is 0), (R, L).
        history_time: Their Unix seconds, 0 where padded, int32 (R, L).
        target: The next H items after each of the last S places, 0 where there are none, (R, S, H).
        target_rating: Their ratings, 0 where there are none, (R, S, H).
    """

    history: np.ndarray
    history_rating: np.ndarray
    history_time: np.ndarray
    target: np.ndarray
    target_rating: np.ndarray

    def __len__(self) -> int:
        return len(self.history)

    def inputs(self) -> dict[str, np.ndarray]:
        """The arrays by name, as a model takes them."""
        return dataclasses.asdict(self)


def sequences(history: pd.DataFrame, length: int, scored: int, horizon: int = 1) -> Sequences:
    """Cuts every person's history into rows, so that each event is the next item of exactly one place.

    The rows of a person are cut from the end: the last S events are the targets of one row, the S before them of
    another, and so on. Each row reads the L events before its last target, which overlap with those of other rows.

    Args:
        history: Columns `user`, `item`, `rating`, `timestamp`.
        length: L, how many events a row reads.
        scored: S, how many of its places have targets, at most L.
        horizon: H, how many of the events that came next are targets of a place.

    Raises:
        ValueError: `scored` is not between 1 and `length`, or `horizon` is not positive.

    Example:
        >>> events = pd.DataFrame({"user": 0, "item": [5, 6, 7], "rating": [4.0, 3, 5], "timestamp": [1, 2, 3]})
        >>> rows = sequences(events, length=3, scored=2)
        >>> rows.history
        array([[0, 5, 6],
               [0, 0, 0]], dtype=int32)
        >>> rows.target[..., 0]
        array([[6, 7],
               [0, 5]], dtype=int32)
    """
    if not 1 <= scored <= length or horizon < 1:
        raise ValueError(f"scored={scored}, length={length}, horizon={horizon}: 1 ≤ scored ≤ length and 1 ≤ horizon")
    events = in_order(history)
    columns = tuple(events[name].to_numpy() for name in COLUMNS)
    _, start, count = np.unique(events["user"], return_index=True, return_counts=True)
    rows = -(-count // scored)
    start, stop = np.repeat(start, rows)[:, None], np.repeat(start + count, rows)[:, None]
    number = np.arange(rows.sum()) - np.repeat(np.cumsum(rows) - rows, rows)
    end = stop - number[:, None] * scored
    before = end - 1 + np.arange(-length, 0)
    past = _gather(columns, before, before >= start)
    place = (end + np.arange(-scored, 0))[:, :, None]
    next_items = place + np.arange(horizon)
    exists = (place >= start[:, :, None]) & (next_items < stop[:, :, None])
    target, target_rating, _ = _gather(columns, next_items, exists)
    return Sequences(*past, target, target_rating)


def latest(queries: Queries, length: int) -> dict[str, np.ndarray]:
    """The last L events of each query's history: `history`, `history_rating` and `history_time`, each (Q, L).

    Args:
        queries: The queries, (Q,).
        length: L.
    """
    position = queries.indptr[1:, None] + np.arange(-length, 0)
    columns = (queries.item, queries.rating, queries.timestamp)
    found = _gather(columns, position, position >= queries.indptr[:-1, None])
    return dict(zip(("history", "history_rating", "history_time"), found, strict=True))


def _gather(
    columns: tuple[np.ndarray, ...], position: np.ndarray, exists: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items, ratings and seconds at positions of the flat arrays, 0 where nothing exists."""
    position = np.where(exists, position, 0)
    item, rating, seconds = (
        np.where(exists, column[position] if len(column) else 0, 0).astype(kind)
        for column, kind in zip(columns, ("int32", "float32", "int32"), strict=True)
    )
    return item, rating, seconds
