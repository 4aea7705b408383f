"""Your own data: two CSV files through the same door as the course's.

Taught in notebook 01.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from recfuse_lib.data.schema import (
    ATTRIBUTE_COLUMNS,
    CATALOGUE_COLUMNS,
    INTERACTION_COLUMNS,
    DataError,
    Dataset,
    Origin,
    check_columns,
    raise_problems,
)

NUMERIC = {"rating": float, "timestamp": int, "year": int, "runtime_minutes": int, "budget_usd": int}
MAY_BE_EMPTY = ("year", "runtime_minutes", "budget_usd", "mpaa", "genres")


def read_csv(
    interactions: Path | str,
    catalogue: Path | str,
    name: str = "custom",
    columns: Mapping[str, str] | None = None,
) -> Dataset:
    """Reads a `Dataset` from two UTF-8 CSV files with a header line.

    Args:
        interactions: A file with the columns `user_id`, `item_id`, `rating` (0.5–5), `timestamp` (Unix seconds).
        catalogue: A file with the columns `item_id`, `title`, `year`, `genres` ("Action|Comedy") and, if you have
            them, `runtime_minutes`, `budget_usd`, `mpaa`. Year, genres and the attributes may be empty.
        name: What to call the data.
        columns: Your name → the course's name, for columns that are called otherwise, e.g. `{"movieId": "item_id"}`.

    Raises:
        DataError: The file is empty, is not UTF-8, lacks a column, or a line breaks the schema; the message names
            file, line, field and reason.
        FileNotFoundError: There is no such file.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "ratings.csv").write_text("user_id,item_id,rating,timestamp\\nann,a1,4.5,1700000000\\n")
        >>> _ = (folder / "items.csv").write_text("item_id,title,year,genres\\na1,Alien,1979,Horror|Sci-Fi\\n")
        >>> read_csv(folder / "ratings.csv", folder / "items.csv").n_items
        1

    Taught in notebook 01.
    """
    columns = dict(columns or {})
    interaction_table, interaction_origin = _read(Path(interactions), INTERACTION_COLUMNS, (), columns)
    catalogue_table, catalogue_origin = _read(Path(catalogue), CATALOGUE_COLUMNS, ATTRIBUTE_COLUMNS, columns)
    if interaction_table["item_id"].dtype != catalogue_table["item_id"].dtype:
        interaction_table["item_id"] = interaction_table["item_id"].astype("str")
        catalogue_table["item_id"] = catalogue_table["item_id"].astype("str")
    return Dataset.of(name, interaction_table, catalogue_table, interaction_origin, catalogue_origin)


def _read(
    path: Path, required: tuple[str, ...], optional: tuple[str, ...], columns: Mapping[str, str]
) -> tuple[pd.DataFrame, Origin]:
    header, rows, lines = _rows(path)
    header = [columns.get(field.strip(), field.strip()) for field in header]
    check_columns(header, required, optional, path.name)
    problems = [
        f"{path.name} line {line}: {len(row)} fields, the header has {len(header)}; quote fields that hold a comma"
        for row, line in zip(rows, lines, strict=True)
        if len(row) != len(header)
    ]
    raise_problems(problems)
    table = pd.DataFrame(rows, columns=header, dtype="str")
    origin = Origin(path.name, np.array(lines))
    for column in table.columns:
        table[column] = _typed(table[column].str.strip(), origin)
    return table, origin


def _rows(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Header, rows and the line on which each row ends (quoted fields may span lines)."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        byte = f"byte 0x{error.object[error.start]:02x}"
        raise DataError(
            f"{path.name} line {line}: {byte} is not UTF-8; save the file as UTF-8 (CSV UTF-8 in a spreadsheet)"
        ) from error
    # Not text.splitlines(): it also breaks lines at characters that a title may hold, such as U+2028.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{path.name} line {reader.line_num}: {error}") from error
    if not rows:
        raise DataError(f"{path.name}: the file is empty; the first line must name the columns")
    return rows[0], rows[1:], lines[1:]


def _typed(texts: pd.Series, origin: Origin) -> pd.Series:
    """Numbers as numbers, ids as integers where all of them are, empty optional fields as missing."""
    column = str(texts.name)
    if column in ("user_id", "item_id"):
        return texts.astype("int64") if len(texts) and texts.str.fullmatch(r"-?\d{1,18}").all() else texts
    if column == "mpaa":
        return texts.mask(texts == "")
    if column not in NUMERIC:
        return texts
    numbers = pd.to_numeric(texts, errors="coerce")
    empty = texts == ""
    wrong = numbers.isna() & ~empty
    if NUMERIC[column] is int:
        wrong |= numbers.notna() & ((numbers % 1 != 0) | (numbers.abs() > 2**53))
    if column not in MAY_BE_EMPTY:
        wrong |= empty
    kind = "a number" if NUMERIC[column] is float else "a whole number"
    raise_problems(
        [
            f"{origin.at(int(row))}: {column} {'is missing' if empty[row] else repr(texts[row]) + ' is not ' + kind}"
            for row in np.flatnonzero(wrong)
        ]
    )
    return numbers.astype("Int64") if column in MAY_BE_EMPTY else numbers
