"""Memory that a model will need, estimated before anything is allocated. Taught in notebook 04."""

import psutil

from recfuse_lib.data.faults import DataError


def check(n_bytes: float, what: str, way_out: str) -> None:
    """Refuses what does not fit: `what` needs `n_bytes` at one time, and `way_out` says what to do instead.

    Raises:
        DataError: Less is free.

    Example:
        >>> check(1e18, "EASE over 350,000,000 items", "leave out items with fewer interactions")
        Traceback (most recent call last):
        ...
        recfuse_lib.data.faults.DataError: EASE over 350,000,000 items needs 1000000000.0 GB of memory, and ...
    """
    free = psutil.virtual_memory().available
    if n_bytes > free:
        raise DataError(f"{what} needs {n_bytes / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free; {way_out}")
