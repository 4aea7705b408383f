"""The user tower: what a person is interested in, from what they did and who they are. Taught in notebook 08."""

from typing import Any

import keras
import numpy as np
from keras import ops

RATING_LEVELS = 11
"""Half stars 0 to 5; level 0 is padding."""


class UserTower(keras.layers.Layer):
    """Computes a person's interest from what they did lately, and who they are.

        p_u = V Σ_j w_j z_j / √(1 + Σ_j w_j²) + b_u        (2)
        w_j = ρ[rating_j] · (f + (1 − f) · 2^(−n_j / h))     (3)

    j runs over the history; ρ is a learned weight for each half star, n_j the number of interactions since j, h a
    learned half-life, f a learned floor. b_u is the person's own vector, 0 for an unknown person (code U); training
    drops it for a random share of the examples (`user_dropout`), so that the history alone must do for them.
    """

    def __init__(self, n_users: int, dimension: int, user_dropout: float = 0.5) -> None:
        super().__init__()
        self.user_dropout, self.random = user_dropout, keras.random.SeedGenerator()
        self.transform = self.add_weight(shape=(dimension, dimension), initializer="identity", name="transform")
        self.users = self.add_weight(shape=(n_users + 1, dimension), initializer="zeros", name="users")
        self.rating_weight = self.add_weight(shape=(RATING_LEVELS,), initializer="zeros", name="rating_weight")
        self.rating_weight.assign(np.where(np.arange(RATING_LEVELS) >= 8, 1.0, 0.2))
        self.recency = self.add_weight(shape=(2,), initializer="zeros", name="recency")
        self.recency.assign([np.log(10.0), -1.4])
        self.built = True

    def weights_of(self, history_rating: Any) -> Any:
        """Computes w_j / √(1 + Σ w_j²), 0 where padded, (B, L), from the stars of histories, oldest first (B, L)."""
        level = ops.cast(ops.round(2 * history_rating), "int32")
        rating_weight = ops.take(self.rating_weight, level, axis=0) * ops.cast(level > 0, "float32")
        steps_back = ops.arange(history_rating.shape[1] - 1, -1, -1, dtype="float32")
        floor = ops.sigmoid(self.recency[1])
        weights = rating_weight * (floor + (1 - floor) * ops.power(2.0, -steps_back / ops.exp(self.recency[0])))
        return weights / ops.sqrt(1 + ops.sum(weights * weights, axis=1, keepdims=True))

    def call(self, user: Any, history: Any, history_rating: Any, items: Any, training: bool = False) -> Any:
        """Computes p_u, (B, D), from user codes (B,), item codes and stars of histories (B, L) and z_i (I, D)."""
        weights = self.weights_of(history_rating)
        recent = ops.einsum("bl,bld->bd", weights, ops.take(items, history, axis=0))
        person = ops.take(self.users, user, axis=0)
        if training and self.user_dropout:
            draws = keras.random.uniform((ops.shape(user)[0], 1), seed=self.random)
            person = person * ops.cast(draws >= self.user_dropout, person.dtype)
        return ops.matmul(recent, self.transform) + person
