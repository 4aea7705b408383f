"""Solutions of notebook 10, with wrong answers and the hint that each must get."""

import numpy as np
from scipy import stats

from recfuse_lib.data import movielens
from recfuse_lib.models.ease import EASE
from recfuse_lib.models.popularity import Popularity


def swap_p(difference, signs):
    as_far = np.abs(signs @ difference) >= abs(difference.sum())
    return (1 + as_far.sum()) / (1 + len(signs))


def swap_p_that_ignores_ties(difference, signs):
    return (1 + (np.abs(signs @ difference) > abs(difference.sum())).sum()) / (1 + len(signs))


def people_needed(difference, deviation):
    return int(np.ceil(2 * ((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * deviation / difference) ** 2))


def holm(p):
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
    return stats.hypergeom.cdf(k - 1, n_items - 1, rank - 1, drawn)


class Calibrated:
    """EASE whose hundred best films are put into a list one at a time, with an eye on the genres (Steck, 2018)."""

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
    "10.1": swap_p,
    "10.2": people_needed(0.03 * 18, 11),
    "10.3": holm,
    "10.4": chance_of_top,
    "10.5": Calibrated(),
}

wrong = {
    "10.1": [
        (lambda difference, signs: (1 + (signs @ difference >= difference.sum()).sum()) / (1 + len(signs)), "one side"),
        (lambda difference, signs: (np.abs(signs @ difference) >= abs(difference.sum())).mean(), "count it in"),
        (lambda difference, signs: 1 - swap_p(difference, signs), "1 − p"),
        (lambda difference, signs: 0.5, "at least as far from zero"),
        (swap_p_that_ignores_ties, "tie"),
    ],
    "10.2": [
        (2 * people_needed(0.03 * 18, 11), "both arms"),
        (people_needed(0.03 * 18, 11) // 2, "twice the variance"),
        (people_needed(0.03, 11), "not 0.03 purchases"),
        (5_131, "one-sided"),
        (3_188, "one case out of two"),
        (1_000, "Equation 10.7"),
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
