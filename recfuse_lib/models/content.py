"""Item content as numbers, centred and scaled by the items of a history alone. Taught in notebook 07."""

import functools

import numpy as np
import pandas as pd

from recfuse_lib.data.items import Items
from recfuse_lib.data.roles import CATEGORIES, CATEGORY, DATE, NUMBER
from recfuse_lib.encoders.attributes import AttributeEncoder
from recfuse_lib.encoders.centring import Centring, Whitening

LABELS = "labels"
ERAS = np.array([1930, 1950, 1965, 1975, 1985, 1990, 1994, 1997, 2000, 2004, 2008, 2012])


def content(items: Items, history: pd.DataFrame) -> np.ndarray:
    """Compute text, attributes and era of the items, float32 (I, C); one column of zeros where nothing is known.

    Only the items of `history` decide about centre and scale. Texts are the encoding "text".
    """
    return _content(items, np.unique(history["item"]).astype("int64").tobytes())


@functools.lru_cache(maxsize=2)  # several dimensions ask for the same
def _content(items: Items, codes: bytes) -> np.ndarray:
    known = np.frombuffer(codes, "int64")
    parts: list[np.ndarray] = []
    if "text" in items.encodings:
        text = items.encodings["text"]
        parts.append(Whitening().fit(text[known]).transform(text))
    if items.columns(CATEGORY, CATEGORIES, NUMBER, DATE):
        encoder = AttributeEncoder(items.roles).fit(items.catalogue.iloc[known])
        parts.append(0.4 * encoder.transform(items.catalogue)[0])
    years = items.years()
    if np.isfinite(years).any():
        parts.append(0.35 * np.nan_to_num(np.exp(-(((years[:, None] - ERAS) / 8) ** 2))))
    if not parts:
        return np.zeros((items.n_items, 1), "float32")
    whole = np.concatenate(parts, axis=1).astype("float32")
    return np.asarray(whole - whole[known].mean(axis=0))


def encoding(items: Items, history: pd.DataFrame, name: str) -> np.ndarray:
    """Compute one view of the items, float32 (I, D), centred on those of `history`; zeros for an item without it.

    `name` is an encoding, `LABELS` for all categories together, or an attribute; anything else is a `KeyError`.
    """
    known = np.unique(history["item"])
    if name in items.encodings:
        raw = items.encodings[name]
        there = np.any(raw, axis=1)
        return np.asarray(Centring().fit(raw[known[there[known]]]).transform(raw) * there[:, None])
    labels = _labels(items, label_columns(items) if name == LABELS else [name])
    return np.asarray(labels - labels[known].mean(axis=0), "float32")


def label_columns(items: Items) -> list[str]:
    """Return the attributes that hold the items' labels."""
    return items.columns(CATEGORIES) or items.columns(CATEGORY)


def _labels(items: Items, columns: list[str]) -> np.ndarray:
    """1 / √n for each of an item's n labels, float64 (I, number of labels)."""
    roles = {column: items.roles[column] for column in columns}
    labels, _ = AttributeEncoder(roles).fit(items.catalogue).transform(items.catalogue)
    matrix = labels.astype("float64")
    return np.asarray(matrix / np.sqrt(np.maximum(matrix.sum(axis=1, keepdims=True), 1)))
