"""MovieLens: 100,004 ratings that 671 real people gave 9,066 films, committed with the course.
Taught in notebook 01.
"""

import io
from pathlib import Path

import pandas as pd

from recfuse_lib.data.committed import read_verified
from recfuse_lib.data.roles import CATEGORIES, CATEGORY, NUMBER, TEXT
from recfuse_lib.data.schema import Dataset

DATA = Path(__file__).resolve().parents[2] / "data" / "movielens"

ROLES = {
    "title": TEXT,
    "year": NUMBER,
    "genres": CATEGORIES,
    "runtime_minutes": NUMBER,
    "budget_usd": NUMBER,
    "mpaa": CATEGORY,
}


def load(folder: Path | str = DATA) -> Dataset:
    """Reads the `ml-latest-small` snapshot of 2016 as a `Dataset`.

    Five films without title and year are called "Untitled film <id>", so that every item has a text.
    Source: Harper and Konstan (2015), The MovieLens Datasets: History and Context, ACM TiiS 5(4).
    Raises `DataError`: a file is missing or does not match its checksum.

    >>> dataset = load()
    >>> len(dataset.interactions), dataset.n_users, dataset.n_items
    (100004, 671, 9066)
    """
    folder = Path(folder)
    contents = {
        name: read_verified(folder, "movielens", f"{name}.parquet", name) for name in ("interactions", "catalogue")
    }
    tables = {name: pd.read_parquet(io.BytesIO(content)) for name, content in contents.items()}
    catalogue = tables["catalogue"]
    untitled = "Untitled film " + catalogue["item_id"].astype("str")
    catalogue = catalogue.assign(title=catalogue["title"].fillna(untitled))
    return Dataset.of("MovieLens", tables["interactions"], catalogue, roles=ROLES, positive="rating>=4")
