"""CSV in any usual dialect: its separator, its quotes, a header or none, and its fields as they are written.
Taught in notebook 01.
"""

import csv
import dataclasses
import functools
import io
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from recfuse_lib.data.faults import DataError, Origin, and_more, shown

SEPARATORS = ("::", "\t", ";", "|", ",")
UNIT_SEPARATOR = "\x1f"
"""Replaces "::" while a file is parsed, because parsers know separators of one character only."""

HEAD, ROWS_TRIED = 1 << 16, 100
BLOCK = 1 << 24
BAD_ROWS_READ = 1_000


@dataclasses.dataclass(frozen=True)
class Source:
    """A file that is understood as a table; its columns are loaded when their meaning is known.

    `columns` are as written, "column 1" … without a header. `load(columns, repeated)` gives some of them as a table;
    text in those of them that are `repeated` comes as categoricals, which take little memory.
    """

    origin: Origin
    form: str
    columns: list[str]
    has_header: bool
    load: Callable[[Sequence[str], Sequence[str]], pd.DataFrame]


def csv_source(
    name: str,
    content: bytes,
    separator: str | None = None,
    names: Sequence[str] | None = None,
    quoting: bool | None = None,
    is_header: Callable[[list[str]], bool] = lambda first_row: False,
) -> Source:
    """Finds out the dialect of UTF-8 text that is not blank; raises `DataError` for a single column.

    Args:
        separator: By default, the one of `SEPARATORS` that fits the first rows best.
        names: The columns of a file without a header; by default, a first row with a number in it is no header.
        quoting: Whether quotes enclose fields; by default, where a quote that opens a field also ends it.
        is_header: Whether the names in a row are known ones; decides where the rows leave a doubt.
    """
    blank = len(content) - len(content.lstrip(b"\r\n"))
    above, content = content.count(b"\n", 0, blank), content[blank:]
    head = content[: content.find(b"\n", HEAD) + 1 or len(content)].decode()
    fits = {one: _fit(_first_rows(head, one)[0], is_header) for one in ([separator] if separator else SEPARATORS)}
    separator = max(fits, key=lambda one: fits[one])
    rows, header_lines = _first_rows(head, separator)
    if len(rows[0]) < 2:
        raise DataError(
            f"{name} line {above + 1}: {shown(rows[0][0])} is one field; at least two columns are needed. If "
            "another character stands between fields, name it, as separator=' '"
        )
    if quoting is None:
        quoting = separator == "," or (separator != "::" and _quotes_enclose(head, separator))
    has_header = names is None and (is_header(rows[0]) or not any(_is_number(field) for field in rows[0]))
    columns = [field.strip() for field in rows[0]] if has_header else list(names or [""] * len(rows[0]))
    if has_header:
        content, above = b"".join(content.split(b"\n", header_lines)[header_lines:]), above + header_lines
    text = _Rows(
        name,
        body=content if len(separator) == 1 else content.replace(separator.encode(), UNIT_SEPARATOR.encode()),
        above=above,
        separator=separator if len(separator) == 1 else UNIT_SEPARATOR,
        columns=[column or f"column {position}" for position, column in enumerate(columns, 1)],
        quoted=quoting and b'"' in content,
    )
    form = f"CSV with {shown(separator)} between fields" + ("" if has_header else ", no header line")
    form += ', \\" for a quote inside quotes' if text.escapes else ""
    return Source(Origin(name, text.lines), form, text.columns, has_header, text.load)


def _first_rows(head: str, separator: str) -> tuple[list[list[str]], int]:
    """Splits the first rows by this separator, and counts the lines that the first of them takes."""
    if len(separator) > 1:
        head, separator = head.replace(separator, UNIT_SEPARATOR), UNIT_SEPARATOR
    limit = csv.field_size_limit(1 << 30)
    try:
        reader = csv.reader(io.StringIO(head, newline=""), delimiter=separator)
        numbered = ((row, reader.line_num) for row in reader if row)
        rows = [*itertools.islice(numbered, ROWS_TRIED)]
        return [row for row, _ in rows], rows[0][1]
    finally:
        csv.field_size_limit(limit)


def _fit(rows: list[list[str]], is_header: Callable[[list[str]], bool]) -> tuple[bool, float, int]:
    """Rates a separator: known names first, then rows of one length, then many columns."""
    width = len(rows[0])
    same = sum(len(row) == width for row in rows) / len(rows) if width > 1 else 0.0
    return width > 1 and is_header(rows[0]), round(same, 1), width


def _quotes_enclose(head: str, separator: str) -> bool:
    """Tells whether a quote that opens a field also ends it, as far as the first rows show."""
    if re.search(rf'\\"[^{re.escape(separator)}\r\n"]', head):
        head = head.replace('\\"', '""')
    try:
        [*itertools.islice(csv.reader(io.StringIO(head, newline=""), delimiter=separator, strict=True), ROWS_TRIED)]
    except csv.Error as error:
        return "field larger" in str(error)
    return True


def _is_number(field: str) -> bool:
    try:
        float(field.replace(",", "."))
    except ValueError:
        return False
    return True


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Rows of a CSV file below its header; `above` is the number of lines before them."""

    name: str
    body: bytes
    above: int
    separator: str
    columns: list[str]
    quoted: bool

    @functools.cached_property
    def escapes(self) -> bool:
        r"""Whether \" is a quote inside quotes: not where a field ends, as in "C:\", before a separator or line end."""
        ends = re.escape(self.separator.encode()) + rb'\n\r"'
        return self.quoted and re.search(rb'\\"[^' + ends + rb"]", self.body) is not None

    def lines(self) -> np.ndarray:
        """Finds the line on which each row begins, (N,): blank lines are no rows, and a quoted field may span lines."""
        data = np.frombuffer(self.body, "uint8")
        ends = np.flatnonzero(data == ord("\n"))
        row_ends = ends
        if self.quoted:
            quotes = np.flatnonzero(data == ord('"'))
            if self.escapes:
                quotes = quotes[data[quotes - 1] != ord("\\")]
            row_ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
        starts = np.concatenate([[0], row_ends + 1])
        lengths = np.concatenate([row_ends, [len(data)]]) - starts
        only_return = (lengths == 1) & (data[np.minimum(starts, len(data) - 1)] == ord("\r"))
        return np.asarray(np.searchsorted(ends, starts[(lengths > 0) & ~only_return]) + 1 + self.above)

    def load(self, columns: Sequence[str], repeated: Sequence[str]) -> pd.DataFrame:
        import pyarrow
        import pyarrow.csv

        bad: list[tuple[int, int]] = []

        def note(row: Any) -> str:
            bad.append((row.number, row.actual_columns))
            return "skip" if len(bad) < BAD_ROWS_READ else "error"

        # An empty row at the end: it gives an empty file its columns, and a quote that never closes swallows it.
        end = b"\n" + self.separator.encode() * (len(self.columns) - 1) + b"\n"
        repeating = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
        types = {column: repeating if column in repeated else pyarrow.string() for column in columns}
        try:
            table = pyarrow.csv.read_csv(
                pyarrow.BufferReader(self.body + end),
                read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=BLOCK, column_names=self.columns),
                parse_options=pyarrow.csv.ParseOptions(
                    delimiter=self.separator,
                    quote_char='"' if self.quoted else False,
                    escape_char="\\" if self.escapes else False,
                    newlines_in_values=self.quoted,
                    invalid_row_handler=note,
                ),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=types, include_columns=list(columns), strings_can_be_null=False
                ),
            )
        except pyarrow.ArrowInvalid as error:
            if not bad:
                raise DataError(f"{self.name}: {self._open_quote()} ({error})") from error
        if bad:
            raise DataError(self._lengths(bad))
        if any(table[column][-1].as_py() for column in columns):
            raise DataError(f"{self.name}: {self._open_quote()}")
        return pd.DataFrame(table.slice(0, table.num_rows - 1).unify_dictionaries().to_pandas())

    def _lengths(self, bad: list[tuple[int, int]]) -> str:
        lines, width = self.lines(), len(self.columns)
        mark = "::" if self.separator == UNIT_SEPARATOR else self.separator
        problems = (
            f"{self.name} {f'line {lines[row - 1]}' if row <= len(lines) else f'row {row}'}: {fields} fields, "
            f"expected {width}; quote fields that hold {mark!r}"
            for row, fields in bad
        )
        return and_more(problems, len(bad), "at least " if len(bad) == BAD_ROWS_READ else "")

    def _open_quote(self) -> str:
        line = self.body.count(b"\n", 0, max(0, self.body.rfind(b'"'))) + 1 + self.above
        return f'the quote (") on line {line} or one before it is never closed; write "" for a quote inside a field'
