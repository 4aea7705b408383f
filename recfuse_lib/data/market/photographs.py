"""The market's product photographs, real ones, and what can be measured on their pixels. Taught in notebook 01."""

import io
from pathlib import Path

import numpy as np
import pandas as pd

from recfuse_lib.data.committed import read_verified

DATA = Path(__file__).resolve().parents[3] / "data" / "market"
SIZE = 28
VISUAL = ("brightness", "texture", "stripes", "area")


def read_file(name: str) -> bytes:
    """Return a file of the market's data folder; a missing or altered one raises a `DataError`."""
    return read_verified(DATA, "market", name, name)


def load() -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of the 3,000 committed photographs, uint8 (3000, 28, 28), and the category of each, int64.

    Source: Xiao, Rasul and Vollgraf (2017), Fashion-MNIST, arXiv:1708.07747.
    """
    from PIL import Image

    with Image.open(io.BytesIO(read_file("photographs.png"))) as sheet:
        grid = np.asarray(sheet)
    pixels = grid.reshape(-1, SIZE, grid.shape[1] // SIZE, SIZE).swapaxes(1, 2).reshape(-1, SIZE, SIZE)
    table = pd.read_csv(io.BytesIO(read_file("photographs.csv")))
    return pixels, table["category"].to_numpy("int64")


def visual_properties(photographs: np.ndarray, category: np.ndarray) -> np.ndarray:
    """Measure how photographs look beyond their product's category, in the columns of `VISUAL`, float64 (N, 4).

    Stripes is whether edges run along or across; area, how much of the picture is filled. Each has mean 0 in each
    category, so that no label predicts it, and variance 1, and is uncorrelated with the others.
    """
    pixels = photographs.astype("int64")
    inside = pixels > 20
    area = inside.sum((1, 2))
    across = np.abs(np.diff(pixels, axis=2))[:, :-1].sum((1, 2))
    along = np.abs(np.diff(pixels, axis=1))[:, :, :-1].sum((1, 2))
    measured = np.stack([(pixels * inside).sum((1, 2)) / area, (across + along) / area, across / along, area], axis=1)
    for kind in np.unique(category):
        members = category == kind
        measured[members] -= measured[members].mean(axis=0)
        measured[members] /= measured[members].std(axis=0)
    factor = np.linalg.cholesky(np.cov(measured.T, bias=True))
    return np.linalg.solve(factor, measured.T).T
