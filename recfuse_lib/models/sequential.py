"""The deep model: a transformer over the history, over items that are anchored in content, trained to say what is next.

Taught in notebook 05.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pandas as pd
from keras import ops

from recfuse_lib.data.sequences import latest, sequences
from recfuse_lib.data.splits import POSITIVE, Queries
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.models.item_tower import MultimodalTower
from recfuse_lib.models.losses import Negatives
from recfuse_lib.models.transformer import AttributeCrosses, HistoryTransformer
from recfuse_lib.training.pipelines import untuned

SCORED_SHARE = 2
"""A row of L places is asked at its last L / 2, so that each of them has at least L / 2 places before it."""

QUERIES = 256
"""Queries that are scored at once."""


@keras.saving.register_keras_serializable(package="recfuse")
class SequentialModel(keras.Model):
    """What a person will like next, from the order, the ratings and the times of what they did.

        s(u, i) = p_uᵀ z_i + β_i,   p_u the transformer's answer at the last place        (5)
        z_i = Σ_d √n_i g_i^d W_d e_i^d + c_i δ_i + crosses(a_i)        (6)

    z_i is a `MultimodalTower`, with attribute crosses where the dimension `attributes` is among the widths. Trained on
    all places of the histories at once: at each, one of the next H items that the person liked is to be found among
    negatives. Nothing is kept of a person but their history, so strangers are welcome.

    Args:
        n_items: I.
        widths: Dimension -> width of its encodings, as `ItemEncodings.widths`.
        dimension: D.
        history_length: L, how many events are read, even.
        blocks: Of the transformer.
        heads: Of its attention.
        crosses: Layers of the attribute crosses; 0 for none.
        horizon: H, how far ahead a liked item may lie, in events.
        negatives: One of `recfuse_lib.models.losses.KINDS`.
        drawn: How many items `sampled` negatives draw.
        corrected: Whether log Q is subtracted.
        dropout: See `HistoryTransformer`.
        item_dropout: Share of the items whose δ is hidden at a training step, 0–1.
        rating_aware: See `HistoryTransformer`.
        time_aware: See `HistoryTransformer`.

    Example:
        >>> encodings = ItemEncodings.of({"text": np.eye(3, 4)})
        >>> model = SequentialModel(n_items=3, widths=encodings.widths, dimension=8, history_length=4)
        >>> history = pd.DataFrame({"user": 0, "item": [0, 1, 2], "rating": 5.0, "timestamp": [1, 2, 3]})
        >>> _ = model.learn(history, encodings, epochs=1, verbose=0)
        >>> model.score(Queries.of(history, np.array([0]), n_items=3)).shape
        (1, 3)

    References:
        Kang and McAuley (2018), Self-Attentive Sequential Recommendation, ICDM.
        Pancha et al. (2022), PinnerFormer: Sequence Modeling for User Representation at Pinterest, KDD (several items
        ahead).
    """

    def __init__(
        self,
        n_items: int,
        widths: Mapping[str, int],
        dimension: int = 48,
        history_length: int = 64,
        blocks: int = 1,
        heads: int = 2,
        crosses: int = 2,
        horizon: int = 5,
        negatives: str = "full",
        drawn: int = 1024,
        corrected: bool = True,
        dropout: float = 0.1,
        item_dropout: float = 0.2,
        rating_aware: bool = True,
        time_aware: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.settings = {
            "n_items": n_items,
            "widths": dict(widths),
            "dimension": dimension,
            "history_length": history_length,
            "blocks": blocks,
            "heads": heads,
            "crosses": crosses,
            "horizon": horizon,
            "negatives": negatives,
            "drawn": drawn,
            "corrected": corrected,
            "dropout": dropout,
            "item_dropout": item_dropout,
            "rating_aware": rating_aware,
            "time_aware": time_aware,
        }
        self.n_items, self.length, self.horizon = n_items, history_length, horizon
        self.random = keras.random.SeedGenerator()
        self.item_tower = MultimodalTower(n_items, widths, dimension, item_dropout, name="item_tower")
        self.crosses = None
        if crosses and "attributes" in widths:
            self.crosses = AttributeCrosses(widths["attributes"], dimension, crosses, name="crosses")
        self.transformer = HistoryTransformer(
            dimension, history_length, blocks, heads, dropout, rating_aware, time_aware, name="transformer"
        )
        self.negatives = Negatives(n_items, negatives, drawn, corrected, name="negatives")
        self.popularity = self.add_weight(shape=(n_items,), initializer="zeros", name="popularity")
        self.built = True

    def vectors(self, training: bool = False) -> Any:
        """z_i of every item, (I, D)."""
        vectors = self.item_tower(training=training)
        if self.crosses is not None:
            place = self.item_tower.names.index("attributes")
            vectors = vectors + self.crosses(self.item_tower.encodings[place])
        return vectors

    def call(self, inputs: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """The interests at all places (B, L, D) and z_i of every item (I, D)."""
        vectors = self.vectors(training)
        history = ops.take(vectors, inputs["history"], axis=0)
        interests = self.transformer(history, inputs["history_rating"], inputs["history_time"], training=training)
        return {"interests": interests, "vectors": vectors}

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The mean of the chosen loss over the places after which something was liked, in nats."""
        dimension, scored = self.settings["dimension"], x["target"].shape[1]
        interests = ops.reshape(y_pred["interests"][:, -scored:], (-1, dimension))
        liked = ops.cast(ops.reshape(x["target_rating"], (-1, self.horizon)) >= POSITIVE, "float32")
        # Of the liked items ahead one is taken, each with the same probability.
        draws = liked * keras.random.uniform(ops.shape(liked), minval=1e-6, seed=self.random)
        chosen = ops.expand_dims(ops.argmax(draws, axis=1), 1)
        target = ops.take_along_axis(ops.reshape(x["target"], (-1, self.horizon)), chosen, axis=1)[:, 0]
        counted = ops.max(liked, axis=1)
        available = self.item_tower.available
        losses = self.negatives(interests, target, y_pred["vectors"], self.popularity, available, counted)
        return ops.sum(losses * counted) / ops.maximum(ops.sum(counted), 1.0)

    def learn(
        self,
        history: pd.DataFrame,
        encodings: ItemEncodings,
        available: np.ndarray | None = None,
        epochs: int = 6,
        batch_size: int = 64,
        learning_rate: float = 0.01,
        verbose: int = 2,
        callbacks: list[keras.callbacks.Callback] | None = None,
    ) -> keras.callbacks.History:
        """Learns from a history with Adam, its rate falling to 0 along a cosine.

        Args:
            history: Columns `user`, `item`, `rating`, `timestamp`.
            encodings: Of the whole catalogue, centred on the items of the history.
            available: Which items could be chosen during the history, bool (I,); all by default. The others are never
                negatives and get no correction δ: content alone speaks for them.
            epochs: Passes over the history.
            batch_size: Rows of L events a step, or a little fewer where that makes all batches of one size.
            learning_rate: Of Adam, at the beginning.
            verbose: 0 is silent, 2 prints one line an epoch.
            callbacks: Keras callbacks.

        Raises:
            ValueError: The encodings or `available` do not fit the model, or the history is empty, likes nothing, or
                holds an item that was not available.
        """
        available = np.ones(self.n_items, bool) if available is None else np.asarray(available)
        self.item_tower.set_encodings(encodings)
        self.item_tower.set_available(available)
        item = history["item"].to_numpy()
        if not available[item].all():
            stranger = item[~available[item]][0]
            raise ValueError(f"item {stranger} is in the history, but `available` says that it could not be chosen")
        counts = np.bincount(item[history["rating"] >= POSITIVE], minlength=self.n_items)
        if not counts.any():
            raise ValueError(f"{len(history)} ratings, none of {POSITIVE:g} stars or more: there is nothing to learn")
        self.negatives.set_counts(counts)
        self.popularity.assign(np.where(available, np.log1p(counts), 0.0).astype("float32"))
        inputs = sequences(history, self.length, max(1, self.length // SCORED_SHARE), self.horizon)
        rows = len(inputs["history"])
        steps = -(-rows // batch_size)
        size = -(-rows // steps)
        # All batches have one size, or XLA, where it is used, would compile twice; the few missing rows are repeated.
        inputs = {name: np.resize(values, (steps * size, *values.shape[1:])) for name, values in inputs.items()}
        schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps * epochs)
        # Not forced through XLA: on a CPU, compiling takes as long as XLA saves in five passes, and half a gigabyte.
        self.compile(optimizer=keras.optimizers.Adam(schedule))
        with untuned():
            return self.fit(inputs, epochs=epochs, batch_size=size, verbose=verbose, callbacks=callbacks)

    def interests(self, queries: Queries, vectors: Any) -> Any:
        """p_u of every query, (Q, D), given z_i of every item, (I, D)."""
        inputs = {name: ops.convert_to_tensor(value) for name, value in latest(queries, self.length).items()}
        history = ops.take(vectors, inputs["history"], axis=0)
        return self.transformer(history, inputs["history_rating"], inputs["history_time"])[:, -1]

    def score(self, queries: Queries) -> np.ndarray:
        """s(u, i) of every item for every query, float32 (Q, n_items); any history is answered, also an empty one."""
        vectors = self.vectors()
        scores = [np.zeros((0, self.n_items), "float32")]
        for start in range(0, len(queries), QUERIES):
            interests = self.interests(queries[start : start + QUERIES], vectors)
            found = ops.matmul(interests, ops.transpose(vectors)) + self.popularity
            scores.append(ops.convert_to_numpy(found))
        return np.concatenate(scores)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.settings}
