"""The joint model cut into the graphs that a service needs, each with plain arrays going in and coming out.

Inside the trained model the towers look items and people up in tables of their own. A service has items that the
model never met, so here the tables stay outside: a graph is handed the encodings, the vectors and the ratings.

Taught in notebook 18.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recfuse_lib.models.item_tower import ENCODING_SCALE
from recfuse_lib.models.joint import JointModel
from recfuse_lib.serving.combination import Combination


class ItemGraph(keras.layers.Layer):
    """Equation (1) of the multimodal tower for items that are handed in: encodings -> z_i and its parts."""

    def __init__(self, kernels: list[Any], gate_kernels: list[Any], gate_bias: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kernels = [_constant(self, kernel, f"kernel_{place}") for place, kernel in enumerate(kernels)]
        self.gate_kernels = [_constant(self, kernel, f"gate_{place}") for place, kernel in enumerate(gate_kernels)]
        self.gate_bias = _constant(self, gate_bias, "gate_bias")

    def call(self, encodings: list[Any], present: Any, correction: Any) -> tuple[Any, Any]:
        scaled = [ENCODING_SCALE * one for one in encodings]
        own = [ops.matmul(one, kernel[:, None]) for one, kernel in zip(scaled, self.gate_kernels, strict=True)]
        logits = ops.where(present > 0, ops.concatenate(own, axis=1) + self.gate_bias, -1e9)
        powers = present * ops.exp(logits - ops.max(logits, axis=1, keepdims=True))
        gates = powers / ops.maximum(ops.sum(powers, axis=1, keepdims=True), 1.0)
        weights = ops.sqrt(ops.sum(present, axis=1, keepdims=True)) * gates
        content = [
            weights[:, place, None] * ops.matmul(one, kernel)
            for place, (one, kernel) in enumerate(zip(scaled, self.kernels, strict=True))
        ]
        parts = ops.stack([*content, correction], axis=1)
        return ops.sum(parts, axis=1), parts


class UserGraph(keras.layers.Layer):
    """Equations (2) and (3) of the user tower: what each past item and the person add to p_u, and their sum."""

    def __init__(self, user_tower: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.user_tower = user_tower

    def call(self, history: Any, history_rating: Any, person: Any) -> tuple[Any, Any]:
        past = ops.matmul(history, self.user_tower.transform)
        past = self.user_tower.weights_of(history_rating)[:, :, None] * past
        sources = ops.concatenate([past, person[:, None]], axis=1)
        return ops.sum(sources, axis=1), sources


class RankerGraph(keras.layers.Layer):
    """Predicted stars, equation (6), and the order of `Combination`."""

    def __init__(self, ranking: Any, combination: Combination, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.first, self.last, self.mean_rating = ranking.first, ranking.last, ranking.mean_rating
        self.combination = combination

    def call(self, interest: Any, vector: Any, bias: Any, lead: Any, count: Any) -> tuple[Any, Any]:
        features = ops.concatenate([interest, vector, interest * vector], axis=1)
        deviation = bias + self.last(self.first(features))[:, 0]
        score = lead + self.combination.rating * deviation + self.combination.count * ops.log(1.0 + count)
        return self.mean_rating + deviation, score


def item_tower(model: JointModel) -> keras.Model:
    """Graph (1): inputs `encodings_<dimension>` (B, width), `present` (B, dimensions) and `correction` (B, D), which
    is 0 for an item that nobody met; outputs `vector` (B, D) and `parts` (B, dimensions + 1, D), behaviour last."""
    tower = model.item_tower
    encodings = [_input(f"encodings_{name}", width) for name, width in tower.widths.items()]
    present, correction = _input("present", len(tower.names)), _input("correction", tower.dimension)
    graph = ItemGraph(tower.kernels, tower.gate_kernels, tower.gate_bias)
    vector, parts = graph(encodings, present, correction)
    inputs = {tensor.name: tensor for tensor in (*encodings, present, correction)}
    return keras.Model(inputs, {"vector": vector, "parts": parts}, name="item_tower")


def user_tower(model: JointModel) -> keras.Model:
    """Graph (2): inputs `history` (B, L, D), z of the past items, oldest first, `history_rating` (B, L), 0 where
    padded, and `person` (B, D), 0 for a stranger; outputs `interest` (B, D) and `sources` (B, L + 1, D)."""
    length, width = model.history_length, model.network.dimension
    inputs = {
        "history": keras.Input((length, width), name="history"),
        "history_rating": keras.Input((length,), name="history_rating"),
        "person": _input("person", width),
    }
    interest, sources = UserGraph(model.user_tower)(**inputs)
    return keras.Model(inputs, {"interest": interest, "sources": sources}, name="user_tower")


def ranker(model: JointModel, combination: Combination) -> keras.Model:
    """Graph (3): inputs `interest` and `vector` (B, D), `bias` (B,), a_u + c_i, `lead` (B,), how far retrieval puts
    the item above the average one, in standard deviations, and `count` (B,), n_i; outputs `rating` and `score` (B,)."""
    inputs = {name: _input(name, model.network.dimension) for name in ("interest", "vector")}
    inputs |= {name: keras.Input((), name=name) for name in ("bias", "lead", "count")}
    rating, score = RankerGraph(model.network.ranking, combination)(**inputs)
    return keras.Model(inputs, {"rating": rating, "score": score}, name="ranker")


def picture_encoder(encoder: Any) -> keras.Model:
    """Graph (4), where items have pictures: input `pixels` (B, height, width, channels) in 0–1; output `encoding`.

    Args:
        encoder: A trained Keras model of pictures, such as lesson 06 makes.
    """
    pixels = keras.Input(encoder.input_shape[1:], name="pixels")
    return keras.Model({"pixels": pixels}, {"encoding": encoder(pixels)}, name="picture_encoder")


def _input(name: str, width: int) -> Any:
    return keras.Input((width,), name=name)


def _constant(layer: keras.layers.Layer, value: Any, name: str) -> Any:
    value = ops.convert_to_numpy(value)
    start = keras.initializers.Constant(value)
    return layer.add_weight(shape=value.shape, initializer=start, trainable=False, name=name)
