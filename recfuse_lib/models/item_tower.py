"""The multimodal item tower: what an item says, is, looks, sounds and moves like, and what people made of it.
Taught in notebook 06; notebook 08 uses it with text alone.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pandas as pd
from keras import ops

from recfuse_lib.data.items import Items
from recfuse_lib.encoders.item_encodings import ItemEncodings

ENCODING_SCALE = 2.0
"""Adam's step does not depend on the scale of a gradient, so the scale of its input sets how fast W moves."""


class MultimodalTower(keras.layers.Layer):
    """Computes item vectors that are anchored in content and corrected by behaviour.

        z_i = √n_i · Σ_d g_i^d W_d e_i^d + c_i δ_i        (1)
        g_i = softmax over the dimensions that i has of a_d + v_dᵀ e_i^d

    e_i^d is the encoding of item i in dimension d, never trained here; W_d is shared by all items. The gate g_i^d is 0
    where the dimension is missing, and sums to 1 over the n_i that the item has; √n_i keeps the norm of z_i about the
    same however many there are.

    δ_i is the item's own correction. In training c_i is 0 for a random share of the items at each step
    (`item_dropout`), so W must carry what content can say. Otherwise c_i is 1, but always 0 for an item that was not
    available in training: nothing corrected it. A share of the (item, dimension) pairs (`modality_dropout`) is dropped
    as well, never all of an item's, so that none relies on one dimension alone.

    >>> tower = MultimodalTower(n_items=3, widths={"text": 3, "image": 2}, dimension=4)
    >>> present = {"image": np.array([True, True, False])}
    >>> tower.set_encodings(ItemEncodings.of({"text": np.eye(3), "image": np.ones((3, 2))}, present))
    >>> tuple(tower().shape)
    (3, 4)
    >>> tower.gates()[2]
    array([1., 0.], dtype=float32)

    References:
        Arevalo et al. (2017), Gated Multimodal Units for Information Fusion, ICLR workshop (gates from the inputs).
        Neverova et al. (2016), ModDrop: Adaptive Multi-modal Gesture Recognition, IEEE TPAMI (modality dropout).
        Volkovs, Yu and Poutanen (2017), DropoutNet: Addressing Cold Start in Recommender Systems, NIPS (dropped δ).
    """

    def __init__(
        self,
        n_items: int,
        widths: Mapping[str, int],
        dimension: int,
        item_dropout: float = 0.2,
        modality_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.n_items, self.dimension, self.names, self.widths = n_items, dimension, tuple(widths), dict(widths)
        self.item_dropout, self.modality_dropout = item_dropout, modality_dropout
        self.random = keras.random.SeedGenerator()

        def weight(name: str, *shape: int, start: Any = "zeros", trainable: bool = True) -> Any:
            return self.add_weight(shape=shape, initializer=start, trainable=trainable, name=name)

        sizes, glorot = widths.items(), "glorot_uniform"
        self.encodings = [weight(f"encodings_{name}", n_items, width, trainable=False) for name, width in sizes]
        self.kernels = [weight(f"kernel_{name}", width, dimension, start=glorot) for name, width in sizes]
        small = keras.initializers.RandomNormal(stddev=0.02)
        self.correction = weight("correction", n_items, dimension, start=small)
        self.gate_kernels = [weight(f"gate_kernel_{name}", width) for name, width in sizes]
        self.gate_bias = weight("gate_bias", len(widths))
        self.present = weight("present", n_items, len(widths), start="ones", trainable=False)
        self.available = weight("available", n_items, start="ones", trainable=False)
        self.built = True

    def set_encodings(self, encodings: ItemEncodings) -> None:
        """Sets the encodings of the catalogue, at any time.
        Raises `ValueError`: the number of items, the dimensions or their widths are not those of the tower.
        """
        if (encodings.n_items, encodings.widths) != (self.n_items, self.widths):
            raise ValueError(
                f"the encodings are of {encodings.n_items:,} items and {encodings.widths}; "
                f"this tower takes {self.n_items:,} items and {self.widths}"
            )
        for name, weight in zip(self.names, self.encodings, strict=True):
            weight.assign(encodings.matrices[name])
        self.present.assign(np.stack([encodings.present[name] for name in self.names], axis=1).astype("float32"))

    def set_available(self, available: np.ndarray) -> None:
        """Says which items could be chosen in training, bool (I,), or raises `ValueError`; the others have no δ."""
        available = np.asarray(available)
        if available.shape != (self.n_items,) or available.dtype != bool:
            raise ValueError(f"available is {available.dtype} {available.shape}; expected bool ({self.n_items},)")
        self.available.assign(available.astype("float32"))

    def gates(self) -> np.ndarray:
        """Computes g of equation (1), float32 (I, number of dimensions), in the order of `names`."""
        return np.asarray(ops.convert_to_numpy(self._gates(self.present, dict(enumerate(self.encodings)))))

    def parts(self) -> dict[str, np.ndarray]:
        """Computes what each dimension and "behaviour" add to z_i: name -> float32 (I, D)."""
        encodings = dict(enumerate(self.encodings))
        weights = self._weights(self.present, encodings)
        parts = {name: weights[:, n, None] * self._project(n, encodings) for n, name in enumerate(self.names)}
        parts["behaviour"] = self.available[:, None] * self.correction
        return {name: np.asarray(ops.convert_to_numpy(part)) for name, part in parts.items()}

    def call(self, training: bool = False, fresh: Mapping[int, Any] | None = None) -> Any:
        """Computes z_i of every item, (I, D); in training, corrections and dimensions are dropped at random.

        `fresh`, number of a dimension -> (I, width), replaces encodings, for an encoder that learns with the tower.
        """
        encodings = {**dict(enumerate(self.encodings)), **(fresh or {})}
        kept = self.available[:, None]
        present: Any = self.present
        if training:
            draws = keras.random.uniform((self.n_items, 1), seed=self.random)
            kept = kept * ops.cast(draws >= self.item_dropout, "float32")
            present = self._drop(present)
        weights = self._weights(present, encodings)
        content = sum(weights[:, number, None] * self._project(number, encodings) for number in encodings)
        return content + kept * self.correction

    def _drop(self, present: Any) -> Any:
        """`present` without a random share; where all would go, the largest draw stays."""
        if len(self.names) == 1 or not self.modality_dropout:
            return present
        draws = present * keras.random.uniform(ops.shape(present), minval=1e-6, seed=self.random)
        threshold = ops.minimum(ops.max(draws, axis=1, keepdims=True), self.modality_dropout)
        return present * ops.cast(draws >= threshold, present.dtype)

    def _project(self, number: int, encodings: Mapping[int, Any]) -> Any:
        return ops.matmul(ENCODING_SCALE * encodings[number], self.kernels[number])

    def _weights(self, present: Any, encodings: Mapping[int, Any]) -> Any:
        """√n_i g_i, (I, number of dimensions)."""
        return ops.sqrt(ops.sum(present, axis=1, keepdims=True)) * self._gates(present, encodings)

    def _gates(self, present: Any, encodings: Mapping[int, Any]) -> Any:
        kernels = enumerate(self.gate_kernels)
        logits = [ops.matmul(ENCODING_SCALE * encodings[number], kernel[:, None]) for number, kernel in kernels]
        logits = ops.where(present > 0, ops.concatenate(logits, axis=1) + self.gate_bias, -1e9)
        powers = present * ops.exp(logits - ops.max(logits, axis=1, keepdims=True))
        # The largest power is 1, or nothing is present and all are 0.
        return powers / ops.maximum(ops.sum(powers, axis=1, keepdims=True), 1.0)


def encodings_of(
    items: Items | ItemEncodings, history: pd.DataFrame, available: np.ndarray | None = None
) -> tuple[ItemEncodings, np.ndarray]:
    """Prepares the encodings that a `MultimodalTower` reads, and which items could be chosen, bool (I,).
    Raises `ValueError`: the history holds an item that was not available.
    """
    if isinstance(items, Items):
        available = items.available if available is None else available
        items = ItemEncodings.of(items.encodings).centred(np.unique(history["item"]))
    available = np.ones(items.n_items, bool) if available is None else np.asarray(available)
    chosen = history["item"].to_numpy()
    if len(available) == items.n_items and not (there := available[chosen]).all():
        raise ValueError(f"item {chosen[~there][0]} is in the history, but could not be chosen, says `available`")
    return items, available
