"""The words by which a text can name genres, brands and titles: a closed list, so that claims can be checked.
Taught in notebook 03.
"""

import dataclasses
import functools
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from recfuse_lib.data.items import natural_title
from recfuse_lib.data.schema import Dataset
from recfuse_lib.stated.histories import catalogue_groups, shown_title

WORDS = json.loads(Path(__file__).with_name("words.json").read_text("utf-8"))
"""Lists of English words; of each genre its other `names`, `implied` words, and names for exclusion alone."""

DECADES: list[str] = WORDS["decades"]
Concept = tuple[str, str]
"""A kind ("genre", "brand") and the name in it."""


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """What a claim can be about: `words` map a normal form to what it names ("romcom" names two genres); `titles` and
    `longest` are from `title_index`, `as_shown` from `shown_title`.

    >>> words = Vocabulary.of_words({("genre", "Comedy"): ["Comedy", "funny"]})
    >>> [match[0] for match in words.pattern.finditer("Funny films, dark comedies, uncomic ones")]
    ['Funny', 'comedies']
    """

    words: Mapping[str, tuple[Concept, ...]]
    pattern: re.Pattern[str]
    titles: Mapping[str, tuple[int, ...]]
    longest: int
    as_shown: frozenset[str]

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """Collects the genres and brands of a catalogue with their synonyms, and all titles."""
        names: dict[Concept, list[str]] = {}
        for kind, name in sorted(set().union(*catalogue_groups(dataset))):
            others = WORDS["genres"].get(name, {}) if kind == "genre" else {}
            names[kind, name] = [name, *others.get("names", ()), *others.get("implied", ())]
        return cls.of_words(names, dataset.titles())

    @classmethod
    def of_words(cls, names: Mapping[Concept, Sequence[str]], titles: Sequence[str] = ()) -> Self:
        """Collects concepts with their words and the plurals, and titles, one an item code."""
        words: dict[str, dict[Concept, None]] = {}
        phrases: set[str] = set()
        for concept, spellings in names.items():
            for phrase in [form for spelling in spellings for form in with_plural(spelling)]:
                phrases.add(phrase)
                words.setdefault(normal(phrase), {})[concept] = None
        of_words = {phrase: tuple(concepts) for phrase, concepts in words.items()}
        shown = frozenset(shown_title(title) for title in titles)
        return cls(of_words, _finder(phrases), *title_index(tuple(titles)), shown)


def normal(words: str) -> str:
    """Drops case, punctuation, and "and" or "&"; a text of signs alone is unchanged.

    >>> normal("Dumb & Dumber"), normal("dumb and dumber"), normal("WALL·E"), normal("$")
    ('dumb dumber', 'dumb dumber', 'wall e', '$')
    """
    folded = unicodedata.normalize("NFKC", words).casefold()
    tokens = [token for token in re.findall(r"[^\W_]+", folded) if token != "and"]
    return " ".join(tokens) or folded.strip()


def with_plural(word: str) -> list[str]:
    """Returns a word and its plural."""
    return [word, f"{word[:-1]}ies" if re.search("[^aeiou]y$", word) else word + ("es" if word[-1:] in "sx" else "s")]


def first_year(decade: str) -> int:
    """Returns where a decade begins: "1980s", "80s" and "eighties" in 1980, "00s" in 2000."""
    if decade in DECADES:
        return 1920 + 10 * DECADES.index(decade)
    digits = re.sub(r"\D", "", decade)
    return int(digits) if len(digits) == 4 else int(digits) + (1900 if int(digits) >= 20 else 2000)


def _finder(phrases: set[str]) -> re.Pattern[str]:
    def spelled(phrase: str) -> str:
        return "".join(r"[\s-]" if sign in " -" else "['’]" if sign == "'" else re.escape(sign) for sign in phrase)

    longest_first = sorted(filter(None, phrases), key=lambda phrase: (-len(phrase), phrase))
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(spelled, longest_first)) or '(?!)'})(?!\w)", re.IGNORECASE)


@functools.lru_cache(maxsize=4)
def title_index(titles: tuple[str, ...]) -> tuple[dict[str, tuple[int, ...]], int]:
    """Maps the normal form of each title to item codes; also returns the number of words of the longest. A title is
    known by all its names: with or without the article, before a colon, from three words on after a colon or a dash
    (unless another title is called so), and the names in brackets.
    """
    proper: dict[str, list[int]] = {}
    lesser: dict[str, list[int]] = {}
    for code, title in enumerate(titles):
        first, *others = _names(title)
        proper.setdefault(first, []).append(code)
        for other in others:
            lesser.setdefault(other, []).append(code)
    known = {name: tuple(codes) for name, codes in {**lesser, **proper}.items() if name}
    return known, max((len(name.split()) for name in known), default=0)


@functools.lru_cache(maxsize=200_000)
def _names(title: str) -> list[str]:
    """The normal forms by which a title may be called, the proper one first."""
    shown, natural = shown_title(title), natural_title(title)
    in_brackets = [name.removeprefix("a.k.a. ") for name in re.findall(r"\(([^()]+)\)", natural)]
    others = [natural, *(natural_title(name) for name in in_brackets), shown.split(":")[0]]
    others += [part for part in re.split(": | - ", shown)[1:] if len(normal(part).split()) > 2]
    others += [re.sub("^(The|A|An) ", "", name) for name in (shown, shown.split(":")[0])]
    proper = normal(shown)
    return [proper, *dict.fromkeys(name for name in map(normal, others) if name not in ("", proper))]
