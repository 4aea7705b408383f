"""Kill -9 of a process that writes events under load: what was acknowledged is there, once."""

import signal
import subprocess
import sys
import time

import numpy as np
import postgresql_server
import pytest

from recfuse_lib.serving.events import Event, EventStore, Item

WRITER = """
import os, queue, sys, threading
from recfuse_lib.serving.events import Event, EventStore

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
    store.add_items([Item(f"item-{n}", f"Item {n}") for n in range(10)])
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


def test_nothing_acknowledged_is_lost(url, tmp_path):
    run(url, tmp_path, events=400, kills=2)


@pytest.mark.slow
def test_nothing_of_ten_thousand_events_is_lost_in_twenty_kills(url, tmp_path):
    print(run(url, tmp_path, events=10_000, kills=20))
