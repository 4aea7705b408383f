"""What is known of every item, dimension by dimension, and which items a dimension knows nothing about.
Taught in notebook 06.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from recfuse_lib.encoders.centring import Centring


@dataclasses.dataclass(frozen=True, eq=False)
class ItemEncodings:
    """The encodings e_i^d of a catalogue in several dimensions d, with a mask of what is missing.

    A missing encoding is not a zero encoding: the mask says which rows exist, and the others are zero. Every method
    returns a new object.

    >>> text, image = np.eye(3), np.array([[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]])
    >>> encodings = ItemEncodings.of({"text": text, "image": image}, present={"image": [True, True, False]})
    >>> encodings.widths
    {'text': 3, 'image': 2}
    >>> encodings.matrices["image"]
    array([[1., 2.],
           [3., 4.],
           [0., 0.]], dtype=float32)
    """

    matrices: Mapping[str, np.ndarray]
    """Dimension → float32 (I, width of the dimension)."""
    present: Mapping[str, np.ndarray]
    """Dimension → bool (I,), whether the item has an encoding in it."""

    @classmethod
    def of(cls, matrices: Mapping[str, np.ndarray], present: Mapping[str, np.ndarray] | None = None) -> ItemEncodings:
        """Check matrices, (I, width), and masks, bool (I,), by dimension, and set the rows of missing items to zero.

        A dimension without a mask is present for every item. A ValueError says what does not fit or is not finite.
        """
        masks = dict(present or {})
        if not matrices:
            raise ValueError("no dimensions; give at least one matrix of encodings, as {'text': matrix}")
        if unknown := sorted(set(masks) - set(matrices)):
            raise ValueError(f"mask for {', '.join(unknown)}, but the dimensions are {', '.join(matrices)}")
        checked: dict[str, np.ndarray] = {}
        n_items = len(next(iter(matrices.values())))
        for name, given in matrices.items():
            matrix = np.asarray(given, "float32")
            if matrix.ndim != 2 or len(matrix) != n_items or not matrix.size:
                raise ValueError(f"{name}: the matrix has shape {matrix.shape}; expected ({n_items}, width)")
            mask = np.asarray(masks.get(name, np.ones(n_items, bool)))
            if mask.shape != (n_items,) or mask.dtype != bool:
                raise ValueError(f"{name}: the mask is {mask.dtype} {mask.shape}; expected bool ({n_items},)")
            bad = np.flatnonzero(mask & ~np.isfinite(matrix).all(axis=1))
            if len(bad):
                raise ValueError(
                    f"{name}: the encoding of item {bad[0]} is not finite ({len(bad):,} such items); "
                    "encode it again, or say in the mask that it is missing"
                )
            checked[name], masks[name] = np.where(mask[:, None], matrix, np.float32(0)), mask.copy()
        return cls(checked, {name: masks[name] for name in checked})

    @property
    def n_items(self) -> int:
        return len(next(iter(self.matrices.values())))

    @property
    def widths(self) -> dict[str, int]:
        return {name: matrix.shape[1] for name, matrix in self.matrices.items()}

    def only(self, *dimensions: str) -> ItemEncodings:
        """Keep these dimensions alone, without changing their order."""
        self._check(*dimensions)
        matrices = {name: matrix for name, matrix in self.matrices.items() if name in dimensions}
        return ItemEncodings.of(matrices, {name: self.present[name] for name in matrices})

    def without(self, *dimensions: str) -> ItemEncodings:
        """Keep all dimensions but these."""
        return self.only(*(name for name in self.matrices if name not in dimensions))

    def permuted(self, dimension: str, seed: int) -> ItemEncodings:
        """Permute the items' encodings, and their mask, in this dimension at random: a control."""
        self._check(dimension)
        order = np.random.default_rng(seed).permutation(self.n_items)
        return self._replaced(dimension, self.matrices[dimension][order], self.present[dimension][order])

    def with_missing(self, dimension: str, share: float, seed: int) -> ItemEncodings:
        """Remove a dimension from a random share (0–1) of its items; with one seed, larger shares include smaller."""
        self._check(dimension)
        there = np.random.default_rng(seed).permutation(np.flatnonzero(self.present[dimension]))
        present = self.present[dimension].copy()
        present[there[: round(share * len(there))]] = False
        return self._replaced(dimension, self.matrices[dimension], present)

    def centred(self, seen: np.ndarray) -> ItemEncodings:
        """Subtract each dimension's mean over the `seen` items (bool (I,) or codes) that have it; give rows norm 1."""
        known = np.zeros(self.n_items, bool)
        known[seen] = True
        matrices = {}
        for name, matrix in self.matrices.items():
            rows = matrix[known & self.present[name]]
            if len(rows) < 2:
                raise ValueError(f"{name}: {len(rows)} of the seen items have it; a mean takes at least two")
            matrices[name] = Centring().fit(rows).transform(matrix)
        return ItemEncodings.of(matrices, self.present)

    def _check(self, *dimensions: str) -> None:
        if unknown := [name for name in dimensions if name not in self.matrices]:
            raise ValueError(f"no dimension {unknown[0]!r}; there are {', '.join(self.matrices)}")

    def _replaced(self, name: str, matrix: np.ndarray, present: np.ndarray) -> ItemEncodings:
        return ItemEncodings.of({**self.matrices, name: matrix}, {**self.present, name: present})
