"""The one door through which data enters: a validated, immutable `Dataset`.

Taught in notebook 01.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import pandera.pandas as pandera

INTERACTION_COLUMNS = ("user_id", "item_id", "rating", "timestamp")
CATALOGUE_COLUMNS = ("item_id", "title", "year", "genres")
ATTRIBUTE_COLUMNS = ("runtime_minutes", "budget_usd", "mpaa", "brand", "price", "description")
RATING_RANGE = (0.5, 5.0)
PROBLEMS_SHOWN = 5


class DataError(ValueError):
    """Data that breaks the schema. The message names the file, the line, the field, the reason and the way out."""


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where the rows of a table came from, so that an error can point at one.

    Args:
        name: File name or table name, as it shall stand in an error.
        lines: Line number of each row in the file; `None` for a table that never was a file (rows are then named
            by their position).
    """

    name: str
    lines: np.ndarray | None = None

    def at(self, row: int) -> str:
        return f"{self.name} row {row}" if self.lines is None else f"{self.name} line {self.lines[row]}"


def raise_problems(problems: list[str]) -> None:
    """Raises one `DataError` that lists the first few problems and counts the rest."""
    if not problems:
        return
    more = len(problems) - PROBLEMS_SHOWN
    raise DataError("\n".join(problems[:PROBLEMS_SHOWN]) + (f"\n… and {more:,} more problems" if more > 0 else ""))


def _schemas() -> dict[str, pandera.DataFrameSchema]:
    import pandera.pandas as pandera

    low, high = RATING_RANGE
    identifier = pandera.Check(lambda ids: ids.astype("str").str.len() > 0, error="is empty; every row needs one")
    interactions = {
        "user_id": pandera.Column(checks=identifier),
        "item_id": pandera.Column(checks=identifier),
        "rating": pandera.Column(
            float,
            pandera.Check.in_range(low, high, error=f"is outside {low:g}–{high:g}; rescale the ratings to that range"),
            coerce=True,
        ),
        "timestamp": pandera.Column(
            "int64",
            pandera.Check.ge(0, error="is negative; give Unix seconds (time since 1970-01-01 UTC)"),
            coerce=True,
        ),
    }
    has_text = pandera.Check(
        lambda titles: titles.str.strip().str.len() > 0,
        error="is empty; the text encoder reads it: give every item a title",
    )
    plausible = pandera.Check.in_range(1800, 2100, error="is outside 1800–2100; leave it empty when it is not known")
    positive = pandera.Check.gt(0, error="is not positive; leave it empty when it is not known")
    catalogue = {
        "item_id": pandera.Column(checks=identifier, unique=True),
        "title": pandera.Column("str", has_text),
        "year": pandera.Column("Int64", plausible, nullable=True, coerce=True),
        "genres": pandera.Column("str"),
        "runtime_minutes": pandera.Column("Int64", positive, nullable=True, coerce=True, required=False),
        "budget_usd": pandera.Column("Int64", positive, nullable=True, coerce=True, required=False),
        "mpaa": pandera.Column("str", nullable=True, required=False),
        "brand": pandera.Column("str", nullable=True, required=False),
        "price": pandera.Column(float, positive, nullable=True, coerce=True, required=False),
        "description": pandera.Column("str", nullable=True, required=False),
    }
    return {
        "interactions": pandera.DataFrameSchema(interactions, unique=["user_id", "item_id"]),
        "catalogue": pandera.DataFrameSchema(catalogue),
    }


def check_columns(columns: list[str], required: tuple[str, ...], optional: tuple[str, ...], origin: str) -> None:
    """Raises `DataError` for a missing, unknown or repeated column."""
    known = required + optional
    problems = [
        f"{origin}: unknown column {column!r}; known are {', '.join(known)}. Rename it or leave it out."
        for column in columns
        if column not in known
    ]
    problems += [f"{origin}: column {column!r} is missing" for column in required if column not in columns]
    problems += [
        f"{origin}: column {column!r} is there twice" for column in dict.fromkeys(columns) if columns.count(column) > 1
    ]
    raise_problems(problems)


def _validate(table: pd.DataFrame, schema: pandera.DataFrameSchema, origin: Origin) -> pd.DataFrame:
    import pandera.errors

    table = table.reset_index(drop=True)
    try:
        return pd.DataFrame(schema.validate(table, lazy=True))
    except pandera.errors.SchemaErrors as errors:
        raise_problems(_describe(errors.failure_cases, table, origin))
        raise


def _describe(failures: pd.DataFrame, table: pd.DataFrame, origin: Origin) -> list[str]:
    """One sentence a bad value, in the order of the rows."""
    problems: dict[tuple[int, str], str] = {}
    for failure in failures.itertuples():
        place: Any = failure.index
        row = -1 if place is None or pd.isna(place) else int(place)
        column, check, value = str(failure.column), str(failure.check), failure.failure_case
        if check == "multiple_fields_uniqueness":
            user, item = table.loc[row, "user_id"], table.loc[row, "item_id"]
            text = f"user {user!s} rated item {item!s} more than once; keep the newest rating of each pair"
            column = "duplicate"
        elif check == "field_uniqueness":
            text = f"{column} {value!s} is there more than once"
        elif check == "not_nullable":
            text = f"{column} is missing"
        elif check.startswith(("coerce_dtype", "dtype")):
            text = f"{column} {value!r} is not of type {check.split('(')[-1].rstrip(')').strip(chr(39))}"
        else:
            shown = f"{value:g}" if isinstance(value, float) else str(value)
            text = f"{column} {shown} {check}".replace("  ", " ")
        problems.setdefault((row, column), f"{origin.name if row < 0 else origin.at(row)}: {text}")
    return [problems[key] for key in sorted(problems)]


_ARTICLE = re.compile(
    r"^(?P<title>[^(]+?), (?P<article>The|A|An|Les|Le|La|L'|Il|El|Los|Las|Das|Der|Die)(?P<rest>$| \()"
)


def natural_title(title: str) -> str:
    """Puts the article of a library-sorted title back in front.

    >>> natural_title("Hangover, The"), natural_title("Jetée, La")
    ('The Hangover', 'La Jetée')

    Taught in notebook 01.
    """
    return _ARTICLE.sub(
        lambda match: f"{match['article']} {match['title']}{match['rest']}".replace("' ", "'", 1), title
    )


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Interactions and the catalogue they refer to, validated and in a fixed order.

    Build one with `Dataset.of`, `recfuse_lib.data.movielens.load` or `recfuse_lib.data.custom.read_csv`.

    Attributes:
        name: What the data is called.
        interactions: Columns `user_id`, `item_id`, `rating` (0.5–5), `timestamp` (Unix seconds), ordered by time;
            ties are broken by user, then item.
        catalogue: Columns `item_id`, `title`, `year`, `genres` ("Action|Comedy", "" when none) and, where known,
            `runtime_minutes`, `budget_usd`, `mpaa`, `brand`, `price`, `description`. The position of a row is the
            *item code*.

    Example:
        >>> import pandas as pd
        >>> interactions = pd.DataFrame({"user_id": [7], "item_id": [3], "rating": [4.0], "timestamp": [10]})
        >>> catalogue = pd.DataFrame({"item_id": [3], "title": ["Alien"], "year": [1979], "genres": ["Horror|Sci-Fi"]})
        >>> dataset = Dataset.of("tiny", interactions, catalogue)
        >>> dataset.texts()
        ['Alien (1979). Horror, Sci-Fi.']

    Taught in notebook 01.
    """

    name: str
    interactions: pd.DataFrame
    catalogue: pd.DataFrame

    @classmethod
    def of(
        cls,
        name: str,
        interactions: pd.DataFrame,
        catalogue: pd.DataFrame,
        interactions_origin: Origin | None = None,
        catalogue_origin: Origin | None = None,
    ) -> Dataset:
        """Validates two tables and puts them in order.

        Args:
            name: What the data is called.
            interactions: One row an interaction; see the class.
            catalogue: One row an item; see the class.
            interactions_origin: Where the interactions came from, for error messages.
            catalogue_origin: Where the catalogue came from, for error messages.

        Raises:
            DataError: A column is missing, unknown or repeated, or a row breaks the schema; the message names file,
                line, field and reason.
        """
        interactions_origin = interactions_origin or Origin("interactions")
        catalogue_origin = catalogue_origin or Origin("catalogue")
        check_columns(list(interactions.columns), INTERACTION_COLUMNS, (), interactions_origin.name)
        check_columns(list(catalogue.columns), CATALOGUE_COLUMNS, ATTRIBUTE_COLUMNS, catalogue_origin.name)
        for table, origin in ((interactions, interactions_origin), (catalogue, catalogue_origin)):
            if table.empty:
                raise DataError(f"{origin.name}: no rows; a recommender needs at least one interaction and one item")
        schemas = _schemas()
        catalogue = _validate(catalogue, schemas["catalogue"], catalogue_origin)
        interactions = _validate(interactions, schemas["interactions"], interactions_origin)
        known = interactions["item_id"].isin(catalogue["item_id"])
        items = interactions["item_id"].to_numpy()
        raise_problems(
            [
                f"{interactions_origin.at(int(row))}: item {items[row]} is not in {catalogue_origin.name}"
                for row in np.flatnonzero(~known)
            ]
        )
        interactions = interactions.sort_values(["timestamp", "user_id", "item_id"], ignore_index=True)
        return cls(name, interactions[list(INTERACTION_COLUMNS)], catalogue)

    @functools.cached_property
    def user_ids(self) -> np.ndarray:
        """Sorted ids of all users, (n_users,); the position is the *user code*."""
        return np.unique(self.interactions["user_id"].to_numpy())

    @property
    def n_users(self) -> int:
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        return len(self.catalogue)

    @functools.cached_property
    def _item_index(self) -> pd.Index:  # type: ignore[type-arg]
        index: pd.Index = pd.Index(self.catalogue["item_id"].to_numpy())  # type: ignore[type-arg]
        return index

    def events(self) -> pd.DataFrame:
        """The interactions with codes for ids: `user`, `item` (int32), `rating` (float32), `timestamp` (int64)."""
        return pd.DataFrame(
            {
                "user": np.searchsorted(self.user_ids, self.interactions["user_id"].to_numpy()).astype("int32"),
                "item": self._item_index.get_indexer(pd.Index(self.interactions["item_id"].to_numpy())).astype("int32"),
                "rating": self.interactions["rating"].to_numpy("float32"),
                "timestamp": self.interactions["timestamp"].to_numpy("int64"),
            }
        )

    def user_code(self, user_id: Any) -> int:
        """The code of a user.

        Raises:
            DataError: The user is not in the data.
        """
        found = np.flatnonzero(self.user_ids == user_id)
        if not len(found):
            raise DataError(
                f"user {user_id!r} is not among the {self.n_users:,} users of {self.name}; "
                "recommend to a new person from a history of items instead"
            )
        return int(found[0])

    def item_code(self, item_id: Any) -> int:
        """The code of an item.

        Raises:
            DataError: The item is not in the catalogue.
        """
        code = int(self._item_index.get_indexer(pd.Index([item_id]))[0])
        if code < 0:
            raise DataError(
                f"item {item_id!r} is not among the {self.n_items:,} items of {self.name}; "
                "add it to the catalogue first"
            )
        return code

    def texts(self) -> list[str]:
        """One text an item for a language model: title, year, genres and, where there is one, the description."""
        descriptions = self.catalogue.get("description", pd.Series(pd.NA, self.catalogue.index))
        rows = zip(self.catalogue["title"], self.catalogue["year"], self.catalogue["genres"], descriptions, strict=True)
        return [_verbalise(*row) for row in rows]


def _verbalise(title: str, year: Any, genres: str, description: Any) -> str:
    when = "" if pd.isna(year) else f" ({year})"
    what = f" {genres.replace('|', ', ')}." if genres else ""
    more = "" if pd.isna(description) else f" {description}"
    return f"{natural_title(title)}{when}.{what}{more}"
