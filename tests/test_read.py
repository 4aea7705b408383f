"""One's own data: every kind of file that was found in public bug reports, made here, and what is understood of it."""

import builtins
import codecs
import csv
import gzip
import io
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recfuse_lib.data.dialects import csv_source
from recfuse_lib.data.faults import DataError
from recfuse_lib.data.read import read
from recfuse_lib.data.schema import Dataset

LOG = "user_id,item_id,rating,timestamp\nann,a1,4.5,1700000000\nbob,b2,3,1700000001\n"
ITEMS = 'item_id,title,genres\na1,"Alien, The",Horror|Sci-Fi\nb2,Heat,Crime\n'


class Reader:
    """Writes what it is given, reads it, and keeps what was said."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.said = folder, ""

    def file(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def __call__(
        self, log: str | bytes, items: str | bytes | None = None, users: str | bytes | None = None, **options: Any
    ) -> Dataset:
        lines: list[str] = []
        files = [
            None if content is None else self.file(name, content)
            for name, content in (("log.csv", log), ("items.csv", items), ("users.csv", users))
        ]
        try:
            return read(*files, say=lines.append, **options)  # type: ignore[arg-type]
        finally:
            self.said = "\n".join(lines)

    def refused(self, *contents: str | bytes | None, **options: Any) -> str:
        with pytest.raises(DataError) as caught:
            self(*contents, **options)  # type: ignore[arg-type]
        return str(caught.value)


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


# ids


def test_ids_stay_as_written(reader: Reader) -> None:
    tables = reader("user,isbn,rating\n007,0108775015,5\n7,0108775015,4\n0007,012,3\n", None)
    assert set(tables.interactions["user_id"]) == {"007", "7", "0007"}
    assert set(tables.catalogue["item_id"]) == {"0108775015", "012"}


def test_ids_are_integers_only_where_every_one_prints_back_in_both_files(reader: Reader) -> None:
    log = "user,item\n3,1\n4,2\n"
    assert reader(log, "id,title\n1,Alien\n2,Heat\n").catalogue["item_id"].tolist() == [1, 2]
    tables = reader(log, "id,title\n1,Alien\n2,Heat\nX2,Ran\n")
    assert tables.catalogue["item_id"].tolist() == ["1", "2", "X2"]
    assert tables.interactions["item_id"].tolist() == ["1", "2"]
    assert tables.interactions["user_id"].tolist() == [3, 4]
    assert reader("user,item\n9223372036854775808,-0\n", None).interactions["user_id"].tolist() == [
        "9223372036854775808"
    ]


def test_ids_that_do_not_meet_are_shown_side_by_side(reader: Reader) -> None:
    message = reader.refused("user,item\nann,001\nbob,002\n", "id,title\n1,Alien\n2,Heat\n")
    assert "items.csv: 2 of the 2 items are not in it, as '001' (log.csv line 2)" in message
    assert "look like '1'" in message


def test_a_few_items_that_the_catalogue_lacks_are_kept_and_named(reader: Reader) -> None:
    tables = reader(LOG + "ann,c3,2,1700000002\n", ITEMS)
    assert tables.catalogue["item_id"].tolist() == ["a1", "b2", "c3"]
    assert tables.catalogue["title"].isna().tolist() == [False, False, True]
    assert "items.csv lacks 1 of the 3 items, as 'c3'" in reader.said


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_frame_survives_any_dialect(data: st.DataObject) -> None:
    """Text in quotes, line ends and separators inside, a decimal comma: what was written is what is read."""
    separator, decimal = data.draw(st.sampled_from([(",", "."), (";", ","), ("\t", "."), ("|", "."), (";", ".")]))
    word = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8).map(str.strip).filter(bool)
    title = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\r"), max_size=20).map(str.strip)
    pairs = data.draw(st.lists(st.tuples(word, word), min_size=2, max_size=12, unique=True))
    frame = pd.DataFrame(pairs, columns=["user_id", "item_id"], dtype="str")
    frame["value"] = data.draw(
        st.lists(st.integers(2, 40).map(lambda n: n / 4), min_size=len(frame), max_size=len(frame))
    )
    text = frame.to_csv(index=False, sep=separator, decimal=decimal, quoting=csv.QUOTE_ALL, lineterminator="\n")
    ids = list(dict.fromkeys(frame["item_id"]))
    titles = data.draw(st.lists(title, min_size=len(ids), max_size=len(ids)))
    items = pd.DataFrame({"item_id": ids, "title": titles})
    items_text = items.to_csv(index=False, sep=separator, quoting=csv.QUOTE_ALL, lineterminator="\n")
    ending, encoding = data.draw(st.sampled_from(["\n", "\r\n"])), data.draw(st.sampled_from(["utf-8-sig", "utf-16"]))
    with tempfile.TemporaryDirectory() as folder:
        log, catalogue = Path(folder, "log.csv"), Path(folder, "items.csv")
        log.write_bytes(text.replace("\n", ending).encode(encoding) if "\n" not in "".join(frame["user_id"]) else b"")
        catalogue.write_bytes(gzip.compress(items_text.encode(), mtime=0))
        tables = read(log, catalogue, roles={"title": "text"} if any(titles) else None, say=lambda line: None)
    columns = ["user_id", "item_id"]
    whole = {
        column: all(one.lstrip("-").isdecimal() and one.isascii() and str(int(one)) == one for one in frame[column])
        for column in columns
    }
    got = tables.interactions.astype(dict.fromkeys(columns, "str")).set_index(columns)["value"]
    expected = frame.set_index(columns)["value"]
    pd.testing.assert_series_equal(got.sort_index(), expected.sort_index())
    assert (tables.interactions["user_id"].dtype != "str") == whole["user_id"]
    if any(titles):
        assert tables.catalogue["title"].fillna("").tolist() == titles


# times


@pytest.mark.parametrize(
    ("write", "form"),
    [
        (lambda second: f"{second}", "seconds"),
        (lambda second: f"{second}.75", "seconds"),
        (lambda second: f"{second}123", "milliseconds"),
        (lambda second: f"{second}123456", "microseconds"),
        (lambda second: f"{second}999999999", "nanoseconds"),
        (lambda second: pd.Timestamp(second, unit="s").isoformat(), "ISO 8601"),
        (lambda second: pd.Timestamp(second, unit="s").isoformat() + "Z", "ISO 8601"),
        (lambda second: str(pd.Timestamp(second, unit="s")) + " UTC", "ISO 8601"),
        (lambda second: pd.Timestamp(second, unit="s", tz="Asia/Tokyo").isoformat(), "ISO 8601"),
        (lambda second: pd.Timestamp(second, unit="s").strftime("%Y%m%d%H%M%S"), "%Y%m%d%H%M%S"),
        (lambda second: pd.Timestamp(second, unit="s").strftime("%d.%m.%Y %H:%M:%S"), "%d.%m.%Y %H:%M:%S"),
    ],
)
@settings(max_examples=8, deadline=None)
@given(seconds=st.lists(st.integers(500_000_000, 2_000_000_000), min_size=3, max_size=6, unique=True))
def test_times_in_any_unit_are_the_same_seconds(
    tmp_path_factory: pytest.TempPathFactory, write: Callable[[int], str], form: str, seconds: list[int]
) -> None:
    rows = "".join(f"ann,i{position},{write(second)}\n" for position, second in enumerate(seconds))
    reader = Reader(tmp_path_factory.mktemp("times"))
    tables = reader("user,item,ts\n" + rows)
    assert tables.interactions["timestamp"].tolist() == sorted(seconds)
    assert form in reader.said


def test_days_are_midnight(reader: Reader) -> None:
    for days in ("20231114 20240131", "2023-11-14 2024-01-31", "14.11.2023 31.01.2024", "11/14/2023 01/31/2024"):
        first, second = days.split()
        tables = reader(f"user,item,date\nann,a,{first}\nann,b,{second}\n")
        assert tables.interactions["timestamp"].tolist() == [1_699_920_000, 1_706_659_200]


@pytest.mark.parametrize(
    ("times", "fragments"),
    [
        ("2019 2023", ["'2019'", "years", "time='s'", "columns={'ts': 'ignored'}"]),
        ("45000 45001", ["days, as a spreadsheet counts them"]),
        ("1 2", ["'1'", "a mere order"]),
        ("01/02/2023 03/04/2023", ["day first or the month first", "time='%d/%m/%Y'"]),
        ("soon later", ["'soon'", "time='%d.%m.%Y %H:%M'"]),
        ("1700000000 1700000001 1700000002000", ["line 4", "1700000002000", "two units"]),
        ("1700000000 1700000001 -5", ["line 4", "'-5'"]),
        ("2023-01-01 2023-01-02 1969-05-05", ["line 4", "not between 1970 and 2103"]),
        ("2023-01-01 2023-01-02 x", ["line 4", "'x'", "not a time like the others"]),
        ("1700000000 1700000001 nan", ["line 4", "missing"]),
    ],
)
def test_times_that_cannot_be_told_are_refused(reader: Reader, times: str, fragments: list[str]) -> None:
    rows = "".join(f"ann,i{position},{one}\n" for position, one in enumerate(times.split()))
    message = reader.refused("user,item,ts\n" + rows)
    assert all(fragment in message for fragment in ["log.csv", "ts", *fragments]), message


def test_the_reader_may_be_told_what_times_are(reader: Reader) -> None:
    assert reader("user,item,ts\nann,a,1\nann,b,2\n", time="s").interactions["timestamp"].tolist() == [1, 2]
    tables = reader("user,item,ts\nann,a,01/02/2023\nann,b,03/04/2023\n", time="%d/%m/%Y")
    assert tables.interactions["timestamp"].tolist() == [1_675_209_600, 1_680_480_000]


def test_there_may_be_no_times(reader: Reader) -> None:
    assert "timestamp" not in reader("user,item,rating\nann,a,5\nann,b,1\n").interactions
    assert "no times" in reader.said
    tables = reader("user,item,ts\nann,a,2019\nann,b,2020\n", columns={"ts": "ignored"})
    assert "timestamp" not in tables.interactions
    reader("user,item,ts\nann,a,1700000000\nann,b,1700000000\n")
    assert "Warning: nobody has two different times" in reader.said
    reader("user,item,ts\nann,a,1700000000\nann,b,1700000000\nbob,a,1700000009\n")
    assert "Warning: nobody has two different times" in reader.said
    reader("user,item,ts\nann,a,1700000000\nann,b,1700000001\nbob,a,1700000009\n")
    assert "Warning" not in reader.said


# dialects and containers


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", "::"])
@pytest.mark.parametrize("has_header", [True, False])
def test_separators_and_headers(reader: Reader, separator: str, has_header: bool) -> None:
    rows = [["user", "item", "rating", "ts"]] * has_header
    rows += [["1", "31", "2.5", "1260759144"], ["1", "1029", "3", "1260759179"], ["2", "31", "3", "1260759182"]]
    tables = reader("".join(separator.join(row) + "\n" for row in rows))
    assert tables.interactions["value"].tolist() == [2.5, 3.0, 3.0]
    assert tables.interactions["timestamp"].tolist() == [1_260_759_144, 1_260_759_179, 1_260_759_182]
    assert repr(separator) in reader.said and ("no header line" in reader.said) != has_header


def test_a_headerless_file_may_be_named_and_may_lack_values(reader: Reader) -> None:
    assert list(reader("1,7\n2,8\n").interactions) == ["user_id", "item_id", "signal"]
    assert list(reader("1,7,1260759144\n2,8,1260759145\n").interactions) == [
        "user_id",
        "item_id",
        "signal",
        "timestamp",
    ]
    tables = reader("5,1,7\n3,2,8\n", columns=["value", "user_id", "item_id"])
    assert tables.interactions["value"].tolist() == [5.0, 3.0]
    assert "the first line is data already" in reader.refused("ann,a1,good\nbob,b2,bad\n")


def test_decimal_commas(reader: Reader) -> None:
    tables = reader(
        "Kunde;Artikel;Menge\n1;a;1,5\n2;b;2\n", columns={"Kunde": "user_id", "Artikel": "item_id", "Menge": "value"}
    )
    assert tables.interactions["value"].tolist() == [1.5, 2.0]


def test_a_separator_that_cannot_be_told_is_asked_for(reader: Reader) -> None:
    assert "one field" in reader.refused("user item rating\n1 7 5\n")
    assert reader("user item rating\n1 7 5\n", separator=" ").interactions["value"].tolist() == [5.0]


def test_gzip_json_lines_and_parquet_are_read(reader: Reader) -> None:
    frame = pd.DataFrame(
        {"user_id": ["007", "7"], "item_id": [1, 2], "stars": [4.5, 2.0], "ts": [1_700_000_000, 1_700_000_009]}
    )
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    containers = {
        "gzipped": gzip.compress(frame.to_csv(index=False).encode(), mtime=0),
        "JSON lines": frame.to_json(orient="records", lines=True).encode(),
        "JSON lines, gzipped": gzip.compress(frame.to_json(orient="records", lines=True).encode(), mtime=0),
        "Parquet": buffer.getvalue(),
    }
    for form, content in containers.items():
        tables = reader(content)
        assert tables.interactions["user_id"].tolist() == ["007", "7"]
        assert tables.interactions["item_id"].tolist() == [1, 2]
        assert tables.interactions["value"].tolist() == [4.5, 2.0]
        assert f"{form}, 2 rows" in reader.said


def test_parquet_keeps_its_types(reader: Reader) -> None:
    when = pd.to_datetime(["2024-01-31", "2024-02-01"])
    for dates in (when, when.tz_localize("Europe/Berlin"), when.astype("datetime64[ms]"), pd.Series(when.date)):
        frame = pd.DataFrame({"user_id": [1, 2], "item_id": ["x", "y"], "date": dates, "like": [True, False]})
        buffer = io.BytesIO()
        frame.to_parquet(buffer)
        tables = reader(buffer.getvalue())
        assert np.diff(tables.interactions["timestamp"]).tolist() == [86_400]
    buffer = io.BytesIO()
    pd.DataFrame({"item_id": ["x", "y"], "price": [1.5, None], "tags": [["a", "b"], []], "released": when}).to_parquet(
        buffer
    )
    tables = reader("user,item\n1,x\n2,y\n", buffer.getvalue())
    assert tables.roles == {"price": "number", "tags": "categories", "released": "date"}
    assert tables.catalogue["tags"].fillna("").tolist() == ["a|b", ""]


def test_excel_is_read_or_the_package_is_named(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    workbook = _workbook([["user", "item", "rating"], ["007", 12, 4.5], ["7", 13, 2]])
    try:
        import openpyxl  # noqa: F401
    except ImportError:
        assert "pip install openpyxl" in reader.refused(workbook)
        return
    tables = reader(workbook)
    assert tables.interactions["user_id"].tolist() == ["007", "7"]
    assert tables.interactions["item_id"].tolist() == [12, 13]
    assert tables.interactions["value"].tolist() == [4.5, 2.0]
    imported = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("openpyxl"):
            raise ImportError(name)
        return imported(name, *rest)

    for module in [name for name in sys.modules if name.startswith("openpyxl")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(builtins, "__import__", without)
    assert "pip install openpyxl" in reader.refused(workbook)


def _workbook(rows: list[list[str | float]]) -> bytes:
    """The least that is an Excel file: text inline, numbers as numbers."""

    def cell(value: str | float) -> str:
        return (
            f"<c><v>{value}</v></c>" if not isinstance(value, str) else f'<c t="inlineStr"><is><t>{value}</t></is></c>'
        )

    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    sheet = "".join("<row>" + "".join(map(cell, row)) + "</row>" for row in rows)
    files = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Default Extension="rels" '
        f'ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/xl/workbook.xml" '
        f'ContentType="{kind}.sheet.main+xml"/><Override PartName="/xl/worksheets/sheet1.xml" '
        f'ContentType="{kind}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets><sheet name="a" sheetId="1" '
        'r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{office}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{sheet}</sheetData></worksheet>',
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_encodings_are_named_or_given(reader: Reader) -> None:
    log = "user,item,rating\nRené,Müller,5\nann,b,1\n"
    for content in (
        codecs.BOM_UTF8 + log.encode(),
        log.encode("utf-16"),
        codecs.BOM_UTF16_BE + log.encode("utf-16-be"),
    ):
        assert "René" in set(reader(content).interactions["user_id"])
    assert "René" in set(reader(log.encode("cp1252"), encoding="cp1252").interactions["user_id"])
    message = reader.refused(log.encode("cp1252"))
    assert "log.csv line 2" in message and "0xe9" in message and "encoding='cp1252'" in message and "René" in message
    assert "another encoding" in reader.refused(log, encoding="klingon")
    assert "another encoding" in reader.refused(log, encoding="ascii")


def test_quotes_escapes_long_fields_and_odd_line_ends(reader: Reader) -> None:
    long = "x" * 150_000
    odd = ["\u2028", "\x85", "\x0b", "\x1c"]
    titles = ['say \\"hi\\", please', 'two ""quotes""', "a\nb", "C:\\\\", long, *(f"a{one}b" for one in odd)]
    items = "item_id,title\n" + "".join(f'{place},"{title}"\n' for place, title in enumerate(titles))
    log = "user,item\n" + "".join(f"ann,{place}\n" for place in range(len(titles)))
    expected = ['say "hi", please', 'two "quotes"', "a\nb", "C:\\", long, *(f"a{one}b" for one in odd)]
    for ending in ("\n", "\r\n"):
        tables = reader(log, items.replace("\n", ending), roles={"title": "text"})
        assert tables.catalogue["title"].str.replace("\r", "").tolist() == expected
        assert '\\" for a quote inside quotes' in reader.said
    plain = reader(log[: log.index("ann,1")], 'item_id,path\n0,"C:\\"\n1,"a ""b"""\n', roles={"path": "text"})
    assert plain.catalogue["path"].tolist() == ["C:\\", 'a "b"']


def test_quotes_that_enclose_nothing_stay_where_tabs_separate(reader: Reader) -> None:
    items = 'item_id\ttitle\nn1\t"Quote me" says star\nn2\tPlain\n'
    tables = reader("user\titem\nann\tn1\nann\tn2\n", items)
    assert tables.catalogue["title"].tolist() == ['"Quote me" says star', "Plain"]


# signals, values, positives


@pytest.mark.parametrize(
    ("values", "rule", "positives"),
    [
        ("4.5 4 3.5 5 1", "rating>=4", 3),
        ("10 7 6 1 9", "rating>=6.4", 3),
        ("100 60 59 0 20", "rating>=60", 2),
        ("-10 10 2 1 0", "rating>=2", 2),
        ("1 0 1 0 0", "rating>=0.6", 2),
        ("1 2 3 3 1", "rating>=2.2", 2),
        ("1 1 1 1 1", "signal in rating", 5),
    ],
)
def test_any_scale_has_a_rule(reader: Reader, values: str, rule: str, positives: int) -> None:
    rows = "".join(f"u{place % 2},i{place},{value}\n" for place, value in enumerate(values.split()))
    tables = reader("user,item,rating\n" + rows)
    assert (tables.positives.text, tables.positive.sum()) == (rule, positives)
    assert ("everything is positive; say what is" in reader.said) == (positives == 5)


def test_nothing_positive_is_a_warning(reader: Reader) -> None:
    reader("user,item,rating\nann,a,1\nbob,b,3\n", positive="rating>=4")
    assert "Warning: nothing is positive; say what is: positive='value>=3'" in reader.said


def test_a_rule_can_be_stated(reader: Reader) -> None:
    log = "user,item,stars\nann,a,2\nann,b,3\nbob,a,1\nbob,c,5\n"
    for rule, positives in (("stars>=3", 2), ("value>=2", 3), ("rating >= 5", 1), ("value>=median", 2), ("all", 4)):
        assert reader(log, positive=rule).positive.sum() == positives
    for rule, fragment in (("stars>3", "no rule"), ("likes>=3", "'likes'"), ("signal in like", "there are rating")):
        assert fragment in reader.refused(log, positive=rule)
    assert "no column of them" in reader.refused("user,item\nann,a\n", positive="value>=3")


def test_clicks_without_values_are_implicit_feedback(reader: Reader) -> None:
    tables = reader("user,item,ts\nann,a,1700000000\nbob,b,1700000001\n")
    assert "value" not in tables.interactions and tables.positive.all()
    assert reader("user,item\nann,a\n", signal="purchase").positives.text == "signal in purchase"


def test_a_log_of_events_counts_its_strongest_signal(reader: Reader) -> None:
    log = "visitorid,itemid,event,timestamp\n1,9,view,1433221332117\n1,9,addtocart,1433221339117\n1,8,view,1433221339118\n"
    assert reader(log, keep="last").positives.text == "signal in addtocart"
    tables = reader(log + "1,9,transaction,1433221340000\n1,9,view,1433221341000\n", keep="last")
    assert tables.positives.text == "signal in transaction"
    assert tables.interactions[["item_id", "signal"]].values.tolist() == [[8, "view"], [9, "transaction"]]
    assert "view 3, addtocart 1, transaction 1" in reader.said


def test_a_log_of_dislikes_alone_is_a_warning(reader: Reader) -> None:
    assert reader("user,item,event\nann,a,dislike\nbob,a,skip\n").positives.text == "all"
    assert "Warning: everything is positive" in reader.said


def test_plays_are_positive_from_the_persons_median(reader: Reader) -> None:
    tables = reader("userID\tartistID\tplaycount\n2\t51\t13883\n2\t52\t11690\n2\t53\t11\n3\t51\t2\n3\t60\t1\n")
    assert tables.positives.text == "play>=median"
    assert tables.interactions.loc[tables.positive, "item_id"].tolist() == [51, 52, 51]


def test_ratings_and_purchases_in_one_log(reader: Reader) -> None:
    log = "user,item,event,stars\nann,a,rating,5\nann,b,rating,2\nbob,a,purchase,\nbob,b,view,\n"
    tables = reader(log)
    assert tables.positives.text == "rating>=4 or signal in purchase"
    assert tables.positive.tolist() == [True, False, True, False]


def test_many_zeros_are_a_warning(reader: Reader) -> None:
    reader("user,item,rating\nann,a,0\nann,b,0\nann,c,7\nbob,a,9\n")
    assert "50% of the values are 0" in reader.said


def test_repeated_pairs_are_one_line_each_or_the_last_is_kept(reader: Reader) -> None:
    log = "user,item,rating,ts\nann,a,1,1700000000\nann,a,2,1700000002\nann,a,5,1700000001\nbob,a,3,1700000000\n"
    message = reader.refused(log)
    assert message == (
        "log.csv line 3: user 'ann' and item 'a' again (also line 2, line 4); keep='last' keeps the newest row of each pair"
    )
    tables = reader(log, keep="last", positive="rating>=9")
    assert tables.interactions["value"].tolist() == [3.0, 2.0]
    assert "keep='first' is not known" in reader.refused(log, keep="first")


# columns and roles


def test_columns_are_recognised_named_or_asked_for(reader: Reader) -> None:
    reader("reviewerID,asin,overall,unixReviewTime,helpful\nA1,B1,5.0,1400000000,2\n")
    assert "user_id    from reviewerID" in reader.said and "not used: helpful" in reader.said
    tables = reader("wer,was\nann,a\n", columns={"wer": "user_id", "was": "item_id"})
    assert tables.interactions["user_id"].tolist() == ["ann"]
    message = reader.refused("wer,was,wann\nann,a,5\n")
    assert (
        "no column is recognised as user_id among wer, was, wann" in message and "columns={'wer': 'user_id'" in message
    )
    assert "did you mean 'user'" in reader.refused("user,item\nann,a\n", columns={"usr": "user_id"})
    assert "both said to be user_id" in reader.refused("a,b,item\n1,2,3\n", columns={"a": "user_id", "b": "user_id"})
    assert "'rating' is there twice" in reader.refused("user,item,rating,rating\nann,a,5,4\n")


def test_a_catalogue_may_hold_anything_or_nothing(reader: Reader) -> None:
    log = "user,item\nann,a1\nbob,b2\n"
    assert list(reader(log).catalogue) == ["item_id"]
    assert reader(log, "id,title\na1,Alien\nb2,Heat\n").roles == {"title": "text"}
    assert reader(log, "id,price\na1,3\nb2,\n").roles == {"price": "number"}
    assert reader(log, "id,note\na1,\nb2,\n").roles == {}
    assert "note: ignored, empty" in reader.said


GENRES = ["Horror", "Crime|Drama", "Comedy", "Drama", "Horror|Comedy", "Crime"] * 4


@pytest.mark.parametrize(
    ("write", "how"),
    [
        (lambda labels: "|".join(labels), "separated by '|'"),
        (lambda labels: ", ".join(labels), "separated by ', '"),
        (lambda labels: ";".join(labels), "separated by ';'"),
        (lambda labels: str(labels), "written as lists"),
        (lambda labels: json.dumps(labels), "written as lists"),
        (lambda labels: "[" + ",".join(labels) + "]", "written as lists"),
    ],
)
@pytest.mark.parametrize("name", ["genres", "x"])
def test_labels_are_recognised_however_they_are_joined(
    reader: Reader, write: Callable[[list[str]], str], how: str, name: str
) -> None:
    rows = pd.DataFrame({"id": range(len(GENRES)), name: [write(one.split("|")) for one in GENRES]})
    log = "user,item\n" + "".join(f"ann,{item}\n" for item in rows["id"])
    tables = reader(log, rows.to_csv(index=False))
    assert tables.roles == {name: "categories"}
    assert tables.catalogue[name].tolist() == GENRES
    assert f"{name}: categories, {how}, 4 labels" in reader.said


def test_roles_are_inferred_printed_and_overridable(reader: Reader) -> None:
    n = 12
    items = pd.DataFrame(
        {
            "sku": [f"s{k}" for k in range(n)],
            "name": [f"Thing, number {k}" for k in range(n)],
            "blurb": [f"A long text that says, at some length, what thing {k} is and does not do" for k in range(n)],
            "brand": ["Acme", "Zeta, Inc."] * 6,
            "kind": ["shoe", "bag", "hat"] * 4,
            "price": ["12,50 €", "1.200,00 €", ""] * 4,
            "launched": ["31.01.2024", "01.02.2024"] * 6,
            "url": [f"https://shop.example/{k}" for k in range(n)],
            "votes": range(n),
            "dept_id": [3, 4] * 6,
            "ref_id": range(n),
            "in_stock": [True, False] * 6,
        }
    )
    log = "user;item\n" + "".join(f"ann;s{k}\n" for k in range(n))
    tables = reader(log, items.to_csv(index=False, sep=";"))
    assert tables.roles == {
        "name": "text", "blurb": "text", "brand": "category", "kind": "category", "price": "number", "launched": "date",
        "dept_id": "category", "in_stock": "number",
    }  # fmt: skip
    assert tables.catalogue.loc[:2, "price"].fillna(-1).tolist() == [12.5, 1200.0, -1.0]
    assert tables.catalogue.loc[0, "launched"] == 1_706_659_200
    assert "price: number, 12.5 to 1200, 4 missing" in reader.said and "votes: ignored" in reader.said
    stated = reader(
        log, items.to_csv(index=False, sep=";"), roles={"kind": "text", "votes": "number", "blurb": "ignored"}
    )
    assert stated.roles["kind"] == "text" and stated.roles["votes"] == "number" and "blurb" not in stated.catalogue
    assert "did you mean 'brand'" in reader.refused(log, items.to_csv(index=False, sep=";"), roles={"brnd": "text"})
    assert "'words'" in reader.refused(log, items.to_csv(index=False, sep=";"), roles={"kind": "words"})


def test_things_may_be_older_than_1970(reader: Reader) -> None:
    items = "id,released\na,1922-03-05\nb,1968-05-01\nc,2001-01-01\n"
    table = reader("user,item\n1,a\n1,b\n1,c\n", items).catalogue
    assert pd.to_datetime(table["released"], unit="s").dt.year.tolist() == [1922, 1968, 2001]


def test_a_cell_that_breaks_its_role_is_named(reader: Reader) -> None:
    items = "id,price,released\n" + "".join(f"i{k},{k}.5,2024-01-{k:02}\n" for k in range(1, 21))
    log = "user,item\n" + "".join(f"ann,i{k}\n" for k in range(1, 21))
    message = reader.refused(log, items.replace("i7,7.5", "i7,cheap").replace("2024-01-09", "someday"))
    assert "items.csv line 8: price 'cheap' is not a finite number" in message
    assert "items.csv line 10: released 'someday' is not a time" in message


def test_missing_cells_are_missing(reader: Reader) -> None:
    items = "id,title,price,brand,description\na1,Null,,,\nb2,Heat,nan,NA,A film\nc3,,3,None,None\n"
    table = reader("user,item\nann,a1\nann,b2\nann,c3\n", items).catalogue
    assert table.isna().to_dict("list") == {
        "item_id": [False] * 3, "title": [False, False, True], "price": [True, True, False],
        "description": [True, False, True],
    }  # fmt: skip


def test_titles_in_another_script_are_a_warning(reader: Reader) -> None:
    log = "user,item\nann,a1\nbob,b2\n"
    reader(log, "id,title\na1,千と千尋の神隠し\nb2,七人の侍\n")
    assert "Warning: items.csv: most of title, as '千と千尋の神隠し', is in a script" in reader.said
    assert "roles={'title': 'ignored'}" in reader.said
    reader(log, "id,title\na1,Amélie 🎬\nb2,Ran\n")
    assert "script" not in reader.said


def test_users_have_attributes(reader: Reader) -> None:
    users = "id,age,gender,occupation\nann,31,F,writer\nbob,,M,writer\nzoe,9,F,pupil\n"
    tables = reader(LOG, None, users)
    assert tables.users is not None
    assert tables.users["user_id"].tolist() == ["ann", "bob"]
    assert tables.user_roles == {"age": "number", "gender": "category", "occupation": "category"}
    assert reader(LOG, ITEMS).users is None


# faults


@pytest.mark.parametrize(
    ("log", "fragments"),
    [
        (LOG.replace("bob,b2,3", "bob,b2,good"), ["log.csv line 3", "rating 'good'", "number"]),
        (LOG.replace("bob,b2,3", "bob,b2,"), ["log.csv line 3", "rating is missing"]),
        (LOG.replace("bob,b2,3", "bob,b2,inf"), ["log.csv line 3", "rating 'inf'"]),
        (LOG + ",b2,2,1700000005\n", ["log.csv line 4", "user_id is empty"]),
        (LOG + "cid, ,2,1700000005\n", ["log.csv line 4", "item_id is empty"]),
        (LOG + "\n\nann,b2,x,1700000005\n", ["log.csv line 6", "'x'"]),
        ("\n\n" + LOG + "ann,b2,x,1700000005\n", ["log.csv line 6", "'x'"]),
        (LOG + 'ann,"b\n2",1,1700000005\nann,b2,x,1700000005\n', ["log.csv line 6", "'x'"]),
        (LOG + "cid,b2,2\n", ["log.csv line 4", "3 fields, expected 4"]),
        (LOG + "cid,b2,2,5,6\n", ["log.csv line 4", "5 fields, expected 4", "quote"]),
        (LOG + 'cid,"b2,2,5\n', ["log.csv", "line 4"]),
        (LOG + 'cid,b2,2,"1700000005\nann,b2,1,1700000005\n', ["log.csv", "line 4", "never closed"]),
        (LOG + f"ann,b2,{'x' * 500},1700000005\n", ["x…'"]),
        ("", ["log.csv", "empty"]),
        ("\n \n", ["log.csv", "empty"]),
        ("user_id,item_id,rating,timestamp\n", ["log.csv", "no rows"]),
        ("user_id,item_id,rating,timestamp", ["log.csv", "no rows"]),
        (b"user,item\n\x00\x01,2\n", ["log.csv line 2", "zero byte"]),
        (b"\x89PNG\r\n\x1a\n", ["log.csv", "a picture"]),
        (b"SQLite format 3\x00", ["log.csv", "SQLite"]),
        (gzip.compress(LOG.encode(), mtime=0)[:-9], ["log.csv", "gzip", "cut off"]),
        (b"PAR1 not really", ["log.csv", "Parquet", "damaged"]),
        (b"PK\x03\x04 not really", ["log.csv", "damaged"]),
        ('{"user": 1, "item": 2}\n{"user": 1, "item"\n', ["log.csv line 2", "JSON"]),
        ('{"user": 1, "item": 2}\n[1, 2]\n', ["log.csv line 2", "not a JSON object"]),
    ],
)  # fmt: skip
def test_faults_are_named(reader: Reader, log: str | bytes, fragments: list[str]) -> None:
    message = reader.refused(log)
    assert all(fragment in message for fragment in fragments), message
    assert len(message) < 400


def test_the_first_five_faults_are_listed_and_the_others_counted(reader: Reader) -> None:
    rows = "".join(f"u{k},i{k},{'bad' if k % 2 else '1'},{'soon' if k == 3 else 1_700_000_000}\n" for k in range(20))
    lines = reader.refused(LOG + rows).splitlines()
    places = ["5: rating", "7: rating", "7: timestamp", "9: rating", "11: rating"]
    assert [line.startswith(f"log.csv line {place}") for line, place in zip(lines, places, strict=False)] == [True] * 5
    assert lines[5:] == ["… and 6 more problems"]


def test_faults_of_items_are_named(reader: Reader) -> None:
    assert "items.csv line 4: item_id a1 is there more than once" in reader.refused(
        LOG, ITEMS + "a1,Ran,Drama\n"
    ).replace("'", "")
    assert "items.csv line 4: item_id is empty" in reader.refused(LOG, ITEMS + ",Ran,Drama\n")
    assert "no column is recognised as item_id" in reader.refused(LOG, "nr,title\na1,Alien\n")


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text(LOG)
    with pytest.raises(DataError, match="is a folder; name a file in it"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"nowhere\.csv cannot be read: No such file"):
        read(log, tmp_path / "nowhere.csv")
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "log.csv").write_text(LOG)
    closed.chmod(0)
    try:
        # Whoever may read everything (root) is no test of permissions: another user tries.
        code = (
            "import os, sys; os.getuid() or os.setuid(65534)\n"
            "from pathlib import Path\n"
            "try: Path(sys.argv[1]).read_bytes()\n"
            "except PermissionError as error: print(error.strerror)"
        )
        run = subprocess.run([sys.executable, "-c", code, str(closed / "log.csv")], capture_output=True, text=True)
        assert run.stdout.strip() == "Permission denied"
    finally:
        closed.chmod(0o700)


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"log\.csv cannot be read: Permission denied"):
        read(tmp_path / "log.csv")


# cost


def _frame(n: int) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    pairs = generator.permutation(n * 4)[:n]
    return pd.DataFrame(
        {
            "userId": pairs // 200,
            "movieId": pairs % 200,
            "rating": generator.integers(1, 11, n) / 2,
            "timestamp": generator.integers(1_000_000_000, 1_700_000_000, n),
        }
    )


def test_a_refusal_costs_what_acceptance_costs(reader: Reader) -> None:
    frame = _frame(100_000)
    odd = np.arange(len(frame)) % 5 < 2
    faults = {
        "value": frame.assign(rating="good"),
        "values": frame.assign(rating=[f"x{k % 3_000}" for k in range(len(frame))]),
        "times": frame.assign(timestamp=frame["timestamp"] * np.where(odd, 1_000, 1)),
        "ids": frame.assign(userId=""),
        "pairs": pd.concat([frame[:50_000]] * 2),
    }
    cost = {"accepted": min(_seconds(reader, frame, True) for _ in range(3))}
    cost |= {name: min(_seconds(reader, bad, False) for _ in range(2)) for name, bad in faults.items()}
    # The ratio at a million rows is at most 1.3; small numbers and a busy machine ask for some slack.
    assert all(seconds < 1.8 * cost["accepted"] + 0.1 for seconds in cost.values()), cost


def _seconds(reader: Reader, frame: pd.DataFrame, accepted: bool) -> float:
    content = frame.to_csv(index=False)
    start = time.process_time()
    if accepted:
        reader(content)
    else:
        assert "more problems" in reader.refused(content)
    return time.process_time() - start


@pytest.mark.soak
def test_a_million_interactions_in_six_seconds_and_a_gigabyte_and_ten_times_as_many_in_ten_times_as_much(
    tmp_path: Path,
) -> None:
    code = (
        "import resource, sys; from recfuse_lib.data.read import read\n"
        "tables = read(sys.argv[1], say=lambda line: None); usage = resource.getrusage(resource.RUSAGE_SELF)\n"
        # Not ru_maxrss: a child begins with what its parent had, and the worker of a test run may have more than a gigabyte.
        "peak = open('/proc/self/status').read().split('VmHWM:')[1].split()[0]\n"
        "print(len(tables.interactions), usage.ru_utime + usage.ru_stime, int(peak) / 1024)"
    )
    megabytes = {}
    for n in (1_000_000, 10_000_000):
        _frame(n).to_csv(tmp_path / "log.csv", index=False)
        run = subprocess.run([sys.executable, "-c", code, str(tmp_path / "log.csv")], capture_output=True, text=True)
        rows, seconds, megabytes[n] = (float(word) for word in run.stdout.split())
        assert rows == n
        if n == 1_000_000:
            assert seconds <= 6 and megabytes[n] <= 1_000
    assert megabytes[10_000_000] <= 10 * megabytes[1_000_000]


def test_a_dialect_may_be_stated() -> None:
    source = csv_source("a.csv", b'1|"x\n2|y"\n', separator="|", names=["n", "t"], quoting=False)
    assert source.load(["t"], [])["t"].tolist() == ['"x', 'y"']
