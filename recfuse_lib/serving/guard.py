"""What stands before every request: how many, how large, how long it took; a line in the log without personal text.

Taught in notebook 18.
"""

from __future__ import annotations

import collections
import json
import logging
import time
import uuid
from typing import Any

from starlette.exceptions import HTTPException

from recfuse_lib.serving.metrics import Metrics
from recfuse_lib.serving.settings import Settings

CLIENTS = 10_000
"""So many clients are remembered; the one that was silent longest is forgotten."""

UNLIMITED = ("/health", "/ready", "/metrics")
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
)

log = logging.getLogger("recfuse.service")


class TooLarge(HTTPException):
    """A body that is larger than is read."""

    def __init__(self, largest: int) -> None:
        super().__init__(413, f"the body is larger than {largest:,} bytes")


class Rates:
    """A bucket of permissions for every client, filled steadily and emptied by requests.

    Args:
        rate: Permissions a second; 0 is any number.
        burst: The most that a bucket holds.

    Example:
        >>> rates = Rates(rate=1, burst=2)
        >>> [rates.wait("a", now) for now in (0.0, 0.0, 0.0, 1.0)]
        [0.0, 0.0, 1.0, 0.0]
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, float(burst)
        self._buckets: collections.OrderedDict[str, tuple[float, float]] = collections.OrderedDict()

    def wait(self, client: str, now: float) -> float:
        """Seconds that the client must wait; 0 when the request may go on, which takes one permission."""
        if not self._rate:
            return 0.0
        left, then = self._buckets.pop(client, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._rate)
        allowed = left >= 1
        self._buckets[client] = (left - allowed, now)
        if len(self._buckets) > CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._rate


class Guard:
    """ASGI middleware: rates, sizes, times, one JSON line a request.

    The line has the route's template, the status, the time and sizes; no path, no query, no id, no word of a body.

    Args:
        app: The application.
        settings: Limits.
        metrics: Where requests are counted.
    """

    def __init__(self, app: Any, settings: Settings, metrics: Metrics) -> None:
        self._app, self._metrics, self._largest = app, metrics, settings.max_body
        self._rates = Rates(settings.rate, settings.burst)
        self._logs = settings.log == "info"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        status, sent, read = 500, 0, 0
        number = uuid.uuid4().hex[:12]

        async def sending(message: Any) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *HEADERS, (b"x-request-id", number.encode())]
            else:
                sent += len(message.get("body", b""))
            await send(message)

        async def receiving() -> Any:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._largest:
                raise TooLarge(self._largest)
            return message

        client = scope["client"][0] if scope.get("client") else ""
        wait = 0.0 if scope["path"] in UNLIMITED else self._rates.wait(client, begun)
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        try:
            if wait:
                await _refuse(sending, 429, "too many requests; wait a little", (b"retry-after", b"%d" % (wait + 1)))
            elif declared.isdigit() and int(declared) > self._largest:
                raise TooLarge(self._largest)
            else:
                await self._app(scope, receiving, sending)
        except TooLarge as error:
            await _refuse(sending, 413, error.detail, (b"connection", b"close"))
        finally:
            seconds = time.perf_counter() - begun
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.seen(route, status, seconds)
            if self._logs:
                line = {
                    "time": round(time.time(), 3), "request": number, "method": scope["method"], "route": route,
                    "status": status, "ms": round(1000 * seconds, 2), "read": read, "sent": sent,
                }  # fmt: skip
                log.info(json.dumps(line))


async def _refuse(send: Any, status: int, detail: str, header: tuple[bytes, bytes]) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), header]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
