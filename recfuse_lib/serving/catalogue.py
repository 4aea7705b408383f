"""The items that a service knows: what answers say of them, what constraints ask for. Taught in notebook 18."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from recfuse_lib.data.items import Items, natural_title
from recfuse_lib.data.roles import CATEGORIES, CATEGORY, DATE, LABEL_SEPARATOR, NUMBER, OLDEST
from recfuse_lib.data.times import LATEST
from recfuse_lib.stated.title_search import TitleSearch


class ItemError(ValueError):
    """An item that cannot be added. The message says why."""


class ItemExists(ItemError):
    """An item that cannot be added because its id is taken."""


class Catalogue:
    """The items of a bundle, and those that came after it, as answers show them.

    Attributes:
        ids, codes: Item ids by code, and codes by id.
        titles: With the article in front.
        categories: All labels, the most frequent first.
        numbers: Column → its values, float64 (I,), NaN where unknown.
        removed: Items that are never named, bool (I,).
    """

    def __init__(self, items: Items, n_trained: int, removed: np.ndarray | None = None) -> None:
        table, self.n_trained = items.catalogue, n_trained
        self.removed = np.zeros(len(table), bool) if removed is None else removed
        self.items, self.ids = items, table["item_id"].astype("str").tolist()
        self.codes = {item_id: code for code, item_id in enumerate(self.ids)}
        self.titles = [natural_title(title) for title in items.titles()]
        self._search = TitleSearch(self.titles)
        several, single = items.columns(CATEGORIES), items.columns(CATEGORY)
        self._cells: dict[str, tuple[np.ndarray, list[Any]]] = {}
        holding: dict[str, list[np.ndarray]] = {}
        for name in (*several, *single):
            # Few cells differ, so each of these is read once.
            which, cells = pd.factorize(table[name])
            read = [_labels(cell) or None if name in several else str(cell) for cell in cells]
            self._cells[name] = which, read
            there = np.split(
                np.argsort(which, kind="stable"), np.cumsum(np.bincount(which + 1, minlength=len(read) + 1))
            )
            for labels, codes in zip(read, there[1:], strict=False):
                for label in [labels] if isinstance(labels, str) else labels or ():
                    holding.setdefault(label, []).append(codes)
        self._holding = {label: np.concatenate(codes) for label, codes in holding.items()}
        self.categories = sorted(self._holding, key=lambda label: (-len(self._holding[label]), label))
        named, self._dates = items.columns(NUMBER, DATE), items.columns(DATE)
        self.numbers = {name: table[name].to_numpy("float64", na_value=np.nan) for name in named}

    def __len__(self) -> int:
        return len(self.ids)

    def shown(self, code: int) -> dict[str, Any]:
        """Returns what an answer says of an item."""
        known = {name: cells[which[code]] for name, (which, cells) in self._cells.items() if which[code] >= 0}
        for name, values in self.numbers.items():
            if not math.isnan(value := float(values[code])):
                known[name] = _day(value) if name in self._dates else _plain(value)
        attributes = {name: one for name, one in known.items() if one is not None}
        new = bool(code >= self.n_trained)
        return {"item_id": self.ids[code], "title": self.titles[code], "attributes": attributes, "new": new}

    @property
    def n_there(self) -> int:
        """Number of items that are not removed."""
        return int(np.count_nonzero(~self.removed))

    def allowed(self, constraints: Mapping[str, Any]) -> np.ndarray:
        """Finds the items that meet the constraints, named as in `messages.Constraints`, bool (I,)."""
        met = ~self.removed
        if wanted := constraints.get("categories"):
            named = np.zeros(len(self), bool)
            for label in wanted:
                named[self._holding.get(label, [])] = True
            met &= named
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
        """Finds the items that are not removed by their titles; see `TitleSearch`."""
        return self._search.find(words, self.there)

    def ranges(self) -> dict[str, list[float]]:
        """Finds the least and largest value of each number that is known."""
        numbers = {name: self.numbers[name] for name in self.items.columns(NUMBER)}
        known = {name: values[np.isfinite(values)] for name, values in numbers.items()}
        return {name: [values.min(), values.max()] for name, values in known.items() if len(values)}

    def trained(self, item_id: str) -> bool:
        """Whether the model was trained on an item."""
        return self.codes.get(item_id, self.n_trained) < self.n_trained

    def there(self, codes: Iterable[int], but: int = -1) -> list[int]:
        """Leaves out the codes of items that are removed, and one more."""
        return [code for code in codes if not self.removed[code] and code != but]

    def holds(self, item_id: str) -> bool:
        """Whether an item is there and not removed."""
        code = self.codes.get(item_id)
        return code is not None and not self.removed[code]

    def without(self, item_ids: Iterable[str]) -> Catalogue:
        """Returns the catalogue with some items removed, which keep their codes; ids that it lacks are ignored."""
        smaller = copy.copy(self)
        smaller.removed = self.removed.copy()
        smaller.removed[[self.codes[item_id] for item_id in item_ids if item_id in self.codes]] = True
        return smaller

    def more(self, rows: Sequence[Mapping[str, Any]]) -> Catalogue:
        """Returns the catalogue with new items at its end, each from `messages.Item.row`; an id that was removed may
        come again. Raises ItemExists, or ItemError as `check` does.
        """
        if any(self.holds(row["item_id"]) for row in rows):
            raise ItemExists("the item is in the catalogue already")
        if len({row["item_id"] for row in rows}) < len(rows):
            raise ItemError("two items have the same id")
        known, new = self._tables(rows)
        table, removed = pd.concat([known, new], ignore_index=True), np.append(self.removed, np.zeros(len(rows), bool))
        return Catalogue(dataclasses.replace(self.items, catalogue=table), self.n_trained, removed)

    def changed(self, rows: Sequence[Mapping[str, Any]]) -> Catalogue:
        """Returns the catalogue with other attributes of some of its items, which are no longer removed; raises
        ItemError as `check` does.
        """
        (known, new), codes = self._tables(rows), [self.codes[row["item_id"]] for row in rows]
        table, removed = pd.concat([known.drop(index=codes), new.set_axis(codes)]).sort_index(), self.removed.copy()
        removed[codes] = False
        return Catalogue(dataclasses.replace(self.items, catalogue=table), self.n_trained, removed)

    def following(self, fitted: pd.DataFrame) -> pd.DataFrame:
        """Appends the newest items to the table that a model was fitted on, whatever is shown of those."""
        table = self.items.catalogue
        return pd.concat([fitted.astype(dict(table.dtypes)), table.iloc[len(fitted) :]], ignore_index=True)

    def check(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Raises ItemError if an item has an attribute that the catalogue lacks or of another kind, or none at all."""
        roles = self.items.roles
        for row in rows:
            attributes = {name: value for name, value in row.items() if name != "item_id"}
            if not attributes:
                raise ItemError("nothing is known of the item; give it attributes, such as its title")
            for name, value in attributes.items():
                if name not in roles:
                    raise ItemError(f"an attribute is unknown here; this catalogue has {', '.join(roles)}")
                if (is_number := roles[name] in (NUMBER, DATE)) != isinstance(value, (int, float)):
                    raise ItemError(f"{name} is {'a number' if is_number else 'a text'} in this catalogue")

    def _tables(self, rows: Sequence[Mapping[str, Any]]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The table of the catalogue, and of new rows with the same columns."""
        self.check(rows)
        numbers = self.items.columns(NUMBER, DATE)
        # A new number may have a fraction where none had one, or be missing where none was.
        known = self.items.catalogue.astype({"item_id": "str", **dict.fromkeys(numbers, "Float64")})
        new = pd.DataFrame(list(rows)).reindex(columns=known.columns).astype(dict(known.dtypes))
        labels = self.items.columns(CATEGORIES)
        new[labels] = new[labels].fillna("")
        return known, new


def _labels(cell: Any) -> list[str]:
    return [] if pd.isna(cell) else [label for label in str(cell).split(LABEL_SEPARATOR) if label]


def _day(seconds: float) -> str:
    return str(np.datetime64(int(seconds), "s").astype("datetime64[D]"))


def _plain(value: float) -> float | int:
    return int(value) if value.is_integer() else value


def column_of(values: list[Any], role: str | None) -> pd.Series:
    """Writes a column so that it is read again as what it is; a cell that does not fit the role is missing."""
    if role == CATEGORIES:
        values = [value if isinstance(value, list | None) else str(value).split(LABEL_SEPARATOR) for value in values]
    column = pd.Series([str(value) if isinstance(value, list) else value for value in values], dtype=object)
    if role not in (NUMBER, DATE):
        return column
    figures = pd.to_numeric(column, errors="coerce").astype("float64")
    if role == NUMBER:
        return figures
    return pd.to_datetime((figures.where(figures.between(OLDEST, LATEST)) // 1).astype("Int64"), unit="s", utc=True)
