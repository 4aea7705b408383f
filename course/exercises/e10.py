"""The checks of notebook 10's exercises."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import rel_entr

from course.checks import exercise
from recfuse_lib.data import movielens, splits
from recfuse_lib.evaluation.metrics import Scorer, evaluate
from recfuse_lib.evaluation.significance import holm
from recfuse_lib.models.ease import EASE

MISCALIBRATION_KEPT, NDCG_KEPT = 0.7, 0.9
MEAN, DEVIATION, PEOPLE = 18, 11, 5_000


@exercise(
    "10.1",
    start="Write down all four assignments of signs to the differences (2, 1), and the sum of each.",
    right="All assignments are counted, the real one among them, so nothing is added: p is at least 2 / 2ⁿ.",
)
def exact_p(answer: Callable[..., float]) -> str | None:
    # Eighths add up without rounding, so a tie is a tie.
    for values in ([1.0, 0.5, -0.25, 1.5, 0.75, -0.125], [-1.0, -0.5, 0.25, -2], [1.0, 0, 0]):
        difference = np.array(values)
        signs = np.array(list(itertools.product([1, -1], repeat=len(difference))))
        sums, real = signs @ difference, difference.sum()
        exact = float((np.abs(sums) >= abs(real)).mean())
        given = difference.copy()
        found = float(answer(given))
        if not np.array_equal(given, difference):
            return "The differences that were given have changed; work on a copy."
        if np.isclose(found, exact):
            continue
        if np.isclose(found, (np.abs(sums) > abs(real)).mean()):
            return "The real assignment is one of them, and as far from zero as itself: compare with ≥."
        if np.isclose(found, [(sums >= real).mean(), (sums <= real).mean(), (sums >= abs(real)).mean()]).any():
            return "That asks on one side only. A sum as far below zero is as surprising: take absolute values."
        if np.isclose(found, (1 + exact * len(sums)) / (1 + len(sums))):
            return "The real assignment is among all of them already; here it must not be counted once more."
        if np.isclose(found, 1 - exact):
            return "That is 1 − p: count the assignments that are at least as far from zero, not those that are nearer."
        return f"For {values} it is {round(exact * len(sums))} of {len(sums)} assignments, you find p = {found:.4f}."
    return None


@exercise(
    "10.2",
    start="How far apart must two means be, counted in standard errors of their difference? The rest is arithmetic.",
    right="About 3.4 % of the mean; half of it would need four times as many people.",
)
def smallest_change(answer: float) -> str | None:
    both = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    exact = _smallest(both, PEOPLE)
    if np.isclose(answer, exact, rtol=0.005):
        return None
    mistakes = {
        exact * MEAN: "That is in purchases; divide by the mean of 18 to have a share.",
        exact * 100: "That is in per cent; give a share between 0 and 1.",
        _smallest(both, PEOPLE / 2): "Each arm has 5,000 shoppers, not both together.",
        _smallest(
            both, PEOPLE * 2
        ): "The difference of two means has twice the variance of one: the factor 2 is missing.",
        _smallest(stats.norm.ppf(0.975), PEOPLE): (
            "Such a change would be found in one case out of two: add the quantile of the power."
        ),
        _smallest(stats.norm.ppf(0.95) + stats.norm.ppf(0.8), PEOPLE): (
            "That is for a one-sided test; a two-sided one at 5 % takes the 97.5 % quantile."
        ),
    }
    for mistaken, hint in mistakes.items():
        if np.isclose(answer, mistaken, rtol=0.005):
            return hint
    return "Solve Equation 10.7 for Δ, with n = 5,000, σ = 11 and the quantiles of 97.5 % and 80 %; then divide by 18."


@exercise(
    "10.3",
    start="Correct the three p-values (0.04, 0.01, 0.03) by hand with Equation 10.4, in the order in which they stand.",
    right="Less strict than multiplying all by m, and it keeps the same promise for the whole family.",
)
def holm_by_hand(answer: Callable[..., np.ndarray]) -> str | None:
    generator = np.random.default_rng(0)
    for p in (np.array([0.03, 0.01, 0.04, 0.9, 0.012]), generator.random(8) ** 3, np.array([0.5])):
        before = p.copy()
        found = np.asarray(answer(p), "float64")
        if not np.array_equal(p, before):
            return "The p-values that were given have changed; sort a copy."
        if found.shape != p.shape:
            return f"{len(p)} p-values give an answer of shape {found.shape}; there is one corrected value for each."
        exact = holm(p)
        if np.allclose(found, exact):
            continue
        order = np.argsort(p)
        steps = (len(p) - np.arange(len(p))) * p[order]
        if np.allclose(np.sort(found), np.sort(exact)):
            return "The values are right but in sorted order; put each back where its p-value stood."
        if np.allclose(found[order], np.minimum(steps, 1)):
            return "A larger p-value must not come out smaller after the correction: take the running maximum."
        if np.allclose(found, np.minimum(len(p) * p, 1)):
            return (
                "That is Bonferroni: every p times m. Holm multiplies the smallest by m, the next by m − 1, and so on."
            )
        if np.allclose(found, stats.false_discovery_control(p)):
            return "That controls the share of false discoveries (Benjamini and Hochberg), a weaker promise."
        if found.max() > 1:
            return "A p-value above 1: cut at 1."
        return f"For {p.round(3).tolist()} the corrected values are {exact.round(3).tolist()}."
    return None


@exercise(
    "10.4",
    start="With 3 other items of which 1 is better, and 2 drawn: list the draws. In how many is the target the first?",
    right="A target at rank 500 of 9,066 is in the top ten of 101 nearly always: the sampled metric calls it a hit.",
)
def chance_of_top(answer: Callable[..., float]) -> str | None:
    def drawn_at_most(rank: int, n_items: int, drawn: int, k: int) -> float:
        return float(stats.hypergeom.cdf(k, n_items - 1, rank - 1, drawn))

    for rank, n_items, drawn, k in ((500, 9_066, 100, 10), (40, 60, 20, 10), (1, 50, 10, 1), (9, 9, 8, 5)):
        case = (rank, n_items, drawn, k)
        found, exact = float(answer(*case)), drawn_at_most(rank, n_items, drawn, k - 1)
        if np.isclose(found, exact, atol=1e-9):
            continue
        if np.isclose(found, 1 - exact):
            return "That is the probability of falling out of the top k."
        if np.isclose(found, drawn_at_most(*case)):
            return "With k better items drawn the target stands at k + 1: at most k − 1 may be drawn."
        if np.isclose(found, stats.hypergeom.cdf(k - 1, n_items, rank, drawn)):
            return "The target itself is not drawn: N − 1 items remain, and rank − 1 of them are better."
        if np.isclose(found, stats.binom.cdf(k - 1, drawn, (rank - 1) / (n_items - 1))):
            return "That draws with replacement; the same item is not drawn twice here, so H is hypergeometric."
        if np.isclose(found, stats.hypergeom.pmf(k - 1, n_items - 1, rank - 1, drawn)):
            return "That is the probability of exactly k − 1 better items; sum over 0 to k − 1."
        return f"At rank {rank} of {n_items:,} with {drawn} drawn and k = {k} it is {exact:.4f}, you find {found:.4f}."
    return None


@exercise(
    "10.5",
    start="Measure EASE(100.0) first: how far are its lists from people's genres, and how much NDCG@10 may you lose?",
    right="Nearer to each person's mixture of genres at a small cost in accuracy. Worth it? Only a test can tell.",
)
def calibrated(answer: Any) -> str | None:
    missing = [name for name in ("fit", "score") if not hasattr(answer, name)]
    if missing:
        return f"Hand in an object with fit(history, items) and score(queries); yours has no {missing[0]}."
    plain_ndcg, plain_distance = _judged(EASE(100.0))
    ndcg, distance = _judged(answer)
    if distance > MISCALIBRATION_KEPT * plain_distance:
        share = distance / plain_distance
        return f"The miscalibration is {share:.0%} of EASE's; at most {MISCALIBRATION_KEPT:.0%} is asked for."
    if ndcg < NDCG_KEPT * plain_ndcg:
        share = ndcg / plain_ndcg
        return f"Calibrated, but NDCG@10 is {share:.0%} of EASE's; keep at least {NDCG_KEPT:.0%}. Try a smaller λ."
    return None


def _judged(model: Any) -> tuple[float, float]:
    """NDCG@10 and mean miscalibration on validation."""
    fold, shares = _validation()
    fitted: Scorer = model.fit(fold.history, fold.items)
    ranking = evaluate(fitted, fold)
    wanted = fold.queries.matrix() @ shares
    given = (shares[ranking.items] * (ranking.items >= 0)[:, :, None]).sum(1)
    wanted, given = (part / np.maximum(part.sum(1, keepdims=True), 1e-9) for part in (wanted, given))
    distance = rel_entr(wanted, 0.99 * given + 0.01 * wanted).sum(1)
    return ranking.summary()["ndcg@10"], float(distance.mean())


def _smallest(quantiles: float, people: float) -> float:
    """The difference of two means as a share of the mean that is so many standard errors from 0."""
    return float(quantiles * DEVIATION * np.sqrt(2 / people) / MEAN)


@functools.cache
def _validation() -> tuple[splits.Fold, np.ndarray]:
    dataset = movielens.load()
    genres = dataset.catalogue["genres"].str.get_dummies("|").drop(columns="", errors="ignore").to_numpy()
    return splits.warm(dataset).validation, genres / np.maximum(genres.sum(1, keepdims=True), 1)
