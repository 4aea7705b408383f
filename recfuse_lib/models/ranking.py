"""Ranking: how many stars will this person give this item?

Taught in notebook 08.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="recfuse")
class Ranking(keras.layers.Layer):
    """Predicted stars from the person, the item and how the two meet.

        ŷ = μ + a_u + c_i + f([p_u, z_i, p_u ∘ z_i])        (6)
        ℓ_item = (1/B) Σ (y − ŷ)²        (7)

    f is a small network with one hidden layer.

    Args:
        n_users: U; code U stands for an unknown person.
        n_items: I, size of the catalogue.
        dimension: D, width of p_u and z_i.
        mean_rating: μ, in stars.
        hidden: Units of the hidden layer.
    """

    def __init__(
        self, n_users: int, n_items: int, dimension: int, mean_rating: float, hidden: int = 32, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.n_users, self.n_items, self.dimension = n_users, n_items, dimension
        self.mean_rating, self.hidden = mean_rating, hidden
        self.user_bias = self.add_weight(shape=(n_users + 1,), initializer="zeros", name="user_bias")
        self.item_bias = self.add_weight(shape=(n_items,), initializer="zeros", name="item_bias")
        self.first = keras.layers.Dense(hidden, activation="relu")
        self.last = keras.layers.Dense(1)
        self.first.build((None, 3 * dimension))
        self.last.build((None, hidden))
        self.built = True

    def call(self, interests: Any, item_vectors: Any, user: Any, item: Any) -> Any:
        """Stars (B,) for interests (B, D), the examples' item vectors (B, D) and their codes (B,)."""
        features = ops.concatenate([interests, item_vectors, interests * item_vectors], axis=1)
        biases = ops.take(self.user_bias, user, axis=0) + ops.take(self.item_bias, item, axis=0)
        return self.mean_rating + biases + self.last(self.first(features))[:, 0]

    def loss(self, rating: Any, prediction: Any) -> Any:
        """Equation (7), a scalar, in squared stars."""
        return ops.mean(ops.square(prediction - rating))

    def get_config(self) -> dict[str, Any]:
        own = ("n_users", "n_items", "dimension", "mean_rating", "hidden")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
