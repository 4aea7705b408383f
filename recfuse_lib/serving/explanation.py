"""Explains an item by decomposing its retrieval score exactly.

    s(u, i) − mean_k s(u, k) = Σ_d p_uᵀ(z_i^d − z̄^d) + (β_i − β̄)

z^d are the parts of an item's vector, one a dimension and one for behaviour. A wish adds a dimension "stated" with its
own weight. The ranker, which may reorder what retrieval found, is not in the shares.

Taught in notebook 18.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from recfuse_lib.serving.catalogue import Catalogue

IN_WORDS = {
    "text": "what it is about",
    "attributes": "its genre, year and other facts",
    "image": "how it looks",
    "behaviour": "what people with your taste chose",
    "popularity": "its popularity",
    "stated": "what you asked for",
}
EVIDENCE = 2
"""Most past items that are named as reasons."""


@dataclasses.dataclass(frozen=True)
class UserVector:
    """A request as vectors: `query` is p_u and, last, 1, (D + 1,); `past` are the items that the user tower read,
    oldest first, and `sources` what each and, last, the person add to p_u; `mean` and `deviation` are of the score over
    the catalogue. Of the wish, e_i·`direction` − `offset` is standardised over the texts e_i, and `weight` is 0–1.
    """

    query: np.ndarray
    past: np.ndarray
    sources: np.ndarray
    mean: float
    deviation: float
    direction: np.ndarray | None
    offset: float
    weight: float


def shares(catalogue: Catalogue, user: UserVector, codes: np.ndarray) -> list[dict[str, float]]:
    """Computes the share of each dimension in what supports an item; negative contributions count as 0."""
    parts = (catalogue.parts[codes] - catalogue.mean_parts) @ user.query[:-1]
    popularity = catalogue.vectors[codes, -1] - catalogue.scale.average[-1]
    names = [*catalogue.dimensions, "popularity"]
    leads = np.c_[parts, popularity] * ((1 - user.weight) / user.deviation)
    if user.direction is not None and catalogue.text is not None:
        names.append("stated")
        leads = np.c_[leads, user.weight * (catalogue.text[codes] @ user.direction - user.offset)]
    leads = np.maximum(leads, 0)
    totals = leads.sum(axis=1, keepdims=True)
    rows = np.round(leads / np.where(totals > 0, totals, 1), 4).tolist()
    return [dict(zip(names, row, strict=True)) for row in rows]


def evidence(catalogue: Catalogue, user: UserVector, codes: np.ndarray) -> list[list[int]]:
    """Finds the past items that raise each item's score most, largest first; only those that raise it."""
    if not len(user.past) or user.weight == 1:
        return [[] for _ in codes]
    lifts = user.sources[:-1] @ (catalogue.vectors[codes, :-1] - catalogue.scale.average[:-1]).T
    best = np.argsort(-lifts, axis=0, kind="stable")[:EVIDENCE]
    lifted = np.take_along_axis(lifts, best, axis=0) > 0
    return [past[lifts_it].tolist() for past, lifts_it in zip(user.past[best].T, lifted.T, strict=True)]


def sources(catalogue: Catalogue, user: UserVector, code: int) -> list[dict[str, Any]]:
    """Tabulates what each past item, the person and the popularity contribute, largest total first."""
    rows = user.sources @ (catalogue.parts[code] - catalogue.mean_parts).T
    popularity = catalogue.vectors[code, -1] - catalogue.scale.average[-1]
    rows = np.vstack([rows, np.append(np.zeros(rows.shape[1] - 1, "float32"), popularity)])
    names = [*(("history", catalogue.ids[past]) for past in user.past), ("person", None), ("popularity", None)]
    table = []
    for (source, item_id), row in zip(names, rows, strict=True):
        parts = {name: round(float(value), 5) for name, value in zip(catalogue.dimensions, row, strict=True)}
        table.append({"source": source, "item_id": item_id, **parts, "total": round(float(row.sum()), 5)})
    return sorted(table, key=lambda row: -row["total"])


def sentence(share: dict[str, float], titles: Sequence[str]) -> str:
    """Writes the shares as a sentence that claims no more than they do; `titles` are of the evidence."""
    named = sorted(((value, name) for name, value in share.items() if value >= 0.005), reverse=True)
    if not named:
        return "Nothing lifts it above the average item; it is the best of what is left."
    parts = [f"{value:.0%} for {IN_WORDS.get(name, name)}" for value, name in named]
    listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    if titles:
        return f"Because of {' and '.join(titles)} in your history: {listed}."
    return f"Recommended {listed}."
