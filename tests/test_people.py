"""What belongs to a person: nobody reads it without the key, and with it, it is listed, undone, exported and erased."""

import json
import time
from pathlib import Path

import httpx
import pytest
import small_bundle
from fastapi.testclient import TestClient

from recfuse_lib.serving import messages, retraining
from recfuse_lib.serving.app import create_app
from recfuse_lib.serving.events import EventStore
from recfuse_lib.serving.messages import Event
from recfuse_lib.serving.settings import Settings

KEY = "a-key-for-the-tests"
DAY = 24 * 3600


@pytest.fixture
def client(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory):
    """A service with a key, which the client shows unless it is told otherwise."""
    url = f"sqlite:///{tmp_path}/events.db"
    settings = Settings(store=small_bundle.shared(tmp_path_factory) / "v1", database=url, api_key=KEY, exploration=0)
    with TestClient(create_app(settings), headers={"X-API-Key": KEY}) as one:
        yield one


def did(client: httpx.Client, key: str, user: str, item: str, kind: str = "liked", later: int = 0) -> httpx.Response:
    event = {"key": key, "user_id": user, "item_id": item, "kind": kind, "timestamp": int(time.time()) + later}
    return client.post("/events", json={"events": [event]})


def listed(client: httpx.Client, user: str, k: int = 60) -> list[str]:
    answer = client.post("/recommend", json={"user_id": user, "k": k})
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


@pytest.mark.parametrize("key", ["", "wrong"])
def test_nobody_learns_of_a_person_without_the_key(client: httpx.Client, key: str) -> None:
    did(client, "k1", "ann", "f1")
    client.headers["X-API-Key"] = key
    for user in ("u03", "ann", "nobody"):
        for path, body in (("/recommend", {}), ("/explain", {"item_id": "f9"}), ("/recommend", {"reasons": False})):
            answer = client.post(path, json={"user_id": user, "history": [{"item_id": "f2"}], **body})
            assert answer.status_code == 401 and set(answer.json()) == {"detail"}
        for method, path in (("GET", ""), ("GET", "/events"), ("DELETE", "/events/k1"), ("DELETE", "")):
            assert client.request(method, f"/people/{user}{path}").status_code == 401
    past = {"history": [{"item_id": "f2"}, {"item_id": "f4"}]}
    items = client.post("/recommend", json={**past, "wish": "scary"}).json()["items"]
    assert any(item["evidence_items"] for item in items) and all(item["reason"] for item in items)
    assert client.post("/explain", json={**past, "item_id": "f9"}).json()["contributions"]
    client.headers["X-API-Key"] = KEY
    assert len(client.get("/people/ann/events").json()["events"]) == 1


@pytest.mark.parametrize("user", ["u05", "someone new", "tenant/ann?"])
def test_events_are_listed_and_undone(client: httpx.Client, user: str) -> None:
    before, path = listed(client, user), f"/people/{user.replace('/', '%2F').replace('?', '%3F')}"
    for number, kind in enumerate(("liked", "dismissed", "clicked")):
        assert did(client, f"k/{number}", user, before[number], kind, number).status_code == 200
    assert client.get(f"{path}/events", params={"k": 2}).json()["events"][1]["kind"] == "dismissed"
    pages = [client.get(f"{path}/events", params={"k": 2, "skip": skip}).json() for skip in (0, 2, 4)]
    for page in pages:
        messages.Kept.model_validate_json(json.dumps(page), strict=True)
    keys = [[one["key"] for one in page["events"]] for page in pages]
    assert keys == [["k/2", "k/1"], ["k/0"], []]
    assert not {*before[:3]} & {*listed(client, user)}
    for number in range(3):
        assert client.delete(f"/people/u06/events/k/{number}").status_code == 404, "of another person"
        assert client.delete(f"{path}/events/k%2F{number}").json() == {"deleted": 1}
        assert client.delete(f"{path}/events/k%2F{number}").status_code == 404
        assert before[number] in listed(client, user)
    assert listed(client, user) == before
    assert client.get(f"{path}/events", params={"k": 0}).status_code == 422


def test_everything_that_is_kept_is_exported(client: httpx.Client) -> None:
    did(client, "k1", "u03", "f1", "dismissed")
    shown = listed(client, "u03", k=3)
    answer = client.get("/people/u03").json()
    messages.Export.model_validate_json(json.dumps(answer), strict=True)
    assert [one["key"] for one in answer["events"]] == ["k1"] and answer["version"] == "v1"
    log = small_bundle.dataset().events()
    known = log[log["user"] == 3].sort_values("timestamp").assign(item_id=lambda log: "f" + log["item"].astype("str"))
    assert answer["trained_on"] == known[["item_id", "rating", "timestamp"]].to_dict("records")
    assert [one["item_ids"] for one in answer["answers"]] == [shown]
    nothing = {"events": [], "answers": [], "version": "v1", "trained_on": []}
    assert client.get("/people/nobody").json() == {"user_id": "nobody", **nothing}


def test_who_is_erased_is_a_stranger_at_once(client: httpx.Client, tmp_path: Path) -> None:
    for user in ("u03", "ann"):
        did(client, user, user, "f1")
        assert listed(client, user) != listed(client, "nobody")
        assert client.delete(f"/people/{user}").json() == {"deleted": 1}
        assert client.get(f"/people/{user}").json()["answers"] == []
        assert listed(client, user) == listed(client, "nobody")
        assert client.get(f"/people/{user}/events").json() == {"events": []}
    assert client.delete("/people/ann").json() == {"deleted": 0}
    assert listed(client, "u11") != listed(client, "nobody"), "the others stay"
    assert "u03" not in client.get("/about").json()["example_people"]
    assert client.get("/people/u03").json()["trained_on"], "until the next round, which drops it"
    store = EventStore(f"sqlite:///{tmp_path}/events.db")
    assert (store.count(), store.erasures()) == (0, 3)
    assert "u11" in {one.user_id for one in store.answers()}
    store.close()


def test_an_event_of_the_future_is_refused(client: httpx.Client) -> None:
    for later in (DAY + 60, 2**39):
        answer = did(client, "late", "ann", "f1", later=later)
        assert answer.status_code == 422 and "day" in answer.json()["detail"]
    assert client.get("/people/ann/events").json() == {"events": []}
    assert did(client, "soon", "ann", "f1", later=DAY - 60).status_code == 200, "a clock may be a time zone off"


def test_a_person_is_exported_and_erased_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    url = f"sqlite:///{tmp_path}/events.db"
    store = EventStore(url)
    store.add_items([messages.Item("a", {"title": "A"})])
    store.add([Event("1", "ann", "a", 10, "liked"), Event("2", "bob", "a", 11, "liked")])
    arguments = ["--database", url, "--user", "ann"]
    assert retraining.main(["export", *arguments]) == 0
    assert [one["key"] for one in json.loads(capsys.readouterr().out)["events"]] == ["1"]
    assert retraining.main(["erase", *arguments]) == 0 and capsys.readouterr().out == "1\n"
    assert (store.history("ann"), store.erasures(), store.count()) == ([], 1, 1)
    store.close()
