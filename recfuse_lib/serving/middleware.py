"""Limits, measures and logs every request, without personal text. Taught in notebook 18."""

from __future__ import annotations

import collections
import json
import logging
import time
import traceback
import uuid
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from recfuse_lib.serving.settings import Settings
from recfuse_lib.serving.tracing import Traced

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
CLIENTS = 10_000  # most clients that are remembered; the one inactive for longest is forgotten
UNLIMITED = ("/health", "/ready", "/metrics")
POLICY = b"default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
HEADERS = (
    *((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")),
    (b"content-security-policy", POLICY),
)

CLOSE = {"Connection": "close"}

log = logging.getLogger("recfuse.service")


class Metrics:
    """Counts for Prometheus, in a registry of their own, so that two services in one process do not share them."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("recfuse_requests", "Requests answered", ["route", "status"], registry=registry)
        self.seconds = Histogram("recfuse_request_seconds", "Time taken", ["route"], buckets=SECONDS, registry=registry)
        self.events = Counter("recfuse_events", "Events acknowledged", registry=registry)
        self.items = Counter("recfuse_items_added", "Items added", registry=registry)
        self.fallbacks = Counter("recfuse_fallbacks", "Answers that lacked something", ["reason"], registry=registry)
        self.unavailable = Counter("recfuse_store_unavailable", "Failed calls of the event store", registry=registry)
        self.swaps = Counter("recfuse_bundle_loads", "Bundles that began to serve", ["outcome"], registry=registry)
        self.bundle = Gauge("recfuse_bundle", "1 for the bundle that serves", ["version"], registry=registry)

    def serves(self, *versions: str) -> None:
        """Records that these bundles serve from now on, the last of them newly loaded."""
        self.bundle.clear()
        for version in versions:
            self.bundle.labels(version).set(1)
        self.swaps.labels("loaded").inc()


class Rates:
    """Limits each client by a token bucket, refilled at `rate` a second up to `burst`; rate 0 is unlimited.

    Example:
        >>> rates = Rates(rate=1, burst=2)
        >>> [rates.wait("a", now) for now in (0.0, 0.0, 0.0, 1.0)]
        [0.0, 0.0, 1.0, 0.0]
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, float(burst)
        self._buckets: collections.OrderedDict[str, tuple[float, float]] = collections.OrderedDict()

    def wait(self, client: str, now: float) -> float:
        """Takes a token and returns 0, or returns the seconds until there is one."""
        if not self._rate:
            return 0.0
        left, then = self._buckets.pop(client, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._rate)
        allowed = left >= 1
        self._buckets[client] = (left - allowed, now)
        if len(self._buckets) > CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._rate


class RequestMiddleware:
    """ASGI middleware that limits rates and sizes, measures times, traces, and logs one JSON line a request: the
    route's template, status, time and sizes; never a path, query, id or body.
    """

    def __init__(self, app: Any, settings: Settings, metrics: Metrics, traced: Traced | None) -> None:
        self._app, self._metrics, self._largest, self._traced = app, metrics, settings.max_body, traced
        self._too_large = HTTPException(413, f"the body is larger than {settings.max_body:,} bytes", CLOSE)
        self._rates = Rates(settings.rate, settings.burst)
        self._logs = settings.log == "info"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        status, sent, read = 0, 0, 0
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}  # the server leaves the body out
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
                raise self._too_large
            return message

        client = scope["client"][0] if scope.get("client") else ""
        wait = 0.0 if scope["path"] in UNLIMITED else self._rates.wait(client, begun)
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        try:
            if wait:
                problem = {"detail": "too many requests; wait a little"}
                await JSONResponse(problem, 429, {"Retry-After": str(int(wait + 1))})(scope, receive, sending)
            elif declared.isdigit() and int(declared) > self._largest:
                await JSONResponse({"detail": self._too_large.detail}, 413, CLOSE)(scope, receive, sending)
            else:
                await self._app(scope, receiving, sending)
        except Exception as error:  # its text may hold what was sent, its lines of code do not
            where = traceback.format_tb(error.__traceback__)[-5:]
            log.error(json.dumps({"request": number, "event": "failed", "error": type(error).__name__, "at": where}))
            if not status:
                problem = {"detail": "the service failed; its log says where"}
                await JSONResponse(problem, 500, CLOSE)(scope, receive, sending)
        finally:
            seconds = time.perf_counter() - begun
            # The route's template, never the path: a path may hold an id.
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(seconds)
            if self._traced:
                self._traced(scope["method"], route, status, seconds, scope["headers"])
            if self._logs:
                line = {
                    "time": round(time.time(), 3), "request": number, "method": scope["method"], "route": route,
                    "status": status, "ms": round(1000 * seconds, 2), "read": read, "sent": sent,
                }  # fmt: skip
                log.info(json.dumps(line))
