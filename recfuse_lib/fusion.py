"""Many dimensions of interest in one score, weighed by how much evidence there is for each.

Every dimension is a tower that scores all items; most are closed-form and are fitted in a second. What they know is put
on one scale, and a small network learns on held-out likes how far to trust each: more behaviour for a person with a
long history and an item that many have rated, more content for an item that nobody knows. Some rounds of training hide
items on purpose, so that the network meets new items before it has to recommend one.

Taught in notebook 07.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, Self

import keras
import numpy as np
import pandas as pd
import scipy.sparse
from keras import ops

from recfuse_lib.baselines.ease import EASE
from recfuse_lib.baselines.item_knn import ItemKNN
from recfuse_lib.data import splits
from recfuse_lib.data.schema import DataError, Dataset
from recfuse_lib.data.splits import Fold, Queries
from recfuse_lib.encoders.centring import Centring, Whitening
from recfuse_lib.towers import closed_form
from recfuse_lib.towers.closed_form import DAY, RECENT

HARDEST, DRAWN = 400, 400
"""Candidates of a training query that score highest on the whole, and further ones drawn at random."""

HIDDEN_SHARE, COLD_ROUNDS = 0.1, 2
USER_EVIDENCE, ITEM_EVIDENCE = 4, 2
EPOCHS, BATCH, LEARNING_RATE, L2 = 14, 64, 0.02, 1e-3


class Dimension(Protocol):
    """A tower that is fitted on a history and scores all items for each query."""

    def fit(self, history: pd.DataFrame, n_items: int) -> Self: ...

    def score(self, queries: Queries) -> np.ndarray: ...


@keras.saving.register_keras_serializable(package="recfuse")
class EvidenceGate(keras.layers.Layer):
    """The fused score from standardised scores, gated by evidence.

        g_d(u, i) = a_d + U_dᵀ f_u + V_dᵀ f_i,      s(u, i) = Σ_d g_d(u, i) z_d(u, i) + vᵀ f_i + m(z, f_u, f_i)

    z_d is dimension d's score, f_u and f_i tell how much is known of the person and the item; m is a network with one
    hidden layer, for what the dimensions only say together.

    Args:
        dimensions: Number of dimensions.
        hidden: Width of m; 0 leaves it out, and the score is exactly the gated sum.

    References:
        Jacobs, Jordan, Nowlan and Hinton (1991), Adaptive Mixtures of Local Experts, Neural Computation.

    Taught in notebook 07.
    """

    def __init__(self, dimensions: int, hidden: int = 32, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dimensions, self.hidden = dimensions, hidden
        regulariser = keras.regularizers.L2(L2)

        def weight(name: str, *shape: int, value: float = 0.0) -> Any:
            start = keras.initializers.Constant(value)
            return self.add_weight(shape=shape, initializer=start, regularizer=regulariser, name=name)

        self.bias = weight("bias", dimensions, value=0.2)
        self.of_user = weight("of_user", USER_EVIDENCE, dimensions)
        self.of_item = weight("of_item", ITEM_EVIDENCE, dimensions)
        self.level = weight("level", ITEM_EVIDENCE)
        if hidden:
            self.inner = keras.layers.Dense(hidden, "gelu", kernel_regularizer=regulariser)
            self.outer = keras.layers.Dense(1, kernel_initializer="zeros", kernel_regularizer=regulariser)
            self.inner.build((None, None, dimensions + USER_EVIDENCE + ITEM_EVIDENCE))
            self.outer.build((None, None, hidden))
        self.built = True

    def gates(self, user: Any, item: Any) -> Any:
        """g, (B, S, dimensions).

        Args:
            user: f_u, (B, USER_EVIDENCE).
            item: f_i, (B, S, ITEM_EVIDENCE).
        """
        of_user = ops.expand_dims(ops.matmul(user, self.of_user), 1)
        return self.bias + of_user + ops.matmul(item, self.of_item)

    def call(self, scores: Any, user: Any, item: Any) -> Any:
        """s, (B, S).

        Args:
            scores: z, (B, S, dimensions).
            user: f_u, (B, USER_EVIDENCE).
            item: f_i, (B, S, ITEM_EVIDENCE).
        """
        fused = ops.sum(self.gates(user, item) * scores, axis=-1) + ops.matmul(item, self.level)
        if self.hidden:
            everywhere = ops.broadcast_to(
                ops.expand_dims(user, 1), (ops.shape(scores)[0], ops.shape(scores)[1], USER_EVIDENCE)
            )
            fused = fused + ops.squeeze(self.outer(self.inner(ops.concatenate([scores, everywhere, item], -1))), -1)
        return fused

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dimensions": self.dimensions, "hidden": self.hidden}


def listwise_loss(targets: Any, logits: Any) -> Any:
    """Softmax cross-entropy over a query's candidates, averaged over its n targets, times √min(n, 10).

    Args:
        targets: 1 where a candidate is a target, (B, S).
        logits: Scores, −1e9 where there is no candidate, (B, S).

    Returns:
        One loss a query, (B,).

    Taught in notebook 07.
    """
    count = ops.sum(targets, axis=-1)
    log_share = logits - ops.logsumexp(logits, axis=-1, keepdims=True)
    return -ops.sum(targets * log_share, axis=-1) / ops.maximum(count, 1.0) * ops.sqrt(ops.minimum(count, 10.0))


class FusedModel:
    """A recommender that fuses dimensions of interest by evidence: `learn` on a history, then `score`.

    Args:
        dataset: Whose catalogue says what the items are; its interactions are not looked at.
        text: Raw text encodings of the items, (I, D).
        left_out: Names of dimensions that are not used, for an ablation.
        hidden: See `EvidenceGate`.
        seed: Of the drawn candidates, the hidden items and the network.

    Attributes:
        names: The dimensions, in the order of the gates.
        gate: The trained `EvidenceGate`.

    Taught in notebook 07.
    """

    def __init__(
        self, dataset: Dataset, text: np.ndarray, left_out: tuple[str, ...] = (), hidden: int = 32, seed: int = 0
    ) -> None:
        self.dataset, self.text, self.hidden, self.seed = dataset, text, hidden, seed
        self.years = dataset.catalogue["year"].astype("float64").to_numpy(na_value=np.nan)
        genres = dataset.catalogue["genres"].str.get_dummies("|").to_numpy("float64")
        self.genres = genres / np.sqrt(np.maximum(genres.sum(axis=1, keepdims=True), 1))
        every = list(self._dimensions(np.arange(2)))
        if unknown := set(left_out) - set(every):
            raise ValueError(f"no dimension is called {', '.join(sorted(unknown))}; there are {', '.join(every)}")
        self.names = [name for name in every if name not in left_out]

    def _dimensions(self, known: np.ndarray) -> Mapping[str, Dimension]:
        """Unfitted dimensions by name; content is centred with the known items only."""
        centred = Centring().fit(self.text[known]).transform(self.text)
        middles = np.array([1930, 1950, 1965, 1975, 1985, 1990, 1994, 1997, 2000, 2004, 2008, 2012])
        eras = np.nan_to_num(np.exp(-(((self.years[:, None] - middles) / 8) ** 2)))
        whitened = Whitening(shrinkage=0.1).fit(self.text[known]).transform(self.text)
        content = np.concatenate([whitened, 0.5 * self.genres, 0.35 * eras], axis=1)
        content -= content[known].mean(axis=0)
        genres = self.genres - self.genres[known].mean(axis=0)
        return {
            "linear": EASE(100.0),
            "linear, recent": EASE(50.0, RECENT),
            "neighbours": ItemKNN(100, 10.0, RECENT),
            "sequence": closed_form.Transitions(),
            "month": closed_form.Surroundings(30.0),
            "year": closed_form.Surroundings(300.0),
            "text": closed_form.Likeness(centred),
            "genres": closed_form.Likeness(genres),
            "release": closed_form.ReleaseYears(self.years),
            "unreleased": closed_form.NotYetReleased(self.years),
            "content": closed_form.ContentColumns(content),
            "popularity": closed_form.ContentPopularity(),
            "popularity by content": closed_form.ContentPopularity(content),
        }

    def learn(self, history: pd.DataFrame, verbose: int = 0) -> Any:
        """Train the gate on likes held out of `history`, then fit every dimension on all of it.

        Four rounds hold something out: each person's last tenth of positives, twice a tenth of the items, and all that
        came after a moment. The dimensions are fitted without it, so the gate learns from scores for what they have not
        seen.

        Args:
            history: Columns `user`, `item`, `rating`, `timestamp`.
            verbose: As Keras's `fit`.

        Returns:
            Keras's `History`.

        Raises:
            DataError: Nobody has enough positives to hold any out.
        """
        keras.utils.set_random_seed(self.seed)
        events = splits.in_order(history)
        rounds = [last_likes(events, self.dataset)]
        rounds += [hidden_items(events, self.dataset, seed) for seed in range(COLD_ROUNDS)]
        rounds += [after_a_moment(events, self.dataset)]
        parts = [self._examples(fold, np.random.default_rng([self.seed, k])) for k, fold in enumerate(rounds)]
        examples = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        self.gate = EvidenceGate(len(self.names), self.hidden)
        inputs = {
            "scores": keras.Input((None, len(self.names)), name="scores"),
            "user": keras.Input((USER_EVIDENCE,), name="user"),
            "item": keras.Input((None, ITEM_EVIDENCE), name="item"),
            "offset": keras.Input((None,), name="offset"),
        }
        logits = self.gate(inputs["scores"], inputs["user"], inputs["item"]) + inputs["offset"]
        network = keras.Model(inputs, logits)
        steps = EPOCHS * -(-len(examples["offset"]) // BATCH)
        rate = keras.optimizers.schedules.PolynomialDecay(LEARNING_RATE, steps, LEARNING_RATE / 50)
        network.compile(keras.optimizers.Adam(rate), loss=listwise_loss, jit_compile=True)
        targets = examples.pop("targets")
        trained = network.fit(examples, targets, batch_size=BATCH, epochs=EPOCHS, verbose=verbose)
        self._fit(events)
        return trained

    def score(self, queries: Queries) -> np.ndarray:
        """s of every item for every query, float32 (Q, n_items)."""
        scores = np.empty((len(queries), self.dataset.n_items), "float32")
        for start in range(0, len(queries), BATCH):
            part = queries[start : start + BATCH]
            scores[start : start + BATCH] = ops.convert_to_numpy(
                self.gate(*map(ops.convert_to_tensor, self._seen(part)))
            )
        return scores

    def parts(self, queries: Queries) -> dict[str, np.ndarray]:
        """What each dimension adds, g_d z_d, (Q, n_items) a dimension; the rest of s is popularity's level and m."""
        scores, user, item = self._seen(queries)
        gates = ops.convert_to_numpy(self.gate.gates(ops.convert_to_tensor(user), ops.convert_to_tensor(item)))
        return {name: gates[..., place] * scores[..., place] for place, name in enumerate(self.names)}

    def _fit(self, events: pd.DataFrame) -> None:
        known = np.unique(events["item"])
        self.towers = {
            name: tower.fit(events, self.dataset.n_items)
            for name, tower in self._dimensions(known).items()
            if name in self.names
        }
        self.count = np.bincount(events["item"], minlength=self.dataset.n_items)
        self.moments = np.sort(events["timestamp"].to_numpy())

    def _seen(self, queries: Queries) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """z, f_u and f_i of some queries and all items."""
        stack = [
            tower.score(queries)
            if isinstance(tower, closed_form.NotYetReleased)
            else _standardised(tower.score(queries))
            for tower in self.towers.values()
        ]
        item = np.stack([np.log1p(self.count) / 3 - 0.5, self.count == 0], axis=-1).astype("float32")
        return np.stack(stack, axis=-1), self._user(queries), np.repeat(item[None], len(queries), axis=0)

    def _user(self, queries: Queries) -> np.ndarray:
        """f_u: logarithms of the history's length and days, and of what others did in the month before and after."""
        last, some = closed_form.last_moment(queries), queries.lengths > 0
        first = np.zeros(len(queries))
        first[some] = queries.timestamp[queries.indptr[:-1][some]]
        days = np.where(some, (np.nan_to_num(last) - first) / DAY, 0)
        place = np.searchsorted(self.moments, [last - 30 * DAY, last, last + 30 * DAY])
        evidence = [queries.lengths, days, place[2] - place[1], place[1] - place[0]]
        scale, shift = np.array([2, 3, 4, 4]), np.array([2, 0.5, 1, 1])
        return np.asarray(np.log1p(np.stack(evidence, axis=-1)) / scale - shift, "float32")

    def _examples(self, fold: Fold, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """Targets, the hardest and some drawn candidates of each query, and log of how many items each stands for."""
        self._fit(fold.history)
        width = HARDEST + DRAWN
        examples: dict[str, list[np.ndarray]] = {name: [] for name in ("scores", "user", "item", "offset", "targets")}
        for start in range(0, len(fold.queries), BATCH):
            queries = fold.queries[start : start + BATCH]
            scores, user, item = self._seen(queries)
            wanted = fold.targets[start : start + BATCH].toarray()
            for row in range(len(queries)):
                allowed = fold.candidates.copy()
                allowed[queries.item[queries.indptr[row] : queries.indptr[row + 1]]] = False
                chosen, offset = _candidates(scores[row].sum(axis=-1), wanted[row] & allowed, allowed, generator)
                chosen, offset = chosen[:width], offset[:width]
                filled = np.pad(chosen, (0, width - len(chosen)))
                examples["scores"].append(scores[row, filled])
                examples["user"].append(user[row])
                examples["item"].append(item[row, filled])
                examples["offset"].append(np.pad(offset, (0, width - len(chosen)), constant_values=-1e9))
                examples["targets"].append(np.pad(wanted[row, chosen], (0, width - len(chosen))))
        return {name: np.asarray(rows, "float32") for name, rows in examples.items()}


def last_likes(events: pd.DataFrame, dataset: Dataset, share: float = 0.1) -> Fold:
    """A round of training: each person's last positives are held out, as `splits.warm` does.

    Args:
        events: A history in order.
        dataset: For the numbers of users and items.
        share: Of each person's positives.
    """
    liked = events[events["rating"] >= splits.POSITIVE].groupby("user")["item"]
    count, from_end = liked.transform("size"), liked.cumcount(ascending=False)
    held_out = (count >= splits.MIN_POSITIVES) & (from_end < np.maximum(1, np.floor(count * share)))
    targets = events.loc[held_out.index[held_out]]
    if targets.empty:
        raise DataError(f"nobody has {splits.MIN_POSITIVES} positives; there is nothing to train the gate on")
    first = pd.Series(targets.index, index=targets["user"]).groupby(level=0).min()
    known = events[events.index < events["user"].map(first).fillna(len(events))]
    return _round(known, targets, np.ones(dataset.n_items, bool), dataset)


def hidden_items(events: pd.DataFrame, dataset: Dataset, seed: int, share: float = HIDDEN_SHARE) -> Fold:
    """A round of training: some items are hidden altogether, and ranked for the people who liked one of them.

    Args:
        events: A history in order.
        dataset: For the numbers of users and items.
        seed: Decides the items.
        share: Of the known items.
    """
    known = np.unique(events["item"])
    hidden = np.random.default_rng([seed, 7]).choice(known, max(1, round(len(known) * share)), replace=False)
    candidates = np.isin(np.arange(dataset.n_items), hidden)
    away = candidates[events["item"]]
    return _round(events[~away], events[away & (events["rating"] >= splits.POSITIVE)], candidates, dataset)


def after_a_moment(events: pd.DataFrame, dataset: Dataset, share: float = 0.15, most: int = 700) -> Fold:
    """A round of training: what came after one moment is held out, and each like after it asked for, as in `rolling`.

    Args:
        events: A history in order.
        dataset: For the numbers of users and items.
        share: Of the events that come after the moment.
        most: Queries that are kept, drawn at random.
    """
    cut = int(np.quantile(events["timestamp"], 1 - share, method="nearest"))
    fold = splits.rolling_fold(dataset, events, cut, int(events["timestamp"].max()) + 1)
    if len(fold.queries) <= most:
        return fold
    kept = np.sort(np.random.default_rng(11).choice(len(fold.queries), most, replace=False))
    queries = fold.queries
    places = np.concatenate([np.arange(queries.indptr[row], queries.indptr[row + 1]) for row in kept])
    some = Queries(
        queries.user[kept],
        np.concatenate([[0], np.cumsum(queries.lengths[kept])]),
        queries.item[places],
        queries.rating[places],
        queries.timestamp[places],
        queries.n_items,
    )
    return dataclasses.replace(fold, queries=some, targets=fold.targets[kept])


def _round(history: pd.DataFrame, targets: pd.DataFrame, candidates: np.ndarray, dataset: Dataset) -> Fold:
    users = np.unique(targets["user"])
    entries = np.ones(len(targets), bool), (np.searchsorted(users, targets["user"]), targets["item"])
    wanted = scipy.sparse.csr_array(entries, shape=(len(users), dataset.n_items))
    queries = Queries.of(history, users, dataset.n_items)
    return Fold(history.reset_index(drop=True), queries, wanted, candidates, dataset.n_users)


def _candidates(
    level: np.ndarray, wanted: np.ndarray, allowed: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Item codes, and log of how many items each stands for: 0, or more for one that was drawn for the others."""
    targets = np.flatnonzero(wanted)
    others = np.flatnonzero(allowed & ~wanted)
    order = others[np.argsort(-level[others], kind="stable")]
    hardest, rest = order[: HARDEST - len(targets)], order[HARDEST - len(targets) :]
    drawn = generator.choice(rest, min(DRAWN, len(rest)), replace=False)
    stands_for = np.log(len(rest) / len(drawn)) if len(drawn) else 0.0
    chosen = np.concatenate([targets, hardest, drawn])
    return chosen, np.concatenate([np.zeros(len(targets) + len(hardest)), np.full(len(drawn), stands_for)])


def _standardised(scores: np.ndarray) -> np.ndarray:
    """Mean 0 and standard deviation 1 over the catalogue, cut at −4 and 12."""
    away = scores - scores.mean(axis=1, keepdims=True)
    return np.asarray(np.clip(away / (away.std(axis=1, keepdims=True) + 1e-6), -4, 12), "float32")
