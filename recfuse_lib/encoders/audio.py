"""Sounds as vectors: a small network on the log-mel spectrogram that learns from the sounds alone.

Taught in notebook 06.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from keras import layers, ops

from recfuse_lib.data.media import read_sound
from recfuse_lib.encoders.contrastive import DIMENSIONS, EPOCHS, Array, LogEnergies, Mask, TwoViewEncoder, seeded
from recfuse_lib.encoders.files import encode_files

WINDOW = 1024
STEP = 160
MEL_BINS = 96
DECIBEL = 40.0
NOISE = 0.001
GAIN = 0.3
SHIFT_SECONDS = 0.05


@keras.saving.register_keras_serializable(package="recfuse")
class SoundEncoder(TwoViewEncoder):
    """A sound as a vector: which pitches it holds, and how much of which pattern in time and pitch.

        e = W [mean over time of S, log mean h₁, log mean h₂],   S = log-mel(x), h₁ = ReLU(conv(S)), h₂ = ReLU(conv(pool(h₁)))

    The spectrogram is part of the network. Another view of a sound is a little earlier or later, louder or softer, and
    noisy. Pitch, harmony, timbre and tempo are as before, for taste may depend on them.

    Args:
        rate: Samples a second.
        seconds: Length of a sound.
        dimensions: Width of an encoding.
        seed: Everything random follows from it.

    Example:
        >>> sounds = np.random.default_rng(0).uniform(-1, 1, (4, 12000)).astype("float32")
        >>> SoundEncoder().learn(sounds, epochs=1).encode(sounds).shape
        (4, 64)

    References:
        Choi, Fazekas and Sandler (2016), Automatic tagging using deep convolutional neural networks, ISMIR.

    Taught in notebook 06.
    """

    def __init__(
        self, rate: int = 8000, seconds: float = 1.5, dimensions: int = DIMENSIONS, seed: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(dimensions=dimensions, seed=seed, **kwargs)
        self.rate, self.seconds = rate, seconds
        weights = seeded(seed)
        inputs = keras.Input((round(rate * seconds),))
        spectrogram = layers.MelSpectrogram(
            fft_length=WINDOW, sequence_stride=STEP, sampling_rate=rate, num_mel_bins=MEL_BINS, min_freq=60.0
        )(inputs)
        spectrogram = layers.Rescaling(1 / DECIBEL, offset=1.0)(
            layers.Reshape((*spectrogram.shape[1:], 1))(spectrogram)
        )
        convolution = partial(layers.Conv2D, padding="same", activation="relu")
        fine = convolution(16, (3, 5), strides=(1, 2), kernel_initializer=next(weights))(spectrogram)
        coarse = convolution(32, (3, 5), kernel_initializer=next(weights))(layers.AveragePooling2D(2)(fine))
        pitches = layers.Flatten()(layers.AveragePooling2D((1, spectrogram.shape[2]))(spectrogram))
        features = layers.Concatenate()([pitches, LogEnergies((1, 2))(fine), LogEnergies((1, 2))(coarse)])
        self.network = keras.Model(inputs, layers.Dense(dimensions, kernel_initializer=next(weights))(features))

    def view(self, inputs: Any) -> Any:
        farthest = round(SHIFT_SECONDS * self.rate)
        places = ops.arange(inputs.shape[1]) + keras.random.randint((), -farthest, farthest + 1, seed=self.random)
        moved = ops.take(inputs, places % inputs.shape[1], axis=1)
        gain = keras.random.uniform((ops.shape(inputs)[0], 1), -GAIN, GAIN, seed=self.random)
        return ops.exp(gain) * moved + NOISE * keras.random.normal(ops.shape(moved), seed=self.random)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seconds": self.seconds}


def encode_sounds(
    paths: Iterable[str | Path | None],
    seen: Mask | None = None,
    missing: Literal["error", "mask"] = "error",
    rate: int = 8000,
    seconds: float = 1.5,
    seed: int = 0,
) -> tuple[Array, Mask]:
    """Encodings of sound files by a `SoundEncoder` that learned from the seen ones; at once when done before.

    Args:
        paths: One path per item code, None for an item without a sound.
        seen: The items that may be learned from, bool (I,). Defaults to all. Held-out items are encoded all the same.
        missing: "error" or "mask"; see `recfuse_lib.data.media.read_all`.
        rate: Samples a second to which sounds are brought.
        seconds: Length to which sounds are brought.
        seed: Everything random follows from it.

    Returns:
        Encodings, float32 (I, 64), zeros for missing items, and which items are present, bool (I,).

    Raises:
        recfuse_lib.data.media.MediaError: A file is missing or bad (`missing="error"`), or none can be read.

    Taught in notebook 06.
    """

    def encode(sounds: Array, seen: Mask) -> Array:
        return SoundEncoder(rate, seconds, seed=seed).learn(sounds, seen).encode(sounds)

    configuration = {"encoder": "sound 1", "rate": rate, "seconds": seconds, "seed": seed, "epochs": EPOCHS}
    return encode_files(paths, partial(read_sound, rate=rate, seconds=seconds), encode, configuration, seen, missing)
