"""The checks of notebook 10's exercises."""

import functools
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
MEAN, DEVIATION, CHANGE = 18, 11, 0.03


@exercise(
    "10.1",
    start="signs @ difference gives the sum of the differences after each random swap; compare with the real sum.",
    right="The real difference is counted in, above and below the line, so that p is never 0.",
)
def swap_p(answer: Callable[..., float]) -> str | None:
    generator = np.random.default_rng(0)
    signs = generator.choice([-1, 1], size=(500, 30))
    for shift in (0.3, -0.3):
        difference = generator.normal(shift, 1, 30)
        sums, real = signs @ difference, difference.sum()
        count = int((np.abs(sums) >= abs(real)).sum())
        found = float(answer(difference.copy(), signs.copy()))
        one_sided = (int((sums >= real).sum()), int((sums <= real).sum()), int((sums >= abs(real)).sum()))
        if any(np.isclose(found, [(1 + one) / 501, one / 500]).any() for one in one_sided):
            return "That asks on one side only. A difference as far below zero is as surprising: take absolute values."
        if np.isclose(found, count / 500):
            return "The real assignment is one of the possible ones: count it in, (1 + #) / (1 + S)."
        if np.isclose(found, 1 - (1 + count) / 501):
            return "That is 1 − p: count the swaps that are at least as far from zero, not those that are nearer."
        if not np.isclose(found, (1 + count) / 501):
            return f"Here {count} of 500 swaps are at least as far from zero; you find p = {found:.4f}."
    ties = float(answer(np.zeros(3), np.ones((9, 3))))
    return (
        None if np.isclose(ties, 1) else "For two equal models every swap is a tie, and p is 1: 'at least as far' is ≥."
    )


@exercise(
    "10.2",
    start="Equation 10.7 with Δ = 3 % of the mean; `people_needed` computes it.",
    right="Δ is 0.54 purchases; half of it would need four times as many people.",
)
def people(answer: float) -> str | None:
    difference = CHANGE * MEAN
    exact = _people_needed(difference)
    one_sided = 2 * ((stats.norm.ppf(0.95) + stats.norm.ppf(0.8)) * DEVIATION / difference) ** 2
    if np.isclose(answer, exact, rtol=0.002):
        return None
    if np.isclose(answer, 2 * exact, rtol=0.002):
        return "That is both arms together; the question is about each."
    if np.isclose(answer, exact / 2, rtol=0.002):
        return "The difference of two means has twice the variance of one: the factor 2 is missing."
    if np.isclose(answer, _people_needed(CHANGE), rtol=0.01):
        return "The change is 3 % of the mean of 18 purchases, not 0.03 purchases."
    if np.isclose(answer, one_sided, rtol=0.002):
        return "That is for a one-sided test; a two-sided one at 5 % takes the 97.5 % quantile."
    if np.isclose(answer, 2 * (stats.norm.ppf(0.975) * DEVIATION / difference) ** 2, rtol=0.002):
        return "With so few you would find it in one case out of two: add the quantile of the power."
    return "Put Δ = 3 % of 18, σ = 11 and the quantiles of 97.5 % and 80 % into Equation 10.7."


@exercise(
    "10.3",
    start="Sort p (keep the order with np.argsort), multiply by m, m − 1, …, 1, take the running maximum, cut at 1.",
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
    start="The target is in the top k when fewer than k better items are drawn: P(H ≤ k − 1).",
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
    start="Begin with EASE(100.0): its hundred best films leave room for another order.",
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


def _people_needed(difference: float) -> int:
    z = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    return int(np.ceil(2 * (z * DEVIATION / difference) ** 2))


@functools.cache
def _validation() -> tuple[splits.Fold, np.ndarray]:
    dataset = movielens.load()
    genres = dataset.catalogue["genres"].str.get_dummies("|").drop(columns="", errors="ignore").to_numpy()
    return splits.warm(dataset).validation, genres / np.maximum(genres.sum(1, keepdims=True), 1)
