"""What two tasks share, and what each has of its own: shared bottom, mixture of experts, progressive extraction.

Taught in notebook 08.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops


class _Extraction(keras.layers.Layer):
    """One bank of experts and the gates that mix them; a part of the layers below.

    Args:
        inputs: Which of the given inputs each expert reads, one entry an expert.
        mixtures: Which experts each output may mix, bool (number of outputs, number of experts).
        dimension: Width of an input.
        hidden: Width of an expert's output.
    """

    def __init__(self, inputs: list[int], mixtures: np.ndarray, dimension: int, hidden: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inputs, self.mixtures = inputs, mixtures
        outputs, experts = mixtures.shape
        self.kernel = self.add_weight(
            shape=(experts, dimension, hidden),
            # Glorot's limit for one expert; Keras would take the number of experts for a part of its size.
            initializer=keras.initializers.RandomUniform(*(np.array([-1, 1]) * np.sqrt(6 / (dimension + hidden)))),
            name="expert_kernel",
        )
        self.bias = self.add_weight(shape=(experts, 1, hidden), initializer="zeros", name="expert_bias")
        self.gate_kernel = self.add_weight(shape=(outputs, dimension, experts), initializer="zeros", name="gate_kernel")
        self.built = True

    def gates(self, values: list[Any]) -> Any:
        """Softmax over the experts that each output may mix, (number of outputs, B, number of experts)."""
        logits = ops.matmul(ops.stack(values[: len(self.mixtures)]), self.gate_kernel)
        allowed = ops.cast(self.mixtures[:, None], logits.dtype)
        logits = ops.where(allowed > 0, logits, -1e9)
        powers = allowed * ops.exp(logits - ops.max(logits, axis=2, keepdims=True))
        return powers / ops.sum(powers, axis=2, keepdims=True)

    def call(self, values: list[Any]) -> list[Any]:
        """One (B, hidden) an output; `values` holds one input (B, dimension) a task, then the shared one."""
        read = ops.stack([values[place] for place in self.inputs])
        experts = ops.relu(ops.matmul(read, self.kernel) + self.bias)
        mixed = ops.einsum("tbk,kbh->tbh", self.gates(values), experts)
        return [mixed[place] for place in range(len(self.mixtures))]


class _Sharing(keras.layers.Layer):
    """The frame of the layers below: extraction levels, then for each task a linear tower that begins at zero."""

    def __init__(self, dimension: int, hidden: int, n_tasks: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dimension, self.hidden, self.n_tasks = dimension, hidden, n_tasks
        self.levels = self._levels()
        self.heads = self.add_weight(shape=(n_tasks, hidden, dimension), initializer="zeros", name="heads")
        self.built = True

    def _levels(self) -> list[_Extraction]:
        raise NotImplementedError

    def call(self, x: Any) -> list[Any]:
        """y_t of each task, (B, D), for x (B, D)."""
        values = [x] * (self.n_tasks + 1)
        for level in self.levels:
            values = level(values)
        return [ops.matmul(values[task], self.heads[task]) for task in range(self.n_tasks)]

    def gates(self, x: Any) -> np.ndarray:
        """g of the last level: task × example × expert, float32 (T, B, K); 0 where a task may not use an expert."""
        values = [ops.convert_to_tensor(x)] * (self.n_tasks + 1)
        for level in self.levels[:-1]:
            values = level(values)
        return np.asarray(ops.convert_to_numpy(self.levels[-1].gates(values)))

    def get_config(self) -> dict[str, Any]:
        own = ("dimension", "hidden", "n_tasks")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


@keras.saving.register_keras_serializable(package="recfuse")
class SharedBottom(_Sharing):
    """One network for all tasks, and a linear tower for each:

        y_t = T_t f(x),  f(x) = relu(W x + b)        (11)

    Args:
        dimension: D, width of x and of each y_t.
        hidden: H, units of f.
        n_tasks: T.

    Example:
        >>> [tuple(y.shape) for y in SharedBottom(dimension=4, hidden=8)(np.ones((3, 4), "float32"))]
        [(3, 4), (3, 4)]

    References:
        Caruana (1997), Multitask Learning, Machine Learning 28.
    """

    def __init__(self, dimension: int, hidden: int, n_tasks: int = 2, **kwargs: Any) -> None:
        super().__init__(dimension, hidden, n_tasks, **kwargs)

    def _levels(self) -> list[_Extraction]:
        return [_Extraction([0], np.ones((self.n_tasks, 1), bool), self.dimension, self.hidden)]


@keras.saving.register_keras_serializable(package="recfuse")
class MMoE(_Sharing):
    """Several experts that all tasks share; each task mixes them with a gate of its own:

        y_t = T_t Σ_k g_k^t(x) f_k(x),  g^t(x) = softmax(G_t x)        (12)

    With one expert it is the shared bottom.

    Args:
        dimension: D, width of x and of each y_t.
        hidden: H, units of one expert.
        n_experts: K.
        n_tasks: T.

    Example:
        >>> layer = MMoE(dimension=4, hidden=8, n_experts=3)
        >>> layer.gates(np.ones((1, 4), "float32"))[0].round(3)
        array([[0.333, 0.333, 0.333]], dtype=float32)

    References:
        Ma et al. (2018), Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts, KDD.
    """

    def __init__(self, dimension: int, hidden: int, n_experts: int = 4, n_tasks: int = 2, **kwargs: Any) -> None:
        self.n_experts = n_experts
        super().__init__(dimension, hidden, n_tasks, **kwargs)

    def _levels(self) -> list[_Extraction]:
        mixtures = np.ones((self.n_tasks, self.n_experts), bool)
        return [_Extraction([0] * self.n_experts, mixtures, self.dimension, self.hidden)]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n_experts": self.n_experts}


@keras.saving.register_keras_serializable(package="recfuse")
class PLE(_Sharing):
    """Experts that are shared and experts that belong to one task, in levels:

        h_t^l = Σ_k g_k^t(h_t^(l−1)) f_k,  k over the experts of t and the shared ones        (13)
        h_s^l = Σ_k g_k^s(h_s^(l−1)) f_k,  k over all experts
        y_t = T_t h_t^L,  h^0 = x

    An expert of task t reads h_t of the level below, a shared one h_s. The last level has no use for h_s and leaves it
    out. With one level it is CGC (customised gate control).

    Args:
        dimension: D, width of x and of each y_t.
        hidden: H, units of one expert.
        n_shared: Shared experts a level.
        n_own: Experts of each task a level.
        n_levels: L.
        n_tasks: T.

    Example:
        >>> layer = PLE(dimension=4, hidden=8, n_shared=1, n_own=1, n_levels=1)
        >>> layer.gates(np.ones((1, 4), "float32"))[:, 0]  # experts of task 1, of task 2, shared
        array([[0.5, 0. , 0.5],
               [0. , 0.5, 0.5]], dtype=float32)

    References:
        Tang, Liu, Zhao and Gong (2020), Progressive Layered Extraction (PLE): A Novel Multi-Task Learning Model for
        Personalized Recommendations, RecSys.
    """

    def __init__(
        self,
        dimension: int,
        hidden: int,
        n_shared: int = 2,
        n_own: int = 1,
        n_levels: int = 2,
        n_tasks: int = 2,
        **kwargs: Any,
    ) -> None:
        self.n_shared, self.n_own, self.n_levels = n_shared, n_own, n_levels
        super().__init__(dimension, hidden, n_tasks, **kwargs)

    def _levels(self) -> list[_Extraction]:
        # One output a task, then the shared one; the experts of each task, then the shared ones.
        owner = [task for task in range(self.n_tasks) for _ in range(self.n_own)] + [self.n_tasks] * self.n_shared
        outputs = np.arange(self.n_tasks + 1)[:, None]
        mixtures = (outputs == np.array(owner)) | (np.array(owner) == self.n_tasks) | (outputs == self.n_tasks)
        sizes = [self.dimension] + [self.hidden] * (self.n_levels - 1)
        levels = [_Extraction(owner, mixtures, size, self.hidden) for size in sizes[:-1]]
        return [*levels, _Extraction(owner, mixtures[: self.n_tasks], sizes[-1], self.hidden)]

    def get_config(self) -> dict[str, Any]:
        own = ("n_shared", "n_own", "n_levels")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
