"""Items that are added, replaced and removed while the service runs: over HTTP, after a restart, and under another bundle."""

import collections
import concurrent.futures
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import small_bundle
from fastapi.testclient import TestClient

from recfuse_lib.serving import messages, promotion
from recfuse_lib.serving.app import create_app
from recfuse_lib.serving.bundle import Bundle
from recfuse_lib.serving.catalogue import ItemError, ItemExists
from recfuse_lib.serving.events import EventStore
from recfuse_lib.serving.messages import Item
from recfuse_lib.serving.recommender import Recommender
from recfuse_lib.serving.service import MOST_WISHES
from recfuse_lib.serving.settings import Settings

KEY = "a-key-for-the-tests"
KNOWN = {"title": "Scary story 7", "year": 2001, "genres": ["Horror"], "price": 3.0}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "store"
    small_bundle.copy(tmp_path_factory, folder, ("v1", "v2"))
    promotion.promote(folder, "v1", "a test")
    return folder


@pytest.fixture(scope="module")
def start(store: Path) -> Callable:
    """Starts a service on a database in a folder."""

    def started(folder: Path) -> TestClient:
        settings = Settings(store=store, database=f"sqlite:///{folder}/events.db", api_key=KEY, rate=0, exploration=0)
        return TestClient(create_app(settings))

    return started


def send(client: httpx.Client, method: str, path: str, body: object = None, key: str = KEY) -> httpx.Response:
    return client.request(method, path, json=body, headers={"X-API-Key": key})


def listed(client: httpx.Client, **body: object) -> dict[str, dict]:
    answer = send(client, "POST", "/recommend", {"k": 100, **body})
    assert answer.status_code == 200, answer.text
    return {item["item_id"]: item for item in answer.json()["items"]}


def found(client: httpx.Client, title: str) -> list[str]:
    return [item["item_id"] for item in client.get("/items", params={"title": title, "k": 100}).json()["items"]]


def test_an_item_lives_from_post_to_delete(start: Callable, store: Path, tmp_path: Path) -> None:
    with start(tmp_path) as client:
        added = send(client, "POST", "/items", {"item_id": "a/b", "attributes": KNOWN})
        assert added.status_code == 201 and added.json() == {"version": "v1", "n_items": 61, "item_id": "a/b"}
        assert "a/b" in listed(client, user_id="u03") and found(client, "scary 7")[-1:] == ["a/b"]
        changed = send(client, "PUT", "/items/a%2Fb", {"attributes": {**KNOWN, "title": "Dusty end", "price": 99.0}})
        assert changed.status_code == 200 and changed.json()["n_items"] == 61
        messages.ItemAnswer.model_validate(changed.json(), strict=True)
        dear = {"constraints": {"at_least": {"price": 99}}}
        assert list(listed(client, user_id="u03", **dear)) == found(client, "dusty end") == ["a/b"]
        assert "a/b" not in found(client, "scary 7")
        # Of an item that the model was trained on, what is shown, found and constrained changes.
        before = listed(client)["f4"]
        assert send(client, "PUT", "/items/f4", {"attributes": {"title": "Ocean"}}).json()["n_items"] == 61
        after = listed(client)["f4"]
        assert after["attributes"] == {} and after["title"] == "Ocean" and after["score"] == before["score"]
        assert found(client, "ocean") == ["f4"]
        for item in ("a/b", "f5"):
            assert send(client, "DELETE", f"/items/{item}").status_code == 200
        assert send(client, "DELETE", "/items/none").status_code == 404
        assert client.get("/about").json()["n_items"] == 59
        gone(client)
    for version in ("v1", "v2"):
        promotion.promote(store, version, "a restart, and another bundle")
        with start(tmp_path) as client:
            gone(client)
            assert found(client, "ocean") == ["f4"] and client.get("/about").json()["n_items"] == 59
            refused = send(client, "POST", "/items", {"item_id": "f5", "attributes": KNOWN})
            assert refused.status_code == 409 and "PUT" in refused.json()["detail"]
    with start(tmp_path) as client:
        assert send(client, "PUT", "/items/f5", {"attributes": KNOWN}).json()["n_items"] == 60
        assert listed(client)["f5"]["attributes"]["year"] == 2001
    promotion.promote(store, "v1", "back")


def gone(client: httpx.Client) -> None:
    """Neither `a/b` nor `f5` is recommended, found or named as a reason."""
    history = [{"item_id": "f5"}, {"item_id": "f8"}]
    for body in ({}, {"history": history}, {"wish": "scary"}, {"user_id": "u03", "wish": "like Scary story 4"}):
        answers = listed(client, **body)
        assert answers and not {"a/b", "f5"} & set(answers)
        assert not any({"a/b", "f5"} & set(item["evidence_items"]) for item in answers.values())
    assert not {"a/b", "f5"} & set(found(client, "dusty"))
    similar = client.get("/similar", params={"item_id": "f8", "k": 100}).json()["items"]
    assert len(similar) == 58 and not {"a/b", "f5"} & {item["item_id"] for item in similar}
    assert client.get("/similar", params={"item_id": "f5"}).status_code == 404
    assert client.post("/explain", json={"item_id": "f5"}).status_code == 404


def test_many_are_added_at_once_or_none(start: Callable, tmp_path: Path) -> None:
    many = [{"item_id": f"n{place}", "attributes": {**KNOWN, "price": 100.0 + place}} for place in range(40)]
    with start(tmp_path) as client:
        for wrong in (
            [*many, {"item_id": "n0", "attributes": KNOWN}],
            [*many, {"item_id": "x", "attributes": {"colour": "red"}}],
            [*many, {"item_id": "x"}],
            [],
            [{"item_id": f"x{place}", "attributes": KNOWN} for place in range(messages.MOST_ADDED + 1)],
        ):
            assert send(client, "POST", "/items/bulk", {"items": wrong}).status_code == 422
        taken = send(client, "POST", "/items/bulk", {"items": [*many, {"item_id": "f1", "attributes": KNOWN}]})
        assert taken.status_code == 409 and client.get("/about").json()["n_items"] == 60
        assert send(client, "POST", "/items/bulk", {"items": many}, key="no").status_code == 401
        done = send(client, "POST", "/items/bulk", {"items": many})
        assert done.status_code == 201 and done.json()["n_items"] == 100
        messages.ItemsAnswer.model_validate(done.json(), strict=True)
        dear = {"constraints": {"at_least": {"price": 100}}}
        assert set(listed(client, **dear)) == {item["item_id"] for item in many}
    with start(tmp_path) as client:
        assert set(listed(client, **dear)) == {item["item_id"] for item in many}


def test_one_of_concurrent_adds_wins_and_two_services_overwrite_nothing(start: Callable, tmp_path: Path) -> None:
    def add(client: httpx.Client, item_id: str, title: str) -> int:
        body = {"item_id": item_id, "attributes": {**KNOWN, "title": title}}
        return send(client, "POST", "/items", body).status_code

    with start(tmp_path) as one, start(tmp_path) as other, concurrent.futures.ThreadPoolExecutor(12) as pool:
        many = [pool.submit(add, one, "same", f"Story {number}") for number in range(12)]
        assert sorted(answer.result() for answer in many) == [201] + [409] * 11
        assert add(one, "x", "The first") == 201 and add(other, "x", "The second") == 409
        both = [pool.submit(add, client, "y", "Both") for client in (one, other)]
        assert sorted(answer.result() for answer in both) == [201, 409]
        assert send(other, "DELETE", "/items/same").status_code == 200, "known to the store, not yet to this service"
    kept = EventStore(f"sqlite:///{tmp_path}/events.db")
    titles = {item.item_id: item.attributes["title"] for item in kept.items()}
    assert titles["x"] == "The first" and kept.edits() == {"same": True}
    kept.close()


def test_other_services_on_the_store_follow(start: Callable, tmp_path: Path) -> None:
    new = {"attributes": {**KNOWN, "title": "Unheard-of story", "price": 77.0}}

    def price(items: dict, item_id: str) -> float | None:
        return items[item_id]["attributes"]["price"] if item_id in items else None

    def follows(client: httpx.Client, holds: Callable[[dict], bool]) -> None:
        for _ in range(300):
            if holds(listed(client, k=100)):
                return
            time.sleep(0.1)
        raise AssertionError("the other service did not follow within 30 s")

    with start(tmp_path) as one, start(tmp_path) as other:
        for here, there in ((one, other), (other, one)):
            assert send(here, "POST", "/items", {"item_id": "n", **new}).status_code in (201, 409)
            assert send(here, "PUT", "/items/n", new).status_code == 200
            follows(there, lambda items: "n" in items)
            assert send(here, "PUT", "/items/n", {"attributes": {**new["attributes"], "price": 5.0}}).status_code == 200
            follows(there, lambda items: price(items, "n") == 5.0)
            assert send(here, "PUT", "/items/f2", new).status_code == 200
            follows(there, lambda items: price(items, "f2") == 77.0)
            assert send(here, "DELETE", "/items/f2").status_code == send(here, "DELETE", "/items/n").status_code == 200
            follows(there, lambda items: not {"f2", "n"} & items.keys())
            assert send(here, "PUT", "/items/f2", {"attributes": {**KNOWN, "price": 9.0}}).status_code == 200
            follows(there, lambda items: price(items, "f2") == 9.0)


def test_without_the_key_nothing_changes(start: Callable, tmp_path: Path) -> None:
    with start(tmp_path) as client:
        assert send(client, "DELETE", "/items/f1", key="").status_code == 401
        assert send(client, "PUT", "/items/f1", {"attributes": KNOWN}, key="").status_code == 401
        assert client.get("/about").json()["n_items"] == 60


def test_a_replaced_item_is_placed_as_one_that_was_added_like_this(tmp_path_factory: pytest.TempPathFactory) -> None:
    base = Recommender(Bundle.load(small_bundle.shared(tmp_path_factory) / "v1"))
    row = Item("new", KNOWN).row()
    added = base.extended([Item("new", {"title": "Funny story 1"}).row()]).changed([row])
    expected = base.extended([row])
    for wish in ("", "scary"):
        answers = [
            one.recommend(one.history_of("u03"), 100, one.parse_query(wish) if wish else None)["items"]
            for one in (added, expected)
        ]
        scores = [{item["item_id"]: item["score"] for item in answer} for answer in answers]
        # What it was before still counts in the average item.
        assert scores[0].keys() == scores[1].keys() and scores[0]["new"] == pytest.approx(scores[1]["new"], abs=0.1)
    with pytest.raises(ItemExists):
        added.extended([row])
    with pytest.raises(ItemError, match="unknown here"):
        added.changed([{"item_id": "f1", "colour": "red"}])


def test_a_misspelt_title_is_found(tmp_path_factory: pytest.TempPathFactory) -> None:
    one = Recommender(Bundle.load(small_bundle.shared(tmp_path_factory) / "v1"))
    assert one.search("dutsy stroy 5") == one.search("dusty story 5") != []
    assert one.search("funny 4444") == one.search("qqqq story") == []
    begun = time.process_time()
    one.search("s" + " sx" * 66)
    assert time.process_time() - begun < 0.25


def test_too_many_wishes_are_told_to_come_again(
    start: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, whole = [], Recommender.parse_query

    def slowly(self: Recommender, text: str) -> object:
        read.append(text)
        time.sleep(0.2)
        return whole(self, text)

    monkeypatch.setattr(Recommender, "parse_query", slowly)
    with start(tmp_path) as client, concurrent.futures.ThreadPoolExecutor(40) as pool:
        asking = [pool.submit(client.post, "/recommend", json={"wish": "funny"}) for _ in range(40)]
        answers = [one.result() for one in asking]
        counts = collections.Counter(answer.status_code for answer in answers)
        assert set(counts) == {200, 503} and counts[200] == read.count("funny") >= MOST_WISHES
        assert {answer.headers.get("Retry-After") for answer in answers if answer.status_code == 503} == {"1"}
        assert client.post("/recommend", json={"wish": "funny"}).status_code == 200
