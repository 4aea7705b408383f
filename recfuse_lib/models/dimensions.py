"""The dimensions of interest that a data set has something to say about, and what the items are by their content.

Taught in notebook 07.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, Self

import numpy as np
import pandas as pd

from recfuse_lib.data.items import Items
from recfuse_lib.data.roles import CATEGORIES, CATEGORY, DATE, NUMBER
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import Queries
from recfuse_lib.encoders.attributes import AttributeEncoder
from recfuse_lib.encoders.centring import Centring, Whitening
from recfuse_lib.models import closed_form
from recfuse_lib.models.closed_form import RECENT
from recfuse_lib.models.ease import EASE
from recfuse_lib.models.item_knn import ItemKNN

DIMENSIONS = (
    *("linear", "linear, recent", "neighbours", "sequence", "month", "year", "text", "genres", "release", "unreleased"),
    *("content", "popularity", "popularity by content"),
)


class Dimension(Protocol):
    """A tower that is fitted on a history and scores all items for each query."""

    def fit(self, history: pd.DataFrame, items: Items) -> Self: ...

    def score(self, queries: Queries) -> np.ndarray: ...


class Dimensions:
    """Makes the dimensions of a data set. Without times there is no order and no surroundings; without texts, labels or
    years nothing that reads them.

    Args:
        dataset: Whose catalogue says what the items are; of its interactions only whether they have times.
        text: Raw text encodings of the items, (I, D), or None.
    """

    def __init__(self, dataset: Dataset, text: np.ndarray | None = None) -> None:
        self.dataset, self.text, self.years = dataset, text, dataset.years()
        self.genres = self._labels(dataset.columns(CATEGORIES) or dataset.columns(CATEGORY))

    def content(self, known: np.ndarray) -> np.ndarray:
        """What the items are, float32 (I, C): text, attributes and era, centred and scaled by the known items alone.

        Args:
            known: Codes of the known items.
        """
        catalogue = self.dataset.catalogue
        parts: list[np.ndarray] = []
        if self.text is not None:
            parts.append(Whitening(shrinkage=0.1).fit(self.text[known]).transform(self.text))
        if self.dataset.columns(CATEGORY, CATEGORIES, NUMBER, DATE):
            attributes, _ = AttributeEncoder(self.dataset.roles).fit(catalogue.iloc[known]).transform(catalogue)
            parts.append(0.4 * attributes)
        if np.isfinite(self.years).any():
            middles = np.array([1930, 1950, 1965, 1975, 1985, 1990, 1994, 1997, 2000, 2004, 2008, 2012])
            parts.append(0.35 * np.nan_to_num(np.exp(-(((self.years[:, None] - middles) / 8) ** 2))))
        if not parts:
            return np.zeros((self.dataset.n_items, 1), "float32")
        content = np.concatenate(parts, axis=1).astype("float32")
        return np.asarray(content - content[known].mean(axis=0))

    def _labels(self, columns: list[str]) -> np.ndarray | None:
        """1 / √n for each of an item's n labels, float64 (I, number of labels); None where there are none."""
        roles = {column: self.dataset.roles[column] for column in columns}
        if not columns:
            return None
        labels, _ = AttributeEncoder(roles).fit(self.dataset.catalogue).transform(self.dataset.catalogue)
        matrix = labels.astype("float64")
        return np.asarray(matrix / np.sqrt(np.maximum(matrix.sum(axis=1, keepdims=True), 1)))

    @property
    def names(self) -> list[str]:
        """The dimensions that the data says something about, in the order of `DIMENSIONS`."""
        years = bool(np.isfinite(self.years).any())
        content = self.text is not None or bool(self.dataset.columns(CATEGORY, CATEGORIES, NUMBER, DATE))
        needs = {
            **dict.fromkeys(("linear, recent", "sequence", "month", "year"), self.dataset.has_times),
            "text": self.text is not None,
            "genres": self.genres is not None,
            "release": years,
            "unreleased": years and self.dataset.has_times,
            **dict.fromkeys(("content", "popularity by content"), content),
        }
        return [name for name in DIMENSIONS if needs.get(name, True)]

    def make(self, name: str, known: np.ndarray, content: np.ndarray) -> Dimension:
        """Makes an unfitted dimension; all content is centred with the known items only.

        Args:
            name: One of `names`.
            known: Codes of the items that something is learned from.
            content: What `content` gives for them.
        """
        if name == "text":
            assert self.text is not None
            return closed_form.ContentSimilarity(Centring().fit(self.text[known]).transform(self.text))
        if name == "genres":
            assert self.genres is not None
            return closed_form.ContentSimilarity((self.genres - self.genres[known].mean(axis=0)).astype("float32"))
        made: dict[str, Callable[[], Dimension]] = {
            "linear": lambda: EASE(100.0),
            "linear, recent": lambda: EASE(50.0, RECENT),
            "neighbours": lambda: ItemKNN(100, 10.0, RECENT),
            "sequence": closed_form.Transitions,
            "month": lambda: closed_form.TemporalPopularity(30.0),
            "year": lambda: closed_form.TemporalPopularity(300.0),
            "release": lambda: closed_form.ReleaseYears(self.years),
            "unreleased": lambda: closed_form.NotYetReleased(self.years),
            "content": lambda: closed_form.ContentEASE(content),
            "popularity": closed_form.ContentPopularity,
            "popularity by content": lambda: closed_form.ContentPopularity(content),
        }
        return made[name]()
