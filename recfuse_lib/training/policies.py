"""What of a language model is trained and what stays as it was: freeze policies by name, with the parameters counted.

Taught in notebook 09.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Self

from recfuse_lib.encoders.text import TextEncoder

NAMES = "frozen, top-K, lora-RANK, lora-RANK-top-K, bias-only, everything"
ATTENTION = ("query", "value")
"""Where LoRA is put unless one says otherwise (Hu et al., 2021, section 7.1)."""
PLACES = ("query", "key", "value", "attention_output", "feedforward_intermediate_dense", "feedforward_output_dense")


@dataclasses.dataclass(frozen=True)
class Policy:
    """Which of a text encoder's parameters θ may learn.

    - `frozen`: none;
    - `top-K`: all of the K highest transformer layers;
    - `lora-R`: every layer gets, beside each matrix W named in `where`, a product of two thin ones of rank R that
      learns while W stays (`lora-R-top-K`: in the K highest layers alone):  W + (α / R) A B;
    - `bias-only`: the biases, and the shifts of the layer normalisations, of all layers;
    - `everything`: all of it, the token embeddings too.

    Attributes:
        name: The name.
        kind: "frozen", "top", "lora", "bias-only" or "everything".
        top: K; None for all layers.
        rank: R, for LoRA.
        where: Names of the dense layers that get LoRA, some of `PLACES`.

    Example:
        >>> Policy.named("lora-8-top-2")
        Policy(name='lora-8-top-2', kind='lora', top=2, rank=8, where=('query', 'value'))

    References:
        Hu et al. (2021), LoRA: Low-Rank Adaptation of Large Language Models.
        Ben Zaken, Ravfogel and Goldberg (2021), BitFit: Simple Parameter-efficient Fine-tuning (bias-only).
    """

    name: str
    kind: str
    top: int | None = None
    rank: int = 0
    where: tuple[str, ...] = ATTENTION

    @classmethod
    def named(cls, name: str, where: tuple[str, ...] = ATTENTION) -> Self:
        """The policy of that name.

        Raises:
            ValueError: There is no such policy, or LoRA has nowhere to go.
        """
        if name in ("frozen", "bias-only", "everything"):
            return cls(name, name)
        found = re.fullmatch(r"top-([1-9]\d*)|lora-([1-9]\d*)(?:-top-([1-9]\d*))?", name)
        if not found:
            raise ValueError(f"no policy {name!r}; there are {NAMES}")
        if not where or (unknown := set(where) - set(PLACES)):
            wrong = ", ".join(sorted(unknown)) if where else "nowhere"
            raise ValueError(f"LoRA in {wrong}; name some of {', '.join(PLACES)}")
        top, rank, lora_top = (None if part is None else int(part) for part in found.groups())
        return cls(name, "top", top) if rank is None else cls(name, "lora", lora_top, rank, where)

    def start(self, n_layers: int) -> int | None:
        """The lowest layer that learns: what is below it never changes. -1 stands for the embeddings, None for nothing.

        Raises:
            ValueError: The policy asks for more layers than there are.
        """
        if self.top is not None and self.top > n_layers:
            raise ValueError(f"policy {self.name!r}, but the encoder has {n_layers} layers")
        if self.kind == "frozen":
            return None
        return -1 if self.kind == "everything" else n_layers - (self.top or n_layers)

    def apply(self, encoder: TextEncoder) -> Report:
        """Freezes and thaws the encoder's parameters, and adds LoRA where it is asked for.

        Args:
            encoder: A text encoder; it is changed.

        Raises:
            ValueError: The encoder has LoRA already: load it anew, or merge and keep it as it is.
        """
        layers = encoder.backbone.transformer_layers
        start = self.start(len(layers))
        if any(dense.lora_enabled for layer in layers for dense in dense_layers(layer).values()):
            raise ValueError("this encoder has LoRA already; load a fresh one for another policy")
        for variable in encoder.backbone.variables:
            variable.trainable = False
        for layer in layers[start:] if start is not None and start >= 0 else layers:
            self._apply_to(layer)
        if self.kind == "everything":
            for part in embedding_layers(encoder.backbone):
                _thaw(part.weights)
        encoder.recompile()
        return Report.of(self, encoder)

    def _apply_to(self, layer: Any) -> None:
        if self.kind in ("top", "everything"):
            _thaw(layer.weights)
        elif self.kind == "bias-only":
            _thaw(weight for weight in layer.weights if weight.name in ("bias", "beta"))
        elif self.kind == "lora":
            for name in self.where:
                dense_layers(layer)[name].enable_lora(self.rank)


@dataclasses.dataclass(frozen=True)
class Report:
    """How many parameters of θ a policy trains.

    Attributes:
        policy: Its name.
        trainable: Parameters that learn.
        total: Parameters of the encoder, LoRA's included.
    """

    policy: str
    trainable: int
    total: int

    @classmethod
    def of(cls, policy: Policy, encoder: TextEncoder) -> Report:
        """Counts the parameters as they are now."""
        sizes = [(weight.trainable, _size(weight)) for weight in encoder.backbone.weights]
        return cls(policy.name, sum(size for learns, size in sizes if learns), sum(size for _, size in sizes))

    def __str__(self) -> str:
        share = self.trainable / self.total
        return (
            f"{self.policy}: {self.trainable:,} of {self.total:,} parameters of the language model learn ({share:.2%})"
        )


def dense_layers(layer: Any) -> dict[str, Any]:
    """The matrices of a KerasHub transformer layer by name, as `PLACES` lists them."""
    attention = layer._self_attention_layer
    return {
        "query": attention._query_dense,
        "key": attention._key_dense,
        "value": attention._value_dense,
        "attention_output": attention._output_dense,
        "feedforward_intermediate_dense": layer._feedforward_intermediate_dense,
        "feedforward_output_dense": layer._feedforward_output_dense,
    }


def embedding_layers(backbone: Any) -> list[Any]:
    """The layers below the first transformer layer that have parameters."""
    return [
        backbone.token_embedding,
        backbone.position_embedding,
        backbone.segment_embedding,
        backbone.embeddings_layer_norm,
    ]


def _thaw(weights: Any) -> None:
    for weight in weights:
        weight.trainable = True


def _size(weight: Any) -> int:
    size = 1
    for side in weight.shape:
        size *= int(side)
    return size
