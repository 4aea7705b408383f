"""What is known of items before anybody has met them, as the service encodes it: text, attributes and pictures.

Taught in notebook 18.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Self

import numpy as np

from recfuse_lib.data.schema import Dataset
from recfuse_lib.encoders.attributes import AttributeEncoder
from recfuse_lib.encoders.centring import Centring
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.encoders.text import encode_texts


@dataclasses.dataclass(frozen=True, eq=False)
class Content:
    """Centred encodings of a catalogue, and the means that were taken away: a new item's are treated alike.

    Attributes:
        encodings: As the item tower takes them.
        means: Dimension -> mean over the seen items, float32 (width,).
        seen: The items that had a say in the means, bool (I,).

    Example:
        >>> content = Content.of(ItemEncodings.of({"text": np.eye(3) + 1}), np.array([True, True, False]))
        >>> content.means["text"]
        array([1.5, 1.5, 1. ], dtype=float32)
    """

    encodings: ItemEncodings
    means: Mapping[str, np.ndarray]
    seen: np.ndarray

    @classmethod
    def of(cls, raw: ItemEncodings, seen: np.ndarray) -> Self:
        """Centres encodings.

        Args:
            raw: As the encoders gave them.
            seen: The items of the history, bool (I,): what a held-out item says must have no part in the means.

        Raises:
            ValueError: Fewer than two of the seen items have a dimension.
        """
        centred = raw.centred(seen)
        means = {}
        for name, matrix in raw.matrices.items():
            mean = Centring().fit(matrix[seen & raw.present[name]]).mean
            assert mean is not None
            means[name] = mean
        return cls(centred, means, seen)

    @classmethod
    def of_dataset(
        cls, dataset: Dataset, seen: np.ndarray, pictures: tuple[np.ndarray, np.ndarray] | None = None
    ) -> Self:
        """The text of every item by MiniLM, its attributes, and its picture where encodings of pictures are given.

        Args:
            dataset: The catalogue.
            seen: The items of the history, bool (I,).
            pictures: (encodings (I, width), present (I,)), as lesson 06 makes them.

        Raises:
            ValueError: See `of`.
        """
        attributes, known = AttributeEncoder(dataset.roles).fit(dataset.catalogue[seen]).transform(dataset.catalogue)
        matrices = {"text": encode_texts(dataset.texts()), "attributes": attributes}
        present = {"attributes": known}
        if pictures is not None:
            matrices["image"], present["image"] = pictures
        return cls.of(ItemEncodings.of(matrices, present), seen)
