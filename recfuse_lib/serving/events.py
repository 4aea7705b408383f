"""The event store: loses nothing acknowledged, and returns events as a `Dataset`. Taught in notebooks 18 and 19."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import POSITIVE
from recfuse_lib.serving.catalogue import ItemExists, column_of
from recfuse_lib.serving.database import as_unavailable, connect
from recfuse_lib.serving.messages import HIDING, Event, Item, Review, Shown

WRONG_CLOCK = 24 * 3600  # seconds from now on from which an event cannot be meant: it would be the newest for ever
ROWS_AT_ONCE = 5_000
_SET_UP_LOCK = 0x52656346757365

_TABLES = sa.MetaData()
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _table(name: str, unique: str = "", **columns: Any) -> sa.Table:
    own = (sa.Column(column, kind, unique=column == unique) for column, kind in columns.items())
    return sa.Table(name, _TABLES, sa.Column("number", _NUMBER, primary_key=True), *own)


_TEXTS = dict.fromkeys(("key", "user_id", "item_id", "kind"), sa.Text)
# `exploration` is what clients said of an event before answers were kept; nothing writes it any more.
_SINCE = {"answer_id": sa.Text, "exploration": sa.Boolean}
_EVENTS = _table("events", "key", **_TEXTS, timestamp=sa.BigInteger, rating=sa.Double, **_SINCE)
_LISTS = ("item_ids", "propensities")
_SHOWN = dict.fromkeys(("answer_id", "user_id", "version", *_LISTS, "drawn"), sa.Text)
_ANSWERS = _table("answers", "answer_id", **_SHOWN, timestamp=sa.BigInteger)
_ITEMS = _table("catalogue", "item_id", item_id=sa.Text, attributes=sa.Text)
_EDITS = _table("edits", "item_id", item_id=sa.Text, removed=sa.Boolean)
_REVIEWS = _table("reviews", "", **dict.fromkeys(("item_id", "action", "reason"), sa.Text), timestamp=sa.BigInteger)
_ROLES = _table("roles", roles=sa.Text)
_ERASURES, _CHANGES = (_table(name, timestamp=sa.BigInteger) for name in ("erasures", "changes"))
sa.Index("events_of_user", _EVENTS.c.user_id, _EVENTS.c.timestamp)


class EventError(ValueError):
    """Events that the store rejects. The message says which one, why, and what to do."""


class EventStore:
    """Events and items in a database: SQLite in a file, or PostgreSQL. The first call connects, so a service starts
    without its database; every method raises `StoreUnavailable` when it cannot be reached. What `add` has returned is
    on disk: SQLite runs with a write-ahead log and `synchronous=FULL`, PostgreSQL with `synchronous_commit=on`.

    Example:
        >>> import pathlib, tempfile
        >>> store = EventStore(f"sqlite:///{pathlib.Path(tempfile.mkdtemp())}/events.db")
        >>> store.add_items([Item("alien", {"title": "Alien", "year": 1979, "genres": ["Horror", "Sci-Fi"]})])
        >>> like = Event("k1", "ann", "alien", timestamp=10, kind="liked")
        >>> store.add([like]), store.add([like]), store.count()
        (['k1'], ['k1'], 1)
        >>> store.dataset().texts()
        ['Alien (1979). Horror, Sci-Fi.']
    """

    def __init__(self, url: str) -> None:
        self._engine = connect(url)
        self.url = self._engine.url.render_as_string(hide_password=True)
        lite = self._engine.dialect.name == "sqlite"
        self._insert: Any = sqlite.insert if lite else postgresql.insert
        self._ready = False

    def close(self) -> None:
        """Closes the connections; a later call opens new ones."""
        self._engine.dispose()

    def add(self, events: Iterable[Event]) -> list[str]:
        """Writes events and returns their keys, which are then on disk; a stored event is not written twice.

        Raises:
            EventError: An item is not in the store, a key belongs to another event, or an event is more than a day from
                now. Nothing is written.
        """
        rows = [vars(event) for event in events]
        if any(row["timestamp"] > _latest() for row in rows):
            raise EventError("a timestamp is more than a day from now; send Unix seconds of a clock that is right")
        with self._transaction() as connection:
            for start in range(0, len(rows), ROWS_AT_ONCE):
                self._write(connection, rows[start : start + ROWS_AT_ONCE])
        return [row["key"] for row in rows]

    def _write(self, connection: sa.Connection, rows: list[dict[str, Any]]) -> None:
        items = {row["item_id"] for row in rows}
        known = set(connection.scalars(sa.select(_ITEMS.c.item_id).where(_ITEMS.c.item_id.in_(items))))
        for place, row in enumerate(rows):
            if row["item_id"] not in known:
                raise EventError(f"events.{place}: its item is not in the store; add it first")
        connection.execute(self._insert(_EVENTS).on_conflict_do_nothing(index_elements=["key"]), rows)
        wanted = _EVENTS.c.key.in_([row["key"] for row in rows])
        there = {row["key"]: row for row in connection.execute(sa.select(_EVENTS).where(wanted)).mappings()}
        for place, row in enumerate(rows):
            if any(there[row["key"]][name] != value for name, value in row.items()):
                raise EventError(f"events.{place}: its key already stands for another event; give each its own key")

    def add_answers(self, answers: Iterable[Shown]) -> None:
        """Writes what was shown; an answer that is there already stays as it is."""
        rows = [vars(one) | {name: json.dumps(getattr(one, name)) for name in _LISTS} for one in answers]
        if rows:
            with self._transaction() as connection:
                connection.execute(self._insert(_ANSWERS).on_conflict_do_nothing(index_elements=["answer_id"]), rows)

    def answers(self, since: int = 0, user_id: str | None = None) -> list[Shown]:
        """Returns what was shown since a moment, to a person or to all, in the order in which it was written."""
        wanted = sa.select(*(_ANSWERS.c[name] for name in Shown.__dataclass_fields__))
        to_them = sa.true() if user_id is None else _ANSWERS.c.user_id == user_id
        wanted = wanted.where(_ANSWERS.c.timestamp >= since, to_them).order_by(_ANSWERS.c.number)
        with self._transaction() as connection:
            rows = [dict(row) for row in connection.execute(wanted).mappings()]
        return [Shown(**row | {name: tuple(json.loads(row[name])) for name in _LISTS}) for row in rows]

    def add_items(self, items: Iterable[Item]) -> None:
        """Adds items to the end of the catalogue; one that exists is replaced and keeps its position."""
        self._replace((_ITEMS, "item_id", _rows(items)))

    def insert_items(self, items: Iterable[Item]) -> None:
        """Adds items that are new to the store; raises ItemExists, and adds none, where one of them is not."""
        with self._transaction() as connection:
            try:
                connection.execute(sa.insert(_ITEMS), _rows(items))
            except sa.exc.IntegrityError:
                raise ItemExists("an item of this id was added before, or removed; PUT replaces it") from None
            connection.execute(sa.insert(_CHANGES), {"timestamp": int(time.time())})

    def change_item(self, item: Item) -> bool:
        """Writes what is known of an item from now on, whatever a bundle says; one that was removed is there again,
        unless a review hides it, which it returns.
        """
        edits = [{"item_id": item.item_id, "removed": False}]
        self._replace((_ITEMS, "item_id", _rows([item])), (_EDITS, "item_id", edits))
        return self.edits()[item.item_id]

    def remove_item(self, item_id: str) -> bool:
        """Removes an item from what is recommended, but not what people did with it; False if there is none."""
        there = self._knows(item_id)
        self._replace((_EDITS, "item_id", [{"item_id": item_id, "removed": True}] * there))
        return there

    def review(self, one: Review) -> bool:
        """Records a step of an item's review, for ever; False if there is no such item."""
        if there := self._knows(one.item_id):
            with self._transaction() as connection:
                connection.execute(sa.insert(_REVIEWS), vars(one))
                connection.execute(sa.insert(_CHANGES), {"timestamp": one.timestamp})
        return there

    def reviews(self) -> list[Review]:
        """Returns all steps of all reviews, oldest first; the newest of an item says where it stands."""
        wanted = sa.select(*(_REVIEWS.c[name] for name in Review.__dataclass_fields__)).order_by(_REVIEWS.c.number)
        with self._transaction() as connection:
            return [Review(**row) for row in connection.execute(wanted).mappings()]

    def edits(self) -> dict[str, bool]:
        """Returns the ids of the items that were changed, removed or reviewed, and whether no list may have them."""
        stands = {one.item_id: one.action in HIDING for one in self.reviews()}
        with self._transaction() as connection:
            removed = {row.item_id: row.removed for row in connection.execute(sa.select(_EDITS))}
        return {one: removed.get(one, False) or stands.get(one, False) for one in {**removed, **stands}}

    def _knows(self, item_id: str) -> bool:
        return self._scalar(sa.select(_ITEMS.c.number).where(_ITEMS.c.item_id == item_id)) is not None

    def changes(self) -> int:
        """Counts how often items were added, changed or removed while somebody served, whichever service did it."""
        return int(self._scalar(sa.select(sa.func.count()).select_from(_CHANGES)))

    def set_roles(self, roles: Mapping[str, str]) -> None:
        """Says what the items' attributes are; `dataset` then has these and no others. Until then it infers them."""
        self._replace((_ROLES, "number", [{"number": 1, "roles": json.dumps(dict(roles))}]))

    def import_dataset(self, dataset: Dataset) -> None:
        """Imports a catalogue, the roles of its columns, and interactions as events of kind "rated", whatever they are
        (`Dataset.events`); repeating it changes nothing. Once somebody was erased, a data set that has interactions in
        the store adds none: the store does not know whom to leave out.
        """
        self.set_roles(dataset.roles)
        catalogue: list[dict[Any, Any]] = dataset.catalogue.to_dict("records")
        self.add_items(Item.of(row, dataset.roles) for row in catalogue)
        taken_over = sa.select(_EVENTS.c.number).where(_EVENTS.c.key.startswith(f"{dataset.name}:", autoescape=True))
        if self.erasures() and self._scalar(taken_over.limit(1)) is not None:
            return
        events, item_ids = dataset.events(), dataset.catalogue["item_id"].to_numpy()
        users, items = map(str, dataset.user_ids[events["user"]]), map(str, item_ids[events["item"]])
        rows = zip(users, items, events["timestamp"].tolist(), events["rating"].tolist(), strict=True)
        keyed = ((hashlib.blake2b(repr(row).encode(), digest_size=16).hexdigest(), row) for row in rows)
        self.add(Event(f"{dataset.name}:{digest}", *row[:3], rating=row[3]) for digest, row in keyed)

    def count(self) -> int:
        """Counts the events."""
        return int(self._scalar(sa.select(sa.func.count()).select_from(_EVENTS)))

    def item_ids(self) -> list[str]:
        """Returns the ids of the catalogue, in the order in which items came."""
        with self._transaction() as connection:
            return list(connection.scalars(sa.select(_ITEMS.c.item_id).order_by(_ITEMS.c.number)))

    def items(self, only: Container[str] | None = None) -> list[Item]:
        """Returns the catalogue, or some of its items, in the order in which they came."""
        wanted = sa.select(_ITEMS.c.item_id, _ITEMS.c.attributes).order_by(_ITEMS.c.number)
        with self._transaction() as connection:
            rows = (row for row in connection.execute(wanted) if only is None or row[0] in only)
            return [Item(item_id, json.loads(attributes)) for item_id, attributes in rows]

    def history(self, user_id: str, limit: int = 1_000) -> list[Event]:
        """Returns a person's newest events that count, oldest first; none for an unknown person."""
        return self.kept(user_id, limit, until=_latest())[::-1]

    def kept(self, user_id: str, limit: int | None = None, skip: int = 0, until: int = 2**62) -> list[Event]:
        """Returns all events of a person, newest first, or `limit` of them after the first `skip`."""
        own = sa.select(*(column for column in _EVENTS.c if column.name not in ("number", "exploration")))
        wanted = own.where(_EVENTS.c.user_id == user_id, _EVENTS.c.timestamp <= until)
        wanted = wanted.order_by(_EVENTS.c.timestamp.desc(), _EVENTS.c.number.desc()).limit(limit).offset(skip)
        with self._transaction() as connection:
            return [Event(**row) for row in connection.execute(wanted).mappings()]

    def dataset(self, name: str = "events") -> Dataset:
        """Returns all events as a data set with text ids; of several of one person and item, the newest counts."""
        interactions, stated = self._newest("rating", "timestamp"), self._scalar(sa.select(_ROLES.c.roles))
        items, roles = self.items(), json.loads(stated or "null")
        rows = [item.attributes for item in items]
        there = dict.fromkeys(name for row in rows for name in row if name != "item_id") if roles is None else roles
        cells = {name: column_of([row.get(name) for row in rows], role) for name, role in there.items()}
        catalogue = pd.DataFrame({"item_id": [item.item_id for item in items], **cells})
        return Dataset.of(name, interactions, catalogue, roles=roles, positive="rating>=4")

    def dismissed(self) -> pd.DataFrame:
        """Returns who turned down which item and has not said otherwise since: columns `user_id`, `item_id`."""
        return self._newest("kind").query("kind == 'dismissed'")[["user_id", "item_id"]]

    def _newest(self, *more: str) -> pd.DataFrame:
        """Ids and `more` of the newest event of each person and item, oldest first, but for those of a wrong clock."""
        own = sa.select(*(_EVENTS.c[name] for name in ("user_id", "item_id", *more)))
        wanted = own.where(_EVENTS.c.timestamp <= _latest()).order_by(_EVENTS.c.timestamp, _EVENTS.c.number)
        with self._transaction() as connection:
            found = connection.execute(wanted)
            events = pd.DataFrame(found.all(), columns=[*found.keys()])
        return events.drop_duplicates(["user_id", "item_id"], keep="last")

    def explored(self, since: int) -> pd.DataFrame:
        """Returns who met which item by chance since a moment, as the answers say: columns `user_id`, `item_id`."""
        to_them = sa.or_(_ANSWERS.c.user_id.is_(None), _ANSWERS.c.user_id == _EVENTS.c.user_id)
        drawn = sa.and_(_ANSWERS.c.drawn == _EVENTS.c.item_id, to_them)
        wanted = sa.select(_EVENTS.c.user_id, _EVENTS.c.item_id).distinct()
        wanted = wanted.outerjoin(_ANSWERS, _ANSWERS.c.answer_id == _EVENTS.c.answer_id)
        wanted = wanted.where(sa.or_(_EVENTS.c.exploration, drawn), _EVENTS.c.timestamp >= since)
        with self._transaction() as connection:
            return pd.DataFrame(connection.execute(wanted).all(), columns=["user_id", "item_id"])

    def outcomes(self, since: int) -> pd.DataFrame:
        """Returns the answers to people with an id since a moment: columns `user_id`, `version`, and `liked`, whether
        an event of at least `POSITIVE` stars names the answer.
        """
        named = sa.select(_EVENTS.c.answer_id, _EVENTS.c.user_id)
        named = named.where(_EVENTS.c.answer_id.is_not(None), _EVENTS.c.rating >= POSITIVE)
        liked = sa.tuple_(_ANSWERS.c.answer_id, _ANSWERS.c.user_id).in_(named)
        wanted = sa.select(_ANSWERS.c.user_id, _ANSWERS.c.version, liked)
        wanted = wanted.where(_ANSWERS.c.timestamp >= since, _ANSWERS.c.user_id.is_not(None))
        with self._transaction() as connection:
            return pd.DataFrame(connection.execute(wanted).all(), columns=["user_id", "version", "liked"])

    def undo(self, user_id: str, key: str) -> int:
        """Deletes one event of a person, and returns how many there were, 1 or 0."""
        with self._transaction() as connection:
            mine = _EVENTS.c.key == key, _EVENTS.c.user_id == user_id
            return connection.execute(sa.delete(_EVENTS).where(*mine)).rowcount

    def erase(self, user_id: str) -> int:
        """Deletes a person's events and returns how many there were; the next build drops the person from the model.
        That somebody was erased is counted (`erasures`), but not who.
        """
        with self._transaction() as connection:
            removed = connection.execute(sa.delete(_EVENTS).where(_EVENTS.c.user_id == user_id)).rowcount
            connection.execute(sa.delete(_ANSWERS).where(_ANSWERS.c.user_id == user_id))
            connection.execute(sa.insert(_ERASURES), {"timestamp": int(time.time())})
        self._forget_deleted()
        return removed

    def erasures(self) -> int:
        """Counts the erasures: a bundle built at a smaller count may still hold an erased person."""
        return int(self._scalar(sa.select(sa.func.count()).select_from(_ERASURES)))

    def _replace(self, *parts: tuple[sa.Table, str, list[dict[str, Any]]]) -> None:
        """Writes rows into tables, over those of the same key, all or none."""
        with self._transaction() as connection:
            for table, key, rows in parts:
                statement = self._insert(table)
                new = {one.name: statement.excluded[one.name] for one in table.c if one.name not in (key, "number")}
                if rows:
                    connection.execute(statement.on_conflict_do_update(index_elements=[key], set_=new), rows)
                if rows and table is _EDITS:
                    connection.execute(sa.insert(_CHANGES), {"timestamp": int(time.time())})

    def _scalar(self, wanted: Any) -> Any:
        with self._transaction() as connection:
            return connection.scalar(wanted)

    def _forget_deleted(self) -> None:
        """Leaves no bytes of deleted rows: SQLite zeroes them and empties its log, PostgreSQL rewrites the table."""
        lite = self._engine.dialect.name == "sqlite"
        with as_unavailable(self.url), self._engine.connect() as connection:
            plain = connection.execution_options(isolation_level="AUTOCOMMIT")
            plain.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)" if lite else "VACUUM FULL events, answers")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        with as_unavailable(self.url), self._engine.begin() as connection:
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
        there = {column["name"] for column in sa.inspect(connection).get_columns("events")}
        if "answer_id" not in there:  # a database of the time before answers were kept
            connection.exec_driver_sql("ALTER TABLE events ADD COLUMN answer_id TEXT")


def _latest() -> int:
    return int(time.time()) + WRONG_CLOCK


def _rows(items: Iterable[Item]) -> list[dict[str, Any]]:
    known = {item.item_id: json.dumps(item.attributes, allow_nan=False) for item in items}
    return [{"item_id": item_id, "attributes": attributes} for item_id, attributes in known.items()]
