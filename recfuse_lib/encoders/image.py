"""Pictures as vectors: a small network that learns from the pictures alone, and the way to a large pretrained one.

Taught in notebook 06.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import keras
import numpy as np
from keras import layers, ops

from recfuse_lib.data.media import read_image
from recfuse_lib.encoders.contrastive import (
    DIMENSIONS,
    EPOCHS,
    Array,
    LogEnergies,
    Mask,
    TwoViewEncoder,
    seeded,
    to_unit,
)
from recfuse_lib.encoders.files import encode_files
from recfuse_lib.pretrained import PretrainedError

NOISE = 0.03
SHIFT = 2


@keras.saving.register_keras_serializable(package="recfuse")
class ImageEncoder(TwoViewEncoder):
    """A picture as a vector: how much of which pattern it holds, fine and coarse.

        e = W [log mean h₁, log mean h₂],   h₁ = ReLU(conv(x)),   h₂ = ReLU(conv(pool(h₁)))

    Another view of a picture is mirrored, moved by up to two pixels, and noisy. It is as bright, as patterned and as
    large as before, for taste may depend on that.

    Args:
        size: Side of the square picture, in pixels.
        channels: 1 or 3.
        dimensions: Width of an encoding.
        seed: Everything random follows from it.

    Example:
        >>> pictures = np.random.default_rng(0).random((4, 28, 28, 1), "float32")
        >>> ImageEncoder().learn(pictures, epochs=1).encode(pictures).shape
        (4, 64)

    References:
        Chen et al. (2020), A Simple Framework for Contrastive Learning of Visual Representations, ICML.
    """

    def __init__(
        self, size: int = 28, channels: int = 1, dimensions: int = DIMENSIONS, seed: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(dimensions=dimensions, seed=seed, **kwargs)
        self.size, self.channels = size, channels
        weights = seeded(seed)
        inputs = keras.Input((size, size, channels))
        convolution = partial(layers.Conv2D, kernel_size=3, padding="same", activation="relu")
        fine = convolution(24, strides=max(1, size // 28), kernel_initializer=next(weights))(inputs)
        coarse = convolution(48, kernel_initializer=next(weights))(layers.AveragePooling2D(2)(fine))
        energies = layers.Concatenate()([LogEnergies((1, 2))(fine), LogEnergies((1, 2))(coarse)])
        self.network = keras.Model(inputs, layers.Dense(dimensions, kernel_initializer=next(weights))(energies))

    def view(self, prepared: Any, random: keras.random.SeedGenerator) -> Any:
        return jittered(prepared, random)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size, "channels": self.channels}


class PretrainedImageEncoder:
    """The picture half of a CLIP model from KerasHub: trained on hundreds of millions of pictures with their captions.

    Args:
        backbone: A `keras_hub.models.CLIPBackbone`.
        converter: Its `keras_hub.layers.CLIPImageConverter`, which brings pixels of 0–255 to the scale of the weights.

    Attributes:
        size: Side of the square pictures that it takes, in pixels.
        dimensions: Width of an encoding.

    References:
        Radford et al. (2021), Learning Transferable Visual Models From Natural Language Supervision, ICML.
    """

    def __init__(self, backbone: Any, converter: Any) -> None:
        self.backbone, self._converter = backbone, converter
        self.size = int(backbone.vision_encoder.image_shape[0])
        self.dimensions = int(backbone.projection_dim)

    @classmethod
    def from_pretrained(cls, preset: str | Path) -> Self:
        """The encoder with the weights of a KerasHub preset.

        Args:
            preset: "clip_vit_base_patch32" or another name in `keras_hub.models.CLIPBackbone.presets`, which needs a
                network the first time; or a folder that holds such a preset.

        Raises:
            recfuse_lib.pretrained.PretrainedError: The weights cannot be had.
        """
        import keras_hub

        try:
            backbone = keras_hub.models.CLIPBackbone.from_preset(str(preset))
            converter = keras_hub.layers.CLIPImageConverter.from_preset(str(preset))
        except Exception as error:  # each way to a hub fails with exceptions of its own
            raise PretrainedError(
                f"CLIP model {str(preset)!r} cannot be had: {error}\n"
                f"Known names are {', '.join(keras_hub.models.CLIPBackbone.presets)}. They need a network the first "
                "time. Without one, name a folder that holds a preset: where there is a network, save one there with "
                "`CLIPBackbone.from_preset(name).save_to_preset(folder)` and the same for `CLIPImageConverter`; or use "
                "`ImageEncoder`, which needs no weights."
            ) from error
        return cls(backbone, converter)

    def encode(self, pictures: Array) -> Array:
        """Encodings of pictures.

        Args:
            pictures: float32 (I, size, size, 3) in 0–1, as `read_image(path, encoder.size, channels=3)` gives them.

        Returns:
            float32 (I, `dimensions`), rows of length 1.

        Raises:
            ValueError: Pictures of another shape.
        """
        expected = (len(pictures), self.size, self.size, 3)
        if pictures.shape != expected or not len(pictures):
            raise ValueError(
                f"pictures have shape {pictures.shape}; this encoder takes (I, {self.size}, {self.size}, 3)"
            )
        batches = (self._converter(255 * pictures[start : start + 32]) for start in range(0, len(pictures), 32))
        return np.concatenate(
            [ops.convert_to_numpy(to_unit(self.backbone.get_vision_embeddings(batch))) for batch in batches]
        )


def jittered(pictures: Any, random: keras.random.SeedGenerator) -> Any:
    """Pictures moved by up to `SHIFT` pixels, half of the times mirrored, with noise.

    Args:
        pictures: (B, …, height, width, channels). All of a batch move alike.
        random: Where the randomness comes from.
    """
    for axis in (-3, -2):
        places = ops.arange(pictures.shape[axis])
        if axis == -2:
            mirrored = keras.random.randint((), 0, 2, seed=random)
            places = mirrored * places[::-1] + (1 - mirrored) * places
        moved = places + keras.random.randint((), -SHIFT, SHIFT + 1, seed=random)
        pictures = ops.take(pictures, ops.clip(moved, 0, pictures.shape[axis] - 1), axis=axis)
    return pictures + NOISE * keras.random.normal(ops.shape(pictures), seed=random)


def encode_images(
    paths: Iterable[str | Path | None],
    seen: Mask | None = None,
    missing: Literal["error", "mask"] = "error",
    size: int = 28,
    channels: int = 1,
    seed: int = 0,
    epochs: int = EPOCHS,
) -> tuple[Array, Mask]:
    """Encodings of picture files by an `ImageEncoder` that learned from the seen ones; at once when done before.

    Args:
        paths: One path per item code, None for an item without a picture.
        seen: The items that may be learned from, bool (I,). Defaults to all. Held-out items are encoded all the same.
        missing: "error" or "mask"; see `recfuse_lib.data.media.read_all`.
        size: Side of the square to which pictures are brought, in pixels.
        channels: 1 (grey) or 3.
        seed: Everything random follows from it.
        epochs: Passes over the seen items.

    Returns:
        Encodings, float32 (I, 64), zeros for missing items, and which items are present, bool (I,).

    Raises:
        recfuse_lib.data.media.MediaError: A file is missing or bad (`missing="error"`), or none can be read.
    """

    def encode(pictures: Array, seen: Mask) -> Array:
        return ImageEncoder(size, channels, seed=seed).learn(pictures, seen, epochs).encode(pictures)

    configuration = {"encoder": "image", "size": size, "channels": channels, "seed": seed, "epochs": epochs}
    return encode_files(paths, partial(read_image, size=size, channels=channels), encode, configuration, seen, missing)
