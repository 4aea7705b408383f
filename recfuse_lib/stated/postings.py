"""Which items have a name, a label or a word: arrays that are written with a bundle and mapped when it is read.

Taught in notebook 03.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

import numpy as np

NONE = np.zeros(0, "int32")


def packed(texts: Iterable[str]) -> np.ndarray:
    """Writes texts as one array of bytes."""
    return np.frombuffer(json.dumps([*texts], ensure_ascii=False).encode("utf-8", "surrogatepass"), "uint8")


def unpacked(content: np.ndarray) -> list[str]:
    """Reads what was `packed`."""
    return list(json.loads(content.tobytes().decode("utf-8", "surrogatepass")))


class Postings:
    """Keys, and the codes of the items that each stands for.

    Example:
        >>> known = Postings.of([("comedy", 0), ("horror", 1), ("comedy", 2)])
        >>> known["comedy"].tolist(), known["western"].tolist(), "horror" in known, list(known.rows)
        ([0, 2], [], True, ['comedy', 'horror'])
    """

    def __init__(self, keys: Sequence[str], indptr: np.ndarray, codes: np.ndarray) -> None:
        self.rows = {key: row for row, key in enumerate(keys)}
        self.indptr, self.codes = indptr, codes

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, int]]) -> Self:
        """Collects pairs of a key and a code; the keys stay in the order in which they first came."""
        rows: dict[str, int] = {}
        row, code = [], []
        for key, one in pairs:
            row.append(rows.setdefault(key, len(rows)))
            code.append(one)
        order = np.argsort(np.array(row, "int64"), kind="stable")
        indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(rows)))])
        return cls([*rows], indptr, np.array(code, "int32")[order])

    @classmethod
    def read(cls, arrays: Mapping[str, np.ndarray], name: str) -> Self:
        """Reads what `arrays` wrote."""
        return cls(unpacked(arrays[f"{name}/keys"]), arrays[f"{name}/indptr"], arrays[f"{name}/codes"])

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Returns all of it as arrays."""
        return {f"{name}/keys": packed(self.rows), f"{name}/indptr": self.indptr, f"{name}/codes": self.codes}

    def __contains__(self, key: str) -> bool:
        return key in self.rows

    def __getitem__(self, key: str) -> np.ndarray:
        row = self.rows.get(key)
        return NONE if row is None else self.codes[self.indptr[row] : self.indptr[row + 1]]
