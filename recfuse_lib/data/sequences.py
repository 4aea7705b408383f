"""From events to the arrays that models read: what came before, in order, and what came next.

In all of them a history is padded on the left with 0, and a rating of 0 marks padding, since no real rating is 0.

Taught in notebooks 01 and 05.
"""

import numpy as np
import pandas as pd

from recfuse_lib.data.splits import Queries, in_order

Arrays = dict[str, np.ndarray]

_COLUMNS = {"item": "int32", "rating": "float32", "timestamp": "int32"}


def examples(history: pd.DataFrame, length: int) -> Arrays:
    """Return one training example an event: who did what, and what they had done just before.

    Args:
        history: Columns `user`, `item`, `rating`, `timestamp`.
        length: L, how many earlier events are kept.

    Returns:
        `user`, `item` and `rating` of each event, (N,); `history`, the items of the last L earlier events, oldest
        first, and `history_rating`, (N, L).

    Example:
        >>> events = pd.DataFrame({"user": [0, 0, 1], "item": [5, 6, 7], "rating": [4.0, 3, 5], "timestamp": [1, 2, 3]})
        >>> examples(events, length=2)["history"]
        array([[0, 0],
               [0, 5],
               [0, 0]], dtype=int32)
    """
    events = in_order(history)
    user, item, rating = (events[name].to_numpy() for name in ("user", "item", "rating"))
    position = np.arange(len(events))[:, None] + np.arange(-length, 0)
    past, past_rating = _gather((item, rating), position, position >= np.searchsorted(user, user)[:, None])
    inputs = {"user": user.astype("int32"), "history": past, "history_rating": past_rating}
    return inputs | {"item": item.astype("int32"), "rating": rating.astype("float32")}


def sequences(history: pd.DataFrame, length: int, scored: int, horizon: int = 1) -> Arrays:
    """Cut every person's history into rows, so that each event is the next item of exactly one position.

    The rows of a person are cut from the end: the last S events are the targets of one row, the S before them of
    another, and so on. Each row reads the L events before its last target, which overlap with those of other rows.

    Args:
        history: Columns `user`, `item`, `rating`, `timestamp`.
        length: L, how many events a row reads.
        scored: S, how many of its last positions have targets, at most L.
        horizon: H, how many of the events that came next are targets of a position.

    Returns:
        `history`, `history_rating` and `history_time` (Unix seconds), (R, L); `target` and `target_rating`, the next H
        items after each of the last S positions, 0 where there are none, (R, S, H).

    Example:
        >>> events = pd.DataFrame({"user": 0, "item": [5, 6, 7], "rating": [4.0, 3, 5], "timestamp": [1, 2, 3]})
        >>> sequences(events, length=3, scored=2)["target"][..., 0]
        array([[6, 7],
               [0, 5]], dtype=int32)
    """
    if not 1 <= scored <= length or horizon < 1:
        raise ValueError(f"scored={scored}, length={length}, horizon={horizon}: 1 ≤ scored ≤ length and 1 ≤ horizon")
    events = in_order(history)
    columns = tuple(events[name].to_numpy() for name in _COLUMNS)
    _, start, count = np.unique(events["user"], return_index=True, return_counts=True)
    rows = -(-count // scored)
    start, stop = np.repeat(start, rows)[:, None], np.repeat(start + count, rows)[:, None]
    number = np.arange(rows.sum()) - np.repeat(np.cumsum(rows) - rows, rows)
    end = stop - number[:, None] * scored
    before = end - 1 + np.arange(-length, 0)
    asked = (end + np.arange(-scored, 0))[:, :, None]
    following = asked + np.arange(horizon)
    exists = (asked >= start[:, :, None]) & (following < stop[:, :, None])
    target, target_rating = _gather(columns[:2], following, exists)
    return _named(_gather(columns, before, before >= start)) | {"target": target, "target_rating": target_rating}


def latest(queries: Queries, length: int) -> Arrays:
    """Return the last L events of each query: `history`, `history_rating` and `history_time`, each (Q, L)."""
    position = queries.indptr[1:, None] + np.arange(-length, 0)
    columns = (queries.item, queries.rating, queries.timestamp)
    return _named(_gather(columns, position, position >= queries.indptr[:-1, None]))


def _named(past: list[np.ndarray]) -> Arrays:
    return dict(zip(("history", "history_rating", "history_time"), past, strict=True))


def _gather(columns: tuple[np.ndarray, ...], position: np.ndarray, exists: np.ndarray) -> list[np.ndarray]:
    """Items, ratings and seconds at positions of the flat arrays, 0 where nothing exists."""
    position = np.where(exists, position, 0)
    return [
        np.where(exists, column[position] if len(column) else 0, 0).astype(kind)
        for column, kind in zip(columns, _COLUMNS.values(), strict=False)
    ]
