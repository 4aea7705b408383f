"""What people do, kept so that nothing acknowledged is lost, and given back as the course's `Dataset`.

Taught in notebooks 18 and 19.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from recfuse_lib.data.positives import RATING_RANGE
from recfuse_lib.data.roles import CATEGORIES, CATEGORY, NUMBER, TEXT
from recfuse_lib.data.schema import Dataset

STARS = {"dismissed": 1.0, "clicked": 3.0, "favourited": 4.0, "carted": 4.5, "liked": 5.0, "bought": 5.0}
"""What a behaviour says, in stars. An event of kind "rated" brings its own."""

LONGEST_ID, LONGEST_TEXT = 200, 10_000
WAIT_SECONDS = 5
ROWS_AT_ONCE = 5_000
_SET_UP_LOCK = 0x52656346757365

_TABLES = sa.MetaData()
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_EVENTS = sa.Table(
    "events",
    _TABLES,
    sa.Column("number", _NUMBER, primary_key=True),
    sa.Column("key", sa.String(LONGEST_ID), nullable=False, unique=True),
    sa.Column("user_id", sa.String(LONGEST_ID), nullable=False),
    sa.Column("item_id", sa.String(LONGEST_ID), nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("rating", sa.Double, nullable=False),
    sa.Column("timestamp", sa.BigInteger, nullable=False),
    sa.Column("by_chance", sa.Boolean, nullable=False),
    sa.Index("events_of_user", "user_id", "timestamp"),
)
_ITEMS = sa.Table(
    "items",
    _TABLES,
    sa.Column("number", _NUMBER, primary_key=True),
    sa.Column("item_id", sa.String(LONGEST_ID), nullable=False, unique=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("genres", sa.Text, nullable=False),
    *(sa.Column(name, sa.Integer) for name in ("year", "runtime_minutes")),
    *(sa.Column(name, sa.Text) for name in ("mpaa", "brand", "description")),
    sa.Column("budget_usd", sa.BigInteger),
    sa.Column("price", sa.Double),
    sa.Column("picture", sa.LargeBinary),
)
_ERASURES = sa.Table(
    "erasures",
    _TABLES,
    sa.Column("number", _NUMBER, primary_key=True),
    sa.Column("timestamp", sa.BigInteger, nullable=False),
)


class StoreUnavailable(RuntimeError):
    """The database cannot be reached or cannot write now. Nothing was half-written; send the same again later."""


class EventError(ValueError):
    """An event or an item that the store does not take. The message says which one, why, and what to do."""


@dataclasses.dataclass(frozen=True)
class Event:
    """One person did one thing with one item.

    Args:
        key: The sender's name for this event. What arrives twice under one key is one event.
        user_id: Who.
        item_id: With which item.
        timestamp: When, Unix seconds.
        kind: What, one of `STARS`, or "rated".
        rating: Stars, 0.5–5; needed for "rated", otherwise what `STARS` says.
        by_chance: Whether the item was shown at random. Such events alone tell fairly which of two models is better:
            what a model chose to show could be liked, what it left out could not.

    Raises:
        EventError: A field is empty, too long, not text, unknown or out of range.

    Example:
        >>> Event("k1", "ann", "alien", timestamp=10, kind="liked").rating
        5.0
    """

    key: str
    user_id: str
    item_id: str
    timestamp: int
    kind: str = "rated"
    rating: float | None = None
    by_chance: bool = False

    def __post_init__(self) -> None:
        for name in ("key", "user_id", "item_id"):
            _check_text(getattr(self, name), name, LONGEST_ID)
        if self.kind != "rated":
            if self.kind not in STARS:
                raise EventError(f"kind is {self.kind!r}; it is rated, {', '.join(sorted(STARS))}")
            if self.rating not in (None, STARS[self.kind]):
                raise EventError(f"rating {self.rating!r} of a {self.kind!r} event; leave it out, or send kind 'rated'")
            object.__setattr__(self, "rating", STARS[self.kind])
        low, high = RATING_RANGE
        number = isinstance(self.rating, int | float) and not isinstance(self.rating, bool)
        if not number or not low <= float(self.rating or 0) <= high:
            raise EventError(f"rating is {self.rating!r}; an event of kind 'rated' needs {low:g}–{high:g} stars")
        if not isinstance(self.timestamp, int) or not 0 <= self.timestamp < 2**62:
            raise EventError(f"timestamp is {self.timestamp!r}; give whole Unix seconds, 0 or more")


@dataclasses.dataclass(frozen=True)
class Item:
    """One item of the catalogue, as `recfuse_lib.data.schema.Dataset` has it, with a picture where there is one.

    Args:
        item_id, title: What it is called by machines and by people.
        genres: "Action|Comedy", "" when none.
        year, runtime_minutes, budget_usd, mpaa, brand, price, description: What else is known.
        picture: The bytes of a picture file.

    Raises:
        EventError: The id or the title is empty, or a text is too long or not text.
    """

    item_id: str
    title: str
    year: int | None = None
    genres: str = ""
    runtime_minutes: int | None = None
    budget_usd: int | None = None
    mpaa: str | None = None
    brand: str | None = None
    price: float | None = None
    description: str | None = None
    picture: bytes | None = None

    def __post_init__(self) -> None:
        _check_text(self.item_id, "item_id", LONGEST_ID)
        _check_text(self.title, "title", LONGEST_TEXT)
        for name in ("genres", "mpaa", "brand", "description"):
            if value := getattr(self, name):
                _check_text(value, name, LONGEST_TEXT)


_ITEM_COLUMNS = tuple(field.name for field in dataclasses.fields(Item))

ROLES = {
    **dict.fromkeys(("title", "description"), TEXT),
    **dict.fromkeys(("year", "runtime_minutes", "budget_usd", "price"), NUMBER),
    "genres": CATEGORIES,
    **dict.fromkeys(("mpaa", "brand"), CATEGORY),
}
"""The roles of what is known of an item."""


class EventStore:
    """Events and items in a database: SQLite in a file, or PostgreSQL.

    What `add` has returned is on disk: SQLite runs with a write-ahead log and `synchronous=FULL`, PostgreSQL with
    `synchronous_commit=on`. Nothing is read or written before the first call, so a service starts without its database.

    Args:
        url: Where, as `sqlite:///events.db` or `postgresql+psycopg://user@host/name`.

    Raises:
        ValueError: The URL is not one of SQLite in a file or of PostgreSQL with psycopg.

    Example:
        >>> import pathlib, tempfile
        >>> store = EventStore(f"sqlite:///{pathlib.Path(tempfile.mkdtemp())}/events.db")
        >>> store.add_items([Item("alien", "Alien", 1979, "Horror|Sci-Fi")])
        >>> like = Event("k1", "ann", "alien", timestamp=10, kind="liked")
        >>> store.add([like]), store.add([like]), store.count()
        (['k1'], ['k1'], 1)
        >>> store.dataset().texts()
        ['Alien (1979). Horror, Sci-Fi.']
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = sa.make_url(url)
        except sa.exc.ArgumentError as error:
            raise ValueError("the database URL cannot be read; write it as sqlite:///events.db") from error
        lite = parsed.get_backend_name() == "sqlite"
        if lite and parsed.database in (None, "", ":memory:"):
            raise ValueError("an SQLite database in memory loses everything; name a file, as sqlite:///events.db")
        if not lite and parsed.drivername != "postgresql+psycopg":
            raise ValueError(f"{parsed.drivername} is not supported; use sqlite:///… or postgresql+psycopg://…")
        self.url = parsed.render_as_string(hide_password=True)
        durable = {"connect_timeout": WAIT_SECONDS, "options": "-c synchronous_commit=on"}
        # A machine that is gone without a word: without these, a call waits for two hours.
        alive = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}
        arguments = {"timeout": WAIT_SECONDS} if lite else durable | alive
        self._engine = sa.create_engine(
            parsed, connect_args=arguments, pool_pre_ping=not lite, pool_timeout=WAIT_SECONDS
        )
        if lite:
            sa.event.listen(self._engine, "connect", _make_durable)
        self._insert: Any = sqlite.insert if lite else postgresql.insert
        self._ready = False

    def close(self) -> None:
        """Closes the connections; a later call opens new ones."""
        self._engine.dispose()

    def add(self, events: Iterable[Event]) -> list[str]:
        """Writes events; when this returns they are on disk, all of them.

        Args:
            events: In any number. An event whose key is there already is not written again.

        Returns:
            The keys of all events given, in their order: written now or before.

        Raises:
            EventError: An item is not in the store, or a key already stands for another event. Nothing is written.
            StoreUnavailable: See there.
        """
        rows = [dataclasses.asdict(event) for event in events]
        if rows:
            with self._transaction() as connection:
                for start in range(0, len(rows), ROWS_AT_ONCE):
                    self._write(connection, rows[start : start + ROWS_AT_ONCE])
        return [row["key"] for row in rows]

    def _write(self, connection: sa.Connection, rows: list[dict[str, Any]]) -> None:
        items = {row["item_id"] for row in rows}
        known = set(connection.scalars(sa.select(_ITEMS.c.item_id).where(_ITEMS.c.item_id.in_(items))))
        if unknown := sorted(items - known):
            raise EventError(f"item {unknown[0]!r} is not in the store; add it first")
        connection.execute(self._insert(_EVENTS).on_conflict_do_nothing(index_elements=["key"]), rows)
        wanted = _EVENTS.c.key.in_([row["key"] for row in rows])
        there = {row["key"]: row for row in connection.execute(sa.select(_EVENTS).where(wanted)).mappings()}
        for row in rows:
            if any(there[row["key"]][name] != value for name, value in row.items()):
                raise EventError(f"key {row['key']!r} already stands for another event; give every event its own key")

    def add_items(self, items: Iterable[Item]) -> None:
        """Adds items to the end of the catalogue; one that is there already is replaced and keeps its place.

        Raises:
            StoreUnavailable: See there.
        """
        rows = {item.item_id: vars(item) for item in items}
        if not rows:
            return
        statement = self._insert(_ITEMS)
        new = {name: statement.excluded[name] for name in _ITEM_COLUMNS if name != "item_id"}
        statement = statement.on_conflict_do_update(index_elements=["item_id"], set_=new)
        with self._transaction() as connection:
            connection.execute(statement, list(rows.values()))

    def import_dataset(self, dataset: Dataset) -> None:
        """Takes over a data set: its catalogue, and its interactions as events of kind "rated". Twice is once.

        Who is erased afterwards does not come back: once somebody was erased, the interactions of a data set of which
        there are some already are not taken over again. (The store does not know who it was.)

        Raises:
            EventError: An interaction cannot be an event.
        """
        table = dataset.catalogue.reindex(columns=list(_ITEM_COLUMNS)).astype(object)
        rows: list[dict[Any, Any]] = table.where(table.notna(), None).to_dict("records")
        self.add_items(Item(**{**row, "item_id": str(row["item_id"]), "genres": row["genres"] or ""}) for row in rows)
        interactions = dataset.interactions
        if self.erasures() and self._holds(f"{dataset.name}:"):
            return
        users, items = (interactions[column].astype("str").tolist() for column in ("user_id", "item_id"))
        ratings, timestamps = interactions["value"].tolist(), interactions["timestamp"].tolist()
        self.add(
            Event(f"{dataset.name}:{user}:{item}", user, item, timestamp, rating=rating)
            for user, item, rating, timestamp in zip(users, items, ratings, timestamps, strict=True)
        )

    def count(self) -> int:
        """How many events there are."""
        return self._count(_EVENTS)

    def items(self) -> list[Item]:
        """The catalogue, in the order in which items came."""
        wanted = sa.select(*(_ITEMS.c[name] for name in _ITEM_COLUMNS)).order_by(_ITEMS.c.number)
        with self._transaction() as connection:
            rows = connection.execute(wanted)
            return [Item(**row) for row in rows.mappings()]

    def history(self, user_id: str, limit: int = 1_000) -> list[Event]:
        """A person's newest events, oldest first; one that the store has never met has none."""
        own = sa.select(_EVENTS).where(_EVENTS.c.user_id == user_id)
        newest = own.order_by(_EVENTS.c.timestamp.desc(), _EVENTS.c.number.desc()).limit(limit)
        with self._transaction() as connection:
            return [_event(row) for row in connection.execute(newest).mappings()][::-1]

    def dataset(self, before: int | None = None, name: str = "events") -> Dataset:
        """All events as a data set with text ids; of several of one person with one item, the newest counts.

        Args:
            before: Only events earlier than this, Unix seconds. The catalogue is whole.
            name: What the data is called.

        Raises:
            recfuse_lib.data.faults.DataError: There are no events or no items.
            StoreUnavailable: See there.
        """
        columns = ("user_id", "item_id", "rating", "timestamp")
        wanted = sa.select(*(_EVENTS.c[column] for column in columns)).order_by(_EVENTS.c.timestamp, _EVENTS.c.number)
        if before is not None:
            wanted = wanted.where(_EVENTS.c.timestamp < before)
        with self._transaction() as connection:
            interactions = pd.DataFrame(connection.execute(wanted).all(), columns=list(columns))
            known = [column for column in _ITEM_COLUMNS if column != "picture"]
            rows = connection.execute(sa.select(*(_ITEMS.c[column] for column in known)).order_by(_ITEMS.c.number))
            catalogue = pd.DataFrame(rows.all(), columns=known)
        interactions = interactions.drop_duplicates(["user_id", "item_id"], keep="last")
        optional = [column for column in known if column not in ("item_id", "title", "year", "genres")]
        catalogue = catalogue.drop(columns=[column for column in optional if catalogue[column].isna().all()])
        roles = {column: role for column, role in ROLES.items() if column in catalogue}
        return Dataset.of(name, interactions, catalogue, roles=roles, positive="rating>=4")

    def by_chance(self, since: int) -> pd.DataFrame:
        """Who met which item by chance from a moment on: columns `user_id`, `item_id`."""
        wanted = sa.select(_EVENTS.c.user_id, _EVENTS.c.item_id).distinct()
        wanted = wanted.where(_EVENTS.c.by_chance, _EVENTS.c.timestamp >= since)
        with self._transaction() as connection:
            return pd.DataFrame(connection.execute(wanted).all(), columns=["user_id", "item_id"])

    def erase(self, user_id: str) -> int:
        """Removes a person: all their events, now; their place in the model is gone at the next build.

        That somebody was erased is counted (`erasures`), but not who.

        Returns:
            How many events were removed.
        """
        with self._transaction() as connection:
            removed = connection.execute(sa.delete(_EVENTS).where(_EVENTS.c.user_id == user_id)).rowcount
            connection.execute(sa.insert(_ERASURES), {"timestamp": int(time.time())})
        self._forget_deleted()
        return removed

    def erasures(self) -> int:
        """How many times somebody was erased: a bundle built at a smaller count may still hold that person."""
        return self._count(_ERASURES)

    def _holds(self, beginning: str) -> bool:
        """Whether the key of an event begins so."""
        wanted = sa.select(_EVENTS.c.number).where(_EVENTS.c.key.startswith(beginning, autoescape=True)).limit(1)
        with self._transaction() as connection:
            return connection.scalar(wanted) is not None

    def _count(self, table: sa.Table) -> int:
        with self._transaction() as connection:
            return int(connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0)

    def _forget_deleted(self) -> None:
        """Deleted rows leave no bytes: SQLite zeroes them, and its log is emptied; PostgreSQL rewrites the table."""
        lite = self._engine.dialect.name == "sqlite"
        with _as_unavailable(self.url), self._engine.connect() as connection:
            plain = connection.execution_options(isolation_level="AUTOCOMMIT")
            plain.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)" if lite else "VACUUM FULL events")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        with _as_unavailable(self.url), self._engine.begin() as connection:
            if not self._ready:
                self._set_up(connection)
            yield connection
        self._ready = True

    def _set_up(self, connection: sa.Connection) -> None:
        if self._engine.dialect.name == "postgresql":
            # Two processes that start at once: CREATE … IF NOT EXISTS alone may fail in one of them.
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_SET_UP_LOCK)))
        for table in _TABLES.sorted_tables:
            connection.execute(CreateTable(table, if_not_exists=True))
            for index in table.indexes:
                connection.execute(CreateIndex(index, if_not_exists=True))


def _make_durable(connection: Any, _record: Any) -> None:
    """What SQLite is told on every connection."""
    for setting in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {setting}").close()


@contextlib.contextmanager
def _as_unavailable(url: str) -> Iterator[None]:
    try:
        yield
    except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.InternalError, sa.exc.TimeoutError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise StoreUnavailable(f"{url}: {reason}; send the same again later: one key is written once") from error


def _event(row: Any) -> Event:
    return Event(
        row["key"], row["user_id"], row["item_id"], row["timestamp"], row["kind"], row["rating"], row["by_chance"]
    )


def _check_text(value: Any, name: str, longest: int) -> None:
    if not isinstance(value, str) or not value.strip():
        raise EventError(f"{name} is {value!r}; it must be text, and not empty")
    if len(value) > longest:
        raise EventError(f"{name} has {len(value):,} characters; at most {longest:,} are kept")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise EventError(f"{name} holds a character that no database keeps; leave out NUL and lone surrogates")
