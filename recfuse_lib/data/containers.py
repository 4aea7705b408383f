"""Files of rows, known by their content and not their name: CSV, JSON lines, Parquet, Excel, gzipped or not.
Taught in notebook 01.
"""

import codecs
import dataclasses
import gzip
import io
import itertools
import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recfuse_lib.data.dialects import Source, csv_source
from recfuse_lib.data.faults import PROBLEMS_SHOWN, DataError, Origin, shown

JSON_ROWS_AT_ONCE, JSON_ROWS_FOR_NAMES = 50_000, 1_000
_JSON = json.JSONDecoder(parse_int=str, parse_float=str)

NOT_TABLES = {
    b"BZh": "a bzip2 archive; unpack it first",
    b"\xfd7zXZ": "an xz archive; unpack it first",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive; unpack it first",
    b"7z\xbc\xaf": "a 7-Zip archive; unpack it first",
    b"\xd0\xcf\x11\xe0": "an old Excel file (.xls); save it as .xlsx or CSV",
    b"SQLite format 3": "an SQLite database; export the table as CSV",
    b"ARROW1": "a Feather file; save it as Parquet",
    b"%PDF": "a PDF; export the table as CSV",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
}


def open_table(path: Path | str, encoding: str | None = None, **dialect: Any) -> Source:
    """Finds out what a file is.

    `encoding` is needed for text that is neither UTF-8 nor has a byte order mark; `dialect` is as in `csv_source`.
    Raises `DataError`: the file cannot be read as a table; the message names the file and what to do.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "sales.csv"
    >>> _ = path.write_text("Kunde;Preis\\n007;3,50\\n")
    >>> source = open_table(path)
    >>> source.form, source.columns
    ("CSV with ';' between fields", ['Kunde', 'Preis'])
    >>> source.load(["Kunde"], [])["Kunde"].tolist()
    ['007']
    """
    path, packed = Path(path), ""
    try:
        content = path.read_bytes()
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder; name a file in it") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if content[:2] == b"\x1f\x8b":
        try:
            content, packed = gzip.decompress(content), ", gzipped"
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(f"{path.name}: the gzip file is damaged or cut off ({error})") from error
    for magic, what in NOT_TABLES.items():
        if content.startswith(magic):
            raise DataError(f"{path.name}: this is {what}")
    if content[:4] == b"PAR1":
        return _parquet(path.name, content)
    if content[:4] == b"PK\x03\x04":
        return _excel(path.name, content)
    content = _utf8(path.name, content, encoding)
    if not content.strip():
        raise DataError(f"{path.name}: the file is empty; the first line must name the columns")
    is_json = content.lstrip()[:1] == b"{"
    source = _json_lines(path.name, content) if is_json else csv_source(path.name, content, **dialect)
    return dataclasses.replace(source, form=source.form + packed)


def _utf8(name: str, content: bytes, encoding: str | None) -> bytes:
    """Converts text to UTF-8 without a byte order mark."""
    if content.startswith(codecs.BOM_UTF8):
        content, encoding = content[len(codecs.BOM_UTF8) :], None
    elif content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    if encoding:
        try:
            content = content.decode(encoding).encode()
        except (LookupError, UnicodeError) as error:
            raise DataError(f"{name}: cannot be read as {encoding} ({error}); name another encoding") from error
    if (zero := content.find(b"\0")) >= 0:
        line = content.count(b"\n", 0, zero) + 1
        raise DataError(f"{name} line {line}: a zero byte; the file is binary or damaged, not a table in text")
    try:
        content.decode()
    except UnicodeDecodeError as error:
        wrong = error.start
        line = content.count(b"\n", 0, wrong) + 1
        piece = content[max(0, wrong - 12) : wrong + 12].replace(b"\n", b" ").decode("cp1252", "replace")
        raise DataError(
            f"{name} line {line}: byte 0x{content[wrong]:02x} is not UTF-8; name the encoding, as "
            f"encoding='cp1252' if {shown(piece)} looks right, or save the file as UTF-8"
        ) from error
    return content


def _json_lines(name: str, content: bytes) -> Source:
    """Reads JSON lines; numbers stay as written, lists and objects stay JSON."""
    import pyarrow

    lines = np.array([number for number, line in enumerate(io.BytesIO(content), 1) if line.strip()])

    def records() -> Iterator[dict[str, Any]]:
        for number, line in zip(lines, (line for line in io.BytesIO(content) if line.strip()), strict=True):
            try:
                record = _JSON.decode(line.decode())
            except ValueError as error:
                raise DataError(f"{name} line {number}: not a JSON object on one line ({error})") from error
            if not isinstance(record, dict):
                raise DataError(f"{name} line {number}: {shown(line.decode().strip())} is not a JSON object")
            yield record

    def load(wanted: Sequence[str], repeated: Sequence[str]) -> pd.DataFrame:
        every, tables = records(), []
        while some := [*itertools.islice(every, JSON_ROWS_AT_ONCE)]:
            cells = {column: pyarrow.array([_written(record.get(column)) for record in some]) for column in wanted}
            tables.append(pyarrow.table(cells))
        table = pyarrow.concat_tables(tables)
        for column in repeated:
            table = table.set_column(table.column_names.index(column), column, table[column].dictionary_encode())
        return pd.DataFrame(table.to_pandas())

    columns = dict.fromkeys(key for record in itertools.islice(records(), JSON_ROWS_FOR_NAMES) for key in record)
    return Source(Origin(name, lambda: lines), "JSON lines", list(columns), True, load)


def _written(value: Any) -> str:
    if type(value) is str:
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _parquet(name: str, content: bytes) -> Source:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(io.BytesIO(content))
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"{name}: the Parquet file is damaged ({error})") from error

    def load(columns: Sequence[str], repeated: Sequence[str]) -> pd.DataFrame:
        table: pd.DataFrame = file.read(list(columns)).to_pandas(ignore_metadata=True, date_as_object=False)
        for column in table.select_dtypes(object):
            table[column] = [
                _written(cell.tolist() if isinstance(cell, np.ndarray) else cell) for cell in table[column]
            ]
        return table.astype({column: "category" for column in repeated if table[column].dtype == "str"})

    return Source(Origin(name), "Parquet", file.schema_arrow.names, True, load)


def _excel(name: str, content: bytes) -> Source:
    try:
        inside = zipfile.ZipFile(io.BytesIO(content)).namelist()
    except zipfile.BadZipFile as error:
        raise DataError(f"{name}: the file is damaged ({error})") from error
    if "xl/workbook.xml" not in inside:
        files = ", ".join(inside[:PROBLEMS_SHOWN])
        raise DataError(f"{name}: this is a zip archive; unpack it and name a file in it ({files})")
    try:
        table = pd.read_excel(io.BytesIO(content), dtype="str", na_filter=False, engine="openpyxl")
    except ImportError as error:
        raise DataError(
            f"{name}: this is an Excel file, and openpyxl, the package that reads it, is not installed; run "
            "`pip install openpyxl`, or save the sheet as CSV"
        ) from error
    table.columns = table.columns.astype("str").str.strip()

    def load(columns: Sequence[str], repeated: Sequence[str]) -> pd.DataFrame:
        return table[list(columns)].astype(dict.fromkeys(repeated, "category"))

    lines = np.arange(len(table)) + 2
    return Source(Origin(name, lambda: lines), "Excel, first sheet", list(table.columns), True, load)
