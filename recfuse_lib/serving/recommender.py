"""Recommends from a bundle with NumPy, ONNX Runtime and faiss, without Keras: retrieval in an index, then ranking. An
answer names its fallbacks: what it did without a person, a history or an encoder.

Taught in notebook 18.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from recfuse_lib.models import index
from recfuse_lib.serving import explanation
from recfuse_lib.serving.bundle import Bundle
from recfuse_lib.serving.catalogue import Catalogue
from recfuse_lib.serving.explanation import UserVector
from recfuse_lib.serving.text_encoder import TextEncoderSession
from recfuse_lib.serving.towers import Towers
from recfuse_lib.stated.queries import LIKE_WEIGHT, Wish, parse

NO_PERSON = "unknown person: no vector of their own"
NO_HISTORY = "no history: ordered by popularity"
NO_HISTORY_BUT_WORDS = "no history: ordered by the wish"
BY_CHANCE = "Drawn by chance, not chosen by the model: what you say of it shows how good the model is."
NO_WORDS = "this bundle has no text encoder: the words were not heard"


@dataclasses.dataclass(frozen=True)
class History:
    """A person's past, oldest first, without the `missing` ids; a stranger's code is the number of people."""

    codes: np.ndarray
    ratings: np.ndarray
    missing: tuple[str, ...]
    person: int


@dataclasses.dataclass(frozen=True)
class ParsedQuery:
    """A wish as it was understood: its direction (see `UserVector`) if any, and which items meet its constraints."""

    wish: Wish
    direction: np.ndarray | None
    offset: float
    allowed: np.ndarray
    notes: tuple[str, ...]


class Recommender:
    """Answers as `recfuse_lib.models.joint.JointModel` would, from a verified bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle, self.version, self._towers = bundle, bundle.version, Towers(bundle)
        self.encode_text = None if bundle.text_encoder is None else TextEncoderSession(bundle)
        self.catalogue = Catalogue(bundle, self._towers, self.encode_text)
        self.people = {user: code for code, user in enumerate(bundle.users())}
        names = ("history_start", "history_item", "history_rating", "history_timestamp")
        self._start, self._item, self._rating, self._timestamp = (bundle.array(name) for name in names)

    def add(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Adds items; see `Catalogue.extended`. Slow, and safe to run beside requests, but not beside another `add`."""
        self.catalogue = self.catalogue.extended(items)

    def history_of(self, user_id: str | None, later: Iterable[tuple[str, float, int]] = ()) -> History:
        """Collects what the bundle knows of a person, None for a stranger, and what they did `later`: (item id, stars,
        Unix seconds), in any order. The newest rating of an item counts.
        """
        person = self.people.get(user_id or "", len(self.people))
        newest: dict[str, tuple[int, int, float]] = {}
        if person < len(self.people):
            for row in range(self._start[person], self._start[person + 1]):
                item_id = self.catalogue.ids[self._item[row]]
                newest[item_id] = (int(self._timestamp[row]), row, float(self._rating[row]))
        for row, (item_id, rating, timestamp) in enumerate(later, start=len(self._item)):
            newest[item_id] = max(newest.get(item_id, (-1, 0, 0.0)), (timestamp, row, rating))
        ordered = sorted(newest.items(), key=lambda one: one[1][:2])
        known = [(self.catalogue.codes[item], rating) for item, (*_, rating) in ordered if item in self.catalogue.codes]
        missing = tuple(item for item, _ in ordered if item not in self.catalogue.codes)
        codes = np.array([code for code, _ in known], "int64")
        return History(codes, np.array([rating for _, rating in known], "float32"), missing, person)

    def parse_query(self, text: str) -> ParsedQuery:
        """Understands a wish; the slow part of an answer, and safe to run in parallel."""
        catalogue = self.catalogue
        wish = parse(text, catalogue.dataset)
        allowed = np.ones(len(catalogue), bool)
        allowed[list(wish.like)] = False
        for constraint in wish.constraints:
            allowed &= constraint.holds(catalogue.dataset)
        scale, encodings = catalogue.text_scale, catalogue.text
        directions, notes = [], wish.notes
        if encodings is None or scale is None or (wish.rest and self.encode_text is None):
            notes = (*notes, NO_WORDS)
        elif wish.rest and self.encode_text is not None:
            directions.append(self.encode_text([wish.rest])[0])
        if wish.like and encodings is not None:
            directions.append(encodings[list(wish.like)].mean(axis=0))
        if not directions or scale is None:
            return ParsedQuery(wish, None, 0.0, allowed, notes)
        scaled = [one / scale.deviation(one) for one in directions]
        direction = scaled[0]
        if len(scaled) == 2:
            direction = LIKE_WEIGHT * scaled[1] + (1 - LIKE_WEIGHT) * scaled[0]
            direction = direction / scale.deviation(direction)
        return ParsedQuery(wish, direction.astype("float32"), scale.mean(direction), allowed, notes)

    def recommend(
        self,
        history: History,
        k: int = 10,
        query: ParsedQuery | None = None,
        wish_weight: float = 0.5,
        constraints: Mapping[str, Any] | None = None,
        exclude: Sequence[str] = (),
        reasons: bool = True,
        exploration: np.random.Generator | None = None,
    ) -> dict[str, Any]:
        """Finds the k best items that the person does not have yet; `exploration` draws the last one at random.

        People can like only what a model shows, so only what was shown at random compares two models fairly. Nothing is
        drawn if k is 1, if no other item is allowed, or if a wish has weight: a random item would not be what was asked
        for. `wish_weight`, 0–1, is the wish's share against the history; without a history it is 1.
        """
        catalogue = self.catalogue
        allowed = catalogue.allowed(constraints or {})
        allowed[history.codes] = False
        allowed[[catalogue.codes[item] for item in exclude if item in catalogue.codes]] = False
        if query is not None:
            allowed[: len(query.allowed)] &= query.allowed
        user = self.user_vector(history, query, wish_weight)
        codes = self.retrieve(user, allowed, k)
        fallbacks, notes = self._missing(history, query), list(query.notes) if query is not None else []
        if history.missing:
            notes.append(f"{len(history.missing)} items of the history are not in the catalogue")
        if not len(codes):
            notes.append("no item is left that satisfies everything")
            return {"items": [], "fallbacks": fallbacks, "notes": notes}
        _, stars, score = self.rank(user, history, codes)
        best = np.argsort(-score, kind="stable")[:k]
        codes, score, stars = codes[best], score[best], stars[best]
        drawn = exploration is not None and 1 < k == len(codes) and user.weight == 0 and np.count_nonzero(allowed) > k
        if drawn and exploration is not None:
            allowed[codes[:-1]] = False
            codes[-1] = exploration.choice(np.flatnonzero(allowed))
            _, stars[-1:], score[-1:] = self.rank(user, history, codes[-1:])
        items = [{**one, "exploration": False} for one in self._shown(codes, score, stars)]
        items[-1]["exploration"] = bool(drawn)
        if reasons:
            rows = zip(items, *self._reasons(user, codes), strict=True)
            for item, shares, past, reason in rows:
                item |= {"shares": shares, "evidence_items": [catalogue.ids[code] for code in past]}
                item["reason"] = BY_CHANCE if item["exploration"] else reason
        return {"items": items, "fallbacks": fallbacks, "notes": notes}

    def similar(self, item_id: str, k: int = 10) -> list[dict[str, Any]]:
        """Finds the items whose vectors have the largest cosine with that of an item of the catalogue."""
        code, vectors = self.catalogue.codes[item_id], self.catalogue.vectors[:, :-1]
        norms = np.linalg.norm(vectors, axis=1)
        cosine = vectors @ vectors[code] / np.maximum(norms * norms[code], 1e-9)
        cosine[code] = -np.inf
        best = np.argsort(-cosine, kind="stable")[: min(k, len(cosine) - 1)]
        return [{**self.catalogue.shown[one], "similarity": round(float(cosine[one]), 4)} for one in best.tolist()]

    def explain(
        self, history: History, item_id: str, query: ParsedQuery | None, wish_weight: float = 0.5
    ) -> dict[str, Any]:
        """Decomposes the score of an item of the catalogue for a person, exactly."""
        codes = np.array([self.catalogue.codes[item_id]])
        user = self.user_vector(history, query, wish_weight)
        lead, stars, score = self.rank(user, history, codes)
        (shares,), _, (reason,) = self._reasons(user, codes)
        return {
            **self._shown(codes, score, stars)[0],
            "shares": shares,
            "lead": round(float(lead[0]), 4),
            "sources": explanation.sources(self.catalogue, user, int(codes[0])),
            "reason": reason,
            "fallbacks": self._missing(history, query),
        }

    def search(self, words: str, k: int = 10) -> list[dict[str, Any]]:
        """Finds the items whose title contains all of the words, most rated first."""
        wanted = words.casefold().split()
        folded = (title.casefold() for title in self.catalogue.titles)
        found = [code for code, title in enumerate(folded) if all(word in title for word in wanted)]
        found.sort(key=lambda code: -self.catalogue.counts[code])
        return [self.catalogue.shown[code] for code in found[:k]]

    def user_vector(self, history: History, query: ParsedQuery | None = None, wish_weight: float = 0.5) -> UserVector:
        """Computes the vectors of a request: of the history by the user tower, and of the wish."""
        past = history.codes[-self._towers.history_length :]
        stars = history.ratings[-self._towers.history_length :]
        sources = self._towers.user_sources(self.catalogue.vectors[past, :-1], stars, history.person)
        vector, scale = np.append(sources.sum(axis=0), np.float32(1)), self.catalogue.scale
        direction, offset = (None, 0.0) if query is None else (query.direction, query.offset)
        weight = 0.0 if direction is None else wish_weight if self._knows(history) else 1.0
        return UserVector(vector, past, sources, scale.mean(vector), scale.deviation(vector), direction, offset, weight)

    def retrieve(self, user: UserVector, allowed: np.ndarray, k: int) -> np.ndarray:
        """Retrieves candidates, at least k where as many are allowed, by the history, the wish, or both."""
        wanted, found = max(self.bundle.schema["candidates"], k), []
        if user.weight < 1:
            found.append(index.search(self.catalogue.index, user.query, wanted, allowed)[0])
        if user.direction is not None and self.catalogue.text_index is not None:
            found.append(index.search(self.catalogue.text_index, user.direction, wanted, allowed)[0])
        return found[0] if len(found) == 1 else np.unique(np.concatenate(found))

    def rank(self, user: UserVector, history: History, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Computes (lead, ŷ, score) of each candidate; see `RankerWeights`."""
        catalogue, weights = self.catalogue, self.bundle.schema["ranker"]
        vectors = catalogue.vectors[codes]
        lead = (1 - user.weight) * (vectors @ user.query - user.mean) / user.deviation
        if user.direction is not None and catalogue.text is not None:
            lead = lead + user.weight * (catalogue.text[codes] @ user.direction - user.offset)
        bias = catalogue.item_bias[codes]
        deviations = self._towers.deviations(user.query[:-1], vectors[:, :-1], history.person, bias)
        popular = np.log1p(catalogue.counts[codes])
        score = lead + weights["rating"] * deviations + weights["count"] * popular
        return lead, self._towers.stars(deviations), score

    def _reasons(
        self, user: UserVector, codes: np.ndarray
    ) -> tuple[list[dict[str, float]], list[list[int]], list[str]]:
        shares, past = (
            explanation.shares(self.catalogue, user, codes),
            explanation.evidence(self.catalogue, user, codes),
        )
        titles = [[self.catalogue.titles[code] for code in one] for one in past]
        return shares, past, [explanation.sentence(*both) for both in zip(shares, titles, strict=True)]

    def _knows(self, history: History) -> bool:
        return len(history.codes) > 0 or history.person < len(self.people)

    def _missing(self, history: History, query: ParsedQuery | None) -> list[str]:
        missing = [NO_PERSON] if history.person == len(self.people) else []
        if not self._knows(history):
            missing.append(NO_HISTORY if query is None or query.direction is None else NO_HISTORY_BUT_WORDS)
        return missing

    def _shown(self, codes: np.ndarray, score: np.ndarray, stars: np.ndarray) -> list[dict[str, Any]]:
        rows = zip(codes.tolist(), score.tolist(), stars.tolist(), strict=True)
        return [
            {**self.catalogue.shown[code], "score": round(one, 4), "predicted_rating": round(rating, 2)}
            for code, one, rating in rows
        ]
