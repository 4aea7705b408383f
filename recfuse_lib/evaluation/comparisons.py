"""Is the difference real? A paired test, several seeds, many comparisons, and the smallest difference one could see.

Taught in notebook 10.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from scipy.stats import norm

from recfuse_lib.evaluation.significance import KEPT, Interval, bootstrap, products

BATCH = 1_000
ALPHA, POWER = 0.05, 0.8


def paired_test(a: np.ndarray, b: np.ndarray, groups: np.ndarray, samples: int = 10_000, seed: int = 0) -> float:
    """The p-value of "the two models are equally good", by swapping them at random, person by person.

    If that were true, it would not matter which model's answers carry which name. A person's queries are swapped
    together, because they are not independent. p is the share of random swaps whose difference is at least as far from
    zero as the real one, the real one counted in: (1 + #) / (1 + samples).

    Args:
        a: One number a query of the first model, (Q,).
        b: The same queries' numbers of the second model, (Q,).
        groups: Who each query belongs to, (Q,).
        samples: Random swaps; no p-value below 1 / (1 + samples) can come out.
        seed: Of the swaps.

    Returns:
        p, above 0 and at most 1.

    Raises:
        ValueError: The three have different lengths, or there are no queries.

    Example:
        >>> paired_test(np.ones(20), np.zeros(20), groups=np.arange(20)) < 0.001
        True

    References:
        Smucker, Allan and Carterette (2007), A Comparison of Statistical Significance Tests for Information Retrieval
        Evaluation, CIKM.
    """
    if not len(a) == len(b) == len(groups) > 0:
        raise ValueError(f"{len(a)}, {len(b)} and {len(groups)} queries; a paired test needs the same ones, and some")
    _, group = np.unique(groups, return_inverse=True)
    total = np.bincount(group, np.asarray(a, "float64") - np.asarray(b, "float64"))
    found = abs(total.sum()) * (1 - 1e-12)
    signs = _kept_signs if len(total) * samples <= KEPT else _signs
    as_far = sum(
        int((np.abs(products(batch, total[:, None])) >= found).sum()) for batch in signs(len(total), samples, seed)
    )
    return (1 + as_far) / (1 + samples)


def _signs(groups: int, samples: int, seed: int) -> Iterator[np.ndarray]:
    """Which groups are swapped (-1) and which are not (1), int8 (BATCH, groups) at a time."""
    generator = np.random.default_rng(seed)
    for start in range(0, samples, BATCH):
        yield generator.choice([-1, 1], size=(min(BATCH, samples - start), groups)).astype("int8")


@functools.lru_cache(maxsize=8)
def _kept_signs(groups: int, samples: int, seed: int) -> tuple[np.ndarray, ...]:
    """All of `_signs`, the same for every comparison of as many people."""
    return tuple(_signs(groups, samples, seed))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values corrected for having made m comparisons: at most one *family* of them in 20 gives a false alarm.

        p̃_(k) = max_{j ≤ k} min(1, (m − j + 1) p_(j)),  p in ascending order

    Args:
        p_values: Comparison → p.

    Returns:
        Comparison → corrected p, in the order given. Those at most α may be claimed together.

    Raises:
        ValueError: A p-value is outside 0–1.

    Example:
        >>> {name: round(p, 3) for name, p in holm({"a": 0.01, "b": 0.04, "c": 0.03}).items()}
        {'a': 0.03, 'b': 0.06, 'c': 0.06}

    References:
        Holm (1979), A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6(2).
    """
    p = np.array(list(p_values.values()), "float64")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values are between 0 and 1, not {p[~((p >= 0) & (p <= 1))].tolist()}")
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]), 1)
    return dict(zip(p_values, corrected.tolist(), strict=True))


def standard_error(values: np.ndarray, groups: np.ndarray) -> float:
    """The standard error of the mean of `values` when whole groups are drawn.

        se = √( G / (G − 1) · Σ_g (T_g − c_g · mean)² ) / Σ_g c_g

    T_g is the sum of group g's values and c_g their number; with one value a group it is the usual s / √n.

    Args:
        values: One number a query, (Q,).
        groups: Who each query belongs to, (Q,).

    Raises:
        ValueError: There are fewer than two groups.

    Example:
        >>> round(standard_error(np.array([1.0, 2.0, 3.0]), np.arange(3)), 4)
        0.5774
    """
    _, group = np.unique(groups, return_inverse=True)
    count = np.bincount(group)
    if len(count) < 2:
        raise ValueError(f"{len(count)} group; how much people differ needs at least two")
    values = np.asarray(values, "float64")
    left = np.bincount(group, values) - count * values.mean()
    return float(np.sqrt(len(count) / (len(count) - 1) * (left @ left)) / count.sum())


def minimum_detectable_difference(
    differences: np.ndarray, groups: np.ndarray, alpha: float = ALPHA, power: float = POWER
) -> float:
    """The true difference that such a comparison would find significant with probability `power`.

        Δ = (z_{1 − α/2} + z_power) · se

    It falls with the square root of the number of people: half the difference needs four times as many.

    Args:
        differences: The paired differences of two models, one a query, (Q,).
        groups: Who each query belongs to, (Q,).
        alpha: Level of the two-sided test.
        power: Probability of finding it.

    Example:
        >>> generator = np.random.default_rng(0)
        >>> round(minimum_detectable_difference(generator.normal(size=400), np.arange(400)), 2)
        0.14

    References:
        Cohen (1988), Statistical Power Analysis for the Behavioral Sciences, Lawrence Erlbaum.
    """
    return float((norm.ppf(1 - alpha / 2) + norm.ppf(power)) * standard_error(differences, groups))


@dataclasses.dataclass(frozen=True)
class SeedSummary:
    """What several trainings that differ in their seed alone have reached.

    Attributes:
        means: The mean of each seed, (S,).
        deviation: The standard deviation between the seeds' means.
        people: Interval over people of the mean over seeds: would *these* trainings do as well for other people?
        both: Interval over people and seeds: would as many other trainings do as well for other people? With few seeds
            it is too narrow: the bootstrap sees (S − 1) / S of their variance.
    """

    means: np.ndarray
    deviation: float
    people: Interval
    both: Interval


def over_seeds(values: np.ndarray, groups: np.ndarray, samples: int = 10_000, seed: int = 0) -> SeedSummary:
    """Summarises several seeds of one model, or of a paired difference of two.

    Args:
        values: One number for each seed and query, (S, Q), S at least 2.
        groups: Who each query belongs to, (Q,).
        samples: Bootstrap replicates.
        seed: Of the resampling.

    Raises:
        ValueError: There are fewer than two seeds, or the groups do not fit.

    Example:
        >>> over_seeds(np.array([[0.1, 0.3], [0.3, 0.5]]), np.array([0, 1])).means
        array([0.2, 0.4])
    """
    values = np.asarray(values, "float64")
    if values.ndim != 2 or len(values) < 2 or values.shape[1] != len(groups):
        raise ValueError(
            f"values of shape {values.shape} for {len(groups)} queries; give (seeds, queries), at least two seeds"
        )
    means = values.mean(1)
    _, group = np.unique(groups, return_inverse=True)
    count = np.bincount(group)
    total = np.stack([np.bincount(group, row) for row in values])
    generator = np.random.default_rng(seed)
    replicates = []
    for start in range(0, samples, BATCH):
        size = min(BATCH, samples - start)
        people = generator.multinomial(len(count), np.full(len(count), 1 / len(count)), size=size)
        seeds = generator.multinomial(len(values), np.full(len(values), 1 / len(values)), size=size) / len(values)
        # The mean over the seeds that were drawn, then over the people that were drawn.
        replicates.append(np.einsum("rs,sg,rg->r", seeds, total, people, optimize=True) / (people @ count))
    low, high = np.quantile(np.concatenate(replicates), [0.025, 0.975])
    return SeedSummary(
        means,
        float(means.std(ddof=1)),
        bootstrap(values.mean(0), groups, samples, seed),
        Interval(float(means.mean()), float(low), float(high)),
    )


def compare_to_baseline(
    baseline: np.ndarray, others: Mapping[str, np.ndarray], groups: np.ndarray, samples: int = 10_000, seed: int = 0
) -> pd.DataFrame:
    """Every model against one baseline on the same queries, corrected for their number.

    Args:
        baseline: One number a query of the baseline, (Q,).
        others: Model → the same queries' numbers, (Q,).
        groups: Who each query belongs to, (Q,).
        samples: Bootstrap replicates and random swaps.
        seed: Of both.

    Returns:
        One row a model: `difference` (an Interval of model − baseline, not corrected), `p` and `p_holm`, and
        `detectable`, the minimum detectable difference of this very comparison.

    Example:
        >>> a = np.linspace(0, 1, 50)
        >>> compare_to_baseline(a, {"better": a + 0.1}, np.arange(50))["p_holm"].round(3).to_dict()
        {'better': 0.0}
    """
    rows, p_values = {}, {}
    for name, values in others.items():
        p_values[name] = paired_test(values, baseline, groups, samples, seed)
        difference = np.asarray(values, "float64") - baseline
        rows[name] = {
            "difference": bootstrap(difference, groups, samples, seed),
            "p": p_values[name],
            "detectable": minimum_detectable_difference(difference, groups),
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.insert(2, "p_holm", pd.Series(holm(p_values)))
    return table
