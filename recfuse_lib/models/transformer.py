"""The deep tower: what the order of a history says, and what attributes say together.

Taught in notebook 05.
"""

from __future__ import annotations

from typing import Any

import keras
import keras_rs
import numpy as np
from keras import ops

RATING_LEVELS = 11
"""Half stars 0 to 5; level 0 is padding."""

TIME_BUCKETS = 16
"""Buckets of a time span: the sixteenth begins at 4^15 seconds, 34 years."""


def time_bucket(seconds: Any) -> Any:
    """The bucket of a time span: ⌊log₄(1 + seconds)⌋, 0 for one that is negative, at most `TIME_BUCKETS` − 1.

    Args:
        seconds: Whole seconds, any shape.

    Example:
        >>> ops.convert_to_numpy(time_bucket(np.array([0, 2, 3, 3_600, 86_400])))
        array([0, 0, 1, 5, 8], dtype=int32)
    """
    span = ops.cast(ops.maximum(seconds, 0), "float32")
    # A little is added because the logarithm of an exact power of 4 may come out just below the whole number.
    bucket = ops.floor(ops.log1p(span) / float(np.log(4.0)) + 1e-5)
    return ops.cast(ops.minimum(bucket, TIME_BUCKETS - 1), "int32")


@keras.saving.register_keras_serializable(package="recfuse")
class AttributeCrosses(keras.layers.Layer):
    """What attributes say together: each layer multiplies the attributes with a mixture of what came before (DCN v2).

        x₀ = a_i,   x_{l+1} = x₀ ∘ (W_l x_l + b_l) + x_l,   output V x_n        (1)

    After n layers x_n holds products of up to n + 1 attributes: "a comedy *and* from the eighties".

    Args:
        width: Number of attributes.
        dimension: D, width of the output.
        layers: n; 0 leaves a linear layer.

    Example:
        >>> tuple(AttributeCrosses(width=5, dimension=4)(np.ones((3, 5), "float32")).shape)
        (3, 4)

    References:
        Wang et al. (2021), DCN V2: Improved Deep and Cross Network, WWW, Eq. 1.
    """

    def __init__(self, width: int, dimension: int, layers: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width, self.dimension, self.n_layers = width, dimension, layers
        self.crosses = [keras_rs.layers.FeatureCross(name=f"cross_{number}") for number in range(layers)]
        self.project = keras.layers.Dense(dimension, use_bias=False, name="project")
        for cross in self.crosses:
            cross(np.zeros((1, width), "float32"))  # its `build` leaves the kernel to the first call
        self.project.build((None, width))
        self.built = True

    def call(self, attributes: Any) -> Any:
        """Attributes (N, width) → (N, D)."""
        crossed = attributes
        for cross in self.crosses:
            crossed = cross(attributes, crossed)
        return self.project(crossed)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "width": self.width,
            "dimension": self.dimension,
            "layers": self.n_layers,
        }


@keras.saving.register_keras_serializable(package="recfuse")
class CausalAttention(keras.layers.Layer):
    """Every place looks back at what came before it, and knows how many steps and how long ago that was.

        a_tj = softmax_{j ≤ t} (q_tᵀ k_j / √d + σ_{t−j} + τ_{bucket(time_t − time_j)}),   output O Σ_j a_tj v_j     (2)

    q, k and v are linear in the input; σ and τ are learned for each head. Padding is never looked at, but a place that
    is itself padding sees itself, so that the softmax has something to sum over.

    Args:
        dimension: D.
        length: L, the longest history.
        heads: Number of heads, each of width d = D / heads.

    Raises:
        ValueError: D cannot be divided by the number of heads.

    References:
        Vaswani et al. (2017), Attention Is All You Need, NIPS, Eq. 1.
        Li, Wang and McAuley (2020), Time Interval Aware Self-Attention for Sequential Recommendation, WSDM (τ).
    """

    def __init__(self, dimension: int, length: int, heads: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if dimension % heads:
            raise ValueError(f"{heads} heads do not divide a width of {dimension}")
        self.dimension, self.length, self.heads = dimension, length, heads
        self.projections = [keras.layers.Dense(dimension, name=name) for name in ("query", "key", "value", "output")]
        for projection in self.projections:
            projection.build((None, None, dimension))
        self.step_bias = self.add_weight(shape=(length, heads), initializer="zeros", name="step_bias")
        self.time_bias = self.add_weight(shape=(TIME_BUCKETS, heads), initializer="zeros", name="time_bias")
        self.built = True

    def call(self, inputs: Any, exists: Any, spans: Any) -> Any:
        """Inputs (B, L, D) → (B, L, D).

        Args:
            inputs: (B, L, D).
            exists: False where padded, bool (B, L).
            spans: Bucket of the time from each place j to each place t, (B, L, L) as [t, j].
        """
        value = self._split(self.projections[2](inputs))
        mixed = ops.einsum("bhtj,bjhd->bthd", self.weights_of(inputs, exists, spans), value)
        return self.projections[3](ops.reshape(mixed, (-1, self.length, self.dimension)))

    def weights_of(self, inputs: Any, exists: Any, spans: Any) -> Any:
        """a of equation (2), (B, heads, L, L) as [t, j]."""
        query, key = (self._split(projection(inputs)) for projection in self.projections[:2])
        logits = ops.einsum("bthd,bjhd->bhtj", query, key) / float(np.sqrt(self.dimension // self.heads))
        steps = np.maximum(np.arange(self.length)[:, None] - np.arange(self.length), 0)
        logits = logits + ops.transpose(ops.take(self.step_bias, steps, axis=0), (2, 0, 1))
        logits = logits + ops.transpose(ops.take(self.time_bias, spans, axis=0), (0, 3, 1, 2))
        return ops.softmax(ops.where(self.visible(exists)[:, None], logits, -1e9), axis=-1)

    def visible(self, exists: Any) -> Any:
        """Whether place t may look at place j, bool (B, L, L) as [t, j]."""
        before = np.tri(self.length, dtype=bool)
        return ops.logical_or(ops.logical_and(before, exists[:, None, :]), np.eye(self.length, dtype=bool))

    def _split(self, values: Any) -> Any:
        return ops.reshape(values, (-1, self.length, self.heads, self.dimension // self.heads))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **{name: getattr(self, name) for name in ("dimension", "length", "heads")}}


@keras.saving.register_keras_serializable(package="recfuse")
class HistoryTransformer(keras.layers.Layer):
    """The interest at every place of a history, from the items up to there, their ratings and their times.

        x_j = ω[r_j] z_j + ρ[r_j]        (3)
        x ← x + attention(norm(x)),   x ← x + feed-forward(norm(x)),   in each block;   p = norm(x)        (4)

    r_j is the rating in half stars, ω a learned weight and ρ a learned vector for each; ρ[0] stands for the beginning
    of a history, where nothing came before. z_j is the item's vector.

    Args:
        dimension: D.
        length: L, the longest history.
        blocks: Number of blocks.
        heads: Heads of each attention.
        dropout: In training this share of the places of each history is hidden, and this share of the outputs of each
            attention and feed-forward layer, the same for all places of a history, 0–1.
        rating_aware: Whether ratings are seen; if not, all count as 5 stars.
        time_aware: Whether times are seen; if not, all spans are 0. Steps are seen in any case.

    Example:
        >>> transformer = HistoryTransformer(dimension=4, length=3)
        >>> vectors, rating, seconds = np.ones((2, 3, 4), "float32"), np.full((2, 3), 4.0), np.array([[10, 20, 30]] * 2)
        >>> tuple(transformer(vectors, rating, seconds).shape)
        (2, 3, 4)

    References:
        Kang and McAuley (2018), Self-Attentive Sequential Recommendation, ICDM.
    """

    def __init__(
        self,
        dimension: int,
        length: int,
        blocks: int = 1,
        heads: int = 2,
        dropout: float = 0.2,
        rating_aware: bool = True,
        time_aware: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dimension, self.length, self.heads, self.dropout_rate = dimension, length, heads, dropout
        self.rating_aware, self.time_aware = rating_aware, time_aware
        small = keras.initializers.RandomNormal(stddev=0.02)
        self.rating_weight = self.add_weight(shape=(RATING_LEVELS,), initializer="ones", name="rating_weight")
        self.rating_vector = self.add_weight(shape=(RATING_LEVELS, dimension), initializer=small, name="rating_vector")
        self.blocks = [_Block(dimension, length, heads, dropout, name=f"block_{number}") for number in range(blocks)]
        self.dropout = keras.layers.Dropout(dropout, noise_shape=(None, length, 1))
        self.norm = keras.layers.LayerNormalization(epsilon=1e-6, name="norm")
        self.norm.build((None, length, dimension))
        self.built = True

    def call(self, vectors: Any, rating: Any, seconds: Any, training: bool = False) -> Any:
        """p at every place, (B, L, D).

        Args:
            vectors: z of each place's item, (B, L, D).
            rating: Stars, 0 where padded, (B, L).
            seconds: Unix seconds, whole numbers, (B, L).
            training: Whether to drop.
        """
        x, exists, spans = self.read(vectors, rating, seconds)
        x = self.dropout(x, training=training)
        for block in self.blocks:
            x = block(x, exists, spans, training=training)
        return self.norm(x)

    def read(self, vectors: Any, rating: Any, seconds: Any) -> tuple[Any, Any, Any]:
        """x of equation (3), which places exist, and the time buckets [t, j]: what the first block is given."""
        exists = rating > 0
        level = ops.cast(ops.round(2 * rating), "int32")
        if not self.rating_aware:
            level = ops.where(exists, RATING_LEVELS - 1, 0)
        weight = ops.take(self.rating_weight, level, axis=0) * ops.cast(exists, vectors.dtype)
        x = weight[:, :, None] * vectors + ops.take(self.rating_vector, level, axis=0)
        seconds = ops.cast(seconds, "int32")
        spans = time_bucket(seconds[:, :, None] - seconds[:, None, :])
        return x, exists, spans if self.time_aware else ops.zeros_like(spans)

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("dimension", "length", "heads", "rating_aware", "time_aware")}
        return {**super().get_config(), **own, "blocks": len(self.blocks), "dropout": self.dropout_rate}


class _Block(keras.layers.Layer):
    """Attention and a feed-forward layer, each with a norm before it and a way around it."""

    def __init__(self, dimension: int, length: int, heads: int, dropout: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.attention = CausalAttention(dimension, length, heads, name="attention")
        self.norms = [keras.layers.LayerNormalization(epsilon=1e-6, name=f"norm_{number}") for number in range(2)]
        self.first = keras.layers.Dense(2 * dimension, activation="gelu", name="first")
        self.last = keras.layers.Dense(dimension, name="last")
        # One draw a history and number, not one a place: on a CPU, drawing took three quarters of a training step.
        self.dropout = keras.layers.SpatialDropout1D(dropout)
        for norm in self.norms:
            norm.build((None, length, dimension))
        self.first.build((None, length, dimension))
        self.last.build((None, length, 2 * dimension))
        self.built = True

    def call(self, x: Any, exists: Any, spans: Any, training: bool = False) -> Any:
        attended = self.attention(self.norms[0](x), exists, spans)
        x = x + self.dropout(attended, training=training)
        return x + self.dropout(self.last(self.first(self.norms[1](x))), training=training)


def looks_ahead(transformer: HistoryTransformer, seed: int = 0) -> bool:
    """Whether what comes after a place changes the interest at that place: a leak, if it does.

    A random history is given twice; the second time, items, ratings and times of the later half are others.

    Args:
        transformer: The transformer.
        seed: Of the random histories.

    Example:
        >>> looks_ahead(HistoryTransformer(dimension=4, length=6))
        False
    """
    generator = np.random.default_rng(seed)
    length, half = transformer.length, transformer.length // 2
    vectors = generator.normal(size=(2, length, transformer.dimension)).astype("float32")
    rating = generator.integers(1, RATING_LEVELS, (2, length)).astype("float32") / 2
    seconds = np.cumsum(generator.integers(0, 10**6, (2, length)), axis=1)
    for values in (vectors, rating, seconds):
        values[1, :half] = values[0, :half]
    first, second = ops.convert_to_numpy(transformer(vectors, rating, seconds))[:, :half]
    return not np.allclose(first, second, atol=1e-5)
