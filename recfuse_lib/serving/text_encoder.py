"""The text encoder without Keras: an ONNX graph, written node by node from its weights. A converter would trace the
Keras model and copy its weights many times, 7 GB for an encoder of 91 MB. Taught in notebook 18.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recfuse_lib.encoders.text import TextEncoder
from recfuse_lib.serving.bundle import Bundle, BundleError

LARGEST_DIFFERENCE = 1e-3  # between the encodings of ONNX Runtime and Keras, relative to the largest number
OPSET, IR_VERSION = 20, 10  # of ONNX: the first with GELU as one operator, and the format that goes with it


class TextEncoderSession:
    """Encodes texts as `recfuse_lib.encoders.text.TextEncoder` does."""

    def __init__(self, bundle: Bundle) -> None:
        from tokenizers import Tokenizer

        self._session = session(bundle.folder / "text_encoder.onnx")
        self._tokenizer = Tokenizer.from_file(str(bundle.folder / "tokenizer.json"))

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Encodes texts as unit vectors, float32 (N, width); a text that is too long loses its end."""
        encodings = []
        for text in texts:
            tokens = np.array([self._tokenizer.encode(text).ids], "int32")
            inputs = {"token_ids": tokens, "attention": np.ones(tokens.shape, "float32")}
            encodings += self._session.run(["encoding"], inputs)
        return np.concatenate(encodings)


def export_text_encoder(encoder: TextEncoder, folder: Path) -> None:
    """Writes `text_encoder.onnx` and `tokenizer.json`; raises BundleError where the encodings differ from Keras's."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(encoder._tokenizer.to_str())
    tokenizer.enable_truncation(encoder.max_tokens)
    tokenizer.save(str(folder / "tokenizer.json"))
    path = folder / "text_encoder.onnx"
    path.write_bytes(_text_graph(encoder).SerializeToString())
    tokens = np.random.default_rng(0).integers(0, encoder.backbone.vocabulary_size, (3, 9)).astype("int32")
    attention = (np.arange(9) < [[9], [5], [1]]).astype("float32")
    expected = np.asarray(encoder.forward(tokens, attention))
    answer = session(path).run(["encoding"], {"token_ids": tokens, "attention": attention})[0]
    error = np.abs(answer - expected).max() / np.abs(expected).max()
    if not error < LARGEST_DIFFERENCE:
        raise BundleError(f"{path.stem} differs from Keras by {error:.2g}; it was not exported")


def session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _text_graph(encoder: TextEncoder) -> Any:
    """From `token_ids` int32 (B, T) and `attention` (B, T), 0 where padded, to unit vectors `encoding` (B, D)."""
    from onnx import TensorProto, helper

    graph, backbone = Graph(), encoder.backbone
    positions = _array(backbone.position_embedding.position_embeddings)
    segment = _array(backbone.segment_embedding.embeddings)[0]
    length = graph.add("Shape", "token_ids", start=1, end=2)
    position = graph.add("Slice", graph.constant(positions + segment), graph.constant([0]), length)
    tokens = graph.add("Gather", graph.constant(_array(backbone.token_embedding.embeddings)), "token_ids")
    states = graph.norm(graph.add("Add", tokens, position), backbone.embeddings_layer_norm)
    # What a token would pay to padding, before the softmax.
    padding = graph.add("Mul", graph.add("Sub", graph.constant(1.0), "attention"), graph.constant(-1e9))
    padding = graph.add("Unsqueeze", padding, graph.constant([1, 2]))
    for layer in backbone.transformer_layers:
        attended = _attention(graph, layer._self_attention_layer, states, padding)
        states = graph.norm(graph.add("Add", states, attended), layer._self_attention_layer_norm)
        fed = graph.add("Gelu", graph.dense(states, layer._feedforward_intermediate_dense))
        fed = graph.dense(fed, layer._feedforward_output_dense)
        states = graph.norm(graph.add("Add", states, fed), layer._feedforward_layer_norm)
    weights = graph.add("Unsqueeze", "attention", graph.constant([2]))
    total = graph.add("ReduceSum", graph.add("Mul", states, weights), graph.constant([1]), keepdims=0)
    mean = graph.add("Div", total, graph.add("ReduceSum", "attention", graph.constant([1])))
    graph.add("LpNormalization", mean, name="encoding", axis=-1, p=2)
    kinds, tensor = {"token_ids": TensorProto.INT32, "attention": TensorProto.FLOAT}, helper.make_tensor_value_info
    inputs = [tensor(name, kind, ["batch", "length"]) for name, kind in kinds.items()]
    outputs = [tensor("encoding", TensorProto.FLOAT, ["batch", encoder.dimensions])]
    described = helper.make_graph(graph.nodes, "text_encoder", inputs, outputs, graph.weights)
    return helper.make_model(described, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _attention(graph: Graph, layer: Any, states: str, padding: str) -> str:
    """softmax(Q Kᵀ / √d + padding) V of every head, and their projection."""
    size, heads, width = layer._query_dense.kernel.shape
    by_head = graph.constant([0, 0, heads, width])
    query, key, value = (
        graph.add("Reshape", graph.dense(states, one), by_head)
        for one in (layer._query_dense, layer._key_dense, layer._value_dense)
    )
    query = graph.add("Transpose", query, perm=[0, 2, 1, 3])
    scores = graph.add("MatMul", query, graph.add("Transpose", key, perm=[0, 2, 3, 1]))
    scores = graph.add("Add", graph.add("Mul", scores, graph.constant(1 / math.sqrt(width))), padding)
    value = graph.add("Transpose", value, perm=[0, 2, 1, 3])
    mixed = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), value)
    joined = graph.add("Reshape", graph.add("Transpose", mixed, perm=[0, 2, 1, 3]), graph.constant([0, 0, size]))
    return graph.dense(joined, layer._output_dense)


class Graph:
    def __init__(self) -> None:
        from onnx import helper, numpy_helper

        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._node, self._tensor = helper.make_node, numpy_helper.from_array

    def constant(self, value: Any) -> str:
        name = f"weight_{len(self.weights)}"
        array = np.array(value, "int64" if isinstance(value, list) else "float32")
        self.weights.append(self._tensor(array, name))
        return name

    def add(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        output = name or f"{kind}_{len(self.nodes)}"
        self.nodes.append(self._node(kind, list(inputs), [output], **attributes))
        return output

    def dense(self, states: str, layer: Any) -> str:
        """x W + b over the last axis; Keras keeps the heads of attention as an axis of W and b."""
        kernel, bias = _array(layer.kernel), _array(layer.bias)
        product = self.add("MatMul", states, self.constant(kernel.reshape(-1, bias.size)))
        return self.add("Add", product, self.constant(bias.ravel()))

    def norm(self, states: str, layer: Any) -> str:
        weights = self.constant(_array(layer.gamma)), self.constant(_array(layer.beta))
        return self.add("LayerNormalization", states, *weights, axis=-1, epsilon=float(layer.epsilon))


def _array(weight: Any) -> np.ndarray:
    from keras import ops

    return np.asarray(ops.convert_to_numpy(weight), "float32")
