"""Columns: the names that are recognised, and the ids and numbers that the cells hold. Taught in notebook 01."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from recfuse_lib.data.faults import DataError, Faults, shown

IGNORED = "ignored"

FIELDS = ("user_id", "item_id", "value", "signal", "timestamp")
"""Fields of an interaction."""

VOCABULARY: dict[str, dict[str, str]] = tomllib.loads(Path(__file__).with_name("names.toml").read_text("utf-8"))

VALUE_NAMES = {signal: names.split() for signal, names in VOCABULARY["values"].items()}
"""Signal of a value → names of its column."""

NAMES = {field: names.split() for field, names in VOCABULARY["fields"].items()}
NAMES["value"] = [name for names in VALUE_NAMES.values() for name in names]
"""Field → names of its column, the likelier first."""

MISSING = ("", "na", "n/a", "nan", "null", "none", "\\n", "<na>", "nat")

CURRENCIES = r"US\$|R\$|[$€£¥₹₽₩₺₫₴₪฿]|EUR|USD|GBP|JPY|CNY|INR|CHF|kr\.?|zł|Kč"
AMOUNT = rf"(?P<sign>[+-]?)\s*(?:{CURRENCIES})?\s*(?P<digits>-?\d[\d.,'\s]*|-?[.,]\d+)\s*(?:{CURRENCIES}|%)?(?:,-)?"

TRIED = 1_000
LARGEST_RATING = 10


def plain(name: str) -> str:
    """Reduces a name to lower-case letters and digits, without the type that RecBole appends.

    >>> plain("User-ID"), plain("item_id:token")
    ('userid', 'itemid')
    """
    return "".join(character for character in name.split(":")[0].lower() if character.isalnum())


def recognise(columns: Iterable[str], wanted: Sequence[str], stated: Mapping[str, str]) -> dict[str, str]:
    """Finds the column of each field that is there: field → name as written.

    What is `stated` (name → field, or `IGNORED`) overrides what a name looks like. Raises `DataError` for a field
    stated twice.

    >>> recognise(["userId", "asin", "stars", "note"], ["user_id", "item_id", "value", "timestamp"], {})
    {'user_id': 'userId', 'item_id': 'asin', 'value': 'stars'}
    """
    fields: dict[str, str] = {}
    for column in columns:
        field = stated.get(column, "")
        if field in fields:
            raise DataError(f"columns {fields[field]!r} and {column!r} are both said to be {field}; name one")
        if field in wanted:
            fields[field] = column
    free = {plain(column): column for column in reversed([*columns]) if column not in stated}
    for field in wanted:
        known = (name for name in NAMES[field] if name in free)
        if field not in fields and (name := next(known, None)) is not None:
            fields[field] = free.pop(name)
    return fields


def is_missing(texts: pd.Series) -> pd.Series:
    """Finds the text cells that say that nothing is known; "none" may be a label, "None" is what Python writes."""
    return texts.isna() | (texts.str.lower().isin(MISSING) & (texts != "none"))


def signal_of(value_column: str, values: np.ndarray) -> str:
    """Names the signal of a column's values by the column's name; otherwise small values are ratings.

    >>> signal_of("playcount", np.array([3.0])), signal_of("column 3", np.array([3.0, 5.0]))
    ('play', 'rating')
    """
    known = (signal for signal, names in VALUE_NAMES.items() if plain(value_column) in names)
    small = bool((np.nan_to_num(values) <= LARGEST_RATING).all())
    return next(known, "rating" if small else "interaction")


def ids(columns: Sequence[pd.Series], typed: bool = False) -> list[pd.Series]:
    """Reads ids of one kind from several tables: stripped text, or int64 if all print back the same; "" if missing.

    Text in `typed` columns stays text.

    >>> [column.tolist() for column in ids([pd.Series(["7", "12"]), pd.Series(["007"])])]
    [['7', '12'], ['007']]
    """
    coded = [_distinct_texts(column) for column in columns]
    if typed:
        whole = all(pd.api.types.is_integer_dtype(column) for column in columns)
    else:
        whole = all(texts[1:].str.fullmatch(r"0|-?[1-9]\d{0,17}").all() and (codes > 0).all() for codes, texts in coded)
    found = [(codes - 1, texts[1:].astype("int64")) if whole else (codes, texts) for codes, texts in coded]
    return [pd.Series(values.array.take(codes)) for codes, values in found]


def _distinct_texts(column: pd.Series) -> tuple[np.ndarray, pd.Series]:
    """Codes the cells, (N,), by their distinct stripped texts; code 0 is "", a missing cell."""
    codes, distinct = pd.factorize(column)
    if pd.api.types.is_float_dtype(distinct) and (distinct % 1 == 0).all():
        # An integer column with a gap: in the file it is a column of floats.
        distinct = distinct.astype("int64")
    texts = pd.Series(["", *distinct.astype("str").str.strip()], dtype="str")
    blank = np.flatnonzero(texts == "")
    codes = codes + 1
    return np.where(np.isin(codes, blank), 0, codes), texts


def numbers(column: pd.Series, field: str, faults: Faults, may_be_missing: bool = True) -> np.ndarray:
    """Reads numbers with a decimal point or comma, thousands, a currency or per cent sign; NaN where missing.

    `faults` gets cells of `field` that are no number and, unless they `may_be_missing`, empty ones.

    >>> from recfuse_lib.data.faults import Origin
    >>> numbers(pd.Series(["12,50 €", "1.250,00 €", ""]), "price", Faults(Origin("items.csv"))).tolist()
    [12.5, 1250.0, nan]
    """
    codes, distinct = pd.factorize(column)
    values, wrong = parsed_numbers(pd.Series(distinct))
    values, wrong = np.append(values, np.nan)[codes], np.append(wrong, False)[codes]
    faults.add(wrong, lambda row: f"{field} {shown(column.iloc[row])} is not a finite number")
    if not may_be_missing:
        faults.add(np.isnan(values) & ~wrong, lambda row: f"{field} is missing")
    return np.asarray(values)


def parsed_numbers(cells: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Parses cells as float64, NaN where missing or wrong, and tells which are wrong, bool (N,)."""
    if pd.api.types.is_numeric_dtype(cells) or pd.api.types.is_bool_dtype(cells):
        values = cells.to_numpy("float64", na_value=np.nan)
        return values, np.isinf(values)
    texts = cells.astype("str").str.strip()
    lower = texts.str.lower().fillna("")
    texts = texts.mask(lower == "true", "1").mask(lower == "false", "0")
    values = pd.to_numeric(texts, errors="coerce").to_numpy("float64", na_value=np.nan)
    missing = lower.isin(MISSING).to_numpy()
    left = texts[np.isnan(values) & ~missing]
    if left.iloc[:TRIED].str.fullmatch(AMOUNT).any():
        parts = texts.str.extract(f"^{AMOUNT}$")
        digits = parts["digits"].str.replace(r"[^0-9.,-]", "", regex=True)
        if _has_decimal_comma(digits.dropna()):
            digits = digits.str.replace(".", "").str.replace(",", ".")
        else:
            digits = digits.str.replace(",", "")
        amounts = pd.to_numeric(parts["sign"].str.cat(digits), errors="coerce").to_numpy("float64", na_value=np.nan)
        plain_numbers = texts.str.fullmatch(r"[+-]?[\d.]*[eE][+-]?\d+").to_numpy("bool", na_value=False)
        values = np.where(plain_numbers, values, amounts)
    wrong = ~missing & ~np.isfinite(values)
    return np.where(wrong | missing, np.nan, values), wrong


def _has_decimal_comma(digits: pd.Series) -> bool:
    """Tells whether commas in a column of amounts are decimal: "1.250,00" says so, "1,250" does not."""
    both = digits[digits.str.contains(",") & digits.str.contains(".", regex=False)]
    if len(both):
        return bool((both.str.rfind(",") > both.str.rfind(".")).mean() > 0.5)
    commas = digits[digits.str.contains(",")]
    return len(commas) > 0 and not commas.str.fullmatch(r"-?[1-9]\d{0,2}(,\d{3})+").all()
