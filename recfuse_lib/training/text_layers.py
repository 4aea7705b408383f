"""The upper part of a text encoder as a layer that learns, and the outputs of the frozen part below it, computed once.

Taught in notebook 09.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
from keras import ops

from recfuse_lib.encoders.text import BATCHES_AT_ONCE, TOKENS_PER_BATCH, TextEncoder, masked_mean

WIDTH_STEP = 8
"""Texts are padded to multiples of this many tokens, so that few shapes are compiled."""


class FrozenActivations:
    """What enters the lowest layer that learns, for every text: hidden states, or token ids if the embeddings learn.

    Nothing below that layer ever changes, so it is computed once. Texts differ in length; they lie one after the other.

    Args:
        encoder: The text encoder.
        texts: One text an item, (I,).
        start: The lowest layer that learns; -1 for the embeddings.

    Attributes:
        lengths: Tokens of each text, (I,).
        values: float32 (sum of lengths, D), or int32 (sum of lengths,) token ids where `start` is -1.
        start: As given.
    """

    def __init__(self, encoder: TextEncoder, texts: Iterable[str], start: int) -> None:
        tokens = encoder.tokenize(texts)
        self.start = start
        self.lengths = np.array([len(row) for row in tokens], "int64")
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)])
        self.values = np.concatenate([np.asarray(row, "int32") for row in tokens])
        if start >= 0:
            self.values = self._states(encoder)

    def _states(self, encoder: TextEncoder) -> np.ndarray:
        run = compiled(lambda ids: run_layers(encoder.backbone, embed(encoder.backbone, ids), 0, self.start))
        states = np.empty((len(self.values), encoder.dimensions), "float32")
        for items, found in self.run(run):
            states[self._places(items)] = found
        return states

    def run(self, function: Any) -> Iterator[tuple[np.ndarray, Any]]:
        """(items of one batch, `function` of their values) for all texts, two batches at a time."""
        parts = self.batches(np.arange(len(self.lengths)))
        with ThreadPoolExecutor(BATCHES_AT_ONCE) as pool:
            yield from zip(parts, pool.map(lambda items: function(self.exact(items)), parts), strict=True)

    @property
    def megabytes(self) -> float:
        """Size of what is kept, in 10⁶ bytes."""
        return self.values.nbytes / 1e6

    def batches(self, items: np.ndarray) -> list[np.ndarray]:
        """Items whose texts have the same number of tokens, about `TOKENS_PER_BATCH` tokens at a time."""
        parts = []
        for length in np.unique(self.lengths[items]):
            same = items[self.lengths[items] == length]
            parts += np.array_split(same, -(-len(same) * int(length) // TOKENS_PER_BATCH))
        return parts

    def _places(self, items: np.ndarray) -> np.ndarray:
        """Rows of `values` for items of equal length, (M, T)."""
        return np.asarray(self.offsets[items][:, None] + np.arange(self.lengths[items[0]]))

    def exact(self, items: np.ndarray) -> np.ndarray:
        """The values of items of equal length, (M, T, D) or (M, T)."""
        return np.asarray(self.values[self._places(items)])

    def padded(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The values of any items, and a mask that is 1 for a token and 0 for padding, float32 (M, T).

        T is the longest length, rounded up to a multiple of `WIDTH_STEP`.
        """
        width = -(-int(self.lengths[items].max()) // WIDTH_STEP) * WIDTH_STEP
        place = np.arange(width)
        mask = place < self.lengths[items][:, None]
        values = self.values[np.where(mask, self.offsets[items][:, None] + place, 0)]
        values[~mask] = 0
        return values, mask.astype("float32")


class TrainableLayers(keras.layers.Layer):
    """The encoder from one layer upwards, then mean pooling and unit length.

    Args:
        encoder: The text encoder; its policy has been applied.
        start: The lowest layer that runs here; -1 runs the embeddings too.
    """

    def __init__(self, encoder: TextEncoder, start: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.backbone, self.start = encoder.backbone, start
        self.built = True

    def call(self, values: Any, mask: Any = None, training: bool = False) -> Any:
        """Encodings (M, D) of texts, not centred.

        Args:
            values: What `FrozenActivations` keeps of them, (M, T, D) or (M, T).
            mask: 1 for a token and 0 for padding, (M, T); None when nothing is padded.
            training: Whether the encoder's dropout is at work.
        """
        if self.start < 0:
            values = embed(self.backbone, values, training)
        states = run_layers(self.backbone, values, max(self.start, 0), None, mask, training)
        return ops.normalize(masked_mean(ops.cast(states, "float32"), mask), axis=-1)


def embed(backbone: Any, token_ids: Any, training: bool = False) -> Any:
    """What enters the first transformer layer of a KerasHub BERT, (M, T, D)."""
    states = backbone.token_embedding(token_ids)
    states = states + backbone.position_embedding(states) + backbone.segment_embedding(ops.zeros_like(token_ids))
    return backbone.embeddings_dropout(backbone.embeddings_layer_norm(states), training=training)


def run_layers(
    backbone: Any, states: Any, first: int, last: int | None, mask: Any = None, training: bool = False
) -> Any:
    """Hidden states after the transformer layers `first` … `last` − 1, (M, T, D).

    KerasHub's own parts, but all tokens of a batch lie in one matrix where a layer looks at each token by itself: the
    gradient of a dense layer is then one product. On (M, T, D) TensorFlow would make one for each of the M texts and
    add them up.
    """
    shape = ops.shape(states)
    allowed = None if mask is None else ops.expand_dims(ops.cast(mask, "bool"), 1)
    for layer in backbone.transformer_layers[first:last]:
        states = ops.cast(states, layer.compute_dtype)
        attended = layer._self_attention_layer(states, states, attention_mask=allowed, training=training)
        attended = layer._self_attention_dropout(attended, training=training)
        rows = ops.reshape(states + attended, (-1, backbone.hidden_dim))
        rows = layer._self_attention_layer_norm(rows)
        fed = layer._feedforward_output_dense(layer._feedforward_intermediate_dense(rows))
        rows = layer._feedforward_layer_norm(rows + layer._feedforward_dropout(fed, training=training))
        states = ops.reshape(rows, shape)
    return states


def compiled(function: Any, width: int | None = None) -> Any:
    """A function of one array, from NumPy to NumPy, as quick as the backend has it without compiling every shape.

    Args:
        function: Of token ids, int32 (M, T), or of hidden states, float32 (M, T, D).
        width: D; None for token ids.
    """
    backend = keras.backend.backend()
    dtype = "int32" if width is None else "float32"
    if backend == "tensorflow":
        import tensorflow as tf

        signature = tf.TensorSpec([None, None] if width is None else [None, None, width], dtype)
        graph = tf.function(function, input_signature=[signature], autograph=False)
        return lambda values: graph(tf.convert_to_tensor(values, dtype)).numpy()
    if backend == "torch":
        import torch

        function = torch.no_grad()(function)
    return lambda values: ops.convert_to_numpy(function(ops.convert_to_tensor(values, dtype)))
