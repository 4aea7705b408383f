"""How fast the service answers, what it weighs, and what an approximate index gives and takes.

    python benchmarks/serving.py service   the bundle that serves (made first where there is none)
    python benchmarks/serving.py index     one million synthetic items

The load generator runs beside the service, on the same cores. The results go to `build/serving-*.json` and are printed.
"""

from __future__ import annotations

import argparse
import asyncio
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
from pathlib import Path

import numpy as np
import psutil
import threadpoolctl

ROOT = Path(__file__).parents[1]
CONNECTIONS = (1, 16, 64)
PEOPLE, WISHES = 200, 60


def percentiles(seconds: list[float]) -> dict[str, float]:
    """p50, p95 and p99 in milliseconds."""
    return {f"p{q} ms": round(1000 * float(np.percentile(seconds, q)), 2) for q in (50, 95, 99)}


def times_of(function, arguments) -> list[float]:
    found = []
    for argument in arguments:
        begun = time.perf_counter()
        function(argument)
        found.append(time.perf_counter() - begun)
    return found


async def one_connection(port: int, requests: list[bytes], until: float, seconds: list[float], offset: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    place = offset
    while time.perf_counter() < until:
        begun = time.perf_counter()
        writer.write(requests[place % len(requests)])
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        seconds.append(time.perf_counter() - begun)
        place += 1
    writer.close()


def load(port: int, bodies: list[dict], connections: int, duration: float) -> dict[str, float]:
    """Keeps so many connections busy for so long; times and requests a second."""
    requests = []
    for body in bodies:
        content = json.dumps(body).encode()
        head = "POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(content)}\r\n\r\n"
        requests.append(head.encode() + content)
    seconds: list[float] = []

    async def all_connections() -> None:
        until = time.perf_counter() + duration
        await asyncio.gather(*(one_connection(port, requests, until, seconds, 7 * c) for c in range(connections)))

    begun = time.perf_counter()
    asyncio.run(all_connections())
    return {**percentiles(seconds), "requests/s": round(len(seconds) / (time.perf_counter() - begun), 1)}


def measure_service(duration: float) -> dict:
    from recfuse_lib.models import index
    from recfuse_lib.serving.bundle import Bundle
    from recfuse_lib.serving.promotion import current
    from recfuse_lib.serving.recommender import Recommender
    from recfuse_lib.serving.settings import Settings

    settings = Settings.of()
    if current(settings.store) is None:
        subprocess.run([sys.executable, "-m", "recfuse_lib.serving.training"], check=True)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        database = f"sqlite:///{folder}/events.db"
        environment = {
            **os.environ, "RECFUSE_PORT": str(port), "RECFUSE_RATE": "0", "RECFUSE_LOG": "warning",
            "RECFUSE_STORE": str(settings.store), "RECFUSE_DATABASE": database, "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        begun = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "recfuse_lib.serving"], env=environment, stdout=subprocess.DEVNULL
        )
        try:
            while True:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5):
                        break
                except (urllib.error.URLError, OSError):
                    if process.poll() is not None or time.perf_counter() - begun > 120:
                        raise RuntimeError("the service did not start") from None
                    time.sleep(0.02)
            found: dict = {"cold start s": round(time.perf_counter() - begun, 2)}
            bundle = Bundle.load(settings.store / str(current(settings.store)))
            people = bundle.users()[:PEOPLE]
            known = [{"user_id": person, "k": 10} for person in people]
            load(port, known, 1, duration / 2)
            memory = psutil.Process(process.pid).memory_info().rss
            for connections in CONNECTIONS:
                used = sum(psutil.Process(process.pid).cpu_times()[:2])
                row = load(port, known, connections, duration)
                used = sum(psutil.Process(process.pid).cpu_times()[:2]) - used
                # On a busy machine the clock measures the others too; what one core could do follows from this.
                row["service CPU ms a request"] = round(1000 * used / (row["requests/s"] * duration), 3)
                found[f"known person, {connections} connections"] = row
            with (ROOT / "data" / "wishes" / "wishes.csv").open(encoding="utf-8") as rows:
                wishes = [{"wish": next(iter(row.values())), "k": 10} for row in csv.DictReader(rows)][:WISHES]
            found["words only, 1 connection"] = load(port, wishes, 1, duration)
            found["memory MB"] = round(memory / 1e6)
            found["memory after all MB"] = round(psutil.Process(process.pid).memory_info().rss / 1e6)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=20)
    recommender = Recommender(bundle)
    histories = [recommender.history_of(person) for person in people]
    queries = [recommender.user_vector(history).query for history in histories]
    flat = recommender.catalogue.index
    with threadpoolctl.threadpool_limits(1):  # as the service does
        searched = percentiles(times_of(lambda query: index.search(flat, query, 10), queries * 5))
        answered = percentiles(times_of(recommender.recommend, histories * 3))
    found |= {"plain faiss, in a process": searched, "two stages and reasons, in a process": answered}
    plain = found["plain faiss, in a process"]["p50 ms"]
    found["overhead at 1 connection (ratio of p50)"] = round(found["known person, 1 connections"]["p50 ms"] / plain, 1)
    found["items"], found["version"] = len(recommender.catalogue), bundle.version
    return found


def measure_index(n_items: int) -> dict:
    from recfuse_lib.models import index
    from recfuse_lib.serving.bundle import Bundle
    from recfuse_lib.serving.promotion import current
    from recfuse_lib.serving.recommender import Recommender
    from recfuse_lib.serving.settings import Settings

    settings = Settings.of()
    recommender = Recommender(Bundle.load(settings.store / str(current(settings.store))))
    real = recommender.catalogue.vectors
    random = np.random.default_rng(0)
    # Synthetic items: each lies between a real one and two others, with noise, so they spread as real ones do.
    chosen = real[random.integers(0, len(real), (3, n_items))]
    weights = random.dirichlet((4, 1, 1), n_items).T[..., None].astype("float32")
    items = (chosen * weights).sum(0) + 0.2 * real.std(0) * random.normal(size=(n_items, real.shape[1])).astype(
        "float32"
    )
    people = recommender.bundle.users()[:PEOPLE]
    queries = [recommender.user_vector(recommender.history_of(person)).query for person in people]
    exact = index.build(items, exact_below=n_items)
    wanted = []
    exact_times = times_of(lambda query: wanted.append(index.search(exact, query, 100)[0]), queries)
    begun = time.perf_counter()
    cells = index.build(items)
    found = {
        "items": n_items,
        "width": items.shape[1],
        "exact": percentiles(exact_times),
        "built in s": round(time.perf_counter() - begun, 1),
    }
    for share in (1 / 256, 1 / 128, 1 / 64, 1 / 32, 1 / 16):
        cells.nprobe = max(1, round(share * cells.nlist))
        got: list[np.ndarray] = []
        times = times_of(lambda query: got.append(index.search(cells, query, 100)[0]), queries)  # noqa: B023
        recall = np.mean([len(np.intersect1d(a, b)) / 100 for a, b in zip(wanted, got, strict=True)])
        speed = np.median(exact_times) / np.median(times)
        row = {"recall@100": round(float(recall), 3), **percentiles(times), "times as fast": round(float(speed), 1)}
        found[f"{cells.nprobe} of {cells.nlist} cells"] = row
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("service", "index"))
    parser.add_argument("--seconds", type=float, default=5.0, help="of load for each row")
    parser.add_argument("--items", type=int, default=1_000_000)
    asked = parser.parse_args()
    before = os.getloadavg()[0]
    found = measure_service(asked.seconds) if asked.what == "service" else measure_index(asked.items)
    found["load average before"], found["cores"] = round(before, 1), len(os.sched_getaffinity(0))
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / f"serving-{asked.what}.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    for name, value in found.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
