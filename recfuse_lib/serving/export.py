"""From a trained joint model to a bundle.

Taught in notebook 18.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import recfuse_lib
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import in_order
from recfuse_lib.encoders.text import TextEncoder
from recfuse_lib.models.joint import JointModel
from recfuse_lib.pretrained import store
from recfuse_lib.serving import index
from recfuse_lib.serving.bundle import Bundle, BundleError, write_bundle
from recfuse_lib.serving.combination import CANDIDATES, Combination
from recfuse_lib.serving.content import Content

LARGEST_DIFFERENCE = 1e-3
"""Between a graph's answer in ONNX Runtime and in Keras, relative to the largest number of the answer."""


def export_bundle(
    store: Path | str,
    version: str,
    model: JointModel,
    dataset: Dataset,
    content: Content,
    *,
    metrics: Mapping[str, Any],
    provenance: Mapping[str, Any],
    combination: Combination = Combination(),  # noqa: B008
    text_encoder: TextEncoder | str | None = "minilm",
    picture_encoder: Any = None,
) -> Bundle:
    """Writes everything that a service needs into one folder.

    Every graph is answered by ONNX Runtime and by Keras first; a bundle whose graphs disagree is not written. An item
    that nobody has met gets the popularity of the median item: the model has never seen one and would say 0, which is
    more than most known items have.

    Args:
        store: The folder of all versions.
        version: The name of the bundle.
        model: Trained on `dataset` with `content`.
        dataset: Its catalogue and interactions; ids become text.
        content: The encodings that the model was trained with.
        metrics: What the model achieved, and on what.
        provenance: Seeds and whatever else tells where the model came from; checksums of the data and of the code are
            added here.
        combination: The ranker's weights, from `recfuse_lib.serving.combination.choose`.
        text_encoder: The text encoder that `content` was made with, itself or its name, or None for a bundle that
            cannot hear words.
        picture_encoder: The Keras model that made the dimension "image" of `content`, if it has one.

    Raises:
        BundleError: The version is there already, the disk is full, or a graph disagrees with Keras.
    """
    from recfuse_lib.serving import graphs

    built = [graphs.item_tower(model), graphs.user_tower(model), graphs.ranker(model, combination)]
    if picture_encoder is not None:
        built.append(graphs.picture_encoder(picture_encoder))
    encoder = text_encoder
    if isinstance(encoder, str):
        encoder = TextEncoder.from_pretrained(encoder, progress=False)

    def fill(folder: Path) -> None:
        for name, array in {**_model_arrays(model, content), **_history_arrays(dataset)}.items():
            np.save(folder / "arrays" / f"{name}.npy", array, allow_pickle=False)
        rows = _catalogue(dataset)
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (folder / "catalogue.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / "users.json").write_text(json.dumps([str(one) for one in dataset.user_ids]), encoding="utf-8")
        index.write(index.build(retrieval_vectors(folder / "arrays")), folder / "index.faiss")
        if encoder is not None:
            encoder._tokenizer.save(str(folder / "tokenizer.json"))
            export_text_encoder(encoder, folder / "onnx" / "text_encoder.onnx")
        for graph in built:
            export_graph(graph, folder / "onnx" / f"{graph.name}.onnx")
        for graph in built[:2]:
            with _quiet():
                graph.export(str(folder / "saved_model" / graph.name / "1"), format="tf_saved_model", verbose=False)
                (folder / "litert").mkdir(exist_ok=True)
                graph.export(str(folder / "litert" / f"{graph.name}.tflite"), format="litert", verbose=False)
        schema = {
            "dimension": model.network.dimension,
            "history_length": model.history_length,
            "mean_rating": model.network.ranking.mean_rating,
            "candidates": CANDIDATES,
            "combination": {"rating": combination.rating, "count": combination.count},
            "dimensions": content.encodings.widths,
            "max_tokens": encoder and encoder.max_tokens,
            "n_items": dataset.n_items,
            "n_users": dataset.n_users,
            "catalogue": sorted({name for row in rows for name in row}),
            "graphs": {graph.name: _interface(graph) for graph in built},
        }
        (folder / "schema.json").write_text(json.dumps(schema, indent=1), encoding="utf-8")

    made = {"recfuse_lib": recfuse_lib.__version__, "code": code_checksum(), "data": data_checksum(dataset)}
    return write_bundle(store, version, fill, metrics, {**made, **provenance})


def export_graph(graph: Any, path: Path) -> None:
    """Writes a Keras model as ONNX and compares the answers of the two.

    Args:
        graph: A model of `recfuse_lib.serving.graphs`.
        path: The file.

    Raises:
        BundleError: Their answers differ.
    """
    random = np.random.default_rng(0)
    inputs = {
        name: random.uniform(0.5, 1.5, _sizes(tensor)).astype(tensor.dtype) for name, tensor in graph.input.items()
    }
    expected = {name: np.asarray(value) for name, value in graph(inputs).items()}
    with _quiet():
        graph.export(str(path), format="onnx", verbose=False)
    _compare_with_keras(path, inputs, expected)


def export_text_encoder(encoder: TextEncoder, path: Path) -> None:
    """Writes a text encoder as ONNX and compares its answers, to padded texts too, with Keras.

    Args:
        encoder: The encoder.
        path: The file.

    Raises:
        BundleError: Their answers differ.
    """
    from recfuse_lib.serving.text_graph import text_graph

    path.write_bytes(text_graph(encoder).SerializeToString())
    tokens = np.random.default_rng(0).integers(0, encoder.backbone.vocabulary_size, (3, 9)).astype("int32")
    attention = (np.arange(9) < [[9], [5], [1]]).astype("float32")
    expected = np.asarray(encoder.forward(tokens, attention))
    _compare_with_keras(path, {"token_ids": tokens, "attention": attention}, {"encoding": expected})


def retrieval_vectors(arrays: Path) -> np.ndarray:
    """[z_i, β_i] of every item, float32 (I, D + 1): with [p_u, 1] the inner product is the score of retrieval."""
    vectors = np.load(arrays / "parts.npy").sum(axis=1)
    return np.asarray(np.c_[vectors, np.load(arrays / "popularity.npy")], "float32")


def data_checksum(dataset: Dataset) -> str:
    """The sha256 of the interactions and the catalogue, whatever file they came from."""
    return store.sha256(*(table.to_csv(index=False) for table in (dataset.interactions, dataset.catalogue)))


def code_checksum() -> str:
    """The sha256 of the library's source files."""
    root = Path(recfuse_lib.__file__).parent
    named = ((path.relative_to(root).as_posix(), path) for path in sorted(root.rglob("*.py")))
    return store.sha256(*(part for pair in named for part in pair))


def _model_arrays(model: JointModel, content: Content) -> dict[str, np.ndarray]:
    from keras import ops

    parts = np.stack(list(model.item_tower.parts().values()), axis=1)
    weights = {
        "popularity": model.network.popularity,
        "item_bias": model.network.ranking.item_bias,
        "user_bias": model.network.ranking.user_bias,
        "persons": model.user_tower.users,
    }
    arrays = {name: np.array(ops.convert_to_numpy(weight)) for name, weight in weights.items()}
    met = ops.convert_to_numpy(model.item_tower.available) > 0
    arrays["popularity"][~met] = np.median(arrays["popularity"][met])
    arrays |= {"parts": parts, "available": met, "seen": content.seen}
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


def _compare_with_keras(path: Path, inputs: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    answers = dict(zip(names, session.run(names, inputs), strict=True))
    for name, value in expected.items():
        error = np.abs(answers[name] - value).max() / np.abs(value).max()
        if not error < LARGEST_DIFFERENCE:
            raise BundleError(f"{path.stem}: {name} differs from Keras by {error:.2g}; the graph was not exported")


def _interface(graph: Any) -> dict[str, dict[str, list[Any]]]:
    return {
        side: {name: [str(tensor.dtype), *tensor.shape] for name, tensor in getattr(graph, side).items()}
        for side in ("input", "output")
    }


def _sizes(tensor: Any) -> list[int]:
    return [3 if size is None else size for size in tensor.shape]


@contextmanager
def _quiet() -> Iterator[None]:
    """The converters tell their progress to the log and, past Python, to the standard error."""
    log = logging.getLogger("tf2onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
