"""Arrays and a record in one file that is replaced whole: whoever is killed while writing leaves the file before it.

Taught in notebook 09.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recfuse_lib.pretrained import store


class SnapshotError(RuntimeError):
    """A file is not what was written; the message says which and what to do."""


def write(path: Path | str, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> int:
    """Writes a safetensors file: beside it first, through to the disk, and then into its place in one step.

    Args:
        path: The file; its folder is made where there is none.
        arrays: Name -> array.
        record: Anything that is JSON.

    Returns:
        Its size in bytes.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     size = write(Path(folder) / "one.safetensors", {"w": np.ones(3)}, {"round": 7})
        ...     arrays, record = read(Path(folder) / "one.safetensors")
        >>> arrays["w"].tolist(), record
        ([1.0, 1.0, 1.0], {'round': 7})
    """
    from safetensors.numpy import save

    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    kept = json.dumps(record, ensure_ascii=False)
    content = save(contiguous, {"record": kept, "sha256": _digest(contiguous, kept)})
    store.write(path, content)
    return len(content)


def read(path: Path | str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What `write` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        SnapshotError: It is damaged, or something else.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
    except SafetensorError as error:
        raise SnapshotError(f"{path} is damaged ({error}); delete it and start from an earlier one") from error
    if metadata.get("sha256") != _digest(arrays, metadata.get("record", "")):
        raise SnapshotError(f"{path} does not hold what was written; delete it and start from an earlier one")
    return arrays, json.loads(metadata["record"])


def _digest(arrays: Mapping[str, np.ndarray], record: str) -> str:
    named = ((f"{name} {arrays[name].dtype.str} {arrays[name].shape}", arrays[name]) for name in sorted(arrays))
    return store.sha256(record, *(part for pair in named for part in pair))
