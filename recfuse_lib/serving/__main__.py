"""Starts the service, with a model of MovieLens when there is none yet.

    python -m recfuse_lib.serving [--rebuild]

Taught in notebook 18.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys

from recfuse_lib.serving.promotion import current
from recfuse_lib.serving.settings import Settings, SettingsError


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="python -m recfuse_lib.serving", description=__doc__)
    parser.add_argument("--rebuild", action="store_true", help="train the model again and let it serve")
    asked = parser.parse_args(arguments)
    try:
        settings = Settings.of()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    if asked.rebuild or current(settings.store) is None:
        # In a process of its own: the service itself needs no Keras and stays small.
        made = subprocess.run([sys.executable, "-m", "recfuse_lib.serving.training"], check=False)
        if made.returncode:
            return made.returncode
    import uvicorn

    from recfuse_lib.serving.app import create_app

    logging.basicConfig(level=settings.log.upper(), format="%(message)s")
    print(f"http://{settings.host}:{settings.port}/ serves {current(settings.store)}", flush=True)
    uvicorn.run(create_app(settings), host=settings.host, port=settings.port, log_level="warning", access_log=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
