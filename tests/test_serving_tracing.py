"""Traces reach a collector and name nobody."""

import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from recfuse_lib.serving import tracing
from recfuse_lib.serving.app import create_app
from recfuse_lib.serving.settings import Settings

CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"


class Collector(http.server.BaseHTTPRequestHandler):
    received: list[bytes]

    def do_POST(self) -> None:
        self.received.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """What a collector on the loopback address has received."""
    found: list[bytes] = []
    with http.server.HTTPServer(("127.0.0.1", 0), type("Own", (Collector,), {"received": found})) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv(tracing.ENDPOINTS[0], f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        yield found
        server.shutdown()


def test_a_span_tells_of_a_request_what_the_log_tells(received: list[bytes], tmp_path: Path) -> None:
    settings = Settings(store=tmp_path / "none", database=f"sqlite:///{tmp_path / 'events.db'}", api_key="k" * 20)
    with TestClient(create_app(settings)) as client:
        client.get("/health", headers={"traceparent": f"00-{CALLER}-00f067aa0ba902b7-01"})
        client.get("/people/confidential/events", headers={"x-api-key": "k" * 20})
        client.post("/recommend", json={"user_id": "confidential", "wish": "confidential"})
        for _ in range(200):
            spans = [
                span
                for body in received
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            ]
            if len(spans) == 3:
                break
            threading.Event().wait(0.05)
    told = {span.name: {one.key: one.value for one in span.attributes} for span in spans}
    assert set(told) == {"GET /health", "GET /people/{user_id:path}/events", "POST /recommend"}
    assert told["POST /recommend"]["http.response.status_code"].int_value == 503
    parents = {span.name: span.trace_id.hex() for span in spans}
    assert parents["GET /health"] == CALLER != parents["POST /recommend"]
    assert [span.name for span in spans if span.status.code == 2] == ["POST /recommend"]
    assert all(0 < span.end_time_unix_nano - span.start_time_unix_nano < 30e9 for span in spans)
    assert not any(b"confidential" in body or b"k" * 20 in body for body in received)


def test_without_the_extra_a_collector_is_refused_and_without_a_collector_nothing_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    assert tracing.tracer() is None
    monkeypatch.setenv(tracing.ENDPOINTS[1], "http://127.0.0.1:9/v1/traces")
    with pytest.raises(ValueError, match="install recfuse_lib\\[trace\\]"):
        tracing.tracer()
