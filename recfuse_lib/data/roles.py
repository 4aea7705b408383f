"""Roles of the columns of a catalogue or of users: what an attribute is, so that a model knows how to read it.
Taught in notebook 01.
"""

import ast
import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from recfuse_lib.data.columns import IGNORED, VOCABULARY, is_missing, numbers, parsed_numbers, plain
from recfuse_lib.data.faults import DataError, Faults
from recfuse_lib.data.times import times

TEXT, CATEGORY, CATEGORIES, NUMBER, DATE = "text", "category", "categories", "number", "date"
ROLES = {
    TEXT: "a language model reads it",
    CATEGORY: "one label",
    CATEGORIES: "several labels, joined by '|'; empty where there are none",
    NUMBER: "a quantity",
    DATE: "seconds since 1970",
    IGNORED: "not used",
}
"""Role → what a cell of it holds once it is read."""

LABEL_SEPARATOR = "|"
SEPARATORS = ("|", ";", " > ", ", ", ",", "/")

NAMED = {role: names.split() for role, names in VOCABULARY["roles"].items()}
"""Role → column names that decide where the cells leave a doubt."""

ENOUGH = 0.9
"""Share of the cells that must fit a role."""

OLDEST = -1970 * 31_556_952
LONGEST_LABEL = 40
REPEATED, REPEATED_PIECES = 0.5, 0.3
"""Distinct labels a cell, and pieces of cells, that a column of labels has at most."""

ADDRESS = r"^(https?://\S+|\S+\.(jpe?g|png|gif|webp|mp3|mp4))$"
DATE_LIKE = r"^\d{1,4}[-./]\w{1,3}[-./]\d{1,4}"


@dataclasses.dataclass(frozen=True)
class Attribute:
    """A column that is read: its role, its cells as `ROLES` says with NA where missing, and what was understood."""

    role: str
    cells: pd.Series
    note: str


def read_attributes(
    table: pd.DataFrame, faults: Faults, stated: Mapping[str, str]
) -> tuple[pd.DataFrame, dict[str, Attribute]]:
    """Finds the role of each column and reads its cells: the columns that are used, and what is known of every one.

    `faults` gets cells that do not fit their column's role. Raises `DataError` for an unknown role in `stated`.
    """
    for column, role in stated.items():
        if role not in ROLES:
            raise DataError(f"role {role!r} of column {column!r} does not exist; roles are {', '.join(ROLES)}")
    attributes = {str(column): _read(table[column], faults, stated.get(str(column))) for column in table}
    used = {column: one.cells for column, one in attributes.items() if one.role != IGNORED}
    return pd.DataFrame(used, index=table.index), attributes


def check_columns(stated: Mapping[str, object], known: list[str], what: str) -> None:
    """Raises `DataError` for a stated column that no file has."""
    for column in stated:
        if column not in known:
            near = difflib.get_close_matches(column, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
            raise DataError(f"{what} names column {column!r}, which no file has{hint}")


def _read(column: pd.Series, faults: Faults, stated: str | None) -> Attribute:
    field = str(column.name)
    texts = column.astype("str").str.strip()
    texts = texts.mask(texts == "")
    known = texts[~is_missing(texts)]
    if not len(known):
        return _empty(stated, texts)
    role = stated or _role(plain(field), column.loc[known.index] if _is_typed(column) else known)
    missing = len(texts) - len(known)
    note = f", {missing:,} missing" if missing else ""
    if role == NUMBER:
        cells = pd.Series(numbers(column, field, faults), column.index)
        whole = bool((cells.dropna() % 1 == 0).all() and cells.abs().max() < 2**53)
        return Attribute(role, cells.astype("Int64") if whole else cells, f"{cells.min():g} to {cells.max():g}{note}")
    if role == DATE:
        rows = np.flatnonzero(texts.index.isin(known.index))
        cells = column.iloc[rows] if _is_typed(column) else known
        seconds, form = times(cells, field, faults.among(rows), earliest=OLDEST)
        return Attribute(role, pd.Series(seconds, known.index).reindex(texts.index).astype("Int64"), f"{form}{note}")
    if role == CATEGORIES:
        return _labels(texts, known, note)
    if role == CATEGORY:
        return Attribute(role, known.reindex(texts.index), f"{known.nunique():,} labels{note}")
    there = texts.index if plain(field) in ("title", "name") else known.index
    cells = column.astype("str").loc[there].reindex(texts.index).mask(texts.isna())
    return Attribute(
        role, cells, "" if role == IGNORED else f"{known.str.len().mean():.0f} characters on average{note}"
    )


def _empty(stated: str | None, texts: pd.Series) -> Attribute:
    """Describes a column without a single cell; it is kept where its role is stated."""
    if stated is None:
        return Attribute(IGNORED, texts, "empty")
    dtypes: dict[str, Any] = {NUMBER: "Int64", DATE: "Int64"}
    cells = texts.where(texts.notna(), "") if stated == CATEGORIES else texts.mask(texts.notna())
    kept: pd.Series = cells.astype(dtypes.get(stated, "str"))
    return Attribute(stated, kept, "empty")


def _is_typed(column: pd.Series) -> bool:
    """Tells whether the file says that these are numbers or dates."""
    return pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column)


def _role(name: str, known: pd.Series) -> str:
    named = next((role for role, names in NAMED.items() if name in names), None)
    distinct = pd.Series(known.unique())
    if named == IGNORED:
        return IGNORED
    if pd.api.types.is_datetime64_any_dtype(known):
        return DATE
    typed = pd.api.types.is_numeric_dtype(known)
    if not typed:
        if named == TEXT:
            return TEXT
        if distinct.str.fullmatch(ADDRESS).mean() > ENOUGH or distinct.str.startswith("{").mean() > ENOUGH:
            return IGNORED
        if distinct.str.startswith("[").mean() > ENOUGH:
            return CATEGORIES
    if named in (CATEGORY, CATEGORIES):
        split = not typed and _separator(known, SEPARATORS if named == CATEGORIES else SEPARATORS[:2])
        return CATEGORIES if split else CATEGORY
    if typed or 1 - parsed_numbers(distinct)[1].mean() >= ENOUGH:
        if named == DATE and parsed_numbers(distinct)[0].min() >= 1e7:
            return DATE
        is_code = name.endswith(("id", "code"))
        return NUMBER if not is_code else CATEGORY if len(distinct) <= REPEATED * len(known) else IGNORED
    if named == DATE or distinct.str.contains(DATE_LIKE).mean() > ENOUGH:
        return DATE
    if _separator(known, SEPARATORS[:-1], REPEATED_PIECES):
        return CATEGORIES
    labels = distinct.str.len().mean() <= LONGEST_LABEL and len(distinct) <= REPEATED * len(known)
    return CATEGORY if labels else TEXT


def _separator(known: pd.Series, candidates: tuple[str, ...], most_distinct: float = 1.0) -> str | None:
    """Finds what stands between labels: short pieces, at most `most_distinct` of them different."""
    for separator in candidates:
        share = known.str.contains(separator, regex=False).mean()
        if share == 0 or (share < 0.1 and most_distinct < 1):
            continue
        pieces = known.str.split(separator, regex=False).explode().str.strip()
        if pieces.str.len().mean() <= LONGEST_LABEL / 2 and pieces.nunique() <= most_distinct * len(pieces):
            return separator
    return None


def _labels(texts: pd.Series, known: pd.Series, note: str) -> Attribute:
    if known.str.startswith("[").mean() > ENOUGH:
        lists, how = known.map(listed), "written as lists"
    else:
        separator = _separator(known, SEPARATORS)
        lists = known.str.split(separator, regex=False) if separator else known.map(lambda label: [label])
        how = f"separated by {separator!r}" if separator else "one each"
    joined = lists.map(
        lambda labels: LABEL_SEPARATOR.join(
            dict.fromkeys(text for label in labels if (text := str(label).replace(LABEL_SEPARATOR, "/").strip()))
        )
    )
    n_labels = joined.str.split(LABEL_SEPARATOR, regex=False).explode().nunique()
    cells = joined.reindex(texts.index).fillna("").astype("str")
    return Attribute(CATEGORIES, cells, f"{how}, {n_labels:,} labels{note}")


def listed(cell: str) -> list[str]:
    """Lists the labels of "['Crime', 'Drama']", of a JSON list, or of "[Crime, Drama]"."""
    try:
        value = ast.literal_eval(cell)
    except (ValueError, SyntaxError):
        value = [label.strip(" '\"") for label in cell.strip("[]").split(",")]
    return [str(label) for label in value] if isinstance(value, (list, tuple, set)) else [str(value)]
