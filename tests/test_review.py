"""The review queue over HTTP: what waits, what a decision changes, and that it lasts."""

import time
from pathlib import Path

import httpx
import pytest
import small_bundle
from service_process import service

from recfuse_lib.serving import messages, promotion
from recfuse_lib.serving.events import EventStore

pytestmark = pytest.mark.slow
KEY = "a-key-for-the-tests"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    small_bundle.copy(tmp_path_factory, folder / "store", ("v1", "v2"))
    promotion.promote(folder / "store", "v1", "a test")
    return folder


@pytest.fixture
def client(world: Path):
    with service(world / "store", f"sqlite:///{world}/events.db", api_key=KEY) as one:
        one.headers["X-API-Key"] = KEY
        yield one


def listed(client: httpx.Client, k: int = 3) -> list[str]:
    return [one["item_id"] for one in client.post("/recommend", json={"user_id": "u03", "k": k}).json()["items"]]


def say(client: httpx.Client, item: str, action: str, reason: str = "a test") -> None:
    answer = client.post(f"/review/{item}", json={"action": action, "reason": reason})
    assert answer.status_code == 201, answer.text
    messages.Review(**answer.json())


def queue(client: httpx.Client) -> dict[str, list[tuple[str, str]]]:
    answer = client.get("/review").json()
    messages.ReviewQueue.model_validate(answer, strict=True)
    return {name: [(one["item_id"], one["action"]) for one in rows] for name, rows in answer.items()}


def test_a_decision_changes_the_next_answer_and_lasts(client: httpx.Client, world: Path) -> None:
    first, second, *_ = before = listed(client)
    say(client, first, "report", "harmful with probability 0.41")
    assert listed(client) == before, "what was reported stays until somebody decides"
    assert queue(client) == {"waiting": [(first, "report")], "decided": []}
    shown = client.get("/review").json()["waiting"][0]
    assert shown["attributes"]["title"] and shown["reason"] == "harmful with probability 0.41"
    say(client, first, "reject", "it is")
    assert listed(client)[0] == second and first not in listed(client, 60), "the next answer is without it"
    assert client.get("/similar", params={"item_id": first}).status_code == 404
    say(client, second, "hold", "certain")
    assert not {first, second} & set(listed(client, 60)), "what is held is hidden until somebody decides"
    assert queue(client) == {"waiting": [(second, "hold")], "decided": [(first, "reject")]}
    body = {"attributes": {"title": "funny story, another name", "year": 1999, "genres": ["Comedy"], "price": 1.0}}
    assert client.put(f"/items/{first}", json=body).status_code == 200
    assert first not in listed(client, 60), "who is rejected is not back by a change of the text"
    with service(world / "store", f"sqlite:///{world}/events.db", api_key=KEY) as another:
        another.headers["X-API-Key"] = KEY
        assert not {first, second} & set(listed(another, 60)), "another service on this store, after a start"
        say(client, second, "approve")
        assert second in listed(client, 60)
        for _ in range(100):
            if second in listed(another, 60):
                break
            time.sleep(0.1)
        assert second in listed(another, 60), "it follows without a restart"
    promotion.promote(world / "store", "v2", "another model")
    for _ in range(100):
        if client.get("/ready").json()["version"] == "v2":
            break
        time.sleep(0.1)
    there = listed(client, 60)
    assert first not in there and second in there, "a later bundle does not bring it back"
    steps = [(one.item_id, one.action) for one in EventStore(f"sqlite:///{world}/events.db").reviews()]
    assert steps == [(first, "report"), (first, "reject"), (second, "hold"), (second, "approve")]


def test_an_approval_does_not_bring_back_what_was_removed(client: httpx.Client) -> None:
    item = listed(client)[0]
    assert client.delete(f"/items/{item}").status_code == 200
    say(client, item, "report")
    say(client, item, "approve")
    assert item not in listed(client, 60)


def test_what_cannot_be_reviewed(client: httpx.Client) -> None:
    assert client.post("/review/nobody-has-it", json={"action": "reject"}).status_code == 404
    assert client.post("/review/f1", json={"action": "burn"}).status_code == 422
    for method, address in (("GET", "/review"), ("POST", "/review/f1")):
        answer = client.request(method, address, json={"action": "reject"}, headers={"X-API-Key": "wrong"})
        assert answer.status_code == 401
