"""Learning without labels: two views of one item belong together, as do a picture and its words.

Taught in notebook 06.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

DIMENSIONS = 64
EPOCHS = 15
BATCH = 128
LEARNING_RATE = 2e-3
ENERGY_FLOOR = 0.01
WHITENING_FLOOR = 1e-3
"""Share of the mean eigenvalue that is added to each: directions without width are noise."""

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def info_nce(left: Any, right: Any, scale: Any) -> Any:
    """Compute the contrastive loss in both directions: each row must find its partner among all of the other side.

        ℓ = −½ · mean_i [log softmax_j(l_i·r_j / τ)_i + log softmax_j(r_i·l_j / τ)_i],   1/τ = scale

    Args:
        left: (B, D), rows of length 1.
        right: (B, D), rows of length 1; row i belongs to row i of `left`.
        scale: 1/τ.

    Returns:
        Scalar tensor. Rows that tell nothing cost log B.

    Example:
        >>> rows = np.eye(3, dtype="float32")
        >>> round(float(info_nce(rows, rows, 10.0)), 4), round(float(info_nce(rows, rows, 0.0)), 4)
        (0.0001, 1.0986)

    References:
        van den Oord et al. (2018), Representation Learning with Contrastive Predictive Coding, eq. 4.
        Radford et al. (2021), Learning Transferable Visual Models From Natural Language Supervision (both directions).
    """
    logits = scale * ops.matmul(left, ops.transpose(right))
    own = ops.diagonal(logits)
    return ops.mean(0.5 * (ops.logsumexp(logits, axis=0) + ops.logsumexp(logits, axis=1)) - own)


def to_unit(rows: Any) -> Any:
    """Divide rows by their length, (B, D)."""
    return rows * ops.rsqrt(ops.sum(rows * rows, axis=-1, keepdims=True) + 1e-12)


def seeded(seed: int) -> Iterator[keras.initializers.Initializer]:
    """Yield initialisers for the layers of a network, one after another, all from one seed."""
    return (keras.initializers.GlorotUniform(int(state)) for state in np.random.SeedSequence(seed).generate_state(64))


def fit_by_contrast(model: keras.Model, inputs: Any, epochs: int, seed: int) -> None:
    """Train a model on full batches, in an order that depends on the seed alone.

    Args:
        model: Its `compute_loss` contrasts the rows of a batch.
        inputs: An array or a dictionary of arrays, (I, …).
        epochs: Passes over the rows.
        seed: Of their order.
    """
    n_rows = len(keras.tree.flatten(inputs)[0])
    batch = min(BATCH, n_rows)
    steps = n_rows // batch
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, epochs * steps)
    model.compile(keras.optimizers.Adam(rate), jit_compile=False)
    shuffler = np.random.default_rng(seed)
    for _ in range(epochs):
        for rows in shuffler.permutation(n_rows)[: steps * batch].reshape(steps, batch):
            model.train_on_batch(keras.tree.map_structure(lambda matrix, rows=rows: matrix[rows], inputs))


@keras.saving.register_keras_serializable(package="recfuse")
class LogEnergies(keras.layers.Layer):
    """How much of each pattern there is, wherever it stands, on a scale of ratios:  log(mean over places + 0.01).

    Args:
        axes: The axes over which the mean goes.

    Example:
        >>> maps = np.ones((2, 28, 28, 5), "float32")
        >>> LogEnergies((1, 2))(maps).shape[1:]
        TensorShape([5])
    """

    def __init__(self, axes: tuple[int, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axes = tuple(axes)

    def call(self, maps: Any) -> Any:
        return ops.log(ops.mean(maps, axis=self.axes) + ENERGY_FLOOR)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axes": self.axes}


class TwoViewEncoder(keras.Model):
    """What the encoders of pictures, sounds and clips share: they learn to know an item again in another view of it.

        h = network(prepare(x)),   ℓ = InfoNCE(P h(view(x)), P h(view′(x))),   e = Λ^(−1/2) Uᵀ (h − μ)

    P is a small network that is thrown away afterwards, so that h may keep what the loss does not ask for. A view
    changes what taste cannot depend on (place, noise) and leaves alone what it may depend on (brightness, pitch,
    speed). e is h with all directions made equally wide (μ, U and Λ from the items learned from), or else the one thing
    that differs most between items would drown the others in every cosine.

    A subclass says what its `network` and its `view` are, and what is computed once before either.

    Args:
        dimensions: Width of an encoding.
        seed: Everything random follows from it.

    References:
        Chen et al. (2020), A Simple Framework for Contrastive Learning of Visual Representations, ICML (SimCLR).
    """

    network: keras.Model

    def __init__(self, dimensions: int = DIMENSIONS, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dimensions, self.seed = dimensions, seed
        self.mean = self.add_weight(shape=(dimensions,), initializer="zeros", trainable=False, name="mean")
        self.whitening = self.add_weight(
            shape=(dimensions, dimensions), initializer="identity", trainable=False, name="whitening"
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return tuple(self.network.input_shape[1:])

    def prepare(self, inputs: Any) -> Any:
        """What the network and the views work on; the inputs themselves where a subclass says nothing else."""
        return inputs

    def view(self, prepared: Any, random: keras.random.SeedGenerator) -> Any:
        """Another view of each prepared input, of the same shape."""
        raise NotImplementedError

    def build(self, input_shape: Any) -> None:
        self.built = True

    def call(self, inputs: Any) -> Any:
        """e of each input, (B, `dimensions`)."""
        return ops.matmul(self.network(self.prepare(inputs)) - self.mean, self.whitening)

    def learn(self, inputs: Array, seen: Mask | None = None, epochs: int = EPOCHS) -> Self:
        """Learn from the inputs alone.

        Args:
            inputs: float32 (I, …), as the reader of this kind of file gives them.
            seen: The items that may be learned from, bool (I,): leave out held-out items and missing ones.
            epochs: Passes over them.

        Raises:
            ValueError: Fewer than two items to tell apart, or inputs of another shape.
        """
        self._check(inputs)
        seen = np.ones(len(inputs), bool) if seen is None else seen
        if seen.sum() < 2:
            raise ValueError(f"contrast needs at least two items; {seen.sum()} of {len(inputs)} may be learned from")
        prepared = _in_batches(self.prepare, inputs[seen])
        fit_by_contrast(_TwoViews(self.network, self.view, self.seed), prepared, epochs, self.seed)
        raw = _in_batches(self.network, prepared).astype(np.float64)
        values, vectors = np.linalg.eigh(np.cov(raw.T))
        self.mean.assign(raw.mean(axis=0))
        self.whitening.assign(vectors / np.sqrt(np.maximum(values, 0) + WHITENING_FLOOR * values.mean()))
        return self

    def encode(self, inputs: Array) -> Array:
        """Return encodings of any items, float32 (I, `dimensions`); of those learned from, with mean 0 and equal width.

        Raises:
            ValueError: Inputs of another shape.
        """
        self._check(inputs)
        return _in_batches(self, inputs)

    def _check(self, inputs: Array) -> None:
        if tuple(inputs.shape[1:]) != self.input_shape or not len(inputs):
            expected = ", ".join(map(str, self.input_shape))
            raise ValueError(f"inputs have shape {inputs.shape}; this encoder takes (I, {expected})")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dimensions": self.dimensions, "seed": self.seed}


class _TwoViews(keras.Model):
    """A network in training, with the small network on top of it that is thrown away."""

    def __init__(self, network: keras.Model, view: Callable[[Any, Any], Any], seed: int) -> None:
        super().__init__(name="two_views")
        self.network, self.view = network, view
        self.random = keras.random.SeedGenerator(seed)
        weights, width = seeded(seed + 1), network.output_shape[-1]
        self.projection = keras.Sequential(
            [
                keras.Input((width,)),
                keras.layers.Dense(2 * width, activation="gelu", kernel_initializer=next(weights)),
                keras.layers.Dense(width, kernel_initializer=next(weights)),
            ]
        )
        self.log_scale = self.add_weight(shape=(), initializer=keras.initializers.Constant(2.3), name="log_scale")

    def build(self, input_shape: Any) -> None:
        self.built = True

    def call(self, prepared: Any) -> Any:
        return self.network(prepared)

    def compute_loss(self, x: Any = None, *_: Any, **__: Any) -> Any:
        first, second = (to_unit(self.projection(self.network(self.view(x, self.random)))) for _ in range(2))
        return info_nce(first, second, ops.exp(self.log_scale))


def _in_batches(function: Callable[[Any], Any], inputs: Array) -> Array:
    starts = range(0, len(inputs), 2 * BATCH)
    return np.concatenate([ops.convert_to_numpy(function(inputs[start : start + 2 * BATCH])) for start in starts])
