"""Retrieval: find, in the whole catalogue, what a person will like next.

Taught in notebook 08.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="recfuse")
class Retrieval(keras.layers.Layer):
    """Scores of all items, and the loss of having chosen another one.

        s(u, i) = p_uᵀ z_i + β_i        (4)
        ℓ_idx = −(1/|P|) Σ_{(u,i) ∈ P} log (exp s(u, i) / Σ_k exp s(u, k))        (5)

    β_i is the popularity of the item on a log scale; P are the positives of the batch. The sum runs over the whole
    catalogue, or over the items that could be chosen: no negatives are sampled, and none are missed.

    Args:
        n_items: I, size of the catalogue.
    """

    def __init__(self, n_items: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n_items = n_items
        self.popularity = self.add_weight(shape=(n_items,), initializer="zeros", name="popularity")
        self.built = True

    def call(self, interests: Any, vectors: Any) -> Any:
        """Scores (B, I) of interests (B, D) for items with vectors (I, D)."""
        return ops.matmul(interests, ops.transpose(vectors)) + self.popularity

    def loss(self, scores: Any, item: Any, positive: Any, available: Any) -> Any:
        """Equation (5), a scalar, in nats.

        Args:
            scores: (B, I).
            item: The item of each example, (B,).
            positive: 1 where the example is a positive, else 0, (B,).
            available: 1 for the items k that could be chosen, else 0, (I,).
        """
        scores = ops.where(available > 0, scores, -1e9)
        losses = keras.losses.sparse_categorical_crossentropy(item, scores, from_logits=True)
        return ops.sum(losses * positive) / ops.maximum(ops.sum(positive), 1.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n_items": self.n_items}
