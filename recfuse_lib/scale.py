"""Runs parts of a fit on a Ray cluster, with the result of one machine. Taught in notebook 20."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from recfuse_lib.data.faults import DataError
from recfuse_lib.encoders.text import Encodings, TextEncoder, equal_lengths

INSTALL = 'Ray is not installed; pip install "recfuse_lib[scale]" brings it, with PyTorch and JAX'


@contextlib.contextmanager
def cluster(address: str) -> Iterator[Any]:
    """Connects to a Ray cluster, `HOST:PORT` or `auto`, for the block; where one is connected already it stays so.

    Raises:
        DataError: Ray is not installed, or no cluster answers at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise DataError(INSTALL) from error
    joined = ray.is_initialized()
    try:
        if not joined:
            ray.init(address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise DataError(f"no Ray cluster answers at {address}: {error}; start one: ray start --head") from error
    try:
        yield ray
    finally:
        if not joined:
            ray.shutdown()


class _Encodes:
    """What one worker does: load the encoder once, then encode batch after batch."""

    def __init__(self, model: str) -> None:
        self.encoder = TextEncoder.from_pretrained(model, progress=False)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"rows": batch["rows"], "encodings": self.encoder.encode(list(batch["texts"]))}


def encoder_on(address: str, model: str = "minilm", workers: int = 2) -> Callable[[list[str]], Encodings]:
    """Returns a function that encodes N texts on a cluster: float32 (N, D), as `TextEncoder.encode` does here.

    What is handed out is a whole batch, texts of equally many tokens: each matrix has the shape that it has on one
    machine, so equal processors give equal bits. The function raises a DataError as `cluster` does.
    """

    def encode(texts: list[str]) -> Encodings:
        with cluster(address):
            import ray.data as ray_data

            encoder = TextEncoder.from_pretrained(model, progress=False)
            ray_data.DataContext.get_current().enable_progress_bars = False
            tokens = encoder.tokenize(texts)
            batches = [{"rows": rows, "texts": [texts[row] for row in rows]} for rows in equal_lengths(tokens)]
            work = ray_data.from_items(batches, override_num_blocks=min(len(batches), 4 * workers))
            pool = ray_data.ActorPoolStrategy(size=min(workers, len(batches)))
            encodings = np.empty((len(texts), encoder.dimensions), np.float32)
            for done in work.map(_Encodes, fn_constructor_args=(model,), compute=pool).iter_rows():
                encodings[np.asarray(done["rows"])] = np.asarray(done["encodings"], np.float32)
            return encodings

    return encode
