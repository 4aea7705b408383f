"""How fast the service answers, what it weighs, and what an approximate index gives and takes.

    python benchmarks/serving.py service   the whole system, fitted to MovieLens first where there is no model
    python benchmarks/serving.py index     one million synthetic items

The load generator runs beside the service, on the same cores, so processor milliseconds an answer are the steadiest
figure. The results are printed and go to `build/serving-*.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import threadpoolctl

from recfuse_lib.models import index
from recfuse_lib.serving.bundle import Bundle
from recfuse_lib.serving.recommender import Recommender

ROOT = Path(__file__).parents[1]
CONNECTIONS = (1, 16, 64)
WISHES, PEOPLE = 60, 200
LIKED, THINKING = 4, 0.1
"""A visit: someone asks, likes one of what is shown, looks for so many seconds, asks again, so many times."""
LONGEST = 120.0
"""Seconds for what is asked once."""

Row = dict[str, float]


def percentiles(seconds: list[float]) -> Row:
    """p50, p95 and p99 in milliseconds."""
    return {f"p{q} ms": round(1000 * float(np.percentile(seconds, q)), 2) for q in (50, 95, 99)}


def timed(step: Callable[[Any], Any], arguments: Iterable[Any]) -> Row:
    """Percentiles of a step in this process, and its processor milliseconds."""
    seconds, used = [], time.process_time()
    for argument in arguments:
        begun = time.perf_counter()
        step(argument)
        seconds.append(time.perf_counter() - begun)
    return {**percentiles(seconds), "processor ms": round(1000 * (time.process_time() - used) / len(seconds), 3)}


async def one_connection(port: int, requests: Iterator[bytes], until: float, seconds: list[float]) -> None:
    """Sends the next request as soon as it has an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for request in requests:
        begun = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
        seconds.append(time.perf_counter() - begun)
        if time.perf_counter() > until:
            break
    writer.close()


def load(service: psutil.Process, port: int, requests: Iterator[bytes], connections: int, duration: float) -> Row:
    """Keeps so many connections busy until there is no further request, at most for `duration` seconds."""
    seconds: list[float] = []

    async def all_connections() -> None:
        until = time.perf_counter() + duration
        await asyncio.gather(*(one_connection(port, requests, until, seconds) for _ in range(connections)))

    used, begun = sum(service.cpu_times()[:2]), time.perf_counter()
    asyncio.run(all_connections())
    took, used = time.perf_counter() - begun, sum(service.cpu_times()[:2]) - used
    rates = {"answers/s": round(len(seconds) / took, 1), "processor ms": round(1000 * used / len(seconds), 3)}
    return {**percentiles(seconds), **rates, "answers": len(seconds)}


def visits(port: int, people: list[str]) -> Row:
    """Lets people visit one after the other; what is timed are their answers, not their events or their thoughts."""
    seconds: list[float] = []

    async def all_visits() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def answer(sent: bytes) -> Any:
            begun = time.perf_counter()
            writer.write(sent)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            body = await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
            took = time.perf_counter() - begun
            if not head.startswith(b"http/1.1 200"):
                raise RuntimeError(body.decode())
            return json.loads(body), took

        for person in people:
            for number in range(LIKED + 1):
                found, took = await answer(request({"user_id": person, "k": 10}))
                seconds.append(took)
                liked = {"item_id": found["items"][0]["item_id"], "kind": "liked", "timestamp": int(time.time())}
                event = {"key": f"{person}-{number}", "user_id": person, "answer_id": found["answer_id"], **liked}
                await answer(request({"events": [event]}, "/events"))
                await asyncio.sleep(THINKING)
        writer.close()

    asyncio.run(all_visits())
    return {**percentiles(seconds), "answers": len(seconds)}


def request(body: dict[str, Any], path: str = "/recommend") -> bytes:
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    return f"{head}\r\n\r\n".encode() + content


def again_and_again(requests: list[bytes]) -> Iterator[bytes]:
    while True:
        yield from requests


@contextlib.contextmanager
def running(model: Path) -> Iterator[tuple[psutil.Process, int, Row]]:
    """A service with an empty event store, its port, and what its start took."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        given = {"PORT": port, "RATE": 0, "LOG": "warning", "STORE": model, "DATABASE": f"sqlite:///{folder}/events.db"}
        environment = {**os.environ, **{f"RECFUSE_{name}": str(value) for name, value in given.items()}}
        begun = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "recfuse_lib.serving"],
            env={**environment, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
        )
        try:
            wait_until_ready(process, port, begun)
            service = psutil.Process(process.pid)
            start = {"s": time.perf_counter() - begun, "processor s": sum(service.cpu_times()[:2])}
            yield service, port, {name: round(value, 2) for name, value in start.items()}
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=20)


def wait_until_ready(process: subprocess.Popen[bytes], port: int, begun: float) -> None:
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            if process.poll() is not None or time.perf_counter() - begun > 120:
                raise RuntimeError("the service did not start") from None
            time.sleep(0.02)


def measure_service(model: Path, duration: float) -> dict[str, Any]:
    """Measures each number of connections on a service of its own, so that its first answers are first ones."""
    bundle = Bundle.load(model)
    known = [request({"user_id": person, "k": 10}) for person in bundle.users()]
    with (ROOT / "data" / "wishes" / "wishes.csv").open(encoding="utf-8") as rows:
        said = [row["wish"] for row in csv.DictReader(rows) if row["dataset"] == "movielens"]
    wishes = [request({"wish": wish, "k": 10}) for wish in said[:WISHES]]
    found: dict[str, Any] = {}
    for connections in CONNECTIONS:
        with running(model) as (service, port, start):
            load(service, port, iter([request({})] * 5), 1, duration)
            first = load(service, port, iter(known), connections, LONGEST)
            again = load(service, port, again_and_again(known), connections, duration)
            found |= {f"first answer to a person, {connections} connections": first}
            found |= {f"again, {connections} connections": again}
            if connections == 1:
                found["cold start"] = start
                found["memory MB"] = round(service.memory_info().rss / 1e6)
                found["visits, 1 connections"] = visits(port, bundle.users()[::5])
                found["words alone, 1 connections"] = load(service, port, iter(wishes), 1, LONGEST)
            found["memory after all MB"] = round(service.memory_info().rss / 1e6)
    found |= measure_in_process(bundle)
    bare = found["a bare search, in a process"]
    first, again = (found[f"{name}, 1 connections"] for name in ("first answer to a person", "again"))
    found["times a bare search (p50)"] = [round(row["p50 ms"] / bare["p50 ms"]) for row in (first, again)]
    found["bundle MB"] = {name: round(file["size"] / 1e6, 1) for name, file in bundle.manifest["files"].items()}
    return found


def measure_in_process(bundle: Bundle) -> dict[str, Row]:
    """Measures a plain faiss search for ten items among the vectors of the towers, and what a whole answer adds."""
    recommender = Recommender(bundle)
    system = recommender.model
    histories = [recommender.history_of(person) for person in bundle.users()]
    interests = [system.retriever.interest(history.query)[0] for history in histories]
    with threadpoolctl.threadpool_limits(1):  # as the service does
        return {
            "a bare search, in a process": timed(lambda query: index.search(system.index, query, 10), interests * 3),
            "two stages, in a process": timed(lambda history: system.rank(history.query), histories),
            "the whole answer, in a process": timed(recommender.recommend, histories),
        }


def measure_index(model: Path, n_items: int) -> dict[str, Any]:
    """Measures an approximate search among synthetic items: each lies between a real one and two others, with noise,
    so they spread as real ones do."""
    recommender = Recommender(Bundle.load(model))
    retriever = recommender.model.retriever
    real, random = retriever.vectors, np.random.default_rng(0)
    chosen = real[random.integers(0, len(real), (3, n_items))]
    weights = random.dirichlet((4, 1, 1), n_items).T[..., None].astype("float32")
    noise = random.normal(size=(n_items, real.shape[1])).astype("float32")
    items = (chosen * weights).sum(0) + 0.2 * real.std(0) * noise
    people = recommender.bundle.users()[:PEOPLE]
    queries = [retriever.interest(recommender.history_of(person).query)[0] for person in people]
    exact = index.build(items, exact_below=n_items)
    wanted: list[np.ndarray] = []
    exactly = timed(lambda query: wanted.append(index.search(exact, query, 100)[0]), queries)
    begun = time.perf_counter()
    cells = index.build(items)
    built = round(time.perf_counter() - begun, 1)
    found = {"items": n_items, "width": items.shape[1], "exact": exactly, "built in s": built}
    for share in (1 / 256, 1 / 128, 1 / 64, 1 / 32, 1 / 16):
        cells.nprobe = max(1, round(share * cells.nlist))
        got: list[np.ndarray] = []
        row = timed(lambda query: got.append(index.search(cells, query, 100)[0]), queries)  # noqa: B023
        recall = np.mean([len(np.intersect1d(a, b)) / 100 for a, b in zip(wanted, got, strict=True)])
        faster = round(exactly["p50 ms"] / row["p50 ms"], 1)
        found[f"{cells.nprobe} of {cells.nlist} cells"] = {
            "recall@100": round(float(recall), 3), **row, "times as fast": faster,
        }  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("service", "index"))
    parser.add_argument("--model", type=Path, default=ROOT / "build" / "movielens", help="what `recfuse fit` wrote")
    parser.add_argument("--seconds", type=float, default=5.0, help="of load for each row that repeats its requests")
    parser.add_argument("--items", type=int, default=1_000_000)
    asked = parser.parse_args()
    if not (asked.model / "manifest.json").exists():
        subprocess.run([Path(sys.executable).parent / "recfuse", "fit", "ml-small", "--out", asked.model], check=True)
    before = os.getloadavg()[0]
    service = asked.what == "service"
    found = measure_service(asked.model, asked.seconds) if service else measure_index(asked.model, asked.items)
    found |= {"load average": [round(before, 1), round(os.getloadavg()[0], 1)], "cores": len(os.sched_getaffinity(0))}
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / f"serving-{asked.what}.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    for name, value in found.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
