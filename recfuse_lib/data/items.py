"""Items: what is known of them, apart from who chose them. Taught in notebook 01."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Self

import numpy as np
import pandas as pd

from recfuse_lib.data.columns import plain
from recfuse_lib.data.roles import CATEGORIES, DATE, LABEL_SEPARATOR, NUMBER, TEXT

YEARS = (1800, 2100)

_ARTICLE = re.compile(
    r"^(?P<title>[^(]+?), (?P<article>The|A|An|Les|Le|La|L'|Il|El|Los|Las|Das|Der|Die)(?P<rest>$| \()"
)


def natural_title(title: str) -> str:
    """Moves the article of a library-sorted title to its front.

    >>> natural_title("Hangover, The"), natural_title("Jetée, La")
    ('The Hangover', 'La Jetée')
    """
    return _ARTICLE.sub(
        lambda match: f"{match['article']} {match['title']}{match['rest']}".replace("' ", "'", 1), title
    )


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Items:
    """A catalogue, the roles of its columns, and what encoders made of it.

    Attributes:
        catalogue: `item_id` and the attributes, one row an item; the position of a row is the *item code*.
        roles: Attribute → its role (`roles.ROLES`).
        encodings: Dimension, such as "text" → raw encodings, float32 (I, D).
        available: Items that could be chosen during the history that a model is fitted on, bool (I,); None for all.
            The others are new: that nobody has chosen them says nothing against them.
    """

    catalogue: pd.DataFrame
    roles: Mapping[str, str]
    encodings: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    available: np.ndarray | None = None

    @classmethod
    def unnamed(cls, n_items: int) -> Items:
        """Makes items of which only the number is known."""
        return Items(catalogue=pd.DataFrame({"item_id": np.arange(n_items)}), roles={})

    @property
    def n_items(self) -> int:
        return len(self.catalogue)

    def encoded(self, **encodings: np.ndarray) -> Self:
        """Returns the items with further raw encodings, (I, D) a dimension."""
        return dataclasses.replace(self, encodings={**self.encodings, **encodings})

    def columns(self, *roles: str) -> list[str]:
        """Names the catalogue's attributes in some roles, in the catalogue's order."""
        return [name for name, role in self.roles.items() if role in roles]

    def _title_column(self) -> list[str]:
        texts = self.columns(TEXT)
        return ([name for name in texts if plain(name) in ("title", "name", "headline")] or texts)[:1]

    def titles(self) -> list[str]:
        """Names each item: its title as written, or its id where it has none."""
        ids = self.catalogue["item_id"].astype("str")
        column = self._title_column()
        return (self.catalogue[column[0]].fillna(ids) if column else ids).tolist()

    def labels(self) -> list[list[str]]:
        """Lists the labels of each item, of all columns in the role `categories`."""
        found: list[list[str]] = [[] for _ in range(self.n_items)]
        for name in self.columns(CATEGORIES):
            for own, cell in zip(found, self.catalogue[name], strict=True):
                own += [label for label in cell.split(LABEL_SEPARATOR) if label]
        return found

    def texts(self) -> list[str]:
        """Describes each item for a language model: title, year, labels and other text; "" where nothing is known."""
        first = self._title_column()
        others = [name for name in self.columns(TEXT) if name not in first]
        cells = [self.catalogue[name].fillna("") for name in (*first, *self.columns(CATEGORIES), *others)]
        n_labels = len(self.columns(CATEGORIES))
        rows = zip(*cells, strict=True) if cells else [()] * self.n_items
        found = []
        for row, year in zip(rows, self.years(), strict=True):
            title, labels, more = row[: len(first)], row[len(first) :][:n_labels], row[len(first) + n_labels :]
            found.append(_verbalise(title[0] if title else "", year, [one for one in labels if one], more))
        return found

    def years(self) -> np.ndarray:
        """Finds the year of each item, float64 (I,), in a column of years or else of dates; NaN where unknown."""
        numbers = [name for name in self.columns(NUMBER) if plain(name).endswith("year")]
        if numbers:
            years = self.catalogue[numbers[0]].to_numpy("float64", na_value=np.nan)
            return np.where((years >= YEARS[0]) & (years <= YEARS[1]), years, np.nan)
        if dates := self.columns(DATE):
            days = pd.to_datetime(self.catalogue[dates[0]].astype("float64"), unit="s")
            return days.dt.year.to_numpy("float64")
        return np.full(self.n_items, np.nan)


def _verbalise(title: str, year: float, labels: list[str], more: tuple[str, ...]) -> str:
    when = "" if np.isnan(year) else f" ({int(year)})"
    what = "".join(f" {one.replace(LABEL_SEPARATOR, ', ')}." for one in labels)
    head = f"{natural_title(title)}{when}." if title or when else ""
    return " ".join([f"{head}{what}", *filter(None, more)]).strip()
