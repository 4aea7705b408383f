"""`recfuse export`: what a model recommends as a table, or the model for another server. Taught in notebook 18."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recfuse_lib.data.splits import Queries
from recfuse_lib.models.two_towers import TwoTowers
from recfuse_lib.pretrained import store
from recfuse_lib.serving.bundle import Bundle, BundleError
from recfuse_lib.serving.recommender import Recommender
from recfuse_lib.serving.text_encoder import IR_VERSION, OPSET, Graph, session

LARGEST_DIFFERENCE = 1e-4
"""Between the scores of the graph and of NumPy."""


def to_parquet(folder: Path, out: Path, k: int) -> int:
    """Writes the k best items of every person, best first, with score and predicted stars; returns the rows."""
    recommender = Recommender(Bundle.load(folder))
    rows = []
    for user in recommender.people:
        items = recommender.recommend(recommender.history_of(user), k, reasons=False)["items"]
        rows += [
            (user, rank, item["item_id"], item["title"], item["score"], item["predicted_rating"])
            for rank, item in enumerate(items, start=1)
        ]
    columns = ["user_id", "rank", "item_id", "title", "score", "predicted_rating"]
    with store.replacing(out) as file:
        pd.DataFrame(rows, columns=columns).to_parquet(file)
    return len(rows)


def to_onnx(folder: Path, out: Path) -> list[Path]:
    """Writes the retriever as a graph, and the encoder of texts where there is one; returns the files.

    `retriever.onnx` maps `history`, int64 (B, L) item codes, oldest first, and `history_rating`, float32 (B, L), 0
    where padded, to `scores`, float32 (B, I), as for a person whom the model does not know. Ranking by all dimensions
    reads the history's own tables, which is no graph: it stays with this library.
    Raises `BundleError`: the graph does not score as NumPy does; nothing is written.
    """
    bundle = Bundle.load(folder)
    retriever = bundle.model().retriever
    assert isinstance(retriever, TwoTowers)
    graph = _retriever_graph(retriever)
    out.mkdir(parents=True, exist_ok=True)
    store.write(out / "retriever.onnx", graph.SerializeToString())
    _check(out / "retriever.onnx", retriever)
    written = [out / "retriever.onnx"]
    if bundle.text_encoder is not None:
        for name in (bundle.text_encoder.name, "tokenizer.json"):
            shutil.copyfile(bundle.folder / name, out / name)
            written.append(out / name)
    return written


def _retriever_graph(retriever: TwoTowers) -> Any:
    from onnx import TensorProto, helper

    graph, length = Graph(), retriever.history_length
    back = np.arange(length - 1, -1, -1)
    recency = retriever.floor + (1 - retriever.floor) * np.exp2(-back / retriever.half_life)
    level = graph.add(
        "Cast", graph.add("Round", graph.add("Mul", "history_rating", graph.constant(2.0))), to=TensorProto.INT64
    )
    by_level = np.where(np.arange(len(retriever.rating_weight)) > 0, retriever.rating_weight, 0)
    weight = graph.add("Mul", graph.add("Gather", graph.constant(by_level), level), graph.constant(recency))
    squares = graph.add("ReduceSum", graph.add("Mul", weight, weight), graph.constant([1]), keepdims=1)
    norm = graph.add("Sqrt", graph.add("Add", squares, graph.constant(1.0)))
    weight = graph.add("Unsqueeze", graph.add("Div", weight, norm), graph.constant([1]))
    past = graph.add("Gather", graph.constant(retriever.vectors[:, :-1]), "history")
    recent = graph.add("Squeeze", graph.add("MatMul", weight, past), graph.constant([1]))
    interest = graph.add(
        "Add", graph.add("MatMul", recent, graph.constant(retriever.transform)), graph.constant(retriever.users[-1])
    )
    products = graph.add("MatMul", interest, graph.constant(retriever.vectors[:, :-1].T))
    graph.add("Add", products, graph.constant(retriever.vectors[:, -1]), name="scores")
    inputs = ("history", TensorProto.INT64), ("history_rating", TensorProto.FLOAT)
    described = helper.make_graph(
        graph.nodes,
        "retriever",
        [helper.make_tensor_value_info(name, kind, ["batch", length]) for name, kind in inputs],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", len(retriever.vectors)])],
        graph.weights,
    )
    return helper.make_model(described, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _check(path: Path, retriever: TwoTowers) -> None:
    random, length, n_items = np.random.default_rng(0), retriever.history_length, len(retriever.vectors)
    item = random.integers(0, n_items, (3, length))
    rating = random.integers(1, 11, (3, length)) / 2
    rating[1, : length // 2] = 0
    answer = session(path).run(["scores"], {"history": item, "history_rating": rating.astype("float32")})[0]
    there = rating > 0
    indptr = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
    stranger = np.full(3, len(retriever.users) - 1, "int32")
    known = item[there].astype("int32"), rating[there].astype("float32"), np.zeros(int(there.sum()), "int64")
    error = float(np.abs(answer - retriever.score(Queries(stranger, indptr, *known, n_items))).max())
    if not error < LARGEST_DIFFERENCE:
        path.unlink()
        raise BundleError(f"{path.stem} differs from the model by {error:.2g}; it was not exported")
