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
