"""SASRec: self-attention over the ids of a history, the standard sequential recommender."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pandas as pd
from keras import ops

from course.lessons import definitions
from recfuse_lib.data.items import Items
from recfuse_lib.data.sequences import latest, sequences
from recfuse_lib.data.splits import POSITIVE, Queries
from recfuse_lib.models import memory
from recfuse_lib.models.contract import Recommender
from recfuse_lib.models.sequential import full_softmax
from recfuse_lib.training.pipelines import untuned

one_negative = definitions("05_deep_tower").one_negative

LOSSES = ("one", "full")
"""`one` negative with binary cross-entropy (2018), or the `full` softmax (2023)."""

QUERIES = 256
"""Queries that are scored at once."""


class SASRec(Recommender):
    """Self-attentive sequential recommendation from ids alone.

        x_t = E[i_t] √D + P[t],   p_t = the transformer's answer at place t,   s(u, i) = p_tᵀ E[i]

    E holds a vector for each item, P one for each place. Each block is attention that looks back only, then two
    point-wise layers, each with a norm and a way around. The defaults are those of the original on MovieLens-1M:
    D = 50, two blocks, one head, dropout 0.2, Adam with rate 0.001, batches of 128 people, one drawn negative a place.
    The original reads the last L events of a person; here longer histories become several rows, so that none is lost.

    Args:
        dimension: D.
        length: L, how many events are read.
        blocks: Number of blocks.
        heads: Heads of the attention.
        dropout: 0–1.
        loss: One of `LOSSES`.
        epochs: Passes over the people's histories.
        batch_size: Histories a step.
        learning_rate: Of Adam.
        positives_only: Whether only ratings of at least 4 stars count as events; the original takes all.

    Raises:
        ValueError: There is no such loss.

    Example:
        >>> history = pd.DataFrame({"user": [0, 0, 1], "item": [0, 1, 0], "rating": 5.0, "timestamp": [1, 2, 3]})
        >>> model = SASRec(dimension=4, length=4, epochs=1).fit(history, Items.unnamed(3))
        >>> model.score(Queries.of(history, np.array([1]), 3)).shape
        (1, 3)

    References:
        Kang and McAuley (2018), Self-Attentive Sequential Recommendation, ICDM.
        Klenitskiy and Vasilev (2023), Turning Dross Into Gold Loss: Is BERT4Rec Really Better than SASRec?, RecSys
        (`full`).
    """

    def __init__(
        self,
        dimension: int = 50,
        length: int = 200,
        blocks: int = 2,
        heads: int = 1,
        dropout: float = 0.2,
        loss: str = "one",
        epochs: int = 200,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        positives_only: bool = False,
    ) -> None:
        if loss not in LOSSES:
            raise ValueError(f"loss {loss!r} is unknown; choose one of {', '.join(LOSSES)}")
        self.network: dict[str, Any] = {
            "dimension": dimension,
            "length": length,
            "blocks": blocks,
            "heads": heads,
            "dropout": dropout,
        }
        self.loss, self.epochs, self.batch_size = loss, epochs, batch_size
        self.learning_rate, self.positives_only = learning_rate, positives_only
        self.length = length

    def fit(
        self, history: pd.DataFrame, items: Items, callbacks: list[keras.callbacks.Callback] | None = None
    ) -> SASRec:
        """Trains from the beginning on `history` (columns `user`, `item`, `rating`, `timestamp`).

        Args:
            history: The events.
            items: What is known of the items.
            callbacks: Keras callbacks; they may call `score` while the training runs.

        Raises:
            ValueError: There is no event to learn from.
        """
        events = history[history["rating"] >= POSITIVE] if self.positives_only else history
        if events.empty:
            raise ValueError("there are no events to learn from")
        rows = sequences(events, self.length, self.length)
        inputs = {"history": _padded(rows["history"], rows["history_rating"], items.n_items)}
        inputs["target"] = rows["target"][..., 0]
        inputs["counted"] = (rows["target_rating"][..., 0] > 0) & (rows["history_rating"] > 0)
        if self.loss == "full":
            needed = 12 * self.batch_size * self.length * items.n_items
            way_out = "take smaller batches, or loss='one', which draws one other item instead of scoring all"
            memory.check(needed, f"SASRec, scoring {items.n_items:,} items at each step", way_out)
        self.model = _Network(items.n_items, self.loss, **self.network)
        steps = -(-len(rows["history"]) // self.batch_size)
        size = -(-len(rows["history"]) // steps)
        inputs = {name: np.resize(values, (steps * size, self.length)) for name, values in inputs.items()}
        # Not with XLA: on a CPU it draws the random numbers of dropout, of which there are many here, far more slowly.
        self.model.compile(keras.optimizers.Adam(self.learning_rate, beta_2=0.98), jit_compile=False)
        with untuned():
            self.model.fit(inputs, epochs=self.epochs, batch_size=size, verbose=0, callbacks=callbacks)
        return self

    def _score(self, queries: Queries) -> np.ndarray:
        queries = _liked(queries) if self.positives_only else queries
        scores = [np.zeros((0, queries.n_items), "float32")]
        for start in range(0, len(queries), QUERIES):
            past = latest(queries[start : start + QUERIES], self.length)
            history = _padded(past["history"], past["history_rating"], queries.n_items)
            states = self.model({"history": ops.convert_to_tensor(history)})[:, -1]
            scores.append(ops.convert_to_numpy(ops.matmul(states, ops.transpose(self.model.items))))
        return np.concatenate(scores)


class _Network(keras.Model):
    def __init__(
        self, n_items: int, loss: str, dimension: int, length: int, blocks: int, heads: int, dropout: float
    ) -> None:
        super().__init__(name="sasrec")
        self.n_items, self.loss_kind, self.dimension, self.length = n_items, loss, dimension, length
        self.random = keras.random.SeedGenerator()
        start = keras.initializers.RandomNormal(stddev=0.02)
        self.table = self.add_weight(shape=(n_items + 1, dimension), initializer=start, name="items")
        self.places = self.add_weight(shape=(length, dimension), initializer=start, name="places")
        self.dropouts = [keras.layers.Dropout(dropout) for _ in range(blocks + 1)]
        self.attentions = [
            keras.layers.MultiHeadAttention(heads, dimension // heads, dropout=dropout) for _ in range(blocks)
        ]
        self.norms = [keras.layers.LayerNormalization(epsilon=1e-8) for _ in range(2 * blocks + 1)]
        self.pointwise = [
            (keras.layers.Dense(dimension, activation="relu"), keras.layers.Dense(dimension)) for _ in range(blocks)
        ]

    @property
    def items(self) -> Any:
        """E without the row that stands for padding, (I, D)."""
        return self.table[: self.n_items]

    def call(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """p at every place, (B, L, D)."""
        exists = ops.not_equal(inputs["history"], self.n_items)
        shown = ops.cast(exists, "float32")[:, :, None]
        x = ops.take(self.table, inputs["history"], axis=0) * self.dimension**0.5 + self.places
        x = self.dropouts[0](x * shown, training=training)
        # A place that is padding sees itself, so that its softmax has something to sum over.
        seen = ops.logical_or(exists[:, None, :], np.eye(self.length, dtype=bool))
        for number, attention in enumerate(self.attentions):
            query = self.norms[2 * number](x)
            x = query + attention(query, x, attention_mask=seen, use_causal_mask=True, training=training)
            x = self.norms[2 * number + 1](x)
            first, last = self.pointwise[number]
            x = (x + self.dropouts[number + 1](last(first(x)), training=training)) * shown
        return self.norms[-1](x)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        interests = ops.reshape(y_pred, (-1, self.dimension))
        target, counted = ops.reshape(x["target"], (-1,)), ops.cast(ops.reshape(x["counted"], (-1,)), "float32")
        bias = ops.zeros((self.n_items,))
        if self.loss_kind == "full":
            losses = full_softmax(interests, target, self.items, bias, ops.ones((self.n_items,)))
        else:
            drawn = keras.random.randint(ops.shape(x["target"]), 0, self.n_items, seed=self.random)
            known = ops.any(ops.equal(drawn[:, :, None], x["history"][:, None, :]), axis=2)
            known = ops.logical_or(known, ops.any(ops.equal(drawn[:, :, None], x["target"][:, None, :]), axis=2))
            strangers = ops.logical_not(ops.reshape(known, (-1,)))
            losses = one_negative(interests, target, ops.reshape(drawn, (-1,)), self.items, bias, strangers)
        return ops.sum(losses * counted) / ops.maximum(ops.sum(counted), 1.0)


def _padded(history: np.ndarray, rating: np.ndarray, n_items: int) -> np.ndarray:
    """Item codes, with I where nothing is."""
    return np.where(rating > 0, history, n_items).astype("int32")


def _liked(queries: Queries) -> Queries:
    """The same questions, with histories of positives alone."""
    kept = queries.rating >= POSITIVE
    indptr = np.concatenate([[0], np.cumsum(kept)])[queries.indptr]
    return Queries(
        queries.user, indptr, queries.item[kept], queries.rating[kept], queries.timestamp[kept], queries.n_items
    )
