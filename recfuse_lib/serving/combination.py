"""How the ranker orders what retrieval found, chosen on validation.

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
"""How many items retrieval hands to the ranker."""

RATING_WEIGHTS = (0.0, 0.1, 0.2, 0.4, 0.8)
COUNT_WEIGHTS = (-0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.2)
BATCH = 128


@dataclasses.dataclass(frozen=True)
class Combination:
    """The ranker's score of a candidate:  r = lead + a (ŷ − μ) + b log(1 + n_i).

    The lead says how many standard deviations retrieval puts the item above the average item, ŷ are the predicted
    stars, n_i is the item's number of ratings.

    Attributes:
        rating: a, per star.
        count: b.
    """

    rating: float = 0.0
    count: float = 0.0


def choose(model: Any, fold: Fold, k: int = 10) -> tuple[Combination, dict[str, float]]:
    """Tries a grid of weights on a validation fold and takes the one with the highest NDCG@K.

    Args:
        model: A `JointModel` that was trained on the history of the fold.
        fold: A validation fold. A figure that was chosen on it is a little too good: report a test's.
        k: K.

    Returns:
        The combination, and what it reaches: `retrieval_ndcg@K` (order of retrieval alone), `ranked_ndcg@K`, and
        `recall@CANDIDATES`, the share of the targets that retrieval hands on.
    """
    from keras import ops

    counts = np.bincount(fold.history["item"], minlength=fold.n_items)
    vectors = ops.convert_to_numpy(model.item_tower())
    hits, leads, ratings, numbers = [], [], [], []
    for start in range(0, len(fold.queries), BATCH):
        queries = fold.queries[start : start + BATCH]
        scores = model.score(queries)
        lead = (scores - scores.mean(1, keepdims=True)) / np.maximum(scores.std(1, keepdims=True), 1e-9)
        scores[np.repeat(np.arange(len(queries)), queries.lengths), queries.item] = -np.inf
        scores[:, ~fold.candidates] = -np.inf
        found = top_k(scores, min(CANDIDATES, fold.n_items))
        codes = np.maximum(found, 0)
        asked = np.repeat(np.arange(len(queries)), codes.shape[1])
        interests = ops.convert_to_numpy(model.interests(queries, vectors))[asked]
        stars = model.network.ranking(interests, vectors[codes.ravel()], queries.user[asked], codes.ravel())
        relevant = fold.targets[start : start + len(queries)].toarray()
        hits.append(np.take_along_axis(relevant, codes, axis=1) & (found >= 0))
        leads.append(np.where(found >= 0, np.take_along_axis(lead, codes, axis=1), -np.inf))
        ratings.append(ops.convert_to_numpy(stars).reshape(codes.shape) - model.network.ranking.mean_rating)
        numbers.append(np.log1p(counts[codes]))
    hit, lead, rating, number = (np.concatenate(one) for one in (hits, leads, ratings, numbers))
    n_relevant = np.diff(fold.targets.indptr)

    def reached(one: Combination) -> float:
        score = lead + one.rating * rating + one.count * number
        order = np.argsort(-score, axis=1, kind="stable")[:, :k]
        return float(ndcg_at_k(np.take_along_axis(hit, order, axis=1), n_relevant).mean())

    tried = {
        one: reached(one) for one in itertools.starmap(Combination, itertools.product(RATING_WEIGHTS, COUNT_WEIGHTS))
    }
    best = max(tried, key=tried.__getitem__)
    figures = {
        f"retrieval_ndcg@{k}": tried[Combination()],
        f"ranked_ndcg@{k}": tried[best],
        f"recall@{CANDIDATES}": float((hit.sum(1) / n_relevant).mean()),
    }
    return best, figures
