"""Batches for fine-tuning: the examples, and the items of each batch whose texts are encoded anew.

A batch depends on its number and the seed alone, so a training that was stopped continues with the very batch that it
would have had.

Taught in notebook 09.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from recfuse_lib.data import sequences
from recfuse_lib.training.text_layers import WIDTH_STEP, FrozenActivations

Batch = dict[str, np.ndarray]


class Batches:
    """All batches of a training, by number.

    Half of the items that are encoded anew are drawn from those of the batch, half from the rest of the history, and
    `weight` says for how many each one stands, relative to one of the batch. Were they all of the batch, the language
    model would learn what makes an item chosen and never what makes the others not chosen: equation (5) pulls those up
    and pushes these down.

    Args:
        history: Columns `user`, `item`, `rating`, `timestamp`.
        length: L, past interactions an example.
        size: Examples a batch; a little fewer where that makes all batches of one size.
        encoded: How many items are encoded anew; 0 where nothing of the encoder learns.
        lower: What enters the encoder's layers, needed where items are encoded.
        seed: Of the order and of the choice of items.

    Raises:
        ValueError: The history is empty.

    Example:
        >>> history = pd.DataFrame({"user": 0, "item": [3, 1, 2], "rating": 4.0, "timestamp": [1, 2, 3]})
        >>> batches = Batches(history, length=2, size=2)
        >>> batches.steps_per_epoch, batches[5]["item"].shape
        (2, (2,))
    """

    def __init__(
        self,
        history: pd.DataFrame,
        length: int,
        size: int,
        encoded: int = 0,
        lower: FrozenActivations | None = None,
        seed: int = 0,
    ) -> None:
        if history.empty:
            raise ValueError("the history is empty; there is nothing to learn from")
        self.inputs = sequences.examples(history, length)
        self.steps_per_epoch = -(-len(history) // size)
        self.size = -(-len(history) // self.steps_per_epoch)
        self._known = np.unique(self.inputs["item"])
        self.encoded, self.lower, self.seed = min(encoded, len(self._known)), lower, seed

    def __getitem__(self, step: int) -> Batch:
        rows = self.rows(step)
        batch = {name: values[rows] for name, values in self.inputs.items()}
        if self.encoded and self.lower is not None:
            batch["fresh"], batch["weight"] = self._chosen(batch["item"], self.lower.lengths, step)
            batch["states"], batch["mask"] = self.lower.padded(batch["fresh"])
        return batch

    def rows(self, step: int) -> np.ndarray:
        """Return which examples are in batch number `step`; an epoch holds all once, a few of them twice."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.inputs["item"]))
        return np.resize(order, self.steps_per_epoch * self.size)[position * self.size : (position + 1) * self.size]

    def _chosen(self, item: np.ndarray, lengths: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Distinct items to encode anew, half of them from the batch, half from the rest; and their weights.

        All have about the same length, that of an item of the batch drawn at random, so that little is padded.
        """
        generator = np.random.default_rng([self.seed, step, 1])
        inside = generator.permutation(np.unique(item))
        outside = generator.permutation(np.setdiff1d(self._known, inside))
        widths = -(-lengths // WIDTH_STEP)
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
        """Yield batches number `first`, `first` + 1, … without an end."""
        step = first
        while True:
            yield self[step]
            step += 1

    def where_not_finite(self, step: int) -> str:
        """Say which number of a batch is not finite; empty where all are."""
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
    """Split a batch for n devices: each gets its part of the examples and of the texts, and all items' codes.

    Raises:
        ValueError: The examples, or the texts, do not divide over the devices.
    """
    texts = len(batch.get("fresh", []))
    if len(batch["item"]) % n or texts % n:
        raise ValueError(
            f"{len(batch['item'])} examples and {texts} texts do not divide over {n} devices; "
            "choose a batch size and a number of items to encode that do"
        )
    parts = {
        name: [values] * n if name in ("fresh", "weight") else np.split(values, n) for name, values in batch.items()
    }
    return [{name: part[device] for name, part in parts.items()} for device in range(n)]


def specification(batch: Batch) -> Any:
    """Return the TensorFlow specification of such batches, in which the number of tokens may vary."""
    import tensorflow as tf

    free = {name: 2 if name in ("states", "mask") else 1 for name in batch}
    return {
        name: tf.TensorSpec([None] * free[name] + list(values.shape[free[name] :]), values.dtype)
        for name, values in batch.items()
    }
