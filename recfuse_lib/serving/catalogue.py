"""The items as a service holds them: vectors and their parts, what a constraint asks about, and room for new ones.

Taught in notebook 18.
"""

from __future__ import annotations

import copy
import functools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from recfuse_lib.data.items import natural_title
from recfuse_lib.data.positives import Positives
from recfuse_lib.data.schema import Dataset
from recfuse_lib.encoders.attributes import AttributeEncoder
from recfuse_lib.serving import index
from recfuse_lib.serving.bundle import Bundle
from recfuse_lib.serving.events import ROLES
from recfuse_lib.serving.graph_session import GraphSession


class ItemError(ValueError):
    """An item that cannot be added. The message says why."""


def _items_alone(name: str, catalogue: pd.DataFrame) -> Dataset:
    """A data set that nobody has interactions in."""
    roles = {column: role for column, role in ROLES.items() if column in catalogue}
    nobody = pd.DataFrame(columns=["user_id", "item_id", "signal", "value", "timestamp"])
    return Dataset(name, nobody, None, {}, Positives.parse("value>=4"), catalogue=catalogue, roles=roles)


class Catalogue:
    """All items of a bundle and those that came after it.

    A new item's vector is what the item tower makes of its text, attributes and picture, with no correction by
    behaviour; it is as popular as the median item. A catalogue does not change: `extended` makes another one.

    Args:
        bundle: Where the items come from.
        text: Encodes texts, or None.

    Attributes:
        ids: Item ids; the position is the item's code.
        records: What is known of each item.
        titles: As they are shown, with the article in front.
        shown: What an answer says of each item.
        parts: What each dimension and behaviour add to z_i, float32 (I, dimensions + 1, D).
        vectors: z_i and, last, β_i, float32 (I, D + 1).
        text: Encodings of the texts, float32 (I, width); None where the bundle has none.
    """

    def __init__(self, bundle: Bundle, text: Any = None) -> None:
        self._bundle, self._encode_text = bundle, text
        self.records = bundle.catalogue()
        self.ids = [record["item_id"] for record in self.records]
        self.codes = {item_id: code for code, item_id in enumerate(self.ids)}
        self.n_trained = len(self.ids)
        self.dimensions = (*bundle.schema["dimensions"], "behaviour")
        self.parts = bundle.array("parts")
        popularity = bundle.array("popularity")
        self.vectors = np.ascontiguousarray(np.c_[self.parts.sum(axis=1), popularity], "float32")
        self._usual_popularity = float(np.median(popularity))
        self.item_bias, self.counts = bundle.array("item_bias"), bundle.array("counts").astype("float32")
        self.index = index.read(bundle.folder / "index.faiss")
        self.text = bundle.array("text") if "text" in self.dimensions else None
        self.text_index = None if self.text is None else index.build(self.text)
        self._tower = GraphSession(bundle, "item_tower")
        self._means = {name: bundle.array(f"mean_{name}") for name in bundle.schema["dimensions"]}
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
        """What constraints and wishes ask about."""
        columns: dict[str, list[Any]] = {
            name: [record.get(name) for record in self.records]
            for name in ("item_id", "title", "year", "genres", "price")
        }
        self._numbers = {name: np.array(columns[name], "float64") for name in ("year", "price")}
        columns["genres"] = [genres or "" for genres in columns["genres"]]
        labels = [set(genres.split("|")) - {""} for genres in columns["genres"]]
        self.categories = sorted(set().union(*labels))
        self._has = {name: np.array([name in one for one in labels]) for name in self.categories}
        self.titles = [natural_title(title) for title in columns["title"]]
        self.shown = [
            {
                "item_id": record["item_id"],
                "title": title,
                "year": record.get("year"),
                "categories": [name for name in genres.split("|") if name],
                "price": record.get("price"),
                "new": code >= self.n_trained,
            }
            for code, (record, title, genres) in enumerate(
                zip(self.records, self.titles, columns["genres"], strict=True)
            )
        ]
        # Plain strings: a wish is parsed by going through all titles, which Arrow strings make slow.
        frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
        for name in self._numbers:
            frame[name] = pd.array(self._numbers[name], dtype="Float64")
            frame[name] = frame[name].where(~np.isnan(self._numbers[name]), pd.NA)
        self.dataset = _items_alone("the catalogue", frame)

    def allowed(self, constraints: Mapping[str, Any]) -> np.ndarray:
        """Which items meet all constraints, bool (I,). An item whose year or price is not known does not.

        Args:
            constraints: Any of `categories` (one of them is enough), `min_year`, `max_year`, `min_price`, `max_price`.
        """
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
        """The catalogue with more items, which are found from the first request on.

        Args:
            items: Each with `item_id`, `title` and what else of the catalogue's columns is known; `picture` holds the
                bytes of a picture file.

        Raises:
            ItemError: One is there already, or nothing is known of it that the model can read.
        """
        for item in items:
            if item["item_id"] in self.codes:
                raise ItemError(f"item {item['item_id']!r} is in the catalogue already")
        records = [{name: item[name] for name in ("item_id", *ROLES) if item.get(name) is not None} for item in items]
        encoded = self._encodings(items, records)
        present = np.stack([known for _, known in encoded.values()], axis=1).astype("float32")
        if not (known := present.any(axis=1)).all():
            unknown = records[int(np.argmin(known))]["item_id"]
            raise ItemError(f"item {unknown!r}: nothing that this model reads is known of it; give text or a picture")
        inputs = {f"encodings_{name}": matrix for name, (matrix, _) in encoded.items()}
        zeros = np.zeros((len(items), self.parts.shape[2]), "float32")
        found = self._tower(**inputs, present=present, correction=zeros)
        vectors = np.hstack([found["vector"], np.full((len(items), 1), self._usual_popularity, "float32")])
        larger = copy.copy(self)
        larger.index = index.extended(self.index, vectors)
        larger.vectors, larger.parts = np.vstack([self.vectors, vectors]), np.vstack([self.parts, found["parts"]])
        if self.text is not None:
            larger.text_index = index.extended(self.text_index, encoded["text"][0])
            larger.text = np.vstack([self.text, encoded["text"][0]])
        larger.item_bias = np.append(self.item_bias, zeros[:, 0])
        larger.counts = np.append(self.counts, zeros[:, 0])
        larger.records = [*self.records, *records]
        larger.ids = [record["item_id"] for record in larger.records]
        larger.codes = {item_id: code for code, item_id in enumerate(larger.ids)}
        larger._describe()
        return larger

    def _encodings(
        self, items: Sequence[Mapping[str, Any]], records: list[dict[str, Any]]
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Dimension -> (centred encodings (N, width), present (N,)) of new items."""
        table = pd.DataFrame(records).reindex(columns=["item_id", *ROLES])
        table["genres"] = table["genres"].fillna("")
        encoded = {}
        for name, width in self._bundle.schema["dimensions"].items():
            matrix, known = np.zeros((len(items), width), "float32"), np.zeros(len(items), bool)
            if name == "text" and self._encode_text is not None:
                matrix = self._encode_text(_items_alone("new items", table).texts())
                known[:] = True
            elif name == "attributes":
                matrix, known = self._attributes.transform(table.reindex(columns=self._attribute_columns))
            elif name == "image":
                for row, item in enumerate(items):
                    if item.get("picture"):
                        matrix[row], known[row] = self._picture(item["picture"]), True
            encoded[name] = (centred(matrix, self._means[name]) * known[:, None], known)
        return encoded

    @functools.cached_property
    def _attributes(self) -> AttributeEncoder:
        """The encoder that the model was trained with: fitted on the same rows, it is the same."""
        table = pd.DataFrame(self._bundle.catalogue()).reindex(columns=self._attribute_columns)
        return AttributeEncoder(ROLES).fit(table[self._bundle.array("seen")])

    @functools.cached_property
    def _attribute_columns(self) -> list[str]:
        return [name for name in self._bundle.schema["catalogue"] if name in ("item_id", *ROLES)]

    @functools.cached_property
    def _pictures(self) -> GraphSession:
        return GraphSession(self._bundle, "picture_encoder")

    def _picture(self, content: bytes) -> np.ndarray:
        from recfuse_lib.data.media import read_image

        _, height, _, channels = self._pictures.shape("pixels")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "picture"
            path.write_bytes(content)
            pixels = read_image(path, size=height, channels=channels)
        return np.asarray(self._pictures(pixels=pixels[None])["encoding"][0])


class Scale:
    """Mean and spread of an inner product over all items, without going through them:

        mean_i q·v_i = q·v̄,   var_i q·v_i = qᵀ C q,   C = cov(v)

    Example:
        >>> rows, query = np.random.default_rng(0).normal(size=(50, 3)), np.array([1.0, 2.0, 3.0])
        >>> scale = Scale(rows)
        >>> bool(np.allclose(scale.mean(query), (rows @ query).mean(), atol=1e-6))
        True
        >>> bool(np.allclose(scale.deviation(query), (rows @ query).std()))
        True
    """

    def __init__(self, rows: np.ndarray) -> None:
        self.average = rows.mean(axis=0, dtype="float64").astype("float32")
        self._covariance = np.cov(rows.T, bias=True).astype("float32")

    def mean(self, query: np.ndarray) -> float:
        return float(query @ self.average)

    def deviation(self, query: np.ndarray) -> float:
        return float(np.sqrt(max(query @ self._covariance @ query, 0.0)))


def centred(rows: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """(e − μ) / ‖e − μ‖, as `recfuse_lib.encoders.centring.Centring` does it; a row that equals μ becomes zero."""
    away = np.asarray(rows, "float32") - mean
    lengths = np.linalg.norm(away, axis=1, keepdims=True)
    return np.asarray(away / np.where(lengths > 0, lengths, 1), "float32")
