"""The recommender that a service runs: a bundle, NumPy, ONNX Runtime and faiss; neither Keras nor TensorFlow.

Two stages answer a request. Retrieval looks the person's interest and the wish up in the index; ranking orders the few
hundred candidates. What is missing (a person, a history, an encoder) is made up for, and the answer says how.

Taught in notebook 18.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from recfuse_lib.serving import explaining, index
from recfuse_lib.serving.bundle import Bundle
from recfuse_lib.serving.catalogue import Catalogue
from recfuse_lib.serving.graph_session import GraphSession
from recfuse_lib.serving.words import Words
from recfuse_lib.stated.queries import LIKE_WEIGHT, Wish, parse

NO_PERSON = "unknown person: no vector of their own"
NO_HISTORY = "no history: ordered by popularity"
NO_HISTORY_BUT_WORDS = "no history: ordered by the wish"
BY_CHANCE = "Drawn by chance, not chosen by the model: what you say of it shows how good the model is."
NO_WORDS = "this bundle has no text encoder: the words were not heard"


@dataclasses.dataclass(frozen=True)
class History:
    """What a person did, oldest first.

    Attributes:
        codes: Item codes, (H,).
        ratings: Stars, (H,).
        missing: Ids that the catalogue does not have.
        person: Code of the person, the number of people for a stranger.
    """

    codes: np.ndarray
    ratings: np.ndarray
    missing: tuple[str, ...]
    person: int


@dataclasses.dataclass(frozen=True)
class ParsedQuery:
    """A wish as it was understood, and as a direction among the texts.

    Attributes:
        wish: What was understood.
        direction: v, so that t_i = e_i·v − offset is standardised over the catalogue, (width,); None where a wish has
            constraints and no more, or where words cannot be read.
        offset: The mean of e_i·v.
        allowed: The items that satisfy its constraints, bool (I,).
        notes: What the person should know.
    """

    wish: Wish
    direction: np.ndarray | None
    offset: float
    allowed: np.ndarray
    notes: tuple[str, ...]


class Recommender:
    """Answers what `recfuse_lib.models.joint.JointModel` would, from a bundle.

    Args:
        bundle: A verified bundle.

    Example:
        >>> import subprocess, sys
        >>> code = "import sys, recfuse_lib.serving.recommender; print({'keras', 'tensorflow'} & set(sys.modules))"
        >>> subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
        'set()\\n'
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.words = None if bundle.graph("text_encoder") is None else Words(bundle)
        self.catalogue = Catalogue(bundle, self.words)
        self._people = {user: code for code, user in enumerate(bundle.users())}
        self._persons, self._user_bias = bundle.array("persons"), bundle.array("user_bias")
        names = ("history_start", "history_item", "history_rating", "history_timestamp")
        self._start, self._item, self._rating, self._timestamp = (bundle.array(name) for name in names)
        self._user_tower, self._ranker = GraphSession(bundle, "user_tower"), GraphSession(bundle, "ranker")
        self._length, self._candidates = bundle.schema["history_length"], bundle.schema["candidates"]

    def add(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Adds items; see `Catalogue.extended`. Slow, and safe to run beside requests, but not beside another `add`."""
        if items:
            self.catalogue = self.catalogue.extended(items)

    @property
    def version(self) -> str:
        return self.bundle.version

    def people(self, count: int) -> list[str]:
        """The ids of the first people, for a page to offer."""
        return list(self._people)[:count]

    @property
    def n_people(self) -> int:
        return len(self._people)

    def history_of(self, user_id: str | None, later: Iterable[tuple[str, float, int]] = ()) -> History:
        """What the bundle knows of a person, and what they did later; of each item the newest rating counts.

        Args:
            user_id: The person, or None for somebody without a name.
            later: (item id, stars, Unix seconds), in any order.
        """
        person = self._people.get(user_id, len(self._people)) if user_id is not None else len(self._people)
        newest: dict[str, tuple[int, int, float]] = {}
        if person < len(self._people):
            for place in range(self._start[person], self._start[person + 1]):
                item_id = self.catalogue.ids[self._item[place]]
                newest[item_id] = (int(self._timestamp[place]), place, float(self._rating[place]))
        for place, (item_id, rating, timestamp) in enumerate(later, start=len(self._item)):
            newest[item_id] = max(newest.get(item_id, (-1, 0, 0.0)), (timestamp, place, rating))
        ordered = sorted(newest.items(), key=lambda one: one[1][:2])
        found = [(self.catalogue.codes[item], rating) for item, (*_, rating) in ordered if item in self.catalogue.codes]
        missing = tuple(item for item, _ in ordered if item not in self.catalogue.codes)
        codes = np.array([code for code, _ in found], "int64")
        ratings = np.array([rating for _, rating in found], "float32")
        return History(codes, ratings, missing, person)

    def parse_query(self, text: str) -> ParsedQuery:
        """Understands a wish; the slow part of an answer, and safe to run beside others."""
        catalogue = self.catalogue
        wish = parse(text, catalogue.dataset)
        allowed = np.ones(len(catalogue), bool)
        allowed[list(wish.like)] = False
        for constraint in wish.constraints:
            allowed &= constraint.holds(catalogue.dataset)
        scale, encodings = catalogue.text_scale, catalogue.text
        if encodings is None or scale is None:
            return ParsedQuery(wish, None, 0.0, allowed, (*wish.notes, NO_WORDS))
        directions, notes = [], wish.notes
        if wish.rest and self.words is not None:
            directions.append(self.words([wish.rest])[0])
        elif wish.rest:
            notes = (*notes, NO_WORDS)
        if wish.like:
            directions.append(encodings[list(wish.like)].mean(axis=0))
        if not directions:
            return ParsedQuery(wish, None, 0.0, allowed, notes)
        scaled = [one / max(scale.deviation(one), 1e-9) for one in directions]
        both = LIKE_WEIGHT * scaled[1] + (1 - LIKE_WEIGHT) * scaled[0] if len(scaled) == 2 else scaled[0]
        if len(scaled) == 2:
            both = both / max(scale.deviation(both), 1e-9)
        return ParsedQuery(wish, both.astype("float32"), scale.mean(both), allowed, notes)

    def recommend(
        self,
        history: History,
        k: int = 10,
        parsed: ParsedQuery | None = None,
        wish_weight: float = 0.5,
        constraints: Mapping[str, Any] | None = None,
        exclude: Sequence[str] = (),
        reasons: bool = True,
        chance: np.random.Generator | None = None,
    ) -> dict[str, Any]:
        """The k best items that the person does not have yet; the last one may be drawn by chance instead.

        What a model shows can be liked, what it leaves out cannot. Only what was shown by chance tells fairly which of
        two models is better (`recfuse_lib.serving.retraining.compare`).

        Args:
            history: From `history_of`.
            k: How many.
            parsed: From `parse_query`.
            wish_weight: How much the wish counts beside the history, 0–1; without a history it is 1.
            constraints: See `Catalogue.allowed`.
            exclude: Ids that must not come back.
            reasons: Whether each item comes with its shares and a sentence.
            chance: Draws the last place, each allowed item that is not shown already as likely as any other. Nothing is
                drawn without it, of one place, where there is nothing to choose from, or where words count: what was
                drawn would not be what was asked for.

        Returns:
            `items`, best first, `fallbacks` and `notes`; JSON as it is.
        """
        catalogue = self.catalogue
        allowed = catalogue.allowed(constraints or {})
        allowed[history.codes] = False
        allowed[[catalogue.codes[item] for item in exclude if item in catalogue.codes]] = False
        if parsed is not None:
            allowed[: len(parsed.allowed)] &= parsed.allowed
        user = self._user_vector(history, parsed, wish_weight)
        codes = self._retrieve(user, allowed, k)
        fallbacks, notes = self._missing(history, parsed), list(parsed.notes) if parsed is not None else []
        if history.missing:
            notes.append(f"{len(history.missing)} items of the history are not in the catalogue")
        if not len(codes):
            notes.append("no item is left that satisfies everything")
            return {"items": [], "fallbacks": fallbacks, "notes": notes}
        _, rating, score = self._rank(user, history, codes)
        best = np.argsort(-score, kind="stable")[:k]
        codes, score, rating = codes[best], score[best], rating[best]
        drawn = None
        if chance is not None and 1 < k == len(codes) and user.weight == 0 and np.count_nonzero(allowed) > k:
            allowed[codes[:-1]] = False
            drawn = codes[-1] = chance.choice(np.flatnonzero(allowed))
            _, rating[-1:], score[-1:] = self._rank(user, history, codes[-1:])
        shown = [{**one, "by_chance": False} for one in self._shown(codes, score, rating)]
        shown[-1]["by_chance"] = drawn is not None
        if reasons:
            shares = explaining.shares(catalogue, user, codes)
            because = explaining.because(catalogue, user, history, codes)
            for place, one in enumerate(shown):
                one["shares"] = shares[place]
                one["because"] = [catalogue.ids[code] for code in because[place]]
                titles = [catalogue.titles[code] for code in because[place]]
                reason = explaining.sentence(shares[place], titles, user.weight, parsed is not None)
                one["reason"] = BY_CHANCE if one["by_chance"] else reason
        return {"items": shown, "fallbacks": fallbacks, "notes": notes}

    def similar(self, item_id: str, k: int = 10) -> list[dict[str, Any]]:
        """The items whose vectors have the largest cosine with the item's.

        Raises:
            KeyError: No such item.
        """
        catalogue = self.catalogue
        code = catalogue.codes[item_id]
        vectors = catalogue.vectors[:, :-1]
        lengths = np.linalg.norm(vectors, axis=1)
        cosine = vectors @ vectors[code] / np.maximum(lengths * lengths[code], 1e-9)
        cosine[code] = -np.inf
        best = np.argsort(-cosine, kind="stable")[: min(k, len(cosine) - 1)]
        return [{**self.catalogue.shown[one], "similarity": round(float(cosine[one]), 4)} for one in best.tolist()]

    def explain(
        self, history: History, item_id: str, parsed: ParsedQuery | None, wish_weight: float = 0.5
    ) -> dict[str, Any]:
        """Why an item stands where it stands for a person, taken apart exactly.

        Raises:
            KeyError: No such item.
        """
        catalogue = self.catalogue
        code = catalogue.codes[item_id]
        user = self._user_vector(history, parsed, wish_weight)
        codes = np.array([code])
        lead, rating, score = self._rank(user, history, codes)
        (shares,) = explaining.shares(catalogue, user, codes)
        sources = explaining.sources(catalogue, user, history, code)
        titles = [catalogue.titles[one] for one in explaining.because(catalogue, user, history, codes)[0]]
        return {
            **self._shown(codes, score, rating)[0],
            "shares": shares,
            "lead": round(float(lead[0]), 4),
            "sources": sources,
            "reason": explaining.sentence(shares, titles, user.weight, parsed is not None),
            "fallbacks": self._missing(history, parsed),
        }

    def search(self, words: str, k: int = 10) -> list[dict[str, Any]]:
        """The items whose title holds all of the words, most rated first."""
        wanted = words.casefold().split()
        folded = (title.casefold() for title in self.catalogue.titles)
        found = [code for code, title in enumerate(folded) if all(word in title for word in wanted)]
        found.sort(key=lambda code: -self.catalogue.counts[code])
        return [self.catalogue.shown[code] for code in found[:k]]

    def _user_vector(self, history: History, parsed: ParsedQuery | None, wish_weight: float) -> explaining.UserVector:
        length, width = self._length, self._persons.shape[1]
        past, stars = np.zeros((1, length, width), "float32"), np.zeros((1, length), "float32")
        if count := min(len(history.codes), length):
            past[0, length - count :] = self.catalogue.vectors[history.codes[-count:], :-1]
            stars[0, length - count :] = history.ratings[-count:]
        answer = self._user_tower(history=past, history_rating=stars, person=self._persons[history.person][None])
        query = np.append(answer["interest"][0], np.float32(1))
        scale = self.catalogue.scale
        direction = None if parsed is None else parsed.direction
        weight = 0.0 if direction is None else wish_weight if self._knows(history) else 1.0
        return explaining.UserVector(
            query=query,
            sources=answer["sources"][0],
            mean=scale.mean(query),
            deviation=max(scale.deviation(query), 1e-9),
            direction=direction,
            offset=0.0 if parsed is None else parsed.offset,
            weight=weight,
        )

    def _knows(self, history: History) -> bool:
        return len(history.codes) > 0 or history.person < self.n_people

    def _retrieve(self, user: explaining.UserVector, allowed: np.ndarray, k: int) -> np.ndarray:
        """Candidates by the history, by the wish, or by both."""
        wanted, found = max(self._candidates, k), []
        if user.weight < 1:
            found.append(index.search(self.catalogue.index, user.query, wanted, allowed)[0])
        if user.direction is not None and self.catalogue.text_index is not None:
            found.append(index.search(self.catalogue.text_index, user.direction, wanted, allowed)[0])
        return found[0] if len(found) == 1 else np.unique(np.concatenate(found))

    def _rank(self, user: explaining.UserVector, history: History, codes: np.ndarray) -> tuple[np.ndarray, ...]:
        """(lead, ŷ, score) of each candidate."""
        catalogue = self.catalogue
        vectors = catalogue.vectors[codes]
        lead = (1 - user.weight) * (vectors @ user.query - user.mean) / user.deviation
        if user.direction is not None and catalogue.text is not None:
            lead = lead + user.weight * (catalogue.text[codes] @ user.direction - user.offset)
        found = self._ranker(
            interest=np.broadcast_to(user.query[:-1], (len(codes), len(user.query) - 1)),
            vector=vectors[:, :-1],
            bias=(self._user_bias[history.person] + catalogue.item_bias[codes]).astype("float32"),
            lead=lead.astype("float32"),
            count=catalogue.counts[codes],
        )
        return lead, found["rating"], found["score"]

    def _missing(self, history: History, parsed: ParsedQuery | None) -> list[str]:
        found = []
        if history.person == self.n_people:
            found.append(NO_PERSON)
        if not self._knows(history):
            found.append(NO_HISTORY if parsed is None or parsed.direction is None else NO_HISTORY_BUT_WORDS)
        return found

    def _shown(self, codes: np.ndarray, score: np.ndarray, rating: np.ndarray) -> list[dict[str, Any]]:
        rows = zip(codes.tolist(), score.tolist(), rating.tolist(), strict=True)
        return [
            {
                **self.catalogue.shown[code],
                "score": round(one, 4),
                "predicted_rating": round(min(max(stars, 0.5), 5.0), 2),
            }
            for code, one, stars in rows
        ]
