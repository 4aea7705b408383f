"""The gradient of each task by itself, on any backend, and the angle between them. Taught in notebook 08."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops


def cosine(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> float:
    """Compute the cosine between two gradients, each given weight by weight; 0 where one of them is zero.

    Above 0 a step for one task also helps the other, below 0 it harms it, to first order.

    >>> cosine([np.array([1.0, 0.0])], [np.array([-2.0, 0.0])])
    -1.0

    Source: Yu et al. (2020), Gradient Surgery for Multi-Task Learning, NeurIPS.
    """
    lengths = norm(a) * norm(b)
    return float(sum(np.vdot(x, y) for x, y in zip(a, b, strict=True)) / lengths) if lengths else 0.0


def norm(gradient: Sequence[np.ndarray]) -> float:
    """Compute the norm of a gradient that is given weight by weight."""
    return float(np.sqrt(sum(np.vdot(part, part) for part in gradient)))


def task_gradients(
    model: Any, inputs: Mapping[str, np.ndarray], variables: Sequence[Any]
) -> tuple[tuple[float, float], tuple[list[np.ndarray], list[np.ndarray]]]:
    """Compute both tasks' losses (ℓ_idx, ℓ_item) on a batch and their gradients, unweighted and without dropout.

    `model` is a `JointNetwork` or a `FineTuning`, `inputs` a batch of `recfuse_lib.data.sequences.examples`. Each
    gradient has one array for each of `variables`.
    """
    batch = {name: ops.convert_to_tensor(value) for name, value in inputs.items()}
    # Keras has no gradient that is the same for all backends.
    ways = {"tensorflow": _gradients_tensorflow, "jax": _gradients_jax, "torch": _gradients_torch}
    losses, gradients = ways[keras.backend.backend()](model, batch, list(variables))
    first, second = ([np.asarray(ops.convert_to_numpy(part), "float64") for part in parts] for parts in gradients)
    values = [float(ops.convert_to_numpy(loss)) for loss in losses]
    return (values[0], values[1]), (first, second)


def _gradients_tensorflow(model: Any, batch: Mapping[str, Any], variables: list[Any]) -> Any:
    import tensorflow as tf

    with tf.GradientTape(persistent=True) as tape:
        losses = model.task_losses(batch)
    values = [variable.value for variable in variables]
    nothing = tf.UnconnectedGradients.ZERO
    gradients = [tape.gradient(loss, values, unconnected_gradients=nothing) for loss in losses]
    return losses, [[tf.convert_to_tensor(part) for part in parts] for parts in gradients]


def _gradients_jax(model: Any, batch: Mapping[str, Any], variables: list[Any]) -> Any:
    import jax  # type: ignore[import-not-found]

    def loss(values: list[Any], task: int) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return model.task_losses(batch)[task]

    values = [variable.value for variable in variables]
    return zip(*(jax.value_and_grad(loss)(values, task) for task in (0, 1)), strict=True)


def _gradients_torch(model: Any, batch: Mapping[str, Any], variables: list[Any]) -> Any:
    import torch

    values = [variable.value for variable in variables]
    losses = model.task_losses(batch)
    settings = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
    return losses, [torch.autograd.grad(loss, values, **settings) for loss in losses]
