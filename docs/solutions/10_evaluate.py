"""Solutions of notebook 10, with wrong answers and the hint that each must get."""

import itertools

import numpy as np
from scipy import stats

from recfuse_lib.data import movielens
from recfuse_lib.models.ease import EASE
from recfuse_lib.models.popularity import Popularity


def exact_p(difference):
    """All 2ⁿ assignments of signs, the real one among them, so nothing is added above and below the line.

    Every assignment has its mirror image, equally far from zero: p is at least 2 / 2ⁿ, and five people can never give a
    p-value below .05.
    """
    signs = np.array(list(itertools.product([1, -1], repeat=len(difference))))
    return (np.abs(signs @ difference) >= abs(difference.sum())).mean()


def all_sums(difference):
    return np.array(list(itertools.product([1, -1], repeat=len(difference)))) @ difference


def exact_p_of_one_side(difference):
    return (all_sums(difference) >= difference.sum()).mean()


def exact_p_without_the_real_one(difference):
    return (np.abs(all_sums(difference)) > abs(difference.sum())).mean()


def exact_p_with_one_more(difference):
    far = np.abs(all_sums(difference)) >= abs(difference.sum())
    return (1 + far.sum()) / (1 + len(far))


def exact_p_in_place(difference):
    difference *= np.sign(difference.sum())
    return exact_p(difference)


def smallest_change(quantiles, people=5_000):
    """Equation 10.7 solved for Δ, as a share of the mean of 18 purchases."""
    return quantiles * 11 * np.sqrt(2 / people) / 18


TWO_SIDED = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)


def holm(p):
    """Sorted, the smallest times m, the next times m − 1, and so on; a running maximum keeps the order; cut at 1.

    `corrected[order] = …` puts each value back where its p-value stood.
    """
    order = np.argsort(p)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]), 1)
    return corrected


def holm_without_maximum(p):
    order = np.argsort(p)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum((len(p) - np.arange(len(p))) * p[order], 1)
    return corrected


def holm_in_place(p):
    p.sort()
    return holm(p)


def chance_of_top(rank, n_items, drawn, k):
    """The target is among the first k when at most k − 1 of the rank − 1 better items are drawn.

    The target itself is not drawn, so N − 1 items remain. A target at rank 500 of 9,066 is in the top ten of 101 with a
    probability of 0.95.
    """
    return stats.hypergeom.cdf(k - 1, n_items - 1, rank - 1, drawn)


class Calibrated:
    """EASE whose hundred best films are put into a list one at a time, with an eye on the genres (Steck, 2018).

    On this fold λ = 0.3 leaves 73 % of the miscalibration and loses no NDCG@10, λ = 0.5 leaves 57 % and keeps 94 %,
    λ = 0.7 leaves 41 % and keeps 83 %: the first part of the calibration is free, the rest is not.
    """

    def __init__(self, weight=0.5, candidates=100):
        self.weight, self.candidates = weight, candidates
        genres = movielens.load().catalogue["genres"].str.get_dummies("|").drop(columns="", errors="ignore").to_numpy()
        self.shares = genres / np.maximum(genres.sum(1, keepdims=True), 1)

    def fit(self, history, items):
        self.model = EASE(100.0).fit(history, items)
        return self

    def score(self, queries):
        scores = self.model.score(queries).astype("float64")
        scores[np.repeat(np.arange(len(queries)), queries.lengths), queries.item] = -np.inf
        best = np.argsort(-scores, axis=1)[:, : self.candidates]
        value = np.take_along_axis(scores, best, axis=1)
        value = (value - value[:, -1:]) / np.maximum(value[:, :1] - value[:, -1:], 1e-9)
        wanted = queries.matrix() @ self.shares
        wanted = (wanted / np.maximum(wanted.sum(1, keepdims=True), 1e-9))[:, None]
        genres, rows = self.shares[best], np.arange(len(queries))
        so_far, left = np.zeros_like(wanted), np.ones(best.shape, bool)
        calibrated = np.full(scores.shape, -np.inf)
        for place in range(10):
            mixture = so_far + genres
            mixture = mixture / np.maximum(mixture.sum(2, keepdims=True), 1e-9)
            ratio = np.where(wanted > 0, wanted / np.maximum(0.99 * mixture + 0.01 * wanted, 1e-12), 1)
            gain = (1 - self.weight) * value - self.weight * (wanted * np.log(ratio)).sum(2)
            chosen = np.where(left, gain, -np.inf).argmax(1)
            left[rows, chosen] = False
            so_far = so_far + genres[rows, chosen][:, None]
            calibrated[rows, best[rows, chosen]] = -place
        return calibrated


solutions = {
    "10.1": exact_p,
    "10.2": smallest_change(TWO_SIDED),
    "10.3": holm,
    "10.4": chance_of_top,
    "10.5": Calibrated(),
}

wrong = {
    "10.1": [
        (exact_p_of_one_side, "one side"),
        (exact_p_without_the_real_one, "compare with ≥"),
        (exact_p_with_one_more, "once more"),
        (lambda difference: 1 - exact_p(difference), "1 − p"),
        (lambda difference: 0.37, "assignments, you find"),
        (exact_p_in_place, "work on a copy"),
    ],
    "10.2": [
        (smallest_change(TWO_SIDED) * 18, "in purchases"),
        (smallest_change(TWO_SIDED) * 100, "per cent"),
        (smallest_change(TWO_SIDED, 2_500), "not both together"),
        (smallest_change(TWO_SIDED, 10_000), "twice the variance"),
        (smallest_change(stats.norm.ppf(0.975)), "one case out of two"),
        (smallest_change(stats.norm.ppf(0.95) + stats.norm.ppf(0.8)), "one-sided"),
        (0.5, "Equation 10.7"),
    ],
    "10.3": [
        (lambda p: np.sort(holm(p)), "sorted order"),
        (holm_without_maximum, "running maximum"),
        (lambda p: np.minimum(len(p) * p, 1), "Bonferroni"),
        (stats.false_discovery_control, "Benjamini"),
        (lambda p: len(p) * p, "cut at 1"),
        (lambda p: p, "the corrected values are"),
        (lambda p: holm(p)[:-1], "one corrected value for each"),
        (holm_in_place, "have changed"),
    ],
    "10.4": [
        (lambda *case: 1 - chance_of_top(*case), "falling out"),
        (lambda rank, n_items, drawn, k: chance_of_top(rank, n_items, drawn, k + 1), "at most k − 1"),
        (lambda rank, n_items, drawn, k: chance_of_top(rank + 1, n_items + 1, drawn, k), "not drawn: N − 1"),
        (lambda rank, n_items, drawn, k: stats.binom.cdf(k - 1, drawn, (rank - 1) / (n_items - 1)), "with replacement"),
        (lambda rank, n_items, drawn, k: stats.hypergeom.pmf(k - 1, n_items - 1, rank - 1, drawn), "exactly k − 1"),
        (lambda rank, n_items, drawn, k: 0.3, "you find 0.3"),
    ],
    "10.5": [
        (EASE(100.0), "of EASE's; at most"),
        (Calibrated(weight=0.999), "smaller λ"),
        (Popularity, "raised"),
        ("EASE", "has no fit"),
    ],
}
