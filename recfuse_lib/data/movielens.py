"""MovieLens: 100,004 ratings that 671 real people gave 9,066 films, committed with the course.

Taught in notebook 01.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import pandas as pd

from recfuse_lib.data.schema import DataError, Dataset

DATA = Path(__file__).resolve().parents[2] / "data" / "movielens"


def load(folder: Path | str = DATA) -> Dataset:
    """The `ml-latest-small` snapshot of 2016 as a `Dataset`.

    Five films came without a title and year; they are called "Untitled film <id>", so that every item has a text.

    Args:
        folder: Where `interactions.parquet`, `catalogue.parquet` and `checksums.json` lie.

    Raises:
        DataError: A file is missing or is not the one that the checksums describe.

    Example:
        >>> dataset = load()
        >>> len(dataset.interactions), dataset.n_users, dataset.n_items
        (100004, 671, 9066)

    References:
        Harper and Konstan (2015), The MovieLens Datasets: History and Context, ACM TiiS 5(4).

    Taught in notebook 01.
    """
    folder = Path(folder)
    tables = {name: _read_verified(folder, name) for name in ("interactions", "catalogue")}
    catalogue = tables["catalogue"]
    untitled = "Untitled film " + catalogue["item_id"].astype("str")
    catalogue = catalogue.assign(title=catalogue["title"].fillna(untitled))
    return Dataset.of("MovieLens", tables["interactions"], catalogue)


def _read_verified(folder: Path, name: str) -> pd.DataFrame:
    path = folder / f"{name}.parquet"
    advice = "restore it with `git checkout -- data/movielens` or rebuild it with `python data/movielens/build.py`"
    try:
        pinned = json.loads((folder / "checksums.json").read_text("utf-8"))[name]
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{error.filename}: file is missing; {advice}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != pinned["file_sha256"]:
        raise DataError(
            f"{path}: sha256 is {digest[:12]}…, expected {pinned['file_sha256'][:12]}…: the file was altered; {advice}"
        )
    return pd.read_parquet(io.BytesIO(content))
