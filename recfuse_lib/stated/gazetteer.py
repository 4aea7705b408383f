"""Finds in words what a catalogue knows: labels, titles and the words of its texts. All of it is computed once a
catalogue, so that a wish is read in less than a millisecond. Taught in notebook 03.
"""

from __future__ import annotations

import bisect
import collections
import functools
import itertools
import re
import weakref
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from rapidfuzz import fuzz, process

from recfuse_lib.data.items import Items, natural_title
from recfuse_lib.data.roles import CATEGORY, NUMBER
from recfuse_lib.encoders.attributes import is_money
from recfuse_lib.stated.postings import Postings, packed, unpacked
from recfuse_lib.stated.vocabulary import DECADES, WORDS, normal, title_index, with_plural

LONGEST_TITLE, LONGEST_LABEL = 24, 8
"""In words. More are not tried."""

SAME_TITLE = 80
"""Least similarity, of 100, of a misspelt title to the one it is read as: two letters swapped in five have it."""

NOT_ASKED_FOR = re.compile("budget|revenue", re.I)
"""Sums that an item had or made; a wish is about what one pays or is paid."""

LENGTHS = re.compile("runtime|running.?time|duration|length|minutes", re.I)
MINUTES = {"hour": 60.0, "second": 1 / 60, "_sec": 1 / 60, "_ms": 1 / 60_000, "millis": 1 / 60_000}
"""Minutes in the unit that the name of a column of lengths says; 1 where it says none of these."""


def pattern(phrase: str, number: str = "") -> re.Pattern[str]:
    """Compiles a phrase of the grammar in `words.json`: braces name another phrase, a space is any white space."""
    parts = {**WORDS["grammar"], "decades": "|".join(DECADES), "tens": "|".join(WORDS["tens"])}
    parts |= {"low": f"(?P<low>{number})", "high": f"(?P<high>{number})"}
    while names := set(re.findall(r"\{([a-z][a-z ]*)\}", phrase)):
        for name in names:
            phrase = phrase.replace(f"{{{name}}}", parts[name])
    # Any number of words would take time that grows with the square of a wish's length.
    return re.compile(phrase.replace(" ", r"\s+").replace(")*", "){0,6}"), re.I)


PARTS = ("titles", "labels", "words")
_THINGS, _ARTICLE = pattern("{things}"), pattern("(?:the|an?) ")
_TOKEN, _CLAUSE, _FOLLOWS = re.compile(r"[^\W_]+"), re.compile(r"[^,;:!?()]*"), re.compile(r"\s*\(?(\w*)")
_YEAR = re.compile(r"\s*\(?((?:18|19|20)\d\d)\b\)?")


class Title(NamedTuple):
    """A title found in words: its name, the position where it ends there, and the items called so."""

    name: str
    end: int
    codes: tuple[int, ...]


class Gazetteer:
    """What wishes ask of a catalogue; `of` computes it once.

    Attributes:
        numbers: Column → its cells, float64 (I,), NaN where unknown; "year" is the year, whatever its column is called.
        money: The first column of what one pays or is paid; None where none is known.
        length, minutes: The first column of how long something takes, None where none is known; minutes in its unit.

    >>> import pandas as pd
    >>> books = pd.DataFrame({"item_id": [1, 2], "title": ["Emma", "Dune"], "shelf": ["Romance", "Space opera"]})
    >>> known = Gazetteer.of(Items(catalogue=books, roles={"title": "text", "shelf": "category"}))
    >>> known.label_at("space operas", 0), known.title_at("Emma, please", 0), known.says("opera")
    ((['Space opera'], 12), Title(name='Emma', end=4, codes=(0,)), [1])
    """

    @classmethod
    def of(cls, items: Items, written: Mapping[str, np.ndarray] | None = None) -> Gazetteer:
        """Returns the gazetteer of a catalogue, the same as long as the object lives; made of what `arrays` wrote of
        it, where that is given.
        """
        known = _KNOWN.get(items)
        if known is None:
            known = _KNOWN[items] = cls(items, written)
        return known

    def __init__(self, items: Items, written: Mapping[str, np.ndarray] | None = None) -> None:
        numbers = {name: items.catalogue[name].to_numpy("float64", na_value=np.nan) for name in items.columns(NUMBER)}
        sums = [name for name, values in numbers.items() if is_money(name) and not np.isnan(values).all()]
        self.money = next((name for name in sums if not NOT_ASKED_FOR.search(name)), None)
        lengths = [name for name in numbers if LENGTHS.search(name) and not np.isnan(numbers[name]).all()]
        self.length = next(iter(lengths), None)
        self.minutes = next((one for unit, one in MINUTES.items() if self.length and unit in self.length.lower()), 1.0)
        self.numbers, self._titles = {**numbers, "year": items.years()}, items.titles()
        self._written = written if written is not None else _arrays_of(items, self._titles)
        names, labels, words = (Postings.read(self._written, name) for name in PARTS)
        self._names, self._codes, self._words_of = names, labels, words
        self._longest = min(int(self._written["longest"]) + 3, LONGEST_TITLE)
        self._sorted = [*names.rows]
        self._labels: dict[str, list[str]] = collections.defaultdict(list)
        for label in unpacked(self._written["spelt"]):
            for form in forms(label):
                self._labels[form].append(label)
        self._words = set(_TOKEN.findall("\n".join(words.rows)))

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns what took long to find, to be written."""
        return dict(self._written)

    def with_label(self, label: str) -> np.ndarray:
        """Finds the items that have a label."""
        return self._codes[squashed(label)]

    def says(self, word: str) -> list[int]:
        """Finds the items whose text or labels contain a word or its plural."""
        stem = re.sub(r"(?<=\w\w[^s])s$", "", word.casefold())
        if re.fullmatch(r"\w+", stem):
            codes: list[int] = np.unique(
                np.concatenate([self._words_of[stem + end] for end in ("", "s", "es")])
            ).tolist()
            return codes
        first, escaped = self._words_of[next(iter(re.findall(r"\w+", stem)), "")].tolist(), re.escape(stem)
        there, start, text = re.compile(rf"\b{escaped}(?:s|es)?\b"), self._written["start"], self._written["text"]
        texts = (text[start[code] : start[code + 1]].tobytes().decode("utf-8", "surrogatepass") for code in first)
        return [code for code, one in zip(first, texts, strict=True) if there.search(one)]

    def label_at(self, text: str, start: int) -> tuple[list[str], int] | None:
        """Reads the longest label that begins at `start`: the labels called so, and where it ends."""
        clause = _CLAUSE.match(text, start)
        for words, end in _spans(text, start, LONGEST_LABEL, clause.end() if clause else start):
            found = self._labels.get(squashed(words))
            if found and words.casefold() not in WORDS["no thing"]:
                return found, end
        return None

    def title_at(self, text: str, start: int) -> Title | None:
        """Reads the longest title that begins at `start` and ends where a phrase may end."""
        for words, end in _phrases(text, start, self._longest):
            name = normal(words)
            codes = {code for one in ("", "the ", "a ", "an ") for code in self._names[one + name].tolist()}
            if codes and (words[0].isupper() or words.casefold() not in WORDS["pronouns"]):
                year = _YEAR.match(text, end)
                of_year = {code for code in codes if year and self.numbers["year"][code] == int(year[1])}
                return self._title(words, year.end() if year and of_year else end, tuple(sorted(of_year or codes)))
        article = _ARTICLE.match(text, start)
        return self.title_at(text, article.end()) if article else None

    def misspelt_title_at(self, text: str, start: int) -> Title | None:
        """Reads words as the title most similar to them, if one of them occurs nowhere in the catalogue."""
        best, found = 0.0, None
        for words, end in _phrases(text, start, self._longest):
            name = normal(words)
            if self._words.issuperset(name.split()):
                continue
            ends = (bisect.bisect_left(self._sorted, end) for end in (name[0], chr(ord(name[0]) + 1)))
            others = self._sorted[slice(*ends)]
            for other, score, _ in process.extract(name, others, scorer=fuzz.ratio, score_cutoff=SAME_TITLE):
                # Letters in another order are the likelier slip: "Alein" is Alien before it is Alain.
                score += 10 * (sorted(name) == sorted(other))
                if score > best:
                    best, found = score, self._title(other, end, tuple(self._names[other].tolist()))
        return found

    def _title(self, words: str, end: int, codes: tuple[int, ...]) -> Title:
        return Title(natural_title(self._titles[codes[0]]) if len(codes) == 1 else words, end, codes)


def _arrays_of(items: Items, called: list[str]) -> dict[str, np.ndarray]:
    """All that a gazetteer looks up: names of titles, labels and words with their items, and the texts."""
    titles, longest = title_index(tuple(called))
    labels, texts = items.labels(), items.texts()
    for column in items.columns(CATEGORY):
        for code, cell in enumerate(items.catalogue[column].fillna("").astype("str")):
            labels[code] += [cell] if cell.strip() else []
            texts[code] += f" {cell}"
    spelt: dict[str, str] = {}
    for label in itertools.chain.from_iterable(labels):
        spelt.setdefault(squashed(label), label)
    folded = [text.casefold() for text in texts]
    content = [text.encode("utf-8", "surrogatepass") for text in folded]
    parts = (
        ((name, code) for name in sorted(titles) for code in titles[name]),
        ((squashed(label), code) for code, some in enumerate(labels) for label in some),
        ((word, code) for code, text in enumerate(folded) for word in dict.fromkeys(re.findall(r"\w+", text))),
    )
    found = {"longest": np.array(longest), "spelt": packed(spelt.values())}
    found |= {"start": np.cumsum([0, *map(len, content)]), "text": np.frombuffer(b"".join(content), "uint8")}
    for name, pairs in zip(PARTS, parts, strict=True):
        found |= Postings.of(pairs).arrays(name)
    return found


_KNOWN: weakref.WeakKeyDictionary[Items, Gazetteer] = weakref.WeakKeyDictionary()


@functools.lru_cache(maxsize=10_000)
def squashed(words: str) -> str:
    return normal(words).replace(" ", "")


_SPELLINGS = [(genre, *other.get("names", ()), *other.get("excluded", ())) for genre, other in WORDS["genres"].items()]


def forms(label: str) -> set[str]:
    """The squashed spellings, synonyms and plurals of a label."""
    own = squashed(label)
    names = {label}.union(*(names for names in _SPELLINGS if own in map(squashed, names)))
    return {own} | {squashed(form) for name in names if len(name) > 2 for form in (*with_plural(name), f"{name}es")}


def _spans(text: str, start: int, longest: int, stop: int) -> Iterator[tuple[str, int]]:
    """The words from `start` on, at most `longest`, and where they end; then one fewer, down to one."""
    words = list(itertools.islice(_TOKEN.finditer(text, start, stop), longest))
    for last in reversed(words):
        if last[0].casefold() != "and":
            yield text[words[0].start() : last.end()], last.end()


def _phrases(text: str, start: int, longest: int) -> Iterator[tuple[str, int]]:
    """The spans that end where a phrase may end."""
    for words, end in _spans(text, start, longest, len(text)):
        match = _FOLLOWS.match(text, end)
        after = match[1].casefold() if match else ""
        is_end = not after or after in WORDS["after a title"] or after.isdecimal()
        if is_end or ((words[0].isupper() or " " in words) and _THINGS.fullmatch(f" {after}")):
            yield words, end
