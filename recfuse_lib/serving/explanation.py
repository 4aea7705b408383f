"""Explains a ranking: what each dimension adds to a score, and which past items did. Taught in notebook 18."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse

from recfuse_lib.data.sparse_rows import entries_of
from recfuse_lib.data.splits import POSITIVE, Queries
from recfuse_lib.data.weighting import Weighting
from recfuse_lib.models.closed_form import ContentEASE, ContentSimilarity, Transitions
from recfuse_lib.models.ease import EASE
from recfuse_lib.models.item_knn import ItemKNN
from recfuse_lib.models.two_stage import LEVEL, STATED, TOGETHER, Ranked, TwoStage

INTERESTS = {
    **dict.fromkeys(("linear", "linear, recent", "neighbours", "content"), "collaborative"),
    "sequence": "sequential",
    **dict.fromkeys(("month", "year", "future"), "temporal"),
    "text": "semantic",
    **dict.fromkeys(("labels", "era"), "attributes"),
    "image": "visual",
    "sound": "acoustic",
    "clip": "video",
    **dict.fromkeys(("popularity", "popularity by content", LEVEL), "popularity"),
    TOGETHER: "together",
    STATED: "stated",
}
"""The dimension of interest that each contribution belongs to; one that is not listed is a dimension of its own."""

IN_WORDS = {
    "collaborative": "what people with your taste chose",
    "sequential": "what tends to follow what you chose last",
    "temporal": "what is chosen at present",
    "semantic": "what it is about",
    "attributes": "its kind and its time",
    "visual": "how it looks",
    "acoustic": "how it sounds",
    "video": "how it moves",
    "popularity": "its popularity",
    "together": "how all this comes together",
    "stated": "what you asked for",
    "dismissed": "its likeness to what you turned down",
}

LEAST_NAMED = 0.25  # least weight of what a sentence names against an item, in what lifts it most
RECENCY = Weighting(half_life=20.0)
EVIDENCE, NEWEST = 2, 100  # most past items that are named as reasons, of the newest that were liked


def by_interest(contributions: Mapping[str, Any]) -> dict[str, Any]:
    """Adds up contributions, numbers or arrays, of the same dimension of interest."""
    found: dict[str, Any] = {}
    for name, value in contributions.items():
        interest = INTERESTS.get(name, name)
        found[interest] = found.get(interest, 0) + value
    return found


def shares(contributions: Mapping[str, np.ndarray]) -> list[dict[str, float]]:
    """Computes, for each of C items, the share of each dimension of interest in what supports the item.

    `contributions` are those of a `Ranked`, by name, (C,). A dimension that lowers an item supports nothing.
    """
    found = by_interest(contributions)
    support = np.maximum(np.stack(list(found.values())).astype("float64"), 0)
    share = support / np.maximum(support.sum(axis=0), 1e-9)
    return [dict(zip(found, row, strict=True)) for row in share.round(4).T.tolist()]


def evidence(model: TwoStage, query: Queries, ranked: Ranked) -> list[list[int]]:
    """Finds the liked items of the history that each ranked item's score comes from, codes, largest first.

    A dimension's contribution is divided among past items by what each adds to its score. What EASE adds is divided as
    item-kNN does: more than half of the gain over likeness (notebook 16), in a tenth of the time.
    """
    liked = np.flatnonzero(query.rating >= POSITIVE)[-NEWEST:]
    lift, past = np.zeros((len(liked), len(ranked.codes)), "float32"), query.item[liked]
    towers = model.ranking.towers
    adds = {name: np.maximum(ranked.contributions[name], 0) for name in towers}
    together = sum(adds[name] for name, tower in towers.items() if isinstance(tower, EASE | ContentEASE | ItemKNN))
    for name, tower in towers.items():
        if isinstance(tower, ContentSimilarity):
            rows = tower.vectors[past] @ (tower.vectors[ranked.codes] - tower.moments[0]).T
        elif isinstance(tower, ItemKNN | Transitions):
            rows = _block(tower.similarity if isinstance(tower, ItemKNN) else tower.pairs, past, ranked.codes)
        else:
            continue
        weighting, divided = (tower.weighting, together) if isinstance(tower, ItemKNN) else (RECENCY, adds[name])
        rows *= weighting.weights(query)[liked, None]
        lift += rows / np.maximum(np.abs(rows).sum(axis=0), 1e-9) * divided
    best = np.argsort(-lift, axis=0, kind="stable")[:EVIDENCE]
    return [[int(past[row]) for row in rows if lift[row, column] > 0] for column, rows in enumerate(best.T)]


def _block(matrix: scipy.sparse.csr_array, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Some rows and columns of a matrix, dense; SciPy's own way takes four times as long for so few."""
    place = np.full(matrix.shape[1], -1)
    place[columns] = np.arange(len(columns))
    lengths, there = entries_of(matrix, rows)
    column = place[matrix.indices[there]]
    wanted = np.flatnonzero(column >= 0)
    found = np.zeros((len(rows), len(columns)), "float32")
    found[np.repeat(np.arange(len(rows)), lengths)[wanted], column[wanted]] = matrix.data[there[wanted]]
    return found


def sentence(contributions: Mapping[str, float], titles: Sequence[str]) -> str:
    """Says what a bar of shares does not: which liked `titles` lift an item, what lifts it most, what is against it."""
    support = sorted((value, name) for name, value in by_interest(contributions).items())
    (least, worst), (most, best) = next(one for one in support if one[1] != "together"), support[-1]
    if most <= 0:
        return "Nothing lifts it above the average item; it is the best of what is left."
    close = f"Because you liked {' and '.join(titles)}; most" if titles else "Most"
    though = f", in spite of {IN_WORDS.get(worst, worst)}" if -least >= LEAST_NAMED * most else ""
    return f"{close} of all for {IN_WORDS.get(best, best)}{though}."
