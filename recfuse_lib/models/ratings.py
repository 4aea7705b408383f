"""How many stars? Three views of a rating, which `recfuse_lib.models.fused` weighs.

Each is fitted in about a second and answers for any history. Taught in notebook 07.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pandas as pd
import scipy.linalg.lapack
import scipy.sparse.linalg

from recfuse_lib.data.items import Items
from recfuse_lib.data.sparse_rows import entries_of
from recfuse_lib.data.splits import Queries
from recfuse_lib.data.weighting import by_user
from recfuse_lib.models import content
from recfuse_lib.models.contract import Asked, Recommender, rows_of

ROUNDS = 6
PAIRS = 4_096
"""Ratings that are predicted at once, so that the memory does not grow with their number."""
LONG = 300
"""Ratings of a history from which on a person's covariances are not written out."""


class ContentBiases(Recommender):
    """Predicts what is usual: the mean, the person's habit and the item's standing, which its content suggests.

        r̂ = μ + b_u + b_i,   b_i = (Σ_u (r − μ − b_u) + λ c_iᵀw) / (n_i + λ),   b_u = Σ_i (r − μ − b_i) / (n_u + λ)

    w is a ridge regression (`ridge`), so an unrated item stands where others of such content do; `l2` is λ (ratings).
    """

    def __init__(self, l2: float = 4.0, ridge: float = 6.0) -> None:
        self.l2, self.ridge = l2, ridge

    def fit(self, history: pd.DataFrame, items: Items) -> ContentBiases:
        """Solves for μ, b_i and w in turns."""
        self.content = content.content(items, history)
        user, item = history["user"].to_numpy(), history["item"].to_numpy()
        rating = history["rating"].to_numpy("float64")
        self.mean, self.count = rating.mean(), np.bincount(item, minlength=items.n_items)
        known, by_person = np.flatnonzero(self.count), np.bincount(user)
        self.suggested, self.of_item, habit = np.zeros(items.n_items), np.zeros(items.n_items), np.zeros(len(by_person))
        sure = self.count[known] / (self.count[known] + self.l2)
        rows = self.content[known].astype("float64")
        gram = (rows * sure[:, None]).T @ rows + self.ridge * np.eye(rows.shape[1])
        for _ in range(ROUNDS):
            total = np.bincount(item, rating - self.mean - habit[user], minlength=items.n_items)
            standing = total[known] / self.count[known]
            middle = np.average(standing, weights=sure)
            weights = np.linalg.solve(gram, (rows * sure[:, None]).T @ (standing - middle))
            self.suggested = self.content @ weights + middle
            self.of_item = (total + self.l2 * self.suggested) / (self.count + self.l2)
            habit = np.bincount(user, rating - self.mean - self.of_item[item]) / (by_person + self.l2)
        left = np.square(rating - self.mean - habit[user] - self.of_item[item])
        usual = left.mean()
        squares = np.bincount(item, left, minlength=items.n_items)
        self.spread = np.sqrt((squares + self.l2 * usual) / (self.count + self.l2))
        return self

    def habits(self, queries: Queries) -> np.ndarray:
        """Computes b_u of each query, (Q,)."""
        away = queries.rating - self.mean - self.of_item[queries.item]
        return np.asarray(np.bincount(_owners(queries), away, len(queries)) / (queries.lengths + self.l2))

    def residuals(self, queries: Queries) -> np.ndarray:
        """Computes r − r̂ of all that the queries' histories hold, (H,)."""
        habit = self.habits(queries)[_owners(queries)]
        return np.asarray(queries.rating - self.mean - habit - self.of_item[queries.item], "float64")

    def predict(self, queries: Queries, asked: Asked) -> np.ndarray:
        """Predicts r̂ in stars, (N,)."""
        return np.asarray(
            self.mean + self.habits(queries)[rows_of(queries, asked)] + self.of_item[np.asarray(asked["item"])]
        )


class ResidualUserKNN(Recommender):
    """Predicts how far people with similar deviations r − r̂ deviated on the item.

        d(u, i) = Σ_v s_uv d_vi / (Σ_v s_uv + 1),   s_uv = max(0, cos(d_u, d_v)) · n_uv / (n_uv + λ)

    The sums are over the people v who rated i, the cosine over the n_uv items that both rated. `overlap` is λ.

    Source: Koren (2008), Factorization Meets the Neighborhood, KDD (shrunk similarities).
    """

    def __init__(self, expected: ContentBiases, overlap: float = 20.0) -> None:
        self.expected, self.overlap = expected, overlap

    def fit(self, history: pd.DataFrame, items: Items) -> ResidualUserKNN:
        """Keeps the deviations of `history`."""
        past = by_user(history, items.n_items)
        self.__dict__.pop("_powers", None)
        self.people, self.by_item = past.user, past.matrix(self.expected.residuals(past)).T.tocsr()
        return self

    @functools.cached_property
    def _powers(self) -> tuple[scipy.sparse.csr_array, scipy.sparse.csr_array]:
        """The deviations to the power of 0 and of 2."""
        places = self.by_item.indices, self.by_item.indptr
        return tuple(scipy.sparse.csr_array((self.by_item.data**n, *places), self.by_item.shape) for n in (0, 2))

    def predict(self, queries: Queries, asked: Asked) -> np.ndarray:
        """Predicts d in stars, (N,)."""
        row, item = rows_of(queries, asked), np.asarray(asked["item"])
        product, both, own, their = self._shared(queries)
        alike = np.maximum(product / (np.sqrt(own * their) + 1e-6), 0) * both / (both + self.overlap)
        alike[queries.user[:, None] == self.people] = 0
        found = np.empty(len(row))
        for start in range(0, len(row), PAIRS):
            part = slice(start, start + PAIRS)
            lengths, there = entries_of(self.by_item, item[part])
            pair = np.repeat(np.arange(len(lengths)), lengths)
            near = alike[row[part][pair], self.by_item.indices[there]]
            total, weight = (np.bincount(pair, w, len(lengths)) for w in (near * self.by_item.data[there], near))
            found[part] = total / (weight + 1)
        return found

    def _shared(self, queries: Queries) -> list[np.ndarray]:
        """Σ d_u d_v, n_uv, Σ d_u² and Σ d_v² over what u and v both rated, (Q, people) each."""
        own = self.expected.residuals(queries)
        if len(queries) == 1:  # as when serving: one pass for all four
            lengths, there = entries_of(self.by_item, queries.item)
            ours, theirs, people = np.repeat(own, lengths), self.by_item.data[there], self.by_item.indices[there]
            weights = (ours * theirs, None, ours**2, theirs**2)
            return [np.bincount(people, one, self.by_item.shape[1])[None] for one in weights]
        rated, squares = self._powers
        every = np.ones(len(queries.item))
        pairs = ((own, self.by_item), (every, rated), (own**2, rated), (every, squares))
        return [queries.product(weights, matrix) for weights, matrix in pairs]


class UserGaussianProcess(Recommender):
    """Predicts one's own taste and mood: a Gaussian process over what is left of a person's ratings.

        d(u, ·) ~ GP(0, k),   k((i, t), (j, t′)) = c_iᵀc_j + a e^(−|t − t′| / τ) + b e^(−|t − t′| / τ′)

    Taste makes items of like content alike; mood makes ratings alike that were given in one session (`session`, a and
    τ) or on one day (`day`, b and τ′), in seconds. The posterior mean is a linear system as large as the person's
    history; `noise` is the variance of a single rating, relative to a kernel of 1.

    References:
        Rasmussen and Williams (2006), Gaussian Processes for Machine Learning, equation 2.25.
        Koren (2009), Collaborative Filtering with Temporal Dynamics, KDD (the day's mood).
    """

    def __init__(
        self,
        expected: ContentBiases,
        session: tuple[float, float] = (1.5, 450.0),
        day: tuple[float, float] = (0.5, 86_400.0),
        noise: float = 5.0,
    ) -> None:
        self.expected, self.session, self.day, self.noise = expected, session, day, noise

    def fit(self, history: pd.DataFrame, items: Items) -> UserGaussianProcess:
        """Learns nothing: a person's own ratings are in the query."""
        return self

    def predict(self, queries: Queries, asked: Asked) -> np.ndarray:
        """Predicts d in stars, (N,)."""
        row, item, moment = rows_of(queries, asked), np.asarray(asked["item"]), np.asarray(asked["timestamp"])
        away = self.expected.residuals(queries)
        found = np.zeros(len(row))
        order = np.argsort(row, kind="stable")
        ends = np.searchsorted(row[order], np.arange(len(queries) + 1))
        for query in np.unique(row):
            own, here = slice(*queries.indptr[query : query + 2]), order[ends[query] : ends[query + 1]]
            content, moments = self.expected.content[queries.item[own]], queries.timestamp[own]
            if len(moments):
                weights = self._weights(content, moments, away[own])
                when, place = np.unique(moment[here], return_inverse=True)
                mood = (self._mood(when, moments) @ weights)[place]
                found[here] = self.expected.content[item[here]] @ (weights @ content) + mood
        return found

    def _mood(self, moment: np.ndarray, moments: np.ndarray) -> np.ndarray:
        away = np.abs(moment[:, None] - moments)
        return np.asarray(sum(height * np.exp(-away / tau) for height, tau in (self.session, self.day)))

    def _weights(self, content: np.ndarray, moments: np.ndarray, away: np.ndarray) -> np.ndarray:
        """Solves (k + noise I) w = d, (H,)."""
        if len(away) <= LONG:
            covariance = content @ content.T + self._mood(moments, moments) + self.noise * np.eye(len(away))
            return np.asarray(scipy.linalg.lapack.dposv(covariance, away)[1])
        # The matrix inversion lemma: without taste it takes linear time, and the taste is only as wide as the content.
        free, width = self._without_taste(moments), content.shape[1]

        def product(taste: np.ndarray) -> np.ndarray:
            return np.asarray(taste + free(content @ taste.astype("float32")).astype("float32") @ content)

        system = scipy.sparse.linalg.LinearOperator((width, width), product, dtype="float64")
        taste, _ = scipy.sparse.linalg.cg(system, free(away) @ content, rtol=1e-6)
        return free(away - content @ taste)

    def _without_taste(self, moments: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """Solves (mood + noise I) x = d for any d: e^(−|t| / τ) is a Markov process, whose inverse is tridiagonal."""
        moods = [mood for mood in (self.session, self.day) if mood[0]]
        if not moods:
            return lambda given: given / self.noise
        times, place, count = np.unique(moments, return_inverse=True, return_counts=True)
        width = len(moods)
        bands = np.zeros((width + 1, len(times), width))
        for one, (height, tau) in enumerate(moods):
            kept = np.exp(-np.diff(times) / tau)
            fresh = 1 / (1 - kept**2)
            own = np.append(1.0, fresh)
            own[:-1] += kept**2 * fresh
            bands[0, 1:, one] = -self.noise / height * kept * fresh
            bands[width, :, one] = self.noise / height * own
            for other in range(one + 1):
                bands[width - one + other, :, one] += count
        factor = scipy.linalg.cholesky_banded(bands.reshape(width + 1, -1))

        def free(given: np.ndarray) -> np.ndarray:
            totals = np.repeat(np.bincount(place, given), width)
            moods = scipy.linalg.cho_solve_banded((factor, False), totals, check_finite=False)
            return np.asarray((given - moods.reshape(-1, width).sum(axis=1)[place]) / self.noise)

        return free


def _owners(queries: Queries) -> np.ndarray:
    return np.repeat(np.arange(len(queries)), queries.lengths)
