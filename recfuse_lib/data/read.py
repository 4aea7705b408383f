"""One's own data: files in any usual form, read into tables; every choice is printed and can be overridden.
Taught in notebook 01.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from recfuse_lib.data.assembly import Part, assemble, check_twice
from recfuse_lib.data.columns import FIELDS, IGNORED, MISSING, NAMES, parsed_numbers, plain, recognise
from recfuse_lib.data.containers import open_table
from recfuse_lib.data.dialects import Source
from recfuse_lib.data.faults import DataError
from recfuse_lib.data.roles import check_columns
from recfuse_lib.data.schema import Dataset

REPEATED = ("user_id", "item_id", "value", "signal")


def read(
    interactions: Path | str,
    items: Path | str | None = None,
    users: Path | str | None = None,
    *,
    name: str | None = None,
    columns: Mapping[str, str] | Sequence[str] | None = None,
    roles: Mapping[str, str] | None = None,
    positive: str | None = None,
    signal: str | None = None,
    time: str | None = None,
    encoding: str | None = None,
    separator: str | None = None,
    keep: str | None = None,
    say: Callable[[str], None] = print,
) -> Dataset:
    """Reads interactions, and items and users where there are files of them, one row each, into a `Dataset`.

    CSV in any usual dialect, JSON lines, Parquet or Excel, gzipped or not. Columns are recognised by the names in
    `columns.NAMES`; ids stay text as written; times become seconds; times, values and items may be absent.

    Args:
        columns: Name in a file → field (`user_id`, `item_id`, `value`, `signal`, `timestamp`), another name for an
            attribute, or "ignored"; a list names the columns of `interactions` where that file has no header.
        roles: Attribute → role (`roles.ROLES`).
        positive: A rule for `positives.Positives.parse`; by default inferred.
        signal: What every interaction is, where no column says so, as "purchase".
        time: "s", "ms", "us", "ns" or a format as "%d.%m.%Y", where the times are ambiguous.
        encoding: Of text files that are not UTF-8; `separator` likewise, where the one of CSV files is ambiguous.
        keep: "last" keeps the newest row of each pair of person and item; signals that may be positive come first.
        say: Gets each line of what was understood.

    Raises:
        DataError: Something cannot be read; the message names file, line, field, reason and what to do.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "log.csv"
    >>> _ = file.write_text("userId;asin;stars;ts\\n007;B1;4,5;2024-01-31\\n7;B1;2,0;2024-02-01\\n")
    >>> dataset = read(file)
    log.csv: CSV with ';' between fields, 2 rows
      user_id    from userId: 2 people, ids as text
      item_id    from asin: 1 item, ids as text
      value      from stars: 2 to 4.5, signal 'rating'
      timestamp  from ts: 2024-01-31 to 2024-02-01, ISO 8601
    A positive is every rating with a value of 4 or more (inferred: stars up to 4.5): 50.0 % of the rows.
    >>> dataset.interactions["user_id"].tolist()
    ['007', '7']
    """
    if keep not in (None, "last"):
        raise DataError(f"keep={keep!r} is not known; keep='last' keeps the newest row of each pair")
    stated = dict(columns) if isinstance(columns, Mapping) else {}
    names = None if columns is None or isinstance(columns, Mapping) else list(columns)

    def opened(path: Path | str, ids: tuple[str, ...], names: list[str] | None = None) -> Source:
        def is_header(row: list[str]) -> bool:
            return len(recognise([field.strip() for field in row], ids, stated)) == len(ids)

        return open_table(path, encoding=encoding, separator=separator, names=names, is_header=is_header)

    log = opened(interactions, ("user_id", "item_id"), names)
    others = {
        field: opened(path, (field,)) for field, path in (("item_id", items), ("user_id", users)) if path is not None
    }
    there = [column for source in (log, *others.values()) for column in source.columns]
    check_columns(stated, there, "columns")
    parts = {field: _entities(source, field, stated) for field, source in others.items()}
    events = _events(log, stated if names is None else {column: column for column in names})
    how = {"positive": positive, "signal": signal, "time": time, "keep": keep}
    tables = assemble(events, parts.get("item_id"), parts.get("user_id"), roles=roles, say=say, **how)
    return Dataset(name or Path(interactions).name.split(".")[0], **tables)


def _events(source: Source, stated: Mapping[str, str]) -> Part:
    """Reads interactions under the names of their fields."""
    check_twice(source.origin.name, source.columns)
    fields = recognise(source.columns, FIELDS, stated) if source.has_header or stated else _unnamed(source)
    for field in ("user_id", "item_id"):
        if field not in fields:
            raise DataError(_unrecognised(source, field))
    written = {column: field for field, column in fields.items()}
    table = source.load(list(written), [fields[field] for field in REPEATED if field in fields])
    return Part(table.rename(columns=written), source.origin, source.form, fields, source.columns)


def _unnamed(source: Source) -> dict[str, str]:
    """Names the fields of a file without a header: person, item, then a value, then a time."""
    fields = dict(zip(("user_id", "item_id"), source.columns, strict=False))
    rest = source.columns[2:4]
    for column, cells in source.load(source.columns, rest)[rest].items():
        known = pd.Series(cells.unique()).astype("str")
        values, wrong = parsed_numbers(known[~known.str.lower().isin(MISSING)])
        is_time = bool(wrong.mean() > 0.5 or (values >= 1e7).mean() > 0.5) if len(values) else False
        fields.setdefault("timestamp" if is_time else "value", str(column))
    return fields


def _entities(source: Source, field: str, stated: Mapping[str, str]) -> Part:
    """Reads items or users, the id under its field's name, attributes under their own."""
    check_twice(source.origin.name, source.columns)
    ids = {column: field for column in source.columns if plain(column) == "id"}
    if not source.has_header:
        ids = {source.columns[0]: field}
    fields = recognise(source.columns, (field,), stated) or recognise(source.columns, (field,), {**ids, **stated})
    if field not in fields:
        raise DataError(_unrecognised(source, field))
    kept = [column for column in source.columns if stated.get(column) != IGNORED]
    other = {column: name for column, name in stated.items() if column in kept and name not in NAMES}
    table = source.load(kept, []).rename(columns={**other, fields[field]: field})
    if table.columns.duplicated().any():
        raise DataError(f"{source.origin.name}: columns {stated} gives two columns one name")
    return Part(table, source.origin, source.form, fields, source.columns)


def _unrecognised(source: Source, field: str) -> str:
    columns = ", ".join(source.columns)
    way_out = f"say which it is, as columns={{{source.columns[0]!r}: {field!r}}}"
    if field in ("user_id", "item_id") and not any(plain(column) in NAMES[field] for column in source.columns):
        way_out += f", or, where the first line is data already, columns={['user_id', 'item_id', '…']}"
    return f"{source.origin.name}: no column is recognised as {field} among {columns}; {way_out}"
