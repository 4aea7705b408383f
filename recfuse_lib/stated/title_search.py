"""Finds titles by words, also misspelt ones. Taught in notebook 18."""

from __future__ import annotations

import collections
import functools
import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from rapidfuzz import fuzz, process

SAME_WORD, SAME_TITLE, MOST_SPELT = 70, 75, 10
"""Least similarity, of 100, of a misspelt word to that of a title, and of a title to another; most words read so."""


class TitleSearch:
    """The titles of a catalogue, by item code; what a search needs of them is computed by the first one.

    Example:
        >>> TitleSearch(["Alien", "Aliens (1986)", "Emma"]).find("alein", list)
        [0, 1]
    """

    def __init__(self, titles: Sequence[str]) -> None:
        self.titles = titles

    def find(self, words: str, there: Callable[[Iterable[int]], list[int]]) -> list[int]:
        """Finds the items whose title has all of the words, or else those most like them, or else is most like all.
        `there` leaves out what must not be found.
        """
        wanted = words.casefold().split()
        if found := there(self._with_all(wanted)):
            return found
        names, known = self._names
        like = functools.partial(process.extractOne, choices=known, scorer=fuzz.ratio, score_cutoff=SAME_WORD)
        if found := there(self._with_all([one[0] if one else "\n" for one in map(like, wanted[:MOST_SPELT])])):
            return found
        alike = process.extract(" ".join(wanted), names, scorer=fuzz.ratio, score_cutoff=SAME_TITLE)
        return there(dict.fromkeys(place % len(self.titles) for _, _, place in alike))

    def _with_all(self, parts: list[str]) -> list[int]:
        """The items whose title has all of some parts; the longest is looked for, the others where it is."""
        start, text = self._folded
        if not parts:
            return [*range(len(self.titles))]
        longest, at, codes = max(parts, key=len), -1, []
        while (at := text.find(longest, at + 1)) >= 0:
            code = int(np.searchsorted(start, at, "right")) - 1
            at = int(start[code + 1]) - 1
            if all(part in text[start[code] : at] for part in parts):
                codes.append(code)
        return codes

    @functools.cached_property
    def _folded(self) -> tuple[np.ndarray, str]:
        """Where each title begins in a text of all of them, each on a line of its own, and the text."""
        folded = [" ".join(title.casefold().splitlines()) for title in self.titles]
        return np.cumsum([0, *(len(title) + 1 for title in folded)]), "\n".join([*folded, ""])

    @functools.cached_property
    def _names(self) -> tuple[list[str], list[str]]:
        """What titles are called, up to a bracket and then up to a colon, and their words, the most frequent first."""
        text = self._folded[1]
        count = collections.Counter(re.findall(r"\w+", text))
        whole = [one.partition(" (")[0] for one in text.split("\n")[:-1]]
        return [*whole, *(one.partition(":")[0] for one in whole)], [word for word, _ in count.most_common()]
