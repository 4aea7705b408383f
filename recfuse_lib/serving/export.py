"""Exports a trained joint model as a bundle.

Taught in notebook 18.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import faiss
import keras
import numpy as np
import safetensors.numpy

import recfuse_lib
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import in_order
from recfuse_lib.encoders.attributes import AttributeEncoder
from recfuse_lib.encoders.centring import Centring
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.encoders.text import TextEncoder, encode_texts
from recfuse_lib.models import index
from recfuse_lib.models.item_tower import ENCODING_SCALE
from recfuse_lib.models.joint import JointModel
from recfuse_lib.pretrained.store import sha256
from recfuse_lib.serving.bundle import Bundle, write_bundle
from recfuse_lib.serving.ranker import CANDIDATES, RankerWeights
from recfuse_lib.serving.text_encoder import export_text_encoder


@dataclasses.dataclass(frozen=True, eq=False)
class CatalogueEncodings:
    """Centred encodings, and the means over the items `seen` in the history, bool (I,), which also centre new items."""

    encodings: ItemEncodings
    means: Mapping[str, np.ndarray]
    seen: np.ndarray

    @classmethod
    def of(cls, raw: ItemEncodings, seen: np.ndarray) -> Self:
        """Centres encodings; at least two of the seen items must have each dimension."""
        centred = raw.centred(seen)
        fitted = {name: Centring().fit(matrix[seen & raw.present[name]]) for name, matrix in raw.matrices.items()}
        return cls(centred, {name: one.mean for name, one in fitted.items() if one.mean is not None}, seen)

    @classmethod
    def of_dataset(cls, dataset: Dataset, seen: np.ndarray) -> Self:
        """Encodes the text of every item by MiniLM, and its attributes."""
        attributes, known = AttributeEncoder(dataset.roles).fit(dataset.catalogue[seen]).transform(dataset.catalogue)
        matrices = {"text": encode_texts(dataset.texts()), "attributes": attributes}
        return cls.of(ItemEncodings.of(matrices, {"attributes": known}), seen)


def export_bundle(
    store: Path | str,
    version: str,
    model: JointModel,
    dataset: Dataset,
    content: CatalogueEncodings,
    *,
    metrics: Mapping[str, Any],
    provenance: Mapping[str, Any],
    ranker: RankerWeights = RankerWeights(),  # noqa: B008
    text_encoder: TextEncoder | str | None = "minilm",
) -> Bundle:
    """Writes all that a service needs into one folder.

    The model was trained on `dataset`, whose ids become text, with `content`; `text_encoder` is what encoded it, or its
    name, None for a bundle that cannot read words. Provenance gains checksums of data and code. An item without
    interactions gets the popularity of the median item: its untrained 0 is more than most known items have.

    Raises:
        BundleError: The version exists, the disk is full, or the text encoder disagrees with Keras.
    """
    encoder = text_encoder
    if isinstance(encoder, str):
        encoder = TextEncoder.from_pretrained(encoder, progress=False)

    def fill(folder: Path) -> None:
        arrays = {**_model_arrays(model, content), **_history_arrays(dataset)}
        for name, array in arrays.items():
            np.save(folder / "arrays" / f"{name}.npy", array, allow_pickle=False)
        safetensors.numpy.save_file(weights(model), folder / "weights.safetensors")
        # With [p_u, 1] the inner product is the score of retrieval.
        vectors = np.c_[arrays["parts"].sum(axis=1), arrays["popularity"]]
        faiss.write_index(index.build(vectors), str(folder / "index.faiss"))
        if encoder is not None:
            export_text_encoder(encoder, folder)
        rows = _catalogue(dataset)
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (folder / "catalogue.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / "users.json").write_text(json.dumps([str(one) for one in dataset.user_ids]), encoding="utf-8")
        schema = {
            "dimension": model.network.dimension,
            "history_length": model.history_length,
            "mean_rating": model.network.ranking.mean_rating,
            "encoding_scale": ENCODING_SCALE,
            "candidates": CANDIDATES,
            "ranker": dataclasses.asdict(ranker),
            "dimensions": content.encodings.widths,
            "attributes": attribute_names(dataset, content.seen) if "attributes" in content.means else [],
            "max_tokens": encoder and encoder.max_tokens,
            "catalogue": sorted({name for row in rows for name in row}),
        }
        (folder / "schema.json").write_text(json.dumps(schema, indent=1), encoding="utf-8")

    made = {"recfuse_lib": recfuse_lib.__version__, "code": code_checksum(), "data": data_checksum(dataset)}
    return write_bundle(store, version, fill, metrics, {**made, **provenance})


def weights(model: JointModel) -> dict[str, np.ndarray]:
    """Returns all that training changes, by name."""
    arrays = {name: keras.ops.convert_to_numpy(weight) for name, weight in _variables(model).items()}
    return {name: np.array(array, order="C") for name, array in arrays.items()}


def assign(model: JointModel, named: Mapping[str, np.ndarray]) -> None:
    """Sets the weights that `weights` returned for a model of the same size."""
    for name, variable in _variables(model).items():
        variable.assign(named[name])


def attribute_names(dataset: Dataset, seen: np.ndarray) -> list[str]:
    """Names the columns of the dimension "attributes", in order."""
    return list(AttributeEncoder(dataset.roles).fit(dataset.catalogue[seen]).names)


def data_checksum(dataset: Dataset) -> str:
    """Computes the sha256 of the interactions and the catalogue, whatever file they came from."""
    return sha256(*(table.to_csv(index=False) for table in (dataset.interactions, dataset.catalogue)))


def code_checksum() -> str:
    """Computes the sha256 of the library's source files."""
    root = Path(recfuse_lib.__file__).parent
    named = ((path.relative_to(root).as_posix(), path) for path in sorted(root.rglob("*.py")))
    return sha256(*(part for pair in named for part in pair))


def _variables(model: JointModel) -> dict[str, Any]:
    items, users, ranking = model.item_tower, model.user_tower, model.network.ranking
    named = {
        "correction": items.correction,
        "gate_bias": items.gate_bias,
        "transform": users.transform,
        "users": users.users,
        "rating_weight": users.rating_weight,
        "recency": users.recency,
        "popularity": model.network.popularity,
        "user_bias": ranking.user_bias,
        "item_bias": ranking.item_bias,
        "hidden_kernel": ranking.first.kernel,
        "hidden_bias": ranking.first.bias,
        "last_kernel": ranking.last.kernel,
        "last_bias": ranking.last.bias,
    }
    for name, kernel, gate in zip(items.names, items.kernels, items.gate_kernels, strict=True):
        named |= {f"kernel_{name}": kernel, f"gate_{name}": gate}
    assert len(named) == len(model.network.trainable_weights)
    return named


def _model_arrays(model: JointModel, content: CatalogueEncodings) -> dict[str, np.ndarray]:
    met = keras.ops.convert_to_numpy(model.item_tower.available) > 0
    popularity = np.array(keras.ops.convert_to_numpy(model.network.popularity))
    popularity[~met] = np.median(popularity[met])
    parts = np.stack(list(model.item_tower.parts().values()), axis=1)
    arrays = {"parts": parts, "popularity": popularity, "available": met, "seen": content.seen}
    arrays |= {f"mean_{name}": mean for name, mean in content.means.items()}
    if "text" in content.encodings.matrices:
        arrays["text"] = content.encodings.matrices["text"]
    return arrays


def _history_arrays(dataset: Dataset) -> dict[str, np.ndarray]:
    events = in_order(dataset.events())
    return {
        "history_start": np.searchsorted(events["user"], np.arange(dataset.n_users + 1)),
        "history_item": events["item"].to_numpy("int32"),
        "history_rating": events["rating"].to_numpy("float32"),
        "history_timestamp": events["timestamp"].to_numpy("int64"),
        "counts": np.bincount(events["item"], minlength=dataset.n_items),
    }


def _catalogue(dataset: Dataset) -> list[dict[str, Any]]:
    table = dataset.catalogue.assign(item_id=dataset.catalogue["item_id"].astype("str")).astype(object)
    rows = table.where(table.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items() if value is not None} for row in rows]
