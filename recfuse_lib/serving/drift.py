"""Has the world moved since the model was trained? Three figures, and how large they are by chance alone.

Taught in notebook 19.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pandas as pd

LARGEST = {"rating_psi": 0.25, "category_psi": 0.25, "popularity_shift": 0.1, "calibration_error": 0.4}
"""From where on a figure is an alarm: the rule of thumb for the index; bits; stars."""

SHUFFLES, CERTAINTY = 200, 0.99


@dataclasses.dataclass(frozen=True)
class Drift:
    """What `measure` found.

    Attributes:
        figures: Name -> value, the names of `LARGEST`.
        chance: Name -> the value that chance alone exceeds in 1 of 100 cases; figures without it are judged by
            `LARGEST` alone.
    """

    figures: Mapping[str, float]
    chance: Mapping[str, float]

    @property
    def alarms(self) -> list[str]:
        """Figures that are above `LARGEST` and above what chance explains."""
        return [
            name for name, value in self.figures.items() if value > LARGEST[name] and value > self.chance.get(name, 0.0)
        ]


def population_stability(reference: np.ndarray, recent: np.ndarray) -> float:
    """The population stability index of two sets of counts:  PSI = Σ_b (q_b − p_b) ln(q_b / p_b).

    p and q are the shares of each bin b then and now; half a count is added to each, so that an empty bin is finite.

    Args:
        reference: Counts of each bin then, (B,).
        recent: Counts of each bin now, (B,).

    Raises:
        ValueError: The two have different bins, or one of them counts nothing.

    Example:
        >>> population_stability(np.array([50, 50]), np.array([50, 50]))
        0.0
        >>> round(population_stability(np.array([500, 500]), np.array([800, 200])), 2)
        0.41

    References:
        Siddiqi (2006), Credit Risk Scorecards, Wiley (the index and its rule of thumb: 0.1 look, 0.25 act).
    """
    p, q = (_shares(np.asarray(counts, "float64") + 0.5) for counts in _counts(reference, recent))
    return float(np.sum((q - p) * np.log(q / p)))


def popularity_shift(reference: np.ndarray, recent: np.ndarray) -> float:
    """How far what is popular has moved: the Jensen–Shannon divergence, 0 (the same) to 1 (nothing in common), bits.

        JS = ½ Σ_i p_i log₂(p_i / m_i) + ½ Σ_i q_i log₂(q_i / m_i),   m = ½ (p + q)

    Args:
        reference: Interactions of each item then, (I,).
        recent: Interactions of each item now, (I,).

    Raises:
        ValueError: See `population_stability`.

    Example:
        >>> popularity_shift(np.array([3, 1, 0]), np.array([0, 0, 9]))
        1.0

    References:
        Lin (1991), Divergence Measures Based on the Shannon Entropy, IEEE Transactions on Information Theory 37(1).
    """
    p, q = (_shares(np.asarray(counts, "float64")) for counts in _counts(reference, recent))
    middle = (p + q) / 2
    halves = [np.sum(share[share > 0] * np.log2(share[share > 0] / middle[share > 0])) for share in (p, q)]
    return float(sum(halves) / 2)


def calibration_error(predicted: np.ndarray, observed: np.ndarray, bins: int = 10) -> float:
    """Mean distance between stars predicted and stars given, over bins of equally many predictions:

        ECE = Σ_b (n_b / N) |mean ŷ − mean y|

    Args:
        predicted: ŷ, (N,).
        observed: y, (N,).
        bins: At most so many; fewer where there are fewer predictions.

    Raises:
        ValueError: There are none, or not as many of each.

    Example:
        >>> calibration_error(np.array([3.0, 3.0, 4.0, 4.0]), np.array([2.0, 4.0, 4.5, 4.5]), bins=2)
        0.25

    References:
        Naeini, Cooper and Hauskrecht (2015), Obtaining Well Calibrated Probabilities Using Bayesian Binning, AAAI.
    """
    predicted, observed = np.asarray(predicted, "float64"), np.asarray(observed, "float64")
    if not len(predicted) or predicted.shape != observed.shape:
        raise ValueError(f"{len(predicted)} predictions and {len(observed)} ratings; give as many of each, at least 1")
    order = np.argsort(predicted, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    return float(sum(abs(predicted[part].sum() - observed[part].sum()) for part in parts) / len(order))


def measure(
    reference: pd.DataFrame, recent: pd.DataFrame, categories: np.ndarray, predicted: np.ndarray | None = None
) -> Drift:
    """Compares what people did lately with what they did when the model was trained.

    Chance is measured by dealing the events of both times out again at random, 200 times.

    Args:
        reference: Events then: columns `item`, `rating`.
        recent: Events now.
        categories: A label of each item, (I,).
        predicted: Stars that the champion predicts for the recent events; without them calibration is not measured.

    Raises:
        ValueError: There are no events in one of the two.
    """
    both = pd.concat([reference, recent], ignore_index=True)
    levels = np.round(2 * both["rating"].to_numpy()).astype("int64")
    items = both["item"].to_numpy("int64")
    _, labels = np.unique(np.asarray(categories), return_inverse=True)
    kinds = {
        "rating_psi": (population_stability, levels, 11),
        "category_psi": (population_stability, labels[items], int(labels.max()) + 1),
        "popularity_shift": (popularity_shift, items, len(labels)),
    }

    def compared(is_recent: np.ndarray) -> dict[str, float]:
        return {
            name: figure(np.bincount(code[~is_recent], minlength=n), np.bincount(code[is_recent], minlength=n))
            for name, (figure, code, n) in kinds.items()
        }

    is_recent = np.arange(len(both)) >= len(reference)
    figures = compared(is_recent)
    generator = np.random.default_rng(0)
    shuffled = pd.DataFrame([compared(generator.permutation(is_recent)) for _ in range(SHUFFLES)])
    chance = {str(name): float(value) for name, value in shuffled.quantile(CERTAINTY).items()}
    if predicted is not None:
        figures["calibration_error"] = calibration_error(predicted, recent["rating"].to_numpy())
    return Drift(figures, chance)


def _counts(reference: np.ndarray, recent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    reference, recent = np.asarray(reference), np.asarray(recent)
    if reference.shape != recent.shape:
        raise ValueError(f"{reference.shape} bins then and {recent.shape} now; count both in the same bins")
    if not reference.sum() or not recent.sum():
        raise ValueError("nothing was counted in one of the two times; drift needs events then and now")
    return reference, recent


def _shares(counts: np.ndarray) -> np.ndarray:
    return np.asarray(counts / counts.sum())
