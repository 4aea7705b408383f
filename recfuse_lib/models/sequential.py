"""The sequential model: a transformer over the history, over items that are anchored in content.
Taught in notebook 05.
"""

from collections.abc import Mapping
from typing import Any, Self

import keras
import numpy as np
import pandas as pd
from keras import ops

from recfuse_lib.data.items import Items
from recfuse_lib.data.sequences import latest, sequences
from recfuse_lib.data.splits import POSITIVE, Queries
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.models.contract import Recommender
from recfuse_lib.models.item_tower import MultimodalTower, encodings_of
from recfuse_lib.models.transformer import AttributeCrosses, HistoryTransformer
from recfuse_lib.training.pipelines import fit

QUERIES = 256
"""Queries that are scored at once."""

NEVER = -1e9
"""A score so low that its exponential is 0."""


def full_softmax(interests: Any, target: Any, vectors: Any, bias: Any, available: Any) -> Any:
    """Computes the exact loss in nats, (N,): the target against all items that could be chosen.

        ℓ = −log (exp s(u, i) / Σ_k exp s(u, k)),   s(u, k) = p_uᵀ z_k + β_k        (1)

    `interests` are p_u, (N, D), `target` the codes of what came next, (N,), `vectors` z_k, (I, D), and `bias` β_k,
    (I,); `available`, (I,), is 1 for the items that could be chosen, else 0.
    """
    # The mask goes into the bias, (I,), so that no pass over the scores, (N, I), is needed for it.
    scores = ops.matmul(interests, ops.transpose(vectors)) + ops.where(available > 0, bias, NEVER)
    return keras.losses.sparse_categorical_crossentropy(target, scores, from_logits=True)


def sampled_softmax(
    interests: Any, target: Any, drawn: Any, vectors: Any, bias: Any, log_q: Any, available: Any
) -> Any:
    """Computes the loss against M drawn items, (N,): each score minus the log-probability to be drawn.

        s'(u, k) = s(u, k) − log Q_k,   ℓ = −log (exp s'(u, i) / (exp s'(u, i) + Σ_{k drawn} exp s'(u, k)))        (2)

    A drawn copy of the target counts: given the M + 1 items, the probability that i is the one that was not drawn is in
    proportion to P(i | u) / Q_i for each, copies included. Without them a popular item is pushed down too seldom.

    `drawn` are codes of negatives, the same for all N, (M,); `log_q` is log Q_k up to a constant, (I,), all 0 to
    correct nothing. For the others see `full_softmax`.

    References:
        Bengio and Senécal (2008), Adaptive Importance Sampling to Accelerate Training of a Neural Probabilistic
        Language Model, IEEE Transactions on Neural Networks 19(4).
    """
    corrected = bias - log_q
    liked = pair_scores(interests, target, vectors, corrected)
    others = ops.matmul(interests, ops.transpose(ops.take(vectors, drawn, axis=0))) + ops.take(corrected, drawn)
    others = ops.where(ops.take(available, drawn) > 0, others, NEVER)
    return ops.logsumexp(ops.concatenate([liked[:, None], others], axis=1), axis=1) - liked


def pair_scores(interests: Any, items: Any, vectors: Any, bias: Any) -> Any:
    """Computes s(u, i) of one item for each interest, (N,)."""
    return ops.sum(interests * ops.take(vectors, items, axis=0), axis=1) + ops.take(bias, items)


@keras.saving.register_keras_serializable(package="recfuse")
class SequentialNetwork(keras.Model):
    """What `SequentialModel` trains; see there. A subclass may read other inputs or compute another loss."""

    def __init__(
        self,
        n_items: int,
        widths: Mapping[str, int],
        dimension: int = 48,
        history_length: int = 64,
        crosses: int = 2,
        horizon: int = 5,
        negatives: int = 0,
        dropout: float = 0.1,
    ) -> None:
        settings = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__(name="sequential")
        self.settings = settings | {"widths": dict(widths)}
        self.n_items, self.dimension, self.length = n_items, dimension, history_length
        self.horizon, self.negatives = horizon, negatives
        self.random = keras.random.SeedGenerator()
        self.item_tower = MultimodalTower(n_items, widths, dimension)
        self.crosses = None
        if crosses and "attributes" in widths:
            self.crosses = AttributeCrosses(widths["attributes"], dimension, crosses)
        self.transformer = HistoryTransformer(dimension, history_length, dropout=dropout)
        self.draws = keras.random.SeedGenerator()
        self.popularity = self.add_weight(shape=(n_items,), initializer="zeros", name="popularity")
        self.built = True

    def get_config(self) -> dict[str, Any]:
        return dict(self.settings)

    def set_counts(self, counts: np.ndarray) -> None:
        """Sets how often each item is a target, (I,): what negatives are drawn by, and where β begins."""
        share = (counts + 1) / (np.sum(counts) + self.n_items)
        self.share, self.cumulative = share.astype("float32"), np.cumsum(share).astype("float32")
        available = np.asarray(ops.convert_to_numpy(self.item_tower.available))
        self.popularity.assign(np.where(available > 0, np.log1p(counts), 0.0).astype("float32"))

    def vectors(self, training: bool = False) -> Any:
        """Computes z_i of every item, (I, D)."""
        vectors = self.item_tower(training=training)
        if self.crosses is not None:
            position = self.item_tower.names.index("attributes")
            vectors = vectors + self.crosses(self.item_tower.encodings[position])
        return vectors

    def interests(self, inputs: Mapping[str, Any], vectors: Any, training: bool = False) -> Any:
        """Computes p at all positions of the histories, (B, L, D)."""
        history = ops.take(vectors, inputs["history"], axis=0)
        return self.transformer(history, inputs["history_rating"], inputs["history_time"], training=training)

    def call(self, inputs: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """Computes the interests at all positions (B, L, D) and z_i of every item (I, D)."""
        vectors = self.vectors(training)
        return {"interests": self.interests(inputs, vectors, training), "vectors": vectors}

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Computes the mean loss over the positions after which something was liked, in nats."""
        interests = ops.reshape(y_pred["interests"][:, -x["target"].shape[1] :], (-1, self.dimension))
        liked = ops.cast(ops.reshape(x["target_rating"], (-1, self.horizon)) >= POSITIVE, "float32")
        # Of the liked items ahead one is taken, each with the same probability.
        draws = liked * keras.random.uniform(ops.shape(liked), minval=1e-6, seed=self.random)
        chosen = ops.expand_dims(ops.argmax(draws, axis=1), 1)
        target = ops.take_along_axis(ops.reshape(x["target"], (-1, self.horizon)), chosen, axis=1)[:, 0]
        counted = ops.max(liked, axis=1)
        losses = self.item_losses(interests, target, y_pred["vectors"], counted)
        return ops.sum(losses * counted) / ops.maximum(ops.sum(counted), 1.0)

    def item_losses(self, interests: Any, target: Any, vectors: Any, counted: Any) -> Any:
        """Computes ℓ of each position, (N,), in nats; of no meaning where `counted` (N,) is 0."""
        if not self.negatives:
            return full_softmax(interests, target, vectors, self.popularity, self.item_tower.available)
        uniform = keras.random.uniform((self.negatives,), seed=self.draws)
        drawn = ops.cast(ops.minimum(ops.searchsorted(self.cumulative, uniform), self.n_items - 1), "int32")
        available = self.item_tower.available
        return sampled_softmax(interests, target, drawn, vectors, self.popularity, self.log_q(), available)

    def log_q(self) -> Any:
        """Computes log Q of every item, (I,): Q is its share of the targets, each item counted once more."""
        return ops.log(ops.convert_to_tensor(self.share))


class SequentialModel(Recommender):
    """Predicts what a person will like next from the order, the ratings and the times of what they did.

        s(u, i) = p_uᵀ z_i + β_i,   p_u the transformer's answer at the last position        (5)
        z_i = Σ_d √n_i g_i^d W_d e_i^d + c_i δ_i + crosses(a_i)        (6)

    z_i is a `MultimodalTower`, with attribute crosses where there is a dimension `attributes`. Training asks at all
    positions of the histories at once for one of the next H items that the person liked, among all items or drawn ones.
    Nothing is kept of a person but their history, so any history is answered.

    `settings` are those of `SequentialNetwork`: `dimension` D; `history_length` L, how many events are read, even;
    `crosses`, layers of the attribute crosses; `horizon` H; `negatives`, how many items the sampled softmax draws, 0
    for the full one; `dropout`, see `HistoryTransformer`.

    References:
        Kang and McAuley (2018), Self-Attentive Sequential Recommendation, ICDM.
        Pancha et al. (2022), PinnerFormer: Sequence Modeling for User Representation at Pinterest, KDD (H items).
    """

    def __init__(self, network: type[SequentialNetwork] = SequentialNetwork, **settings: Any) -> None:
        self.network_class, self.settings = network, settings

    def fit(
        self,
        history: pd.DataFrame,
        items: Items | ItemEncodings,
        available: np.ndarray | None = None,
        epochs: int = 6,
        batch_size: int = 64,
        learning_rate: float = 0.01,
        callbacks: list[keras.callbacks.Callback] | None = None,
    ) -> Self:
        """Learns with Adam, its rate falling to 0 along a cosine; `logs` is then what Keras logged in each epoch.

        Args:
            items: The items, or their encodings, centred on those of the history.
            available: Which items could be chosen during the history, bool (I,); all by default. The others are never
                negatives and get no correction δ: content alone supports them.
            batch_size: Rows of L events a step, or a little fewer where that makes all batches of one size.

        Raises:
            ValueError: `available` does not fit, or the history likes nothing or holds an item that was not available.
        """
        encodings, available = encodings_of(items, history, available)
        liked = history["item"][history["rating"] >= POSITIVE]
        if liked.empty:
            raise ValueError(f"{len(history)} ratings, none of {POSITIVE:g} stars or more: there is nothing to learn")
        self.network = self.network_class(encodings.n_items, encodings.widths, **self.settings)
        self.network.item_tower.set_encodings(encodings)
        self.network.item_tower.set_available(available)
        self.network.set_counts(np.bincount(liked, minlength=encodings.n_items))
        length = self.network.length
        # A row is asked at its last L / 2 positions, so that each of them has at least L / 2 positions before it.
        inputs = sequences(history, length, max(1, length // 2), self.network.horizon)
        steps = -(-len(inputs["history"]) // batch_size)
        size = -(-len(inputs["history"]) // steps)
        # All batches have one size, or XLA, where it is used, would compile twice; the few missing rows are repeated.
        inputs = {name: np.resize(values, (steps * size, *values.shape[1:])) for name, values in inputs.items()}
        schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps * epochs)
        # Not forced through XLA: on a CPU, compiling takes as long as XLA saves in five epochs, and half a gigabyte.
        self.network.compile(optimizer=keras.optimizers.Adam(schedule))
        self.logs = fit(self.network, inputs, epochs=epochs, batch_size=size, callbacks=callbacks).history
        return self

    def _score(self, queries: Queries) -> np.ndarray:
        network, vectors = self.network, self.network.vectors()
        scores = [np.zeros((0, network.n_items), "float32")]
        for start in range(0, len(queries), QUERIES):
            past = latest(queries[start : start + QUERIES], network.length)
            inputs = {name: ops.convert_to_tensor(value) for name, value in past.items()}
            interests = network.interests(inputs, vectors)[:, -1]
            scores.append(ops.convert_to_numpy(ops.matmul(interests, ops.transpose(vectors)) + network.popularity))
        return np.concatenate(scores)
