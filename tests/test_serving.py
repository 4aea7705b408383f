"""The service over HTTP: a real uvicorn on the loopback address, good and bad requests, swaps, and a database that fails."""

import asyncio
import concurrent.futures
import json
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
import small_bundle
from service_process import service

from recfuse_lib.serving import messages, promotion
from recfuse_lib.serving.bundle import Bundle
from recfuse_lib.serving.circuit_breaker import CircuitBreaker
from recfuse_lib.serving.events import EventStore
from recfuse_lib.serving.middleware import CLIENTS, Rates
from recfuse_lib.serving.recommender import Recommender
from recfuse_lib.serving.settings import Settings, SettingsError

KEY = "a-key-for-the-tests"
WITH_KEY = {"X-API-Key": KEY}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two versions that differ in name alone; v1 serves."""
    folder = tmp_path_factory.mktemp("world")
    small_bundle.copy(tmp_path_factory, folder / "store", ("v1", "v2"))
    promotion.promote(folder / "store", "v1", "a test")
    return folder


@pytest.fixture(scope="module")
def client(world: Path):
    with service(world / "store", f"sqlite:///{world}/events.db", api_key=KEY, max_body=400_000) as one:
        yield one


def recommended(client: httpx.Client, **body: object) -> dict:
    answer = client.post("/recommend", json=body, headers=WITH_KEY)
    assert answer.status_code == 200, answer.text
    messages.RecommendAnswer.model_validate(answer.json(), strict=True)
    return answer.json()


def ids(answer: dict) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def event(key: str, user: str = "u01", item: str = "f1", kind: str = "liked", **more: object) -> dict:
    return {"key": key, "user_id": user, "item_id": item, "timestamp": 10**9, "kind": kind, **more}


def test_it_recommends_to_everybody(client: httpx.Client) -> None:
    known = recommended(client, user_id="u03", k=5)
    assert known["version"] == "v1" and len(known["items"]) == 5 and known["fallbacks"] == []
    assert all(item["reason"] and item["shares"] for item in known["items"])
    history = recommended(client, history=[{"item_id": "f1"}, {"item_id": "f4", "rating": 1}])
    assert not {"f1", "f4"} & set(ids(history)) and history["fallbacks"]
    words = recommended(client, wish="something scary, before 1980", k=100)
    assert {item["attributes"]["year"] < 1980 for item in words["items"]} == {True} and "year < 1980" in words[
        "understood"
    ]
    cheap = recommended(client, k=100, constraints={"categories": ["Horror"], "at_most": {"price": 20}}, exclude=["f1"])
    assert cheap["items"] and "f1" not in ids(cheap)
    shown = [item["attributes"] for item in cheap["items"]]
    assert all("Horror" in one["genres"] and one["price"] <= 20 for one in shown)
    assert recommended(client, constraints={"at_least": {"weight": 3}})["notes"][0] == "no item has 'weight'"
    assert recommended(client)["fallbacks"], "who says nothing gets something, and is told why"
    assert ids(recommended(client, k=5.0)) == ids(recommended(client, k=5)), "in JSON, 5.0 is an integer"
    short = recommended(client, user_id="u03", reasons=False)["items"][0]
    assert "shares" not in short


@pytest.mark.parametrize("wish", ["", "something funny", "scary, like Dusty story 5"])
def test_it_answers_as_the_recommender_does(client: httpx.Client, world: Path, wish: str) -> None:
    one = Recommender(Bundle.load(world / "store" / "v1"))
    parsed = one.parse_query(wish) if wish else None
    for person in [f"u{user:02}" for user in range(small_bundle.N_USERS)]:
        expected = one.recommend(one.history_of(person), 20, parsed, 0.4)
        answer = recommended(client, user_id=person, k=20, wish=wish, wish_weight=0.4)
        assert ids(answer) == ids(expected) and answer["notes"] == expected["notes"]
        for given, wanted in zip(answer["items"], expected["items"], strict=True):
            assert given["score"] == pytest.approx(wanted["score"], abs=1e-5)
            assert given["contributions"] == pytest.approx(wanted["contributions"], abs=1e-5)
            assert sum(given["contributions"].values()) == pytest.approx(given["score"], abs=5e-5)


@pytest.mark.parametrize("version", ["shop", "titles"])
def test_any_world_is_served(version: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """From the bundle's own folder, as `recfuse serve` names it."""
    from fastapi.testclient import TestClient

    from recfuse_lib.serving.app import create_app

    store = small_bundle.shared(tmp_path_factory) / version
    with TestClient(create_app(Settings(store=store, database=f"sqlite:///{tmp_path}/events.db"))) as client:
        about = client.get("/about").json()
        messages.About.model_validate(about, strict=True)
        assert about["name"] == version and about["predicts_stars"] == (version == "titles")
        before = recommended(client, user_id="u03", wish="something funny")
        assert any("not heard" in note for note in before["notes"]) == (version == "shop")
        assert {item["predicted_rating"] is None for item in before["items"]} == {version == "shop"}
        liked = [event("k1", "u03", ids(before)[0], "bought"), event("k2", "u03", ids(before)[1], "dismissed")]
        assert client.post("/events", json={"events": liked}).status_code == 200
        assert not set(ids(recommended(client, user_id="u03", k=60))) & set(ids(before)[:2])
        known = {"kind": "Horror", "price": 3.5} if version == "shop" else {"title": "funny story 7"}
        assert client.post("/items", json={"item_id": "new", "attributes": known}).status_code == 201
        assert "new" in ids(recommended(client, user_id="u03", k=100))


def test_it_asks_what_nobody_answered(client: httpx.Client) -> None:
    first = client.get("/questions", params={"k": 3}).json()
    messages.Answer[messages.Question].model_validate(first, strict=True)
    assert first["version"] == "v1" and len(set(ids(first))) == 3
    assert all(item["title"] and "in 10" in item["reason"] and 0 <= item["known"] <= 1 for item in first["items"])
    assert ids(client.get("/questions").json()) == ids(first)[:1], "one question, unless more are asked for"
    liked, disliked, skipped = ids(first)
    said = {"k": 100, "liked": [liked], "disliked": [disliked, "none"], "skipped": skipped}
    rest = client.get("/questions", params=said).json()
    assert len(rest["items"]) > 40 and not {liked, disliked, skipped} & set(ids(rest))
    assert ids(rest) != ids(client.get("/questions", params={**said, "liked": disliked, "disliked": liked}).json())


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("k=0", "k"),
        ("k=101", "k"),
        ("k=many", "k"),
        ("liked=", "liked"),
        ("skipped=" + "x" * 201, "skipped"),
        ("&".join(f"disliked=f{number}" for number in range(101)), "disliked"),
        ("likes=f1", "query"),
    ],
)
def test_a_wrong_question_for_questions_says_where(client: httpx.Client, query: str, said: str) -> None:
    answer = client.get(f"/questions?{query}")
    assert answer.status_code == 422 and said in answer.json()["detail"], answer.text
    assert "x" * 20 not in answer.text and "f100" not in answer.text


def test_similar_search_explain_about(client: httpx.Client) -> None:
    similar = client.get("/similar", params={"item_id": "f3", "k": 4}).json()
    messages.Answer[messages.Similar].model_validate(similar, strict=True)
    assert len(similar["items"]) == 4 and similar["items"][0]["similarity"] >= similar["items"][3]["similarity"]
    found = client.get("/items", params={"title": "STORY dusty", "k": 3}).json()
    messages.Answer[messages.Described].model_validate(found, strict=True)
    assert [("dusty" in one["title"]) for one in found["items"]] == [True] * 3
    why = client.post("/explain", json={"user_id": "u03", "item_id": "f9", "wish": "funny"}, headers=WITH_KEY).json()
    messages.ExplainAnswer.model_validate(why, strict=True)
    assert sum(why["shares"].values()) == pytest.approx(1, abs=0.01)
    about = client.get("/about").json()
    messages.About.model_validate(about, strict=True)
    assert about["key_required"] and about["n_users"] == 12 and about["metrics"] == {"ndcg@10": 0.5}
    for path, body in (("/similar?item_id=none", None), ("/explain", {"item_id": "none"})):
        answer = client.post(path, json=body) if body else client.get(path)
        assert answer.status_code == 404 and answer.json()["detail"]


def test_feedback_counts_at_the_next_request(client: httpx.Client) -> None:
    before = ids(recommended(client, user_id="u05", k=60))
    assert client.post("/events", json={"events": [event("like", "u05", before[0])]}, headers=WITH_KEY).json() == {
        "acknowledged": ["like"]
    }
    after = ids(recommended(client, user_id="u05", k=60))
    assert before[0] not in after and after != before[1:], "what was liked is gone, and the order has changed"
    client.post("/events", json={"events": [event("no", "u05", after[0], "dismissed")]}, headers=WITH_KEY)
    assert after[0] not in ids(recommended(client, user_id="u05", k=60))
    newcomer = [event(f"n{place}", "someone new", f"f{place}", timestamp=10**9 + place) for place in (0, 3)]
    client.post("/events", json={"events": newcomer}, headers=WITH_KEY)
    assert recommended(client, user_id="someone new")["items"] != recommended(client)["items"]


def test_the_same_event_again_is_one_event(client: httpx.Client, world: Path) -> None:
    for _ in range(3):
        answer = client.post("/events", json={"events": [event("once"), event("once")]}, headers=WITH_KEY)
        assert answer.status_code == 200 and answer.json() == {"acknowledged": ["once", "once"]}
    with sqlite3.connect(world / "events.db") as database:
        assert database.execute("select count(*) from events where key = 'once'").fetchone() == (1,)


def test_a_new_item_is_recommended_at_once_and_after_a_restart(client: httpx.Client, world: Path) -> None:
    known = {"title": "Scary story 7", "year": 2001, "genres": ["Horror"], "price": 3.0}
    item = {"item_id": "new-1", "attributes": known}
    answer = client.post("/items", json=item, headers=WITH_KEY)
    assert answer.status_code == 201 and answer.json()["n_items"] >= 61
    assert client.post("/items", json=item, headers=WITH_KEY).status_code == 409
    found = recommended(
        client, user_id="u03", k=100, constraints={"at_least": {"price": 2.9}, "at_most": {"price": 3.1}}
    )
    assert "new-1" in ids(found) and all(one["new"] for one in found["items"] if one["item_id"] == "new-1")
    assert "new-1" in ids(recommended(client, wish="scary", k=100))
    with service(world / "store", f"sqlite:///{world}/events.db") as another:
        assert "new-1" in ids(
            recommended(another, k=100, constraints={"at_least": {"price": 2.9}, "at_most": {"price": 3.1}})
        )


def test_a_share_of_the_answers_ends_by_chance_and_its_feedback_says_so(world: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/events.db"
    with service(world / "store", url, exploration=0.3) as one:
        answers = [recommended(one, user_id="u08", k=5, reasons=False) for _ in range(300)]
        explored = [[item["exploration"] for item in answer["items"]] for answer in answers]
        assert {tuple(places[:-1]) for places in explored} == {(False,) * 4}
        assert 50 < sum(places[-1] for places in explored) < 130
        drawn = next(ids(answer)[-1] for answer, places in zip(answers, explored, strict=True) if places[-1])
        answer_of = {ids(answer)[-1]: answer["answer_id"] for answer in answers if answer["items"][-1]["exploration"]}
        given = {"answer_id": answer_of[drawn]}
        liked = [event("c1", "u08", drawn, **given), event("c2", "u08", ids(answers[0])[0], **given)]
        assert one.post("/events", json={"events": liked}).status_code == 200
        later = [ids(recommended(one, user_id="u08", k=5)) for _ in range(100)]
        assert not {drawn, ids(answers[0])[0]} & {item for answer in later for item in answer}
    store = EventStore(url)
    assert store.explored(since=0).to_numpy().tolist() == [["u08", drawn]]
    kept = {one.answer_id: one for one in store.answers()}
    assert len(kept) == 400 and {one.version for one in kept.values()} == {"v1"}
    own = next(ids(answer)[-1] for answer in answers if not answer["items"][-1]["exploration"])
    for answer in answers:
        one = kept[answer["answer_id"]]
        assert one.item_ids == tuple(ids(answer)) and one.propensities[:-1] == (1.0,) * 4 and one.user_id == "u08"
        assert answer["items"][-1]["exploration"] == (one.drawn is not None)
        assert (one.propensities[-1] < 0.3) == (one.item_ids[-1] != own)
    # Of M items each was drawn with 0.3 / M; what the model chose came with that and the other 0.7, drawn or not.
    by_chance, chosen = sorted({kept[answer["answer_id"]].propensities[-1] for answer in answers})
    assert chosen - by_chance == pytest.approx(0.7) and (0.3 / by_chance) == pytest.approx(round(0.3 / by_chance))
    store.close()


def test_writing_needs_the_key(client: httpx.Client) -> None:
    for path, body in (
        ("/events", {"events": [event("x")]}),
        ("/items", {"item_id": "x", "attributes": {"title": "X"}}),
    ):
        for headers in ({}, {"X-API-Key": "wrong"}, {"X-API-Key": "ä".encode()}):
            assert client.post(path, json=body, headers=headers).status_code == 401


BAD = [
    {"k": -1}, {"k": 0}, {"k": 101}, {"k": 1.5}, {"k": "ten"}, {"k": None}, {"k": True}, {"k": 10**30},
    {"user_id": ""}, {"user_id": 7}, {"user_id": "x" * 201}, {"user_id": "a\0b"}, {"wish": "x" * 1001}, {"wish": 5},
    {"wish_weight": 2}, {"wish_weight": -0.1}, {"history": [{"item_id": "f1", "rating": 9}]}, {"history": [{}]},
    {"history": [{"item_id": "f1"}] * 10_001}, {"history": "f1"}, {"exclude": [1]}, {"unknown": 1},
    {"constraints": {"at_least": {"year": "x"}}}, {"constraints": {"at_most": {"": 1}}}, {"constraints": {"at_most": 7}},
    {"constraints": {"categories": "Horror"}}, {"constraints": {"colour": "red"}}, [], 7, None,
    {"wish_weight": False}, {"wish_weight": "0.5"}, {"reasons": 1}, {"k": "5"},
    {"history": [{"item_id": "f1", "rating": True}]}, {"constraints": {"at_least": {"year": True}}},
]  # fmt: skip


def test_an_id_that_was_sent_as_a_number_is_to_be_quoted(client: httpx.Client) -> None:
    answer = client.post("/recommend", json={"user_id": 3})
    assert answer.status_code == 422 and answer.json()["detail"].endswith('ids are text: quote it, as "7"')


@pytest.mark.parametrize("body", BAD, ids=lambda body: json.dumps(body)[:40])
def test_bad_requests_are_told_what_is_wrong(client: httpx.Client, body: object) -> None:
    if isinstance(body, dict) and len(body.get("history", "")) > 10_000:
        body = {"history": [{"item_id": "1"}] * 10_001}
    answer = client.post("/recommend", content=json.dumps(body))
    assert answer.status_code == 422 and answer.json()["detail"].startswith("body"), answer.text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"k": NaN}',
        b'{"wish_weight": NaN}',
        b'{"history": [{"item_id": "f1", "rating": Infinity}]}',
        b'{"user_id": "\\ud800"}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_json_is_refused(client: httpx.Client, content: bytes) -> None:
    answer = client.post("/recommend", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422) and isinstance(answer.json()["detail"], str)


def test_no_refusal_repeats_what_was_sent(client: httpx.Client) -> None:
    answer = client.post("/recommend", json={"wish": "my secret " * 200, "k": "my secret"})
    assert answer.status_code == 422 and "secret" not in answer.text


def test_huge_bodies_are_not_read(client: httpx.Client) -> None:
    answer = client.post("/recommend", json={"wish": "x" * 500_000})
    assert answer.status_code == 413

    def pieces():
        for _ in range(50):
            yield b" " * 10_000

    assert client.post("/recommend", content=pieces()).status_code == 413, "without a declared length too"
    assert client.get("/ready").status_code == 200


def test_long_empty_and_unknown_histories(client: httpx.Client) -> None:
    long = [{"item_id": f"f{place % 60}", "rating": 3.5} for place in range(10_000)]
    answer = recommended(client, history=long, k=5)
    assert (
        ids(answer) in ([], ["new-1"])
        and answer["notes"] == ["no item is left that satisfies everything"][: len(answer["notes"])]
    )
    assert recommended(client, history=[])["items"] == recommended(client)["items"]
    answer = recommended(client, history=[{"item_id": "gone"}], user_id="nobody")
    assert "1 items of the history are not in the catalogue" in answer["notes"] and answer["items"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/events", {"events": []}), ("/events", {"events": [event("k", kind="hated")]}),
        ("/events", {"events": [event("k", item="none")]}), ("/events", {"events": [event("k", rating=2.0)]}),
        ("/events", {"events": [event("k", kind="rated")]}), ("/events", {"events": [event("")]}),
        ("/events", {"events": [event("k", timestamp=-1)]}), ("/events", {"events": [event("k")] * 1001}),
        ("/items", {"item_id": "i"}), ("/items", {"item_id": "i", "attributes": {}}), ("/items", {"item_id": " "}),
        ("/items", {"item_id": "i", "attributes": {"title": None}}), ("/items", {"item_id": "i", "title": "X"}),
        ("/items", {"item_id": "i", "attributes": {"title": "X", "colour": "red"}}),
        ("/items", {"item_id": "i", "attributes": {"title": "X", "year": "late"}}),
        ("/items", {"item_id": "i", "attributes": {"title": 7}}), ("/items", {"item_id": "i", "attributes": ["X"]}),
        ("/items", {"item_id": "i", "attributes": {"title": "X", "genres": ["a|b"]}}),
        ("/items", {"item_id": "i", "attributes": {"title": "X", "year": True}}),
        ("/events", {"events": [event("k", kind="rated", rating=True)]}),
        ("/events", {"events": [event("k", timestamp="10")]}), ("/events", {"events": [event("k", timestamp=True)]}),
    ],
)  # fmt: skip
def test_bad_events_and_items_are_refused_whole(client: httpx.Client, path: str, body: dict) -> None:
    answer = client.post(path, json=body, headers=WITH_KEY)
    assert answer.status_code == 422 and answer.json()["detail"], answer.text


def test_one_bad_event_keeps_the_others_out(client: httpx.Client, world: Path) -> None:
    answer = client.post("/events", json={"events": [event("good"), event("bad", item="none")]}, headers=WITH_KEY)
    assert answer.status_code == 422
    with sqlite3.connect(world / "events.db") as database:
        assert database.execute("select count(*) from events where key in ('good', 'bad')").fetchone() == (0,)


def test_the_log_and_the_metrics_hold_no_personal_text(client: httpx.Client) -> None:
    recommended(client, user_id="u07", wish="confidential longing")
    client.get("/similar", params={"item_id": "confidential"})
    client.get("/confidential/u07")
    metrics = client.get("/metrics").text
    assert 'recfuse_requests_total{route="/recommend",status="200"}' in metrics
    assert 'recfuse_bundle{version="v1"} 1.0' in metrics and "recfuse_fallbacks_total" in metrics
    lines = client.log.read_text("utf-8").splitlines()
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    assert {"route", "status", "ms", "request"} <= set(logged[-1])
    for text in ("confidential", "u07", KEY):
        assert text not in "\n".join(lines) and text not in metrics


def test_openapi_has_examples_that_work(client: httpx.Client) -> None:
    schema = client.get("/openapi.json").json()
    bodies = schema["components"]["schemas"]
    assert set(schema["paths"]) == {
        "/recommend",
        "/explain",
        "/similar",
        "/items",
        "/items/bulk",
        "/items/{item_id}",
        "/questions",
        "/events",
        "/people/{user_id}",
        "/people/{user_id}/events",
        "/people/{user_id}/events/{key}",
        "/decisions",
        "/review",
        "/review/{item_id}",
        "/about",
        "/health",
        "/ready",
        "/metrics",
    }
    assert len(bodies["RecommendRequest"]["examples"]) == 3
    for example in bodies["RecommendRequest"]["examples"]:
        recommended(client, **example)
    assert client.get("/health").json()["status"] == "alive"


def test_headers_keep_other_sites_out(client: httpx.Client) -> None:
    answer = client.get("/")
    assert answer.status_code == 200 and "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in answer.headers and answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_new_champion_takes_over_without_dropping_a_request(world: Path, tmp_path: Path) -> None:
    with service(world / "store", f"sqlite:///{tmp_path}/events.db") as client:
        seen: list[tuple[int, str]] = []
        stop = time.monotonic() + 30

        def ask() -> None:
            with httpx.Client(base_url=client.base_url, timeout=30, trust_env=False) as own:
                while {version for _, version in seen} != {"v1", "v2"} and time.monotonic() < stop:
                    answer = own.post("/recommend", json={"user_id": "u03", "wish": "funny"})
                    seen.append((answer.status_code, answer.json()["version"]))

        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            asking = [pool.submit(ask) for _ in range(3)]
            time.sleep(0.5)
            promotion.promote(world / "store", "v2", "a test")
            for one in asking:
                one.result()
        assert {status for status, _ in seen} == {200} and {version for _, version in seen} == {"v1", "v2"}
        deaf = recommended(client, wish="funny")
        assert deaf["version"] == "v2" and any("not heard" in note for note in deaf["notes"])
        promotion.roll_back(world / "store")
        wait_for(lambda: recommended(client)["version"] == "v1")
        shutil.copytree(world / "store" / "v2", world / "store" / "v3")
        (world / "store" / "v3" / "users.json").write_text("[]")
        promotion.promote(world / "store", "v3", "a damaged one")
        wait_for(lambda: "cannot serve" in client.log.read_text("utf-8"))
        assert recommended(client)["version"] == "v1", "the old one goes on"
        promotion.promote(world / "store", "v1", "back")


def wait_for(holds) -> None:
    for _ in range(300):
        if holds():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come to be within 30 s")


def test_a_database_that_is_down_stops_events_alone(world: Path, tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    with service(world / "store", f"sqlite:///{folder}/events.db", patience=0.1) as client:
        answer = client.post("/events", json={"events": [event("k1", "u05", "f59")]})
        assert answer.status_code == 503 and answer.headers["Retry-After"]
        assert client.post("/items", json={"item_id": "x", "attributes": {"title": "Funny"}}).status_code == 503
        during = recommended(client, user_id="u05", k=100)
        assert "f59" in ids(during) and any("event store" in note for note in during["notes"])
        assert "x" not in ids(during) and client.get("/ready").status_code == 200
        folder.mkdir()
        wait_for(lambda: client.post("/events", json={"events": [event("k1", "u05", "f59")]}).status_code == 200)
        wait_for(lambda: "f59" not in ids(recommended(client, user_id="u05", k=100)))
        with sqlite3.connect(folder / "events.db") as database:
            assert database.execute("select count(*) from events").fetchone() == (1,)


def test_a_call_of_the_store_that_is_cancelled_as_it_answers_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    async def cancelled() -> bool:
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        monkeypatch.setattr(loop, "run_in_executor", lambda *_: answer)
        calling = asyncio.create_task(CircuitBreaker(5, print)(print))
        await asyncio.sleep(0)
        answer.set_result(None)
        calling.cancel()
        await asyncio.wait([calling])
        return calling.cancelled()

    assert asyncio.run(cancelled())


def test_an_answer_is_made_ahead_for_who_says_something(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastapi.testclient import TestClient

    from recfuse_lib.serving.app import create_app

    settings = Settings(store=world / "store", database=f"sqlite:///{tmp_path}/events.db", exploration=0.0)
    ranked: list[str] = []
    usual = Recommender._rank

    def watched(self, history, *more):  # type: ignore[no-untyped-def]
        ranked.append(str(history.query.user[0]))
        return usual(self, history, *more)

    with TestClient(create_app(settings)) as client:
        service = client.app.state.service  # type: ignore[attr-defined]
        monkeypatch.setattr(Recommender, "_rank", watched)
        for number in range(5):
            assert client.post("/events", json={"events": [event(f"k{number}", "u05", f"f{number}")]}).is_success
        wait_for(lambda: ranked and not service._ahead)
        assert len(ranked) <= 5
        begun = len(ranked)
        ahead = recommended(client, user_id="u05")
        assert len(ranked) == begun, "nothing is ranked when it is asked for"
        assert not {f"f{number}" for number in range(5)} & set(ids(ahead))
        service._histories.clear()
        again = recommended(client, user_id="u05")
        assert len(ranked) > begun and again["items"] == ahead["items"]

        monkeypatch.setattr(Recommender, "recommend", lambda *_: 1 / 0)
        assert client.post("/events", json={"events": [event("k9", "u05", "f9")]}).is_success
        wait_for(lambda: not service._ahead)
        monkeypatch.undo()
        assert "f9" not in ids(recommended(client, user_id="u05"))


def test_a_history_that_was_read_before_a_write_is_not_remembered(world: Path, tmp_path: Path) -> None:
    from fastapi.testclient import TestClient

    from recfuse_lib.serving.app import create_app

    async def raced(service) -> np.ndarray:  # type: ignore[no-untyped-def]
        usual = service._read

        async def overtaken(function, *arguments):  # type: ignore[no-untyped-def]
            found = await usual(function, *arguments)
            service._read = usual
            await service.add_events([messages.Event("late", "u06", "f7", 10**9, "liked")])
            return found

        service._read = overtaken
        await service.history(service.recommender, "u06", ())
        history, _ = await service.history(service.recommender, "u06", ())
        return history.codes

    settings = Settings(store=world / "store", database=f"sqlite:///{tmp_path}/events.db")
    with TestClient(create_app(settings)) as client:
        codes = client.portal.call(raced, client.app.state.service)  # type: ignore[union-attr,attr-defined]
        assert Recommender(Bundle.load(world / "store" / "v1")).catalogue.codes["f7"] in codes


def test_before_the_first_bundle_it_is_alive_but_not_ready(tmp_path: Path) -> None:
    from fastapi.testclient import TestClient

    from recfuse_lib.serving.app import create_app

    settings = Settings(store=tmp_path, database=f"sqlite:///{tmp_path}/events.db", rate=1, burst=3)
    with TestClient(create_app(settings)) as client:
        assert client.get("/health").status_code == 200
        answers = [client.post("/recommend", json={}) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [503, 503, 503, 429]
        assert answers[0].headers["Retry-After"] and answers[3].headers["Retry-After"]
        assert client.get("/ready").status_code == 503


def test_rates_forget_who_was_silent_longest() -> None:
    rates = Rates(rate=1, burst=1)
    for client in range(CLIENTS + 1):
        assert rates.wait(str(client), 0.0) == 0
    assert rates.wait(str(CLIENTS), 0.0) > 0 and rates.wait("0", 0.0) == 0
    assert Rates(0, 1).wait("a", 0.0) == 0


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("RECFUSE_PORT", "http", "PORT: .*integer"), ("RECFUSE_PORT", "0", "greater than 0"), ("RECFUSE_RATE", "-1", "RATE"),
        ("RECFUSE_RATE", "nan", "finite"), ("RECFUSE_HOST", "0.0.0.0", "RECFUSE_API_KEY"), ("RECFUSE_LOG", "all", "info"),
        ("RECFUSE_TRUSTED_PROXY", "my-proxy", "TRUSTED_PROXY: .*IP"),
        ("RECFUSE_API_KEY", "short", "too easy"), ("RECFUSE_EXPLORATION", "1.5", "less than or equal to 1"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_named(variable: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings.of({variable: value})


def test_a_bad_setting_ends_the_start_with_a_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "recfuse_lib.serving"],
        env={"RECFUSE_HOST": "0.0.0.0", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "RECFUSE_API_KEY" in done.stderr and "Traceback" not in done.stderr
