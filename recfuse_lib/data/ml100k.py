"""MovieLens 100K: people of known age, gender and occupation. Its terms forbid passing it on, so it is fetched by name.

Taught in notebook 01.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from recfuse_lib import pretrained
from recfuse_lib.data import public_formats
from recfuse_lib.data.schema import Dataset


def load(folder: Path | str | None = None, say: Callable[[str], None] = lambda line: None) -> Dataset:
    """100,000 ratings that 943 people gave 1,682 films in 1997 and 1998.

    Args:
        folder: Where the files of `ml-100k.zip` (u.data, u.item, u.user) or of RecBole lie; by default they are fetched
            with the package that carries them, verified, and kept in the cache.
        say: Gets each line of what was understood.

    Raises:
        recfuse_lib.pretrained.PretrainedError: The files cannot be had.
        DataError: The folder does not hold them.

    References:
        Harper and Konstan (2015), The MovieLens Datasets: History and Context, ACM TiiS 5(4).
    """
    found = public_formats.load("movielens", folder or pretrained.load("ml-100k", progress=False), say)
    return dataclasses.replace(found, name="ml-100k")
