"""Understands a wish in words: patterns find years, sums of money, exclusions and "like" with a known title; the
encoder reads the rest. A label that is merely named stays text: the encoder treats it as a matter of degree, as a
person does. Taught in notebook 03.
"""

import dataclasses
import itertools
import operator
import re
import unicodedata
from collections.abc import Callable

import numpy as np

from recfuse_lib.data.items import Items
from recfuse_lib.stated.gazetteer import Gazetteer, Title, forms, pattern, squashed
from recfuse_lib.stated.vocabulary import WORDS, first_year

MAX_CHARACTERS = 1_000
"""The rest is not read; the text encoder would cut it off anyway."""

MAX_CONSTRAINTS, MAX_MISSPELT = 10, 4
"""More constraints and titles are not kept, more words not taken for misspelt titles: a wish must not take long."""

_COMPARISONS = {"=": operator.eq, "<": operator.lt, "≤": operator.le, ">": operator.gt, "≥": operator.ge}

_NUMBERS = {
    kind: [(comparison, pattern(phrase, number)) for comparison, phrase in WORDS[f"{kind}s"]]
    for kind, number in (("year", "{when}"), ("price", "{sum}"))
}
_AMOUNTS = {"half an": 0.5, "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, **WORDS["tens"]}
_TIME = (
    rf"(?:\d{{1,3}}(?:[.,]\d)?|{'|'.join(_AMOUNTS)})[\s-]?(?:hours?|hrs?|h|minutes?|mins?)\b"
    r"(?: and a half\b|(?: and)? \d{1,2} ?min\w*)?"
)
_NUMBERS["length"] = [
    (comparison, pattern(rf"(?:\b(?:that|which|it|and|is|are|lasts?|runs?|must|should|be) ){{0,6}}{phrase}", _TIME))
    for comparison, phrase in (
        ("range", rf"\bbetween (?P<low>{_TIME}|\d{{1,3}}(?:[.,]\d)?) and {{high}}"),
        ("range", rf"(?:\bfrom )?(?<![\w.,-])(?P<low>{_TIME}|\d{{1,3}}(?:[.,]\d)?)\s*(?:to|-|–)\s*{{high}}"),
        ("≤", r"\b(?:at (?:the )?most|up to|no (?:more|longer) than|{never}(?:more|longer) than|{never}over) {low}"),
        ("≥", r"\b(?:at least|no (?:less|shorter) than|{never}(?:less|shorter) than|{never}under) {low}"),
        ("<", r"\b(?:under|below|less than|shorter than) {low}"),
        (">", r"\b(?:over|above|more than|longer than) {low}"),
        ("≤", r"{apart}{low} or (?:less|shorter)\b"),
        ("≥", r"{apart}{low} or (?:more|longer)\b"),
    )
]
_FOREIGN = re.compile(
    r"(?:ich|der|das|und|ein|eine|einen|nicht|kein|keine|mit|ohne|für|wie|aus|etwas|le|les|un|une|des|du|et|sans|avec|pas"
    r"|dans|sur|mais|comme|el|los|las|una|con|sin|que|para|por|pero|como|algo|muy|de|la|il|di|che|non|senza|della|um|uma"
    r"|com|sem|não|een|het|niet|zonder|voor|og|och|ikke|inte|med|som|bez|nie|jak|bir|gibi|yang|tanpa)"
)
_UNLIKE = re.compile(r"\b(?:unlike|different from|(?:not|nothing) similar to)\b", re.I)
_Misspelt = Callable[[str, int], Title | None]
_MONEY, _LIKE, _BEFORE_LIKE = pattern("{money}"), pattern("{like}"), pattern("{before like}")
_NOT, _IS_NOT, _WORD, _THINGS = (pattern(f"{{{name}}}") for name in ("not", "is not", "word", "things"))
_NEXT, _EITHER, _JOINED = pattern("{next}"), pattern("{either}"), pattern("{joined}")


@dataclasses.dataclass(frozen=True)
class Constraint:
    """A condition that every answer must meet: "year" or a column of money compared (= < ≤ > ≥) with a number, or
    "without" a "label", a "title", which the items `codes` have, or a "word" of an item's text or labels, which may
    have alternatives: "black|dark"; "nothing like" a title excludes it, and what resembles it is not wanted either.
    """

    field: str
    comparison: str
    value: float | str
    codes: tuple[int, ...] = ()

    def __str__(self) -> str:
        if isinstance(self.value, str):
            what = "the word " if self.field == "word" else ""
            return f"{self.comparison} {what}{' or '.join(self.value.split('|') if what else [self.value])}"
        return f"{self.field} {self.comparison} {self.value:g}"

    def holds(self, items: Items) -> np.ndarray:
        """Finds the items that meet it, bool (I,); one whose year or price is not known does not."""
        known = Gazetteer.of(items)
        if not isinstance(self.value, str):
            return np.asarray(_COMPARISONS[self.comparison](known.numbers[self.field], self.value))
        met = np.ones(items.n_items, bool)
        if self.field == "word":
            met[[code for word in self.value.split("|") for code in known.says(word)]] = False
        else:
            met[list(self.codes) if self.codes else known.with_label(self.value)] = False
        return met


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


def parse(text: str, items: Items) -> Wish:
    """Finds the constraints in a wish; patterns search the text, and nothing in it is obeyed as an instruction.

    Years ("from the 90s", "before 1980") and sums of money ("under 40") are understood where the catalogue has them.
    "not" and "without" exclude a label or a title where the next words name one; any other word excludes the items
    whose text contains it, so "nothing sad" excludes only what calls itself sad; "not too long" excludes nothing.
    "like" a title, which may be misspelt, asks for its neighbours, "not like" for others. "old" is not interpreted.

    >>> import pandas as pd
    >>> catalogue = pd.DataFrame({"item_id": [3], "title": ["Alien"], "year": [1979], "genres": ["Horror|Sci-Fi"]})
    >>> items = Items(catalogue=catalogue, roles={"title": "text", "year": "number", "genres": "categories"})
    >>> parse("something like Alien but funny, after 1990, no horror", items).shown()
    'like: Alien; meaning: funny; year > 1990; without Horror'
    """
    printable = "".join(" " if unicodedata.category(character)[0] == "C" else character for character in text)
    tidy = " ".join(unicodedata.normalize("NFC", printable).split())
    notes = []
    if len(tidy) > MAX_CHARACTERS:
        notes.append(f"only the first {MAX_CHARACTERS:,} of {len(tidy):,} characters were read")
        tidy = tidy[:MAX_CHARACTERS]
    words = set(re.findall(r"[^\W\d_]+", tidy))
    foreign = {one for one in words if _FOREIGN.fullmatch(one.casefold()) or (one.islower() and not one.isascii())}
    strange = sum(letter > "ɏ" for letter in tidy) > len("".join(words)) / 2
    if strange or len(foreign) > max(1, len((words - foreign).intersection(WORDS["small"]))):
        notes.append(
            "this does not look like English; say it in English, which is all that is read, or “like” and a title"
        )
    known, tries = Gazetteer.of(items), [None] * MAX_MISSPELT

    def misspelt(text: str, start: int) -> Title | None:
        title = known.misspelt_title_at(text, start) if tries and not tries.pop() else None
        notes.extend([f"“{text[start : title.end]}” is read as “{title.name}”"] if title else [])
        return title

    rest, like, titles = _titles(_UNLIKE.sub("not like", tidy), known, misspelt)
    found: list[Constraint] = []
    for kind, field in (("length", known.length), ("year", "year"), ("price", known.money)):
        rest = _numbers(rest, kind, field, known, found, notes)
    rest = _tidied(_exclusions(rest, known, found, misspelt))
    rest = "" if (found or like) and _BEFORE_LIKE.fullmatch(f"{rest} ") else rest  # "a film" says nothing
    constraints = tuple(dict.fromkeys(found))
    if len(constraints) > MAX_CONSTRAINTS:
        notes.append(f"only the first {MAX_CONSTRAINTS} of {len(constraints)} conditions are kept")
    notes += _contradictions(constraints[:MAX_CONSTRAINTS], rest, like)
    said = tuple(dict.fromkeys(notes))[: 2 * MAX_CONSTRAINTS]
    return Wish(tidy, rest, constraints[:MAX_CONSTRAINTS], like, titles, said)


def _contradictions(constraints: tuple[Constraint, ...], rest: str, like: tuple[int, ...]) -> list[str]:
    words = re.findall(r"[^\W_]+", rest)
    said = {squashed(one) for one in (*words, *map(" ".join, itertools.pairwise(words)))}
    both = [
        one.value
        for one in constraints
        if isinstance(one.value, str)
        and (set(one.codes) & set(like) if one.codes else any(forms(word) & said for word in one.value.split("|")))
    ]
    return [f"“{value}” is both asked for and excluded" for value in both]


def _tidied(rest: str) -> str:
    rest = re.sub(r"\b(an?|the|some)\s+,", r"\1", rest, flags=re.I)
    rest = re.sub(r"\s*([,;.])(?:\s*[,;.])+", r"\1", " ".join(rest.split())).replace(" ,", ",")
    return re.sub(r"^(?:\W|\b(?:but|and|or|only)\b)+|(?:\W|\b(?:but|and|or)\b)+$", "", rest, flags=re.I)


def _numbers(
    rest: str, kind: str, field: str | None, known: Gazetteer, found: list[Constraint], notes: list[str]
) -> str:
    if field is None or np.isnan(known.numbers[field]).all():
        for match in itertools.chain.from_iterable(phrase.finditer(rest) for _, phrase in _NUMBERS[kind]):
            if kind != "price" or _MONEY.search(match[0]):
                notes.append(f"“{match[0].strip()}” is read as words: no {kind} is known here")
        return rest
    for comparison, phrase in _NUMBERS[kind]:
        for match in phrase.finditer(rest):
            ends = [end for words in match.groupdict().values() for end in _read(kind, words, match[0], known)]
            first, last = min(ends), max(ends)
            sides = {"range": "≥≤", "=": "=" if first == last else "≥≤"}.get(comparison, comparison)
            found += [Constraint(field, side, first if side in "=<≥" else last) for side in sides]
        rest = phrase.sub(" , ", rest)
    return rest


def _read(kind: str, words: str, whole: str, known: Gazetteer) -> list[float]:
    if kind == "length":
        return [minutes / known.minutes for minutes in _minutes(words, whole)]
    return _years(words) if kind == "year" else _sum(words)


def _minutes(words: str, whole: str) -> list[float]:
    """Reads "two hours", "1 h 30 min" or, with the unit at the end of the `whole`, the 90 of "90 to 120 minutes"."""
    amount = re.match(rf"\d+(?:[.,]\d)?|(?:{'|'.join(_AMOUNTS)})\b", words, re.I)
    assert amount is not None, "it begins with an amount, says the pattern"
    name = amount[0].casefold()
    own = _AMOUNTS[name] if name in _AMOUNTS else float(name.replace(",", "."))
    if not re.search(r"(?:\b|\d)h(?:ours?|rs?)?\b", words if re.search("[a-z]", words, re.I) else whole, re.I):
        return [own]
    more = re.search(r"(\d+)\s?min", words, re.I)
    return [60 * (own + 0.5 * ("and a half" in words.casefold())) + (float(more[1]) if more else 0)]


def _years(words: str) -> list[float]:
    """The first and the last year that are meant: "the 90s" are 1990 to 1999."""
    name = words.casefold().removeprefix("the ").strip()
    return [first_year(name), first_year(name) + 9] if name.endswith("s") else [int(re.sub(r"\D", "", words))]


def _sum(words: str) -> list[float]:
    digits = re.search(r"(\d+(?:[.,]\d+)?)(k?)", re.sub(r",(?=\d{3})", "", words), re.I)
    named = [value for name, value in WORDS["tens"].items() if re.search(rf"\b{name}\b", words, re.I)]
    return [float(digits[1].replace(",", ".")) * (1_000 if digits[2] else 1)] if digits else named[:1]


def _titles(text: str, known: Gazetteer, misspelt: _Misspelt) -> tuple[str, tuple[int, ...], tuple[str, ...]]:
    like: list[int] = []
    named: list[str] = []
    start = 0
    for _ in range(MAX_CONSTRAINTS):
        cue = _LIKE.search(text, start)
        if not cue:
            break
        start = end = cue.end()
        if (cue["who"] or "").casefold().strip("'’") in WORDS["no likeness after"]:
            continue
        while (at := start if end == start else _past(_JOINED, text, end)) < len(text) and len(named) < MAX_CONSTRAINTS:
            found = known.title_at(text, at) or (misspelt(text, at) if end == start or text[at].isupper() else None)
            if not found:
                break
            like += found.codes
            named.append(found.name)
            end = found.end
        if end > start:
            # The word before "like" was only looked at: "films like", "a western like".
            head = text[: cue.end("who") if cue["who"] else cue.start()]
            head = _BEFORE_LIKE.sub("", head.rstrip() + " ")
            text, start = f"{head} , {text[end:]}", len(head)
    return text, tuple(dict.fromkeys(like)), tuple(dict.fromkeys(named))


def _past(pattern: re.Pattern[str], text: str, start: int) -> int:
    match = pattern.match(text, start)
    return match.end() if match else len(text)


def _exclusions(rest: str, known: Gazetteer, found: list[Constraint], misspelt: _Misspelt) -> str:
    start = 0
    while cue := _NOT.search(rest, start):
        start, end = cue.end(), cue.end()
        denied_verb = cue["verb"] or (re.search("n['’]t", cue[0], re.I) and not _IS_NOT.search(cue[0]))
        if denied_verb and not cue["verb_of_being"]:
            continue  # "does not ruin me", "won't itch": what a verb denies is no kind of thing
        # A title may begin with a word that is skipped otherwise: "not In Bruges".
        first, how = cue.start("filler"), "nothing like" if "like" in cue["filler"].casefold() else "without"
        starts = (first, end) if rest[first : first + 1].isupper() else (end,)
        named = next(filter(None, (_named(rest, at, known, how) for at in starts)), None)
        if not named and (how != "without" or rest[end : end + 1].isupper()) and (title := misspelt(rest, end)):
            named = [Constraint("title", how, title.name, title.codes)], title.end
        is_named = named is not None
        while named:
            found += named[0]
            end = named[1]
            named = _named(rest, _past(_NEXT, rest, end), known, how)
        while not is_named and (match := _WORD.match(rest, end if end == start else _past(_EITHER, rest, end))):
            word = match["name"].casefold()
            if word in WORDS["no thing"]:
                break
            look = next((look for look in WORDS["looks"] if word in look.split("|")), word)
            found.append(Constraint("word", "without", look))
            end = match.end()
        if end > start:
            rest, start = f"{rest[: cue.start()]} , {rest[end:]}", cue.start()
    return rest


def _named(rest: str, start: int, known: Gazetteer, how: str) -> tuple[list[Constraint], int] | None:
    """Reads a label or, where it is longer, a title, which has several words or a capital letter; and where it ends."""
    label, title = known.label_at(rest, start), known.title_at(rest, start)
    if title and (rest[start].isupper() or " " in rest[start : title.end]) and not (label and label[1] >= title.end):
        found, end = [Constraint("title", how, title.name, title.codes)], title.end
    elif label:
        found, end = [Constraint("label", "without", one) for one in label[0]], label[1]
    else:
        return None
    things = _THINGS.match(rest, end)
    return found, things.end() if things else end
