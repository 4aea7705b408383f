"""Dimensions of interest that need no gradient: each is fitted in a second and scores every item for every query.

Each knows one thing, such as what follows what; none is a good recommender alone. Taught in notebook 07.
"""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import scipy.sparse

from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import POSITIVE, Queries
from recfuse_lib.data.weighting import Weighting, by_user
from recfuse_lib.models import content
from recfuse_lib.models.contract import Recommender, entries, resized, strongest_of_rows
from recfuse_lib.models.ease import solve
from recfuse_lib.models.inner_product import InnerProduct

DAY = 86_400
RECENT = Weighting(low_rating=0.3, half_life=10.0, floor=0.2)
REACH = 4.0
"""How many τ `TemporalPopularity` looks back and ahead."""


def _liked(rating: np.ndarray, low: float = RECENT.low_rating) -> np.ndarray:
    return np.where(rating >= POSITIVE, 1.0, low)


class Transitions(Recommender):
    """Scores what stands near what in the order of people's histories (sequential).

        T_ji = Σ over ordered pairs with d steps between j and i of e^(−(d−1)/τ) w_i (half as much backwards),
        s(u, i) = Σ_{j ∈ h_u} w_j e^(−n_j/τ) T_ji / ((out_j + shrinkage) √(in_i + shrinkage))

    d is at most `window`, τ is `tau` (interactions); `shrinkage` pulls what rests on few pairs towards 0.

    Source: Rendle, Freudenthaler and Schmidt-Thieme (2010), Factorizing Personalized Markov Chains, WWW (the idea).
    """

    def __init__(self, window: int = 20, tau: float = 3.0, shrinkage: float = 5.0) -> None:
        self.window, self.tau, self.shrinkage = window, tau, shrinkage

    def fit(self, history: pd.DataFrame, items: Items) -> Transitions:
        """Counts the pairs of `history`."""
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
        self.pairs = scaled.astype("float32").tocsr()
        return self

    def pruned(self, strongest: int) -> Transitions:
        """Keeps what follows each item most."""
        smaller = copy.copy(self)
        smaller.pairs = strongest_of_rows(self.pairs, strongest)
        return smaller

    def extended(self, history: pd.DataFrame, items: Items) -> Transitions:
        """Keeps the pairs: nothing was near a new item yet."""
        larger = copy.copy(self)
        larger.pairs = resized(self.pairs, items.n_items)
        return larger

    def _score(self, queries: Queries) -> np.ndarray:
        return np.asarray(queries.product(self._weights(queries), self.pairs), "float32")

    def touched(self, query: Queries) -> tuple[np.ndarray, np.ndarray]:
        """Finds the items that one query's scores are not 0 of, and these."""
        return entries(query, self._weights(query), self.pairs)

    def _weights(self, queries: Queries) -> np.ndarray:
        back = queries.steps_back
        # What lies five τ back weighs less than 1 %; without it a long history costs no more than a short one.
        return np.where(back < 5 * self.tau, _liked(queries.rating) * np.exp(-back / self.tau), 0)


class TemporalPopularity(Recommender):
    """Scores what other people rated around the time of a person's last interaction (temporal).

        s(u, i) = log(1 + Σ over others' ratings of i, less than 4 τ away, of w e^(−|t − t_u| / τ))

    τ is `days`.
    """

    def __init__(self, days: float = 30.0) -> None:
        self.days = days

    def fit(self, history: pd.DataFrame, items: Items) -> TemporalPopularity:
        """Sorts `history` by time, and by person."""
        ordered = history.sort_values(["timestamp", "user", "item"])
        self.day, self.item = ordered["timestamp"].to_numpy() / DAY, ordered["item"].to_numpy()
        self.weight, self.past = _liked(ordered["rating"].to_numpy()), by_user(history, items.n_items)
        return self

    def _score(self, queries: Queries) -> np.ndarray:
        """Zeros for an empty history, whose time is not known."""
        scores = np.zeros((len(queries), self.past.n_items), "float32")
        for row, moment in enumerate(last_moment(queries) / DAY):
            if np.isfinite(moment):
                self._sum(scores[row], int(queries.user[row]), moment)
        return np.asarray(np.log(1 + np.maximum(scores, 0)))

    def touched(self, query: Queries) -> tuple[np.ndarray, np.ndarray]:
        """Finds the items that one query's scores are not 0 of, and these."""
        scores, moment = np.zeros(self.past.n_items, "float32"), last_moment(query)[0] / DAY
        if np.isfinite(moment):
            self._sum(scores, int(query.user[0]), moment)
        codes = np.flatnonzero(scores > 0)
        return codes, np.log(1 + scores[codes])

    def _sum(self, scores: np.ndarray, user: int, moment: float) -> None:
        reach = REACH * self.days
        ends = np.searchsorted(self.day, moment - reach), np.searchsorted(self.day, moment + reach, "right")
        near, own = slice(*ends), self.past.span(user)
        weight = self._nearness(self.day[near] - moment) * self.weight[near]
        scores[:] = np.bincount(self.item[near], weight, len(scores))
        weight = self._nearness(self.past.timestamp[own] / DAY - moment) * _liked(self.past.rating[own])
        np.subtract.at(scores, self.past.item[own], weight)

    def _nearness(self, away: np.ndarray) -> np.ndarray:
        """e^(−|t| / τ) for t in days, 0 from 4 τ on; an own rating is taken out exactly as it was counted."""
        steps = np.abs(away / self.days).astype("float32")
        return np.where(steps < REACH, np.exp(-steps), np.float32(0))


class ContentSimilarity(InnerProduct):
    """Scores how like an item is to what a person liked lately (semantic, or any content).

        s(u, i) = Σ_{j ∈ h_u} w_j e_jᵀ e_i / √(|h_u| + 1)

    e is the view `name`: an encoding of the items, `content.LABELS`, or an attribute.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def fit(self, history: pd.DataFrame, items: Items) -> ContentSimilarity:
        """Centres e, (I, D), on the items of `history`."""
        self.keep(content.encoding(items, history, self.name))
        return self

    def interest(self, queries: Queries) -> np.ndarray:
        """Computes Σ w_j e_j / √(|h_u| + 1), (Q, D)."""
        liked = queries.product(Weighting(half_life=20.0).weights(queries), self.vectors)
        return np.asarray(liked / np.sqrt(queries.lengths + 1)[:, None], "float32")


class ContentEASE(InnerProduct):
    """Scores as EASE does, but from content, so that items that nobody has rated get a score (collaborative).

    EASE's users × users form (Steck, 2019), s(u, i) ∝ (h_u Xᵀ) K x_i, reads item i's column x_i of the interactions. A
    new item has none, so the column is predicted from the content c_i, for known items too:

        x̂_i = Wᵀ c_i,   W = (Cᵀ N C + ρI)⁻¹ Cᵀ N Xᵀ,   s(u, i) = (h_u Xᵀ) K x̂_i

    N holds the square roots of the items' counts, λ is `l2`, ρ is `ridge`. With more people than items, XᵀK is computed
    as (XᵀX + λI)⁻¹ Xᵀ, where the inverse is only items × items.
    """

    def __init__(self, l2: float = 300.0, ridge: float = 15.0) -> None:
        self.l2, self.ridge = l2, ridge

    def fit(self, history: pd.DataFrame, items: Items) -> ContentEASE:
        """Solves for K and W; raises `DataError` where the inverse does not fit into memory."""
        self.keep(content.content(items, history))
        x = RECENT.without_recency().matrix(by_user(history, items.n_items))
        counts = np.asarray((x > 0).sum(axis=0)).ravel()
        known = np.flatnonzero(counts)
        weighted = self.vectors[known] * np.sqrt(counts[known] / max(counts[known].mean(), 1))[:, None]
        gram = weighted.T @ self.vectors[known] + self.ridge * np.eye(self.vectors.shape[1])
        wanted = np.linalg.solve(gram, (x[:, known] @ weighted).T)
        if x.shape[0] > items.n_items:
            alike = solve(x.T @ x, self.l2, x.T @ wanted.T)
        else:
            alike = x.T @ solve(x @ x.T, self.l2, wanted.T)
        self.alike = alike.astype("float32")
        return self

    def interest(self, queries: Queries) -> np.ndarray:
        """Computes (h_u Xᵀ) K Xᵂ, (Q, C)."""
        return np.asarray(queries.product(RECENT.weights(queries), self.alike), "float32")

    def extended(self, history: pd.DataFrame, items: Items) -> ContentEASE:
        """Reads the content of the new items; their place in a history says nothing yet."""
        larger = copy.copy(self)
        larger.keep(content.content(items, history))
        larger.alike = np.pad(self.alike, ((0, items.n_items - len(self.alike)), (0, 0)))
        return larger


class ContentPopularity(Recommender):
    """Scores how often an item is liked, log(1 + n_i), or (`by_content`) how often one like it would be, Wᵀc_i."""

    def __init__(self, by_content: bool = False) -> None:
        self.by_content = by_content

    def fit(self, history: pd.DataFrame, items: Items) -> ContentPopularity:
        """Counts the positives of `history`, and fits the prediction to its items."""
        liked = history.loc[history["rating"] >= POSITIVE, "item"]
        self.level = np.log1p(np.bincount(liked, minlength=items.n_items))
        if self.by_content:
            known, of_items = np.unique(history["item"]), content.content(items, history)
            rows, mean = of_items[known], self.level[known].mean()
            gram = rows.T @ rows + 20 * np.eye(rows.shape[1])
            self.level = of_items @ np.linalg.solve(gram, rows.T @ (self.level[known] - mean))
        return self

    def _score(self, queries: Queries) -> np.ndarray:
        return np.repeat(np.asarray(self.level, "float32")[None], len(queries), axis=0)


class Era(Recommender):
    """Scores whether an item is from the years that a person chooses.

        s(u, i) = log(Σ_{j ∈ h_u} w_j e^(−|y_j − y_i| / τ) + 1)

    τ is `tau`, in years.
    """

    def __init__(self, tau: float = 4.0) -> None:
        self.tau = tau

    def fit(self, history: pd.DataFrame, items: Items) -> Era:
        """Keeps the items' years: the median year of `history` where one is unknown."""
        years = items.years()
        known = years[history["item"]]
        typical = np.nanmedian(known) if np.isfinite(known).any() else 2000.0
        span, self.place = np.unique(np.where(np.isfinite(years), years, typical), return_inverse=True)
        self.of_year = np.zeros((items.n_items, len(span)), "float32")
        self.of_year[np.arange(items.n_items), self.place] = 1
        self.kernel = np.exp(-np.abs(span[:, None] - span) / self.tau).astype("float32")
        return self

    def score(self, queries: Queries, candidates: np.ndarray | None = None) -> np.ndarray:
        """Scores items for each query; see `Recommender.score`."""
        weights = _liked(queries.rating) * (0.1 + 0.9 * np.exp2(-queries.steps_back / 8))
        of_year = np.log1p(queries.product(weights, self.of_year) @ self.kernel)
        if candidates is None:
            return np.asarray(of_year[:, self.place], "float32")
        return np.take_along_axis(of_year, self.place[candidates], axis=1).astype("float32")


class FutureItems(Recommender):
    """Flags with 1 an item younger than the person's last interaction, which did not exist for them."""

    is_flag = True

    def fit(self, history: pd.DataFrame, items: Items) -> FutureItems:
        """Keeps the items' years, (I,), NaN where unknown; nothing is learned."""
        self.years = items.years()
        return self

    def score(self, queries: Queries, candidates: np.ndarray | None = None) -> np.ndarray:
        """Scores items for each query; see `Recommender.score`."""
        year = 1970 + last_moment(queries) / (365.25 * DAY)
        years = self.years[None] if candidates is None else self.years[candidates]
        return np.asarray(years > year[:, None] + 0.3, "float32")


def last_moment(queries: Queries) -> np.ndarray:
    """Computes Unix seconds of the last interaction of each history, (Q,); NaN for an empty one."""
    moments = np.full(len(queries), np.nan)
    some = queries.lengths > 0
    moments[some] = queries.timestamp[queries.indptr[1:][some] - 1]
    return moments
