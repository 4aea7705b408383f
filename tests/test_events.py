import contextlib
import dataclasses
import multiprocessing
import sqlite3
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import postgresql_server
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from recfuse_lib.data.faults import DataError
from recfuse_lib.data.schema import Dataset
from recfuse_lib.serving import retraining, training
from recfuse_lib.serving.bundle import Bundle
from recfuse_lib.serving.catalogue import ItemExists
from recfuse_lib.serving.database import StoreUnavailable
from recfuse_lib.serving.events import EventError, EventStore
from recfuse_lib.serving.messages import NEW_ITEM, STARS, Event, Item, Shown


@pytest.fixture(scope="module")
def server():
    if postgresql_server.MISSING:
        pytest.skip(postgresql_server.WHY_NOT)
    server = postgresql_server.Server().start()
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/events.db"
    server = request.getfixturevalue("server")
    with sa.create_engine(server.url, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
    return server.url


@pytest.fixture
def store(url):
    store = EventStore(url)
    store.add_items([Item(item, {"title": f"Film {item}"}) for item in "abc"])
    yield store
    store.close()


def test_an_event_is_written_once_whatever_is_sent(store):
    first, second = Event("1", "ann", "a", 10, rating=4.5), Event("2", "ann", "b", 11, "dismissed")
    assert store.add([first, second, first]) == ["1", "2", "1"]
    assert store.add([second]) == ["2"]
    assert store.add([]) == []
    assert store.count() == 2
    assert store.history("ann") == [first, second]
    assert store.history("ann", limit=1) == [second]
    assert store.history("nobody") == []


def test_a_key_that_stands_for_another_event_is_refused_whole(store):
    store.add([Event("1", "ann", "a", 10, "liked")])
    with pytest.raises(EventError, match=r"events\.1: its key already stands for another event"):
        store.add([Event("2", "bob", "a", 10, "liked"), Event("1", "ann", "b", 10, "liked")])
    with pytest.raises(EventError, match=r"events\.1: its key"):
        store.add([Event("3", "bob", "a", 10, "liked"), Event("3", "bob", "b", 10, "liked")])
    assert store.count() == 1


def test_an_item_that_is_not_there_is_refused_whole(store):
    with pytest.raises(EventError, match=r"events\.1: its item is not in the store"):
        store.add([Event("1", "ann", "a", 10, "liked"), Event("2", "ann", "z", 10, "liked")])
    assert store.count() == 0


def test_what_another_process_reads_is_what_was_acknowledged(store, url):
    store.add([Event("1", "ann", "a", 10, "liked")])
    assert EventStore(url).history("ann") == store.history("ann")


def test_items_keep_their_place_and_their_newest_words(store):
    new = Item("d", {"title": "Film d", "price": 9.5, "year": 1979, "tags": ["x", "ÿ\x01"], "nothing": None})
    again = Item("a", {"name": "Film a, again"})
    store.add_items([new, again])
    assert [item.item_id for item in store.items()] == ["a", "b", "c", "d"]
    assert (store.items()[0], store.items()[3]) == (again, new)
    store.add_items([Item("e")])
    assert [item.item_id for item in store.items()] == ["a", "b", "c", "d", "e"]


def test_the_newest_of_several_events_of_a_pair_counts(store):
    store.add([
        Event("1", "ann", "a", 10, "liked"), Event("2", "ann", "a", 12, "dismissed"), Event("3", "ann", "a", 11, "clicked"),
        Event("4", "bob", "c", 9, "clicked"), Event("5", "bob", "c", 9, "bought"),
    ])  # fmt: skip
    dataset = store.dataset()
    assert dataset.interactions.to_numpy().tolist() == [["bob", "c", "rating", 5.0, 9], ["ann", "a", "rating", 1.0, 12]]
    assert dataset.catalogue["item_id"].tolist() == ["a", "b", "c"]
    assert dataset.roles == {"title": "text"}
    assert dataset.user_ids.tolist() == ["ann", "bob"]
    for person in ("ann", "bob"):
        store.erase(person)
    with pytest.raises(DataError, match="no rows"):
        store.dataset()


def test_a_wrong_clock_neither_writes_nor_decides_nor_stops_learning(store, url):
    now, future = int(time.time()), int(time.time()) + 2 * 24 * 3600
    with pytest.raises(EventError, match="more than a day from now"):
        store.add([Event("0", "ann", "b", now, "liked"), Event("1", "ann", "a", future, "liked")])
    assert store.count() == 0, "refused whole"
    dismissed = Event("2", "ann", "a", now, "dismissed")
    store.add([dismissed])
    with sa.create_engine(url).begin() as connection:  # as an earlier version took it
        row = "'1', 'ann', 'a', 1099511627776, 'liked', 5.0, false"
        columns = "key, user_id, item_id, timestamp, kind, rating, exploration"
        connection.execute(sa.text(f"INSERT INTO events ({columns}) VALUES ({row})"))
    assert store.history("ann") == [dismissed] and [one.key for one in store.kept("ann")] == ["1", "2"]
    assert store.dataset().events()["rating"].tolist() == [1.0]


def test_a_build_is_of_no_moment_beyond_now():
    log = pd.DataFrame({"user_id": ["a", "b"], "item_id": "x", "rating": 5.0, "timestamp": [9, 2**33]})
    catalogue = pd.DataFrame({"item_id": ["x"], "title": ["X"]})
    dataset = Dataset.of("late", log, catalogue, positive="rating>=4")
    assert training.described(dataset)["trained_until"] <= time.time()
    created = {"created": "2026-01-02T00:00:00Z"}
    for stated, until in ((2**33, 1_767_312_000), (7, 7)):
        bundle = Bundle(Path(), {**created, "provenance": {"trained_until": stated}})
        assert retraining.trained_until(bundle) == until


def test_what_was_shown_by_chance_is_known(store):
    answers = [
        Shown("x", "ann", 9, "v1", ("b", "a"), (1.0, 0.01), "a"),
        Shown("y", None, 9, "v1", ("b", "c"), (1.0, 0.01), "c"),
        Shown("z", "ann", 9, "v1", ("b", "c"), (1.0, 0.99)),
    ]
    store.add_answers(answers)
    store.add_answers([dataclasses.replace(answers[0], drawn=None)])
    assert store.answers() == answers and store.answers(since=10) == []
    drawn = Event("1", "ann", "a", 10, "liked", answer_id="x")
    chosen = [Event("2", "ann", "b", 10, "liked", answer_id="x"), Event("3", "ann", "c", 10, "liked", answer_id="z")]
    nobodys = Event("4", "bob", "c", 9, "clicked", answer_id="y")
    others = [Event("5", "bob", "a", 10, "liked", answer_id="x"), Event("6", "bob", "b", 10, "liked", answer_id="?")]
    store.add([drawn, *chosen, nobodys, *others])
    assert store.history("ann")[0] == drawn
    assert store.explored(since=10).to_numpy().tolist() == [["ann", "a"]]
    assert sorted(store.explored(since=0)["user_id"]) == ["ann", "bob"] and store.explored(since=11).empty
    store.erase("ann")
    assert store.answers() == answers[1:2]


def test_an_answer_is_liked_by_whom_it_was_given_to_and_by_nobody_else(store):
    store.add_answers(
        Shown(key, user, 9, "v1", ("a",), (1.0,)) for key, user in (("x", "ann"), ("y", "bob"), ("z", None))
    )
    store.add(
        [
            Event("1", "bob", "a", 10, "liked", answer_id="x"),
            Event("2", "ann", "a", 10, "clicked", answer_id="x"),
            Event("3", "bob", "a", 10, "liked", answer_id="y"),
            Event("4", "cy", "a", 10, "liked", answer_id="z"),
        ]
    )
    assert sorted(store.outcomes(since=0).itertuples(index=False, name=None)) == [("ann", "v1", 0), ("bob", "v1", 1)]
    assert store.outcomes(since=10).empty


def test_a_database_from_before_answers_were_kept_is_read_and_written_on(tmp_path):
    url = f"sqlite:///{tmp_path}/old.db"
    with contextlib.closing(sqlite3.connect(tmp_path / "old.db")) as old, old:
        columns = "key TEXT UNIQUE, user_id TEXT, item_id TEXT, kind TEXT, timestamp BIGINT, rating DOUBLE"
        old.execute(f"CREATE TABLE events (number INTEGER PRIMARY KEY, {columns}, exploration BOOLEAN)")
        old.execute("CREATE TABLE catalogue (number INTEGER PRIMARY KEY, item_id TEXT UNIQUE, attributes TEXT)")
        old.execute("INSERT INTO catalogue VALUES (1, 'a', '{}')")
        old.execute("INSERT INTO events VALUES (1, 'k1', 'ann', 'a', 'liked', 10, 5.0, 1)")
    store = EventStore(url)
    like = Event("k1", "ann", "a", 10, "liked")
    assert store.history("ann") == [like] and store.add([like]) == ["k1"]
    assert store.add([Event("k2", "bob", "a", 11, "liked", answer_id="x")]) == ["k2"]
    assert store.explored(since=0).to_numpy().tolist() == [["ann", "a"]]
    store.close()


def ratings_with_times():
    generator = np.random.default_rng(0)
    pairs = generator.permutation(600)[:200]
    interactions = pd.DataFrame(
        {"user_id": pairs // 30, "item_id": pairs % 30, "rating": generator.integers(1, 11, 200) / 2, "timestamp": np.arange(200)}
    )  # fmt: skip
    titles = [f"Ünï {n}" for n in range(29)] + [None]
    items = {
        "item_id": np.arange(30),
        "title": titles,
        "year": [1990, None] * 15,
        "genres": "",
        "price": [None, 2.5] * 15,
    }
    return Dataset.of("ratings", interactions, pd.DataFrame(items))


# Nobody's ids may be mixed up: "b:x" and "y", "b" and "x:y".
BOUGHT = pd.DataFrame({"user_id": ["b:x", "b", "c", "c"], "item_id": ["y", "x:y", "y", "z"]})


def purchases_with_attributes():
    events = ["purchase", "purchase", "view", "purchase"]
    long_labels = ["a label of more than forty letters, with a comma", "another of them; it has a semicolon"]
    catalogue = {
        "item_id": ["x:y", "y", "z", "9"],
        "headline": ["One", None, "[Two]", "12"],
        "labels": [f"{long_labels}", "['single']", f"{[f'label {n}' for n in range(50)]}", None],
        "released": ["1931-05-01", "1970-08-01", "1969-12-31", None],
        "maker": ["5", "6", None, "5"],
        "price": [1.5, None, 2, 1e6],
        "details": ["long " * 5_000, "two\nlines", None, "'quoted\""],
        "unknown": [None] * 4,
    }
    roles = {"labels": "categories", "released": "date", "maker": "category", "details": "text", "unknown": "number"}
    return Dataset.of("shop: one", BOUGHT.assign(event=events), pd.DataFrame(catalogue), roles=roles)


def titles_alone():
    return Dataset.of(
        "titles", BOUGHT, pd.DataFrame({"item_id": ["x:y", "y", "z"], "name": ["None", "NA", " (x), The"]})
    )


def pairs_alone():
    return Dataset.of("pairs", BOUGHT)


@pytest.mark.parametrize("made", [ratings_with_times, purchases_with_attributes, titles_alone, pairs_alone])
def test_a_data_set_comes_back_as_it_went_in(url, made):
    store, given_in = EventStore(url), made()
    for _ in range(2):
        store.import_dataset(given_in)
    back = store.dataset()
    assert store.count() == len(given_in.interactions)
    first, second = (_by_id(dataset) for dataset in (given_in, back))
    pd.testing.assert_frame_equal(first, second)
    assert back.catalogue["item_id"].tolist() == given_in.catalogue["item_id"].astype("str").tolist()
    pd.testing.assert_frame_equal(back.catalogue.iloc[:, 1:], given_in.catalogue.iloc[:, 1:])
    assert [*back.roles.items()] == [*given_in.roles.items()] and back.has_times == given_in.has_times
    assert back.texts() == given_in.texts()
    store.close()


def _by_id(dataset):
    events, items = dataset.events(), dataset.catalogue["item_id"].astype("str")
    ids = {"user": dataset.user_ids.astype(str)[events["user"]], "item": items.to_numpy()[events["item"]]}
    return events.assign(**ids).sort_values(["user", "item"], ignore_index=True)


def test_items_that_do_not_fit_the_roles_leave_the_rest_as_it_is(url):
    store, shop = EventStore(url), purchases_with_attributes()
    store.import_dataset(shop)
    wrong = {"price": "dear", "labels": 7, "released": 1e17, "maker": 6, "headline": ["a", "b"], "colour": "red"}
    store.add_items(
        [Item("new", wrong), Item("newer", {"labels": "a|b", "released": -62e6, "price": "3"}), Item("bare")]
    )
    back = store.dataset()
    assert back.roles == shop.roles and back.texts()[:4] == shop.texts()
    new = back.catalogue.tail(3).astype(object).where(back.catalogue.tail(3).notna(), None)
    assert new[["price", "labels", "released", "maker"]].to_numpy().tolist() == [
        [None, "7", None, "6"], [3.0, "a|b", -62_000_000, None], [None, "", None, None],
    ]  # fmt: skip
    store.close()


def test_a_data_set_that_grew_brings_its_newest_values(store):
    first = pd.DataFrame({"user_id": ["ann", "bob"], "item_id": ["a", "b"], "rating": [4.0, 2.0]})
    grown = pd.DataFrame({"user_id": ["ann", "bob", "bob"], "item_id": ["a", "b", "c"], "rating": [1.5, 2.0, 5.0]})
    for interactions in (first, grown):
        store.import_dataset(Dataset.of("log", interactions, positive="rating>=4"))
    assert store.dataset().interactions["value"].tolist() == [1.5, 2.0, 5.0]


def test_erasing_a_person_leaves_the_others_and_counts_it(store):
    store.add(
        [Event("1", "ann", "a", 10, "liked"), Event("2", "bob", "b", 11, "liked"), Event("3", "ann", "c", 11, "liked")]
    )
    assert store.erasures() == 0
    assert store.erase("ann") == 2
    assert store.erase("nobody") == 0
    assert store.history("ann") == []
    assert store.dataset().user_ids.tolist() == ["bob"]
    assert (store.count(), store.erasures()) == (1, 2)


def test_who_was_erased_does_not_come_back_with_the_data_set(store):
    interactions = pd.DataFrame(
        {"user_id": ["ann", "bob"], "item_id": ["a", "b"], "rating": [4.0, 2.0], "timestamp": [1, 2]}
    )
    catalogue = pd.DataFrame({"item_id": [*"abc"], "title": [*"ABC"], "year": [2000] * 3, "genres": [""] * 3})
    log = Dataset.of("log_", interactions, catalogue)
    store.erase("somebody before the data set came")
    store.add([Event("logs:ann:a", "eve", "a", 3, "liked")])
    store.import_dataset(log)
    assert store.dataset().user_ids.tolist() == ["ann", "bob", "eve"]
    store.erase("ann")
    store.import_dataset(log)
    assert store.dataset().user_ids.tolist() == ["bob", "eve"]
    assert store.items()[0].attributes["title"] == "A", "the catalogue is taken over each time"


def test_an_erased_id_leaves_no_byte_in_sqlite(tmp_path):
    store = EventStore(f"sqlite:///{tmp_path}/events.db")
    store.add_items([Item("a", {"title": "Film"})])
    store.add([Event(f"{n}", "somebody-special" if n % 3 else "bob", "a", n, "liked") for n in range(300)])
    store.erase("somebody-special")
    contents = [file.read_bytes() for file in tmp_path.iterdir()]
    assert any(b"bob" in content for content in contents)
    assert not any(b"somebody-special" in content for content in contents)


def test_an_erased_id_leaves_no_byte_in_the_tables_of_postgresql(server):
    store = EventStore(server.url)
    store.add_items([Item("a", {"title": "Film"})])
    store.add([Event(f"e{n}", "somebody-special" if n % 3 else "bob", "a", n, "liked") for n in range(300)])
    store.add_answers([Shown(f"{n}", "somebody-special", n, "v1", ("a",), (1.0,)) for n in range(300)])
    store.erase("somebody-special")
    with store._engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(sa.text("CHECKPOINT"))
    contents = [file.read_bytes() for file in (server.folder / "data" / "base").rglob("*") if file.is_file()]
    assert any(b"bob" in content for content in contents)
    assert not any(b"somebody-special" in content for content in contents)


KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20).filter(
    str.strip
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(KEYS, st.sampled_from("abc"), st.integers(0, 2**30), st.sampled_from(sorted(STARS))), max_size=8)
)
def test_any_text_and_any_order_are_kept(store, rows):
    events = {
        key: Event(f"{key}{number}", f"{key}!", item, timestamp, kind)
        for number, (key, item, timestamp, kind) in enumerate(rows)
    }
    before = {key: store.history(event.user_id) for key, event in events.items()}
    try:
        store.add(events.values())
    except EventError as error:
        assert "another event" in str(error)
        return
    for key, event in events.items():
        found = store.history(event.user_id)
        assert event in found and len(found) <= len(before[key]) + 1


def add_many(url, start, barrier, errors):
    try:
        barrier.wait(30)
        store = EventStore(url)
        for number in range(start, start + 40, 2):
            store.add(
                [Event(f"{number}", "ann", "a", number, "liked"), Event(f"{number + 1}", "ann", "b", number, "liked")]
            )
    except BaseException as error:
        errors.put(repr(error))
        raise


def test_two_processes_and_two_threads_write_at_once(store, url):
    context = multiprocessing.get_context("spawn")
    barrier, errors = context.Barrier(4), context.SimpleQueue()
    # The second and the third write the same events.
    workers = [
        kind(target=add_many, args=(url, start, barrier, errors))
        for kind, start in [(context.Process, 0), (context.Process, 40), (threading.Thread, 40), (threading.Thread, 80)]
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert errors.empty(), errors.get()
    assert sorted(int(event.key) for event in store.history("ann")) == list(range(120))


def test_postgresql_that_goes_away_and_comes_back(server):
    store = EventStore(server.url)
    store.add_items([Item("a", {"title": "Film"})])
    event = Event("before", "ann", "a", 1, "liked")
    store.add([event])
    server.stop()
    try:
        for call in (
            store.count,
            store.items,
            lambda: store.add([event]),
            lambda: store.history("ann"),
            lambda: store.erase("ann"),
        ):
            with pytest.raises(StoreUnavailable, match="send the same again later"):
                call()
    finally:
        server.start()
    assert store.add([event, Event("after", "ann", "a", 2, "liked")]) == ["before", "after"]


def test_sqlite_that_cannot_write(tmp_path):
    store = EventStore(f"sqlite:///{tmp_path}/no/such/folder/events.db")
    with pytest.raises(StoreUnavailable, match="unable to open"):
        store.count()
    full = EventStore(f"sqlite:///{tmp_path}/events.db")
    full.add_items([Item("a", {"title": "Film"})])
    sa.event.listen(full._engine, "checkout", lambda connection, *_: connection.execute("PRAGMA max_page_count=1"))
    with pytest.raises(StoreUnavailable, match="full"):
        full.add([Event(f"{n}", "ann", "a", n, "liked") for n in range(1_000)])
    assert EventStore(full.url).count() == 0


def test_sqlite_is_durable_on_every_connection(tmp_path):
    store = EventStore(f"sqlite:///{tmp_path}/events.db")
    with store._engine.connect() as one, store._engine.connect() as other:
        for connection in (one, other):
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"key": ""}, "key\n.*at least 1"),
        ({"user_id": "  "}, "user_id\n.*pattern"),
        ({"item_id": 7}, "item_id\n.*string"),
        ({"user_id": "a" * 201}, "at most 200 characters"),
        ({"user_id": "a\0"}, "user_id\n.*pattern"),
        ({"user_id": "a\ud800"}, "user_id\n.*unicode"),
        ({"kind": "hated"}, "kind is one of rated, bought"),
        ({"kind": "rated", "rating": None}, "needs a rating"),
        ({"kind": "rated", "rating": float("nan")}, "finite"),
        ({"kind": "rated", "rating": 5.5}, "less than or equal to 5"),
        ({"rating": 2.0}, "leave it out"),
        ({"timestamp": -1}, "timestamp\n.*greater than or equal to 0"),
        ({"timestamp": 1.5}, "timestamp\n.*integer"),
    ],
)
def test_bad_events_are_named(arguments, message):
    good = {"key": "k", "user_id": "ann", "item_id": "a", "timestamp": 10, "kind": "liked"}
    with pytest.raises(ValidationError, match=message):
        Event(**{**good, **arguments})


def test_bad_items_and_urls_are_named():
    read = TypeAdapter(Item).validate_python
    assert read(NEW_ITEM).row() == {**NEW_ITEM["attributes"], "item_id": "new-1", "genres": "Drama|Mystery"}
    for attributes, message in (
        ({"": 1}, "at least 1 character"),
        ({"details": "x" * 10_001}, "at most 10000 characters"),
        ({"price": float("nan")}, "finite number"),
        ({"price": 10**400}, "less than or equal"),
        ({"genres": ["Drama|Mystery"]}, "should match pattern"),
        ({"genres": ["x"] * 21}, "at most 20 items"),
        ({"maker": {"name": "x"}}, "valid list"),
        ({f"n{n}": n for n in range(101)}, "at most 100 items"),
    ):
        with pytest.raises(ValidationError, match=message):
            read({"item_id": "a", "attributes": attributes})
    for url in ("sqlite://", "sqlite:///:memory:"):
        with pytest.raises(ValueError, match="in memory"):
            EventStore(url)
    with pytest.raises(ValueError, match="mysql"):
        EventStore("mysql://root@localhost/x")
    with pytest.raises(ValueError, match="cannot be read"):
        EventStore("not a url")


def test_a_password_is_not_shown():
    store = EventStore("postgresql+psycopg://someone:secret-word@127.0.0.1:1/nothing")
    with pytest.raises(StoreUnavailable) as caught:
        store.count()
    assert "secret-word" not in f"{caught.value}{store.url}"


def test_a_full_disk_takes_nothing_and_loses_nothing(tmp_path):
    """SQLite reports a limit on its pages exactly as it does a full disk."""
    store = EventStore(f"sqlite:///{tmp_path}/events.db")
    store.add_items([Item("a", {"title": "Film a"})])
    store.add([Event("first", "ann", "a", 1, "liked")])
    many = [Event(f"k{n}", f"person {n} " + "x" * 150, "a", n, "liked") for n in range(3_000)]

    def full(connection, _record):
        connection.execute("PRAGMA max_page_count=1").close()  # not one page more than there are

    sa.event.listen(store._engine, "connect", full)
    store._engine.dispose()
    with pytest.raises(StoreUnavailable, match="full"):
        store.add(many)
    assert [event.key for event in store.history("ann")] == ["first"] and not store.history(many[0].user_id)
    sa.event.remove(store._engine, "connect", full)
    store._engine.dispose()
    assert len(store.add(many)) == len(many) and len(store.history(many[0].user_id)) == 1
    store.close()


def test_what_changes_items_is_counted_and_nothing_else_is(store):
    assert store.changes() == 0, "what a bundle brings is no change"
    store.insert_items([Item("d", {"title": "Film d"}), Item("e", {"title": "Film e"})])
    with pytest.raises(ItemExists):
        store.insert_items([Item("f", {}), Item("d", {})])
    assert store.changes() == 1
    store.change_item(Item("a", {"title": "Film α"}))
    assert store.remove_item("b") and not store.remove_item("none") and store.changes() == 3
    store.add([Event("1", "ann", "a", 10, rating=4.5)])
    store.set_roles({"title": "title"})
    assert store.changes() == 3
