"""Full-ranking metrics over the whole catalogue, and the error of predicted ratings. Taught in notebook 04."""

import dataclasses
from typing import Protocol

import numpy as np
import pandas as pd

from recfuse_lib.data.splits import Fold, Queries

_BATCH = 512


class Scorer(Protocol):
    """Anything that gives every item a score for every query, (Q, n_items)."""

    def score(self, queries: Queries) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Ranking:
    """The result of an evaluation at cut-off K.

    `per_query` has one row a query: `user` and, at K, `ndcg` (see `ndcg_at_k`), `recall` (share of its relevant items
    that are recommended) and `mrr` (1 / position of the first of them, else 0). `coverage` is the share of candidates
    recommended to somebody; `items` are the recommended codes, best first, -1 where candidates ran out, (Q, K).
    """

    k: int
    per_query: pd.DataFrame
    coverage: float
    items: np.ndarray

    def summary(self) -> dict[str, float]:
        """Returns the mean of each metric over the queries, and the coverage."""
        means = {f"{name}@{self.k}": float(self.per_query[name].mean()) for name in ("ndcg", "recall", "mrr")}
        return {**means, f"coverage@{self.k}": self.coverage}


def top_k(scores: np.ndarray, k: int) -> np.ndarray:
    """Finds the codes of the K best items a row, best first, int32 (Q, k); of equal scores the lower code wins.

    In `scores`, (Q, n_items), `-inf` marks an item that may not be recommended; -1 is returned where items run out.

    >>> top_k(np.array([[0.1, 0.9, 0.9, -np.inf]]), k=4)
    array([[ 1,  2,  0, -1]], dtype=int32)
    """
    if np.isnan(scores).any():
        raise ValueError(
            f"{int(np.isnan(scores).sum()):,} of {scores.size:,} scores are NaN; the model did not converge"
        )
    best = np.full((len(scores), k), -1, "int32")
    threshold = np.partition(scores, -min(k, scores.shape[1]), axis=1)[:, -min(k, scores.shape[1])]
    for row, (values, least) in enumerate(zip(scores, threshold, strict=True)):
        items = np.flatnonzero((values >= least) & (values > -np.inf))
        items = items[np.argsort(-values[items], kind="stable")][:k]
        best[row, : len(items)] = items
    return best


def ndcg_at_k(hits: np.ndarray, n_relevant: np.ndarray) -> np.ndarray:
    """Computes the normalised discounted cumulative gain, Σ_k hit_k / log₂(k + 1) over the best possible sum, (Q,).

    `hits` says whether each recommended item is relevant, best first, (Q, K); `n_relevant` is at least 1, (Q,).

    >>> ndcg_at_k(np.array([[False, True]]), np.array([1])).round(4)
    array([0.6309])

    Source: Järvelin and Kekäläinen (2002), Cumulated Gain-Based Evaluation of IR Techniques, ACM TOIS 20(4).
    """
    k = hits.shape[1]
    discount = 1 / np.log2(np.arange(k) + 2)
    ideal = np.cumsum(discount)[np.minimum(n_relevant, k) - 1]
    return np.asarray(hits @ discount / ideal)


def evaluate(scorer: Scorer, fold: Fold, k: int = 10) -> Ranking:
    """Ranks the whole catalogue for every query of a fold, with the history masked.
    Raises `ValueError`: the scores have the wrong shape or hold a NaN.
    """
    recommended = np.empty((len(fold.queries), k), "int32")
    hits = np.empty((len(fold.queries), k), bool)
    for start in range(0, len(fold.queries), _BATCH):
        queries = fold.queries[start : start + _BATCH]
        scores = np.array(scorer.score(queries), "float32")
        if scores.shape != (len(queries), fold.n_items):
            wanted = (len(queries), fold.n_items)
            raise ValueError(f"scores have shape {scores.shape}, expected {wanted}: queries × items")
        scores[np.repeat(np.arange(len(queries)), queries.lengths), queries.item] = -np.inf
        scores[:, ~fold.candidates] = -np.inf
        best = top_k(scores, k)
        relevant = fold.targets[start : start + len(queries)].toarray()
        recommended[start : start + len(queries)] = best
        hits[start : start + len(queries)] = np.take_along_axis(relevant, np.maximum(best, 0), axis=1) & (best >= 0)
    n_relevant = np.diff(fold.targets.indptr)
    per_query = pd.DataFrame(
        {
            "user": fold.queries.user,
            "ndcg": ndcg_at_k(hits, n_relevant),
            "recall": hits.sum(1) / n_relevant,
            "mrr": hits.any(1) / (hits.argmax(1) + 1),
        }
    )
    n_recommended = len(np.unique(recommended[recommended >= 0]))
    return Ranking(k, per_query, n_recommended / int(fold.candidates.sum()), recommended)


def rmse(ratings: np.ndarray, predictions: np.ndarray) -> float:
    """Computes the root mean squared error, in stars."""
    return float(np.sqrt(np.mean((np.asarray(ratings, "float64") - predictions) ** 2)))
