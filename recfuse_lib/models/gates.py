"""Gates: how far each dimension is trusted, given how much is known of the person and of the item.

Taught in notebook 07.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from recfuse_lib.models.fitted_gate import FittedGate, away
from recfuse_lib.training.pipelines import fit

L2 = 1e-3
EPOCHS, BATCH, LEARNING_RATE = 10, 64, 0.01


@keras.saving.register_keras_serializable(package="recfuse")
class EvidenceGate(keras.layers.Layer):
    """Compute the fused score from standardised scores, gated by evidence.

        g_d(u, i) = a_d + U_dᵀ f_u + V_dᵀ f_i,      s(u, i) = Σ_d g_d(u, i) z_d(u, i) + vᵀ f_i + m(z, f_u, f_i)

    z_d is dimension d's score; f_u and f_i, `user_evidence` and `item_evidence` wide, tell how much is known of the
    person and the item. m is a network with one hidden layer of width `hidden`, for what the dimensions only say
    together; with 0 the score is exactly the gated sum.

    References:
        Jacobs, Jordan, Nowlan and Hinton (1991), Adaptive Mixtures of Local Experts, Neural Computation.
    """

    def __init__(
        self, dimensions: int, hidden: int = 64, user_evidence: int = 4, item_evidence: int = 3, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.dimensions, self.hidden = dimensions, hidden
        self.user_evidence, self.item_evidence = user_evidence, item_evidence
        regulariser = keras.regularizers.L2(L2)

        def weight(name: str, *shape: int, value: float = 0.0) -> Any:
            start = keras.initializers.Constant(value)
            return self.add_weight(shape=shape, initializer=start, regularizer=regulariser, name=name)

        self.bias = weight("bias", dimensions, value=0.2)
        self.of_user = weight("of_user", user_evidence, dimensions)
        self.of_item = weight("of_item", item_evidence, dimensions)
        self.level = weight("level", item_evidence)
        if hidden:
            self.inner = keras.layers.Dense(hidden, "gelu", kernel_regularizer=regulariser)
            self.outer = keras.layers.Dense(1, kernel_initializer="zeros", kernel_regularizer=regulariser)
            self.inner.build((None, None, dimensions + user_evidence + item_evidence))
            self.outer.build((None, None, hidden))
        self.built = True

    def gates(self, user: Any, item: Any) -> Any:
        """Compute g, (B, S, dimensions), from f_u, (B, user_evidence), and f_i, (B, S, item_evidence)."""
        of_user = ops.expand_dims(ops.matmul(user, self.of_user), 1)
        return self.bias + of_user + ops.matmul(item, self.of_item)

    def network(self, scores: Any, user: Any, item: Any) -> Any:
        """Compute m, (B, S); zeros where there is no network."""
        if not self.hidden:
            return ops.zeros_like(scores[..., 0])
        return ops.squeeze(self.outer(self.inner(_beside(scores, user, item))), -1)

    def call(self, scores: Any, user: Any, item: Any) -> Any:
        """Compute s, (B, S), from z, (B, S, dimensions), and the evidence as in `gates`."""
        gated = ops.sum(self.gates(user, item) * scores, axis=-1) + ops.matmul(item, self.level)
        return gated + self.network(scores, user, item)

    def fitted(self) -> FittedGate:
        """Return what was learned, as arrays."""
        bias, of_user, of_item, level, *network = (np.asarray(ops.convert_to_numpy(one)) for one in self.weights)
        return FittedGate(bias, of_user, of_item, level, tuple(network))

    def get_config(self) -> dict[str, Any]:
        own = ("dimensions", "hidden", "user_evidence", "item_evidence")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


def _beside(scores: Any, user: Any, *more: Any) -> Any:
    """Everything that is known of each candidate in one row, (B, S, ·)."""
    shape = ops.shape(scores)
    everywhere = ops.broadcast_to(ops.expand_dims(user, 1), (shape[0], shape[1], user.shape[-1]))
    return ops.concatenate([scores, everywhere, *more], -1)


def listwise_loss(targets: Any, logits: Any) -> Any:
    """Compute softmax cross-entropy over a query's candidates, averaged over its n targets, times √min(n, 10), (B,).

    `targets`, (B, S), are 1 where a candidate is a target; `logits`, (B, S), are −1e9 where there is no candidate.
    """
    count = ops.sum(targets, axis=-1)
    log_share = logits - ops.logsumexp(logits, axis=-1, keepdims=True)
    return -ops.sum(targets * log_share, axis=-1) / ops.maximum(count, 1.0) * ops.sqrt(ops.minimum(count, 10.0))


def train(
    examples: Mapping[str, np.ndarray],
    new_gate: Callable[[int, int], Any],
    hidden: int,
    task_weight: float,
    seed: int,
    verbose: int = 0,
) -> tuple[Any, FittedGate | None, keras.callbacks.History]:
    """Train a gate of the score and, where `examples` has stars, one of these, together; `task_weight` is λ.

    `new_gate` makes the layer of the score from the number of dimensions and `hidden`. Returns the gate of the score
    (an `EvidenceGate` as arrays, another layer as it is), that of the stars, and Keras's history.
    """
    keras.utils.set_random_seed(seed)
    targets = {name: examples[name] for name in ("choice", "stars") if name in examples}
    arrays = {name: values for name, values in examples.items() if name not in targets}
    inputs = {name: keras.Input(values.shape[1:], name=name) for name, values in arrays.items()}
    gate, rating_gate = new_gate(arrays["scores"].shape[-1], hidden), None
    logits = gate(inputs["scores"], inputs["user"], inputs["item"]) + inputs["offset"]
    outputs = {"choice": keras.layers.Identity(name="choice")(logits)}
    if "rated" in inputs:
        rating_gate = EvidenceGate(3, hidden, user_evidence=3, item_evidence=4)
        alone = {name: ops.reshape(x, (-1, 1, x.shape[-1])) for name, x in inputs.items() if x.ndim == 3}
        more = ops.reshape(away(gate, rating_gate, alone, ops), (-1, inputs["expected"].shape[1]))
        outputs["stars"] = keras.layers.Identity(name="stars")(inputs["expected"] + more)
    network = keras.Model(inputs, outputs)
    steps = EPOCHS * -(-len(targets["choice"]) // BATCH)
    rate = keras.optimizers.schedules.PolynomialDecay(LEARNING_RATE, steps, LEARNING_RATE / 50)
    losses, weights = {"choice": listwise_loss, "stars": "mse"}, {"choice": 1.0, "stars": task_weight}
    # Keras leaves XLA off on a CPU, where it costs this network more than it saves, compiling aside.
    network.compile(
        keras.optimizers.Adam(rate),
        loss={name: losses[name] for name in targets},
        loss_weights={name: weights[name] for name in targets},
    )
    history = fit(network, arrays, targets, batch_size=BATCH, epochs=EPOCHS, verbose=verbose)
    fitted = gate.fitted() if isinstance(gate, EvidenceGate) else gate
    return fitted, rating_gate and rating_gate.fitted(), history
