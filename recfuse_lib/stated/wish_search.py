"""From a wish to candidates: the encoder orders, the constraints decide who may be there at all.

Taught in notebook 03.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from recfuse_lib.data.schema import Dataset
from recfuse_lib.encoders.text import Encodings
from recfuse_lib.evaluation.metrics import top_k
from recfuse_lib.stated.wishes import Wish

LIKE_WEIGHT = 0.5
"""The share of the liked titles where a wish also says something else: as much as the words."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What is recommended for a wish.

    Attributes:
        items: Item codes, best first; fewer than K when no more satisfy the wish.
        message: What the person should know of the list, "" when there is nothing to say.
    """

    items: np.ndarray
    message: str


class WishSearch:
    """Scores every item of a catalogue for a wish.

        s(w, i) = ½ · z(e_w · e_i) + ½ · z(mean over l in L of e_l · e_i)

    e_w encodes the words of the wish that no pattern took, e_i the item, L are the liked titles, z standardises over
    the allowed items. Where a wish has only the one part or the other, s is that part. An item that fails a constraint,
    and a title that the answer shall resemble, get −inf.

    Args:
        dataset: The catalogue.
        encodings: Unit vectors of its items, usually centred, (I, D).
        encode: Texts to unit vectors of the same space, (N, D), such as `TextEncoder.from_pretrained().encode`. A wish
            is no item, so the items' mean is not taken from it.

    Raises:
        ValueError: Not one encoding an item.

    Example:
        >>> import pandas as pd
        >>> from recfuse_lib.stated.wishes import parse
        >>> catalogue = pd.DataFrame({"item_id": [1, 2], "title": ["Up", "Saw"], "year": [2009, 2004], "genres": ""})
        >>> seen = pd.DataFrame({"user_id": [7], "item_id": [1], "rating": [4.0], "timestamp": [10]})
        >>> dataset = Dataset.of("tiny", seen, catalogue)
        >>> search = WishSearch(dataset, np.eye(2, dtype="float32"), lambda texts: np.array([[0.8, 0.6]] * len(texts)))
        >>> search.score(parse("balloons, before 2005", dataset))
        array([-inf,  0.6])
        >>> search.answer(parse("balloons, before 1990", dataset)).message
        'No item satisfies “year < 1990”. Leave it out or loosen it.'
    """

    def __init__(self, dataset: Dataset, encodings: Encodings, encode: Callable[[list[str]], Encodings]) -> None:
        if encodings.ndim != 2 or len(encodings) != dataset.n_items:
            raise ValueError(
                f"encodings have shape {encodings.shape}; {dataset.name} needs one row for each of its "
                f"{dataset.n_items:,} items"
            )
        self.dataset, self.encodings, self.encode = dataset, encodings, encode

    def allowed(self, wish: Wish) -> np.ndarray:
        """Which items satisfy every constraint and are not themselves a liked title, bool (I,)."""
        return np.asarray(
            np.logical_and.reduce([self._others(wish), *(each.holds(self.dataset) for each in wish.constraints)])
        )

    def score(self, wish: Wish) -> np.ndarray:
        """s of every item, float64 (I,); 0 for all that are allowed when a wish has constraints and no more.

        Args:
            wish: What `parse` understood.
        """
        allowed = self.allowed(wish)
        parts = []
        if wish.rest:
            parts.append(self.encodings @ np.asarray(self.encode([wish.rest]))[0])
        if wish.like:
            parts.append((self.encodings @ self.encodings[list(wish.like)].T).mean(axis=1))
        parts = [np.where(allowed, part, -np.inf).astype("float64") for part in parts]
        if len(parts) == 2:
            return combine(parts[1], parts[0], LIKE_WEIGHT)
        return parts[0] if parts else np.where(allowed, 0.0, -np.inf)

    def answer(self, wish: Wish, k: int = 10) -> Answer:
        """The K best items for a wish, and what should be said of them.

        Args:
            wish: What `parse` understood.
            k: How many.

        Returns:
            Nothing satisfies the wish, or nothing was said: no items, and the reason.
        """
        if not (wish.rest or wish.like or wish.constraints):
            return Answer(np.empty(0, "int32"), "Nothing was said. Describe what you are after, in a few words.")
        items = top_k(self.score(wish)[None], k)[0]
        items = items[items >= 0]
        if not len(items):
            return Answer(items, self._why_nothing(wish))
        equal = not wish.rest and not wish.like
        return Answer(items, "Only limits were named, so all items within them count the same." if equal else "")

    def _others(self, wish: Wish) -> np.ndarray:
        others = np.ones(self.dataset.n_items, bool)
        others[list(wish.like)] = False
        return others

    def _why_nothing(self, wish: Wish) -> str:
        """The constraint that leaves nothing by itself, else the first that leaves nothing of what was left."""
        masks = [(str(constraint), constraint.holds(self.dataset)) for constraint in wish.constraints]
        left = self._others(wish)
        for said, mask in masks:
            if not mask.any():
                return f"No item satisfies “{said}”. Leave it out or loosen it."
        for place, (said, mask) in enumerate(masks):
            if not (left & mask).any():
                before = ", ".join(f"“{earlier}”" for earlier, _ in masks[:place]) or "the titles named left out"
                return f"No item satisfies “{said}” together with {before}. Leave one of them out or loosen it."
            left &= mask
        return "The catalogue has no other item than the titles named."


def combine(wish_scores: np.ndarray, user_scores: np.ndarray, weight: float) -> np.ndarray:
    """Mix what a person says with what is known of them:  s = w · z(s_wish) + (1 − w) · z(s_user).

    z standardises to mean 0 and variance 1 over the items that both allow, because the two come in units of their own.

    Args:
        wish_scores: −inf where an item is not allowed, (I,).
        user_scores: From any recommender, −inf where an item is not allowed, such as one already seen, (I,).
        weight: w in 0–1; 1 orders by the wish alone, 0 by the history among what the wish allows.

    Returns:
        float64 (I,), −inf where either is.

    Raises:
        ValueError: Shapes that differ, a weight outside 0–1, or a score that is NaN or +inf.

    Example:
        >>> combine(np.array([0.1, 0.3, -np.inf]), np.array([4.0, 2.0, 9.0]), weight=0.75)
        array([-0.5,  0.5, -inf])
    """
    wish_scores, user_scores = np.asarray(wish_scores, "float64"), np.asarray(user_scores, "float64")
    if wish_scores.ndim != 1 or wish_scores.shape != user_scores.shape:
        raise ValueError(f"scores have shapes {wish_scores.shape} and {user_scores.shape}; both need one score an item")
    if not 0 <= weight <= 1:
        raise ValueError(f"weight is {weight}; choose 0 (history alone) to 1 (wish alone)")
    for name, scores in (("wish", wish_scores), ("user", user_scores)):
        if not (scores < np.inf).all():
            raise ValueError(
                f"{int((~(scores < np.inf)).sum()):,} {name} scores are NaN or +inf; give finite ones or −inf"
            )
    both = np.isfinite(wish_scores) & np.isfinite(user_scores)
    mixed = np.full(len(both), -np.inf)
    mixed[both] = weight * _standardised(wish_scores[both]) + (1 - weight) * _standardised(user_scores[both])
    return mixed


def _standardised(scores: np.ndarray) -> np.ndarray:
    """Scores with mean 0 and variance 1; zeros when all are alike."""
    if not len(scores):
        return scores
    away = scores - scores.mean()
    spread = away.std()
    # Equal scores differ by rounding from their own mean, which must not be blown up to variance 1.
    return away / spread if spread > 1e-12 * np.abs(scores).max() else np.zeros_like(scores)
