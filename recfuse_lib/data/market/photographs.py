"""The market's product photographs: real ones, and what can be measured on their pixels.

Taught in notebook 01.
"""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pandas as pd

from recfuse_lib.data.committed import read_verified

DATA = Path(__file__).resolve().parents[3] / "data" / "market"
SIZE = 28
VISUAL = ("brightness", "texture", "stripes", "area")


@dataclasses.dataclass(frozen=True)
class Photographs:
    """Grey photographs of products, light on black.

    Attributes:
        pixels: uint8 (N, 28, 28).
        category: Which of the ten kinds of product each one shows, int64 (N,).
    """

    pixels: np.ndarray
    category: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)


def load(folder: Path | str = DATA) -> Photographs:
    """The 3,000 photographs that are committed with the course, 300 of each category.

    Args:
        folder: Where `photographs.png`, `photographs.csv` and `checksums.json` lie.

    Raises:
        DataError: A file is missing or is not the one that the checksums describe.

    Example:
        >>> photographs = load()
        >>> photographs.pixels.shape, np.bincount(photographs.category).tolist() == [300] * 10
        ((3000, 28, 28), True)

    References:
        Xiao, Rasul and Vollgraf (2017), Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
        Algorithms.
    """
    from PIL import Image

    contents = {
        name: read_verified(Path(folder), "market", name, name) for name in ("photographs.png", "photographs.csv")
    }
    with Image.open(io.BytesIO(contents["photographs.png"])) as sheet:
        grid = np.asarray(sheet)
    columns = grid.shape[1] // SIZE
    pixels = grid.reshape(-1, SIZE, columns, SIZE).swapaxes(1, 2).reshape(-1, SIZE, SIZE)
    table = pd.read_csv(io.BytesIO(contents["photographs.csv"]))
    return Photographs(pixels, table["category"].to_numpy("int64"))


def visual_properties(photographs: Photographs) -> np.ndarray:
    """What a photograph looks like beyond the kind of product that it shows.

    Measured on the pixels: how bright the product is, how much texture it has, whether its edges run along or across
    (stripes), how much of the picture it fills. Each is taken relative to the product's category, then made
    uncorrelated with those before it, so that no label tells anything about them.

    Args:
        photographs: N photographs.

    Returns:
        float64 (N, 4) in the order of `VISUAL`; every column has mean 0 in each category and variance 1.

    Example:
        >>> photographs = load()
        >>> properties = visual_properties(photographs)
        >>> bool(np.abs(properties[photographs.category == 3].mean(axis=0)).max() < 1e-9)
        True
    """
    pixels = photographs.pixels.astype("int64")
    inside = pixels > 20
    area = inside.sum((1, 2))
    across = np.abs(np.diff(pixels, axis=2))[:, :-1].sum((1, 2))
    along = np.abs(np.diff(pixels, axis=1))[:, :, :-1].sum((1, 2))
    measured = np.stack([(pixels * inside).sum((1, 2)) / area, (across + along) / area, across / along, area], axis=1)
    for category in np.unique(photographs.category):
        members = photographs.category == category
        measured[members] -= measured[members].mean(axis=0)
        measured[members] /= measured[members].std(axis=0)
    factor = np.linalg.cholesky(np.cov(measured.T, bias=True))
    return np.linalg.solve(factor, measured.T).T
