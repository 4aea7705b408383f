"""From files to encodings: read, learn, encode, and keep the result under what it was made from.

Taught in notebook 06.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from recfuse_lib.data import media
from recfuse_lib.encoders.contrastive import Array, Mask
from recfuse_lib.pretrained import store

CODE = [
    Path(media.__file__),
    *(Path(__file__).with_name(f"{name}.py") for name in ("contrastive", "image", "audio", "video")),
]
"""What decides on encodings beside files and settings: another version of it makes other encodings."""


def encode_files(
    paths: Iterable[str | Path | None],
    read: Callable[[Path], Array],
    encode: Callable[[Array, Mask], Array],
    configuration: dict[str, Any],
    seen: Mask | None,
    missing: Literal["error", "mask"],
) -> tuple[Array, Mask]:
    """Encodings of files, from the cache on disk when the same files were encoded before in the same way.

    Args:
        paths: One path per item code, None for an item without a file.
        read: Reads one file.
        encode: Gets the arrays of the present items and which of them are seen; gives their encodings.
        configuration: All that the encodings depend on beside the files, `seen` and `missing`; it must be JSON.
        seen: The items that may be learned from, bool (I,). Defaults to all.
        missing: What happens to an item without a readable file; see `recfuse_lib.data.media.read_all`.

    Returns:
        Encodings, float32 (I, D), zeros for missing items, and which items are present, bool (I,).

    Raises:
        recfuse_lib.data.media.MediaError: See `read_all`.
    """
    files = [None if path is None else Path(path) for path in paths]
    learned = np.ones(len(files), bool) if seen is None else np.asarray(seen, bool)
    if learned.shape != (len(files),):
        raise ValueError(f"seen has shape {learned.shape}; expected one value for each of the {len(files)} items")
    content = [*(_digest(path) for path in [*files, *CODE]), learned.tobytes().hex()]
    key = store.content_key(content, {**configuration, "backend": keras.backend.backend()})
    kept = store.fetch(key)
    if kept is not None and (missing == "mask" or np.isfinite(kept).all()):
        present = ~np.isnan(kept[:, 0])
        unreadable = [str(path) for path, there in zip(files, present, strict=True) if path is not None and not there]
        if unreadable:
            warnings.warn(f"{len(unreadable)} files count as missing, such as {unreadable[0]}", stacklevel=3)
        return np.where(present[:, None], kept, 0), present
    arrays, present = media.read_all(files, read, missing)
    some = encode(arrays[present], learned[present])
    kept = np.full((len(files), some.shape[1]), np.nan, np.float32)
    kept[present] = some
    store.keep(key, kept)
    return np.where(present[:, None], kept, 0), present


def _digest(path: Path | None) -> str:
    """The sha256 of a file; empty where there is none, which `read_all` judges."""
    return "" if path is None or not path.is_file() else store.sha256(path)
