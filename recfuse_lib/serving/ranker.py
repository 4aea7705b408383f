"""The ranker, which orders what retrieval found; its weights are chosen on validation.

Taught in notebook 18.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np

from recfuse_lib.data.splits import Fold
from recfuse_lib.evaluation.metrics import ndcg_at_k, top_k

CANDIDATES = 200
"""How many items retrieval passes to the ranker."""

RATING_WEIGHTS = (0.0, 0.1, 0.2, 0.4, 0.8)
COUNT_WEIGHTS = (-0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.2)
QUERIES_AT_ONCE = 128


@dataclasses.dataclass(frozen=True)
class RankerWeights:
    """Weights a (`rating`) and b (`count`) of a candidate's score,  r = lead + a (ŷ − μ) + b log(1 + n_i):  the lead is
    retrieval's score, in standard deviations above the average item, ŷ are the predicted stars, n_i is the item's
    number of ratings.
    """

    rating: float = 0.0
    count: float = 0.0


def choose(model: Any, fold: Fold, k: int = 10) -> tuple[RankerWeights, dict[str, float]]:
    """Chooses the weights of the highest NDCG@K on a validation fold, from a grid, for a model trained on its history.
    Also returns the recall of the candidates, and NDCG@K by retrieval alone and by the ranker, a little optimistic
    since it was chosen.
    """
    starts = range(0, len(fold.queries), QUERIES_AT_ONCE)
    parts = [_candidates(model, fold, slice(start, start + QUERIES_AT_ONCE)) for start in starts]
    hit, lead, rating, count = (np.concatenate(one) for one in zip(*parts, strict=True))
    n_relevant = np.diff(fold.targets.indptr)

    def reached(one: RankerWeights) -> float:
        order = np.argsort(-(lead + one.rating * rating + one.count * count), axis=1, kind="stable")[:, :k]
        return float(ndcg_at_k(np.take_along_axis(hit, order, axis=1), n_relevant).mean())

    grid = itertools.starmap(RankerWeights, itertools.product(RATING_WEIGHTS, COUNT_WEIGHTS))
    tried = {one: reached(one) for one in grid}
    best = max(tried, key=tried.__getitem__)
    figures = {
        f"retrieval_ndcg@{k}": tried[RankerWeights()],
        f"ranked_ndcg@{k}": tried[best],
        f"recall@{CANDIDATES}": float((hit.sum(1) / n_relevant).mean()),
    }
    return best, figures


def _candidates(model: Any, fold: Fold, part: slice) -> tuple[np.ndarray, ...]:
    """Of the candidates of some queries: is it a target, lead, ŷ − μ, log(1 + n_i), each (Q, CANDIDATES)."""
    import keras

    queries, vectors = fold.queries[part], keras.ops.convert_to_numpy(model.item_tower())
    scores = model.score(queries)
    lead = (scores - scores.mean(1, keepdims=True)) / np.maximum(scores.std(1, keepdims=True), 1e-9)
    scores[np.repeat(np.arange(len(queries)), queries.lengths), queries.item] = -np.inf
    scores[:, ~fold.candidates] = -np.inf
    found = top_k(scores, min(CANDIDATES, fold.n_items))
    codes = np.maximum(found, 0)
    row = np.repeat(np.arange(len(queries)), codes.shape[1])
    interests = keras.ops.convert_to_numpy(model.interests(queries, vectors))[row]
    stars = model.network.ranking(interests, vectors[codes.ravel()], queries.user[row], codes.ravel())
    hit = np.take_along_axis(fold.targets[part].toarray(), codes, axis=1) & (found >= 0)
    lead = np.where(found >= 0, np.take_along_axis(lead, codes, axis=1), -np.inf)
    counts = np.bincount(fold.history["item"], minlength=fold.n_items)
    rating = keras.ops.convert_to_numpy(stars).reshape(codes.shape) - model.network.ranking.mean_rating
    return hit, lead, rating, np.log1p(counts[codes])
