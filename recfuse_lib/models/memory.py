"""Memory that a model will need, estimated before anything is allocated. Taught in notebook 04."""

import psutil

from recfuse_lib.data.faults import DataError


def check(n_bytes: float, what: str, way_out: str) -> None:
    """Refuses what does not fit: `what` needs `n_bytes` at one time, and `way_out` says what to do instead.
    Raises `DataError`: less is free.
    """
    free = psutil.virtual_memory().available
    if n_bytes > free:
        raise DataError(f"{what} needs {n_bytes / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free; {way_out}")
