"""Data files that are committed with the course, read only if they match their checksums. Taught in notebook 01."""

import json
from pathlib import Path

from recfuse_lib.data.faults import DataError
from recfuse_lib.pretrained import store


def read_verified(folder: Path, data: str, file: str, entry: str) -> bytes:
    """Reads a file of data/`data`; raises `DataError` where it is not what `entry` of `checksums.json` describes."""
    advice = f"restore it with `git checkout -- data/{data}` or rebuild it with `python data/{data}/build.py`"
    try:
        pinned = json.loads((folder / "checksums.json").read_text("utf-8"))[entry]["file_sha256"]
        content = (folder / file).read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{error.filename}: file is missing; {advice}") from error
    digest = store.sha256(content)
    if digest != pinned:
        raise DataError(
            f"{folder / file}: sha256 is {digest[:12]}…, expected {pinned[:12]}…: the file was altered; {advice}"
        )
    return content
