"""A wish typed in words: what of it is a hard constraint, and what is left for the encoder.

Patterns find years, prices, exclusions and "like" with a known title. Everything else stays text. A genre that is
merely named stays text too: the encoder knows what it means, and is not sure, as a person is not.

Taught in notebook 03.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import re
import unicodedata
from collections.abc import Callable

import numpy as np
import pandas as pd

from recfuse_lib.data.items import natural_title
from recfuse_lib.data.schema import Dataset
from recfuse_lib.stated import wish_patterns

MAX_CHARACTERS = 1_000
"""What comes after them is not read; the text encoder would cut it off anyway."""

_COMPARISONS: dict[str, Callable[[pd.Series, float], pd.Series]] = {
    "=": operator.eq, "<": operator.lt, "≤": operator.le, ">": operator.gt, "≥": operator.ge,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Constraint:
    """One condition that every answer must meet.

    Attributes:
        field: "year", "price" (as the catalogue counts it), "genre" or "word" (of the item's text).
        comparison: One of = < ≤ > ≥ for a number, "without" for a genre or a word.
        value: The number, or what must not be there; a word may have alternatives, "black|dark".
    """

    field: str
    comparison: str
    value: float | str

    def __str__(self) -> str:
        if isinstance(self.value, str):
            what = "the word " if self.field == "word" else ""
            return f"without {what}{' or '.join(self.value.split('|'))}"
        return f"{self.field} {self.comparison} {self.value:g}"

    def holds(self, dataset: Dataset) -> np.ndarray:
        """Which items meet it, bool (I,). An item whose year or price is not known does not."""
        if not isinstance(self.value, str):
            met = _COMPARISONS[self.comparison](dataset.catalogue[self.field], self.value)
            return met.fillna(False).to_numpy(bool)
        if self.field == "genre":
            return np.array([self.value not in names for names in dataset.labels()])
        stems = (re.escape(re.sub(r"(?<=\w\w[^s])s$", "", word)) for word in self.value.split("|"))
        said = re.compile(rf"\b(?:{'|'.join(stems)})(?:s|es)?\b", re.I)
        return np.array([not said.search(text) for text in dataset.texts()])


@dataclasses.dataclass(frozen=True)
class Wish:
    """What was understood of a wish.

    Attributes:
        text: The wish as it was typed, spaces tidied.
        rest: The words that the encoder reads; "" when the constraints say it all.
        constraints: What every answer must meet.
        like: Item codes of the titles that the answer shall resemble.
        titles: These titles.
        notes: What could not be used, and why.
    """

    text: str
    rest: str
    constraints: tuple[Constraint, ...] = ()
    like: tuple[int, ...] = ()
    titles: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def shown(self) -> str:
        """What was understood, for the person who wished.

        Example:
            >>> Wish("slow, before 1980", "slow", (Constraint("year", "<", 1980),)).shown()
            'meaning: slow; year < 1980'
        """
        parts = [f"like: {', '.join(self.titles)}"] if self.titles else []
        parts += [f"meaning: {self.rest}"] if self.rest else []
        parts += [str(constraint) for constraint in self.constraints]
        return "; ".join([*parts, *(f"note: {note}" for note in self.notes)]) or "nothing was said"


def parse(text: str, dataset: Dataset) -> Wish:
    """Finds the constraints in a wish.

    Years ("from the 90s", "before 1980") and prices ("under 40") are understood where the catalogue has them. "not" and
    "without" exclude a genre where the next words name one. Another word keeps out the items whose text has it, and
    that is all that can be promised: "nothing sad" keeps out what calls itself sad. "like" or "similar to" a title of
    the catalogue asks for its neighbours. "old" and "cheap" are not guessed at. Nothing in the text is executed or
    obeyed: it is searched by patterns and encoded.

    Args:
        text: Anything that a person may type.
        dataset: Whose titles, genres, years and prices are meant.

    Raises:
        TypeError: `text` is not a string.

    Example:
        >>> catalogue = pd.DataFrame({"item_id": [3], "title": ["Alien"], "year": [1979], "genres": ["Horror|Sci-Fi"]})
        >>> seen = pd.DataFrame({"user_id": [7], "item_id": [3], "rating": [4.0], "timestamp": [10]})
        >>> parse("something like Alien but funny, after 1990, no horror", Dataset.of("tiny", seen, catalogue)).shown()
        'like: Alien; meaning: funny; year > 1990; without Horror'
    """
    if not isinstance(text, str):
        raise TypeError(f"a wish is a string, got {text!r} ({type(text).__name__})")
    printable = "".join(" " if unicodedata.category(character)[0] == "C" else character for character in text)
    tidy = " ".join(unicodedata.normalize("NFC", printable).split())
    notes = []
    if len(tidy) > MAX_CHARACTERS:
        notes.append(f"only the first {MAX_CHARACTERS:,} of {len(tidy):,} characters were read")
        tidy = tidy[:MAX_CHARACTERS]
    letters = [character for character in tidy if character.isalpha()]
    if sum(character < "ɐ" for character in letters) < len(letters) / 2:
        notes.append("most of it is not in Latin letters; the patterns and the encoder were made for English")
    rest, like, titles = _titles(tidy, dataset)
    found: list[Constraint] = []
    for field, patterns, value_of in (
        ("year", wish_patterns.YEARS, wish_patterns.years_of),
        ("price", wish_patterns.PRICES, wish_patterns.sum_of),
    ):
        known = field in dataset.catalogue and bool(dataset.catalogue[field].notna().any())
        rest = _numbers(rest, field, patterns, value_of, known, found, notes)
    rest = _exclusions(rest, dataset, found)
    return Wish(tidy, _tidied(rest), tuple(dict.fromkeys(found)), like, titles, tuple(notes))


def _tidied(rest: str) -> str:
    """Without the commas and joining words that stand alone once something was taken out."""
    rest = re.sub(r"\b(an?|the|some)\s+,", r"\1", rest, flags=re.I)
    rest = re.sub(r"\s*([,;.])(?:\s*[,;.])+", r"\1", " ".join(rest.split())).replace(" ,", ",")
    return re.sub(r"^(?:\W|\b(?:but|and|or|only)\b)+|(?:\W|\b(?:but|and|or)\b)+$", "", rest, flags=re.I)


def _numbers(
    rest: str,
    field: str,
    patterns: list[tuple[str, re.Pattern[str]]],
    value_of: Callable[[str], tuple[float, float]],
    known: bool,
    found: list[Constraint],
    notes: list[str],
) -> str:
    """The text without its years or prices, which go to `found`, or to `notes` when the catalogue has none."""
    left = rest
    for comparison, pattern in patterns:
        for match in pattern.finditer(left):
            if not known:
                if field == "year" or re.search(wish_patterns.MONEY, match[0], re.I):
                    notes.append(f"“{match[0].strip()}” is read as words: no {field} is known here")
                continue
            first, last = value_of(match["low"])
            if comparison == "range":
                first, last = min(first, value_of(match["high"])[0]), max(last, value_of(match["high"])[1])
            if comparison == "=" and first == last:
                found.append(Constraint(field, "=", first))
            elif comparison in ("=", "range"):
                found += [Constraint(field, "≥", first), Constraint(field, "≤", last)]
            else:
                found.append(Constraint(field, comparison, first if comparison in ("<", "≥") else last))
        left = pattern.sub(" , ", left)
    return left if known else rest


@functools.lru_cache(maxsize=4)
def _title_index(names: tuple[str, ...]) -> dict[tuple[str, ...], tuple[int, ...]]:
    """Words of a title → item codes; with and without its article, and without what stands in brackets."""
    index: dict[tuple[str, ...], list[int]] = {}
    for code, name in enumerate(names):
        natural = natural_title(name)
        for spelled in {natural, re.sub(r"\s*\([^)]*\)", "", natural)}:
            words = tuple(re.findall(r"\w+", spelled.casefold()))
            for known in {words, words[1:] if words[:1] in (("the",), ("a",), ("an",)) else words} - {()}:
                index.setdefault(known, []).append(code)
    return {words: tuple(codes) for words, codes in index.items()}


def _titles(text: str, dataset: Dataset) -> tuple[str, tuple[int, ...], tuple[str, ...]]:
    """The text without "like <title>", the codes of the titles, and the titles. The longest title wins."""
    index = _title_index(tuple(dataset.titles()))
    longest = max(map(len, index), default=0)
    like: list[int] = []
    named: list[str] = []
    start = 0
    while cue := wish_patterns.LIKE.search(text, start):
        start = cue.end()
        if (cue["who"] or "").casefold().strip("'’") in wish_patterns.NO_LIKENESS_AFTER:
            continue
        end = start
        while found := _title_at(text, start if end == start else _joined(text, end), index, longest):
            words, end, codes = found
            year = re.match(r"\s*\(?((?:18|19|20)\d\d)\b\)?", text[end:])
            of_year = [code for code in codes if year and dataset.years()[code] == int(year[1])]
            if year and of_year:
                end += year.end()
            like += of_year or codes
            named.append(natural_title(dataset.titles()[codes[0]]) if len(codes) == 1 else words)
        if end > start:
            # The word before "like" was only looked at: "films like", "a western like".
            head = text[: cue.end("who") if cue["who"] else cue.start()]
            head = wish_patterns.BEFORE_LIKE.sub("", head.rstrip() + " ")
            text, start = f"{head} , {text[end:]}", len(head)
    return text, tuple(dict.fromkeys(like)), tuple(dict.fromkeys(named))


def _joined(text: str, end: int) -> int:
    """Where a second title may begin: after "and", "or" or a comma; the end of the text when there is none."""
    joint = re.match(r"\s*(?:,|and\b|or\b|,\s*and\b)\s*", text[end:], re.I)
    return end + joint.end() if joint else len(text)


def _title_at(
    text: str, start: int, index: dict[tuple[str, ...], tuple[int, ...]], longest: int
) -> tuple[str, int, tuple[int, ...]] | None:
    """The longest title that begins at `start` and ends where a phrase may end."""
    article = re.compile(r"(?:the|an?)\s+", re.I).match(text, start)
    words = [match for _, match in zip(range(longest + 1), re.finditer(r"\w+", text[start:]), strict=False)]
    for count in range(min(longest, len(words)), 0, -1):
        codes = index.get(tuple(word[0].casefold() for word in words[:count]))
        end = start + words[count - 1].end()
        after = re.match(r"\s*\(?(\w+)|", text[end:])
        follows = (after[1] or "") if after else ""
        spoken = text[start + words[0].start() : end]
        if codes and (not follows or follows.casefold() in wish_patterns.AFTER_TITLE or follows.isdecimal()):
            if spoken.casefold() in wish_patterns.PRONOUNS and not spoken[0].isupper():
                continue
            return spoken, end, codes
    return _title_at(text, article.end(), index, longest) if article else None


def _past(pattern: re.Pattern[str], text: str, start: int) -> int:
    match = pattern.match(text, start)
    return match.end() if match else len(text)


def _exclusions(rest: str, dataset: Dataset, found: list[Constraint]) -> str:
    """The text without what must not be; genres and words go to `found`."""
    genres = sorted({name for names in dataset.labels() for name in names})
    names = {name.casefold(): genre for genre in genres for name in (genre, *wish_patterns.SYNONYMS.get(genre, ()))}
    any_name = "|".join(
        re.escape(name).replace(r"\-", " ").replace(r"\ ", " ").replace(" ", "[- ]?")
        for name in sorted(names, key=len, reverse=True)
    )
    one = re.compile(rf"(?P<name>{any_name})(?:s|es)?\b{wish_patterns.THINGS}", re.I) if names else re.compile(r"(?!)")
    joint = re.compile(r"(?:\s*,\s*|\s+)(?:(?:and|or|nor)\s+)?(?:(?:no|not|without|any|an?|the)\s+)*", re.I)
    either = re.compile(r"\s+(?:or|nor)\s+", re.I)
    single = re.compile(rf"(?P<name>[^\W\d_][\w’'-]*){wish_patterns.THINGS}", re.I)
    start = 0
    while cue := wish_patterns.NOT.search(rest, start):
        start, end = cue.end(), cue.end()
        denied_verb = cue["verb"] or (re.search("n['’]t", cue[0], re.I) and not wish_patterns.IS_NOT.search(cue[0]))
        if denied_verb and not cue["verb_of_being"]:
            continue  # "does not ruin me", "won't itch": what a verb denies is no kind of thing
        while match := one.match(rest, end if end == start else _past(joint, rest, end)):
            spelled = re.sub(r"[-\s]", "", match["name"].casefold())
            genre = next(genre for name, genre in names.items() if re.sub(r"[-\s]", "", name) == spelled)
            found.append(Constraint("genre", "without", genre))
            end = match.end()
        by_genre = end > start
        while not by_genre and (match := single.match(rest, end if end == start else _past(either, rest, end))):
            word = match["name"].casefold()
            if word in wish_patterns.NO_THING:
                break
            look = next((look for look in wish_patterns.LOOKS if word in look.split("|")), word)
            found.append(Constraint("word", "without", look))
            end = match.end()
        if end > start:
            rest, start = f"{rest[: cue.start()]} , {rest[end:]}", cue.start()
    return rest
