"""A causal transformer that reads a history with its ratings and times, and crosses of attributes.
Taught in notebook 05.
"""

from typing import Any

import keras
import keras_rs
import numpy as np
from keras import ops

from recfuse_lib.models.user_tower import RATING_LEVELS

TIME_BUCKETS = 16
"""Buckets of a time span: the sixteenth begins at 4^15 seconds, 34 years."""


def time_bucket(seconds: Any) -> Any:
    """Computes the bucket of time spans in whole seconds: ⌊log₄(1 + seconds)⌋, from 0 to `TIME_BUCKETS` − 1.

    >>> ops.convert_to_numpy(time_bucket(np.array([0, 2, 3, 3_600, 86_400])))
    array([0, 0, 1, 5, 8], dtype=int32)
    """
    span = ops.cast(ops.maximum(seconds, 0), "float32")
    # A little is added because the logarithm of an exact power of 4 may come out just below the whole number.
    bucket = ops.floor(ops.log1p(span) / float(np.log(4.0)) + 1e-5)
    return ops.cast(ops.minimum(bucket, TIME_BUCKETS - 1), "int32")


class AttributeCrosses(keras.layers.Layer):
    """Multiplies attributes with a mixture of what came before, layer by layer (DCN v2).

        x₀ = a_i,   x_{l+1} = x₀ ∘ (W_l x_l + b_l) + x_l,   output V x_n        (1)

    After n layers x_n holds products of up to n + 1 attributes: "a comedy *and* from the eighties".

    Source: Wang et al. (2021), DCN V2: Improved Deep and Cross Network, WWW, Eq. 1.
    """

    def __init__(self, width: int, dimension: int, layers: int = 2) -> None:
        super().__init__()
        self.crosses = [keras_rs.layers.FeatureCross() for _ in range(layers)]
        self.project = keras.layers.Dense(dimension, use_bias=False)
        for cross in self.crosses:
            cross(np.zeros((1, width), "float32"))  # its `build` leaves the kernel to the first call
        self.project.build((None, width))
        self.built = True

    def call(self, attributes: Any) -> Any:
        crossed = attributes
        for cross in self.crosses:
            crossed = cross(attributes, crossed)
        return self.project(crossed)


class CausalAttention(keras.layers.Layer):
    """Lets every position look back at what came before it, and know how many steps and how long ago that was.

        a_tj = softmax_{j ≤ t} (q_tᵀ k_j / √d + σ_{t−j} + τ_{bucket(time_t − time_j)}),   output O Σ_j a_tj v_j     (2)

    q, k and v are linear in the input; σ and τ are learned for each head, of width d = D / heads. Padding is never
    looked at, but a position that is itself padding sees itself, so that the softmax has something to sum over.

    References:
        Vaswani et al. (2017), Attention Is All You Need, NIPS, Eq. 1.
        Li, Wang and McAuley (2020), Time Interval Aware Self-Attention for Sequential Recommendation, WSDM (τ).
    """

    def __init__(self, dimension: int, length: int, heads: int = 2) -> None:
        super().__init__()
        self.dimension, self.length, self.heads = dimension, length, heads
        self.projections = [keras.layers.Dense(dimension, name=name) for name in ("query", "key", "value", "output")]
        for projection in self.projections:
            projection.build((None, None, dimension))
        self.step_bias = self.add_weight(shape=(length, heads), initializer="zeros", name="step_bias")
        self.time_bias = self.add_weight(shape=(TIME_BUCKETS, heads), initializer="zeros", name="time_bias")
        self.built = True

    def call(self, inputs: Any, exists: Any, spans: Any) -> Any:
        """Inputs (B, L, D) → (B, L, D), given which positions exist (B, L) and the `time_bucket`s (B, L, L) [t, j]."""
        value = self._split(self.projections[2](inputs))
        mixed = ops.einsum("bhtj,bjhd->bthd", self.weights_of(inputs, exists, spans), value)
        return self.projections[3](ops.reshape(mixed, (-1, self.length, self.dimension)))

    def weights_of(self, inputs: Any, exists: Any, spans: Any) -> Any:
        """Computes a of equation (2), (B, heads, L, L) as [t, j]."""
        query, key = (self._split(projection(inputs)) for projection in self.projections[:2])
        logits = ops.einsum("bthd,bjhd->bhtj", query, key) / float(np.sqrt(self.dimension // self.heads))
        steps = np.maximum(np.arange(self.length)[:, None] - np.arange(self.length), 0)
        logits = logits + ops.transpose(ops.take(self.step_bias, steps, axis=0), (2, 0, 1))
        logits = logits + ops.transpose(ops.take(self.time_bias, spans, axis=0), (0, 3, 1, 2))
        return ops.softmax(ops.where(self.visible(exists)[:, None], logits, -1e9), axis=-1)

    def visible(self, exists: Any) -> Any:
        """Says whether position t may look at position j, bool (B, L, L) as [t, j]."""
        before = np.tri(self.length, dtype=bool)
        return ops.logical_or(ops.logical_and(before, exists[:, None, :]), np.eye(self.length, dtype=bool))

    def _split(self, values: Any) -> Any:
        return ops.reshape(values, (-1, self.length, self.heads, self.dimension // self.heads))


class HistoryTransformer(keras.layers.Layer):
    """Computes the interest at every position of a history from the items up to there, their ratings and their times.

        x_j = ω[r_j] z_j + ρ[r_j]        (3)
        x ← x + attention(norm(x)),   x ← x + feed-forward(norm(x)),   in each block;   p = norm(x)        (4)

    r_j is the rating in half stars, ω a learned weight and ρ a learned vector for each; ρ[0] stands for the beginning
    of a history, where nothing came before. z_j is the item's vector. Training drops a share (`dropout`) of each
    history's positions, and of what each attention and feed-forward layer gives, the same for all positions.

    Source: Kang and McAuley (2018), Self-Attentive Sequential Recommendation, ICDM.
    """

    def __init__(self, dimension: int, length: int, blocks: int = 1, heads: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        self.dimension, self.length = dimension, length
        small = keras.initializers.RandomNormal(stddev=0.02)
        self.rating_weight = self.add_weight(shape=(RATING_LEVELS,), initializer="ones", name="rating_weight")
        self.rating_vector = self.add_weight(shape=(RATING_LEVELS, dimension), initializer=small, name="rating_vector")
        self.blocks = [_Block(dimension, length, heads, dropout) for _ in range(blocks)]
        self.dropout = keras.layers.Dropout(dropout, noise_shape=(None, length, 1))
        self.norm = keras.layers.LayerNormalization(epsilon=1e-6)
        self.norm.build((None, length, dimension))
        self.built = True

    def call(self, vectors: Any, rating: Any, seconds: Any, training: bool = False) -> Any:
        """Computes p (B, L, D) from z of each position's item (B, L, D), stars, 0 where padded, and seconds (B, L)."""
        exists, level, seconds = rating > 0, ops.cast(ops.round(2 * rating), "int32"), ops.cast(seconds, "int32")
        weight = ops.take(self.rating_weight, level, axis=0) * ops.cast(exists, vectors.dtype)
        x = weight[:, :, None] * vectors + ops.take(self.rating_vector, level, axis=0)
        spans = time_bucket(seconds[:, :, None] - seconds[:, None, :])
        x = self.dropout(x, training=training)
        for block in self.blocks:
            x = block(x, exists, spans, training=training)
        return self.norm(x)


class _Block(keras.layers.Layer):
    """Attention and a feed-forward layer, each with a norm before it and a residual connection."""

    def __init__(self, dimension: int, length: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = CausalAttention(dimension, length, heads)
        self.norms = [keras.layers.LayerNormalization(epsilon=1e-6) for _ in range(2)]
        self.first = keras.layers.Dense(2 * dimension, activation="gelu")
        self.last = keras.layers.Dense(dimension)
        # One draw a history and number, not one a position: on a CPU, drawing took three quarters of a training step.
        self.dropout = keras.layers.SpatialDropout1D(dropout)
        for layer, width in ((self.norms[0], 1), (self.norms[1], 1), (self.first, 1), (self.last, 2)):
            layer.build((None, length, width * dimension))
        self.built = True

    def call(self, x: Any, exists: Any, spans: Any, training: bool = False) -> Any:
        x = x + self.dropout(self.attention(self.norms[0](x), exists, spans), training=training)
        return x + self.dropout(self.last(self.first(self.norms[1](x))), training=training)
