"""Attributes as numbers: labels, quantities, sums of money and dates, whatever they are called.
Taught in notebook 06.
"""

import collections
import dataclasses
from collections.abc import Mapping
from typing import Self

import numpy as np
import pandas as pd

from recfuse_lib.data.roles import CATEGORIES, CATEGORY, DATE, LABEL_SEPARATOR, NUMBER

MONEY = ("price", "budget", "cost", "revenue", "salary", "fee")
"""A number whose column's name holds one of these is a sum of money: its logarithm is taken."""
LABELS_KEPT = 500
"""How many labels of a column are encoded, the most frequent ones."""
OUTERMOST = 3.0
"""Numbers are clipped to so many standard deviations from the mean: one wrong entry must not drown a row."""


@dataclasses.dataclass(frozen=True)
class _Number:
    mean: float
    deviation: float
    has_flag: bool
    least: float | None


class AttributeEncoder:
    """One vector an item from the columns of a catalogue that have these roles (see `Dataset.roles`).

    - `category`, `categories`: 1 for each label that the item has; a label of no training item is ignored.
    - `number`, `date`: (x − mean) / standard deviation, 0 where missing; of sums of money the logarithm. If training
      items lack it, a flag is 1 where it is missing.

    Vocabulary, means and deviations come from the items given to `fit` alone; absent and empty columns are left out.

    >>> seen = pd.DataFrame({"genres": ["Drama|War", "Comedy"], "year": [1979, 1999]})
    >>> encoder = AttributeEncoder({"genres": "categories", "year": "number"}).fit(seen)
    >>> encoder.names
    ('genres=Comedy', 'genres=Drama', 'genres=War', 'year')
    >>> matrix, present = encoder.transform(pd.DataFrame({"genres": ["War|Western", ""], "year": [1999, None]}))
    >>> matrix
    array([[0., 0., 1., 1.],
           [0., 0., 0., 0.]], dtype=float32)
    >>> present
    array([ True, False])
    """

    def __init__(self, roles: Mapping[str, str]) -> None:
        self.roles = dict(roles)

    def fit(self, catalogue: pd.DataFrame) -> Self:
        """Learn vocabulary and statistics from the catalogue's rows of the training items."""
        self._labels: dict[str, list[str]] = {}
        self._numbers: dict[str, _Number] = {}
        names = []
        for column in self._there(catalogue, CATEGORY, CATEGORIES):
            code, cells = self._of(catalogue, column)
            counts: collections.Counter[str] = collections.Counter()
            for labels, count in zip(cells, np.bincount(code, minlength=len(cells)).tolist(), strict=True):
                counts.update(dict.fromkeys(labels, count))
            vocabulary = sorted(sorted(counts, key=lambda label: (-counts[label], label))[:LABELS_KEPT])
            if vocabulary:
                self._labels[column] = vocabulary
                names += [f"{column}={label}" for label in vocabulary]
        for column in self._there(catalogue, NUMBER, DATE):
            least = _least(catalogue, column)
            values = _numbers(catalogue, column, least)
            known = values[~np.isnan(values)]
            if len(known):
                # A weight for a flag that no seen item carries would stay as random as it began.
                number = _Number(float(known.mean()), float(known.std()), len(known) < len(values), least)
                self._numbers[column] = number
                names += [column, f"{column} missing"] if number.has_flag else [column]
        self.names = tuple(names)
        return self

    def transform(self, catalogue: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Encode items, float32 (N, number of `names`), and say of which anything is known, bool (N,)."""
        if not hasattr(self, "names"):
            raise ValueError("not fitted yet: call fit() with the catalogue rows of the seen items first")
        if absent := [column for column in (*self._labels, *self._numbers) if column not in catalogue]:
            raise ValueError(f"column {absent[0]!r} is missing; the encoder was fitted with it")
        blocks, present = [np.empty((len(catalogue), 0))], np.zeros(len(catalogue), bool)
        for column, vocabulary in self._labels.items():
            place = {label: number for number, label in enumerate(vocabulary)}
            code, cells = self._of(catalogue, column)
            of_cell = np.zeros((len(cells), len(vocabulary)), "float32")
            for row, labels in enumerate(cells):
                of_cell[row, [place[label] for label in labels if label in place]] = 1
            block = of_cell[code]
            blocks.append(block)
            present |= block.any(axis=1)
        for column, number in self._numbers.items():
            values = _numbers(catalogue, column, number.least)
            missing = np.isnan(values)
            scaled = np.where(missing, 0.0, (values - number.mean) / (number.deviation or 1.0))
            blocks.append(np.clip(scaled, -OUTERMOST, OUTERMOST)[:, None])
            if number.has_flag:
                blocks.append(missing[:, None])
            present |= ~missing
        return np.where(present[:, None], np.hstack(blocks), 0).astype("float32"), present

    def _there(self, catalogue: pd.DataFrame, *roles: str) -> list[str]:
        return [column for column, role in self.roles.items() if role in roles and column in catalogue]

    def _of(self, catalogue: pd.DataFrame, column: str) -> tuple[np.ndarray, list[set[str]]]:
        """Which of the different cells each item has, (N,), and the labels of these."""
        code, cells = pd.factorize(catalogue[column].astype(object).where(catalogue[column].notna(), ""))
        several = self.roles[column] == CATEGORIES
        labels = (str(cell).split(LABEL_SEPARATOR) if several else [str(cell)] for cell in cells)
        return code, [{label.strip() for label in some} - {""} for some in labels]


def is_money(column: str) -> bool:
    """Tells whether the numbers of a column are sums of money, by its name."""
    return any(name in column.lower() for name in MONEY)


def _least(catalogue: pd.DataFrame, column: str) -> float | None:
    """The smallest positive sum of money; None for a quantity of another kind."""
    if not is_money(column):
        return None
    values = catalogue[column].to_numpy("float64", na_value=np.nan)
    return float(values[values > 0].min()) if (values > 0).any() else 1.0


def _numbers(catalogue: pd.DataFrame, column: str, least: float | None) -> np.ndarray:
    """The cells, float64; of money the logarithm, where 0 counts as `least` and a negative sum as NaN."""
    values = catalogue[column].to_numpy("float64", na_value=np.nan)
    return values if least is None else np.log(np.where(values == 0, least, np.where(values < 0, np.nan, values)))
