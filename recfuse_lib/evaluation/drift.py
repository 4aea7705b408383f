"""Drift since a model was trained: four figures, and how large three of them become by chance alone.
Taught in notebook 19.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.spatial.distance import jensenshannon

from recfuse_lib.data.items import Items
from recfuse_lib.data.roles import CATEGORIES, CATEGORY, LABEL_SEPARATOR

LARGEST = {"rating_psi": 0.25, "category_psi": 0.25, "popularity_shift": 0.1, "calibration_error": 0.4}
"""Alarm thresholds: rule of thumb for the two indices; bits; stars."""

SHUFFLES, CERTAINTY = 200, 0.99


@dataclasses.dataclass(frozen=True)
class Drift:
    """What `measure` computed, and what chance alone exceeds in 1 of 100 cases, by the names of `LARGEST`."""

    figures: Mapping[str, float]
    chance: Mapping[str, float]

    @property
    def alarms(self) -> list[str]:
        """Figures above `LARGEST` and above what chance explains."""
        return [
            name for name, value in self.figures.items() if value > LARGEST[name] and value > self.chance.get(name, 0.0)
        ]


def population_stability(reference: np.ndarray, recent: np.ndarray) -> float:
    """Computes the population stability index of bin counts then and now,  PSI = Σ_b (q_b − p_b) ln(q_b / p_b),  of
    shares p and q; half a count is added to each, so that an empty bin is finite (Siddiqi, 2006, Credit Risk
    Scorecards; its rule of thumb: 0.1 look, 0.25 act).
    """
    p, q = ((counts + 0.5) / (counts + 0.5).sum() for counts in (reference, recent))
    return float(np.sum((q - p) * np.log(q / p)))


def popularity_shift(reference: np.ndarray, recent: np.ndarray) -> float:
    """Computes the shift of popularity from the counts of each item then and now, 0–1 bits:

        JS = ½ Σ_i p_i log₂(p_i / m_i) + ½ Σ_i q_i log₂(q_i / m_i),   m = ½ (p + q)

    of Lin (1991), IEEE Transactions on Information Theory 37(1).
    """
    return float(jensenshannon(reference, recent, base=2) ** 2)


def calibration_error(predicted: np.ndarray, observed: np.ndarray, bins: int = 10) -> float:
    """Computes  ECE = Σ_b (n_b / N) |mean ŷ − mean y|  over bins of equally many predictions, in stars (Naeini, Cooper
    and Hauskrecht, 2015, AAAI).
    """
    predicted, observed = np.asarray(predicted, "float64"), np.asarray(observed, "float64")
    order = np.argsort(predicted, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    return float(sum(abs(predicted[part].sum() - observed[part].sum()) for part in parts) / len(order))


def categories(items: Items) -> np.ndarray | None:
    """Finds the first label of each item in the first column of labels, (I,); None where no column has any."""
    columns = items.columns(CATEGORIES) or items.columns(CATEGORY)
    if not columns:
        return None
    return np.array([str(cell).split(LABEL_SEPARATOR)[0] for cell in items.catalogue[columns[0]].fillna("")])


def measure(
    reference: pd.DataFrame, recent: pd.DataFrame, categories: np.ndarray | None, predicted: np.ndarray | None = None
) -> Drift:
    """Compares recent events with those of training, both with columns `item`, `rating`; chance by 200 random
    permutations. `categories` label each item, (I,); `predicted` are the champion's stars for the recent events, for
    calibration, NaN where it does not say.
    """
    both = pd.concat([reference, recent], ignore_index=True)
    levels, items = np.round(2 * both["rating"].to_numpy()).astype("int64"), both["item"].to_numpy("int64")
    kinds = {
        "rating_psi": (population_stability, levels, 11),
        "popularity_shift": (popularity_shift, items, int(items.max()) + 1),
    }
    if categories is not None:
        _, labels = np.unique(np.asarray(categories), return_inverse=True)
        kinds["category_psi"] = population_stability, labels[items], int(labels.max()) + 1

    def compared(is_recent: np.ndarray) -> dict[str, float]:
        return {
            name: figure(np.bincount(code[~is_recent], minlength=n), np.bincount(code[is_recent], minlength=n))
            for name, (figure, code, n) in kinds.items()
        }

    is_recent, generator = np.arange(len(both)) >= len(reference), np.random.default_rng(0)
    figures = compared(is_recent)
    shuffled = pd.DataFrame([compared(generator.permutation(is_recent)) for _ in range(SHUFFLES)])
    chance = {str(name): float(value) for name, value in shuffled.quantile(CERTAINTY).items()}
    if predicted is not None and (said := np.isfinite(predicted)).any():
        figures["calibration_error"] = calibration_error(predicted[said], recent["rating"].to_numpy()[said])
    return Drift(figures, chance)
