"""Gates: how far each dimension is trusted, given how much is known of the person and of the item.

Taught in notebook 07.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

L2 = 1e-3


@keras.saving.register_keras_serializable(package="recfuse")
class EvidenceGate(keras.layers.Layer):
    """The fused score from standardised scores, gated by evidence.

        g_d(u, i) = a_d + U_dᵀ f_u + V_dᵀ f_i,      s(u, i) = Σ_d g_d(u, i) z_d(u, i) + vᵀ f_i + m(z, f_u, f_i)

    z_d is dimension d's score, f_u and f_i tell how much is known of the person and the item; m is a network with one
    hidden layer, for what the dimensions only say together.

    Args:
        dimensions: Number of dimensions.
        hidden: Width of m; 0 leaves it out, and the score is exactly the gated sum.
        user_evidence: Width of f_u.
        item_evidence: Width of f_i.

    References:
        Jacobs, Jordan, Nowlan and Hinton (1991), Adaptive Mixtures of Local Experts, Neural Computation.
    """

    def __init__(
        self, dimensions: int, hidden: int = 32, user_evidence: int = 4, item_evidence: int = 3, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.dimensions, self.hidden = dimensions, hidden
        self.user_evidence, self.item_evidence = user_evidence, item_evidence
        regulariser = keras.regularizers.L2(L2)

        def weight(name: str, *shape: int, value: float = 0.0) -> Any:
            start = keras.initializers.Constant(value)
            return self.add_weight(shape=shape, initializer=start, regularizer=regulariser, name=name)

        self.bias = weight("bias", dimensions, value=0.2)
        self.of_user = weight("of_user", user_evidence, dimensions)
        self.of_item = weight("of_item", item_evidence, dimensions)
        self.level = weight("level", item_evidence)
        if hidden:
            self.inner = keras.layers.Dense(hidden, "gelu", kernel_regularizer=regulariser)
            self.outer = keras.layers.Dense(1, kernel_initializer="zeros", kernel_regularizer=regulariser)
            self.inner.build((None, None, dimensions + user_evidence + item_evidence))
            self.outer.build((None, None, hidden))
        self.built = True

    def gates(self, user: Any, item: Any) -> Any:
        """g, (B, S, dimensions).

        Args:
            user: f_u, (B, user_evidence).
            item: f_i, (B, S, item_evidence).
        """
        of_user = ops.expand_dims(ops.matmul(user, self.of_user), 1)
        return self.bias + of_user + ops.matmul(item, self.of_item)

    def network(self, scores: Any, user: Any, item: Any) -> Any:
        """m, (B, S); zeros where there is no network."""
        if not self.hidden:
            return ops.zeros_like(scores[..., 0])
        return ops.squeeze(self.outer(self.inner(_beside(scores, user, item))), -1)

    def call(self, scores: Any, user: Any, item: Any) -> Any:
        """s, (B, S).

        Args:
            scores: z, (B, S, dimensions).
            user: f_u, (B, user_evidence).
            item: f_i, (B, S, item_evidence).
        """
        gated = ops.sum(self.gates(user, item) * scores, axis=-1) + ops.matmul(item, self.level)
        return gated + self.network(scores, user, item)

    def get_config(self) -> dict[str, Any]:
        own = ("dimensions", "hidden", "user_evidence", "item_evidence")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


@keras.saving.register_keras_serializable(package="recfuse")
class LateFusion(keras.layers.Layer):
    """One weight a dimension, the same for everybody:  s(u, i) = Σ_d a_d z_d(u, i).

    Args:
        dimensions: Number of dimensions.
    """

    def __init__(self, dimensions: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dimensions = dimensions
        start = keras.initializers.Constant(0.2)
        self.bias = self.add_weight(shape=(dimensions,), initializer=start, regularizer=keras.regularizers.L2(L2))
        self.built = True

    def call(self, scores: Any, user: Any, item: Any) -> Any:
        """s, (B, S); arguments as of `EvidenceGate`."""
        return ops.matmul(scores, self.bias)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dimensions": self.dimensions}


@keras.saving.register_keras_serializable(package="recfuse")
class EarlyFusion(keras.layers.Layer):
    """A network that sees all dimensions and all evidence at once:  s = m(z, f_u, f_i), two hidden layers.

    Args:
        hidden: Width of the hidden layers.
    """

    def __init__(self, hidden: int = 32, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden = hidden
        regulariser = keras.regularizers.L2(L2)
        self.layers = [
            keras.layers.Dense(width, activation, kernel_regularizer=regulariser)
            for width, activation in ((hidden, "gelu"), (hidden, "gelu"), (1, None))
        ]

    def build(self, scores_shape: Any, user_shape: Any, item_shape: Any) -> None:
        width = scores_shape[-1] + user_shape[-1] + item_shape[-1]
        for layer in self.layers:
            layer.build((None, None, width))
            width = self.hidden

    def call(self, scores: Any, user: Any, item: Any) -> Any:
        """s, (B, S); arguments as of `EvidenceGate`."""
        found = _beside(scores, user, item)
        for layer in self.layers:
            found = layer(found)
        return ops.squeeze(found, -1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden": self.hidden}


@keras.saving.register_keras_serializable(package="recfuse")
class AttentionFusion(keras.layers.Layer):
    """Attention over the dimensions: the evidence asks, each dimension has a key, and the shares add up to 1.

        s(u, i) = κ Σ_d softmax_d(k_dᵀ tanh(W [f_u, f_i] + b)) z_d(u, i) + vᵀ f_i

    Args:
        dimensions: Number of dimensions.
        hidden: Width of query and keys.

    References:
        Bahdanau, Cho and Bengio (2015), Neural Machine Translation by Jointly Learning to Align and Translate, ICLR
        (additive attention).
    """

    def __init__(self, dimensions: int, hidden: int = 32, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dimensions, self.hidden = dimensions, hidden
        regulariser = keras.regularizers.L2(L2)
        self.asking = keras.layers.Dense(hidden, "tanh", kernel_regularizer=regulariser)
        self.keys = keras.layers.Dense(dimensions, kernel_regularizer=regulariser)
        self.level = keras.layers.Dense(1, kernel_initializer="zeros", kernel_regularizer=regulariser)
        self.strength = self.add_weight(shape=(), initializer=keras.initializers.Constant(3.0), name="strength")

    def build(self, scores_shape: Any, user_shape: Any, item_shape: Any) -> None:
        self.asking.build((None, None, user_shape[-1] + item_shape[-1]))
        self.keys.build((None, None, self.hidden))
        self.level.build((None, None, item_shape[-1]))

    def shares(self, user: Any, item: Any) -> Any:
        """The shares of the dimensions, (B, S, dimensions)."""
        return ops.softmax(self.keys(self.asking(_beside(item, user))), axis=-1)

    def call(self, scores: Any, user: Any, item: Any) -> Any:
        """s, (B, S); arguments as of `EvidenceGate`."""
        level = ops.squeeze(self.level(item), -1)
        return self.strength * ops.sum(self.shares(user, item) * scores, axis=-1) + level

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dimensions": self.dimensions, "hidden": self.hidden}


def _beside(scores: Any, user: Any, *more: Any) -> Any:
    """Everything that is known of each candidate in one row, (B, S, ·)."""
    shape = ops.shape(scores)
    everywhere = ops.broadcast_to(ops.expand_dims(user, 1), (shape[0], shape[1], user.shape[-1]))
    return ops.concatenate([scores, everywhere, *more], -1)


def listwise_loss(targets: Any, logits: Any) -> Any:
    """Softmax cross-entropy over a query's candidates, averaged over its n targets, times √min(n, 10).

    Args:
        targets: 1 where a candidate is a target, (B, S).
        logits: Scores, −1e9 where there is no candidate, (B, S).

    Returns:
        One loss a query, (B,).
    """
    count = ops.sum(targets, axis=-1)
    log_share = logits - ops.logsumexp(logits, axis=-1, keepdims=True)
    return -ops.sum(targets * log_share, axis=-1) / ops.maximum(count, 1.0) * ops.sqrt(ops.minimum(count, 10.0))
