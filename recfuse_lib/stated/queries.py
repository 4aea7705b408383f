"""Understands a wish in words: patterns find years, prices, exclusions and "like" with a known title; the encoder reads
the rest. A genre that is merely named stays text: the encoder treats it as a matter of degree, as a person does.

Taught in notebook 03.
"""

from __future__ import annotations

import dataclasses
import itertools
import operator
import re
import unicodedata
from collections.abc import Callable

import numpy as np

from recfuse_lib.data.items import natural_title
from recfuse_lib.data.schema import Dataset
from recfuse_lib.stated.vocabulary import DECADES, WORDS, first_year, normal, title_index, with_plural

MAX_CHARACTERS = 1_000
"""The rest is not read; the text encoder would cut it off anyway."""

LIKE_WEIGHT = 0.5
"""Weight of the liked titles where a wish also says something else: the same as of the words."""

_COMPARISONS = {"=": operator.eq, "<": operator.lt, "≤": operator.le, ">": operator.gt, "≥": operator.ge}


def _pattern(phrase: str, number: str = "") -> re.Pattern[str]:
    """Compiles a phrase of the grammar in `words.json`: braces name another phrase, a space is any white space."""
    parts = {**WORDS["grammar"], "decades": "|".join(DECADES), "tens": "|".join(WORDS["tens"])}
    parts |= {"low": f"(?P<low>{number})", "high": f"(?P<high>{number})"}
    while names := set(re.findall(r"\{([a-z][a-z ]*)\}", phrase)):
        for name in names:
            phrase = phrase.replace(f"{{{name}}}", parts[name])
    return re.compile(phrase.replace(" ", r"\s+"), re.I)


_NUMBERS = {
    field: [(comparison, _pattern(phrase, number)) for comparison, phrase in WORDS[f"{field}s"]]
    for field, number in (("year", "{when}"), ("price", "{sum}"))
}
_MONEY, _LIKE, _BEFORE_LIKE = _pattern("{money}"), _pattern("{like}"), _pattern("{before like}")
_NOT, _IS_NOT, _WORD = _pattern("{not}"), _pattern("{is not}"), _pattern("{word}")
_NEXT, _EITHER, _JOINED = _pattern("{next}"), _pattern("{either}"), _pattern("{joined}")


@dataclasses.dataclass(frozen=True)
class Constraint:
    """A condition that every answer must meet: "year" or "price" compared (= < ≤ > ≥) with a number, or "without" a
    "genre" or a "word" of the item's text, which may have alternatives: "black|dark".
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
        """Finds the items that meet it, bool (I,); one whose year or price is not known does not."""
        if not isinstance(self.value, str):
            met = _COMPARISONS[self.comparison](dataset.catalogue[self.field], self.value)
            return np.asarray(met.fillna(False), bool)
        if self.field == "genre":
            return np.array([self.value not in names for names in dataset.labels()])
        stems = (re.escape(re.sub(r"(?<=\w\w[^s])s$", "", word)) for word in self.value.split("|"))
        said = re.compile(rf"\b(?:{'|'.join(stems)})(?:s|es)?\b", re.I)
        return np.array([not said.search(text) for text in dataset.texts()])


@dataclasses.dataclass(frozen=True)
class Wish:
    """A wish as it was understood: `rest` is what the encoder reads, "" when the constraints say it all; `like` and
    `titles` are the items that the answer should resemble; `notes` say what could not be used, and why.
    """

    text: str
    rest: str
    constraints: tuple[Constraint, ...] = ()
    like: tuple[int, ...] = ()
    titles: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def shown(self) -> str:
        """Says what was understood, for the person who wished."""
        parts = [f"like: {', '.join(self.titles)}"] if self.titles else []
        parts += [f"meaning: {self.rest}"] if self.rest else []
        parts += [str(constraint) for constraint in self.constraints]
        return "; ".join([*parts, *(f"note: {note}" for note in self.notes)]) or "nothing was said"


def parse(text: str, dataset: Dataset) -> Wish:
    """Finds the constraints in a wish; patterns search the text, and nothing in it is obeyed as an instruction.

    Years ("from the 90s", "before 1980") and prices ("under 40") are understood where the catalogue has them. "not" and
    "without" exclude a genre where the next words name one; any other word excludes the items whose text contains it,
    so "nothing sad" excludes only what calls itself sad. "like" or "similar to" a title asks for its neighbours. "old"
    and "cheap" are not interpreted.

    Example:
        >>> import pandas as pd
        >>> catalogue = pd.DataFrame({"item_id": [3], "title": ["Alien"], "year": [1979], "genres": ["Horror|Sci-Fi"]})
        >>> seen = pd.DataFrame({"user_id": [7], "item_id": [3], "rating": [4.0], "timestamp": [10]})
        >>> parse("something like Alien but funny, after 1990, no horror", Dataset.of("tiny", seen, catalogue)).shown()
        'like: Alien; meaning: funny; year > 1990; without Horror'
    """
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
    for field in ("year", "price"):
        rest = _numbers(rest, field, dataset, found, notes)
    rest = _exclusions(rest, dataset, found)
    return Wish(tidy, _tidied(rest), tuple(dict.fromkeys(found)), like, titles, tuple(notes))


def _tidied(rest: str) -> str:
    rest = re.sub(r"\b(an?|the|some)\s+,", r"\1", rest, flags=re.I)
    rest = re.sub(r"\s*([,;.])(?:\s*[,;.])+", r"\1", " ".join(rest.split())).replace(" ,", ",")
    return re.sub(r"^(?:\W|\b(?:but|and|or|only)\b)+|(?:\W|\b(?:but|and|or)\b)+$", "", rest, flags=re.I)


def _numbers(rest: str, field: str, dataset: Dataset, found: list[Constraint], notes: list[str]) -> str:
    is_known = field in dataset.catalogue and bool(dataset.catalogue[field].notna().any())
    left = rest
    for comparison, pattern in _NUMBERS[field]:
        for match in pattern.finditer(left):
            if not is_known:
                if field == "year" or _MONEY.search(match[0]):
                    notes.append(f"“{match[0].strip()}” is read as words: no {field} is known here")
                continue
            ends = [end for words in match.groupdict().values() for end in (_years if field == "year" else _sum)(words)]
            first, last = min(ends), max(ends)
            if comparison == "=" and first == last:
                found.append(Constraint(field, "=", first))
            elif comparison in ("=", "range"):
                found += [Constraint(field, "≥", first), Constraint(field, "≤", last)]
            else:
                found.append(Constraint(field, comparison, first if comparison in ("<", "≥") else last))
        left = pattern.sub(" , ", left)
    return left if is_known else rest


def _years(words: str) -> list[float]:
    """The first and the last year that are meant: "the 90s" are 1990 to 1999."""
    name = words.casefold().removeprefix("the ").strip()
    return [first_year(name), first_year(name) + 9] if name.endswith("s") else [int(re.sub(r"\D", "", words))]


def _sum(words: str) -> list[float]:
    digits = re.search(r"\d+(?:[.,]\d+)?", re.sub(r",(?=\d{3})", "", words))
    named = [value for name, value in WORDS["tens"].items() if re.search(rf"\b{name}\b", words, re.I)]
    return [float(digits[0].replace(",", "."))] if digits else named[:1]


def _titles(text: str, dataset: Dataset) -> tuple[str, tuple[int, ...], tuple[str, ...]]:
    titles = dataset.titles()
    index, longest = title_index(tuple(titles))
    like: list[int] = []
    named: list[str] = []
    start = 0
    while cue := _LIKE.search(text, start):
        start = end = cue.end()
        if (cue["who"] or "").casefold().strip("'’") in WORDS["no likeness after"]:
            continue
        while found := _title_at(text, start if end == start else _past(_JOINED, text, end), index, longest + 3):
            words, end, codes = found
            year = re.match(r"\s*\(?((?:18|19|20)\d\d)\b\)?", text[end:])
            of_year = [code for code in codes if year and dataset.years()[code] == int(year[1])]
            if year and of_year:
                end += year.end()
            like += of_year or codes
            named.append(natural_title(titles[codes[0]]) if len(codes) == 1 else words)
        if end > start:
            # The word before "like" was only looked at: "films like", "a western like".
            head = text[: cue.end("who") if cue["who"] else cue.start()]
            head = _BEFORE_LIKE.sub("", head.rstrip() + " ")
            text, start = f"{head} , {text[end:]}", len(head)
    return text, tuple(dict.fromkeys(like)), tuple(dict.fromkeys(named))


def _title_at(
    text: str, start: int, index: dict[str, tuple[int, ...]], longest: int
) -> tuple[str, int, tuple[int, ...]] | None:
    """The longest title that begins at `start` and ends where a phrase may end."""
    words = list(itertools.islice(re.finditer(r"[^\W_]+", text[start:]), longest))
    for last in reversed(words):
        end = start + last.end()
        spoken = text[start + words[0].start() : end]
        name = normal(spoken)
        codes = sorted({code for article in ("", "the ", "a ", "an ") for code in index.get(article + name, ())})
        after = re.match(r"\s*\(?(\w*)", text[end:])
        follows = after[1].casefold() if after else ""
        is_end = not follows or follows in WORDS["after a title"] or follows.isdecimal()
        is_pronoun = spoken.casefold() in WORDS["pronouns"] and not spoken[0].isupper()
        if codes and is_end and not is_pronoun and last[0].casefold() != "and":
            return spoken, end, tuple(codes)
    article = re.compile(r"(?:the|an?)\s+", re.I).match(text, start)
    return _title_at(text, article.end(), index, longest) if article else None


def _past(pattern: re.Pattern[str], text: str, start: int) -> int:
    match = pattern.match(text, start)
    return match.end() if match else len(text)


def _exclusions(rest: str, dataset: Dataset, found: list[Constraint]) -> str:
    names = {}
    for genre in sorted({name for names in dataset.labels() for name in names}):
        others = WORDS["genres"].get(genre, {})
        for name in (genre, *others.get("names", ()), *others.get("excluded", ())):
            names.update(dict.fromkeys([re.sub(r"[-\s]", " ", form.casefold()) for form in with_plural(name)], genre))
    any_name = "|".join(re.escape(name).replace(r"\ ", r"[-\s]?") for name in sorted(names, key=len, reverse=True))
    one = _pattern(rf"(?P<name>{any_name or '(?!)'})(?:s|es)?\b{{things}}")
    start = 0
    while cue := _NOT.search(rest, start):
        start, end = cue.end(), cue.end()
        denied_verb = cue["verb"] or (re.search("n['’]t", cue[0], re.I) and not _IS_NOT.search(cue[0]))
        if denied_verb and not cue["verb_of_being"]:
            continue  # "does not ruin me", "won't itch": what a verb denies is no kind of thing
        while match := one.match(rest, end if end == start else _past(_NEXT, rest, end)):
            spelled = re.sub(r"[-\s]", "", match["name"].casefold())
            genre = next(genre for name, genre in names.items() if name.replace(" ", "") == spelled)
            found.append(Constraint("genre", "without", genre))
            end = match.end()
        by_genre = end > start
        while not by_genre and (match := _WORD.match(rest, end if end == start else _past(_EITHER, rest, end))):
            word = match["name"].casefold()
            if word in WORDS["no thing"]:
                break
            look = next((look for look in WORDS["looks"] if word in look.split("|")), word)
            found.append(Constraint("word", "without", look))
            end = match.end()
        if end > start:
            rest, start = f"{rest[: cue.start()]} , {rest[end:]}", cue.start()
    return rest


class WishSearch:
    """Scores every item of a catalogue for a wish.

        s(w, i) = ½ · z(e_w · e_i) + ½ · z(mean over l in L of e_l · e_i)

    e_w encodes the words of the wish that no pattern took, e_i the item, L are the liked titles, z standardises over
    the allowed items. A wish with only one of the parts is scored by it, unstandardised. What is not allowed gets −inf.
    `encodings` are unit vectors of the items, usually centred, (I, D); `encode` maps texts to unit vectors of the same
    space, (N, D), not centred, since a wish is not an item.

    Example:
        >>> import pandas as pd
        >>> catalogue = pd.DataFrame({"item_id": [1, 2], "title": ["Up", "Saw"], "year": [2009, 2004], "genres": ""})
        >>> seen = pd.DataFrame({"user_id": [7], "item_id": [1], "rating": [4.0], "timestamp": [10]})
        >>> dataset = Dataset.of("tiny", seen, catalogue)
        >>> search = WishSearch(dataset, np.eye(2, dtype="float32"), lambda texts: np.array([[0.8, 0.6]] * len(texts)))
        >>> search.score(parse("balloons, before 2005", dataset))
        array([-inf,  0.6])
    """

    def __init__(self, dataset: Dataset, encodings: np.ndarray, encode: Callable[[list[str]], np.ndarray]) -> None:
        if encodings.ndim != 2 or len(encodings) != dataset.n_items:
            raise ValueError(f"encodings have shape {encodings.shape}; {dataset.name} has {dataset.n_items:,} items")
        self.dataset, self.encodings, self.encode = dataset, encodings, encode

    def allowed(self, wish: Wish) -> np.ndarray:
        """Finds the items that meet every constraint and are not themselves a liked title, bool (I,)."""
        allowed = np.ones(self.dataset.n_items, bool)
        allowed[list(wish.like)] = False
        for constraint in wish.constraints:
            allowed &= constraint.holds(self.dataset)
        return allowed

    def score(self, wish: Wish) -> np.ndarray:
        """Computes s, float64 (I,); 0 for every allowed item when a wish has constraints only."""
        allowed = self.allowed(wish)
        scores = np.zeros(self.dataset.n_items)
        if wish.rest:
            scores = self.encodings @ np.asarray(self.encode([wish.rest]))[0]
        scores = np.where(allowed, scores, -np.inf).astype("float64")
        if wish.like:
            likeness = (self.encodings @ self.encodings[list(wish.like)].T).mean(axis=1)
            likeness = np.where(allowed, likeness, -np.inf).astype("float64")
            return combine(likeness, scores, LIKE_WEIGHT) if wish.rest else likeness
        return scores


def combine(wish_scores: np.ndarray, user_scores: np.ndarray, weight: float) -> np.ndarray:
    """Combines a wish with a history:  s = w · z(s_wish) + (1 − w) · z(s_user),  float64 (I,), −inf where either is.
    z standardises over the items that both allow, since the scores have different units. The weight w is in 0–1: 1
    orders by the wish alone, 0 by the history among what the wish allows.

    Example:
        >>> combine(np.array([0.1, 0.3, -np.inf]), np.array([4.0, 2.0, 9.0]), weight=0.75)
        array([-0.5,  0.5, -inf])
    """
    both = np.isfinite(wish_scores) & np.isfinite(user_scores)
    mixed = np.full(len(both), -np.inf)
    if both.any():
        wish, user = (_standardised(np.asarray(scores, "float64")[both]) for scores in (wish_scores, user_scores))
        mixed[both] = weight * wish + (1 - weight) * user
    return mixed


def _standardised(scores: np.ndarray) -> np.ndarray:
    deviations = scores - scores.mean()
    spread = deviations.std()
    # Equal scores differ by rounding from their own mean, which must not be blown up to variance 1.
    return deviations / spread if spread > 1e-12 * np.abs(scores).max() else np.zeros_like(scores)
