"""Batches for fine-tuning: the examples, and the items of each batch whose texts are encoded anew.

A batch depends on its number and the seed alone, so a training that was stopped goes on with the very batch that it
would have had.

Taught in notebook 09.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from recfuse_lib.data import sequences
from recfuse_lib.training.text_layers import WIDTH_STEP, FrozenActivations

Batch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Batches:
    """All batches of a training, by number.

    Attributes:
        inputs: The examples by name, (N, …), as `recfuse_lib.data.sequences.examples`.
        size: Examples a batch.
        encoded: How many items are encoded anew; 0 where nothing of the encoder learns. Half of them are drawn from the
            items of the batch, half from the rest of the history, and `weight` says for how many each one stands,
            relative to one of the batch. Were they all of the batch, the language model would learn what makes an item
            chosen and never what makes the others not chosen: equation (5) pulls those up and pushes these down.
        lower: What enters the encoder's layers, or None.
        seed: Of the order and of the choice of items.

    Example:
        >>> history = pd.DataFrame({"user": 0, "item": [3, 1, 2], "rating": 4.0, "timestamp": [1, 2, 3]})
        >>> batches = Batches.of(history, length=2, size=2)
        >>> batches.steps_per_epoch, batches[5]["item"].shape
        (2, (2,))
    """

    inputs: Batch
    size: int
    encoded: int = 0
    lower: FrozenActivations | None = None
    seed: int = 0

    @classmethod
    def of(
        cls,
        history: pd.DataFrame,
        length: int,
        size: int,
        encoded: int = 0,
        lower: FrozenActivations | None = None,
        seed: int = 0,
    ) -> Batches:
        """Batches of a history.

        Args:
            history: Columns `user`, `item`, `rating`, `timestamp`.
            length: L, past interactions an example.
            size: Examples a batch; a little fewer where that makes all batches of one size.
            encoded: See the attribute.
            lower: See the attribute.
            seed: See the attribute.

        Raises:
            ValueError: The history is empty, or items shall be encoded and `lower` is not given.
        """
        if history.empty:
            raise ValueError("the history is empty; there is nothing to learn from")
        if encoded and lower is None:
            raise ValueError(f"{encoded} items a batch shall be encoded anew; give their lower states too")
        steps = -(-len(history) // size)
        encoded = min(encoded, history["item"].nunique())
        return cls(sequences.examples(history, length), -(-len(history) // steps), encoded, lower, seed)

    @functools.cached_property
    def _known(self) -> np.ndarray:
        """The items of the history."""
        return np.unique(self.inputs["item"])

    @property
    def steps_per_epoch(self) -> int:
        """Batches that hold all examples once, a few of them twice."""
        return -(-len(self.inputs["item"]) // self.size)

    def __getitem__(self, step: int) -> Batch:
        rows = self.rows(step)
        batch = {name: values[rows] for name, values in self.inputs.items()}
        if self.encoded and self.lower is not None:
            batch["fresh"], batch["weight"] = self._chosen(batch["item"], step)
            batch["states"], batch["mask"] = self.lower.padded(batch["fresh"])
        return batch

    def rows(self, step: int) -> np.ndarray:
        """Which examples are in batch number `step`."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.inputs["item"]))
        return np.resize(order, self.steps_per_epoch * self.size)[place * self.size : (place + 1) * self.size]

    def _chosen(self, item: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Distinct items to encode anew, half of them from the batch, half from the rest; and their weights.

        All have about the same length, that of an item of the batch drawn at random, so that little is padded.
        """
        assert self.lower is not None
        generator = np.random.default_rng([self.seed, step, 1])
        inside = generator.permutation(np.unique(item))
        outside = generator.permutation(np.setdiff1d(self._known, inside))
        widths = -(-self.lower.lengths // WIDTH_STEP)
        n_outside = min(len(outside), max(self.encoded // 2, self.encoded - len(inside)))
        parts = []
        for items, n in ((inside, self.encoded - n_outside), (outside, n_outside)):
            wider = widths[items] - widths[inside[0]]
            # Those that fill the width, then shorter ones; wider ones only in need.
            parts.append(items[np.lexsort((np.abs(wider), wider > 0))][:n])
        shares = [len(items) / max(len(part), 1) for items, part in zip((inside, outside), parts, strict=True)]
        weights = np.repeat([1.0, shares[1] / shares[0]], [len(part) for part in parts])
        return np.concatenate(parts).astype("int32"), weights.astype("float32")

    def stream(self, first: int = 0) -> Iterator[Batch]:
        """Batches number `first`, `first` + 1, … without an end."""
        step = first
        while True:
            yield self[step]
            step += 1

    def where_not_finite(self, step: int) -> str:
        """Which number of a batch is not finite, in words; empty where all are."""
        batch, rows = self[step], self.rows(step)
        for name, values in batch.items():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                row = int(np.argwhere(~np.isfinite(values))[0][0])
                if name in ("states", "mask"):
                    return f"the lower states of item {batch['fresh'][row]} are not finite"
                return (
                    f"example {rows[row]} (user {batch['user'][row]}, item {batch['item'][row]}): "
                    f"{name} is {np.asarray(values[row]).tolist()}"
                )
        return ""


def pieces(batch: Batch, n: int) -> list[Batch]:
    """A batch for n devices: each gets its part of the examples and of the texts to encode, and all items' codes.

    Raises:
        ValueError: The examples, or the texts, do not divide over the devices.
    """
    if n == 1:
        return [batch]
    texts = len(batch.get("fresh", []))
    if len(batch["item"]) % n or texts % n:
        raise ValueError(
            f"{len(batch['item'])} examples and {texts} texts do not divide over {n} devices; "
            "choose a batch size and a number of items to encode that do"
        )

    def part(name: str, place: int) -> np.ndarray:
        if name in ("fresh", "weight"):
            return batch[name]
        return np.split(batch[name], n)[place]

    return [{name: part(name, place) for name in batch} for place in range(n)]


def specification(batch: Batch) -> Any:
    """The TensorFlow specification of such batches, in which the number of tokens may vary."""
    import tensorflow as tf

    def one(name: str, values: np.ndarray) -> Any:
        shape = [None, None] if name in ("states", "mask") else [None]
        return tf.TensorSpec([*shape, *values.shape[len(shape) :]], values.dtype)

    return {name: one(name, values) for name, values in batch.items()}
