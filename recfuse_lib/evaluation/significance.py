"""How sure are we? Bootstrap intervals over users, paired where two models answered the same queries; many comparisons.
Taught in notebook 04; notebook 10 goes further.
"""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np

_BATCH = 100
"""Replicates that are multiplied at once: few enough for the processor's cache."""

_KEPT = 50_000_000
"""Bytes of the largest table of draws that is kept for the next comparison of as many people."""


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean with the interval that holds 95 % of its bootstrap replicates."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def bootstrap(values: np.ndarray, groups: np.ndarray, samples: int = 10_000) -> Interval:
    """Computes a 95 % percentile interval for the mean of `values`, (Q,), resampling whole `groups`, (Q,).

    Queries of one person are not independent, so people are resampled, not queries. Replicates are the same for every
    comparison of as many groups.

    >>> bootstrap(np.array([0.0, 1.0, 1.0]), groups=np.array([0, 1, 2])).mean.__round__(3)
    0.667

    Source: Efron and Tibshirani (1993), An Introduction to the Bootstrap, Chapman & Hall.
    """
    values = np.asarray(values, "float64")
    if not len(values) or len(values) != len(groups):
        raise ValueError(
            f"{len(values)} values and {len(groups)} groups; a bootstrap needs as many of each, and at least one"
        )
    _, group = np.unique(groups, return_inverse=True)
    sums = np.stack([np.bincount(group, values), np.bincount(group)], axis=1)
    draws = _kept_draws if len(sums) * samples <= _KEPT else _draws
    total, count = np.concatenate([batch.astype("float64") @ sums for batch in draws(len(sums), samples)]).T
    low, high = np.quantile(total / count, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


def paired_bootstrap(a: np.ndarray, b: np.ndarray, groups: np.ndarray, samples: int = 10_000) -> Interval:
    """Computes a 95 % interval for the mean of `a - b`, for two models that answered the same queries, as `bootstrap`.

    >>> paired_bootstrap(np.array([1.0, 1.0]), np.array([0.5, 0.5]), groups=np.array([0, 1]))
    Interval(mean=0.5, low=0.5, high=0.5)
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} queries; a paired comparison needs the same queries in the same order")
    return bootstrap(np.asarray(a, "float64") - np.asarray(b, "float64"), groups, samples)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Corrects m p-values for multiple comparisons: at most one *family* of them in 20 gives a false alarm.

        p̃_(k) = max_{j ≤ k} min(1, (m − j + 1) p_(j)),  p in ascending order

    Keeps the order of the input; p-values of at most α after correction may be claimed together.

    >>> holm(np.array([0.01, 0.04, 0.03]))
    array([0.03, 0.06, 0.06])

    References:
        Holm (1979), A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6(2).
    """
    p = np.asarray(p_values, "float64")
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]), 1)
    return corrected


def _draws(groups: int, samples: int) -> Iterator[np.ndarray]:
    """How often each group is in each replicate, uint8 (_BATCH, groups) at a time."""
    generator = np.random.default_rng(0)
    for start in range(0, samples, _BATCH):
        drawn = generator.multinomial(groups, np.full(groups, 1 / groups), size=min(_BATCH, samples - start))
        # A group is drawn once on average; with more than 255 groups none is ever drawn 256 times.
        yield drawn.astype("uint8")


@functools.lru_cache(maxsize=8)
def _kept_draws(groups: int, samples: int) -> tuple[np.ndarray, ...]:
    """All of `_draws`: the same for every comparison of as many people, and far more costly than their use."""
    return tuple(_draws(groups, samples))
