"""A simulated A/B test on the market: who gets which policy, how many people it takes, and when one may stop.

The shoppers are simulated, so each of them can be sent through both policies, which no shop can do: the true effect is
known, and a test can be judged by how often it finds it.

Taught in notebook 10.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pandas as pd
from scipy.stats import norm, t

from recfuse_lib.data.market import shoppers
from recfuse_lib.data.market.simulator import DAYS_BETWEEN, SESSIONS, Truth
from recfuse_lib.evaluation.comparisons import ALPHA, POWER

Policy = Callable[[np.ndarray, int], np.ndarray]
"""Clicks of each visitor in each category (n, C) and the number of earlier visits → item codes to show, (n, K)."""


def assign(units: Iterable[object], experiment: str, share: float = 0.5) -> np.ndarray:
    """Who is treated: by a hash of the experiment's name and the unit's, so that it needs no store and never changes.

    Args:
        units: What is assigned, usually people: those who come back must get the same answer.
        experiment: Its name; another name gives an assignment that has nothing to do with this one.
        share: Of the treated.

    Returns:
        Bool, one a unit.

    Raises:
        ValueError: The share is outside 0–1.

    Example:
        >>> assign(["ann", "bob", "cid", "dan"], "new ranking").tolist()
        [True, False, True, False]

    References:
        Kohavi, Tang and Xu (2020), Trustworthy Online Controlled Experiments, Cambridge University Press.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share of {share:g}; give one between 0 and 1")
    digests = (hashlib.sha256(f"{experiment}\0{unit}".encode()).digest() for unit in units)
    return np.array([int.from_bytes(digest[:8], "big") < share * 2**64 for digest in digests], bool)


def people_needed(difference: float, deviation: float, alpha: float = ALPHA, power: float = POWER) -> int:
    """How many people *each arm* needs, so that a true difference is found with probability `power`.

        n = 2 ((z_{1 − α/2} + z_power) · σ / Δ)²

    Args:
        difference: Δ, the smallest difference of means that would matter.
        deviation: σ, the standard deviation of the outcome between people.
        alpha: Level of the two-sided test.
        power: Probability of finding it.

    Raises:
        ValueError: The difference is 0, or the deviation is not positive.

    Example:
        >>> people_needed(difference=0.1, deviation=1.0)
        1570
    """
    if difference == 0 or deviation <= 0:
        raise ValueError(f"difference {difference:g}, deviation {deviation:g}: no number of people would do")
    return int(np.ceil(2 * ((norm.ppf(1 - alpha / 2) + norm.ppf(power)) * deviation / difference) ** 2))


def power_of(n: int, difference: float, deviation: float, alpha: float = ALPHA) -> float:
    """The probability that a test with n people in each arm finds a true difference.

        1 − β = Φ(Δ/se − z) + Φ(−Δ/se − z),   se = σ √(2 / n),   z = z_{1 − α/2}

    Args:
        n: People in each arm.
        difference: Δ.
        deviation: σ, between people.
        alpha: Level of the two-sided test.

    Example:
        >>> round(power_of(1_570, difference=0.1, deviation=1.0), 2)
        0.8
    """
    standard = difference / (deviation * np.sqrt(2 / n))
    z = norm.ppf(1 - alpha / 2)
    return float(norm.cdf(standard - z) + norm.cdf(-standard - z))


def interim_analyses(outcome: np.ndarray, treated: np.ndarray, at: Iterable[int]) -> pd.DataFrame:
    """What a test shows each time somebody looks, while people come in.

    Args:
        outcome: One number a person, in the order in which they finished, (n,).
        treated: Who got the new policy, bool (n,).
        at: After how many people, ascending; each arm needs at least two by then.

    Returns:
        One row a look: `people`, `difference` of the means, its `error` (√(s₁²/n₁ + s₀²/n₀)), and `p`, two-sided,
        of Welch's t-test, which is meant to be made once, at a number of people fixed beforehand.

    Raises:
        ValueError: An arm has fewer than two people at a look, or nobody is left to look at.

    Example:
        >>> treated = np.array([0, 1, 0, 1, 0, 1], bool)
        >>> interim_analyses(np.array([0.0, 1, 0, 1, 0, 2]), treated, at=[6])["difference"].round(2)
        0    1.33
        Name: difference, dtype: float64
    """
    at = np.asarray(list(at))
    if not len(at) or at.max() > len(outcome):
        raise ValueError(f"looks at {at.tolist()}, but there are {len(outcome)} people")
    means, squares, freedom = {}, {}, {}
    for arm, inside in (("new", np.asarray(treated, bool)), ("old", ~np.asarray(treated, bool))):
        n = np.cumsum(inside)[at - 1]
        if n.min() < 2:
            raise ValueError(f"the {arm} arm has {n.min()} people at a look; begin to look later")
        total = np.cumsum(outcome * inside)[at - 1]
        spread = np.maximum(np.cumsum(np.square(outcome) * inside)[at - 1] - total**2 / n, 0) / (n - 1)
        means[arm], squares[arm], freedom[arm] = total / n, spread / n, n - 1
    difference, error = means["new"] - means["old"], np.sqrt(squares["new"] + squares["old"])
    ratio = np.divide(np.abs(difference), error, out=np.zeros_like(error), where=error > 0)
    parts = sum(squares[arm] ** 2 / freedom[arm] for arm in squares)
    degrees = np.divide(error**4, parts, out=np.ones_like(error), where=parts > 0)
    return pd.DataFrame({"people": at, "difference": difference, "error": error, "p": 2 * t.sf(ratio, degrees)})


def always_valid(difference: np.ndarray, error: np.ndarray, mixing: float) -> np.ndarray:
    """p-values that stay honest however often one looks, and whenever one stops: the mixture sequential ratio test.

        Λ = √(v / (v + τ²)) · exp(τ² d² / (2 v (v + τ²))),   p_t = min(p_{t−1}, 1 / Λ_t)

    Λ is the likelihood of the difference d with variance v = error², averaged over true differences drawn from
    N(0, τ²), over its likelihood without any. If there is none, its mean is 1 at every look, so it rarely ever grows
    large: P(p_t ≤ α at any look) ≤ α.

    Args:
        difference: d at each look, in order, (T,).
        error: Its standard error, positive, (T,).
        mixing: τ, the size of difference that one expects.

    Returns:
        (T,), never rising.

    Example:
        >>> always_valid(np.array([0.0, 3.0]), np.array([1.0, 0.5]), mixing=1.0).round(4)
        array([1., 0.])

    References:
        Johari, Koomen, Pekelis and Walsh (2017), Peeking at A/B Tests, KDD.
    """
    v, mixed = np.square(error), np.square(mixing)
    log_ratio = 0.5 * np.log(v / (v + mixed)) + mixed * np.square(difference) / (2 * v * (v + mixed))
    return np.asarray(np.minimum.accumulate(np.exp(-np.maximum(log_ratio, 0))))


def simulate_counterfactuals(
    truth: Truth, policies: Mapping[str, Policy], users: np.ndarray, seed: int = 0
) -> pd.DataFrame:
    """Every shopper's whole stay under every policy. No shop sees that: nobody comes for the first time twice.

    The shoppers act as in `market.shoppers.visit`, and come back or not, for at most 30 visits.

    Args:
        truth: Of a simulated market.
        policies: Name → policy.
        users: Codes of the shoppers, distinct, (n,).
        seed: Of everything that the shoppers do.

    Returns:
        One row a policy and shopper, in their order: `policy`, `user`, `visits`, `clicks`, `bought`, and
        `satisfaction`, the mean probability of coming back after a visit.

    Raises:
        ValueError: A slate has the wrong shape, or shows an item twice.
    """
    return pd.concat([_stays(truth, name, policy, users, seed) for name, policy in policies.items()], ignore_index=True)


def _stays(truth: Truth, name: str, policy: Policy, users: np.ndarray, seed: int) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    category, n = truth.products.category, len(users)
    day = generator.exponential(DAYS_BETWEEN, n)
    clicked_in = np.zeros((n, int(category.max()) + 1), "int64")
    level, sums = np.zeros(n), np.zeros((4, n))
    here = np.arange(n)
    for visit in range(SESSIONS):
        slate = np.asarray(policy(clicked_in[here], visit))
        if slate.ndim != 2 or len(slate) != len(here) or (np.diff(np.sort(slate, axis=1), axis=1) == 0).any():
            raise ValueError(f"policy {name!r} gave {slate.shape} for {len(here)} visitors; show each distinct items")
        _, did, level[here] = shoppers.visit(
            truth.shoppers, truth.products, users[here], slate, day[here], level[here], generator
        )
        back = shoppers.return_probability(level[here])
        row, place = np.nonzero(did["click"])
        np.add.at(clicked_in, (here[row], category[slate[row, place]]), 1)
        sums[:, here] += np.ones(len(here)), did["click"].sum(1), did["buy"].sum(1), back
        day += generator.exponential(DAYS_BETWEEN, n)
        here = here[generator.random(len(here)) < back]
        if not len(here):
            break
    visits, clicks, bought = sums[:3].astype("int64")
    columns = {"user": users, "visits": visits, "clicks": clicks, "bought": bought, "satisfaction": sums[3] / visits}
    return pd.DataFrame({"policy": name, **columns})
