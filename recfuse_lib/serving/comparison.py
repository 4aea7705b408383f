"""Compares two models on what people liked after a moment, as the service asks them. Taught in notebook 19."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from recfuse_lib.data.faults import DataError
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import Fold, Queries, in_order, rolling_fold
from recfuse_lib.evaluation.metrics import Scorer, evaluate
from recfuse_lib.evaluation.significance import Interval, paired_bootstrap
from recfuse_lib.serving.bundle import Bundle
from recfuse_lib.serving.messages import Item
from recfuse_lib.serving.recommender import History, Recommender

BATCH = 512


class AsServed:
    """A bundle as the service answers from it, asked with the item and user codes of a data set.

    An item that came after the bundle was fitted is placed by what is known of it, as the service places it; one of
    which nothing is known comes last. Whom the bundle does not know is a stranger with a history. What somebody
    `dismissed` (`EventStore.dismissed`) is no part of their history, and lowers what is like it.
    """

    def __init__(self, bundle: Bundle, dataset: Dataset, dismissed: pd.DataFrame | None = None) -> None:
        served = Recommender(bundle)
        catalogue: list[dict[Any, Any]] = dataset.catalogue.to_dict("records")
        rows = [Item.of(row, bundle.items.roles).row() for row in catalogue]
        new = [row for row in rows if row["item_id"] not in served.catalogue.codes and len(row) > 1]
        served = served.extended(new) if new else served
        people = pd.Index(list(served.people)).get_indexer(pd.Index(dataset.user_ids.astype("str")))
        self.served, self.model = served, served.model
        away = pd.DataFrame(columns=["user_id", "item_id"]) if dismissed is None else dismissed
        user = pd.Index(dataset.user_ids).get_indexer(pd.Index(away["user_id"]))
        item = pd.Index(dataset.catalogue["item_id"]).get_indexer(pd.Index(away["item_id"]))
        self._dismissed = (user.astype("int64") * dataset.n_items + item)[(user >= 0) & (item >= 0)]
        self.item = pd.Index(served.catalogue.ids).get_indexer(pd.Index([row["item_id"] for row in rows]))
        self.user = np.where(people < 0, len(people) + len(served.people) + np.arange(len(people)), people)

    def score(self, queries: Queries) -> np.ndarray:
        """Scores the list that is served and, below it, what retrieval left out as ranking orders it, (Q, I)."""
        row, item = np.repeat(np.arange(len(queries)), queries.lengths), self.item[queries.item]
        away = self._is_dismissed(queries.user[row], queries.item) & (item >= 0)
        known = (item >= 0) & ~away
        before = np.concatenate([[0], np.cumsum(known)])
        past = item[known], queries.rating[known], queries.timestamp[known]
        asked = Queries(self.user[queries.user], before[queries.indptr], *past, self.model.items.n_items)
        listed = self.model.score(asked)
        for one in np.unique(row[away]):
            history = History(asked[one : one + 1], (), item[away & (row == one)])
            allowed = np.ones(asked.n_items, bool)
            allowed[history.codes] = allowed[history.dismissed] = False
            ranked, listed[one] = self.served._rank(history, allowed), -np.inf
            listed[one, ranked.codes] = ranked.score
        served = np.isfinite(listed)
        everything = (served.sum(axis=1) + asked.lengths >= asked.n_items).all()
        below = np.zeros_like(listed) if everything else self.model.ranking.score(asked)
        lowest = listed.min(axis=1, keepdims=True, where=served, initial=0)
        scores = np.where(served, listed, below - below.max(axis=1, keepdims=True) + lowest - 1)[:, self.item]
        scores[:, self.item < 0] = scores.min(axis=1, keepdims=True) - 1
        return scores

    def predict(self, history: pd.DataFrame, asked: pd.DataFrame) -> np.ndarray:
        """Predicts the stars of events, (N,), from a history; NaN where the bundle knows no stars or not the item."""
        stars, known = np.full(len(asked), np.nan), self.item[asked["item"]] >= 0
        if self.model.ranking.task_weight:
            history = history[~self._is_dismissed(history["user"].to_numpy(), history["item"].to_numpy())]
            history, asked = self._translated(history), self._translated(asked)
            users, found = np.unique(asked["user"]), np.empty(len(asked))
            for start in range(0, len(users), BATCH):
                some = users[start : start + BATCH]
                here = asked["user"].isin(some).to_numpy()
                queries = Queries.of(history, some, self.model.items.n_items)
                found[here] = self.model.predict(queries, asked[here])
            stars[known] = found
        return stars

    def _is_dismissed(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        return np.isin(user.astype("int64") * len(self.item) + item, self._dismissed)

    def _translated(self, events: pd.DataFrame) -> pd.DataFrame:
        events = events[self.item[events["item"]] >= 0]
        return events.assign(user=self.user[events["user"]], item=self.item[events["item"]])


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A metric of two models on the same queries, and the interval of challenger minus champion over people."""

    metric: str
    difference: Interval
    challenger: float
    champion: float
    queries: int
    people: int

    @property
    def better(self) -> bool:
        """Whether the whole interval is above zero."""
        return self.difference.low > 0

    def figures(self) -> dict[str, Any]:
        """Returns the record for `decisions.jsonl`."""
        interval = [self.difference.mean, self.difference.low, self.difference.high]
        both = {f"{self.metric} challenger": self.challenger, f"{self.metric} champion": self.champion}
        return {**both, "difference": interval, "queries": self.queries, "people": self.people}


def compare(
    challenger: Scorer, champion: Scorer, dataset: Dataset, cut: int, explored: pd.DataFrame | None = None
) -> Comparison:
    """Evaluates two models on what people liked from `cut` on (Unix seconds), given what they had done before.

    Neither may have been trained on events from `cut` on. People can like only what they are shown, and the champion
    chose that: on its own slates it looks better than it is. What was shown at random (`explored`: columns `user_id`,
    `item_id`) is a fair holdout, and then used alone. It is small, so its metric needs few queries: the percentile, the
    share of the items that the model puts below the liked one.

    Raises:
        DataError: Nobody liked a known item from `cut` on.
    """
    events = in_order(dataset.events())
    fold = rolling_fold(dataset.items, events, cut, int(events["timestamp"].max()) + 1)
    if explored is not None:
        items = dataset.catalogue["item_id"].to_numpy()[fold.targets.indices]
        pairs = pd.MultiIndex.from_arrays([dataset.user_ids[fold.queries.user], items])
        asked = np.flatnonzero(pairs.isin(pd.MultiIndex.from_frame(explored[["user_id", "item_id"]])))
        fold = dataclasses.replace(fold, queries=fold.queries[asked], targets=fold.targets[asked])
    if not len(fold.queries):
        raise DataError(f"{dataset.name}: nobody liked a known item from {cut} on; there is nothing to compare by")
    metric, figure = ("ndcg@10", _ndcg) if explored is None else ("percentile", _percentile)
    new, old, people = figure(challenger, fold), figure(champion, fold), fold.queries.user
    difference = paired_bootstrap(new, old, people)
    return Comparison(metric, difference, float(new.mean()), float(old.mean()), len(people), len(np.unique(people)))


def _ndcg(model: Scorer, fold: Fold) -> np.ndarray:
    return evaluate(model, fold).per_query["ndcg"].to_numpy()


def _percentile(model: Scorer, fold: Fold) -> np.ndarray:
    """Share of the candidates outside the history that are below the target, ties counting half, (Q,)."""
    parts = []
    for start in range(0, len(fold.queries), BATCH):
        queries, targets = fold.queries[start : start + BATCH], fold.targets.indices[start : start + BATCH]
        scores, rows = model.score(queries), np.arange(len(queries))
        target = scores[rows, targets][:, None]
        others = np.tile(fold.candidates, (len(queries), 1))
        others[np.repeat(rows, queries.lengths), queries.item] = False
        others[rows, targets] = False
        below = ((scores < target) & others).sum(axis=1) + 0.5 * ((scores == target) & others).sum(axis=1)
        parts.append(below / np.maximum(others.sum(axis=1), 1))
    return np.concatenate(parts)
