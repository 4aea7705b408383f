"""Two towers over ids and text: what an item is, and what a person is interested in.

Taught in notebook 00; notebooks 05 to 08 deepen them.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

RATING_LEVELS = 11
"""Half stars 0 to 5; level 0 is padding."""

ENCODING_SCALE = 2.0
"""Adam's step does not depend on the scale of a gradient, so the scale of its input sets how fast W moves."""


@keras.saving.register_keras_serializable(package="recfuse")
class ItemTower(keras.layers.Layer):
    """Item vectors that are anchored in content and corrected by behaviour:

        z_i = W e_i + g δ_i        (1)

    e_i is the text encoding, the same for every model and never trained here; W is shared by all items; δ_i is the
    item's own correction. In training g is 0 for a random share of the items at each step and 1 for the others, so
    W must carry what text can say: an item that joins the catalogue later has only W e_i. Afterwards g is 1.

    Args:
        n_items: I, size of the catalogue.
        encoding_dimension: Width of e_i.
        dimension: D, width of z_i.
        item_dropout: Share of the items whose δ is dropped at a training step, 0–1.

    Example:
        >>> tower = ItemTower(n_items=3, encoding_dimension=2, dimension=4)
        >>> tower.set_encodings(np.eye(3, 2))
        >>> tuple(tower().shape)
        (3, 4)

    Taught in notebook 00.
    """

    def __init__(
        self, n_items: int, encoding_dimension: int, dimension: int, item_dropout: float = 0.2, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.n_items, self.encoding_dimension, self.dimension = n_items, encoding_dimension, dimension
        self.item_dropout = item_dropout
        self.random = keras.random.SeedGenerator()
        self.encodings = self.add_weight(
            shape=(n_items, encoding_dimension), initializer="zeros", trainable=False, name="encodings"
        )
        self.kernel = self.add_weight(
            shape=(encoding_dimension, dimension), initializer="glorot_uniform", name="kernel"
        )
        self.correction = self.add_weight(
            shape=(n_items, dimension),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            name="correction",
        )
        self.built = True

    def set_encodings(self, encodings: np.ndarray) -> None:
        """Gives the tower the text encodings of the catalogue, (I, width).

        Raises:
            ValueError: The shape differs from what the tower was made for.
        """
        expected = (self.n_items, self.encoding_dimension)
        if encodings.shape != expected:
            raise ValueError(f"encodings have shape {encodings.shape}; this tower takes {expected}")
        self.encodings.assign(encodings)

    def from_text(self) -> Any:
        """W e_i of every item, (I, D)."""
        return ops.matmul(ENCODING_SCALE * self.encodings, self.kernel)

    def call(self, training: bool = False) -> Any:
        """z_i of every item, (I, D)."""
        if not training:
            return self.from_text() + self.correction
        draws = keras.random.uniform((self.n_items, 1), seed=self.random)
        kept = ops.cast(draws >= self.item_dropout, self.correction.dtype)
        return self.from_text() + kept * self.correction

    def get_config(self) -> dict[str, Any]:
        own = ("n_items", "encoding_dimension", "dimension", "item_dropout")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


@keras.saving.register_keras_serializable(package="recfuse")
class UserTower(keras.layers.Layer):
    """A person's interest: what they did lately, and who they are.

        p_u = V Σ_j w_j z_j / √(1 + Σ_j w_j²) + b_u        (2)
        w_j = ρ[rating_j] · (f + (1 − f) · 2^(−n_j / h))     (3)

    The sum runs over the history; ρ is a learned weight for each half star, n_j the number of interactions since j, h
    a learned half-life and f a learned floor. b_u is the person's own vector, 0 for an unknown person. In training it
    is dropped for a random share of the examples, so that the history alone must do for them.

    Args:
        n_users: U; code U stands for an unknown person.
        dimension: D, width of p_u and z_i.
        user_dropout: Share of the examples that are trained as if the person were unknown, 0–1.

    Taught in notebook 00.
    """

    def __init__(self, n_users: int, dimension: int, user_dropout: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n_users, self.dimension, self.user_dropout = n_users, dimension, user_dropout
        self.random = keras.random.SeedGenerator()
        self.transform = self.add_weight(shape=(dimension, dimension), initializer="identity", name="transform")
        self.users = self.add_weight(shape=(n_users + 1, dimension), initializer="zeros", name="users")
        liked = np.where(np.arange(RATING_LEVELS) >= 8, 1.0, 0.2)
        self.rating_weight = self.add_weight(shape=(RATING_LEVELS,), initializer="zeros", name="rating_weight")
        self.rating_weight.assign(liked)
        self.recency = self.add_weight(shape=(2,), initializer="zeros", name="recency")
        self.recency.assign([np.log(10.0), -1.4])
        self.built = True

    @property
    def half_life(self) -> float:
        """h of equation (3), in interactions."""
        return float(np.exp(ops.convert_to_numpy(self.recency)[0]))

    def weights_of(self, history_rating: Any) -> Any:
        """w_j / √(1 + Σ w_j²) for each place of the history, 0 where padded, (B, L).

        Args:
            history_rating: Stars, oldest first, 0 where padded, (B, L).
        """
        level = ops.cast(ops.round(2 * history_rating), "int32")
        rating_weight = ops.take(self.rating_weight, level, axis=0) * ops.cast(level > 0, "float32")
        steps_back = ops.arange(history_rating.shape[1] - 1, -1, -1, dtype="float32")
        floor = ops.sigmoid(self.recency[1])
        weights = rating_weight * (floor + (1 - floor) * ops.power(2.0, -steps_back / ops.exp(self.recency[0])))
        return weights / ops.sqrt(1 + ops.sum(weights * weights, axis=1, keepdims=True))

    def call(self, user: Any, history: Any, history_rating: Any, items: Any, training: bool = False) -> Any:
        """p_u of each example, (B, D).

        Args:
            user: User codes, U for an unknown person, (B,).
            history: Item codes, oldest first, (B, L).
            history_rating: Stars, 0 where padded, (B, L).
            items: z_i of every item, (I, D).
            training: Whether people are hidden at random.
        """
        weights = self.weights_of(history_rating)
        recent = ops.einsum("bl,bld->bd", weights, ops.take(items, history, axis=0))
        person = ops.take(self.users, user, axis=0)
        if training and self.user_dropout:
            draws = keras.random.uniform((ops.shape(user)[0], 1), seed=self.random)
            person = person * ops.cast(draws >= self.user_dropout, person.dtype)
        return ops.matmul(recent, self.transform) + person

    def get_config(self) -> dict[str, Any]:
        own = ("n_users", "dimension", "user_dropout")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
