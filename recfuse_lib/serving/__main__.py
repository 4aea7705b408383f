"""Starts the service with the settings of the environment; `recfuse serve` names a model.

    python -m recfuse_lib.serving

Taught in notebook 18.
"""

from __future__ import annotations

import logging
import sys

from recfuse_lib.serving.promotion import PromotionError, serving
from recfuse_lib.serving.settings import Settings, SettingsError


def main(settings: Settings | None = None) -> int:
    """Serves until it is stopped; returns 2 when it cannot start, and standard error says why."""
    try:
        settings = settings or Settings.of()
        folder = serving(settings.store)
    except (SettingsError, PromotionError) as error:
        print(error, file=sys.stderr)
        return 2
    if folder is None:
        print(f"{settings.store} holds no model yet; it serves as soon as one is there", file=sys.stderr)
    import uvicorn

    from recfuse_lib.serving.app import create_app

    logging.basicConfig(level=settings.log.upper(), format="%(message)s")
    print(f"http://{settings.host}:{settings.port}/ serves {folder or settings.store}", flush=True)
    uvicorn.run(create_app(settings), host=settings.host, port=settings.port, log_level="warning", access_log=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
