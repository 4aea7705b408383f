"""Faults of a table: gathered as masks over its rows, the first few put into words, the rest counted.
Taught in notebook 01.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

PROBLEMS_SHOWN, CHARACTERS_SHOWN = 5, 60


class DataError(ValueError):
    """Data that breaks the schema; the message names the file, the line, the field, the reason and what to do."""


@dataclasses.dataclass(frozen=True)
class Origin:
    """The source of a table, for errors; `lines`, (N,), is called when one occurs. Without lines, rows count from 0."""

    name: str
    lines: Callable[[], np.ndarray] | None = None

    @functools.cached_property
    def _known_lines(self) -> np.ndarray:
        return np.empty(0, "int64") if self.lines is None else self.lines()

    def line(self, row: int) -> str:
        """Names the row, without the file."""
        return f"line {self._known_lines[row]}" if row < len(self._known_lines) else f"row {row}"

    def at(self, row: int) -> str:
        return f"{self.name} {self.line(row)}"


class Faults:
    """What is wrong with the rows of one table.

    >>> faults = Faults(Origin("ratings.csv"))
    >>> faults.add(np.array([True, False, True]), lambda row: "value is missing")
    >>> faults.raise_any()
    Traceback (most recent call last):
    ...
    recfuse_lib.data.faults.DataError: ratings.csv row 0: value is missing
    ratings.csv row 2: value is missing
    """

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self._rows: np.ndarray | None = None
        self._found: list[tuple[np.ndarray, np.ndarray, Callable[[int], str]]] = []

    def among(self, rows: np.ndarray) -> Faults:
        """Returns the same faults for a selection: position k there is row `rows[k]` here."""
        part = Faults(self.origin)
        part._rows, part._found = rows, self._found
        return part

    def add(self, wrong: np.ndarray, sentence: Callable[[int], str]) -> None:
        """Notes the rows where `wrong` (N,) is true; `sentence` says what is wrong with one of them."""
        positions = np.flatnonzero(wrong)
        if len(positions):
            rows = positions if self._rows is None else self._rows[positions]
            self._found.append((rows, positions, sentence))

    def raise_any(self) -> None:
        """Raises one `DataError` with the first few faults, in the order of the rows, and the number of the rest."""
        if not self._found:
            return
        first = [
            (int(row), order, sentence(int(position)))
            for order, (rows, positions, sentence) in enumerate(self._found)
            for row, position in zip(rows[:PROBLEMS_SHOWN], positions, strict=False)
        ]
        problems = (f"{self.origin.at(row)}: {text}" for row, _, text in sorted(first))
        raise DataError(and_more(problems, sum(len(rows) for rows, _, _ in self._found)))


def and_more(problems: Iterable[str], count: int, least: str = "") -> str:
    """Lists the first few of `count` problems, one a line, and counts the rest."""
    more = count - PROBLEMS_SHOWN
    listed = "\n".join(itertools.islice(problems, PROBLEMS_SHOWN))
    return listed + (f"\n… and {least}{more:,} more problems" if more > 0 else "")


def shown(value: Any) -> str:
    """Quotes a value for an error, cut when it is long."""
    text = str(value)
    return repr(text if len(text) <= CHARACTERS_SHOWN else f"{text[:CHARACTERS_SHOWN]}…")
