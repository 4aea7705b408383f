"""Times as seconds since 1970, whatever they are written in. Taught in notebook 01."""

import itertools

import numpy as np
import pandas as pd

from recfuse_lib.data.columns import IGNORED, MISSING, TRIED
from recfuse_lib.data.faults import DataError, Faults, shown

EARLIEST, LATEST = 1e8, 4.2e9
"""Seconds since 1970 that the time of an interaction plausibly has: 1973 to 2102."""

YEAR = 31_556_952
UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
OTHERS = {(1_900, 2_101): "years", (20_000, 80_000): "days, as a spreadsheet counts them"}

_DATES = ("%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%Y/%m/%d", "%d-%b-%Y", "%d %b %Y", "%b %d, %Y", "%m %d, %Y")
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
FORMATS = (*(date + clock for date, clock in itertools.product(_DATES, _CLOCKS)), "%a %b %d %H:%M:%S %z %Y")


def times(
    column: pd.Series, field: str, faults: Faults, stated: str | None = None, earliest: int = 0
) -> tuple[np.ndarray, str]:
    """Reads times as seconds since 1970 (UTC), int64 (N,), and says in words what they are.

    Numbers are s, ms, µs or ns by their size, or dates as 20240131; text is ISO 8601, with or without a zone, or one of
    `FORMATS`. Fractions of a second are cut off; times without a zone are read as UTC. `stated` overrides this: "s",
    "ms", "us", "ns" or a format as "%d.%m.%Y". `faults` gets the cells of `field` that are no time, or before
    `earliest`, since a film may be older than 1970.
    Raises `DataError`: the unit or the order of day and month is ambiguous.

    >>> from recfuse_lib.data.faults import Origin
    >>> times(pd.Series(["1700000000123", "1700000001000"]), "ts", Faults(Origin("log.csv")))
    (array([1700000000, 1700000001]), 'milliseconds')
    """
    if pd.api.types.is_datetime64_any_dtype(column):
        return _seconds(pd.to_datetime(column, utc=True), column, field, faults, earliest), "dates and times"
    cells = column.astype("str").str.strip() if not pd.api.types.is_numeric_dtype(column) else column
    some = cells[~cells.isin(MISSING)].iloc[:TRIED]
    if (stated and "%" in stated) or pd.to_numeric(some, errors="coerce").isna().mean() >= 0.5 or not len(some):
        return _text_times(cells.astype("str"), field, faults, stated, earliest)
    figures = pd.to_numeric(cells, errors="coerce")
    present = figures.notna().to_numpy()
    values = figures.to_numpy() if present.all() else figures.to_numpy("float64", na_value=np.nan)
    middle = float(np.median(values[present]))
    for form, digits in (("%Y%m%d", 1), ("%Y%m%d%H%M%S", 1e6)):
        if stated is None and 19_000_101 * digits <= middle <= 21_001_231.3 * digits:
            return _text_times(cells.astype("str"), field, faults, form, earliest)
    fits = (unit for unit, factor in UNITS.items() if EARLIEST * factor <= middle < LATEST * factor)
    unit = stated or next(fits, "")
    if unit not in UNITS:
        other = next((f", but looks like {name}" for (low, high), name in OTHERS.items() if low <= middle < high), "")
        raise DataError(
            f"{faults.origin.name}: {field} {shown(cells[present].iloc[0])} is not in {', '.join(NAMES.values())} "
            f"since 1970{other}; say what it is, as time='s' (seconds, or a mere order) or time='%d.%m.%Y', or do "
            f"without: columns={{{field!r}: {IGNORED!r}}}"
        )
    factor = UNITS[unit]
    low, high = (0, np.iinfo("int64").max // factor) if stated else (EARLIEST, LATEST)
    wrong = present & ~((values >= low * factor) & (values <= high * factor))
    faults.add(~present, lambda row: _no_time(field, column.iloc[row]))
    reason = f"is not in {NAMES[unit]}, as most are; are there two units in this column?"
    faults.add(wrong, lambda row: f"{field} {shown(column.iloc[row])} {reason}")
    return np.where(present & ~wrong, values, 0).astype("int64") // factor, NAMES[unit]


def _no_time(field: str, cell: object) -> str:
    if str(cell).strip().lower() in MISSING:
        return f"{field} is missing; complete it, or do without times: columns={{{field!r}: {IGNORED!r}}}"
    return f"{field} {shown(cell)} is not a time like the others; name the format, as time='%d.%m.%Y %H:%M'"


def _text_times(
    cells: pd.Series, field: str, faults: Faults, stated: str | None, earliest: int
) -> tuple[np.ndarray, str]:
    if cells.iloc[:TRIED].str.endswith(" UTC").any():
        cells = cells.str.replace(" UTC", "Z", regex=False)
    form = stated or _format(cells, field, faults)
    parsed = pd.to_datetime(cells, format=form, utc=True, errors="coerce")
    return _seconds(parsed, cells, field, faults, earliest), "ISO 8601" if form == "ISO8601" else form


def _format(cells: pd.Series, field: str, faults: Faults) -> str:
    some = pd.Series(cells.unique()[:TRIED])
    some = some[~some.str.lower().isin(MISSING)]
    fits = {}
    for form in ("ISO8601", *FORMATS):
        fits[form] = pd.to_datetime(some, format=form, utc=True, errors="coerce")
        if fits[form].notna().all():
            break
    best = max(fits, key=lambda form: fits[form].notna().sum())
    if not fits[best].notna().any():
        raise DataError(
            f"{faults.origin.name}: {field} {shown(some.iloc[0] if len(some) else '')} is no time that is known; say "
            f"what it looks like, as time='%d.%m.%Y %H:%M', or do without: columns={{{field!r}: {IGNORED!r}}}"
        )
    swapped = best.replace("%m/%d", "%d/%m")
    if swapped != best:
        both = [pd.to_datetime(cells, format=form, utc=True, errors="coerce") for form in (best, swapped)]
        n_best, n_swapped = (parsed.notna().sum() for parsed in both)
        if n_best == n_swapped and not both[0].equals(both[1]):
            raise DataError(
                f"{faults.origin.name}: {field} {shown(some.iloc[0])} may have the day first or the month first; say "
                f"time={swapped!r} or time={best!r}"
            )
        best = best if n_best >= n_swapped else swapped
    return best


def _seconds(parsed: pd.Series, cells: pd.Series, field: str, faults: Faults, earliest: int) -> np.ndarray:
    missing = parsed.isna().to_numpy()
    seconds = parsed.fillna(pd.Timestamp(0, tz="UTC")).dt.as_unit("s").astype("int64").to_numpy()
    faults.add(missing, lambda row: _no_time(field, cells.iloc[row]))
    outside = (seconds < earliest) | (seconds > LATEST)
    reason = f"is not between {1970 + earliest // YEAR} and {1970 + int(LATEST) // YEAR}"
    faults.add(outside, lambda row: f"{field} {shown(cells.iloc[row])} {reason}")
    return np.asarray(np.where(outside, 0, seconds))
