"""Fine-tuning: the language model inside the joint model, moved by the losses of both tasks.

Taught in notebook 09.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pandas as pd
from keras import ops

from recfuse_lib.data.splits import POSITIVE, Queries
from recfuse_lib.encoders.centring import Centring
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.encoders.text import TextEncoder
from recfuse_lib.training.batches import Batches, pieces, specification
from recfuse_lib.training.devices import (
    advise_on_memory,
    gather_from_replicas,
    replicas,
    replicas_of,
    sum_over_replicas,
)
from recfuse_lib.training.policies import Policy
from recfuse_lib.training.text_layers import FrozenActivations, TrainableLayers, compiled

if TYPE_CHECKING:
    from recfuse_lib.models.joint import JointModel


class FineTuning(keras.Model):
    """A joint model together with the text encoder that it reads.

        L(θ, φ) = ℓ_idx(φ, e(θ)) + λ · ℓ_item(φ, e(θ))

    Encoding the whole catalogue at each step would cost too much. So at a step some items are encoded anew, with a
    gradient (`Batches` says which); all others come from a table, which `refresh` brings up to date. After training
    `joint` holds fresh encodings and is the recommender; the encoder and this class are not needed to serve it.

    Args:
        joint: A joint model, new or trained with frozen encodings; it is changed.
        encoder: The text encoder; it is changed.
        texts: One text an item, (I,).
        encodings: Of the catalogue, with a dimension called `dimension` that this encoder made, not centred.
        seen: Items that may have a say in the means: bool (I,) or item codes.
        policy: What of the encoder learns, by name; see `recfuse_lib.training.policies.Policy`.
        lower: The lower states for this policy and these texts, from an earlier model with an encoder of the same
            weights; computed where it is not given.
        dimension: Which dimension is the encoder's.

    Attributes:
        report: How many parameters of the encoder learn.

    Raises:
        ValueError: The encodings do not fit the joint model, or there is not a text for each item.
    """

    def __init__(
        self,
        joint: JointModel,
        encoder: TextEncoder,
        texts: Iterable[str],
        encodings: ItemEncodings,
        seen: np.ndarray,
        policy: str | Policy = "frozen",
        lower: FrozenActivations | None = None,
        dimension: str = "text",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        texts = list(texts)
        if len(texts) != joint.n_items or dimension not in encodings.matrices:
            raise ValueError(
                f"{len(texts):,} texts and the dimensions {', '.join(encodings.matrices)}; expected "
                f"{joint.n_items:,} texts, one an item, and a dimension {dimension!r}"
            )
        policy = Policy.named(policy) if isinstance(policy, str) else policy
        self.policy, self.encoder = policy, encoder
        self.report = policy.apply(encoder)
        self.start = policy.start(len(encoder.backbone.transformer_layers))
        joint.item_tower.set_encodings(encodings.centred(seen))
        self.joint = joint
        self.place = joint.item_tower.names.index(dimension)
        self.retrieval_loss, self.ranking_loss = joint.retrieval_loss, joint.ranking_loss
        self.lower: FrozenActivations | None = None
        self.text: TrainableLayers | None = None
        self.seen = np.isin(np.arange(joint.n_items), np.arange(joint.n_items)[seen])
        mean = Centring().fit(encodings.matrices[dimension][self.seen]).mean
        self.mean = self.add_weight(shape=(encoder.dimensions,), initializer="zeros", trainable=False, name="mean")
        self.mean.assign(mean)
        if self.start is not None:
            self.lower = FrozenActivations(encoder, texts, self.start) if lower is None else lower
            self.text = TrainableLayers(encoder, self.start, name="text")
            self._encode = compiled(self.text, None if self.start < 0 else encoder.dimensions)
        self.built = True

    @property
    def n_items(self) -> int:
        return int(self.joint.n_items)

    @property
    def item_tower(self) -> Any:
        return self.joint.item_tower

    @property
    def balancing(self) -> Any:
        return self.joint.balancing

    @property
    def table(self) -> np.ndarray:
        """The encodings that the items have for those who do not encode them anew, (I, D)."""
        return np.asarray(ops.convert_to_numpy(self.joint.item_tower.encodings[self.place]))

    @property
    def constants(self) -> list[Any]:
        """Weights that no training changes: what is frozen of the encoder."""
        return [weight for weight in self.encoder.backbone.weights if not weight.trainable]

    def encode(self) -> np.ndarray:
        """Encodings of all items with the encoder as it is now, without dropout, not centred, float32 (I, D).

        Raises:
            ValueError: The policy is "frozen": there is nothing to encode.
        """
        if self.text is None or self.lower is None:
            raise ValueError('the policy is "frozen": encodings stay as they are; see `table`')
        encodings = np.empty((self.n_items, self.encoder.dimensions), "float32")
        for same, found in self.lower.run(self._encode):
            encodings[same] = found
        return encodings

    def refresh(self) -> float:
        """Brings the table up to date, and the mean that it is centred with.

        Returns:
            How stale it was: the mean of 1 − cosine between the old and the new centred encoding of an item.
        """
        if self.text is None:
            return 0.0
        old, raw = self.table, self.encode()
        centring = Centring().fit(raw[self.seen])
        new = centring.transform(raw)
        self.mean.assign(centring.mean)
        self.joint.item_tower.encodings[self.place].assign(new)
        return float(np.mean(1 - np.sum(old * new, axis=1)))

    def call(self, inputs: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """Both tasks' answers for a batch of `recfuse_lib.training.batches.Batches`; see `JointModel.call`."""
        joint, fresh = self.joint, None
        if self.text is not None and "fresh" in inputs:
            encoded = gather_from_replicas(self.text(inputs["states"], inputs["mask"], training=training))
            encoded = self._centred(encoded, inputs["weight"][:, None])
            table = ops.convert_to_tensor(joint.item_tower.encodings[self.place])
            fresh = {self.place: ops.scatter_update(table, inputs["fresh"][:, None], encoded)}
        vectors = joint.item_tower(training=training, fresh=fresh)
        interests = joint._interests(inputs, vectors, training)
        item_vectors = ops.take(vectors, inputs["item"], axis=0)
        return {
            "scores": joint._scores(interests, vectors),
            "rating": joint._ratings(interests, item_vectors, inputs["user"], inputs["item"]),
        }

    def _centred(self, encoded: Any, weight: Any) -> Any:
        """Encodings (M, D) less the mean of the table, at unit length.

        Each stands for several items (weight, (M, 1)): its value is what it is, its gradient counts that often. The
        mean has a gradient too, by way of the encodings at hand. Without it θ would learn to move all texts alike,
        which the next refresh takes away again.
        """
        at_hand = ops.sum(weight * encoded, axis=0) / ops.sum(weight)
        mean = ops.convert_to_tensor(self.mean) + at_hand - ops.stop_gradient(at_hand)
        centred = ops.normalize(encoded - mean, axis=-1)
        held = ops.stop_gradient(centred)
        return held + weight * (centred - held)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Equation (8) over the whole batch; with several devices, this one's part of it."""
        n = replicas()
        retrieval_loss, ranking_loss = self.joint._task_losses(x, y_pred)
        if n > 1:
            # Each task's loss is a mean over its own number of examples, which differs from device to device.
            positives = ops.sum(ops.cast(x["rating"] >= POSITIVE, "float32"))
            retrieval_loss = retrieval_loss * positives / ops.maximum(sum_over_replicas(positives), 1.0)
            ranking_loss = ranking_loss / n
        self.retrieval_loss.update_state(n * retrieval_loss)
        self.ranking_loss.update_state(n * ranking_loss)
        return self.joint.balancing(retrieval_loss, ranking_loss)

    def task_losses(self, inputs: Mapping[str, Any]) -> tuple[Any, Any]:
        """(ℓ_idx, ℓ_item) of a batch, with nothing dropped; tensors that can be differentiated by θ and φ."""
        losses: tuple[Any, Any] = self.joint._task_losses(inputs, self(inputs, training=False))
        return losses

    def batches(self, history: pd.DataFrame, batch_size: int = 1024, encoded: int = 64, seed: int = 0) -> Batches:
        """The batches of a history for this model.

        Args:
            history: Columns `user`, `item`, `rating`, `timestamp`.
            batch_size: Examples a batch, or a little fewer.
            encoded: Items that are encoded anew at a step; see `Batches`.
            seed: Of the order and the choice of items.
        """
        encoded = 0 if self.text is None else encoded
        return Batches(history, self.joint.history_length, batch_size, encoded, self.lower, seed)

    def learn(
        self,
        batches: Batches,
        optimizer: Any,
        rounds: int,
        steps: int | None = None,
        available: np.ndarray | None = None,
        refresh: bool = True,
        callbacks: Iterable[keras.callbacks.Callback] = (),
        verbose: int = 2,
        precision: str = "float32",
        jit_compile: bool | str = "auto",
    ) -> keras.callbacks.History:
        """Learns from batches, in rounds of some steps; Keras's callbacks call a round an epoch.

        Args:
            batches: From `batches`.
            optimizer: From `recfuse_lib.training.optimizers.optimizer`.
            rounds: How many; the table is refreshed after each, then the callbacks are called.
            steps: Steps a round; as many as an epoch has by default.
            available: Which items could be chosen, bool (I,); see `JointModel.learn`.
            refresh: Whether the table is refreshed after each round, or only after the last one.
            callbacks: Keras callbacks. A `recfuse_lib.training.checkpoints.Checkpoint` among them goes on where an
                earlier, interrupted training of the same settings was.
            verbose: 0 is silent, 2 prints one line a round.
            precision: Dtype policy that the encoder has, for the advice when memory runs out.
            jit_compile: Whether XLA compiles the step.

        Raises:
            ValueError: The model was made in the scope of a strategy and the optimizer was not.
            recfuse_lib.training.devices.OutOfMemory: The memory did not do.
            recfuse_lib.training.checkpoints.NotFinite: A loss is not finite, with a `Checkpoint` among the callbacks.
        """
        if replicas_of(optimizer) != (n := replicas_of(self)):
            raise ValueError(f"the model is on {n} devices and the optimizer is not; make both in the strategy's scope")
        if available is not None:
            self.joint.item_tower.set_available(available)
        self.compile(optimizer=optimizer, jit_compile=jit_compile)
        optimizer.build(self.trainable_variables)
        steps = batches.steps_per_epoch if steps is None else steps
        callbacks = list(callbacks)
        done = next((one.restore(self, batches, rounds, steps) for one in callbacks if hasattr(one, "restore")), 0)
        with advise_on_memory(batches.size, batches.encoded, self.policy.name, precision):
            return self.fit(
                self._feed(batches, done * steps),
                initial_epoch=done,
                epochs=rounds,
                steps_per_epoch=steps,
                shuffle=False,
                callbacks=[Refresh(refresh), *callbacks],
                verbose=verbose,
            )

    def _feed(self, batches: Batches, first: int) -> Any:
        """Batches from number `first` on, as the backend's `fit` wants them."""
        if keras.backend.backend() != "tensorflow":
            return ((batch,) for batch in batches.stream(first))
        import tensorflow as tf

        n = replicas_of(self)

        def stream() -> Any:
            for batch in batches.stream(first):
                for piece in pieces(batch, n):
                    yield (piece,)

        signature = (specification(pieces(batches[first], n)[0]),)

        def dataset(context: Any = None) -> Any:
            options = tf.data.Options()
            options.autotune.enabled = False
            made = tf.data.Dataset.from_generator(stream, output_signature=signature).prefetch(2)
            return made.with_options(options)

        return dataset() if n == 1 else self.distribute_strategy.distribute_datasets_from_function(dataset)

    def score(self, queries: Queries) -> np.ndarray:
        """See `JointModel.score`; with the table as it is."""
        return self.joint.score(queries)

    def predict_rating(self, queries: Queries, item: np.ndarray) -> np.ndarray:
        """See `JointModel.predict_rating`; with the table as it is."""
        return self.joint.predict_rating(queries, item)


class Refresh(keras.callbacks.Callback):
    """Refreshes the table of a `FineTuning` after each round and puts how stale it was into the logs, as `staleness`.

    Args:
        each_round: Whether after each round, or only at the end.
    """

    def __init__(self, each_round: bool = True) -> None:
        super().__init__()
        self.each_round = each_round

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self.each_round and logs is not None:
            logs["staleness"] = self.model.refresh()

    def on_train_end(self, logs: Any = None) -> None:
        if not self.each_round:
            self.model.refresh()
