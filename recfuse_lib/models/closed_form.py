"""Dimensions of interest that need no gradient: each is fitted in a second and scores every item for every query.

A dimension knows one thing: what follows what, what is watched at the time, what is like what one liked, when items
were made, or who would like an item if one asked its text. None is a good recommender alone; `recfuse_lib.models.fused`
weighs them.

Taught in notebook 07.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse

from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import POSITIVE, Queries
from recfuse_lib.data.weighting import Weighting, by_user
from recfuse_lib.models import content
from recfuse_lib.models.contract import Recommender
from recfuse_lib.models.ease import inverse

DAY = 86_400
RECENT = Weighting(low_rating=0.3, half_life=10.0, floor=0.2)
REACH = 4.0
"""How many τ `TemporalPopularity` looks back and ahead."""


def _liked(rating: np.ndarray, low: float = RECENT.low_rating) -> np.ndarray:
    return np.where(rating >= POSITIVE, 1.0, low)


class Transitions(Recommender):
    """Sequential: what stands near what in the order of people's histories.

        T_ji = Σ over ordered pairs with d steps between j and i of e^(−(d−1)/τ) w_i (half as much backwards),
        s(u, i) = Σ_{j ∈ h_u} w_j e^(−n_j/τ) T_ji / ((out_j + shrinkage) √(in_i + shrinkage))

    Args:
        window: Largest d.
        tau: τ, interactions.
        shrinkage: Pulls what rests on few pairs towards 0.

    References:
        Rendle, Freudenthaler and Schmidt-Thieme (2010), Factorizing Personalized Markov Chains, WWW (the idea).
    """

    def __init__(self, window: int = 20, tau: float = 6.0, shrinkage: float = 5.0) -> None:
        self.window, self.tau, self.shrinkage = window, tau, shrinkage

    def fit(self, history: pd.DataFrame, items: Items) -> Transitions:
        """Counts the pairs of `history` (columns `user`, `item`, `rating`, `timestamp`)."""
        past = by_user(history, items.n_items)
        weight = _liked(past.rating)
        owner = np.repeat(np.arange(len(past)), past.lengths)
        rows, columns, values = [], [], []
        for steps in range(1, min(self.window, len(owner) - 1) + 1):
            same = owner[steps:] == owner[:-steps]
            first, second = past.item[:-steps][same], past.item[steps:][same]
            near = np.exp(-(steps - 1) / self.tau)
            rows += [first, second]
            columns += [second, first]
            values += [near * weight[steps:][same], 0.5 * near * weight[:-steps][same]]
        entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))) if rows else None
        shape = items.n_items, items.n_items
        pairs = scipy.sparse.csr_array(entries if entries else shape, shape=shape)
        out, into = (np.asarray(pairs.sum(axis=axis)).ravel() + self.shrinkage for axis in (1, 0))
        scaled = scipy.sparse.diags_array(1 / out) @ pairs @ scipy.sparse.diags_array(1 / np.sqrt(into))
        self.pairs = scaled.astype("float32")
        return self

    def _score(self, queries: Queries) -> np.ndarray:
        """s, float32 (Q, n_items)."""
        back = queries.steps_back()
        # What lies five τ back weighs less than 1 %; without it a long history costs no more than a short one.
        weight = np.where(back < 5 * self.tau, _liked(queries.rating) * np.exp(-back / self.tau), 0)
        recent = queries.matrix(weight)
        recent.eliminate_zeros()
        return np.asarray((recent @ self.pairs).toarray(), "float32")


class TemporalPopularity(Recommender):
    """Temporal: what other people rated around the time of a person's last interaction.

        s(u, i) = log(1 + Σ over others' ratings of i, less than 4 τ away, of w e^(−|t − t_u| / τ))

    Args:
        days: τ.
    """

    def __init__(self, days: float = 30.0) -> None:
        self.days = days

    def fit(self, history: pd.DataFrame, items: Items) -> TemporalPopularity:
        """Sorts `history` (columns `user`, `item`, `rating`, `timestamp`) by time, and by person."""
        ordered = history.sort_values(["timestamp", "user", "item"])
        self.day, self.item = ordered["timestamp"].to_numpy() / DAY, ordered["item"].to_numpy()
        self.weight, self.past = _liked(ordered["rating"].to_numpy()), by_user(history, items.n_items)
        ends = zip(self.past.indptr, self.past.indptr[1:], strict=False)
        self.own = {user: slice(*between) for user, between in zip(self.past.user.tolist(), ends, strict=True)}
        return self

    def _score(self, queries: Queries) -> np.ndarray:
        """s, float32 (Q, n_items); zeros for an empty history, whose time is not known."""
        scores = np.zeros((len(queries), self.past.n_items), "float32")
        moments = last_moment(queries) / DAY
        reach = REACH * self.days
        for row in np.flatnonzero(np.isfinite(moments)):
            moment = moments[row]
            ends = np.searchsorted(self.day, moment - reach), np.searchsorted(self.day, moment + reach, "right")
            near = slice(*ends)
            weight = self._nearness(self.day[near] - moment) * self.weight[near]
            scores[row] = np.bincount(self.item[near], weight, self.past.n_items)
            own = self.own.get(int(queries.user[row]), slice(0))
            weight = self._nearness(self.past.timestamp[own] / DAY - moment) * _liked(self.past.rating[own])
            np.subtract.at(scores[row], self.past.item[own], weight)
        return np.asarray(np.log(1 + np.maximum(scores, 0)))

    def _nearness(self, away: np.ndarray) -> np.ndarray:
        """e^(−|t| / τ) for times t in days, 0 from 4 τ on; an own rating is taken out exactly as it was counted."""
        return np.where(np.abs(away) < REACH * self.days, np.exp(-np.abs(away) / self.days), 0.0)


class ContentSimilarity(Recommender):
    """Semantic, or any content: how like an item is to what a person liked lately.

        s(u, i) = Σ_{j ∈ h_u} w_j e_jᵀ e_i / √(|h_u| + 1)

    Args:
        name: Of what the items are compared by: an encoding of theirs, `content.LABELS`, or an attribute.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def fit(self, history: pd.DataFrame, items: Items) -> ContentSimilarity:
        """Centre e, (I, D), with the items of `history`."""
        self.encodings = content.encoding(items, history, self.name)
        return self

    def _score(self, queries: Queries) -> np.ndarray:
        weights = Weighting(half_life=20.0).matrix(queries)
        scores = (weights @ self.encodings) @ self.encodings.T
        return np.asarray(scores / np.sqrt(queries.lengths + 1)[:, None], "float32")


class ContentEASE(Recommender):
    """Collaborative through content: EASE for items that nobody has rated.

    EASE's users × users form scores an item by its column x_i of the interactions (Steck, 2019):
    s(u, i) ∝ (h_u Xᵀ) K x_i. A new item has no column, so it is predicted from what the item is:

        x̂_i = Wᵀ c_i,   W = (Cᵀ N C + ρI)⁻¹ Cᵀ N Xᵀ,   s(u, i) = (h_u Xᵀ) K x̂_i

    with N the square roots of the items' counts. All items get the predicted column, known ones too. Where there are
    more people than items, XᵀK = (XᵀX + λI)⁻¹ Xᵀ is solved instead, which is as large as the items are many.

    Args:
        l2: EASE's λ.
        ridge: ρ.
    """

    def __init__(self, l2: float = 300.0, ridge: float = 15.0) -> None:
        self.l2, self.ridge = l2, ridge

    def fit(self, history: pd.DataFrame, items: Items) -> ContentEASE:
        """Solves for K and W from `history` (columns `user`, `item`, `rating`, `timestamp`).

        Raises:
            DataError: The inverse does not fit into memory.
        """
        self.content = content.content(items, history)
        x = RECENT.without_recency().matrix(by_user(history, items.n_items))
        counts = np.asarray((x > 0).sum(axis=0)).ravel()
        known = np.flatnonzero(counts)
        weighted = self.content[known] * np.sqrt(counts[known] / max(counts[known].mean(), 1))[:, None]
        gram = weighted.T @ self.content[known] + self.ridge * np.eye(self.content.shape[1])
        wanted = np.linalg.solve(gram, (x[:, known] @ weighted).T)
        if x.shape[0] > items.n_items:
            alike = inverse(x.T @ x, self.l2) @ (x.T @ wanted.T)
        else:
            alike = x.T @ (inverse(x @ x.T, self.l2) @ wanted.T)
        self.alike = alike.astype("float32")
        return self

    def _score(self, queries: Queries) -> np.ndarray:
        """s, float32 (Q, n_items)."""
        return np.asarray((RECENT.matrix(queries) @ self.alike) @ self.content.T, "float32")


class ContentPopularity(Recommender):
    """How often an item is liked, and how often one with such content would be:  log(1 + n_i), and Wᵀc_i beside it.

    Args:
        by_content: Predict instead of counting.
    """

    def __init__(self, by_content: bool = False) -> None:
        self.by_content = by_content

    def fit(self, history: pd.DataFrame, items: Items) -> ContentPopularity:
        """Counts the positives of `history`, and fits the prediction to the items that it knows."""
        liked = history.loc[history["rating"] >= POSITIVE, "item"]
        self.level = np.log1p(np.bincount(liked, minlength=items.n_items))
        if self.by_content:
            known, of_items = np.unique(history["item"]), content.content(items, history)
            rows, mean = of_items[known], self.level[known].mean()
            gram = rows.T @ rows + 20 * np.eye(rows.shape[1])
            self.level = of_items @ np.linalg.solve(gram, rows.T @ (self.level[known] - mean))
        return self

    def _score(self, queries: Queries) -> np.ndarray:
        """The same for every query, float32 (Q, n_items)."""
        return np.repeat(np.asarray(self.level, "float32")[None], len(queries), axis=0)


class Era(Recommender):
    """Attributes: is the item from the years that a person chooses?

        s(u, i) = log(Σ_{j ∈ h_u} w_j e^(−|y_j − y_i| / τ) + 1)

    Args:
        tau: τ, years.
    """

    def __init__(self, tau: float = 4.0) -> None:
        self.tau = tau

    def fit(self, history: pd.DataFrame, items: Items) -> Era:
        """Takes the median year of `history` for an item whose year is unknown."""
        years = items.years()
        known = years[history["item"]]
        typical = np.nanmedian(known) if np.isfinite(known).any() else 2000.0
        span, self.place = np.unique(np.where(np.isfinite(years), years, typical), return_inverse=True)
        self.of_year = np.zeros((items.n_items, len(span)), "float32")
        self.of_year[np.arange(items.n_items), self.place] = 1
        self.kernel = np.exp(-np.abs(span[:, None] - span) / self.tau).astype("float32")
        return self

    def _score(self, queries: Queries) -> np.ndarray:
        """s, float32 (Q, n_items)."""
        weights = queries.matrix(_liked(queries.rating) * (0.1 + 0.9 * np.exp2(-queries.steps_back() / 8)))
        return np.asarray(np.log1p((weights @ self.of_year) @ self.kernel)[:, self.place], "float32")


class FutureItems(Recommender):
    """Attributes: 1 where an item is younger than the person's last interaction, and so did not exist for them."""

    is_flag = True

    def fit(self, history: pd.DataFrame, items: Items) -> FutureItems:
        """Nothing is learned but the years that items are from, (I,); NaN where unknown."""
        self.years = items.years()
        return self

    def _score(self, queries: Queries) -> np.ndarray:
        """1 or 0, float32 (Q, n_items)."""
        year = 1970 + last_moment(queries) / (365.25 * DAY)
        return np.asarray(self.years[None] > year[:, None] + 0.3, "float32")


def last_moment(queries: Queries) -> np.ndarray:
    """Unix seconds of the last interaction of each history; NaN for an empty one, (Q,)."""
    moments = np.full(len(queries), np.nan)
    some = queries.lengths > 0
    moments[some] = queries.timestamp[queries.indptr[1:][some] - 1]
    return moments
