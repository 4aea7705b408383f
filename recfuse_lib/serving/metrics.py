"""What a service counts, for Prometheus.

Taught in notebook 18.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class Metrics:
    """One registry a service, so that two in one process do not share their counts.

    Example:
        >>> metrics = Metrics()
        >>> metrics.seen("/recommend", 200, 0.003)
        >>> 'recfuse_requests_total{route="/recommend",status="200"} 1.0' in metrics.text().decode()
        True
    """

    def __init__(self) -> None:
        self._registry = own = CollectorRegistry()
        self._requests = Counter("recfuse_requests", "Requests answered", ["route", "status"], registry=own)
        self._seconds = Histogram(
            "recfuse_request_seconds", "Time to the answer", ["route"], buckets=SECONDS, registry=own
        )
        self.events = Counter("recfuse_events", "Events acknowledged", registry=own)
        self.items = Counter("recfuse_items_added", "Items added", registry=own)
        self.fallbacks = Counter(
            "recfuse_fallbacks", "Answers that had to make do without something", ["reason"], registry=own
        )
        self.unavailable = Counter(
            "recfuse_store_unavailable", "Times the event store could not be reached", registry=own
        )
        self.swaps = Counter("recfuse_bundle_loads", "Bundles that began to serve", ["outcome"], registry=own)
        self.bundle = Gauge("recfuse_bundle", "1 for the bundle that serves", ["version"], registry=own)
        self._children: dict[tuple[str, int], Counter] = {}

    def seen(self, route: str, status: int, seconds: float) -> None:
        """Counts one request under the route's template, never under its path: a path may hold an id."""
        if (counter := self._children.get((route, status))) is None:
            counter = self._children[route, status] = self._requests.labels(route, str(status))
        counter.inc()
        self._seconds.labels(route).observe(seconds)

    def serves(self, version: str) -> None:
        """From now on this bundle serves."""
        self.bundle.clear()
        self.bundle.labels(version).set(1)
        self.swaps.labels("loaded").inc()

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)
