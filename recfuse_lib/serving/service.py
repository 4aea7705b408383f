"""The state behind the routes: the bundles that serve, people's newest events, and items that were added. What may be
slow (a database, a text encoder, a new bundle) runs in threads while requests continue. Taught in notebook 18.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import ctypes
import gc
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl

from recfuse_lib.serving.bundle import Bundle, manifest_of
from recfuse_lib.serving.catalogue import ItemError, ItemExists
from recfuse_lib.serving.circuit_breaker import CircuitBreaker
from recfuse_lib.serving.database import StoreUnavailable
from recfuse_lib.serving.events import EventStore
from recfuse_lib.serving.messages import Event, Item, Shown
from recfuse_lib.serving.middleware import Metrics
from recfuse_lib.serving.promotion import Decision, served_before, serving, trial
from recfuse_lib.serving.recommender import History, Recommender
from recfuse_lib.serving.settings import Settings
from recfuse_lib.serving.trial import on_trial
from recfuse_lib.stated.gazetteer import Gazetteer

PEOPLE_REMEMBERED = 2_000
READ_SECONDS, WRITE_SECONDS = 3.0, 10.0  # longest wait of a request for a person's events, and to write its own
RETRY_SECONDS = 30.0  # a bundle that failed is tried again after so long, another one at once
ANSWERS_KEPT = 20_000  # answers that wait to be written together, the newest of them while the store is unavailable
SECONDS_OF_QUIET, MOST_AHEAD = 0.02, 8  # after a person's last event until an answer is made ahead, and most at once
READERS, MOST_WISHES = 2, 16  # wishes that are read at once, and most that are read or wait for it
NO_EVENTS = "the event store is not available: the newest events do not count"

log = logging.getLogger("recfuse.service")


class Service:
    """The state of a running service; `serving` is the champion, once it is loaded, and the other one of a `trial`."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings, self.metrics = settings, metrics
        self.serving: tuple[Recommender, ...] = ()
        self.trial: Decision | None = None
        self.events = EventStore(settings.database)
        self._histories: collections.OrderedDict[str | None, tuple[Any, History]] = collections.OrderedDict()
        self._ahead: dict[str, asyncio.Task[None]] = {}
        self._read = CircuitBreaker(READ_SECONDS, self._unavailable)
        self._write = CircuitBreaker(WRITE_SECONDS, self._unavailable)
        self.wishes, self.readers = 0, concurrent.futures.ThreadPoolExecutor(READERS)
        self._items_known, self._changes, self._writes = True, 0, 0
        self._failed: dict[Any, float] = {}
        self.random = np.random.default_rng()
        self._shown: dict[str, Shown] = {}
        self._changing = asyncio.Lock()

    @property
    def recommender(self) -> Recommender | None:
        """The champion; None before the first bundle."""
        return self.serving[0] if self.serving else None

    def answering(self, user_id: str | None) -> Recommender:
        """Returns the version that answers a person; who has no id is answered by the champion."""
        on = self.trial is not None and user_id is not None and on_trial(self.trial, user_id)
        return self.serving[on]

    async def run(self) -> None:
        """Loads the champion, then checks for a new one and writes what was shown, again and again until cancelled."""
        while True:
            await self.refresh()
            await self.flush()
            await asyncio.sleep(self.settings.poll_seconds)

    async def refresh(self) -> None:
        """Loads the champion when it is not the one that serves. What fails is logged, counted and tried again later:
        what serves stays, and where nothing does, the newest bundle that served before and can be loaded takes over.
        """
        asked: Any = None
        try:
            folder = asked = serving(self.settings.store)
            asked = folder and manifest_of(folder)["version"]
            if folder and asked != (self.recommender and self.recommender.version) and not self._waits(asked):
                await self._load(folder)
            else:
                await self.follow_items()
        except Exception as error:
            if self._cannot_serve(error, asked):
                for folder in served_before(self.settings.store):
                    if self.recommender is None and folder.name != asked:
                        try:
                            await self._load(folder)
                        except Exception as another:
                            self._cannot_serve(another, folder)
        if self.serving:
            await self._follow_trial()

    async def follow_items(self) -> None:
        """Takes over what changed of the store's items: a review or another service may have changed them."""
        with contextlib.suppress(StoreUnavailable):
            if self._items_known and await self._read(self.events.changes) == self._changes:
                return
            async with self._changing:
                self._items_known = True
                await self._serve(*[await self._with_known_items(one) for one in self.serving])

    async def _follow_trial(self) -> None:
        """Answers a share of the people from the version on trial, once it is loaded and until the trial ends."""
        asked = None
        try:
            found = trial(self.settings.store)
            asked = found and f"{found.version} on trial"
            if found is None or found.champion != self.serving[0].version:
                found, self.serving = None, self.serving[:1]
            elif self.trial is None or self.trial.version != found.version:
                self.trial = None
                if self._waits(asked):
                    return
                await self._load(self.settings.store / found.version, 1)
            self.trial = found
        except Exception as error:
            self._cannot_serve(error, asked)

    async def _load(self, folder: Path, place: int = 0) -> None:
        recommender = await asyncio.to_thread(lambda: Recommender(Bundle.load(folder)))
        nobody, query = recommender.history_of(None), recommender.parse_query("something quiet")
        await asyncio.to_thread(recommender.recommend, nobody, query=query)  # what cannot answer cannot serve
        async with self._changing:
            recommender = await self._with_known_items(recommender)
            await self._serve(*self.serving[:place], recommender, *self.serving[place + 1 :])
        # What was loaded lives as long as it serves: the collector need not look through it at every round.
        gc.unfreeze()
        gc.freeze()
        with contextlib.suppress(AttributeError, OSError, TypeError):  # other C libraries do not have it
            ctypes.CDLL(None).malloc_trim(0)  # loading needs much that serving does not
        self.metrics.serves(*(one.version for one in self.serving))
        _say("bundle", logging.INFO, version=recommender.version)

    def _waits(self, asked: Any) -> bool:
        return time.monotonic() < self._failed.get(asked, 0.0)

    def _cannot_serve(self, error: Exception, asked: Any) -> bool:
        if is_new := not self._waits(asked):
            self._failed[asked] = time.monotonic() + RETRY_SECONDS
            self.metrics.swaps.labels("failed").inc()
            _say("bundle cannot serve", reason=f"{type(error).__name__}: {error}")
        return is_new

    async def _with_known_items(self, recommender: Recommender) -> Recommender:
        """Exchanges items between the event store and a recommender, later where the store is unavailable."""
        catalogue, items, store = recommender.catalogue, recommender.catalogue.items, self.events

        def served(code: int) -> dict[str, Any] | None:
            row: Any = items.catalogue.iloc[code].to_dict()
            return None if catalogue.removed[code] else Item.of(row, items.roles).row()

        try:
            found = await asyncio.to_thread(lambda: (store.changes(), {*store.item_ids()}, store.edits()))
            self._changes, there, edits = found
            unknown = [code for code, item_id in enumerate(catalogue.ids) if item_id not in there]
            rows: list[Any] = items.catalogue.iloc[unknown].to_dict("records")
            missing = [Item.of(row, items.roles) for row in rows]
            await asyncio.to_thread(store.add_items, missing)
            news = {one for one in there if one not in catalogue.codes or edits.get(one) is False}
            kept = await asyncio.to_thread(store.items, news) if news else []
        except StoreUnavailable as error:
            self._unavailable(error)
            self._items_known = False
            return recommender
        rows = []
        for item in kept:
            code = catalogue.codes.get(item.item_id)
            if code is None or (edits.get(item.item_id) is False and served(code) != item.row()):
                try:
                    catalogue.check([item.row()])
                    rows.append(item.row())
                except Exception as error:  # one bad item keeps no bundle from serving
                    _say("item left out", reason=str(error) if isinstance(error, ItemError) else type(error).__name__)
        recommender = await asyncio.to_thread(recommender.changed, rows) if rows else recommender
        return recommender.without(item_id for item_id, removed in edits.items() if removed)

    async def history(
        self, recommender: Recommender, user_id: str | None, given: Sequence[tuple[str, float]]
    ) -> tuple[History, list[str]]:
        """Returns a person's known history, then what came with the request; and notes on what is missing."""
        # A history without times comes after everything that is known, in its own order.
        latest = [(item_id, rating, None) for item_id, rating in given]
        if not given and (kept := self._histories.get(user_id)) is not None and kept[0] is recommender.catalogue:
            self._histories.move_to_end(user_id)
            return kept[1], []
        notes, later, writes = [], [], self._writes
        try:
            events = [] if user_id is None else await self._read(self.events.history, user_id)
            later = [(one.item_id, None if one.kind == "dismissed" else one.rating, one.timestamp) for one in events]
        except StoreUnavailable:
            notes = [NO_EVENTS]
        history = recommender.history_of(user_id, [*later, *latest])
        if not given and not notes and writes == self._writes:
            self._histories[user_id] = (recommender.catalogue, history)
            if len(self._histories) > PEOPLE_REMEMBERED:
                self._histories.popitem(last=False)
        return history, notes

    async def add_events(self, events: Sequence[Event]) -> list[str]:
        """Writes events (see `EventStore.add`), which the next answer takes into account."""
        if any(event.answer_id in self._shown for event in events):
            await self.flush()  # what an event refers to is on disk before it
        keys: list[str] = await self.change({event.user_id for event in events}, self.events.add, events)
        self.metrics.events.inc(len(keys))
        user_id, *others = {event.user_id for event in events}
        if (waiting := self._ahead.pop(user_id, None)) is not None:
            waiting.cancel()
        if not others and len(self._ahead) < MOST_AHEAD:  # events of many people are no visit
            self._ahead[user_id] = asyncio.create_task(self._answer_ahead(user_id))
        return keys

    async def _answer_ahead(self, user_id: str) -> None:
        """Finds what to recommend before it is asked for: who says something is likely to ask next."""
        await asyncio.sleep(SECONDS_OF_QUIET)
        try:
            recommender = self.answering(user_id)
            history, _ = await self.history(recommender, user_id, ())
            await asyncio.to_thread(recommender.recommend, history)
        except Exception as error:  # who asks is told, or gets an answer by then
            _say("no answer ahead", reason=type(error).__name__)
        finally:
            if self._ahead.get(user_id) is asyncio.current_task():
                del self._ahead[user_id]

    async def read(self, function: Callable[..., Any], *arguments: Any) -> list[dict[str, Any]]:
        """Reads events or answers."""
        return [vars(one) for one in await self._read(function, *arguments)]

    async def change(self, people: set[str], function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a function that changes people's events; the next answer to them takes that into account."""
        try:
            return await self._write(function, *arguments)
        finally:
            self._writes += 1
            for user_id in people:
                self._histories.pop(user_id, None)

    def shown(self, user_id: str | None, version: str, answer: Mapping[str, Any]) -> str:
        """Keeps what an answer of `Recommender.recommend` shows, and returns its id; `flush` writes it."""
        items, share = answer["items"], self.settings.exploration
        drawn = items[-1]["item_id"] if items and items[-1]["exploration"] else None
        last = share / answer["drawn_from"] + (1 - share) * answer["own"]
        ids = tuple(item["item_id"] for item in items)
        places = (*(1.0 for _ in ids[1:]), last)[: len(ids)]
        one = Shown(uuid.uuid4().hex, user_id, int(time.time()), version, ids, places, drawn)
        self._shown[one.answer_id] = one
        if len(self._shown) > ANSWERS_KEPT:
            del self._shown[next(iter(self._shown))]
        return one.answer_id

    async def flush(self) -> None:
        """Writes what was shown; what cannot be written waits for the next time."""
        if waiting := list(self._shown.values()):
            try:
                await self._write(self.events.add_answers, waiting)
                for one in waiting:
                    self._shown.pop(one.answer_id, None)
            except Exception as error:  # nothing ends the watch for bundles
                if not isinstance(error, StoreUnavailable):
                    _say("answers wait to be written", reason=type(error).__name__)

    async def add_items(self, items: Sequence[Item]) -> int:
        """Adds items to both the store and the catalogue, or none to either; returns how many items there are.

        Raises:
            ItemError, ItemExists: An item cannot be added, or its id is taken, here or in another service's store.
        """
        async with self._changing:
            rows = [item.row() for item in items]
            larger = [await asyncio.to_thread(one.extended, rows) for one in self.serving]
            try:
                await self._write(self.events.insert_items, items)
            except ItemExists:
                self._items_known = False  # another service on this store may have added it
                raise
            self._changes += 1
            await self._serve(*larger)
        self.metrics.items.inc(len(items))
        return self.serving[0].catalogue.n_there

    async def change_item(self, item: Item) -> int:
        """Replaces what is known of an item, or adds it, as `add_items` does."""
        async with self._changing:
            others = [await asyncio.to_thread(one.changed, [item.row()]) for one in self.serving]
            hidden = await self._write(self.events.change_item, item)
            self._changes += 1
            await self._serve(*(one.without([item.item_id] * hidden) for one in others))
        return self.serving[0].catalogue.n_there

    async def _serve(self, *recommenders: Recommender) -> None:
        """Answers from them, once they can read wishes: the first one would wait for that."""
        for one in recommenders:
            await asyncio.to_thread(Gazetteer.of, one.catalogue.items)
        self.serving = recommenders

    async def remove_item(self, item_id: str) -> int | None:
        """Removes an item, and returns how many are left; None if there is no such item."""
        async with self._changing:
            if not await self._write(self.events.remove_item, item_id):
                return None
            self._changes += 1
            self.serving = tuple(one.without([item_id]) for one in self.serving)
        return self.serving[0].catalogue.n_there

    def close(self) -> None:
        for threads in (self._read.threads, self._write.threads, self.readers):
            threads.shutdown(wait=False, cancel_futures=True)
        self.events.close()

    def _unavailable(self, error: Exception) -> None:
        self.metrics.unavailable.inc()
        cause = error.__cause__ if isinstance(error, StoreUnavailable) else error
        _say("event store not available", reason=type(cause).__name__)


@contextlib.asynccontextmanager
async def running(service: Service) -> AsyncIterator[None]:
    """Runs the service: its bundle is loaded, and new champions are watched for until the block ends."""
    # A request's matrices are small: a second thread would wait for the first, not help.
    limits = threadpoolctl.threadpool_limits(1)
    await service.refresh()
    watching = asyncio.create_task(service.run())
    try:
        yield
    finally:
        limits.restore_original_limits()
        for task in (watching, *service._ahead.values()):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        await service.flush()
        service.close()


def _say(what: str, level: int = logging.WARNING, **more: Any) -> None:
    log.log(level, json.dumps({"time": round(time.time(), 3), "event": what, **more}))
