"""What a text claims of a person's taste: genres, brands, tags, years and titles, each liked or disliked.

Taught in notebook 03.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Iterator

from recfuse_lib.stated.polarity import HIDDEN, polarity
from recfuse_lib.stated.vocabulary import Vocabulary, normal

FIRST_YEAR, LAST_YEAR = 1800, 2100


@dataclasses.dataclass(frozen=True)
class Claim:
    """Something that a text says of a person's taste.

    Attributes:
        kind: "genre", "brand", "tag", "years" or "title".
        value: What it is about: a name; for years the first and the last; for a title its normal form.
        liked: Whether it is said to be liked, otherwise disliked.
        words: How the text says it.
        items: For a title, the codes of the items that bear it; none when no item does.
    """

    kind: str
    value: str | tuple[int, int]
    liked: bool
    words: str
    items: tuple[int, ...] = ()


Found = tuple[int, int, list[Claim]]

_QUOTED = re.compile(
    r"\"([^\"\n]+)\"|“([^”\n]+)”|(?<!\w)‘([^’\n]+)’(?!\w)|(?<!\w)'((?:[^'\n]|'(?=\w))+)'(?!\w)|\*+([^*\n]+)\*+"
)
_YEAR_AFTER = re.compile(r"\s*\(\d{4}\)")
_YEAR = r"(?:1[89]\d\d|20\d\d)(?![\d])"
_DECADE = r"(?:(?:1[89]|20)?\d0(?=['’]?s\b)['’]?s|(?:twen|thir|for|fif|six|seven|eigh|nine)ties)\b"
_TIME = re.compile(
    rf"""(?<![\w$€£]) (?<!his\ ) (?<!her\ ) (?<!their\ )
    (?: (?P<from>{_YEAR})\s*(?:-|–|—|to|and|through|until)\s*(?P<to>{_YEAR})(?!['’]?s)
      | (?P<side>(?:before|prior\ to|older\ than|after|since|newer\ than)\ |(?:pre|post)-)?(?:the\ )?['’]?
        (?:(?P<decade>{_DECADE})|(?P<year>{_YEAR})(?!['’]?s)\b) )""",
    re.IGNORECASE | re.VERBOSE,
)
_TENS = ("twen", "thir", "for", "fif", "six", "seven", "eigh", "nine")
_SMALL = frozenset((
    "a", "an", "the", "of", "and", "in", "on", "to", "for", "with", "at", "by", "from", "or", "as", "is", "it",
))  # fmt: skip
_NO_TITLE = frozenset((
    "i", "it", "he", "her", "his", "she", "they", "them", "their", "you", "your", "we", "me", "my", "this",
    "that", "these", "those", "there", "here", "who", "what", "all", "both", "one", "any", "some", "each",
    "many", "most", "other", "others", "such", "like", "likes", "also", "overall", "person", "user", "viewer",
    "shopper", "film", "films", "movie", "movies", "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december", "american", "british", "english",
    "french", "italian", "german", "japanese", "korean", "chinese", "indian", "hollywood", "bollywood", "tv",
    "dvd", "us", "uk", "ok",
))  # fmt: skip


def claims(text: str, vocabulary: Vocabulary) -> list[Claim]:
    """Finds the claims of a text, in its order, each once.

    Titles come first, so that no word of theirs counts: those in quotes (a capitalised quotation that is no title of
    the catalogue is a claim too: of a title that does not exist), then those that stand verbatim and capitalised, the
    longest first. One word is a title only in mid-sentence, apart from other capitalised words, and when it is no word
    of the vocabulary. Then come years and decades, the words of the vocabulary, and capitalised names of two words or
    more that nothing in the catalogue bears.

    Args:
        text: Any text.
        vocabulary: What can be claimed.

    Example:
        >>> words = Vocabulary.of_words({("genre", "Comedy"): ["Comedy"], ("genre", "Horror"): ["Horror", "scary"]})
        >>> for claim in claims("Loves comedies of the 90s, but not scary films.", words):
        ...     print(claim.liked, claim.kind, claim.value)
        True genre Comedy
        True years (1990, 1999)
        False genre Horror
    """
    found: list[Found] = []
    finders = [_times, _words]
    if vocabulary.titles:
        finders = [_quoted, _titles, _times, _words, _names]
    for finder in finders:
        for start, end, made in finder(text, vocabulary):
            found.append((start, end, made))
            text = text[:start] + HIDDEN * (end - start) + text[end:]
    found = sorted((start, end, made) for start, end, made in found if made)
    moods = polarity(text, [(start, end) for start, end, _ in found])
    distinct: dict[tuple[object, ...], Claim] = {}
    for (_, _, made), is_liked in zip(found, moods, strict=True):
        for claim in made:
            distinct.setdefault((claim.kind, claim.value, is_liked), dataclasses.replace(claim, liked=is_liked))
    return list(distinct.values())


def _quoted(text: str, vocabulary: Vocabulary) -> Iterator[Found]:
    for match in _QUOTED.finditer(text):
        words = next(filter(None, match.groups()), "").strip()
        bare = _YEAR_AFTER.sub("", words.rstrip(" ,.;:"))
        name = next((name for name in map(normal, (words, bare)) if name in vocabulary.titles), None)
        is_name = any(map(str.isalnum, words)) and not words[0].islower() and normal(words) not in vocabulary.words
        if name is not None or is_name:
            # "Heat." with the sentence's full stop inside the quotes: it must still end the sentence.
            ends = words.endswith(".") and re.match(r"\s+[A-Z]|\s*$", text[match.end() :])
            end = match.end() - 2 if ends else _after_year(text, match.end())
            yield match.start(), end, [_title(name or normal(bare), bare, vocabulary)]


def _after_year(text: str, end: int) -> int:
    year = _YEAR_AFTER.match(text, end)
    return year.end() if year else end


def _title(name: str, words: str, vocabulary: Vocabulary) -> Claim:
    return Claim("title", name, True, words, vocabulary.titles.get(name, ()))


def _titles(text: str, vocabulary: Vocabulary) -> Iterator[Found]:
    tokens = list(re.finditer(r"[^\W_]+", text))
    keys = [unicodedata.normalize("NFKC", token[0]).casefold() for token in tokens]
    first = 0
    while first < len(tokens):
        # Words such as "and" stand in a title but not in its normal form, so a title may span a few words more.
        for last in range(min(first + vocabulary.longest + 3, len(tokens)) - 1, first - 1, -1):
            name = " ".join(key for key in keys[first : last + 1] if key != "and")
            if name in vocabulary.titles and "and" not in (keys[first], keys[last]):
                start, end = tokens[first].start(), tokens[last].end()
                if _is_verbatim(text, start, end, last - first + 1, name, vocabulary):
                    yield start, _after_year(text, end), [_title(name, text[start:end], vocabulary)]
                    first = last
                    break
        first += 1


def _is_verbatim(text: str, start: int, end: int, length: int, name: str, vocabulary: Vocabulary) -> bool:
    words = text[start:end]
    if HIDDEN in words or _is_name_before(text, start) or re.match(r" [A-Z]\w", text[end:]):
        return False
    if length == 1:
        is_word = name in vocabulary.words or name in _NO_TITLE or len(words) < 2
        return words[0].isupper() and not is_word and not _begins_sentence(text, start)
    if words in vocabulary.as_shown:
        return True
    content = [word for word in re.findall(r"[^\W_]+", words) if word not in _SMALL]
    is_capitalised = all(not word[0].islower() for word in content[:1]) and all(
        not word[0].islower() or re.search(rf"['’]{word}", words) for word in content
    )
    return bool(content) and is_capitalised and not re.search(r"[,;!?]|\.\s", words)


def _begins_sentence(text: str, start: int) -> bool:
    return re.search(r"(?:^|[.!?:\n]|[-*•]\s)\s*$", text[:start]) is not None


def _is_name_before(text: str, start: int) -> bool:
    before = re.search(r"(?:^|(?<=\s))([A-Z]\w*)[ -]$", text[:start])
    return before is not None and not _begins_sentence(text, before.start(1))


def _times(text: str, vocabulary: Vocabulary) -> Iterator[Found]:
    for match in _TIME.finditer(text):
        if match["from"]:
            first, last = sorted((int(match["from"]), int(match["to"])))
        elif match["year"]:
            first = last = int(match["year"])
        else:
            first = _first_of(match["decade"].casefold())
            last = first + 9
        side = (match["side"] or "").casefold().strip(" -")
        if side in ("before", "prior to", "older than", "pre"):
            first, last = FIRST_YEAR, first - 1
        elif side:
            first, last = first if side == "since" else last + 1, LAST_YEAR
        yield match.start(), match.end(), [Claim("years", (first, last), True, match[0])]


def _first_of(decade: str) -> int:
    digits = re.sub(r"\D", "", decade)
    if not digits:
        return 1920 + 10 * next(place for place, ten in enumerate(_TENS) if decade.startswith(ten))
    return int(digits) if len(digits) == 4 else int(digits) + (1900 if int(digits) >= 20 else 2000)


def _words(text: str, vocabulary: Vocabulary) -> Iterator[Found]:
    for match in vocabulary.pattern.finditer(text):
        named = vocabulary.words[normal(match[0])]
        yield match.start(), match.end(), [Claim(kind, name, True, match[0]) for kind, name in named]


def _names(text: str, vocabulary: Vocabulary) -> Iterator[Found]:
    small = "|".join(sorted(_SMALL - {"and", "or"}))
    for match in re.finditer(rf"\b[A-Z][\w'’.-]*(?: (?:(?:{small}) )*[A-Z][\w'’.-]*)+", text):
        words = match[0].rstrip(".'’-")
        capitalised = [word for word in words.split() if word[0].isupper() and word.casefold() not in _NO_TITLE]
        if len(capitalised) >= (3 if _begins_sentence(text, match.start()) else 2):
            yield match.start(), match.start() + len(words), [_title(normal(words), words, vocabulary)]
