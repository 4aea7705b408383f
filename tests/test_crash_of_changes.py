"""Kill -9 during changes of items, reviews, erasures, migrations and promotions: each is done or not, and none is lost."""

import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path

import httpx
import numpy as np
import postgresql_server
import pytest
import sqlalchemy as sa
from service_process import service

from recfuse_lib.serving import promotion
from recfuse_lib.serving.events import EventStore
from recfuse_lib.serving.messages import Event, Item, Review, Shown

KILLS, PEOPLE = 8, 1_000  # of the service
MOST = 80  # statements of an operation, before and after which it is killed, at most


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)])
def url(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/events.db"
        return
    if postgresql_server.MISSING:
        pytest.skip(postgresql_server.WHY_NOT)
    server = postgresql_server.Server().start()
    yield server.url
    server.remove()


# What is done to item or person `n`, what to see of it, and what that is before and after.
OPERATIONS = {
    "insert": (
        lambda store, n: store.insert_items([Item(f"new-{n}a", {"title": "A"}), Item(f"new-{n}b", {"title": "B"})]),
        lambda store, n: (sum(item.item_id[:-1] == f"new-{n}" for item in store.items()), store.changes()),
        lambda seen: (2, seen[1] + 1),
    ),
    "change": (
        lambda store, n: store.change_item(Item(f"item-{n}", {"title": "Changed"})),
        lambda store, n: (
            Item(f"item-{n}", {"title": "Changed"}) in store.items(),
            store.edits().get(f"item-{n}"),
            store.changes(),
        ),
        lambda seen: (True, False, seen[2] + 1),
    ),
    "remove": (
        lambda store, n: store.remove_item(f"item-{n}"),
        lambda store, n: (store.edits().get(f"item-{n}"), store.changes()),
        lambda seen: (True, seen[1] + 1),
    ),
    "review": (
        lambda store, n: store.review(Review(f"item-{n}", "hold", "", 1)),
        lambda store, n: (store.edits().get(f"item-{n}"), len(store.reviews()), store.changes()),
        lambda seen: (True, seen[1] + 1, seen[2] + 1),
    ),
    "erase": (
        lambda store, n: store.erase(f"person-{n}"),
        lambda store, n: (
            len(store.kept(f"person-{n}")),
            len(store.answers(0, f"person-{n}")),
            store.count(),
            store.erasures(),
        ),
        lambda seen: (0, 0, seen[2] - 3, seen[3] + 1),
    ),
    "migrate": (
        lambda store, n: store.count(),
        lambda store, n: [vars(one) for one in store.kept(f"person-{MOST - 1}")],
        lambda seen: seen,
    ),
}


def filled(url):
    store = EventStore(url)
    store.add_items(Item(f"item-{n}", {"title": f"Item {n}"}) for n in range(MOST))
    people = [f"person-{n}" for n in range(MOST)]
    store.add(Event(f"{one}/{n}", one, f"item-{n}", 10 + n, "liked") for one in people for n in range(3))
    store.add_answers(Shown(f"{one}!", one, 10, "v1", ("item-1",), (1.0,)) for one in people)
    store.close()


def made_old(url):
    """Makes the database one of the time before answers, edits and reviews were kept."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for table in ("answers", "edits", "changes", "reviews", "erasures"):
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")
        if "answer_id" in {one["name"] for one in sa.inspect(connection).get_columns("events")}:
            connection.exec_driver_sql("ALTER TABLE events DROP COLUMN answer_id")
    engine.dispose()


SWEEP = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import sqlalchemy as sa
import test_crash_of_changes as this

url = sys.argv[2]
this.filled(url)

def child(name, act, number):
    store, left = this.EventStore(url), iter(range(number, -1, -1))
    if name != "migrate":
        store.count()  # its tables are there; what follows is the operation

    def step(*_):
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    for moment in ("before_cursor_execute", "after_cursor_execute", "commit"):
        sa.event.listen(store._engine, moment, step)
    act(store, number)
    os._exit(0)

def seen(look, number):
    store = this.EventStore(url)
    found = look(store, number)
    store.close()
    return found

def sweep(name, act, look, after):
    for number in range(this.MOST):
        before = seen(look, number)
        if name == "migrate":
            this.made_old(url)
        if (pid := os.fork()) == 0:
            child(name, act, number)
        killed = os.waitpid(pid, 0)[1] == signal.SIGKILL
        found = seen(look, number)
        assert found in ([before, after(before)] if killed else [after(before)]), (name, number, before, found)
        yield "not" if found == before else "killed" if killed else "through"
        if not killed:
            break

for name, operation in this.OPERATIONS.items():
    print(name, *sweep(name, *operation), flush=True)
"""


@pytest.mark.slow
def test_killed_at_any_statement_it_is_done_or_not(url):
    command = [sys.executable, "-c", SWEEP, str(Path(__file__).parent), url]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    outcomes = {name: steps for name, *steps in map(str.split, run.stdout.splitlines())}
    assert [*outcomes] == [*OPERATIONS] and len(outcomes["migrate"]) > 10
    assert all(
        steps[-1] == "through" and steps.count("not") > 2 for name, steps in outcomes.items() if name != "migrate"
    )
    print({name: len(steps) - 1 for name, steps in outcomes.items()}, "kills")


class Expected:
    """What is there after the operations that were acknowledged."""

    def __init__(self):
        self.titles = {f"f{n}": f"{('funny', 'scary', 'dusty')[n % 3]} story {n}" for n in range(10)}
        self.people, self.decisions, self.version = {f"person-{n}" for n in range(PEOPLE)}, 1, "v1"

    def after(self, operation):
        other = Expected()
        other.titles, other.people = {**self.titles}, {*self.people}
        other.decisions, other.version = self.decisions, self.version
        kind, what, *more = operation
        if kind == "put":
            other.titles[what] = more[0]
        elif kind == "delete":
            other.titles.pop(what)
        elif kind == "erase":
            other.people.remove(what)
        else:
            other.decisions, other.version = self.decisions + 1, what
        return other

    def seen(self):
        return self.titles, self.people, self.decisions, self.version


def operation_on(expected, number, generator):
    """PUT and DELETE of items, erasures, and every tenth a promotion."""
    item, kind = f"f{generator.integers(10)}", generator.integers(3)
    if number % 10 == 9:
        return "promote", f"v{1 + number // 10 % 2}"
    if kind == 0 and number < PEOPLE:
        return "erase", f"person-{number}"
    return ("delete", item) if kind == 1 and item in expected.titles else ("put", item, f"funny story {number}")


def send(client, operation):
    kind, what, *more = operation
    if kind == "put":
        return client.put(f"/items/{what}", json={"attributes": {"title": more[0], "year": 1999}})
    if kind == "promote":
        return client.post("/decisions", json={"action": "promote", "version": what})
    return client.delete(f"/items/{what}" if kind == "delete" else f"/people/{what}")


def in_store(url, store):
    events = EventStore(url)
    there = {event.user_id for n in range(PEOPLE) for event in events.kept(f"person-{n}")}
    removed = events.edits()
    titles = {item.item_id: item.attributes["title"] for item in events.items() if not removed.get(item.item_id)}
    events.close()
    first = {f"f{n}" for n in range(10)}
    titles = {one: title for one, title in titles.items() if one in first}
    return titles, there, len(promotion.decisions(store)), promotion.current(store)


@pytest.mark.soak
def test_nothing_that_was_changed_erased_or_decided_is_lost_in_kills_of_the_service(url, tmp_path, tmp_path_factory):
    import small_bundle  # it brings a framework, which the many children do not need

    store, generator, expected = tmp_path / "store", np.random.default_rng(0), Expected()
    small_bundle.copy(tmp_path_factory, store, ("v1", "v2"))
    promotion.promote(store, "v1", "a test")
    with service(store, url) as client:  # it puts the catalogue into the store
        titles = in_store(url, store)[0]
        assert titles == expected.titles
        sent = [
            {"key": one, "user_id": one, "item_id": "f1", "timestamp": 10, "kind": "liked"} for one in expected.people
        ]
        assert client.post("/events", json={"events": sent}).status_code == 200
    numbers, acknowledged = count(), 0
    for kill in range(KILLS + 1):
        with service(store, url) as client:
            served = served_titles(client, expected)
            assert served == expected.titles, "what is served is not what was acknowledged"
            assert client.get("/ready").json()["version"] == expected.version
            if kill == KILLS:
                break
            end = threading.Timer(generator.uniform(0.2, 2), client.process.kill)
            end.start()
            while True:
                operation = operation_on(expected, next(numbers), generator)
                try:
                    answer = send(client, operation)
                except httpx.TransportError:
                    break
                assert answer.status_code in (200, 201), (operation, answer.text)
                expected, acknowledged = expected.after(operation), acknowledged + 1
            assert client.process.wait(20) == -9
        time.sleep(0.2)  # PostgreSQL finishes or undoes what the killed service had sent
        found, after = in_store(url, store), expected.after(operation)
        possible = [expected.seen(), after.seen()]
        if operation[0] == "promote":  # written down before it takes effect
            possible.append((*after.seen()[:3], expected.version))
        assert found in possible, operation
        expected.titles, expected.people, expected.decisions, expected.version = found
    assert acknowledged > 5 * KILLS
    print({"acknowledged": acknowledged, "kills": KILLS, "promotions": expected.decisions - 1})


def served_titles(client, expected):
    listed = client.post("/recommend", json={"k": 100, "reasons": False, "exclude": []}).json()["items"]
    first = {f"f{n}" for n in range(10)}
    return {item["item_id"]: item["title"] for item in listed if item["item_id"] in first}
