"""Two losses in one: fixed and learned weights, and whether the tasks pull in the same direction.

Taught in notebook 08.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pandas as pd
from keras import ops

from recfuse_lib.data import sequences
from recfuse_lib.training.gradients import cosine, norm, task_gradients

SPEED = 10.0
"""Adam moves a weight by about its learning rate a step, whatever the loss; SPEED · v moves ten times as far as v."""


@keras.saving.register_keras_serializable(package="recfuse")
class FixedWeights(keras.layers.Layer):
    """The article's sum, with λ as it was given, or as a callback such as `GradientBalancing` sets it:

        L = ℓ_idx + λ · ℓ_item        (8)

    Args:
        task_weight: λ; 0 trains retrieval alone, infinity ranking alone.

    Raises:
        ValueError: λ is negative or no number.

    Example:
        >>> float(FixedWeights(2.0)(np.array(3.0), np.array(0.5)))
        4.0
        >>> float(FixedWeights(np.inf)(np.array(3.0), np.array(0.5)))
        0.5
    """

    def __init__(self, task_weight: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start = task_weight
        self.pair = self.add_weight(shape=(2,), initializer="zeros", trainable=False, name="task_weights")
        self.set_task_weight(task_weight)
        self.built = True

    @property
    def task_weight(self) -> float:
        """λ as it is now."""
        retrieval, ranking = ops.convert_to_numpy(self.pair)
        return float(ranking / retrieval) if retrieval else np.inf

    def set_task_weight(self, task_weight: float) -> None:
        """Sets λ; it counts from the next training step on."""
        if not task_weight >= 0:
            raise ValueError(f"the task weight is {task_weight}; it must be 0 or more")
        self.pair.assign([0.0, 1.0] if np.isinf(task_weight) else [1.0, task_weight])

    def call(self, retrieval_loss: Any, ranking_loss: Any) -> Any:
        """L, a scalar."""
        return self.pair[0] * retrieval_loss + self.pair[1] * ranking_loss

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "task_weight": self.start}


@keras.saving.register_keras_serializable(package="recfuse")
class UncertaintyWeights(keras.layers.Layer):
    """Weights that are learned with the model: each task has a noise σ² of its own, and a noisy task counts less.

        L = ℓ_idx / σ₁² + log σ₁ + ℓ_item / (2 σ₂²) + log σ₂        (9)

    The logarithms keep both σ² from growing without end. For losses that stay as they are, L is least at σ₁² = 2 ℓ_idx
    and σ₂² = ℓ_item, and then λ = σ₁² / (2 σ₂²) = ℓ_idx / ℓ_item: each term counts the same, whatever its unit.

    Args:
        task_weight: λ to begin with, above 0 and finite.

    Raises:
        ValueError: λ cannot be learned from there.

    Example:
        >>> layer = UncertaintyWeights(task_weight=0.5)
        >>> round(float(layer(np.array(3.0), np.array(0.5))), 3), round(layer.task_weight, 3)
        (3.25, 0.5)

    References:
        Kendall, Gal and Cipolla (2018), Multi-Task Learning Using Uncertainty to Weigh Losses, CVPR.
    """

    def __init__(self, task_weight: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 < task_weight < np.inf:
            raise ValueError(f"the task weight is {task_weight}; to be learned it begins above 0 and finite")
        self.start = task_weight
        self.log_variance = self.add_weight(shape=(2,), initializer="zeros", name="log_variance")
        self.log_variance.assign([0.0, -np.log(2 * task_weight) / SPEED])
        self.built = True

    @property
    def task_weight(self) -> float:
        """λ as it is now: the weight of ℓ_item over that of ℓ_idx."""
        first, second = SPEED * np.asarray(ops.convert_to_numpy(self.log_variance), "float64")
        return float(np.exp(first - second) / 2)

    def call(self, retrieval_loss: Any, ranking_loss: Any) -> Any:
        """L, a scalar."""
        first, second = SPEED * self.log_variance[0], SPEED * self.log_variance[1]
        return ops.exp(-first) * retrieval_loss + ops.exp(-second) * ranking_loss / 2 + (first + second) / 2

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "task_weight": self.start}


class GradientProbe(keras.callbacks.Callback):
    """Measures, now and then, how long the tasks' gradients are and whether they point the same way.

    It takes a fixed sample of examples, drops nothing and draws nothing, so the training goes on as if it were not
    there.

    Args:
        history: The training history, columns `user`, `item`, `rating`, `timestamp`.
        every: Training steps between two measurements.
        size: Examples in the sample, or all where there are fewer.
        seed: Of the sample.

    Attributes:
        records: One dict a measurement; `table` shows them.
    """

    def __init__(self, history: pd.DataFrame, every: int = 20, size: int = 1024, seed: int = 0) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(f"every is {every}; measure every step, or every 2, 3, … steps")
        self.history, self.every, self.size, self.seed = history, every, size, seed
        self.records: list[dict[str, float]] = []

    @property
    def table(self) -> pd.DataFrame:
        """One row a measurement: `step`, `retrieval_loss`, `ranking_loss`, `retrieval_norm` and `ranking_norm` of the
        gradients by all shared weights, their `cosine`, the cosine by the weights of each tower alone (`item_tower`,
        `user_tower`), and `task_weight`, λ."""
        return pd.DataFrame(self.records)

    def on_train_begin(self, logs: Any = None) -> None:
        inputs = sequences.examples(self.history, self.model.history_length)
        count = len(self.history)
        rows = np.random.default_rng(self.seed).choice(count, min(self.size, count), replace=False)
        self.sample = {name: values[rows] for name, values in inputs.items()}
        self.step = 0
        self.records.clear()
        self.measure()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.step += 1
        if self.step % self.every == 0:
            if keras.backend.backend() == "jax":  # during an epoch the weights live outside the model
                self.model.jax_state_sync()
            self.measure()

    def measure(self) -> None:
        towers = {"item_tower": self.model.item_tower, "user_tower": self.model.user_tower}
        variables = [variable for tower in towers.values() for variable in tower.trainable_variables]
        losses, (first, second) = task_gradients(self.model, self.sample, variables)
        record = dict(zip(("step", "retrieval_loss", "ranking_loss"), (self.step, *losses), strict=True))
        record |= {"retrieval_norm": norm(first), "ranking_norm": norm(second), "cosine": cosine(first, second)}
        end = len(self.model.item_tower.trainable_variables)
        for name, part in zip(towers, (slice(0, end), slice(end, None)), strict=True):
            record[name] = cosine(first[part], second[part])
        record["task_weight"] = self.model.balancing.task_weight
        self.records.append(record)


class GradientBalancing(GradientProbe):
    """Sets λ so that both tasks pull at the shared weights with the same force, or the slower one harder:

        λ ← λ^m · (G_idx / G_item · (r_item / r_idx)^a)^(1 − m)        (10)

    G are the lengths of the unweighted gradients by the shared weights, r is each task's loss over its loss at the
    beginning: a task that has come less far has the larger r. It is GradNorm with two changes: λ is solved for instead
    of being found by gradient steps, and the weight of retrieval stays 1, for Adam does not feel a common factor.

    Args:
        history: See `GradientProbe`.
        every: Training steps between two settings of λ.
        size: See `GradientProbe`.
        seed: See `GradientProbe`.
        asymmetry: a; 0 makes the forces equal.
        momentum: m, 0–1, how much of log λ stays.

    Raises:
        ValueError: The model learns λ already (when training begins), or the momentum is outside 0–1.

    References:
        Chen et al. (2018), GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask Networks,
        ICML.
    """

    def __init__(
        self,
        history: pd.DataFrame,
        every: int = 20,
        size: int = 1024,
        seed: int = 0,
        asymmetry: float = 0.0,
        momentum: float = 0.5,
    ) -> None:
        super().__init__(history, every, size, seed)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum {momentum} is outside 0–1; at 1, λ would never move")
        self.asymmetry, self.momentum = asymmetry, momentum

    def measure(self) -> None:
        balancing = self.model.balancing
        if not isinstance(balancing, FixedWeights) or not 0 < balancing.task_weight < np.inf:
            raise ValueError(
                "GradientBalancing sets λ of a model that neither learns it nor trains one task alone: "
                'make the model with balancing="fixed" and a task weight above 0'
            )
        super().measure()
        now, first = self.records[-1], self.records[0]
        if not now["retrieval_norm"] or not now["ranking_norm"]:
            return  # a task without a gradient has no force to be made equal
        target = now["retrieval_norm"] / now["ranking_norm"]
        rates = [now[name] / first[name] for name in ("ranking_loss", "retrieval_loss")]
        target *= (rates[0] / rates[1]) ** self.asymmetry
        balancing.set_task_weight(balancing.task_weight**self.momentum * target ** (1 - self.momentum))
