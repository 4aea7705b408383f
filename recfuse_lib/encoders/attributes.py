"""Attributes as numbers: category, brand, certificate, price, year, running time and budget.

Taught in notebook 06.
"""

from __future__ import annotations

import dataclasses
from typing import Self

import numpy as np
import pandas as pd

LABELS = {"genres": "|", "brand": None, "mpaa": None}
"""Columns of labels, and what stands between several labels of one item."""

NUMBERS = {"year": False, "runtime_minutes": False, "budget_usd": True, "price": True}
"""Columns of numbers, and whether their logarithm is taken."""

OUTERMOST = 3.0
"""Numbers further from the mean are pulled in to so many standard deviations: one wrong entry must not drown a row."""


@dataclasses.dataclass(frozen=True)
class _Number:
    mean: float
    deviation: float
    has_flag: bool


class AttributeEncoder:
    """One vector an item from the columns of a catalogue.

    - `genres` (several, split at "|"), `brand` and `mpaa`: 1 for each label that the item has. A label that no seen
      item has is unknown and leaves no trace.
    - `year`, `runtime_minutes`, `log budget_usd`, `log price`: (x − mean) / standard deviation, and 0 where missing.
      If seen items lack it, a flag is 1 where it is missing.

    Vocabulary, means and deviations come from the items given to `fit` alone. Columns that are not there or hold
    nothing are left out.

    Attributes:
        names: What each number of the vector says, as "genres=Drama", "year", "year missing".

    Example:
        >>> seen = pd.DataFrame({"genres": ["Drama|War", "Comedy"], "year": [1979, 1999]})
        >>> encoder = AttributeEncoder().fit(seen)
        >>> encoder.names
        ('genres=Comedy', 'genres=Drama', 'genres=War', 'year')
        >>> matrix, present = encoder.transform(pd.DataFrame({"genres": ["War|Western", ""], "year": [1999, None]}))
        >>> matrix
        array([[0., 0., 1., 1.],
               [0., 0., 0., 0.]], dtype=float32)
        >>> present
        array([ True, False])

    Taught in notebook 06.
    """

    def fit(self, catalogue: pd.DataFrame) -> Self:
        """Learns vocabulary and statistics.

        Args:
            catalogue: Rows of the items that were seen in training, with any of the columns above.

        Raises:
            ValueError: No column holds anything, or a price or budget is not positive.
        """
        self._labels: dict[str, list[str]] = {}
        self._numbers: dict[str, _Number] = {}
        names = []
        for column in (column for column in LABELS if column in catalogue):
            vocabulary = sorted(set().union(*_labels(catalogue, column)))
            if vocabulary:
                self._labels[column] = vocabulary
                names += [f"{column}={label}" for label in vocabulary]
        for column in (column for column in NUMBERS if column in catalogue):
            values = _numbers(catalogue, column)
            known = values[~np.isnan(values)]
            if len(known):
                # A weight for a flag that no seen item carries would stay as random as it began.
                number = _Number(float(known.mean()), float(known.std()), len(known) < len(values))
                self._numbers[column] = number
                names += [column, f"{column} missing"] if number.has_flag else [column]
        if not names:
            raise ValueError(f"no attributes: the columns {', '.join([*LABELS, *NUMBERS])} are not there or empty")
        self.names = tuple(names)
        return self

    def transform(self, catalogue: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Encodes items, seen or not.

        Args:
            catalogue: Rows with the columns that `fit` found something in.

        Returns:
            float32 (N, number of `names`), and bool (N,): whether anything at all is known of the item.

        Raises:
            ValueError: Not fitted, a column is missing, or a price or budget is not positive.
        """
        if not hasattr(self, "names"):
            raise ValueError("not fitted yet: call fit() with the catalogue rows of the seen items first")
        if absent := [column for column in (*self._labels, *self._numbers) if column not in catalogue]:
            raise ValueError(f"column {absent[0]!r} is missing; the encoder was fitted with it")
        blocks, present = [], np.zeros(len(catalogue), bool)
        for column, vocabulary in self._labels.items():
            code = {label: place for place, label in enumerate(vocabulary)}
            block = np.zeros((len(catalogue), len(vocabulary)), "float32")
            for row, labels in enumerate(_labels(catalogue, column)):
                block[row, [code[label] for label in labels if label in code]] = 1
            blocks.append(block)
            present |= block.any(axis=1)
        for column, number in self._numbers.items():
            values = _numbers(catalogue, column)
            missing = np.isnan(values)
            scaled = np.where(missing, 0.0, (values - number.mean) / (number.deviation or 1.0))
            blocks.append(np.clip(scaled, -OUTERMOST, OUTERMOST)[:, None])
            if number.has_flag:
                blocks.append(missing[:, None])
            present |= ~missing
        return np.where(present[:, None], np.hstack(blocks), 0).astype("float32"), present


def _labels(catalogue: pd.DataFrame, column: str) -> list[set[str]]:
    separator = LABELS[column]
    values = ["" if pd.isna(value) else str(value) for value in catalogue[column]]
    labels = (value.split(separator) if separator else [value] for value in values)
    return [{label.strip() for label in some} - {""} for some in labels]


def _numbers(catalogue: pd.DataFrame, column: str) -> np.ndarray:
    values = catalogue[column].to_numpy("float64", na_value=np.nan)
    if not NUMBERS[column]:
        return values
    bad = np.flatnonzero(values <= 0)
    if len(bad):
        raise ValueError(
            f"{column} of row {bad[0]} is {values[bad[0]]:g}; it must be positive: leave it empty when it is not known"
        )
    return np.asarray(np.log(values))
