"""The whole system: retrieval finds candidates, ranking orders them by every dimension and says why.

The same code answers in a notebook, on the leaderboard and in the service. Taught in notebook 18.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import Queries
from recfuse_lib.models import index
from recfuse_lib.models.contract import Asked, Recommender, standardise
from recfuse_lib.models.first_stage import FirstStage
from recfuse_lib.models.fused import FusedModel, one_thread
from recfuse_lib.models.inner_product import InnerProduct
from recfuse_lib.models.two_towers import TwoTowers

STRONGEST = 300
"""Weights that are stored for each item of a model that has one for every pair."""

RETRIEVED, ROUGH = 100, 100
"""Candidates by the retriever, and by the dimensions that score all items at once; of known items and of new ones."""

FEW_NEW = 1_000
"""Items that nobody has chosen yet are all candidates up to so many: what finds them best is content, not behaviour."""

LARGE = 50_000
"""Items from which on the first stage touches only what it must; below, plain passes over all items are faster."""

ENOUGH = 2.5
"""Standard deviations above the average item from which on a part of a wish is met."""

STATED, TOGETHER, LEVEL = "stated", "together", "popularity level"
"""Contributions beside those of the dimensions: of a wish, of m, and of vᵀf_i (see `gates.EvidenceGate`)."""


class Cosines(NamedTuple):
    """What cosines in the retriever need: its vectors' `lengths`, (I,), and mean and covariance of the unit vectors."""

    lengths: np.ndarray
    middle: np.ndarray
    spread: np.ndarray


@dataclasses.dataclass(frozen=True)
class Stated:
    """A wish: a `direction` among the encodings of the texts, (width,), items that the answer shall be `like`, codes,
    or both; and its weight against the history, 0–1.
    """

    direction: np.ndarray | None = None
    like: tuple[int, ...] = ()
    weight: float = 0.5


@dataclasses.dataclass(frozen=True)
class Ranked:
    """The candidates of one query, best first.

    Attributes:
        codes: Item codes, (C,).
        score: What orders them, (C,): the sum of the contributions.
        contributions: What each dimension adds, by name, (C,).
        z: Standardised scores, (dimensions, C), in the order of `FusedModel.names`.
    """

    codes: np.ndarray
    score: np.ndarray
    contributions: Mapping[str, np.ndarray]
    z: np.ndarray

    def top(self, k: int) -> Ranked:
        """Keeps the k best."""
        return self._at(np.arange(min(k, len(self.codes))))

    def only(self, allowed: np.ndarray) -> Ranked:
        """Keeps what is allowed, bool (I,)."""
        return self._at(np.flatnonzero(allowed[self.codes]))

    def _at(self, place: np.ndarray) -> Ranked:
        parts = {name: part[place] for name, part in self.contributions.items()}
        return Ranked(self.codes[place], self.score[place], parts, self.z[:, place])


class TwoStage(Recommender):
    """Ranks by a fused model what a retriever and the rough score find.

        candidates = top by p_uᵀz_i ∪ top by Σ_d g_d z_d over the dimensions that score all items at once
        score = (1 − w) s(u, i) / λ_s + w z_stated / λ_stated        (with a wish; s alone without)

    λ is the lead of the best item of the catalogue over the average one, so that at w = ½ the best for the history and
    the best for the wish count alike. Items that somebody has rated and items that nobody has do not compete for a
    place among the candidates.

    References:
        Covington, Adams and Sargin (2016), Deep Neural Networks for YouTube Recommendations, RecSys (two stages).
    """

    def __init__(self, ranking: FusedModel | None = None, retriever: InnerProduct | None = None) -> None:
        self.ranking, self.retriever = ranking or FusedModel(), retriever or TwoTowers()

    def fit(self, history: pd.DataFrame, items: Items) -> TwoStage:
        """Fits both stages; raises as they do."""
        self.ranking.fit(history, items)
        return self.refit(self.ranking.events, items)

    def refit(self, events: pd.DataFrame, items: Items) -> TwoStage:
        """Fits everything but the gates, which stay as they are, on a history in order."""
        self.ranking.fit_dimensions(events, items).prune(STRONGEST)
        with one_thread():
            self.retriever = copy.copy(self.retriever).fit(events, items)
        return self.prepared()

    def prepared(self) -> TwoStage:
        """Computes what scoring reads again and again; called after fitting and loading."""
        model = self.ranking
        evidence, gate = model.item_evidence, model.gate
        self.by_item = np.ascontiguousarray((evidence @ gate.of_item).T)
        self.level = evidence @ gate.level
        self.new = model.count == 0
        cells = self.__dict__.pop("cells", None)
        self.index = index.build(self.retriever.vectors) if cells is None else index.unpacked(cells)
        towers = list(model.towers.values())
        whole = [place for place, tower in enumerate(towers) if not isinstance(tower, InnerProduct)]
        self.whole = sorted(whole, key=lambda place: towers[place].is_flag)  # those that keep their scale at the end
        self.n_scaled = sum(not towers[place].is_flag for place in whole)
        some = [towers[place] for place in self.whole], self.by_item[self.whole], self.level
        self.first_stage = FirstStage(model, *some) if len(self.level) > LARGE else None
        vectors = self.retriever.vectors[:, :-1]
        lengths = np.maximum(np.linalg.norm(vectors, axis=1), 1e-9)
        unit = vectors / lengths[:, None]
        middle = unit.mean(axis=0)
        self.cosines = Cosines(lengths, middle, unit.T @ unit / len(unit) - np.outer(middle, middle))
        return self

    def extended(self, history: pd.DataFrame, items: Items) -> TwoStage:
        """Adds the new items at the end of `items`, by what is known of them."""
        larger = copy.copy(self)
        larger.ranking = self.ranking.extended(history, items)
        larger.retriever = self.retriever.extended(history, items)
        return larger.prepared()

    @property
    def items(self) -> Items:
        """The items that the model was fitted on."""
        return self.ranking.items

    @property
    def texts(self) -> InnerProduct:
        """The dimension of the texts, among whose vectors a wish is a direction."""
        texts = self.ranking.towers["text"]
        assert isinstance(texts, InnerProduct)
        return texts

    def rank(self, query: Queries, allowed: np.ndarray | None = None, wish: Stated | None = None) -> Ranked:
        """Ranks the candidates of one query.

        Args:
            query: One history.
            allowed: What may be recommended, bool (I,); all items by default, those of the history too.
            wish: What the person says.
        """
        model, towers = self.ranking, list(self.ranking.towers.values())
        gate = model.gate
        user = model.evidence(query)[0]
        by_user = gate.bias + user @ gate.of_user
        rough, z_of = (self.first_stage or self._plainly)(query, by_user[self.whole])
        allowed = np.ones(self.items.n_items, bool) if allowed is None else allowed
        said = None if wish is None else self._said(wish)
        codes = self._candidates(query, rough, allowed, said)
        scores = np.empty((len(towers), len(codes)), "float32")
        scores[self.whole] = z_of(codes)
        for place, tower in enumerate(towers):
            if isinstance(tower, InnerProduct):
                scores[place] = tower.standardised(query, codes[None])[0]
        parts = (by_user[:, None] + self.by_item[:, codes]) * scores
        beyond = gate.beyond(scores.T[None], user[None], model.item_evidence[codes][None])[0]
        rows = np.vstack([parts, self.level[codes], beyond])
        names = [*model.names, LEVEL, TOGETHER]
        if said is not None and wish is not None:
            unknown = np.delete(rough, query.item)
            rows = np.vstack([rows * ((1 - wish.weight) / _lead(unknown)), said[codes] * (wish.weight / _lead(said))])
            names.append(STATED)
        score = rows.sum(axis=0)
        order = np.argsort(-score, kind="stable")
        contributions = dict(zip(names, rows[:, order], strict=True))
        return Ranked(codes[order], score[order], contributions, scores[:, order])

    def _plainly(self, query: Queries, by_user: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
        """Does what `FirstStage` does, with a pass over all items for each dimension."""
        towers = list(self.ranking.towers.values())
        z = np.empty((len(self.whole), self.items.n_items), "float32")
        for row, place in enumerate(self.whole):
            z[row] = towers[place].score(query)[0]
        standardise(z[: self.n_scaled])
        rough = by_user @ z + np.einsum("di,di->i", self.by_item[self.whole], z) + self.level
        return rough, lambda codes: z[:, codes]

    def likeness(self, to: np.ndarray) -> np.ndarray:
        """Computes the cosines in the retriever of all items with the mean of unit vectors of some, (I,)."""
        vectors, lengths = self.retriever.vectors, self.cosines.lengths
        mean = (vectors[to, :-1] / lengths[to, None]).mean(axis=0)
        return np.asarray(vectors @ np.append(mean, np.float32(0)) / lengths)

    def deviations(self, codes: np.ndarray, to: np.ndarray) -> np.ndarray:
        """Computes by how many standard deviations the cosines of items with others are above the average, (C, O)."""
        vectors, (lengths, middle, spread) = self.retriever.vectors[:, :-1], self.cosines
        units, others = vectors[codes] / lengths[codes, None], vectors[to] / lengths[to, None]
        deviation = np.sqrt(np.maximum(np.einsum("od,od->o", others @ spread, others), 0))
        return np.asarray((units - middle) @ others.T / np.maximum(deviation, 1e-6))

    def _said(self, wish: Stated) -> np.ndarray:
        """z_stated of every item, (I,): of the words by what the texts mean, of a likeness by who chose both, and why.

        Where a wish has both, neither may win alone: each counts up to `ENOUGH`.
        """
        found = []
        if wish.direction is not None:
            found.append(self.texts.standardise(wish.direction[None])[0])
        if wish.like:
            likeness = self.likeness(np.array(wish.like))
            found.append((likeness - likeness.mean()) / max(float(likeness.std()), 1e-6))
        return np.asarray(found[0] if len(found) == 1 else np.minimum(found, ENOUGH).mean(axis=0))

    def _candidates(
        self, query: Queries, rough: np.ndarray, allowed: np.ndarray, said: np.ndarray | None
    ) -> np.ndarray:
        interest, found = self.retriever.interest(query)[0], []
        for group, few in ((allowed & ~self.new, RETRIEVED), (allowed & self.new, FEW_NEW)):
            if np.count_nonzero(group) <= few:
                found.append(np.flatnonzero(group))
                continue
            chosen = [index.search(self.index, interest, RETRIEVED, group)[0], top(rough, group, ROUGH)]
            if said is not None:
                chosen.append(top(said, group, RETRIEVED))
            either = np.zeros(len(group), bool)
            either[np.concatenate(chosen)] = True
            found.append(np.flatnonzero(either))
        return np.concatenate(found)

    def _score(self, queries: Queries) -> np.ndarray:
        """−∞ for what is no candidate."""
        scores = np.full((len(queries), self.items.n_items), -np.inf, "float32")
        with one_thread():
            for row in range(len(queries)):
                query = queries[row : row + 1]
                allowed = np.ones(self.items.n_items, bool)
                allowed[query.item] = False
                ranked = self.rank(query, allowed)
                scores[row, ranked.codes] = ranked.score
        return scores

    def predict(self, queries: Queries, asked: Asked) -> np.ndarray:
        """Predicts stars; see `FusedModel.predict`."""
        return self.ranking.predict(queries, asked)


def _lead(scores: np.ndarray) -> float:
    """How far the best of some scores is above their mean, at least 1e-6."""
    return max(float(scores.max(initial=0) - scores.mean()), 1e-6) if len(scores) else 1.0


def top(scores: np.ndarray, group: np.ndarray, count: int) -> np.ndarray:
    """Finds the codes of the largest scores in a group, of more items than `count`, in no order."""
    scores = np.where(group, scores, -np.inf)
    if len(scores) <= LARGE:
        return np.argpartition(scores, -count)[-count:]
    # As many blocks as are wanted have an item of at least so much, so the largest are among those that have.
    width = len(scores) // (8 * count)
    blocks = np.maximum.reduceat(scores, np.arange(0, len(scores), width))
    some = np.flatnonzero(scores >= np.partition(blocks, -count)[-count])
    return some[np.argpartition(scores[some], -count)[-count:]]
