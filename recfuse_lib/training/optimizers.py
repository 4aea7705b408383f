"""Adam, AdamW and SGD with momentum, warmed up, cooled down along a cosine, and slower for some parameters than others.

Schedules, clipping and accumulation are those of Keras. Taught in notebook 09.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

if TYPE_CHECKING:
    from recfuse_lib.encoders.text import TextEncoder

DECAY_SPARES = ("bias", "beta", "gamma")
"""Shifts and scales are not pulled towards zero."""


class _LayerRates:
    """Mixin; `rates`: variable's path → (multiple of the schedule's rate, first step that moves it), else (1, 0)."""

    decoupled = False

    def __init__(self, rates: Mapping[str, tuple[float, int]], decay: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rates, self.decay = dict(rates), decay

    def build(self, variables: Any) -> None:
        paths = [variable.path for variable in variables]
        self._rates = [self.rates.get(path, (1.0, 0)) for path in paths]
        self._decays = [bool(self.decay) and path.split("/")[-1] not in DECAY_SPARES for path in paths]
        super().build(variables)  # type: ignore[misc]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        position = self._get_variable_index(variable)  # type: ignore[attr-defined]
        rate, first = self._rates[position]
        learning_rate = learning_rate * rate
        if first:
            learning_rate = learning_rate * ops.cast(self._iterations >= first, "float32")  # type: ignore[attr-defined]
        if self._decays[position]:
            pull = ops.multiply(ops.convert_to_tensor(variable), self.decay)
            if self.decoupled:
                self.assign_sub(variable, pull * ops.cast(learning_rate, pull.dtype))  # type: ignore[attr-defined]
            else:
                gradient = ops.add(gradient, pull)
        super().update_step(gradient, variable, learning_rate)  # type: ignore[misc]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rates": self.rates, "decay": self.decay}  # type: ignore[misc]


@keras.saving.register_keras_serializable(package="recfuse")
class LayerwiseAdam(_LayerRates, keras.optimizers.Adam):
    """Adam with a learning rate for each layer; `decay` is an L2 penalty ½·decay·‖w‖², part of the gradient."""


@keras.saving.register_keras_serializable(package="recfuse")
class LayerwiseAdamW(_LayerRates, keras.optimizers.Adam):
    """Adam with a learning rate for each layer and weight decay w ← w − η·decay·w (Loshchilov and Hutter, 2019)."""

    decoupled = True


@keras.saving.register_keras_serializable(package="recfuse")
class LayerwiseSGD(_LayerRates, keras.optimizers.SGD):
    """SGD with a learning rate for each layer; `decay` is an L2 penalty ½·decay·‖w‖², part of the gradient."""


OPTIMIZERS: dict[str, Any] = {"adam": LayerwiseAdam, "adamw": LayerwiseAdamW, "sgd": LayerwiseSGD}


def embedding_layers(backbone: Any) -> list[Any]:
    """Return the layers below the first transformer layer of a KerasHub BERT that have parameters."""
    parts = ("token_embedding", "position_embedding", "segment_embedding", "embeddings_layer_norm")
    return [getattr(backbone, part) for part in parts]


def layer_rates(
    encoder: TextEncoder, text_rate: float, layer_decay: float = 1.0, unfreeze_every: int = 0
) -> dict[str, tuple[float, int]]:
    """Compute how fast each layer of a language model learns, and from which step on.

        η_l = η · r · ξ^(L − 1 − l)

    with η the rate of the recommender's own parameters φ, r = `text_rate` that of the top layer relative to it, and ξ =
    `layer_decay`, 0–1, the decay from one layer to the next lower one: low layers are general and should move least.
    With gradual unfreezing, layer l moves from step (L − 1 − l)·`unfreeze_every` on. The embeddings count as the layer
    below the lowest. Returns the path of each variable → (multiple, first step), for `optimizer`.

    References:
        Howard and Ruder (2018), Universal Language Model Fine-tuning for Text Classification, ACL.
    """
    groups = [layer.weights for layer in reversed(encoder.backbone.transformer_layers)]
    groups.append([weight for part in embedding_layers(encoder.backbone) for weight in part.weights])
    return {
        weight.path: (text_rate * layer_decay**depth, depth * unfreeze_every)
        for depth, weights in enumerate(groups)
        for weight in weights
    }


def schedule(peak: float, steps: int, warm_up: float = 0.1) -> Any:
    """Return Keras's `CosineDecay`: up along a line for a share of the steps, then down to 0 along a cosine.

    Example:
        >>> rate = schedule(0.01, steps=100)
        >>> [round(float(rate(step)), 4) for step in (0, 5, 10, 55, 100)]
        [0.0, 0.005, 0.01, 0.005, 0.0]
    """
    up = round(warm_up * steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0 if up else peak, max(steps - up, 1), warmup_target=peak if up else None, warmup_steps=up
    )


def optimizer(
    name: str,
    learning_rate: Any,
    rates: Mapping[str, tuple[float, int]] | None = None,
    decay: float = 0.0,
    clip: float | None = 1.0,
    accumulate: int = 1,
    loss_scaling: bool = False,
) -> Any:
    """Make an optimizer: "adam", "adamw" or "sgd" (with momentum 0.9).

    `learning_rate` is that of φ, a number or a schedule; for `rates` see `layer_rates`. `decay` is weight decay for
    "adamw", an L2 penalty for the others. `clip` limits the norm of the whole gradient. Gradients of `accumulate`
    batches are averaged for one step. `loss_scaling`, for float16 alone, keeps small gradients from vanishing.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"no optimizer {name!r}; there are {', '.join(OPTIMIZERS)}")
    momentum = {"momentum": 0.9} if name == "sgd" else {}
    made = OPTIMIZERS[name](
        rates=rates or {},
        decay=decay,
        learning_rate=learning_rate,
        global_clipnorm=clip,
        gradient_accumulation_steps=accumulate if accumulate > 1 else None,
        **momentum,
    )
    return keras.optimizers.LossScaleOptimizer(made) if loss_scaling else made
