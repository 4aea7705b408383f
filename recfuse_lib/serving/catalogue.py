"""The items that a service knows: vectors and their parts, the fields that constraints ask for, and new items.

Taught in notebook 18.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Self

import faiss
import numpy as np
import pandas as pd

from recfuse_lib.data.items import natural_title
from recfuse_lib.data.positives import Positives
from recfuse_lib.data.schema import Dataset
from recfuse_lib.encoders.attributes import AttributeEncoder
from recfuse_lib.encoders.centring import Centring
from recfuse_lib.models import index
from recfuse_lib.serving.bundle import Bundle
from recfuse_lib.serving.messages import ROLES
from recfuse_lib.serving.towers import Towers


class ItemError(ValueError):
    """An item that cannot be added. The message says why."""


class Catalogue:
    """All items of a bundle and those that came after it; immutable: `extended` returns a larger one.

    A new item's vector comes from its text and attributes alone; its popularity is the median.

    Attributes:
        ids, records: Item ids and what is known of each, by item code.
        titles, shown: With the article in front, and what an answer says of each item.
        parts: What each dimension and behaviour add to z_i, float32 (I, dimensions + 1, D).
        vectors: z_i and, last, β_i, float32 (I, D + 1).
        text: Encodings of the texts, float32 (I, width); None where the bundle has none.
    """

    def __init__(self, bundle: Bundle, towers: Towers, encode_text: Any = None) -> None:
        self._bundle, self._towers, self._encode_text = bundle, towers, encode_text
        self.records = bundle.catalogue()
        self.n_trained = len(self.records)
        self.dimensions = (*towers.dimensions, "behaviour")
        self.parts, popularity = bundle.array("parts"), bundle.array("popularity")
        self.vectors = np.ascontiguousarray(np.c_[self.parts.sum(axis=1), popularity], "float32")
        self._usual_popularity = float(np.median(popularity))
        self.item_bias, self.counts = towers.weights["item_bias"], bundle.array("counts").astype("float32")
        self.index = faiss.read_index(str(bundle.folder / "index.faiss"))
        self.text = bundle.array("text") if "text" in self.dimensions else None
        self.text_index = None if self.text is None else index.build(self.text)
        self._describe()
        self.mean_parts = self.parts.mean(axis=0)
        self.scale = Scale(self.vectors)
        self.text_scale = None if self.text is None else Scale(self.text)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def has_prices(self) -> bool:
        """Whether any price is known."""
        return bool(np.isfinite(self._numbers["price"]).any())

    def _describe(self) -> None:
        self.ids = [record["item_id"] for record in self.records]
        self.codes = {item_id: code for code, item_id in enumerate(self.ids)}
        self.titles = [natural_title(record["title"]) for record in self.records]
        labels = [[label for label in (record.get("genres") or "").split("|") if label] for record in self.records]
        self.categories = sorted({label for one in labels for label in one})
        self._has = {name: np.array([name in one for one in labels]) for name in self.categories}
        numbers = {name: [record.get(name) for record in self.records] for name in ("year", "price")}
        self._numbers = {name: np.array(values, "float64") for name, values in numbers.items()}
        names, facts = ("item_id", "title", "year", "categories", "price"), (numbers["year"], labels, numbers["price"])
        rows = zip(self.ids, self.titles, *facts, strict=True)
        self.shown = [
            {**dict(zip(names, row, strict=True)), "new": code >= self.n_trained} for code, row in enumerate(rows)
        ]
        # Plain strings: a wish is parsed by going through all titles, which Arrow strings make slow.
        words = {"title": [record["title"] for record in self.records], "genres": ["|".join(one) for one in labels]}
        frame = pd.DataFrame({"item_id": self.ids, **words}, dtype=object)
        self.dataset = _items_alone(frame.assign(**{name: pd.array(one, "Float64") for name, one in numbers.items()}))

    def allowed(self, constraints: Mapping[str, Any]) -> np.ndarray:
        """Finds the items that meet the constraints, named as in `serving.messages.Constraints`, bool (I,)."""
        met = np.ones(len(self), bool)
        if wanted := constraints.get("categories"):
            nothing = np.zeros(len(self), bool)
            met &= np.logical_or.reduce([self._has.get(name, nothing) for name in wanted])
        for name, values in self._numbers.items():
            if (least := constraints.get(f"min_{name}")) is not None:
                met &= values >= least
            if (most := constraints.get(f"max_{name}")) is not None:
                met &= values <= most
        return met

    def extended(self, items: Sequence[Mapping[str, Any]]) -> Self:
        """Returns the catalogue with more items, each from `recfuse_lib.serving.messages.Item.row`.

        Raises:
            ItemError: An item exists already, or the model can read nothing of it.
        """
        for item in items:
            if item["item_id"] in self.codes:
                raise ItemError(f"item {item['item_id']!r} is in the catalogue already")
        records = [{name: item[name] for name in ("item_id", *ROLES) if item.get(name) is not None} for item in items]
        encodings, present = self._encoded(records)
        if not (known := present.any(axis=1)).all():
            unknown = records[int(np.argmin(known))]["item_id"]
            raise ItemError(f"item {unknown!r}: nothing is known of it that this model reads; give text or attributes")
        parts, none = self._towers.item_parts(encodings, present), np.zeros(len(items), "float32")
        vectors = np.c_[parts.sum(axis=1), none + np.float32(self._usual_popularity)]
        larger = copy.copy(self)
        larger.index, larger.vectors = _appended(self.index, vectors), np.vstack([self.vectors, vectors])
        larger.parts = np.vstack([self.parts, parts])
        if self.text is not None:
            larger.text_index = _appended(self.text_index, encodings["text"])
            larger.text = np.vstack([self.text, encodings["text"]])
        larger.item_bias, larger.counts = np.append(self.item_bias, none), np.append(self.counts, none)
        larger.records = [*self.records, *records]
        larger._describe()
        return larger

    def _encoded(self, records: list[dict[str, Any]]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Centred encodings of new items, and which dimensions each has, bool (N, dimensions)."""
        table = pd.DataFrame(records).reindex(columns=["item_id", *ROLES])
        table["genres"] = table["genres"].fillna("")
        encodings, present = {}, []
        for name, width in self._towers.dimensions.items():
            matrix, known = np.zeros((len(records), width), "float32"), np.zeros(len(records), bool)
            if name == "text" and self._encode_text is not None:
                matrix, known = self._encode_text(_items_alone(table).texts()), ~known
            elif name == "attributes":
                matrix, known = self._attributes.transform(table.reindex(columns=self._attribute_columns))
            centring = Centring()
            centring.mean = self._bundle.array(f"mean_{name}")
            encodings[name] = centring.transform(matrix) * known[:, None]
            present.append(known)
        return encodings, np.stack(present, axis=1)

    @functools.cached_property
    def _attributes(self) -> AttributeEncoder:
        """The encoder of training: fitted on the same rows, it is the same."""
        table = pd.DataFrame(self._bundle.catalogue()).reindex(columns=self._attribute_columns)
        return AttributeEncoder(ROLES).fit(table[self._bundle.array("seen")])

    @functools.cached_property
    def _attribute_columns(self) -> list[str]:
        return [name for name in self._bundle.schema["catalogue"] if name in ("item_id", *ROLES)]


class Scale:
    """Mean and spread of q·v_i over all items in closed form:  mean = q·v̄,  variance = qᵀ C q,  C = cov(v)."""

    def __init__(self, rows: np.ndarray) -> None:
        self.average = rows.mean(axis=0, dtype="float64").astype("float32")
        self._covariance = np.cov(rows.T, bias=True).astype("float32")

    def mean(self, query: np.ndarray) -> float:
        return float(query @ self.average)

    def deviation(self, query: np.ndarray) -> float:
        """Computes the spread, at least 1e-9 so that it can divide."""
        return max(float(np.sqrt(max(query @ self._covariance @ query, 0.0))), 1e-9)


def _items_alone(catalogue: pd.DataFrame) -> Dataset:
    roles = {column: role for column, role in ROLES.items() if column in catalogue}
    nobody = pd.DataFrame(columns=["user_id", "item_id", "signal", "value", "timestamp"])
    return Dataset("the catalogue", nobody, None, {}, Positives.parse("value>=4"), catalogue=catalogue, roles=roles)


def _appended(found: Any, vectors: np.ndarray) -> Any:
    """A copy of an index with more items at its end; the index itself may be searched meanwhile."""
    larger = faiss.clone_index(found)
    larger.add(np.ascontiguousarray(vectors, "float32"))
    return larger
