"""How sure are we? Bootstrap intervals over users, paired where two models answered the same queries.

Taught in notebook 04; notebook 10 goes further.
"""

from __future__ import annotations

import dataclasses

import numpy as np

BATCH = 1_000


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean with the interval that holds 95 % of its bootstrap replicates.

    Example:
        >>> str(Interval(0.138, 0.126, 0.1504))
        '0.138 [0.126, 0.150]'

    Taught in notebook 04.
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def bootstrap(values: np.ndarray, groups: np.ndarray, samples: int = 10_000, seed: int = 0) -> Interval:
    """A 95 % percentile interval for the mean of `values`, resampling whole groups.

    Queries of one person are not independent, so people are resampled, not queries.

    Args:
        values: One number a query, (Q,).
        groups: Who each query belongs to, (Q,).
        samples: Bootstrap replicates.
        seed: Of the resampling.

    Raises:
        ValueError: There are no values, or as many groups as values are not given.

    Example:
        >>> bootstrap(np.array([0.0, 1.0, 1.0]), groups=np.array([0, 1, 2])).mean.__round__(3)
        0.667

    References:
        Efron and Tibshirani (1993), An Introduction to the Bootstrap, Chapman & Hall.

    Taught in notebook 04.
    """
    values = np.asarray(values, "float64")
    if not len(values) or len(values) != len(groups):
        raise ValueError(
            f"{len(values)} values and {len(groups)} groups; a bootstrap needs as many of each, and at least one"
        )
    _, group = np.unique(groups, return_inverse=True)
    total, count = np.bincount(group, values), np.bincount(group)
    generator = np.random.default_rng(seed)
    replicates = []
    for start in range(0, samples, BATCH):
        draws = generator.multinomial(len(count), np.full(len(count), 1 / len(count)), size=min(BATCH, samples - start))
        replicates.append(draws @ total / (draws @ count))
    low, high = np.quantile(np.concatenate(replicates), [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


def paired_bootstrap(
    a: np.ndarray, b: np.ndarray, groups: np.ndarray, samples: int = 10_000, seed: int = 0
) -> Interval:
    """A 95 % interval for the mean of `a - b`, for two models that answered the same queries.

    Args:
        a: One number a query of the first model, (Q,).
        b: The same queries' numbers of the second model, (Q,).
        groups: Who each query belongs to, (Q,).
        samples: Bootstrap replicates.
        seed: Of the resampling.

    Raises:
        ValueError: The two do not have the same queries.

    Example:
        >>> paired_bootstrap(np.array([1.0, 1.0]), np.array([0.5, 0.5]), groups=np.array([0, 1]))
        Interval(mean=0.5, low=0.5, high=0.5)

    Taught in notebook 04.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} queries; a paired comparison needs the same queries in the same order")
    return bootstrap(np.asarray(a, "float64") - np.asarray(b, "float64"), groups, samples, seed)
