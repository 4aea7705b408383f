"""A real service in a process of its own, on the loopback address; it is stopped by its id."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

SECONDS_TO_START = 90

WITH_PATIENCE = """
import sys
from recfuse_lib.serving import __main__, circuit_breaker, service
places = ((service, "READ_SECONDS"), (service, "WRITE_SECONDS"), (circuit_breaker, "SECONDS_UNTIL_ASKED_AGAIN"))
for module, name in places:
    setattr(module, name, float(sys.argv[1]) * getattr(module, name))
sys.exit(__main__.main())
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def service(
    store: Path, database: str, patience: float = 1.0, command: list[str] | None = None, **settings: object
) -> Iterator[httpx.Client]:
    """A client of a service that is ready; the process is its attribute `process`, what it logged is in `log`.

    With less `patience` it waits for its database, and before it asks again, only that share of the usual time.
    """
    port = free_port()
    given = {"store": store, "database": database, "port": port, "rate": 0, "poll_seconds": 0.1, "exploration": 0}
    given |= settings
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RECFUSE_")}
    environment |= {f"RECFUSE_{name.upper()}": str(value) for name, value in given.items()}
    environment |= {"OMP_NUM_THREADS": "1"}
    log = Path(store).parent / f"service-{port}.log"
    program = (command or ["-m", "recfuse_lib.serving"]) if patience == 1 else ["-c", WITH_PATIENCE, str(patience)]
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, *program], env=environment, stdout=output, stderr=output)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)
    client.process, client.log = process, log  # type: ignore[attr-defined]
    try:
        wait_until_ready(client)
        yield client
    finally:
        client.close()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=20)


def wait_until_ready(client: httpx.Client) -> None:
    for _ in range(10 * SECONDS_TO_START):
        if client.process.poll() is not None:  # type: ignore[attr-defined]
            raise RuntimeError(client.log.read_text("utf-8"))  # type: ignore[attr-defined]
        with contextlib.suppress(httpx.TransportError):
            if client.get("/ready").status_code == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"not ready after {SECONDS_TO_START} s: {client.log.read_text('utf-8')}")  # type: ignore[attr-defined]
