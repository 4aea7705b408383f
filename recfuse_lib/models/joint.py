"""The joint model: retrieval and ranking trained together over shared towers. Taught in notebooks 00 and 08."""

from collections.abc import Mapping
from typing import Any, Self

import keras
import numpy as np
import pandas as pd
from keras import ops

from recfuse_lib.data.items import Items
from recfuse_lib.data.sequences import examples, latest
from recfuse_lib.data.splits import POSITIVE, Queries
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.models import memory
from recfuse_lib.models.contract import Asked, Recommender, rows_of
from recfuse_lib.models.item_tower import MultimodalTower, encodings_of
from recfuse_lib.models.user_tower import UserTower
from recfuse_lib.training.pipelines import fit

XLA_PAYS_FROM = 100
"""Steps. On two CPU cores compiling takes about as long as XLA then saves in 80 to 200; Keras leaves it off there."""


class Ranking(keras.layers.Layer):
    """Predicts stars from the person, the item and how the two meet.

        ŷ = μ + a_u + c_i + f([p_u, z_i, p_u ∘ z_i])        (6)

    f is a small network with one hidden layer. An unknown person has the code U.
    """

    def __init__(self, n_users: int, n_items: int, dimension: int, mean_rating: float, hidden: int = 32) -> None:
        super().__init__()
        self.mean_rating = mean_rating
        self.user_bias = self.add_weight(shape=(n_users + 1,), initializer="zeros", name="user_bias")
        self.item_bias = self.add_weight(shape=(n_items,), initializer="zeros", name="item_bias")
        self.first = keras.layers.Dense(hidden, activation="relu")
        self.last = keras.layers.Dense(1)
        self.first.build((None, 3 * dimension))
        self.last.build((None, hidden))
        self.built = True

    def call(self, interests: Any, item_vectors: Any, user: Any, item: Any) -> Any:
        """Computes stars (B,) for interests (B, D), the examples' item vectors (B, D) and their codes (B,)."""
        features = ops.concatenate([interests, item_vectors, interests * item_vectors], axis=1)
        biases = ops.take(self.user_bias, user, axis=0) + ops.take(self.item_bias, item, axis=0)
        return self.mean_rating + biases + self.last(self.first(features))[:, 0]


@keras.saving.register_keras_serializable(package="recfuse")
class JointNetwork(keras.Model):
    """What `JointModel` trains; see there. A subclass may compute another loss, or put a network before the tasks."""

    def __init__(
        self,
        n_users: int,
        n_items: int,
        widths: Mapping[str, int],
        dimension: int = 64,
        history_length: int = 50,
        task_weight: float = 1.0,
        mean_rating: float = 3.5,
        item_dropout: float = 0.2,
        modality_dropout: float = 0.1,
        user_dropout: float = 0.5,
    ) -> None:
        settings = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__(name="joint")
        self.settings = settings | {"widths": dict(widths)}
        self.n_users, self.n_items = n_users, n_items
        self.dimension, self.history_length = dimension, history_length
        self.item_tower = MultimodalTower(n_items, widths, dimension, item_dropout, modality_dropout)
        self.user_tower = UserTower(n_users, dimension, user_dropout)
        self.ranking = Ranking(n_users, n_items, dimension, mean_rating)
        self.popularity = self.add_weight(shape=(n_items,), initializer="zeros", name="popularity")
        self.task_weights = self.add_weight(shape=(2,), initializer="zeros", trainable=False, name="task_weights")
        self.set_task_weight(task_weight)
        self.retrieval_loss = keras.metrics.Mean(name="retrieval_loss")
        self.ranking_loss = keras.metrics.Mean(name="ranking_loss")
        self.built = True

    def get_config(self) -> dict[str, Any]:
        return dict(self.settings)

    @property
    def task_weight(self) -> float:
        """λ as it is now; 0 trains retrieval alone, infinity ranking alone."""
        retrieval, ranking = ops.convert_to_numpy(self.task_weights)
        return float(ranking / retrieval) if retrieval else np.inf

    def set_task_weight(self, task_weight: float) -> None:
        """Sets λ; it counts from the next training step on."""
        if not task_weight >= 0:
            raise ValueError(f"the task weight is {task_weight}; it must be 0 or more")
        self.task_weights.assign([0.0, 1.0] if np.isinf(task_weight) else [1.0, task_weight])

    def interests(self, inputs: Mapping[str, Any], vectors: Any, training: bool = False) -> Any:
        """Computes p_u of a batch, (B, D), given z_i of every item, (I, D)."""
        return self.user_tower(inputs["user"], inputs["history"], inputs["history_rating"], vectors, training=training)

    def scores(self, interests: Any, vectors: Any) -> Any:
        """Computes s(u, i) of every item, (B, I)."""
        return ops.matmul(interests, ops.transpose(vectors)) + self.popularity

    def ratings(self, interests: Any, item_vectors: Any, user: Any, item: Any) -> Any:
        """Computes ŷ of one item an example, (B,); see `Ranking`."""
        return self.ranking(interests, item_vectors, user, item)

    def call(self, inputs: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """Computes `scores` of all items (B, I) and `rating` in stars (B,) for a batch of `sequences.examples`."""
        return self.answers(inputs, self.item_tower(training=training), training)

    def answers(self, inputs: Mapping[str, Any], vectors: Any, training: bool = False) -> dict[str, Any]:
        """Computes both tasks' answers, given z_i of every item, (I, D)."""
        interests = self.interests(inputs, vectors, training)
        item_vectors = ops.take(vectors, inputs["item"], axis=0)
        ratings = self.ratings(interests, item_vectors, inputs["user"], inputs["item"])
        return {"scores": self.scores(interests, vectors), "rating": ratings}

    def retrieval_loss_of(self, scores: Any, item: Any, positive: Any) -> Any:
        """Computes equation (5), a scalar in nats, from scores (B, I), items (B,) and which are liked, 1 or 0 (B,)."""
        scores = ops.where(self.item_tower.available > 0, scores, -1e9)
        losses = keras.losses.sparse_categorical_crossentropy(item, scores, from_logits=True)
        return ops.sum(losses * positive) / ops.maximum(ops.sum(positive), 1.0)

    def losses_of(self, x: Mapping[str, Any], answers: Mapping[str, Any]) -> tuple[Any, Any]:
        """Computes (ℓ_idx, ℓ_item) of a batch's answers."""
        positive = ops.cast(x["rating"] >= POSITIVE, "float32")
        retrieval_loss = self.retrieval_loss_of(answers["scores"], x["item"], positive)
        return retrieval_loss, ops.mean(ops.square(answers["rating"] - x["rating"]))

    def weighted(self, retrieval_loss: Any, ranking_loss: Any) -> Any:
        """Computes equation (8)."""
        return self.task_weights[0] * retrieval_loss + self.task_weights[1] * ranking_loss

    def task_losses(self, inputs: Mapping[str, Any]) -> tuple[Any, Any]:
        """Computes (ℓ_idx, ℓ_item) of a batch, with nothing dropped; tensors that can be differentiated."""
        return self.losses_of(inputs, self(inputs, training=False))

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Computes equation (8); each task's own loss is tracked as a metric."""
        retrieval_loss, ranking_loss = self.losses_of(x, y_pred)
        self.retrieval_loss.update_state(retrieval_loss)
        self.ranking_loss.update_state(ranking_loss)
        return self.weighted(retrieval_loss, ranking_loss)


class JointModel(Recommender):
    """Trains two towers for two tasks with one loss (article §4.1).

        s(u, i) = p_uᵀ z_i + β_i        (4)
        ℓ_idx = −(1/|P|) Σ_{(u,i) ∈ P} log (exp s(u, i) / Σ_k exp s(u, k))        (5)
        ℓ_item = (1/B) Σ (y − ŷ)²,   L(θ, φ) = ℓ_idx + λ · ℓ_item        (7, 8)

    P are the positives of the batch, β_i is the popularity of the item on a log scale, ŷ is that of `Ranking`. The sum
    over k runs over all items that could be chosen: no negatives are drawn. Both tasks read the same p_u (`UserTower`)
    and z_i (`MultimodalTower`). `settings` are those of `JointNetwork`: `dimension` D; `history_length` L, how many
    events the user tower reads; `task_weight` λ; `mean_rating` μ, in stars; and the dropout rates.

    Source: Yi et al. (2019), Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations, RecSys.
    """

    def __init__(self, network: type[JointNetwork] = JointNetwork, **settings: Any) -> None:
        self.network_class, self.settings = network, settings

    def build(self, n_users: int, n_items: int, widths: Mapping[str, int]) -> Self:
        """Makes a network that has learned nothing."""
        network = self.network_class(n_users, n_items, widths, **self.settings)
        self.network, self.item_tower, self.user_tower = network, network.item_tower, network.user_tower
        self.n_users, self.n_items, self.history_length = n_users, n_items, network.history_length
        return self

    def fit(
        self,
        history: pd.DataFrame,
        items: Items | ItemEncodings,
        available: np.ndarray | None = None,
        n_users: int | None = None,
        epochs: int = 8,
        batch_size: int = 1024,
        learning_rate: float = 3e-3,
        callbacks: list[keras.callbacks.Callback] | None = None,
    ) -> Self:
        """Learns with Adam; `logs` is then what Keras logged in each epoch.

        Args:
            items: The items, or their encodings, centred on those of the history.
            available: Which items could be chosen during the history, bool (I,); all by default. The others are not in
                the sum of equation (5) and get no correction δ: content alone supports them.
            n_users: U, where more than the history's people are to have a code.
            batch_size: Examples a step, or a little fewer where that makes all batches of one size.

        Raises:
            ValueError: `available` does not fit, or the history is empty or holds an item that was not available.
        """
        encodings, available = encodings_of(items, history, available)
        if history.empty:
            raise ValueError("the history is empty; there is nothing to learn from")
        self.build(n_users or int(history["user"].max()) + 1, encodings.n_items, encodings.widths)
        self.item_tower.set_encodings(encodings)
        self.item_tower.set_available(available)
        needed = 12 * batch_size * self.n_items + 16 * self.network.dimension * (self.n_users + self.n_items)
        what = f"a joint model of {self.n_users:,} people and {self.n_items:,} items"
        memory.check(needed, what, "take small batches")
        rows, batch_size = _even_batches(len(history), batch_size)
        xla = epochs * len(rows) // batch_size >= XLA_PAYS_FROM if keras.backend.backend() == "tensorflow" else "auto"
        self.network.compile(optimizer=keras.optimizers.Adam(learning_rate), jit_compile=xla)
        inputs = {name: values[rows] for name, values in examples(history, self.history_length).items()}
        self.logs = fit(self.network, inputs, epochs=epochs, batch_size=batch_size, callbacks=callbacks).history
        return self

    def interests(self, queries: Queries, vectors: Any) -> Any:
        """Computes p_u of every query, (Q, D), given z_i of every item, (I, D); unknown people have the code U."""
        inputs = {"user": np.minimum(queries.user, self.n_users), **latest(queries, self.history_length)}
        tensors = {name: ops.convert_to_tensor(value) for name, value in inputs.items() if name != "history_time"}
        return self.network.interests(tensors, vectors)

    def _score(self, queries: Queries) -> np.ndarray:
        vectors = self.item_tower()
        return np.asarray(ops.convert_to_numpy(self.network.scores(self.interests(queries, vectors), vectors)))

    def predict(self, queries: Queries, asked: Asked) -> np.ndarray:
        """Predicts stars, float32 (N,); see `Recommender.predict`."""
        vectors, row = self.item_tower(), rows_of(queries, asked)
        user = ops.convert_to_tensor(np.minimum(queries.user[row], self.n_users))
        item = ops.convert_to_tensor(np.asarray(asked["item"], "int32"))
        interests = ops.take(self.interests(queries, vectors), row, axis=0)
        ratings = self.network.ratings(interests, ops.take(vectors, item, axis=0), user, item)
        return np.asarray(ops.convert_to_numpy(ratings))


def _even_batches(n_examples: int, batch_size: int) -> tuple[np.ndarray, int]:
    """Rows that fill equal batches, a few repeated at random: XLA would compile again for a smaller last one."""
    batches = -(-n_examples // batch_size)
    size = -(-n_examples // batches)
    again = np.random.default_rng(0).choice(n_examples, batches * size - n_examples, replace=False)
    return np.concatenate([np.arange(n_examples), again]), size
