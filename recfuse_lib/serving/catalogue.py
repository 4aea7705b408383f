"""The items that a service knows: what answers say of them, the attributes that constraints ask for, and new items.

Taught in notebook 18.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from recfuse_lib.data.items import Items, natural_title
from recfuse_lib.data.roles import CATEGORIES, CATEGORY, DATE, LABEL_SEPARATOR, NUMBER


class ItemError(ValueError):
    """An item that cannot be added. The message says why."""


class Catalogue:
    """The items of a bundle, and those that came after it, as answers show them.

    Attributes:
        ids, codes: Item ids by code, and codes by id.
        titles: With the article in front.
        shown: What an answer says of each item.
        categories: All labels, the most frequent first.
        numbers: Column → its values, float64 (I,), NaN where unknown.
    """

    def __init__(self, items: Items, n_trained: int) -> None:
        table = items.catalogue
        self.items, self.ids = items, table["item_id"].astype("str").tolist()
        self.codes = {item_id: code for code, item_id in enumerate(self.ids)}
        self.titles = [natural_title(title) for title in items.titles()]
        self.folded = [title.casefold() for title in self.titles]
        several, single = items.columns(CATEGORIES), items.columns(CATEGORY)
        columns: dict[str, list[Any]] = {name: [_labels(cell) for cell in table[name]] for name in several}
        columns |= {name: [None if pd.isna(cell) else str(cell) for cell in table[name]] for name in single}
        self._holding: dict[str, list[int]] = {}
        for name in (*several, *single):
            for code, cell in enumerate(columns[name]):
                for label in [cell] if isinstance(cell, str) else cell or ():
                    self._holding.setdefault(label, []).append(code)
        self.categories = sorted(self._holding, key=lambda label: (-len(self._holding[label]), label))
        named = items.columns(NUMBER, DATE)
        self.numbers = {name: table[name].to_numpy("float64", na_value=np.nan) for name in named}
        dates = items.columns(DATE)
        for name, values in self.numbers.items():
            shown = _day if name in dates else _plain
            columns[name] = [None if math.isnan(value) else shown(value) for value in values.tolist()]
        cells = zip(*columns.values(), strict=True) if columns else [()] * len(self.ids)
        known = [
            {name: cell for name, cell in zip(columns, row, strict=True) if cell not in (None, [])} for row in cells
        ]
        self.shown = [
            {"item_id": item_id, "title": title, "attributes": attributes, "new": code >= n_trained}
            for code, (item_id, title, attributes) in enumerate(zip(self.ids, self.titles, known, strict=True))
        ]

    def __len__(self) -> int:
        return len(self.ids)

    def allowed(self, constraints: Mapping[str, Any]) -> np.ndarray:
        """Finds the items that meet the constraints, named as in `messages.Constraints`, bool (I,)."""
        met = np.ones(len(self), bool)
        if wanted := constraints.get("categories"):
            met[:] = False
            for label in wanted:
                met[self._holding.get(label, [])] = True
        for name, least in constraints.get("at_least", {}).items():
            met &= self.numbers.get(name, np.full(len(self), np.nan)) >= least
        for name, most in constraints.get("at_most", {}).items():
            met &= self.numbers.get(name, np.full(len(self), np.nan)) <= most
        return met

    def unknown(self, constraints: Mapping[str, Any]) -> list[str]:
        """Names what constraints ask for and no item has."""
        labels = [label for label in constraints.get("categories", ()) if label not in self._holding]
        asked = [*constraints.get("at_least", {}), *constraints.get("at_most", {})]
        return list(dict.fromkeys([*labels, *(name for name in asked if name not in self.numbers)]))

    def search(self, words: str) -> list[int]:
        """Finds the items whose title contains all of the words, codes in order."""
        wanted = words.casefold().split()
        return [code for code, title in enumerate(self.folded) if all(word in title for word in wanted)]

    def more(self, rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
        """Returns the table of the catalogue with new items at its end, each from `messages.Item.row`.

        Raises:
            ItemError: An item exists already, has an attribute that the catalogue lacks or of another kind, or nothing
                is known of it.
        """
        roles = self.items.roles
        numbers = {name for name, role in roles.items() if role in (NUMBER, DATE)}
        for row in rows:
            if row["item_id"] in self.codes:
                raise ItemError("the item is in the catalogue already")
            attributes = {name: value for name, value in row.items() if name != "item_id"}
            if not attributes:
                raise ItemError("nothing is known of the item; give it attributes, such as its title")
            for name, value in attributes.items():
                if name not in roles:
                    raise ItemError(f"an attribute is unknown here; this catalogue has {', '.join(roles)}")
                if (name in numbers) != isinstance(value, (int, float)):
                    raise ItemError(f"{name} is {'a number' if name in numbers else 'a text'} in this catalogue")
        # A new number may have a fraction where none had one, or be missing where none was.
        known = self.items.catalogue.astype({"item_id": "str", **dict.fromkeys(numbers, "Float64")})
        new = pd.DataFrame(list(rows)).reindex(columns=known.columns).astype(dict(known.dtypes))
        labels = self.items.columns(CATEGORIES)
        new[labels] = new[labels].fillna("")
        return pd.concat([known, new], ignore_index=True)


def _labels(cell: Any) -> list[str]:
    return [] if pd.isna(cell) else [label for label in str(cell).split(LABEL_SEPARATOR) if label]


def _day(seconds: float) -> str:
    return str(np.datetime64(int(seconds), "s").astype("datetime64[D]"))


def _plain(value: float) -> float | int:
    return int(value) if value.is_integer() else value
