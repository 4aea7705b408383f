"""Arrays that models read, made of events: what came before, in order, and what came next.

Histories are padded on the left with 0; a rating of 0 marks padding, since no real rating is 0.
Taught in notebooks 01 and 05.
"""

import numpy as np
import pandas as pd

from recfuse_lib.data.splits import Queries, in_order

Arrays = dict[str, np.ndarray]

_COLUMNS = {"item": "int32", "rating": "float32", "timestamp": "int32"}


def examples(history: pd.DataFrame, length: int) -> Arrays:
    """Return one training example an event: who did what, and what they had done just before.

    `user`, `item` and `rating` of each event are (N,); `history` and `history_rating`, of the last L = `length` earlier
    events, oldest first, are (N, L).

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

    The last S = `scored` events are the targets of one row, the S before them of another, and so on; each row reads the
    L = `length` ≥ S events before its last target. `history`, `history_rating` and `history_time` (Unix seconds) are
    (R, L); `target` and `target_rating`, the next H = `horizon` items after each of the last S positions, 0 where there
    are none, are (R, S, H).

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
    """Take items, ratings and seconds at positions of the flat arrays, 0 where nothing exists."""
    position = np.where(exists, position, 0)
    return [
        np.where(exists, column[position] if len(column) else 0, 0).astype(kind)
        for column, kind in zip(columns, _COLUMNS.values(), strict=False)
    ]
