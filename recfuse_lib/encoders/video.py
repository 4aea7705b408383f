"""Clips as vectors: frames through a small network, pooled over time so that motion shows.

Taught in notebook 06.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import keras
from keras import layers, ops

from recfuse_lib.data.media import read_clip
from recfuse_lib.encoders.contrastive import DIMENSIONS, EPOCHS, Array, LogEnergies, Mask, TwoViewEncoder, seeded
from recfuse_lib.encoders.files import encode_files
from recfuse_lib.encoders.image import jittered

SPREAD_FLOOR = 1e-3


@keras.saving.register_keras_serializable(package="recfuse")
class OverTime(layers.Layer):
    """A sequence as its mean and the logarithm of its spread and of its steps.

        [mean_t x_t,  ½ log var_t x_t,  ½ log mean_t (x_{t+1} − x_t)²]

    Spread tells how far something moves, steps tell how fast; on a logarithmic scale a linear layer can compare them.

    Example:
        >>> import numpy as np
        >>> OverTime()(np.zeros((2, 8, 5), "float32")).shape[1:]
        TensorShape([15])
    """

    def call(self, sequence: Any) -> Any:
        steps = sequence[:, 1:] - sequence[:, :-1]
        return ops.concatenate(
            [
                ops.mean(sequence, axis=1),
                0.5 * ops.log(ops.var(sequence, axis=1) + SPREAD_FLOOR**2),
                0.5 * ops.log(ops.mean(steps * steps, axis=1) + SPREAD_FLOOR**2),
            ],
            axis=-1,
        )


@keras.saving.register_keras_serializable(package="recfuse")
class ClipEncoder(TwoViewEncoder):
    """A clip as a vector: every frame through one network, then what stays, how far it moves and how fast.

        e = W OverTime(f(x_1), …, f(x_T))
        f(x) = [V pool(h), log mean h],   h = ReLU(conv(x))

    Another view of a clip is mirrored, moved by up to two pixels, and noisy, all frames alike. Speed and extent of the
    motion are as before.

    Args:
        frames: T.
        size: Side of the square frames, in pixels.
        channels: 1 or 3.
        dimensions: Width of an encoding.
        seed: Everything random follows from it.

    Example:
        >>> import numpy as np
        >>> clips = np.random.default_rng(0).random((4, 8, 28, 28, 1), "float32")
        >>> ClipEncoder().learn(clips, epochs=1).encode(clips).shape
        (4, 64)

    References:
        Feichtenhofer et al. (2021), A Large-Scale Study on Unsupervised Spatiotemporal Representation Learning, CVPR.
    """

    def __init__(
        self,
        frames: int = 8,
        size: int = 28,
        channels: int = 1,
        dimensions: int = DIMENSIONS,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(dimensions=dimensions, seed=seed, **kwargs)
        self.frames, self.size, self.channels = frames, size, channels
        weights = seeded(seed)
        frame = keras.Input((size, size, channels))
        patterns = layers.Conv2D(16, 5, strides=2, padding="same", activation="relu", kernel_initializer=next(weights))(
            frame
        )
        coarse = layers.Flatten()(layers.AveragePooling2D(max(1, size // 14))(patterns))
        places = layers.Dense(dimensions, kernel_initializer=next(weights))(coarse)
        look = keras.Model(frame, layers.Concatenate()([places, LogEnergies((1, 2))(patterns)]))
        inputs = keras.Input((frames, size, size, channels))
        moments = OverTime()(layers.TimeDistributed(look)(inputs))
        self.network = keras.Model(inputs, layers.Dense(dimensions, kernel_initializer=next(weights))(moments))

    def view(self, prepared: Any, random: keras.random.SeedGenerator) -> Any:
        return jittered(prepared, random)

    def get_config(self) -> dict[str, Any]:
        own = ("frames", "size", "channels")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


def encode_clips(
    paths: Iterable[str | Path | None],
    seen: Mask | None = None,
    missing: Literal["error", "mask"] = "error",
    frames: int = 8,
    size: int = 28,
    channels: int = 1,
    seed: int = 0,
    epochs: int = EPOCHS,
) -> tuple[Array, Mask]:
    """Encodings of clip files by a `ClipEncoder` that learned from the seen ones; at once when done before.

    Args:
        paths: One path per item code, None for an item without a clip.
        seen: The items that may be learned from, bool (I,). Defaults to all. Held-out items are encoded all the same.
        missing: "error" or "mask"; see `recfuse_lib.data.media.read_all`.
        frames: Frames that are taken from a clip, evenly over time.
        size: Side of the square to which frames are brought, in pixels.
        channels: 1 (grey) or 3.
        seed: Everything random follows from it.
        epochs: Passes over the seen items.

    Returns:
        Encodings, float32 (I, 64), zeros for missing items, and which items are present, bool (I,).

    Raises:
        recfuse_lib.data.media.MediaError: A file is missing or bad (`missing="error"`), or none can be read.
    """

    def encode(clips: Array, seen: Mask) -> Array:
        return ClipEncoder(frames, size, channels, seed=seed).learn(clips, seen, epochs).encode(clips)

    shape = {"frames": frames, "size": size, "channels": channels}
    configuration = {"encoder": "clip", **shape, "seed": seed, "epochs": epochs}
    read = partial(read_clip, frames=frames, size=size, channels=channels)
    return encode_files(paths, read, encode, configuration, seen, missing)
