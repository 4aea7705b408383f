"""Recommends from a bundle with NumPy, SciPy, faiss and ONNX Runtime, without Keras. An answer names its fallbacks:
what it did without a person, a history or an encoder. Taught in notebook 18.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from recfuse_lib.data.splits import Queries
from recfuse_lib.models.two_stage import ENOUGH, LEVEL, STATED, TOGETHER, Ranked, Stated, top
from recfuse_lib.serving import explanation
from recfuse_lib.serving.bundle import Bundle
from recfuse_lib.serving.catalogue import Catalogue
from recfuse_lib.serving.questions import Questions
from recfuse_lib.serving.text_encoder import TextEncoderSession
from recfuse_lib.stated.queries import Wish, parse

NO_PERSON = "unknown person: nothing is known but what came with the request"
NO_HISTORY = "no history: ordered by what is popular"
NO_HISTORY_BUT_WORDS = "no history: ordered by the wish"
BY_CHANCE = "Drawn by chance, not chosen by the model: what you say of it shows how good the model is."
NO_WORDS = "this bundle has no text encoder: the words were not heard"
LIMITS = (
    "What it knows of people is what they chose among what they were shown.",
    "Its figures are those of the people of this data set; others may be served better or worse.",
    "Texts and wishes are read by an encoder, where there is one, which knows the languages that it was trained on.",
)
MOST_CATEGORIES = 200
REMEMBERED = 100  # ranked items that are kept with a history, for the next answer to the same person
DISMISSED = "dismissed"  # the contribution that lowers what is like a dismissed item
ALIKE = 1.0  # standard deviations above the average likeness from which on an item is like a dismissed one
LOWERED, LOWERED_LEADS = 1.0, 0.2  # what an item like a dismissed one loses at most, and where a wish counts


@dataclasses.dataclass(eq=False)
class History:
    """A person's past as one query, without the `missing` ids and what was `dismissed`, codes; a stranger's code is the
    number of people.
    """

    query: Queries
    missing: tuple[str, ...]
    dismissed: np.ndarray
    ranked: Ranked | None = None
    """The best of the whole catalogue, once it was asked for."""
    stars: dict[int, float] = dataclasses.field(default_factory=dict)
    """Predicted stars by item code, of what was shown or may be next."""
    shown: dict[int, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """What answers without a wish say of an item, by its code."""

    @property
    def codes(self) -> np.ndarray:
        return self.query.item

    def turned(self, query: ParsedQuery | None) -> History:
        """The same for one wish: the titles that it asks for nothing like count as dismissed."""
        said = query.wish.constraints if query else ()
        away = [code for one in said if one.comparison == "nothing like" for code in one.codes]
        return History(self.query, self.missing, np.append(self.dismissed, away).astype("int64")) if away else self


@dataclasses.dataclass(frozen=True)
class ParsedQuery:
    """A wish as it was understood: its direction among the texts, if any, and which items meet its constraints."""

    wish: Wish
    direction: np.ndarray | None
    allowed: np.ndarray
    notes: tuple[str, ...]

    @property
    def says(self) -> bool:
        """Whether it says more than constraints."""
        return self.direction is not None or bool(self.wish.like)


class Recommender:
    """Answers as `recfuse_lib.models.two_stage.TwoStage` does, from a verified bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle, self.version, self.model = bundle, bundle.version, bundle.model()
        self.encode_text = None if bundle.text_encoder is None else TextEncoderSession(bundle)
        self.catalogue = Catalogue(bundle.items, n_trained=bundle.items.n_items)
        self.people = {user: code for code, user in enumerate(bundle.users())}
        self._stranger = len(self.people)
        self._past = Queries.of(self.model.ranking.events, np.arange(self._stranger), bundle.items.n_items)
        self._now, self.questions = int(self._past.timestamp.max(initial=0)), Questions(self._past)

    @property
    def predicts_stars(self) -> bool:
        """Whether the model has learned from ratings."""
        return bool(self.model.ranking.task_weight)

    def about(self) -> dict[str, Any]:
        """Describes the model, and what can be asked of it."""
        catalogue, ranking = self.catalogue, self.model.ranking
        return {
            "version": self.version,
            "name": self.bundle.manifest["provenance"]["name"],
            "n_items": catalogue.n_there,
            "n_users": len(self.people),
            "dimensions": list(explanation.by_interest(dict.fromkeys([*ranking.names, LEVEL, TOGETHER, STATED], 0))),
            "categories": catalogue.categories[:MOST_CATEGORIES],
            "numbers": catalogue.ranges(),
            "reads_words": self.encode_text is not None,
            "predicts_stars": self.predicts_stars,
            "metrics": self.bundle.manifest["metrics"],
            "made_of": {"created": self.bundle.manifest["created"], **self.bundle.manifest["provenance"]},
            "limits": list(LIMITS),
        }

    def extended(self, rows: Sequence[Mapping[str, Any]]) -> Self:
        """Returns a recommender that knows more items, each from `messages.Item.row`; this one stays as it is.

        Raises:
            ItemError: An item cannot be added.
        """
        larger, items = copy.copy(self), self.model.items
        larger.catalogue, new = self.catalogue.more(rows), slice(items.n_items, None)
        table = dataclasses.replace(items, catalogue=larger.catalogue.following(items.catalogue), encodings={})
        encodings = {name: np.pad(matrix, ((0, len(rows)), (0, 0))) for name, matrix in items.encodings.items()}
        if "text" in encodings and self.encode_text is not None:
            texts = dataclasses.replace(table, catalogue=table.catalogue.iloc[new]).texts()
            encodings["text"][new] = self.encode_text(texts)
        available = np.ones(items.n_items, bool) if items.available is None else items.available
        available = np.append(available, np.zeros(len(rows), bool))
        more = dataclasses.replace(table, encodings=encodings, available=available)
        larger.model = self.model.extended(self.model.ranking.events, more)
        return larger

    def changed(self, rows: Sequence[Mapping[str, Any]]) -> Self:
        """Returns a recommender that knows something else of items, or new ones. An added item is placed anew; of a
        trained one, what was learned stays until the next bundle. Raises ItemError as `extended` does.
        """
        other, trained = copy.copy(self), [row for row in rows if self.catalogue.trained(row["item_id"])]
        added = [row for row in rows if not self.catalogue.trained(row["item_id"])]
        other.catalogue = self.catalogue.changed(trained) if trained else self.catalogue
        return other.without(row["item_id"] for row in added).extended(added) if added else other

    def without(self, item_ids: Iterable[str]) -> Self:
        """Returns a recommender that names some items nowhere; what people did with them still counts."""
        smaller, smaller.catalogue = copy.copy(self), self.catalogue.without(item_ids)
        return smaller

    def history_of(self, user_id: str | None, later: Sequence[tuple[str, float | None, int | None]] = ()) -> History:
        """Collects what the bundle knows of a person, None for a stranger, and what they did `later`.

        `later` holds (item id, stars, Unix seconds), in any order; without stars it was dismissed, without a time just
        now. The newest of an item counts. To the model a low rating is a choice all the same, which predicts the next
        one; who dismisses an item wants none like it, so it is left out of what scores, and lowers.
        """
        person = self.people.get(user_id or "", self._stranger)
        own, codes = self._past.span(person), self.catalogue.codes
        known = [(codes[item_id], rating, time) for item_id, rating, time in later if item_id in codes]
        now = max([self._now, *(time for _, _, time in known if time is not None)])
        # Where the model knows no times, those of later events would only say that they are known.
        times = [(now if time is None else time) if self._now else 0 for _, _, time in known]
        item = np.append(self._past.item[own], [code for code, _, _ in known]).astype("int32")
        stars = [np.nan if rating is None else rating for _, rating, _ in known]
        rating = np.append(self._past.rating[own], stars).astype("float32")
        moment = np.append(self._past.timestamp[own], times).astype("int64")
        order = np.argsort(moment, kind="stable")
        _, newest = np.unique(item[order][::-1], return_index=True)
        order = order[np.sort(len(order) - 1 - newest)]
        dismissed = np.isnan(rating[order])
        away, order = item[order[dismissed]], order[~dismissed]
        indptr = np.array([0, len(order)])
        query = Queries(
            np.array([person], "int32"), indptr, item[order], rating[order], moment[order], len(self.catalogue)
        )
        return History(query, tuple(item_id for item_id, _, _ in later if item_id not in codes), away)

    def known_of(self, user_id: str) -> list[dict[str, Any]]:
        """Lists what the bundle itself holds of a person, oldest first."""
        users, past = self.bundle.users(), self._past
        own = past.span(users.index(user_id) if user_id in users else self._stranger)
        rows = zip(past.item[own].tolist(), past.rating[own].tolist(), past.timestamp[own].tolist(), strict=True)
        return [{"item_id": self.catalogue.ids[item], "rating": stars, "timestamp": time} for item, stars, time in rows]

    def parse_query(self, text: str) -> ParsedQuery:
        """Understands a wish; the slow part of an answer, and safe to run in parallel."""
        items = self.catalogue.items
        wish = parse(text, items)
        allowed = np.ones(len(self.catalogue), bool)
        allowed[list(wish.like)] = False
        for constraint in wish.constraints:
            allowed &= constraint.holds(items)
        encode = self.encode_text if wish.rest else None
        direction = encode([wish.rest])[0] if encode else None
        notes = (*wish.notes, NO_WORDS) if wish.rest and not encode else wish.notes
        return ParsedQuery(wish, direction, allowed, notes)

    def recommend(
        self, history: History, k: int = 10, query: ParsedQuery | None = None, wish_weight: float = 0.5,
        constraints: Mapping[str, Any] | None = None, exclude: Sequence[str] = (), reasons: bool = True,
        exploration: np.random.Generator | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Finds the k best items that the person does not have yet; `exploration` draws the last one at random.

        Nothing is drawn if k is 1, if no other item is allowed, or if a wish has weight: a random item would not be
        what was asked for. `drawn_from` counts the items that the last may be drawn from; `own` says whether it is what
        the model would put there, drawn or not. `wish_weight`, 0–1, is the wish's share; without a history it is 1.
        """
        codes, limits, history = self.catalogue.codes, constraints or {}, history.turned(query)
        allowed = self.catalogue.allowed(limits)
        allowed[history.codes] = allowed[history.dismissed] = False
        allowed[[codes[item] for item in exclude if item in codes]] = False
        if query is not None:
            allowed[: len(query.allowed)] &= query.allowed
        stated = self._stated(history, query, wish_weight)
        fallbacks, notes = self._missing(history, query), list(query.notes) if query is not None else []
        if history.missing:
            notes.append(f"{len(history.missing)} items of the history are not in the catalogue")
        notes += [f"no item has {name!r}" for name in self.catalogue.unknown(limits)]
        ranked = self._best(history, allowed, stated, k)
        allowed[ranked.codes[:-1]] = False
        drawable = np.count_nonzero(allowed) if 1 < k == len(ranked.codes) and stated is None else 0
        parts = [ranked]
        if exploration is not None and drawable > 1:
            one = np.zeros(len(allowed), bool)
            one[exploration.choice(np.flatnonzero(allowed))] = True
            parts = [ranked.top(k - 1), self._rank(history, one)]
        if not len(ranked.codes):
            notes.append("no item is left that satisfies everything")
            return {"items": [], "fallbacks": fallbacks, "notes": notes, "drawn_from": 1, "own": True}
        told = history.shown if stated is None else {}
        shown = (one for part in parts for one in self._shown(history, part, reasons, told))
        items = [{**one, "exploration": False} for one in shown]
        if len(parts) > 1:
            items[-1] |= {"exploration": True} | ({"reason": BY_CHANCE} if reasons else {})
        drew = {"drawn_from": max(drawable, 1), "own": parts[-1].codes[-1] == ranked.codes[-1]}
        return {"items": items, "fallbacks": fallbacks, "notes": notes, **drew}

    def _best(self, history: History, allowed: np.ndarray, stated: Stated | None, k: int) -> Ranked:
        """The k best; what is best of the whole catalogue is remembered with the history."""
        if stated is None:
            if history.ranked is None:
                everything = np.ones(len(allowed), bool)
                everything[history.codes] = everything[history.dismissed] = False
                history.ranked = self._rank(history, everything).top(REMEMBERED)
            known = history.ranked.only(allowed)
            if len(known.codes) >= k:
                return known.top(k)
        return self._rank(history, allowed, stated).top(k)

    def _rank(self, history: History, allowed: np.ndarray, stated: Stated | None = None) -> Ranked:
        """Ranks as the model does, and lowers what is `ALIKE` to a dismissed item by its cosine in the retriever."""
        ranked = self.model.rank(history.query, allowed, stated)
        if not len(history.dismissed):
            return ranked
        deviations = self.model.deviations(ranked.codes, history.dismissed)
        alike = np.clip((deviations.max(axis=1) - ALIKE) / (ENOUGH - ALIKE), 0, 1)
        part = -alike * (LOWERED if stated is None else LOWERED_LEADS)
        score = ranked.score + part
        order = np.argsort(-score, kind="stable")
        parts = {name: row[order] for name, row in {**ranked.contributions, DISMISSED: part}.items()}
        return Ranked(ranked.codes[order], score[order], parts, ranked.z[:, order])

    def similar(self, item_id: str, k: int = 10) -> list[dict[str, Any]]:
        """Finds the items whose vectors in the retriever have the largest cosine with that of an item."""
        code, others = self.catalogue.codes[item_id], ~self.catalogue.removed
        cosine, others[code] = self.model.likeness(np.array([code])), False
        some = top(cosine, others, k) if np.count_nonzero(others) > k else np.flatnonzero(others)
        best = some[np.lexsort((some, -cosine[some]))].tolist()
        return [{**self.catalogue.shown(one), "similarity": round(float(cosine[one]), 4)} for one in best]

    def explain(
        self, history: History, item_id: str, query: ParsedQuery | None, wish_weight: float = 0.5
    ) -> dict[str, Any]:
        """Says what each dimension adds to the score of an item of the catalogue for a person."""
        asked = np.zeros(len(self.catalogue), bool)
        asked[self.catalogue.codes[item_id]] = True
        ranked = self._rank(history.turned(query), asked, self._stated(history, query, wish_weight))
        return {**self._shown(history, ranked, True, {})[0], "fallbacks": self._missing(history, query)}

    def search(self, words: str, k: int = 10) -> list[dict[str, Any]]:
        """Finds the items whose title contains all of the words, most often chosen first."""
        found = sorted(self.catalogue.search(words), key=lambda code: -self.model.ranking.count[code])
        return [self.catalogue.shown(code) for code in found[:k]]

    def _stated(self, history: History, query: ParsedQuery | None, weight: float) -> Stated | None:
        share = weight if len(history.codes) else 1.0
        return Stated(query.direction, query.wish.like, share) if query and query.says else None

    def _missing(self, history: History, query: ParsedQuery | None) -> list[str]:
        missing = [NO_PERSON] if history.query.user[0] == self._stranger else []
        ordered = NO_HISTORY_BUT_WORDS if query and query.says else NO_HISTORY
        return missing if len(history.codes) else [*missing, ordered]

    def _stars(self, history: History, ranked: Ranked) -> list[float | None]:
        """Predicted stars, remembered with the history: what they depend on besides the item costs most of the time."""
        codes = ranked.codes.tolist()
        if not self.predicts_stars:
            return [None] * len(codes)
        if any(code not in history.stars for code in codes):
            now = max(self._now, int(history.query.timestamp.max(initial=0)))
            person, moment = np.full(len(codes), history.query.user[0]), np.full(len(codes), now)
            asked = {"user": person, "item": ranked.codes, "timestamp": moment}
            stars = self.model.ranking.predict(history.query, asked, ranked.z.T).astype("float64").round(2).tolist()
            if len(history.stars) < REMEMBERED:
                history.stars.update(zip(codes, stars, strict=True))
            return list(stars)
        return [history.stars[code] for code in codes]

    def _shown(
        self, history: History, ranked: Ranked, reasons: bool, told: dict[int, dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """What an answer says of the items; reasons that were `told` before are told again, and new ones added."""
        codes = ranked.codes.tolist()
        if reasons and all(code in told for code in codes):
            return [told[code] for code in codes]
        items = [
            {**self.catalogue.shown(code), "score": round(score, 6), "predicted_rating": rating}
            for code, score, rating in zip(codes, ranked.score.tolist(), self._stars(history, ranked), strict=True)
        ]
        if reasons:
            parts = np.stack(list(ranked.contributions.values()), axis=1).astype("float64").round(6).tolist()
            shares = explanation.shares(ranked.contributions)
            past = map(self.catalogue.there, explanation.evidence(self.model, history.query, ranked))
            for item, row, share, liked in zip(items, parts, shares, past, strict=True):
                item["contributions"] = dict(zip(ranked.contributions, row, strict=True))
                item["shares"], item["evidence_items"] = share, [self.catalogue.ids[code] for code in liked]
                titles = [self.catalogue.titles[code] for code in liked]
                item["reason"] = explanation.sentence(item["contributions"], titles)
            if len(told) < REMEMBERED:
                told.update(zip(codes, items, strict=True))
        return items
