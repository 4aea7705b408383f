"""Why this item: the score of retrieval taken apart, exactly.

    s(u, i) − mean_k s(u, k) = Σ_d p_uᵀ(z_i^d − z̄^d) + (β_i − β̄)

z^d are the parts of an item's vector, one a dimension and one for behaviour. A wish adds a dimension of its own,
"stated", with its weight. The ranker, which may reorder what retrieval found, is not in the shares.

Taught in notebook 18.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from recfuse_lib.serving.catalogue import Catalogue
    from recfuse_lib.serving.recommender import History

IN_WORDS = {
    "text": "what it is about",
    "attributes": "its genre, year and other facts",
    "image": "how it looks",
    "behaviour": "what people with your taste chose",
    "popularity": "its popularity",
    "stated": "what you asked for",
}
EVIDENCE = 2
"""How many past items are named as reasons."""


@dataclasses.dataclass(frozen=True)
class UserVector:
    """A request as vectors.

    Attributes:
        query: p_u and, last, 1, (D + 1,).
        sources: What each place of the history and, last, the person add to p_u, (L + 1, D).
        mean, deviation: Of the score over the catalogue.
        direction: See `ParsedQuery`.
        offset: See `ParsedQuery`.
        weight: Of the wish, 0–1.
    """

    query: np.ndarray
    sources: np.ndarray
    mean: float
    deviation: float
    direction: np.ndarray | None
    offset: float
    weight: float


def leads(catalogue: Catalogue, user: UserVector, codes: np.ndarray) -> dict[str, np.ndarray]:
    """What each dimension adds to the lead of each item over the average one: name -> (N,), in standard deviations."""
    history = (1 - user.weight) / user.deviation
    parts = (catalogue.parts[codes] - catalogue.mean_parts) @ user.query[:-1] * history
    found = dict(zip(catalogue.dimensions, parts.T, strict=True))
    found["popularity"] = (catalogue.vectors[codes, -1] - catalogue.scale.average[-1]) * history
    if user.direction is not None and catalogue.text is not None:
        found["stated"] = user.weight * (catalogue.text[codes] @ user.direction - user.offset)
    return found


def shares(catalogue: Catalogue, user: UserVector, codes: np.ndarray) -> list[dict[str, float]]:
    """The share of each dimension in what speaks for an item; what speaks against it has none."""
    found = leads(catalogue, user, codes)
    speaking = np.maximum(np.stack(list(found.values()), axis=1), 0)
    totals = speaking.sum(axis=1, keepdims=True)
    rows = np.round(speaking / np.where(totals > 0, totals, 1), 4).tolist()
    return [dict(zip(found, row, strict=True)) for row in rows]


def because(catalogue: Catalogue, user: UserVector, history: History, codes: np.ndarray) -> list[list[int]]:
    """The past items that lift each item most, largest first; none where the history does not speak for it."""
    count = min(len(history.codes), len(user.sources) - 1)
    if not count or user.weight == 1:
        return [[] for _ in codes]
    past = history.codes[-count:]
    lifts = user.sources[-1 - count : -1] @ (catalogue.vectors[codes, :-1] - catalogue.scale.average[:-1]).T
    best = np.argsort(-lifts, axis=0, kind="stable")[:EVIDENCE]
    speaks = np.take_along_axis(lifts, best, axis=0) > 0
    rows = zip(past[best].T.tolist(), speaks.T.tolist(), strict=True)
    return [[code for code, does in zip(*row, strict=True) if does] for row in rows]


def sources(catalogue: Catalogue, user: UserVector, history: History, code: int) -> list[dict[str, Any]]:
    """One row a past item, the person and the popularity, largest total first."""
    count = min(len(history.codes), len(user.sources) - 1)
    rows = user.sources[-1 - count :] @ (catalogue.parts[code] - catalogue.mean_parts).T
    past = [catalogue.ids[one] for one in history.codes[len(history.codes) - count :]]
    names = [("history", item) for item in past] + [("person", None)]
    table = [
        {"source": source, "item_id": item, **_rounded(catalogue.dimensions, row), "total": round(float(row.sum()), 5)}
        for (source, item), row in zip(names, rows, strict=True)
    ]
    popularity = float(catalogue.vectors[code, -1] - catalogue.scale.average[-1])
    nothing = dict.fromkeys(catalogue.dimensions, 0.0)
    known = {**nothing, "behaviour": round(popularity, 5)}
    table.append({"source": "popularity", "item_id": None, **known, "total": round(popularity, 5)})
    return sorted(table, key=lambda row: -row["total"])


def sentence(share: dict[str, float], titles: Sequence[str], weight: float, wished: bool) -> str:
    """The shares as a sentence that says no more than they do."""
    named = sorted(((value, name) for name, value in share.items() if value >= 0.005), reverse=True)
    if not named:
        return "Nothing lifts it above the average item; it is the best of what is left."
    parts = [f"{value:.0%} for {IN_WORDS.get(name, name)}" for value, name in named]
    listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    if titles:
        return f"Because of {' and '.join(titles)} in your history: {listed}."
    return f"Recommended {listed}."


def _rounded(names: Sequence[str], row: np.ndarray) -> dict[str, float]:
    return {name: round(float(value), 5) for name, value in zip(names, row, strict=True)}
