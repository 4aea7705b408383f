"""The joint model: retrieval and ranking trained together over shared towers.

Taught in notebooks 00 and 08.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
import pandas as pd
from keras import ops

from recfuse_lib.data import sequences
from recfuse_lib.data.splits import POSITIVE, Queries
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.models import experts, memory
from recfuse_lib.models.balancing import FixedWeights, UncertaintyWeights
from recfuse_lib.models.item_tower import MultimodalTower
from recfuse_lib.models.ranking import Ranking
from recfuse_lib.models.retrieval import Retrieval
from recfuse_lib.models.user_tower import UserTower
from recfuse_lib.training.pipelines import untuned

RETRIEVAL_FORMS = ("softmax", "mse", "mse_catalogue")
XLA_PAYS_FROM = 100
"""Steps. On two CPU cores compiling takes about as long as XLA then saves in 80 to 200; Keras leaves it off there."""

BALANCING: dict[str, Callable[..., Any]] = {"fixed": FixedWeights, "uncertainty": UncertaintyWeights}

EXPERT_UNITS = 64
"""Hidden units of the experts of one tower, all that one task can use taken together."""

SHARING: dict[str, Callable[[int], Any]] = {
    "bottom": lambda dimension: experts.SharedBottom(dimension, EXPERT_UNITS),
    "mmoe": lambda dimension: experts.MMoE(dimension, EXPERT_UNITS // 4, n_experts=4),
    "ple": lambda dimension: experts.PLE(dimension, EXPERT_UNITS // 4, n_shared=2, n_own=2, n_levels=2),
}


@keras.saving.register_keras_serializable(package="recfuse")
class JointModel(keras.Model):
    """Two towers, two tasks, one loss (article §4.1):

        L(θ, φ) = ℓ_idx + λ · ℓ_item        (8)

    Both tasks read the same p_u and z_i, unless `sharing` puts a network between: then each task t has
    p_u^t = p_u + y_t(p_u) and z_i^t = z_i + y'_t(z_i), where y is a shared bottom, MMoE or PLE, and y' another. In that
    case the score is no sum over the history, and `recfuse_lib.serving.explaining` does not apply.

    ℓ_idx has three forms. "softmax" is equation (5). "mse" is what the article prints, over the pairs of the batch,
    with y = 1 for a positive and 0 for another rating. "mse_catalogue" is squared error over all items k that could be
    chosen, where y is 1 for the chosen one alone:

        ℓ_idx = (1/B) Σ (y − s(u, i))²        (14)
        ℓ_idx = (1/|P|) Σ_{(u,i) ∈ P} Σ_k (y_k − s(u, k))²        (15)

    Args:
        n_users: U.
        n_items: I.
        widths: Dimension -> width of its encodings, as `ItemEncodings.widths`.
        dimension: D, width of the vectors that both towers share.
        history_length: L, how many past interactions the user tower reads.
        task_weight: λ; 0 trains retrieval alone, infinity ranking alone.
        mean_rating: μ, in stars.
        item_dropout: See `MultimodalTower`.
        modality_dropout: See `MultimodalTower`.
        user_dropout: See `UserTower`.
        retrieval_form: One of `RETRIEVAL_FORMS`.
        balancing: "fixed" keeps λ, "uncertainty" learns it (see `UncertaintyWeights`).
        sharing: "towers", or "bottom", "mmoe" or "ple" for a network between the towers and the tasks.

    Raises:
        ValueError: A form, a balancing or a sharing of that name does not exist.

    Example:
        >>> encodings = ItemEncodings.of({"text": np.eye(3, 4), "image": np.eye(3, 2)})
        >>> model = JointModel(n_users=2, n_items=3, widths=encodings.widths, dimension=8)
        >>> model.item_tower.set_encodings(encodings)
        >>> queries = Queries(np.array([0]), np.array([0, 1]), np.array([2]), np.array([5.0]), np.array([9]), n_items=3)
        >>> model.score(queries).shape
        (1, 3)

    References:
        Yi et al. (2019), Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations, RecSys.
    """

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
        retrieval_form: str = "softmax",
        balancing: str = "fixed",
        sharing: str = "towers",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _one_of("retrieval_form", retrieval_form, RETRIEVAL_FORMS)
        _one_of("balancing", balancing, BALANCING)
        _one_of("sharing", sharing, ("towers", *SHARING))
        self.n_users, self.n_items = n_users, n_items
        self.dimension, self.history_length, self.task_weight = dimension, history_length, task_weight
        self.mean_rating, self.user_dropout = mean_rating, user_dropout
        self.item_dropout, self.modality_dropout = item_dropout, modality_dropout
        self.retrieval_form, self.sharing, self._balancing_name = retrieval_form, sharing, balancing
        self.item_tower = MultimodalTower(n_items, widths, dimension, item_dropout, modality_dropout, name="item_tower")
        self.user_tower = UserTower(n_users, dimension, user_dropout, name="user_tower")
        self.retrieval = Retrieval(n_items, name="retrieval")
        self.ranking = Ranking(n_users, n_items, dimension, mean_rating, name="ranking")
        self.balancing = BALANCING[balancing](task_weight, name="balancing")
        self.user_experts: Any = SHARING[sharing](dimension) if sharing in SHARING else None
        self.item_experts: Any = SHARING[sharing](dimension) if sharing in SHARING else None
        self.retrieval_loss = keras.metrics.Mean(name="retrieval_loss")
        self.ranking_loss = keras.metrics.Mean(name="ranking_loss")
        self.built = True

    def call(self, inputs: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """Both tasks' answers for a batch of `recfuse_lib.data.sequences.examples`.

        Returns:
            `scores` of all items (B, I) and `rating` in stars (B,).
        """
        vectors = self.item_tower(training=training)
        interests = self._interests(inputs, vectors, training)
        item_vectors = ops.take(vectors, inputs["item"], axis=0)
        return {
            "scores": self._scores(interests, vectors),
            "rating": self._ratings(interests, item_vectors, inputs["user"], inputs["item"]),
        }

    def _scores(self, interests: Any, vectors: Any) -> Any:
        if self.user_experts is not None:
            interests = interests + self.user_experts(interests)[0]
            vectors = vectors + self.item_experts(vectors)[0]
        return self.retrieval(interests, vectors)

    def _ratings(self, interests: Any, item_vectors: Any, user: Any, item: Any) -> Any:
        if self.user_experts is not None:
            interests = interests + self.user_experts(interests)[1]
            item_vectors = item_vectors + self.item_experts(item_vectors)[1]
        return self.ranking(interests, item_vectors, user, item)

    def _interests(self, inputs: Mapping[str, Any], vectors: Any, training: bool) -> Any:
        return self.user_tower(inputs["user"], inputs["history"], inputs["history_rating"], vectors, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Equation (8); each task's own loss is tracked as a metric."""
        retrieval_loss, ranking_loss = self._task_losses(x, y_pred)
        self.retrieval_loss.update_state(retrieval_loss)
        self.ranking_loss.update_state(ranking_loss)
        return self.balancing(retrieval_loss, ranking_loss)

    def task_losses(self, inputs: Mapping[str, Any]) -> tuple[Any, Any]:
        """(ℓ_idx, ℓ_item) of a batch, with nothing dropped; tensors that can be differentiated."""
        return self._task_losses(inputs, self(inputs, training=False))

    def _task_losses(self, x: Any, y_pred: Any) -> tuple[Any, Any]:
        positive = ops.cast(x["rating"] >= POSITIVE, "float32")
        available = self.item_tower.available
        if self.retrieval_form == "softmax":
            retrieval_loss = self.retrieval.loss(y_pred["scores"], x["item"], positive, available)
        else:
            own = ops.take_along_axis(y_pred["scores"], x["item"][:, None], axis=1)[:, 0]
            if self.retrieval_form == "mse":
                retrieval_loss = ops.mean(ops.square(positive - own))
            else:
                errors = ops.sum(available * ops.square(y_pred["scores"]), axis=1) - 2 * own + 1
                retrieval_loss = ops.sum(errors * positive) / ops.maximum(ops.sum(positive), 1.0)
        return retrieval_loss, self.ranking.loss(x["rating"], y_pred["rating"])

    def learn(
        self,
        history: pd.DataFrame,
        encodings: ItemEncodings,
        available: np.ndarray | None = None,
        epochs: int = 8,
        batch_size: int = 1024,
        learning_rate: float = 3e-3,
        verbose: int = 2,
        callbacks: list[keras.callbacks.Callback] | None = None,
    ) -> keras.callbacks.History:
        """Learns from a history with Adam.

        Args:
            history: Columns `user`, `item`, `rating`, `timestamp`.
            encodings: Of the whole catalogue, centred on the items of the history.
            available: Which items could be chosen during the history, bool (I,); all by default. The others are not
                in the sum of equation (5) and get no correction δ: content alone speaks for them.
            epochs: Passes over the history.
            batch_size: Examples a step, or a little fewer where that makes all batches of one size.
            learning_rate: Of Adam.
            verbose: 0 is silent, 2 prints one line an epoch.
            callbacks: Keras callbacks.

        Raises:
            ValueError: The encodings or `available` do not fit the model, or the history is empty or holds an item
                that was not available.
        """
        available = np.ones(self.n_items, bool) if available is None else available
        self.item_tower.set_encodings(encodings)
        self.item_tower.set_available(available)
        if not (there := available[history["item"].to_numpy()]).all():
            item = history["item"].to_numpy()[~there][0]
            raise ValueError(f"item {item} is in the history, but `available` says that it could not be chosen")
        needed = 12 * batch_size * self.n_items + 16 * self.dimension * (self.n_users + self.n_items)
        memory.check(
            needed, f"a joint model of {self.n_users:,} people and {self.n_items:,} items", "take small batches"
        )
        rows, batch_size = _even_batches(len(history), batch_size)
        xla = epochs * len(rows) // batch_size >= XLA_PAYS_FROM if keras.backend.backend() == "tensorflow" else "auto"
        self.compile(optimizer=keras.optimizers.Adam(learning_rate), jit_compile=xla)
        inputs = sequences.examples(history, self.history_length)
        inputs = {name: values[rows] for name, values in inputs.items()}
        with untuned():
            return self.fit(inputs, epochs=epochs, batch_size=batch_size, verbose=verbose, callbacks=callbacks)

    def score(self, queries: Queries) -> np.ndarray:
        """s(u, i) of every item for every query, float32 (Q, n_items); people it never met count as unknown."""
        vectors = self.item_tower()
        return np.asarray(ops.convert_to_numpy(self._scores(self.interests(queries, vectors), vectors)))

    def interests(self, queries: Queries, vectors: Any) -> Any:
        """p_u of every query, (Q, D), given z_i of every item, (I, D)."""
        history, history_rating, _ = sequences.latest(queries, self.history_length).values()
        user = np.where(queries.user < self.n_users, queries.user, self.n_users)
        inputs = {"user": user, "history": history, "history_rating": history_rating}
        return self._interests({name: ops.convert_to_tensor(value) for name, value in inputs.items()}, vectors, False)

    def predict_rating(self, queries: Queries, item: np.ndarray) -> np.ndarray:
        """ŷ in stars of one item for each query, float32 (Q,).

        Args:
            queries: The queries, (Q,).
            item: Item codes, (Q,).
        """
        vectors = self.item_tower()
        user = ops.convert_to_tensor(np.where(queries.user < self.n_users, queries.user, self.n_users))
        code = ops.convert_to_tensor(np.asarray(item, "int32"))
        ratings = self._ratings(self.interests(queries, vectors), ops.take(vectors, code, axis=0), user, code)
        return np.asarray(ops.convert_to_numpy(ratings))

    def get_config(self) -> dict[str, Any]:
        own = (
            "n_users",
            "n_items",
            "dimension",
            "history_length",
            "task_weight",
            "mean_rating",
            "item_dropout",
            "modality_dropout",
            "user_dropout",
            "retrieval_form",
            "sharing",
        )
        configured = {name: getattr(self, name) for name in own}
        other = {"widths": self.item_tower.widths, "balancing": self._balancing_name}
        return {**super().get_config(), **configured, **other}


def _one_of(argument: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise ValueError(f"{argument} is {value!r}; it is one of {', '.join(known)}")


def _even_batches(n_examples: int, batch_size: int) -> tuple[np.ndarray, int]:
    """Rows that fill a whole number of batches, and the size of a batch, at most `batch_size`.

    XLA compiles a training step anew for a last batch that is smaller, which takes as long as an epoch or two. So the
    batches are made even, and the few places that are left (fewer than there are batches) repeat random examples.

    Raises:
        ValueError: There are no examples.
    """
    if not n_examples:
        raise ValueError("the history is empty; there is nothing to learn from")
    batches = -(-n_examples // batch_size)
    size = -(-n_examples // batches)
    again = np.random.default_rng(0).choice(n_examples, batches * size - n_examples, replace=False)
    return np.concatenate([np.arange(n_examples), again]), size
