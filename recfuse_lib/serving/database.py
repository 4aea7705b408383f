"""Opens the database of events, and says when it is not there. Taught in notebook 18."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

WAIT_SECONDS = 5


class StoreUnavailable(RuntimeError):
    """The database cannot be reached or written now. Nothing was half-written; send the same again later."""


def connect(url: str) -> sa.Engine:
    """Prepares the connections to SQLite or PostgreSQL; the first use connects. Raises ValueError for another URL."""
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # its text may hold a part of the password
        raise ValueError("the database URL cannot be read; write it as sqlite:///events.db") from None
    lite = parsed.get_backend_name() == "sqlite"
    if lite and parsed.database in (None, "", ":memory:"):
        raise ValueError("an SQLite database in memory loses everything; name a file, as sqlite:///events.db")
    if not lite and parsed.drivername != "postgresql+psycopg":
        raise ValueError(f"{parsed.drivername} is not supported; use sqlite:///… or postgresql+psycopg://…")
    durable = {"connect_timeout": WAIT_SECONDS, "options": "-c synchronous_commit=on"}
    # A machine that is gone without a word: without these, a call waits for two hours.
    alive = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}
    arguments = {"timeout": WAIT_SECONDS} if lite else durable | alive
    engine = sa.create_engine(
        parsed, connect_args=arguments, pool_pre_ping=not lite, pool_timeout=WAIT_SECONDS, hide_parameters=True
    )
    if lite:
        sa.event.listen(engine, "connect", _make_durable)
    return engine


def _make_durable(connection: Any, _record: Any) -> None:
    for setting in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {setting}").close()


@contextlib.contextmanager
def as_unavailable(url: str) -> Iterator[None]:
    try:
        yield
    except (sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise StoreUnavailable(f"{url}: {reason}; send the same again later: one key is written once") from error
