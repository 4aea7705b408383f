"""What goes wrong around a service: bundles that cannot serve, a damaged store, clients that mean no good."""

import asyncio
import concurrent.futures
import contextlib
import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import small_bundle
from fastapi.testclient import TestClient
from service_process import free_port

from recfuse_lib.serving import __main__ as server
from recfuse_lib.serving import promotion
from recfuse_lib.serving import service as services
from recfuse_lib.serving.app import create_app
from recfuse_lib.serving.bundle import seal
from recfuse_lib.serving.events import EventStore
from recfuse_lib.serving.middleware import Metrics
from recfuse_lib.serving.recommender import Recommender
from recfuse_lib.serving.service import Service, running
from recfuse_lib.serving.settings import Settings

pytestmark = pytest.mark.slow
SECRET = "confidential"


@pytest.fixture
def store(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of which v1 serves and v2 may."""
    small_bundle.copy(tmp_path_factory, tmp_path / "store", ("v1", "v2"))
    promotion.promote(tmp_path / "store", "v1", "a test")
    return tmp_path / "store"


def settings(store: Path, **more: object) -> Settings:
    return Settings(store=store, database=f"sqlite:///{store.parent}/events.db", **more)  # type: ignore[arg-type]


def spoil(store: Path, file: str, version: str = "bad") -> None:
    """Promotes a bundle of which one file is garbage, with the right checksum."""
    shutil.copytree(store / "v1", store / version, ignore=lambda *_: ["manifest.json"])
    (store / version / file).write_bytes(b"{ garbage")
    seal(store / version, version, {}, {"name": "bad"})
    promotion.promote(store, version, "a test")


def loads(service: Service, outcome: str) -> float:
    return service.metrics.registry.get_sample_value("recfuse_bundle_loads_total", {"outcome": outcome}) or 0.0


def serves(service: Service) -> str | None:
    return service.recommender and service.recommender.version


@pytest.mark.parametrize(
    "file", ["text_encoder.onnx", "tokenizer.json", "model.npz", "catalogue.parquet", "users.json"]
)
def test_a_bundle_that_cannot_load_changes_nothing_and_the_next_is_loaded(
    file: str, store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        service = Service(settings(store), Metrics())
        await service.refresh()
        spoil(store, file)
        for _ in range(3):
            await service.refresh()
        assert serves(service) == "v1" and loads(service, "failed") == 1, "it is not tried again at every look"
        assert caplog.text.count("cannot serve") == 1
        another = Service(settings(store), Metrics())
        await another.refresh()
        assert serves(another) == "v1" and loads(another, "failed") == 1, "a start finds what served before"
        promotion.promote(store, "v2", "better")
        for one in (service, another):
            await one.refresh()
            assert serves(one) == "v2"
            one.close()

    asyncio.run(story())


@pytest.mark.parametrize("content", [b"\xff\xfe\0", b"../v1", b"v9\n", b"", None])
def test_a_bad_pointer_is_survived_at_start_and_later(content: bytes | None, store: Path) -> None:
    async def story() -> None:
        for begun in (False, True):
            service = Service(settings(store), Metrics())
            if begun:
                promotion.promote(store, "v1", "again")
                await service.refresh()
            (store / "current").unlink()
            if content is None:
                (store / "current").mkdir()
            else:
                (store / "current").write_bytes(content)
            await service.refresh()
            assert serves(service) == "v1" and loads(service, "failed") == 1
            if content is None:
                (store / "current").rmdir()
            service.close()

    asyncio.run(story())


def test_a_champion_that_is_mended_serves(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (store / "v1" / "users.json").rename(store.parent / "users.json")

    async def story() -> None:
        service = Service(settings(store), Metrics())
        await service.refresh()
        assert serves(service) is None
        (store.parent / "users.json").rename(store / "v1" / "users.json")
        monkeypatch.setattr(services, "RETRY_SECONDS", 0.0)
        service._failed.clear()
        await service.refresh()
        assert serves(service) == "v1"
        service.close()

    asyncio.run(story())


def test_a_store_whose_decisions_are_damaged_waits_for_a_champion(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flush(*_: object) -> None:
        raise ValueError("a fault")

    monkeypatch.setattr(EventStore, "add_answers", flush)
    spoil(store, "users.json")
    decided = (store / "decisions.jsonl").read_bytes()
    (store / "decisions.jsonl").write_bytes(b"{}\n" + decided)

    async def story() -> None:
        service = Service(settings(store, poll_seconds=0.01), Metrics())
        service._shown["1"] = None  # type: ignore[assignment]
        async with running(service):
            assert serves(service) is None and loads(service, "failed") == 1
            (store / "current").write_text("v2")
            while serves(service) != "v2":
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(story(), 30))


@contextlib.contextmanager
def listening(given: Settings) -> Iterator[httpx.Client]:
    """A client of a server in this process."""
    one = server.Server(given)
    thread = threading.Thread(target=one.run, daemon=True)
    thread.start()
    try:
        while not one.started:
            assert thread.is_alive()
            time.sleep(0.01)
        with httpx.Client(base_url=f"http://127.0.0.1:{given.port}", timeout=60, trust_env=False) as client:
            yield client
    finally:
        one.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def half_request(port: int, rest: bytes = b"") -> socket.socket:
    one = socket.create_connection(("127.0.0.1", port), timeout=60)
    one.sendall(b"POST /events HTTP/1.1\r\nHost: a\r\n" + rest)
    return one


def is_closed(one: socket.socket) -> bool:
    with contextlib.suppress(ConnectionError):
        return one.recv(1) == b""
    return True


@pytest.mark.parametrize("rest", [b"", b"Content-Length: 9\r\n\r\n{"], ids=["headers", "body"])
def test_half_requests_starve_nobody_and_are_closed(
    rest: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 20)
    given = settings(tmp_path / "none", port=free_port(), rate=0)
    with listening(given) as client, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(half_request(given.port, rest)) for _ in range(30)]
        assert client.get("/health").status_code == 200
        assert all(map(is_closed, idle[:10])), "those that waited for longest"
        monkeypatch.setattr(server, "REQUEST_SECONDS", 0.2)
        assert is_closed(stack.enter_context(half_request(given.port, rest))), "in time"
        slow = stack.enter_context(half_request(given.port, b"\r\n"))
        slow.recv(9), slow.sendall(b"GET /health HTTP/1.1\r\n")
        while not is_closed(slow):
            pass


def test_headers_without_end_are_not_kept(tmp_path: Path) -> None:
    given = settings(tmp_path / "none", port=free_port())
    with listening(given), half_request(given.port) as one, pytest.raises(OSError):
        for _ in range(100):
            one.sendall(b"X-Name: " + b"x" * 100_000 + b"\r\n")


@pytest.mark.parametrize(
    ("trusted", "forwarded", "expected"),
    [
        ("", ["9.9.9.1", "9.9.9.2", "9.9.9.3"], [503, 503, 429]),
        ("10.0.0.0/8", ["9.9.9.1", "9.9.9.2", "9.9.9.3"], [503, 503, 429]),
        ("127.0.0.1", ["9.9.9.1", "9.9.9.2", "9.9.9.3"], [503, 503, 503]),
        ("127.0.0.1", ["1.1.1.1, 9.9.9.9", "1.1.1.2, 9.9.9.9", "1.1.1.3, 9.9.9.9"], [503, 503, 429]),
    ],
)
def test_only_the_named_proxy_says_who_asks(
    trusted: str, forwarded: list[str], expected: list[int], tmp_path: Path
) -> None:
    given = settings(tmp_path / "none", port=free_port(), rate=0.001, burst=2, trusted_proxy=trusted or None)
    with listening(given) as client:
        answers = [client.get("/about", headers={"X-Forwarded-For": one}).status_code for one in forwarded]
    assert answers == expected


def test_head_is_answered_as_get_without_a_body(tmp_path: Path) -> None:
    with listening(settings(tmp_path / "none", port=free_port())) as client:
        for path, status in (("/health", 200), ("/ready", 503), ("/", 200), ("/metrics", 200), ("/recommend", 405)):
            answer = client.head(path)
            assert (answer.status_code, answer.content) == (status, b""), path


def test_it_says_that_it_serves_once_the_port_is_open(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit):
        server.Server(settings(store, port=taken.getsockname()[1])).run()
    assert "serves" not in capsys.readouterr().out
    with listening(settings(store, port=free_port())):
        assert f"serves {store / 'v1'}\n" in capsys.readouterr().out


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("world")
    small_bundle.copy(tmp_path_factory, folder / "store")
    promotion.promote(folder / "store", "v1", "a test")
    with TestClient(create_app(settings(folder / "store")), follow_redirects=False) as one:
        yield one


def event(**more: object) -> dict:
    return {"key": "k", "user_id": "u01", "item_id": "f1", "timestamp": 1, "kind": "liked", **more}


@pytest.mark.parametrize("kept", [0, 100, 4096], ids=["no database", "its first page damaged", "its tables damaged"])
def test_a_damaged_database_stops_events_alone(kept: int, store: Path, caplog: pytest.LogCaptureFixture) -> None:
    sent = {"events": [event(user_id=SECRET)]}
    with TestClient(create_app(settings(store))) as client:
        assert client.post("/events", json=sent).status_code == 200
    database = store.parent / "events.db"
    content = database.read_bytes()
    database.write_bytes(content[:kept] + b"damaged!" * (len(content) // 8))
    with TestClient(create_app(settings(store))) as client:
        answer = client.post("/events", json=sent)
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/json"), answer.text
        answer = client.post("/recommend", json={"user_id": SECRET})
        assert answer.status_code == 200 and answer.json()["notes"] == [services.NO_EVENTS]
    assert SECRET not in caplog.text and "Traceback" not in caplog.text


def test_a_fault_of_its_own_is_told_and_logged_without_content(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Recommender, words: str, k: int) -> None:
        raise ValueError(words)

    monkeypatch.setattr(Recommender, "search", fail)
    answer = client.get("/items", params={"title": SECRET})
    assert answer.status_code == 500 and set(answer.json()) == {"detail"} and "nosniff" in str(answer.headers)
    logged = [json.loads(line) for line in caplog.messages if "failed" in line]
    assert logged[0]["error"] == "ValueError" and logged[0]["request"] == answer.headers["X-Request-Id"]
    assert any("test_serving_faults.py" in place for place in logged[0]["at"])
    assert SECRET not in answer.text + caplog.text
    assert 'route="/items",status="500"' in client.get("/metrics").text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/recommend", {SECRET: 1}), ("/recommend", {"constraints": {SECRET: 1}}), ("/explain", {"item_id": SECRET}),
        ("/recommend", {"constraints": {"at_least": {SECRET: "x"}}}), ("/recommend", {"history": [{SECRET: 1}]}),
        ("/recommend", {"constraints": {"at_most": {SECRET * 100: 1}}}), ("/events", {"events": [event(**{SECRET: 1})]}),
        ("/events", {"events": [event(item_id=SECRET)]}), ("/events", {"events": [event(kind=SECRET)]}),
        ("/events", {"events": [event(key=SECRET), event(key=SECRET, user_id="another")]}),
        ("/items", {"item_id": SECRET, "attributes": {SECRET: "x"}}), ("/items", {"item_id": "x", SECRET: 1}),
        ("/items", {"item_id": "x", "attributes": {SECRET: ["a|b"]}}),
        ("/items", {"item_id": "x", "attributes": {"year": SECRET}}),
        ("/items", {"item_id": "x", "attributes": {"genres": [SECRET + "|"]}}),
    ],
)  # fmt: skip
def test_no_error_repeats_names_or_ids(client: TestClient, path: str, body: dict) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code in (404, 422) and answer.json()["detail"] and SECRET not in answer.text
    assert client.post("/recommend", json={"user_id": 12345}).json()["detail"].count("12345") == 0


def test_an_error_says_where(client: TestClient) -> None:
    detail = client.post("/recommend", json={"history": [{"item_id": "f1", SECRET: 1}]}).json()["detail"]
    assert detail.startswith("body.history.0.…: ")
    sent = [event(), event(key="k2", item_id="none")]
    assert client.post("/events", json={"events": sent}).json()["detail"].startswith("events.1: its item")


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b'{"k": }', b"[" * 100_000])
def test_what_is_no_json_is_told_so(client: TestClient, content: bytes) -> None:
    answer = client.post("/recommend", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400 and answer.json()["detail"]


def test_an_item_that_many_add_at_once_is_added_once(client: TestClient) -> None:
    item = {"item_id": "new", "attributes": {"title": "Funny story"}}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post("/items", json=item).status_code, range(8)))
    assert sorted(answers) == [201] + [409] * 7


@pytest.mark.parametrize("path", ["/health/", "/items/?title=a", "/page"])
def test_no_answer_leads_to_a_host_that_the_client_names(client: TestClient, path: str) -> None:
    answer = client.get(path, headers={"Host": "evil.example"})
    assert answer.status_code in (404, 405) and "evil" not in str(answer.headers) + answer.text
