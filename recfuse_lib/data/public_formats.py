"""Public data sets by name: folders as their makers publish them, read into the same tables as one's own files.

What is counted after the fact (mean ratings, numbers of reviews) is left out everywhere.

Taught in notebook 01.
"""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from recfuse_lib.data.assembly import Part, assemble
from recfuse_lib.data.containers import open_table
from recfuse_lib.data.faults import DataError, Origin
from recfuse_lib.data.roles import CATEGORIES, CATEGORY, DATE, LABEL_SEPARATOR, NUMBER, TEXT, listed
from recfuse_lib.data.schema import Dataset

TAGS_KEPT = 5


@dataclasses.dataclass(frozen=True)
class File:
    """A file of a public data set.

    Attributes:
        pattern: Its name; the first file in the folder or below that fits is read.
        columns: "name in the file>name here" for each column that is read, ">…" left out where the two are the same.
            Of a file without a header line, all columns in their order, a "-" before those that are not read.
        has_header: Whether the first line names the columns.
        separator, encoding, quoting: As in `containers.open_table`.
        change: What becomes of the table, given the folder.
    """

    pattern: str
    columns: str
    has_header: bool = True
    separator: str | None = None
    encoding: str | None = None
    quoting: bool | None = None
    change: Callable[[pd.DataFrame, Path], pd.DataFrame] | None = None

    def find(self, folder: Path) -> Path | None:
        return next((path for path in sorted(folder.rglob(self.pattern), key=str) if path.is_file()), None)

    def part(self, folder: Path) -> Part | None:
        """The file as a part of a data set, or None if it is not there."""
        path = self.find(folder)
        if path is None:
            return None
        pairs = [column.split(">") for column in self.columns.split()]
        source = open_table(
            path,
            encoding=self.encoding,
            separator=self.separator,
            names=None if self.has_header else [pair[0] for pair in pairs],
            quoting=self.quoting,
            is_header=lambda row: pairs[0][0] in {column.split(":")[0] for column in row},
        )
        columns = {column.split(":")[0]: column for column in source.columns}
        there = {pair[-1]: columns[pair[0]] for pair in pairs if pair[0] in columns and pair[0][0] != "-"}
        for name, field in ((pair[0], pair[-1]) for pair in pairs):
            if field in ("user_id", "item_id") and field not in there:
                raise DataError(f"{path.name}: column {name!r} is missing; is this file in the public format?")
        names = {column: field for field, column in there.items()}
        repeated = [there[name] for name in ("user_id", "item_id", "value") if name in there]
        table = source.load(list(there.values()), repeated).rename(columns=names)
        if self.change is None:
            return Part(table, source.origin, source.form, there, list(there.values()))
        return Part(self.change(table, folder).reset_index(drop=True), Origin(path.name), source.form, there)


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a public data set lies in its folder, and what is known of it beforehand; see `read.read`."""

    log: File
    items: File | None = None
    users: File | None = None
    positive: str | None = None
    signal: str | None = None
    keep: str | None = None


def load(name: str, folder: Path | str, say: Callable[[str], None] = print) -> Dataset:
    """Reads a public data set.

    Args:
        name: A key of `FORMATS`.
        folder: Where its files lie, unpacked; single files may stay gzipped.
        say: Gets each line of what was understood.

    Raises:
        DataError: There is no such name, no such file, or a file is not in the public format.
    """
    if name not in FORMATS:
        raise DataError(f"no public format is called {name!r}; there are {', '.join(FORMATS)}")
    folder = Path(folder)
    layout = next((one for one in FORMATS[name] if one.log.find(folder)), None)
    if layout is None:
        expected = " or ".join(one.log.pattern for one in FORMATS[name])
        raise DataError(f"{folder}: there is no {expected}; name the folder where {name} was unpacked")
    log, items, users = (file.part(folder) if file else None for file in (layout.log, layout.items, layout.users))
    assert log
    there = [column for part in (items, users) if part for column in part.table]
    tables = assemble(
        log,
        items,
        users,
        roles={column: role for column, role in ROLES.items() if column in there},
        positive=layout.positive,
        signal=layout.signal,
        keep=layout.keep,
        say=say,
    )
    return Dataset(name, **tables)


GENRES_100K = """Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy Film-Noir Horror
    Musical Mystery Romance Sci-Fi Thriller War Western""".split()  # noqa: SIM905


def _movielens_titles(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """ "Toy Story (1995)" becomes a title and a year."""
    parts = table["title"].str.extract(r"^(?P<title>.*?)\s*(?:\((?P<year>\d{4})\))?\s*$")
    genres = table["genres"].mask(table["genres"] == "(no genres listed)", "")
    return table.assign(title=parts["title"], year=parts["year"], genres=genres)


def _movielens_flags(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    flags = table[GENRES_100K] == "1"
    genres = [LABEL_SEPARATOR.join(flags.columns[row]) for row in flags.to_numpy()]
    return _movielens_titles(table[["item_id", "title"]].assign(genres=pd.Series(genres, dtype="str")), folder)


def _recbole_films(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Genres stand side by side; a film without a name is "unkonwn", and one has its year in the title only."""
    known = table["genres"].mask(table["genres"] == "unknown", "").str.replace(" ", LABEL_SEPARATOR, regex=False)
    titles = _movielens_titles(table.assign(genres=known), folder)
    year = table["year"].where(table["year"].str.fullmatch(r"\d{4}"), titles["year"])
    return titles.assign(title=titles["title"].str.replace("unkonwn", "unknown"), year=year)


def _amazon_texts(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    texts = {name: table[name].map(lambda cell: " ".join(listed(cell))) for name in ("description", "features")}
    return table.assign(**texts)


def _mind_clicks(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """The clicks of the impressions; before the first of them, in their order, those of the history, seconds apart.

    The log has an order of the history and no times of it.
    """
    when = pd.to_datetime(table["timestamp"], format="%m/%d/%Y %I:%M:%S %p", utc=True)
    table = table.assign(timestamp=when.dt.as_unit("s").astype("int64"), item_id=table["impressions"].str.split())
    clicks = table[["user_id", "item_id", "timestamp"]].explode("item_id", ignore_index=True)
    clicks = clicks[clicks["item_id"].str.endswith("-1")]
    clicks = clicks.assign(item_id=clicks["item_id"].str.removesuffix("-1"))
    before = table.sort_values("timestamp").drop_duplicates("user_id")
    before = before.assign(item_id=before["history"].str.split())[["user_id", "item_id", "timestamp"]]
    before = before.explode("item_id", ignore_index=True).dropna()
    from_end = before.groupby("user_id", observed=True).cumcount(ascending=False) + 1
    return pd.concat([before.assign(timestamp=before["timestamp"] - from_end), clicks])


def _lastfm_tags(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """The tags that most people gave an artist."""
    given = File("user_taggedartists.dat", "userID>user_id artistID>item_id tagID>tag", quoting=False).part(folder)
    tags = File("tags.dat", "tagID>tag tagValue>label", encoding="latin-1", quoting=False).part(folder)
    if given is None or tags is None:
        return table
    counts = given.table.astype("str").value_counts(["item_id", "tag"]).reset_index()
    counts = counts.merge(tags.table).sort_values(["count", "label"], ascending=[False, True])
    best = counts.groupby("item_id")["label"].agg(lambda labels: LABEL_SEPARATOR.join(labels[:TAGS_KEPT]))
    return table.assign(tags=table["item_id"].astype("str").map(best).fillna(""))


def _goodreads_signals(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """0 is no rating: such a row says that somebody read a book, or put it on a shelf."""
    rated = ~table["value"].astype("str").isin(["0", ""])
    read = table["is_read"].str.lower().isin(["true", "1"])
    signal = pd.Series("shelve", table.index).mask(read, "read").mask(rated, "rating")
    return table.drop(columns="is_read").assign(signal=signal, value=table["value"].astype("str").where(rated, ""))


def _goodreads_genres(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    genres = File("goodreads_book_genres_initial.json*", "book_id>item_id genres").part(folder)
    if genres is None:
        return table
    labels = genres.table["genres"].str.findall(r'"([^"]+)":').map(lambda names: LABEL_SEPARATOR.join(names))
    return table.assign(genres=table["item_id"].astype("str").map(labels.set_axis(genres.table["item_id"])).fillna(""))


def _bookcrossing_signals(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """0 is no rating: such a row says that somebody had the book."""
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
    captions = File(
        "kuairec_caption_category.csv",
        "video_id>item_id caption topic_tag>topics first_level_category_name>category",
    ).part(folder)
    return table if captions is None else table.merge(captions.table.astype("str"), how="left").fillna("")


FORMATS: dict[str, tuple[Layout, ...]] = {
    "movielens": (
        Layout(
            File("u.data", "user_id item_id rating>value timestamp", False, "\t"),
            File(
                "u.item",
                f"item_id title -release_date -video_release_date -imdb_url -unknown {' '.join(GENRES_100K)}",
                False, "|", "latin-1", False, _movielens_flags,
            ),
            File("u.user", "user_id age gender occupation zip_code", False, "|"),
        ),
        Layout(
            File("ml-100k.inter", "user_id item_id rating>value timestamp"),
            File(
                "ml-100k.item", "item_id movie_title>title release_year>year class>genres",
                separator="\t", quoting=False, change=_recbole_films,
            ),
            File("ml-100k.user", "user_id age gender occupation zip_code"),
        ),
        Layout(
            File("ratings.dat", "user_id item_id rating>value timestamp", False, "::"),
            File("movies.dat", "item_id title genres", False, "::", "latin-1", change=_movielens_titles),
            File("users.dat", "user_id gender age occupation zip_code", False, "::"),
        ),
        Layout(
            File("ratings.csv", "userId>user_id movieId>item_id rating>value timestamp"),
            File("movies.csv", "movieId>item_id title genres", change=_movielens_titles),
        ),
    ),
    "amazon-reviews-2023": (
        Layout(
            File("*.jsonl*", "user_id parent_asin>item_id rating>value timestamp"),
            File(
                "meta_*.jsonl*",
                "parent_asin>item_id title main_category>category categories store>brand price features description",
                change=_amazon_texts,
            ),
            keep="last",
        ),
    ),
    "mind": (
        Layout(
            File(
                "behaviors.tsv", "-id user_id timestamp history impressions",
                False, "\t", quoting=False, change=_mind_clicks,
            ),
            File(
                "news.tsv", "item_id category subcategory title abstract -url -title_entities -abstract_entities",
                False, "\t", quoting=False,
            ),
            signal="click", keep="last",
        ),
    ),
    "lastfm-hetrec": (
        Layout(
            File("user_artists.dat", "userID>user_id artistID>item_id weight>value"),
            File("artists.dat", "id>item_id name", separator="\t", quoting=False, change=_lastfm_tags),
            signal="play",
        ),
    ),
    "yelp": (
        Layout(
            File("yelp_academic_dataset_review.json*", "user_id business_id>item_id stars>value date>timestamp"),
            File("yelp_academic_dataset_business.json*", "business_id>item_id name city state categories"),
            File("yelp_academic_dataset_user.json*", "user_id yelping_since>since"),
            keep="last",
        ),
    ),
    "goodreads": (
        Layout(
            File(
                "goodreads_interactions*.json*", "user_id book_id>item_id is_read rating>value date_added>timestamp",
                change=_goodreads_signals,
            ),
            File(
                "goodreads_books*.json*",
                "book_id>item_id title description publication_year>year num_pages>pages publisher "
                "language_code>language",
                change=_goodreads_genres,
            ),
            positive="rating>=4", keep="last",
        ),
    ),
    "book-crossing": (
        Layout(
            File(
                "*Ratings.csv", "User-ID>user_id ISBN>item_id Book-Rating>value",
                encoding="latin-1", change=_bookcrossing_signals,
            ),
            File(
                "*Books.csv",
                "ISBN>item_id Book-Title>title Book-Author>author Year-Of-Publication>year Publisher>publisher",
                encoding="latin-1", change=_bookcrossing_books,
            ),
            File(
                "*Users.csv", "User-ID>user_id Location>country Age>age",
                encoding="latin-1", change=_bookcrossing_countries,
            ),
            positive="rating>=7", keep="last",
        ),
    ),
    "kuairec": tuple(
        Layout(
            File(matrix, "user_id video_id>item_id watch_ratio>value timestamp", change=_kuairec_timed),
            File("item_categories.csv", "video_id>item_id feat>tags", change=_kuairec_captions),
            signal="watch", positive="watch>=2", keep="last",
        )
        for matrix in ("big_matrix.csv", "small_matrix.csv")
    ),
}  # fmt: skip
"""The public formats by name; where one was published in several ways, the first whose log is in the folder is read."""

ROLES = {
    **dict.fromkeys(("title", "name", "abstract", "description", "features", "caption"), TEXT),
    **dict.fromkeys(("genres", "categories", "tags", "topics"), CATEGORIES),
    **dict.fromkeys(("category", "subcategory", "brand", "author", "publisher", "language", "city", "state"), CATEGORY),
    **dict.fromkeys(("gender", "occupation", "zip_code", "country"), CATEGORY),
    **dict.fromkeys(("year", "price", "pages", "age"), NUMBER),
    "since": DATE,
}
"""The roles of all columns that are read."""
