"""Sends spans to an OpenTelemetry collector, to follow a request through several services. Taught in notebook 18."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

Traced = Callable[[str, str, int, float, Iterable[tuple[bytes, bytes]]], None]
"""Makes a span of a request that has just been answered, from its method, the route's template, the status, how many
seconds it took, and its headers: a `traceparent` makes the span part of the caller's trace.
"""


def tracer() -> Traced | None:
    """Returns what makes spans, which hold nothing that was sent; None where the environment names no collector.

    Settings are OpenTelemetry's own variables. Spans leave in the background, the last when the process ends.

    Raises:
        ValueError: OpenTelemetry is not installed.
    """
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.propagate import extract
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace import SpanKind, StatusCode
    except ImportError as error:
        missing = f"{ENDPOINTS[0]} is set, and {error.name} is missing: install recfuse_lib[trace]"
        raise ValueError(missing) from None
    name = os.environ.get("OTEL_SERVICE_NAME", "recfuse")
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    spans = provider.get_tracer(__name__)

    def traced(method: str, route: str, status: int, seconds: float, headers: Iterable[tuple[bytes, bytes]]) -> None:
        caller = extract({key.decode("latin-1"): value.decode("latin-1") for key, value in headers})
        told: dict[str, Any] = {"http.request.method": method, "http.route": route, "http.response.status_code": status}
        now = time.time_ns()
        begun = now - int(1e9 * seconds)
        span = spans.start_span(f"{method} {route}", caller, SpanKind.SERVER, told, start_time=begun)
        if status >= 500:
            span.set_status(StatusCode.ERROR)
        span.end(now)

    return traced
