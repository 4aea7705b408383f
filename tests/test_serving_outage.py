"""A database that is away under a running service: events are refused, answers go on, nothing is lost.

Three ways to be away, in three services side by side: PostgreSQL is stopped; PostgreSQL hangs (its processes are
stopped with a signal and answer nothing); another process holds SQLite's write lock.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import postgresql_server
import pytest
import small_bundle
from service_process import service

from recfuse_lib.serving import promotion
from recfuse_lib.serving.circuit_breaker import SECONDS_UNTIL_ASKED_AGAIN
from recfuse_lib.serving.events import EventStore
from recfuse_lib.serving.service import NO_EVENTS, READ_SECONDS, WRITE_SECONDS

pytestmark = pytest.mark.slow
LENGTHS = {"a moment": (6, 0.3), "a minute": (60, 1.0)}
"""Seconds away, and the patience of the service: the share of its usual time that it waits for the database."""

SLACK_SECONDS = 3
"""What a machine that does other things may add to every bound."""

WAYS = ("postgresql stopped", "postgresql hanging", "sqlite locked")
POSTERS, ASKERS, PARCEL, PAUSE = 5, 2, 3, 0.2

LOCK = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
database.execute("BEGIN IMMEDIATE")
database.execute("DELETE FROM events WHERE key = ''")
print("locked", flush=True)
sys.stdin.readline()
database.execute("ROLLBACK")
"""


@dataclasses.dataclass
class Seen:
    """What clients saw while the database was away."""

    posts: list[tuple[float, float, int, str | None]] = dataclasses.field(default_factory=list)
    """When it was sent, seconds to the answer, status, Retry-After."""

    asked: list[tuple[float, float, int, str, dict]] = dataclasses.field(default_factory=list)
    """When it was sent, seconds to the answer, status, who, the answer."""

    events: list[dict] = dataclasses.field(default_factory=list)
    """What was refused."""

    first_refusal: dict[str, float] = dataclasses.field(default_factory=dict)
    """When a person's first event was refused."""


@contextlib.contextmanager
def database(way: str, folder: Path):
    """(URL, what takes the database away, what brings it back)."""
    if way == "sqlite locked":
        holders = []

        def lock() -> None:
            command = [sys.executable, "-c", LOCK, folder / "events.db"]
            holders.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            assert holders[0].stdout.readline() == b"locked\n"

        def unlock() -> None:
            holders[0].communicate(b"\n", timeout=30)

        yield f"sqlite:///{folder}/events.db", lock, unlock
        return
    server = postgresql_server.Server().start()
    try:
        if way == "postgresql stopped":
            yield server.url, server.stop, server.start
        else:
            yield server.url, server.freeze, server.thaw
            server.thaw()  # may be done twice
    finally:
        server.remove()


def parcel(name: str, person: str) -> list[dict]:
    return [
        {"key": f"{name}-{n}", "user_id": person, "item_id": f"f{30 + n}", "timestamp": 10**9, "kind": "clicked"}
        for n in range(PARCEL)
    ]


def outage(way: str, folder: Path, seconds_away: float, patience: float) -> dict[str, float]:
    """One service through some time without its database. Returns figures."""
    longest_read, longest_write = patience * READ_SECONDS + SLACK_SECONDS, patience * WRITE_SECONDS + SLACK_SECONDS
    with (
        database(way, folder) as (url, take_away, bring_back),
        service(folder / "store", url, patience, log="warning") as client,
    ):
        seen, over, lock = Seen(), threading.Event(), threading.Lock()

        def events(own: httpx.Client, sent: list[dict]) -> httpx.Response:
            return own.post("/events", json={"events": sent})

        def ask(own: httpx.Client, person: str) -> dict:
            answer = own.post("/recommend", json={"user_id": person, "k": 60, "reasons": False})
            assert answer.status_code == 200, answer.text
            return answer.json()

        def items(answer: dict) -> set[str]:
            return {item["item_id"] for item in answer["items"]}

        def post(number: int) -> None:
            with httpx.Client(base_url=client.base_url, timeout=60, trust_env=False) as own:
                for turn in range(100_000):
                    if over.is_set():
                        return
                    person = f"u{(number + turn) % 6:02}"
                    sent, begun = parcel(f"p{number}-{turn}", person), time.monotonic()
                    answer = events(own, sent)
                    ended = time.monotonic()
                    with lock:
                        seen.posts.append((begun, ended - begun, answer.status_code, answer.headers.get("Retry-After")))
                        seen.events += sent
                        seen.first_refusal.setdefault(person, ended)
                    over.wait(PAUSE)

        def recommend(number: int) -> None:
            with httpx.Client(base_url=client.base_url, timeout=60, trust_env=False) as own:
                for turn in range(number, 100_000):
                    if over.is_set():
                        return
                    person, begun = f"u{(turn + 9) % 12:02}", time.monotonic()  # first who is not remembered
                    answer = own.post("/recommend", json={"user_id": person, "k": 60, "reasons": False})
                    seconds = time.monotonic() - begun
                    with lock:
                        seen.asked.append((begun, seconds, answer.status_code, person, answer.json()))
                    over.wait(PAUSE)

        # Everybody has done something; u06 to u08 are remembered, u09 to u11 have not been asked for.
        before = [
            {"key": f"before-{n}", "user_id": f"u{n:02}", "item_id": "f59", "timestamp": 10**9, "kind": "liked"}
            for n in range(12)
        ]
        # On a busy machine the little patience may end once before the database answers.
        end, remembered = time.monotonic() + 10 * SLACK_SECONDS, {}
        while events(client, before).status_code != 200:
            assert time.monotonic() < end, "events are not written"
        for n in range(9):
            while (answer := ask(client, f"u{n:02}"))["notes"]:
                assert time.monotonic() < end, "the newest events do not count"
                time.sleep(0.1)
            assert "f59" not in items(answer)
            remembered[f"u{n:02}"] = answer

        take_away()
        begun = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(POSTERS + ASKERS) as pool:
            running = [pool.submit(post, number) for number in range(POSTERS)]
            running += [pool.submit(recommend, number) for number in range(ASKERS)]
            time.sleep(seconds_away)
            over.set()
            for one in running:
                one.result(timeout=60)
        away = time.monotonic() - begun
        bring_back()
        back = time.monotonic()

        assert {(status, bool(later)) for *_, status, later in seen.posts} == {(503, True)}
        assert max(seconds for _, seconds, *_ in seen.posts) < longest_write
        assert {status for _, _, status, *_ in seen.asked} == {200}
        assert max(seconds for _, seconds, *_ in seen.asked) < longest_read
        for begun, _, _, person, answer in seen.asked:
            if way != "sqlite locked" and (
                person in ("u09", "u10", "u11") or begun > seen.first_refusal.get(person, begun)
            ):
                assert answer["notes"] == [NO_EVENTS], person
            # Without the note, whatever was acknowledged counts.
            assert answer["notes"] == [NO_EVENTS] or (answer["notes"] == [] and "f59" not in items(answer))
            if person in ("u06", "u07", "u08"):
                assert answer["items"] == remembered[person]["items"], "who is remembered misses nothing"

        # The same events once more, as a client that was told to come again.
        sent = seen.events
        bound = back + patience * SECONDS_UNTIL_ASKED_AGAIN + longest_write
        while events(client, sent[:PARCEL]).status_code != 200:
            assert time.monotonic() < bound, "the service does not find its database again"
            time.sleep(0.1)
        found_again = time.monotonic() - back
        store = EventStore(url)
        there = collections.Counter(
            event.key.rsplit("-", 1)[0] for n in range(12) for event in store.history(f"u{n:02}")
        )
        assert {count for name, count in there.items() if name != "before"} == {PARCEL}, (
            "a parcel is whole or not there"
        )
        for start in range(0, len(sent), 300):
            answer = events(client, sent[start : start + 300])
            assert answer.status_code == 200, answer.text
            assert answer.json()["acknowledged"] == [one["key"] for one in sent[start : start + 300]]
        kept = collections.Counter(event.key for n in range(12) for event in store.history(f"u{n:02}", limit=100_000))
        assert kept == collections.Counter({one["key"]: 1 for one in [*before, *sent]}) and store.count() == len(kept)
        store.close()
        for n in range(12):
            while (answer := ask(client, f"u{n:02}"))["notes"]:
                assert time.monotonic() < bound + SLACK_SECONDS, "the newest events count again"
                time.sleep(0.1)
            assert not items(answer) & ({"f30", "f31", "f32"} if n < 6 else {"f59"})
        assert client.process.poll() is None

        times = np.array([seconds for _, seconds, *_ in seen.asked])
        refused = np.array([seconds for _, seconds, *_ in seen.posts])
        return {
            "seconds away": round(away),
            "posts refused": len(refused),
            "slowest refusal (s)": round(float(refused.max()), 2),
            "answers": len(times),
            "with the note": sum(bool(answer["notes"]) for *_, answer in seen.asked),
            "p50 (ms)": round(1000 * float(np.percentile(times, 50)), 1),
            "p99 (ms)": round(1000 * float(np.percentile(times, 99)), 1),
            "slowest answer (s)": round(float(times.max()), 2),
            "found again after (s)": round(found_again, 1),
        }


@pytest.fixture(scope="module", params=["a moment", pytest.param("a minute", marks=pytest.mark.soak)])
def outages(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """All at once, so that three minutes are one."""
    folder = tmp_path_factory.mktemp("outages")
    small_bundle.copy(tmp_path_factory, folder / "store")
    promotion.promote(folder / "store", "v1", "a test")
    ways = {way: folder / way.replace(" ", "-") for way in WAYS if "sqlite" in way or not postgresql_server.MISSING}
    for own in ways.values():
        shutil.copytree(folder / "store", own / "store")
    with concurrent.futures.ThreadPoolExecutor(len(ways)) as pool:
        yield {way: pool.submit(outage, way, own, *LENGTHS[request.param]) for way, own in ways.items()}


@pytest.mark.parametrize("way", WAYS)
def test_a_database_that_is_away(way: str, outages: dict) -> None:
    if way not in outages:
        pytest.skip(postgresql_server.WHY_NOT)
    print(way, json.dumps(outages[way].result(timeout=240)))
