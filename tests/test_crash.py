"""Kill -9 of a writer of events, and of the service, under load: what was acknowledged is there, once."""

import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import postgresql_server
import pytest

from recfuse_lib.serving.events import EventStore
from recfuse_lib.serving.messages import Event, Item

WRITER = """
import os, queue, sys, threading
from recfuse_lib.serving.events import EventStore
from recfuse_lib.serving.messages import Event

store = EventStore(sys.argv[1])
parcels = queue.SimpleQueue()
for line in open(sys.argv[2]):
    parcels.put(line.split())

def write():
    while not parcels.empty():
        keys = parcels.get()
        events = [Event(key, f"person-{key[-2:]}", f"item-{key[-1]}", int(key), "liked") for key in keys]
        # One write call, so that lines of several threads do not mix.
        os.write(1, (" ".join(store.add(events)) + "\\n").encode())

threads = [threading.Thread(target=write) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/events.db"
        return
    if postgresql_server.MISSING:
        pytest.skip(postgresql_server.WHY_NOT)
    server = postgresql_server.Server().start()
    yield server.url
    server.remove()


def parcels_of(keys, generator):
    """The keys in parcels of 1 to 10, as clients send them."""
    ends = np.cumsum(generator.integers(1, 11, len(keys)))
    return [parcel for parcel in np.split(keys, ends[ends < len(keys)]) if len(parcel)]


def run(url, folder, events, kills, seed=0):
    """Writes events, with so many kills in between; what was not acknowledged is sent again. Returns figures."""
    generator = np.random.default_rng(seed)
    store = EventStore(url)
    store.add_items([Item(f"item-{n}", {"title": f"Item {n}"}) for n in range(10)])
    pending, acknowledged, unanswered = np.array([f"{number:08d}" for number in range(events)]), set(), 0
    for kill in range(kills + 1):
        (folder / "parcels").write_text("\n".join(" ".join(parcel) for parcel in parcels_of(pending, generator)))
        writer = subprocess.Popen([sys.executable, "-c", WRITER, url, folder / "parcels"], stdout=subprocess.PIPE)
        received = []
        if kill < kills:
            enough = generator.uniform(0.1, 0.9) * len(pending) / (kills + 1 - kill)
            while len(received) < enough:
                received += writer.stdout.readline().decode().split()
            time.sleep(generator.uniform(0, 0.01))
            writer.kill()
        rest = writer.stdout.read().decode()
        received += rest[: rest.rfind("\n") + 1].split()
        assert writer.wait() == (-signal.SIGKILL if kill < kills else 0)
        acknowledged |= set(received)
        there = [event.key for person in range(100) for event in store.history(f"person-{person:02d}", limit=events)]
        assert len(there) == len(set(there)), "an event is there twice"
        assert acknowledged <= set(there), "an acknowledged event is lost"
        unanswered += len(set(there) & set(pending)) - len(received)
        pending = np.array([key for key in pending if key not in acknowledged])
    assert store.count() == len(acknowledged) == events
    event = store.history("person-07", limit=1)[0]
    assert event == Event(event.key, "person-07", "item-7", int(event.key), "liked")
    return {"acknowledged": len(acknowledged), "kills": kills, "written but not yet answered": unanswered}


SERVICE = """
import sys
import uvicorn
from recfuse_lib.serving.app import create_app
from recfuse_lib.serving.settings import Settings
settings = Settings.of({"RECFUSE_STORE": sys.argv[1], "RECFUSE_DATABASE": sys.argv[2], "RECFUSE_RATE": "0"})
uvicorn.run(create_app(settings), uds=sys.argv[3], log_level="error", access_log=False)
"""


class Clients:
    """Four clients that send parcels of events to a service until each parcel was acknowledged."""

    def __init__(self, socket, parcels):
        self.acknowledged, self.failed, self._lock = [], 0, threading.Lock()
        self._socket, self._parcels = socket, queue.SimpleQueue()
        for parcel in parcels:
            self._parcels.put(parcel)
        self.threads = [threading.Thread(target=self._send, daemon=True) for _ in range(4)]
        for thread in self.threads:
            thread.start()

    def _send(self):
        client = httpx.Client(transport=httpx.HTTPTransport(uds=self._socket), timeout=30)
        while not self._parcels.empty():
            keys = self._parcels.get()
            events = [
                {
                    "key": key,
                    "user_id": f"person-{key[-2:]}",
                    "item_id": f"item-{key[-1]}",
                    "timestamp": int(key),
                    "kind": "liked",
                }
                for key in keys
            ]
            while True:
                try:
                    answer = client.post("http://service/events", json={"events": events})
                    break
                except httpx.TransportError:
                    with self._lock:
                        self.failed += 1
                    time.sleep(0.05)
            assert answer.status_code == 200, answer.text
            with self._lock:
                self.acknowledged += answer.json()["acknowledged"]


def run_service(url, folder, events, kills, seed=0):
    """Events over HTTP, with so many kills of the service in between. Returns figures."""
    generator = np.random.default_rng(seed)
    store = EventStore(url)
    store.add_items([Item(f"item-{n}", {"title": f"Item {n}"}) for n in range(10)])
    keys = np.array([f"{number:08d}" for number in range(events)])
    socket = str(Path(tempfile.mkdtemp(prefix="crash")) / "socket")

    def start():
        return subprocess.Popen([sys.executable, "-c", SERVICE, folder / "bundles", url, socket])

    def there():
        return [event.key for person in range(100) for event in store.history(f"person-{person:02d}", limit=events)]

    service = start()
    clients = Clients(socket, parcels_of(keys, generator))
    try:
        for kill in range(kills):
            enough = events * (kill + generator.uniform(0.1, 0.9)) / (kills + 1)
            while len(clients.acknowledged) < enough:
                assert service.poll() is None and any(thread.is_alive() for thread in clients.threads)
                time.sleep(0.005)
            time.sleep(generator.uniform(0, 0.02))
            service.kill()
            assert service.wait() == -signal.SIGKILL
            found, acknowledged = there(), set(clients.acknowledged)
            assert len(found) == len(set(found)), "an event is there twice"
            assert acknowledged <= set(found), "an acknowledged event is lost"
            service = start()
        for thread in clients.threads:
            thread.join(120)
    finally:
        service.kill()
        service.wait()
    assert sorted(there()) == sorted(clients.acknowledged) == keys.tolist()
    return {"acknowledged": len(clients.acknowledged), "kills": kills, "requests that got no answer": clients.failed}


def test_nothing_acknowledged_is_lost_in_two_kills(url, tmp_path):
    run(url, tmp_path, events=300, kills=2)


@pytest.mark.slow
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_nothing_is_lost_when_the_service_is_killed(url, tmp_path):
    run_service(url, tmp_path, events=100, kills=1)


@pytest.mark.soak
def test_nothing_of_ten_thousand_events_is_lost_in_twenty_kills(url, tmp_path):
    print(run(url, tmp_path, events=10_000, kills=20))


@pytest.mark.soak
def test_nothing_of_ten_thousand_events_is_lost_in_twenty_kills_of_the_service(url, tmp_path):
    print(run_service(url, tmp_path, events=10_000, kills=20))
