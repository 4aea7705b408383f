"""Sounds as vectors: a small network on the log-mel spectrogram that learns from the sounds alone.

Taught in notebook 06.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import keras
from keras import layers, ops

from recfuse_lib.data.media import read_sound
from recfuse_lib.encoders.contrastive import DIMENSIONS, EPOCHS, Array, LogEnergies, Mask, TwoViewEncoder, seeded
from recfuse_lib.encoders.files import encode_files

WINDOW = 1024
STEP = 160
MEL_BINS = 96
DECIBELS = 40.0
NOISE = 0.05
GAIN = 0.05
SHIFT = 2
"""Steps of the spectrogram, 20 ms each at 8,000 samples a second."""


@keras.saving.register_keras_serializable(package="recfuse")
class SoundEncoder(TwoViewEncoder):
    """A sound as a vector: which pitches it holds, and how much of which pattern in time and pitch.

        e = W [mean over time of S, log mean h₁, log mean h₂]
        S = log-mel(x),   h₁ = ReLU(conv(S)),   h₂ = ReLU(conv(pool(h₁)))

    Another view of a sound is a little earlier or later, louder or softer, and
    noisy. Pitch, harmony, timbre and tempo are as before, for taste may depend on them.

    Args:
        rate: Samples a second.
        seconds: Length of a sound.
        dimensions: Width of an encoding.
        seed: Everything random follows from it.

    Example:
        >>> import numpy as np
        >>> sounds = np.random.default_rng(0).uniform(-1, 1, (4, 12000)).astype("float32")
        >>> SoundEncoder().learn(sounds, epochs=1).encode(sounds).shape
        (4, 64)

    References:
        Choi, Fazekas and Sandler (2016), Automatic tagging using deep convolutional neural networks, ISMIR.
    """

    def __init__(
        self, rate: int = 8000, seconds: float = 1.5, dimensions: int = DIMENSIONS, seed: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(dimensions=dimensions, seed=seed, **kwargs)
        self.rate, self.seconds = rate, seconds
        weights = seeded(seed)
        self.spectrogram = layers.MelSpectrogram(
            fft_length=WINDOW, sequence_stride=STEP, sampling_rate=rate, num_mel_bins=MEL_BINS, min_freq=60.0
        )
        waveform = keras.Input((round(rate * seconds),))
        inputs = keras.Input(self.prepare(waveform).shape[1:])
        convolution = partial(layers.Conv2D, padding="same", activation="relu")
        fine = convolution(16, (5, 3), strides=2, kernel_initializer=next(weights))(inputs)
        coarse = convolution(32, 3, kernel_initializer=next(weights))(layers.AveragePooling2D(2)(fine))
        pitches = layers.Flatten()(layers.AveragePooling2D((1, inputs.shape[2]))(inputs))
        features = layers.Concatenate()([pitches, LogEnergies((1, 2))(fine), LogEnergies((1, 2))(coarse)])
        self.network = keras.Model(inputs, layers.Dense(dimensions, kernel_initializer=next(weights))(features))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: so many samples."""
        return (round(self.rate * self.seconds),)

    def prepare(self, inputs: Any) -> Any:
        """The log-mel spectrogram, in units of 40 dB, (B, mel bins, time, 1)."""
        return ops.expand_dims(self.spectrogram(inputs) / DECIBELS + 1.0, -1)

    def view(self, prepared: Any, random: keras.random.SeedGenerator) -> Any:
        places = ops.arange(prepared.shape[2]) + keras.random.randint((), -SHIFT, SHIFT + 1, seed=random)
        moved = ops.take(prepared, ops.clip(places, 0, prepared.shape[2] - 1), axis=2)
        gain = keras.random.uniform((ops.shape(prepared)[0], 1, 1, 1), -GAIN, GAIN, seed=random)
        return moved + gain + NOISE * keras.random.normal(ops.shape(prepared), seed=random)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seconds": self.seconds}


def encode_sounds(
    paths: Iterable[str | Path | None],
    seen: Mask | None = None,
    missing: Literal["error", "mask"] = "error",
    rate: int = 8000,
    seconds: float = 1.5,
    seed: int = 0,
    epochs: int = EPOCHS,
) -> tuple[Array, Mask]:
    """Encodings of sound files by a `SoundEncoder` that learned from the seen ones; at once when done before.

    Args:
        paths: One path per item code, None for an item without a sound.
        seen: The items that may be learned from, bool (I,). Defaults to all. Held-out items are encoded all the same.
        missing: "error" or "mask"; see `recfuse_lib.data.media.read_all`.
        rate: Samples a second to which sounds are brought.
        seconds: Length to which sounds are brought.
        seed: Everything random follows from it.
        epochs: Passes over the seen items.

    Returns:
        Encodings, float32 (I, 64), zeros for missing items, and which items are present, bool (I,).

    Raises:
        recfuse_lib.data.media.MediaError: A file is missing or bad (`missing="error"`), or none can be read.
    """

    def encode(sounds: Array, seen: Mask) -> Array:
        return SoundEncoder(rate, seconds, seed=seed).learn(sounds, seen, epochs).encode(sounds)

    configuration = {"encoder": "sound", "rate": rate, "seconds": seconds, "seed": seed, "epochs": epochs}
    return encode_files(paths, partial(read_sound, rate=rate, seconds=seconds), encode, configuration, seen, missing)
