"""The fused model: what to recommend and how it will be rated, from many dimensions of interest.

Every dimension scores all items, and a gate learns on held-out events how far to trust each: more behaviour for a
person with a long history and an item that many have rated, more content for an item that nobody knows. Some rounds of
training hide items, so that the gate meets new items before it has to recommend one. Taught in notebook 07.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import threadpoolctl

from recfuse_lib.data import splits
from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import Fold, Queries
from recfuse_lib.models import fitted_gate, holdouts, ratings
from recfuse_lib.models.closed_form import DAY, last_moment
from recfuse_lib.models.contract import Asked, Recommender, rows_of
from recfuse_lib.models.dimensions import DIMENSIONS, Dimension, usable
from recfuse_lib.models.fitted_gate import FittedGate

LEADING = 400  # items that get m, of those with ratings, and as many of those without
RATING_PARTS, COLD_ROUNDS = 4, 2
BATCH = 64
THREADS = 2


class FusedModel(Recommender):
    """Fuse dimensions of interest by evidence: `fit` on a history, then `score`.

        L = ℓ_idx + λ · ℓ_item        (8)

    ℓ_idx is `gates.listwise_loss` over a query's candidates, ℓ_item the squared error of the predicted stars, which are
    r̂ + gate(like-minded, taste and mood, s(u, i)). The second reads the score of the first, so both train its gate.
    Keras trains the gates (`gates.train`); scoring reads arrays and needs none of it.

    Args:
        dimensions: By name; those that history and items say nothing about are not used.
        gate: Makes the layer of the score from the number of dimensions and `hidden`; by default `gates.EvidenceGate`.
        task_weight: λ; 0 leaves the stars out, and `predict` raises.

    Attributes:
        names: The dimensions that are used, in the order of the gates; `towers` holds them fitted, by name.
        gate: The trained gate of the score, as arrays; a layer other than `gates.EvidenceGate` as it is.
        rating_gate: The trained gate of the stars, or None.
    """

    def __init__(
        self,
        dimensions: Mapping[str, Dimension] = DIMENSIONS,
        hidden: int = 64,
        gate: Callable[[int, int], Any] | None = None,
        task_weight: float = 10.0,
        seed: int = 0,
    ) -> None:
        self.dimensions, self.hidden, self.new_gate = dimensions, hidden, gate
        self.task_weight, self.seed = task_weight, seed

    def fit(self, history: pd.DataFrame, items: Items, verbose: int = 0) -> FusedModel:
        """Train the gates on events held out of `history`, then fit every dimension on all of it.

        Four rounds hold likes out: each person's last tenth of positives, where a tenth of the items is new; twice a
        tenth of the items; and all that came after a moment. Four more hold out a quarter of the ratings each. The
        dimensions are fitted without what is held out, so the gates learn from scores for what they have not seen.
        Raises `DataError`: nobody has enough positives to hold any out.
        """
        events = splits.in_order(history)
        self.train(self.examples(events, items), verbose)
        return self.fit_dimensions(events, items)

    def examples(self, events: pd.DataFrame, items: Items) -> dict[str, np.ndarray]:
        """Collect the rounds' scores, evidence and targets by name, from a history in order; raises as `fit`."""
        held_out = [
            holdouts.hold_out_positives(events, items, seed=2),
            *(holdouts.hold_out_items(events, items, seed) for seed in range(COLD_ROUNDS)),
        ]
        if events["timestamp"].any():
            held_out.append(holdouts.hold_out_future(events, items))
        with one_thread():
            parts = [
                self._choices(fold, new, np.random.default_rng([self.seed, k]))
                for k, (fold, new) in enumerate(held_out)
                if len(fold.queries)
            ]
            examples = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            if self.task_weight:
                examples |= self._ratings(events, items, len(examples["offset"]))
        return examples

    def train(self, examples: Mapping[str, np.ndarray], verbose: int = 0) -> Any:
        """Train new gates on `examples` and return Keras's `History`, also kept as `training`; the dimensions stay."""
        from recfuse_lib.models import gates

        made = gates.train(
            examples, self.new_gate or gates.EvidenceGate, self.hidden, self.task_weight, self.seed, verbose
        )
        self.gate, self.rating_gate, self.training = made
        return self.training

    def _score(self, queries: Queries) -> np.ndarray:
        # m is added for the items that lead without it, among those that somebody rated and among those that nobody
        # did. The others stay below them: they get the least m of these.

        def fused(start: int) -> np.ndarray:
            some = queries[start : start + BATCH]
            return self.fuse(self.scores_of_dimensions(some), some)

        starts = range(0, len(queries), BATCH)
        with one_thread(), concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            found = list(pool.map(fused, starts))
        return np.concatenate(found) if found else np.empty((0, self.items.n_items), "float32")

    def fuse(self, z: np.ndarray, queries: Queries) -> np.ndarray:
        """Compute s of every item, float32 (Q, I), from what `scores_of_dimensions` gives for the queries."""
        user, gate = self.evidence(queries), self.gate
        if not isinstance(gate, FittedGate):
            item = np.repeat(self.item_evidence[None], len(queries), axis=0)
            from keras import ops

            return np.asarray(ops.convert_to_numpy(gate(z.transpose(1, 2, 0), user, item)), "float32")
        scores = np.empty(z.shape[1:], "float32")
        for row in range(len(queries)):
            scores[row] = gate.gated(z[:, row], user[row], self.item_evidence)
        if not self.hidden:
            return scores
        known, rows, least, led = self.count > 0, np.arange(len(queries))[:, None], [], []
        for group in (np.flatnonzero(known), np.flatnonzero(~known)):
            leading = group[_largest(scores[:, group], LEADING)]
            inputs = z[:, rows, leading].transpose(1, 2, 0), user, self.item_evidence[leading]
            more = gate.beyond(*inputs)
            led.append((leading, scores[rows, leading] + more))
            least.append(more.min(axis=1, keepdims=True, initial=np.inf))
        scores += np.where(known, *least)
        for leading, values in led:
            scores[rows, leading] = values
        return scores

    def predict(self, queries: Queries, asked: Asked, z: np.ndarray | None = None) -> np.ndarray:
        """Predict stars, 0.5–5, (N,); raises `ValueError` if the model learned with `task_weight` 0.
        `z` are the standardised scores of what is asked, (N, dimensions), where they are known already.
        """
        if not self.task_weight:
            raise ValueError("the model learned with task_weight 0 and knows no stars; give it a weight, such as 10")
        # To limit the threads takes a twentieth of an answer, and who knows z has done so.
        with one_thread() if z is None else contextlib.nullcontext():
            inputs = self._rated(queries, asked, z)
        expected = inputs.pop("expected")
        away = fitted_gate.away(self.gate, self.rating_gate, {name: x[:, None] for name, x in inputs.items()}, np)
        return np.asarray(np.clip(expected + away[:, 0], 0.5, 5.0))

    def fit_dimensions(self, events: pd.DataFrame, items: Items) -> FusedModel:
        """Fit every dimension on a history in order; the gates stay as they are."""
        self.events, self.items = events, items
        models = usable(self.dimensions, events, items)
        self.names = list(models)
        self.towers = {}  # what was fitted before would lie in memory beside the new
        with one_thread():
            self.towers = {name: copy.copy(model).fit(events, items) for name, model in models.items()}
            if self.task_weight:
                self.expected = ratings.ContentBiases().fit(events, items)
                self.like_minded = ratings.ResidualUserKNN(self.expected).fit(events, items)
        self.moments = np.sort(events["timestamp"].to_numpy("float64"))
        return self._counted(events, items)

    def _counted(self, events: pd.DataFrame, items: Items) -> FusedModel:
        self.items = items
        self.count = np.bincount(events["item"], minlength=items.n_items)
        available = np.ones(items.n_items, bool) if items.available is None else items.available
        evidence = [np.log1p(self.count) / 3 - 0.5, available & (self.count == 0), ~available]
        self.item_evidence = np.stack(evidence, axis=-1).astype("float32")
        return self

    def prune(self, strongest: int) -> FusedModel:
        """Keep only the strongest weights of each item, for serving."""
        self.towers = {name: tower.pruned(strongest) for name, tower in self.towers.items()}
        return self

    def extended(self, history: pd.DataFrame, items: Items) -> FusedModel:
        """Add the new items at the end of `items`, with what is known of them; nobody could choose them yet."""
        larger = copy.copy(self)
        larger.towers = {name: tower.extended(history, items) for name, tower in self.towers.items()}
        if self.task_weight:
            larger.expected = self.expected.extended(history, items)
            larger.like_minded = ratings.ResidualUserKNN(larger.expected).fit(history, items)
        return larger._counted(history, items)

    def scores_of_dimensions(self, queries: Queries) -> np.ndarray:
        """Compute z of some queries and all items, (dimensions, Q, n_items)."""
        z = np.empty((len(self.towers), len(queries), self.items.n_items), "float32")
        for place, tower in enumerate(self.towers.values()):
            z[place] = tower.standardised(queries)
        return z

    def evidence(self, queries: Queries) -> np.ndarray:
        """Compute f_u: logarithms of the history's length and days, and of all events in the month before and after."""
        last, some = last_moment(queries), queries.lengths > 0
        days = np.zeros(len(queries))
        days[some] = (last[some] - queries.timestamp[queries.indptr[:-1][some]]) / DAY
        place = np.searchsorted(self.moments, [last - 30 * DAY, last, last + 30 * DAY])
        evidence = [queries.lengths, days, place[2] - place[1], place[1] - place[0]]
        scale, shift = np.array([2, 3, 4, 4]), np.array([2, 0.5, 1, 1])
        return np.asarray(np.log1p(np.stack(evidence, axis=-1)) / scale - shift, "float32")

    def _choices(self, fold: Fold, new: np.ndarray, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """Targets, the hardest and some drawn candidates of each query, and log of how many items each stands for."""
        available = ~new if fold.items.available is None else fold.items.available & ~new
        self.fit_dimensions(fold.history, dataclasses.replace(fold.items, available=available))
        width = holdouts.HARDEST + holdouts.DRAWN
        examples: dict[str, list[np.ndarray]] = {name: [] for name in ("scores", "user", "item", "offset", "choice")}
        for start in range(0, len(fold.queries), BATCH):
            queries = fold.queries[start : start + BATCH]
            scores, user = self.scores_of_dimensions(queries), self.evidence(queries)
            level = scores.sum(axis=0)
            wanted = fold.targets[start : start + BATCH].toarray()
            for row in range(len(queries)):
                allowed = fold.candidates.copy()
                allowed[queries.item[queries.indptr[row] : queries.indptr[row + 1]]] = False
                chosen, offset = holdouts.candidates(level[row], wanted[row] & allowed, allowed, generator)
                chosen, offset = chosen[:width], offset[:width]
                filled = np.pad(chosen, (0, width - len(chosen)))
                examples["scores"].append(scores[:, row, filled].T)
                examples["user"].append(user[row])
                examples["item"].append(self.item_evidence[filled])
                examples["offset"].append(np.pad(offset, (0, width - len(chosen)), constant_values=-1e9))
                examples["choice"].append(np.pad(wanted[row, chosen], (0, width - len(chosen))))
        return {name: np.asarray(rows, "float32") for name, rows in examples.items()}

    def _ratings(self, events: pd.DataFrame, items: Items, count: int) -> dict[str, np.ndarray]:
        """All ratings of `events`, held out once each, in equal numbers for each of `count` examples."""
        parts = []
        for history, held_out in holdouts.hold_out_ratings(events, RATING_PARTS, self.seed):
            self.fit_dimensions(history, items)
            queries = Queries.of(history, np.unique(held_out["user"]), items.n_items)
            parts.append(self._rated(queries, held_out) | {"stars": held_out["rating"].to_numpy("float32")})
        ratings = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        order = np.random.default_rng([self.seed, 19]).permutation(len(ratings["stars"]))
        order = np.resize(order, (count, -(-len(order) // count)))
        return {name: values[order] for name, values in ratings.items()}

    def _rated(self, queries: Queries, asked: Asked, rated: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """What the rating gate sees of N ratings: `rated` z, the views of the rating, and the evidence for them."""
        row, item = rows_of(queries, asked), np.asarray(asked["item"])
        if rated is None:
            rated = np.empty((len(row), len(self.names)), "float32")
            for start in range(0, len(queries), BATCH):
                here = np.flatnonzero((row >= start) & (row < start + BATCH))
                z = self.scores_of_dimensions(queries[start : start + BATCH])
                rated[here] = z[:, row[here] - start, item[here]].T
        expected = self.expected
        taste = ratings.UserGaussianProcess(expected)
        views = [self.like_minded.predict(queries, asked), taste.predict(queries, asked)]
        owner = np.repeat(np.arange(len(queries)), queries.lengths)
        left = np.bincount(owner, np.square(expected.residuals(queries)), len(queries))
        spread = np.sqrt((left + expected.l2) / (queries.lengths + expected.l2))
        habit = [expected.habits(queries), np.log1p(queries.lengths) / 2 - 2, spread - 1]
        standing = [expected.of_item[item], expected.suggested[item], expected.spread[item] - 1]
        standing.append(np.log1p(self.count[item]) / 3 - 0.5)
        found = {
            "rated": rated,
            "rated_user": self.evidence(queries)[row],
            "rated_item": self.item_evidence[item],
            "views": np.stack(views, axis=-1),
            "habit": np.stack(habit, axis=-1)[row],
            "standing": np.stack(standing, axis=-1),
            "expected": expected.predict(queries, asked),
        }
        return {name: values.astype("float32") for name, values in found.items()}


def one_thread() -> Any:
    """Limits BLAS: products here are small, and on all cores take more processor time waiting than working."""
    return _blas().limit(limits=1, user_api="blas")


@functools.cache
def _blas() -> threadpoolctl.ThreadpoolController:
    return threadpoolctl.ThreadpoolController()  # to look for the libraries takes as long as an answer


def _largest(scores: np.ndarray, count: int) -> np.ndarray:
    """Positions of each row's `count` largest entries, or of all where there are no more, in no order."""
    if count >= scores.shape[1]:
        return np.repeat(np.arange(scores.shape[1])[None], len(scores), axis=0)
    return np.argpartition(scores, -count, axis=1)[:, -count:]
