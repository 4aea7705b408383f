"""Files and folders that are replaced whole or not at all, checksums, and a cache of what is expensive to compute.
Taught in notebook 02.
"""

import contextlib
import glob
import hashlib
import io
import json
import os
import shutil
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

BLOCK = 1 << 20
HOURS_OF_A_WRITER = 1

_warned: set[Path] = set()


def cache_dir() -> Path:
    """Returns the folder that keeps weights and encodings between runs: `$RECFUSE_CACHE`, or `~/.cache/recfuse`."""
    named = os.environ.get("RECFUSE_CACHE")
    return Path(named).expanduser().absolute() if named else Path.home() / ".cache" / "recfuse"


@contextlib.contextmanager
def replacing(path: Path | str) -> Iterator[IO[bytes]]:
    """Opens a file that replaces `path` when it is complete and on the disk; after an error nothing has changed.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "new" / "one.npy"
    >>> with replacing(path) as file:
    ...     np.save(file, np.arange(3))
    >>> np.load(path), len(list(path.parent.iterdir()))
    (array([0, 1, 2]), 1)
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > HOURS_OF_A_WRITER * 3600:  # whoever wrote it was killed
                left.unlink()
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write(path: Path | str, content: bytes | str) -> None:
    """Replaces a file whole or not at all; text is written in UTF-8."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def replace_folder(made: Path, target: Path) -> None:
    """Replaces one folder by another; `recover_folder` repairs what a kill between the two moves leaves."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    made.rename(target)
    sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(target: Path) -> None:
    """Puts the older folder back if `replace_folder` was killed before it had renamed the newer one."""
    old = target.with_name(f".{target.name}.old")
    if old.exists() and not target.exists():
        old.rename(target)


def sync(path: Path) -> None:
    """Waits until a file or the names in a folder are on the disk; systems whose folders cannot be opened need not."""
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sha256(*parts: bytes | str | Path | np.ndarray) -> str:
    """Computes the sha256 of parts in sequence: bytes, UTF-8 text, contents of files, contents of arrays.

    >>> sha256("a", b"b") == sha256("ab"), sha256(np.zeros(1, "uint8")) == sha256(b"\\0")
    (True, True)
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            with part.open("rb") as file:
                while block := file.read(BLOCK):
                    digest.update(block)
        elif isinstance(part, np.ndarray):
            digest.update(np.ascontiguousarray(part).view("uint8").data)
        else:
            digest.update(part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part)
    return digest.hexdigest()


def content_key(content: Iterable[str], configuration: Mapping[str, Any]) -> str:
    """Computes a cache entry's name, 64 hexadecimal digits, from texts, whose order and boundaries count, and JSON."""
    texts = (text.encode("utf-8", "surrogatepass") for text in content)
    lengths = (part for text in texts for part in (len(text).to_bytes(8, "big"), text))
    return sha256(json.dumps(configuration, sort_keys=True), *lengths)


def fetch(key: str, kind: str = "encodings") -> np.ndarray | None:
    """Returns the array kept under a key of `content_key` in the folder `kind`; None if absent or damaged."""
    path = cache_dir() / kind / f"{key}.kept"
    try:
        checksum, _, content = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    if checksum.decode("ascii", "replace") != sha256(key, content):
        warnings.warn(f"{path} is damaged: it is ignored and will be written again", stacklevel=2)
        return None
    return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))


def keep(key: str, array: np.ndarray | str, kind: str = "encodings") -> None:
    """Keeps an array under its key; a cache that cannot be written is warned of once, and nothing is kept."""
    content = io.BytesIO()
    np.save(content, np.asarray(array))
    path = cache_dir() / kind / f"{key}.kept"
    try:
        write(path, sha256(key, content.getvalue()).encode() + b"\n" + content.getvalue())
    except OSError as error:
        if path.parent not in _warned:
            _warned.add(path.parent)
            warnings.warn(
                f"{kind} are not kept: {path.parent} cannot be written ({error.strerror or error}); name a folder that "
                "you may write with RECFUSE_CACHE",
                stacklevel=2,
            )
