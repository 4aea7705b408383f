"""Starts the service with the settings of the environment; `recfuse serve` names a model.

python -m recfuse_lib.serving    # taught in notebook 18
"""

from __future__ import annotations

import contextlib
import logging
import resource
import sys
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from recfuse_lib.serving.app import create_app
from recfuse_lib.serving.settings import Settings

_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
MOST_CONNECTIONS = min(256, _FILES // 4) if _FILES > 0 else 256
"""More are open only while these wait for an answer; twice as many get 503."""

REQUEST_SECONDS = 30.0  # from the start of a connection, or its last answer, to the end of the next one


class Connection(H11Protocol):
    """Closes what uvicorn would keep for ever: a request that is not answered in time and, of too many connections, the
    one that has waited for its client for longest.
    """

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._deadline = self.loop.call_later(REQUEST_SECONDS, transport.abort)
        others: Any = self.connections - {self}
        waiting = [one for one in others if not one.cycle or one.cycle.more_body or one.cycle.response_started]
        if len(others) >= MOST_CONNECTIONS and waiting:
            oldest = min(waiting, key=lambda one: one._deadline.when())
            self.connections.discard(oldest)
            oldest.transport.abort()

    def on_response_complete(self) -> None:
        self._deadline.cancel()
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        super().connection_lost(exc)


class Server(uvicorn.Server):
    """Serves what the settings name, and says so once the port is open."""

    def __init__(self, settings: Settings) -> None:
        config = uvicorn.Config(
            create_app(settings), settings.host, settings.port, http=Connection, ws="none", log_level="warning",
            access_log=False, limit_concurrency=2 * MOST_CONNECTIONS, timeout_graceful_shutdown=int(REQUEST_SECONDS),
            proxy_headers=settings.trusted_proxy is not None, forwarded_allow_ips=str(settings.trusted_proxy),
        )  # fmt: skip
        super().__init__(config)

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        config: Any = self.config
        serving = config.app.state.service.recommender
        what = f"serves {serving.bundle.folder}" if serving else "is open; no model serves yet"
        print(f"http://{config.host}:{config.port}/ {what}", flush=True)


def main(settings: Settings | None = None) -> int:
    """Serves until it is stopped; returns 2 when it cannot start, and standard error says why."""
    try:
        settings = settings or Settings.of()
        server = Server(settings)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    logging.basicConfig(level=settings.log.upper(), format="%(message)s")
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
