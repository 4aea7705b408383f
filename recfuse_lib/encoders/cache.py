"""A store of encodings and of written texts, found by what they were made from and how: nothing is made twice.

The key is a sha256 over the content and the configuration, so a changed text, weight or setting is another entry and
nothing is ever out of date. An entry is one file that is replaced as a whole and carries a checksum.

Taught in notebook 02.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from recfuse_lib.pretrained import cache_dir

_warned: set[Path] = set()


def content_key(content: Iterable[str], configuration: Mapping[str, Any]) -> str:
    """The name of an entry: a sha256 over the texts, in order, and the configuration.

    Args:
        content: The texts. Their boundaries count: ["ab"] and ["a", "b"] differ.
        configuration: Everything else that the encodings depend on; it must be JSON.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> content_key(["ab"], {}) == content_key(["a", "b"], {})
        False
        >>> content_key(["ab"], {"pooling": "mean"}) == content_key(["ab"], {"pooling": "mean"})
        True
    """
    digest = hashlib.sha256(json.dumps(configuration, sort_keys=True).encode())
    for text in content:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.hexdigest()


def fetch(key: str, kind: str = "encodings") -> npt.NDArray[np.float32] | None:
    """The stored encodings, or None when there are none or the file is not what was stored.

    Args:
        key: From `content_key`.
        kind: What the array holds, the name of its folder.

    Returns:
        Array (N, D), or None.
    """
    path = _path(key, kind)
    encodings: npt.NDArray[np.float32] | None
    try:
        with np.load(path, allow_pickle=False) as entry:
            encodings, checksum = entry["encodings"], str(entry["checksum"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        encodings, checksum = None, ""
    if encodings is None or checksum != _checksum(key, encodings):
        warnings.warn(f"{path} is damaged: it is ignored and will be written anew", stacklevel=2)
        return None
    return encodings


def store(key: str, encodings: npt.NDArray[np.float32], kind: str = "encodings") -> None:
    """Keep encodings under their key. Where the cache cannot be written it warns once and goes on without.

    Args:
        key: From `content_key`.
        encodings: Array (N, D).
        kind: See `fetch`.
    """

    def write(file: IO[bytes]) -> None:
        np.savez(file, encodings=encodings, checksum=np.array(_checksum(key, encodings)))

    _replace(_path(key, kind), write)


def fetch_text(key: str) -> str | None:
    """The stored text, or None when there is none or the file is not what was stored.

    Args:
        key: From `content_key`.
    """
    path = _path(key, "texts", "txt")
    try:
        checksum, text = path.read_bytes().decode("utf-8").split("\n", 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        checksum, text = "", ""
    if checksum != _text_checksum(key, text):
        warnings.warn(f"{path} is damaged: it is ignored and will be written anew", stacklevel=2)
        return None
    return text


def store_text(key: str, text: str) -> None:
    """Keep a text under its key. Where the cache cannot be written it warns once and goes on without.

    Args:
        key: From `content_key`.
        text: What a language model wrote.
    """
    content = f"{_text_checksum(key, text)}\n{text}".encode()
    _replace(_path(key, "texts", "txt"), lambda file: file.write(content))


def _replace(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Write a file as a whole, or warn once for its folder."""
    partial = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".", suffix=".partial", dir=path.parent)
        partial = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        if path.parent not in _warned:
            _warned.add(path.parent)
            warnings.warn(
                f"{path.parent.name} are not kept: {path.parent} cannot be written ({error.strerror or error}); "
                "name a folder that you may write with RECFUSE_CACHE",
                stacklevel=3,
            )
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)


def _path(key: str, folder: str, ending: str = "npz") -> Path:
    return cache_dir() / folder / f"{key}.{ending}"


def _text_checksum(key: str, text: str) -> str:
    return hashlib.sha256(f"{key} {text}".encode()).hexdigest()


def _checksum(key: str, encodings: npt.NDArray[Any]) -> str:
    head = f"{key} {encodings.shape} {encodings.dtype.str}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(encodings).tobytes()).hexdigest()
