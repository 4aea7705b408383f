"""The frozen evaluation protocols: which past a model may see, which future it is asked about.

Each gives a validation fold for tuning and a test fold that is scored once. No history is later than the first target
of the same user (`warm`, `last_one`) or the global cut (`rolling`), or touches a held-out item (`cold`). Only a
*positive*, 4 or more on the scale of `Dataset.events`, is a target; any interaction may be history. Where no times are
known, `warm` and `last_one` hold out at random. Taught in notebook 01.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pandas as pd
import scipy.sparse

from recfuse_lib.data.faults import DataError
from recfuse_lib.data.items import Items
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.sparse_rows import entries_of, runs_of

POSITIVE = 4.0
MIN_POSITIVES = 5
TEST_SHARE = 0.2  # a validation reaches as far as the test: what is chosen on it is chosen for the same question
ROLLING_CUTS = (0.4, 0.5, 0.6)  # quantiles of time at which validations begin; each reaches as far as the test
COLD_SHARE = 0.1
RATING_FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Queries:
    """Questions of the form "this person did these things; what next?".

    Query q of `user`, codes (Q,), has its history, oldest first, at positions `indptr[q]:indptr[q + 1]` of `item`
    (codes), `rating` and `timestamp` (Unix seconds), (H,).

    >>> history = pd.DataFrame({"user": [0, 0, 1], "item": [4, 2, 3], "rating": 4.0, "timestamp": [1, 2, 3]})
    >>> queries = Queries.of(history, np.array([0, 1]), n_items=5)
    >>> queries.matrix().toarray()
    array([[0., 0., 1., 0., 1.],
           [0., 0., 0., 1., 0.]], dtype=float32)
    """

    user: np.ndarray
    indptr: np.ndarray
    item: np.ndarray
    rating: np.ndarray
    timestamp: np.ndarray
    n_items: int

    @classmethod
    def of(cls, history: pd.DataFrame, users: np.ndarray, n_items: int) -> Queries:
        """Makes one query for each of `users`, sorted distinct codes (Q,), with all that `history` holds of them."""
        history = in_order(history[history["user"].isin(users)])
        indptr = np.concatenate([[0], np.searchsorted(history["user"], users, side="right")])
        return cls(
            np.asarray(users, "int32"),
            indptr.astype("int64"),
            history["item"].to_numpy("int32"),
            history["rating"].to_numpy("float32"),
            history["timestamp"].to_numpy("int64"),
            n_items,
        )

    def __len__(self) -> int:
        return len(self.user)

    def __getitem__(self, rows: slice | np.ndarray) -> Queries:
        rows = np.arange(len(self))[rows]
        indptr, taken = runs_of(self.indptr[rows], self.lengths[rows])
        return Queries(
            self.user[rows], indptr, self.item[taken], self.rating[taken], self.timestamp[taken], self.n_items
        )

    def span(self, user: int) -> slice:
        """Finds the positions of a user's history, where users are sorted; empty for one that is not there."""
        row = int(np.searchsorted(self.user, user))
        there = row < len(self) and self.user[row] == user
        return slice(*self.indptr[row : row + 2].tolist()) if there else slice(0)

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """Number of interactions in each history, (Q,)."""
        return np.diff(self.indptr)

    def matrix(self, weights: np.ndarray | None = None) -> scipy.sparse.csr_array:
        """Returns the histories as a sparse matrix (Q, n_items): `weights` (H,), by default 1, where one interacted."""
        values = np.ones(len(self.item), "float32") if weights is None else np.asarray(weights, "float32")
        shape = (len(self), self.n_items)
        return scipy.sparse.csr_array((values, self.item, self.indptr), shape=shape, copy=True)

    def product(self, weights: np.ndarray, matrix: scipy.sparse.csr_array | np.ndarray) -> np.ndarray:
        """Returns the histories, weighted as in `matrix`, times the rows of a matrix (n_items, ·), dense (Q, ·)."""
        if len(self) != 1:
            own = self.matrix(weights)
            own.eliminate_zeros()
            product = own @ matrix
            return np.asarray(product.toarray() if scipy.sparse.issparse(product) else product)
        # One person is asked about at a time when serving; to make sparse matrices would take most of that time.
        some = np.flatnonzero(weights)
        rows, weight = self.item[some], np.asarray(weights[some], "float32")
        if isinstance(matrix, np.ndarray):
            return np.asarray(weight @ matrix[rows])[None]
        lengths, taken = entries_of(matrix, rows)
        values = np.repeat(weight, lengths) * matrix.data[taken]
        summed = np.bincount(matrix.indices[taken], values, matrix.shape[1])
        return summed.astype(values.dtype)[None]

    @functools.cached_property
    def steps_back(self) -> np.ndarray:
        """Counts the interactions of the same history after each one, (H,); 0 where no times are known."""
        if not self.timestamp.any():
            return np.zeros(len(self.item), "int64")
        return np.repeat(self.indptr[1:], self.lengths) - 1 - np.arange(len(self.item))


@dataclasses.dataclass(frozen=True)
class Fold:
    """One round of fitting and scoring.

    Models are fitted on `history` (`user`, `item`, `rating`, `timestamp`). `targets`, sparse bool (Q, n_items), are
    what each person liked next; `candidates`, bool (n_items,), may be recommended. `n_users` counts the whole data set.
    """

    history: pd.DataFrame
    queries: Queries
    targets: scipy.sparse.csr_array
    candidates: np.ndarray
    n_users: int
    items: Items

    @property
    def n_items(self) -> int:
        return len(self.candidates)

    def drawn(self, most: int, seed: int) -> Fold:
        """Draws at most `most` of the queries at random."""
        if len(self.queries) <= most:
            return self
        kept = np.sort(np.random.default_rng(seed).choice(len(self.queries), most, replace=False))
        return dataclasses.replace(self, queries=self.queries[kept], targets=self.targets[kept])


@dataclasses.dataclass(frozen=True)
class Split:
    """A protocol applied to data: tune on `tuning`, refit on all that precedes the test, score `test` once. `rolling`
    has `earlier` validations of the same kind, oldest first.
    """

    protocol: str
    validation: Fold
    test: Fold
    earlier: tuple[Fold, ...] = ()

    @property
    def tuning(self) -> tuple[Fold, ...]:
        """All validations, oldest first; what is tuned is the mean over them."""
        return (*self.earlier, self.validation)


@dataclasses.dataclass(frozen=True)
class RatingSplit:
    """Events for rating prediction: fit on `train`, tune on `validation`, refit on both, score `test` once."""

    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame


def in_order(events: pd.DataFrame) -> pd.DataFrame:
    """Sorts events by user, time and item code; without times (all 0), by user in a random order, always the same."""
    if events["timestamp"].any() or events.empty:
        return events.sort_values(["user", "timestamp", "item"], ignore_index=True)
    order = np.lexsort((_shuffled(events["user"], events["item"]), events["user"]))
    return events.iloc[order].reset_index(drop=True)


def _shuffled(user: pd.Series, item: pd.Series) -> np.ndarray:
    """Gives each pair a number that looks random: SplitMix64 (Steele, Lea and Flood, 2014)."""
    mixed = user.to_numpy("uint64") << np.uint64(32) | item.to_numpy("uint64")
    mixed = mixed + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def _unusable(dataset: Dataset, protocol: str, reason: str) -> DataError:
    return DataError(f"{dataset.name}: the protocol {protocol} cannot be used: {reason}")


def _events(dataset: Dataset, protocol: str) -> pd.DataFrame:
    """Returns the events in order, of data that something can be learned from."""
    if dataset.n_users < 2:
        raise _unusable(dataset, protocol, "it has one person, and a recommender learns from others")
    if dataset.n_items < 2:
        raise _unusable(dataset, protocol, "it has one item, and there is nothing to choose from")
    if not dataset.positive.any():
        reason = f"nothing in it is positive. {dataset.positives} State another rule, as positive='value>=3'"
        raise _unusable(dataset, protocol, reason)
    return in_order(dataset.events())


def warm(dataset: Dataset) -> Split:
    """Splits by user: the last 20 % of each user's positives are the test, the 20 % before them the validation.

    Users with fewer than five positives are history only. A history ends before the first target: no future leaks.
    Raises `DataError`: nobody has five positives, or there is nothing to learn from.
    """
    events, positives = _positives_from_the_end(dataset, "warm")
    asked = np.maximum(1, np.floor(positives["count"] * TEST_SHARE + 1e-9))
    is_test = positives["from_end"] < asked
    is_validation = ~is_test & (positives["from_end"] < 2 * asked)
    return _split_by_user("warm", dataset, events, positives.index[is_validation], positives.index[is_test])


def last_one(dataset: Dataset) -> Split:
    """Splits by user: the last positive is the test, the one before it the validation; only for comparison with papers.
    Raises as `warm` does.
    """
    events, positives = _positives_from_the_end(dataset, "last-one")
    validation, test = (positives.index[positives["from_end"] == step] for step in (1, 0))
    return _split_by_user("last-one", dataset, events, validation, test)


def _positives_from_the_end(dataset: Dataset, protocol: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the events, and of the positives of whoever has enough: their number, and how many come after each."""
    events = _events(dataset, protocol)
    by_user = events[events["rating"] >= POSITIVE].groupby("user")["item"]
    positives = pd.DataFrame({"count": by_user.transform("size"), "from_end": by_user.cumcount(ascending=False)})
    positives = positives[positives["count"] >= MIN_POSITIVES]
    if positives.empty:
        reason = f"nobody has {MIN_POSITIVES} positives to hold some of them out. {dataset.positives}"
        raise _unusable(dataset, protocol, reason)
    return events, positives


def _split_by_user(
    protocol: str, dataset: Dataset, events: pd.DataFrame, validation: pd.Index, test: pd.Index
) -> Split:
    everything = np.ones(dataset.n_items, bool)

    def fold(targets: pd.DataFrame) -> Fold:
        return fold_of(dataset.items, before_targets(events, targets), targets, everything, dataset.n_users)

    return Split(protocol, fold(events.loc[validation]), fold(events.loc[test]))


def before_targets(events: pd.DataFrame, targets: pd.DataFrame) -> pd.DataFrame:
    """Returns ordered events without those that come after the same user's first target; `targets` are some of them."""
    first = pd.Series(targets.index, index=targets["user"]).groupby(level=0).min()
    return events[events.index < events["user"].map(first).fillna(len(events))]


def fold_of(items: Items, history: pd.DataFrame, targets: pd.DataFrame, candidates: np.ndarray, n_users: int) -> Fold:
    """Makes a fold that asks each user of `targets` (`user`, `item`) for their targets among the candidates."""
    users = np.unique(targets["user"])
    entries = np.ones(len(targets), bool), (np.searchsorted(users, targets["user"]), targets["item"])
    wanted = scipy.sparse.csr_array(entries, shape=(len(users), items.n_items))
    queries = Queries.of(history, users, items.n_items)
    return Fold(history.reset_index(drop=True), queries, wanted, candidates, n_users, items)


def cold(dataset: Dataset, seed: int) -> Split:
    """Splits by item: a random tenth is unknown until the test, another tenth until the validation.

    Only held-out items are ranked; for the whole catalogue, replace `candidates`. The leaderboard uses seeds 0 to 9.
    Raises `DataError` where nobody likes a held-out item, or there is nothing to learn from.
    """
    events = _events(dataset, "cold")
    order = np.random.default_rng(seed).permutation(dataset.n_items)
    n_cold = max(1, round(dataset.n_items * COLD_SHARE))

    def fold(held_out: np.ndarray, unknown: np.ndarray) -> Fold:
        candidates = np.isin(np.arange(dataset.n_items), held_out)
        is_target = candidates[events["item"]] & (events["rating"] >= POSITIVE)
        if not is_target.any() or len(unknown) == dataset.n_items:
            reason = f"of its {dataset.n_items:,} items a tenth is held out, and nobody likes one of those"
            raise _unusable(dataset, "cold", reason)
        history = events[~np.isin(events["item"], unknown)]
        return fold_of(dataset.items, history, events[is_target], candidates, dataset.n_users)

    return Split("cold", fold(order[n_cold : 2 * n_cold], order[: 2 * n_cold]), fold(order[:n_cold], order[:n_cold]))


def rolling(dataset: Dataset) -> Split:
    """Splits in time: models are frozen at one moment; each later positive is a query with the history up to it.

    The test begins at the 80 % quantile of time, the validations at 40, 50 and 60 %; a fifth of the events follows each
    cut. Items that nobody had rated by then are neither candidates nor targets: a frozen catalogue cannot hold them.
    Raises `DataError` where no times are known, or there is nobody to ask after a cut.
    """
    events = _events(dataset, "rolling")
    if not dataset.has_times:
        raise _unusable(dataset, "rolling", "it cuts in time, and no times are known")

    def after(share: float, part: str) -> Fold:
        cut, end = np.quantile(events["timestamp"], [share, share + TEST_SHARE], method="nearest").tolist()
        fold = rolling_fold(dataset.items, events, cut, end + (part == "test"))
        if not len(fold.queries):
            reason = f"in the time of its {part} nobody likes an item that was known before"
            raise _unusable(dataset, "rolling", reason)
        return fold

    *earlier, validation = [after(share, "validation") for share in ROLLING_CUTS]
    return Split("rolling", validation, after(1 - TEST_SHARE, "test"), tuple(earlier))


def rolling_fold(items: Items, events: pd.DataFrame, cut: int, end: int) -> Fold:
    """Makes one fold of `rolling` from ordered events: history before `cut`, queries from there to before `end`."""
    history = events[events["timestamp"] < cut].reset_index(drop=True)
    known = np.isin(np.arange(items.n_items), history["item"])
    user, item, rating, time = (events[name].to_numpy() for name in ("user", "item", "rating", "timestamp"))
    asked = np.flatnonzero((time >= cut) & (time < end) & (rating >= POSITIVE) & known[item])
    start = np.searchsorted(user, user[asked])
    indptr, before = runs_of(start, asked - start)
    queries = Queries(user[asked], indptr, item[before], rating[before], time[before], items.n_items)
    targets = scipy.sparse.csr_array(
        (np.ones(len(asked), bool), item[asked], np.arange(len(asked) + 1)), shape=(len(asked), items.n_items)
    )
    return Fold(history, queries, targets, known, int(user.max(initial=-1)) + 1, items)


def rating(dataset: Dataset, fold: int) -> RatingSplit:
    """Splits all ratings into five random folds, 0 to 4; a tenth of what is not the test is validation. Raises
    `DataError` where there are no ratings, or too few.
    """
    if not dataset.has_stars:
        raise _unusable(dataset, "rating", "there are no ratings of different values")
    events = in_order(dataset.events())
    position = np.random.default_rng(0).permutation(len(events))
    is_test = position % RATING_FOLDS == fold
    is_validation = ~is_test & (position // RATING_FOLDS % 10 == 0)
    parts = (events[~is_test & ~is_validation], events[is_validation], events[is_test])
    if any(part.empty for part in parts):
        reason = f"of {len(events):,} ratings nothing is left for the training, the validation or the test of a fold"
        raise _unusable(dataset, "rating", reason)
    return RatingSplit(*(part.reset_index(drop=True) for part in parts))
