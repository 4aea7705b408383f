"""Checks whether a text about a person is true: rules find what it claims, and the person's history is the evidence.
The rules read words, not meaning: `tests/test_faithfulness.py` measures how reliable they are. Taught in notebook 03.
"""

import dataclasses
import re
import unicodedata
from collections.abc import Iterator, Sequence

from recfuse_lib.stated.histories import RatingHistory
from recfuse_lib.stated.vocabulary import DECADES, WORDS, Vocabulary, first_year, normal

SUPPORTED, CONTRADICTED, UNSUPPORTED = "supported", "contradicted", "unsupported"
FIRST_YEAR, LAST_YEAR = 1800, 2100
HIDDEN = "▮"
"""Replaces each character of a title or a claim, so that no cue is read inside it."""

REACH = 3
"""Most words that may stand between a negation and the verb that it negates."""

_SMALL, _NO_TITLE = frozenset(WORDS["small"]), frozenset(WORDS["no title"])
_QUOTED = re.compile(
    r"\"([^\"\n]+)\"|“([^”\n]+)”|(?<!\w)‘([^’\n]+)’(?!\w)|(?<!\w)'((?:[^'\n]|'(?=\w))+)'(?!\w)|\*+([^*\n]+)\*+"
)
_SMALL_BETWEEN = "|".join(sorted(_SMALL - {"and", "or"}))
_NAME = re.compile(rf"\b[A-Z][\w'’.-]*(?: (?:(?:{_SMALL_BETWEEN}) )*[A-Z][\w'’.-]*)+")
_YEAR_AFTER = re.compile(r"\s*\(\d{4}\)")
_YEAR = r"(?:1[89]\d\d|20\d\d)(?![\d])"
_TIME = re.compile(
    rf"""(?<![\w$€£]) (?<!his\ ) (?<!her\ ) (?<!their\ )
    (?: (?P<from>{_YEAR})\s*(?:-|–|—|to|and|through|until)\s*(?P<to>{_YEAR})(?!['’]?s)
      | (?P<side>(?:before|prior\ to|older\ than|after|since|newer\ than)\ |(?:pre|post)-)?(?:the\ )?['’]?
        (?:(?P<decade>(?:(?:1[89]|20)?\d0(?=['’]?s\b)['’]?s|{"|".join(DECADES)})\b)|(?P<year>{_YEAR})(?!['’]?s)\b) )""",
    re.IGNORECASE | re.VERBOSE,
)
_CUE = re.compile(
    "|".join([
        r"(?P<end>[.!?]+(?=[\s)”’\"]|$)|[\n;])",
        *(rf"\b(?P<{kind}>{'|'.join(words)})\b" for kind, words in WORDS["cues"].items()),
        r"(?P<dash>\s[–—-]\s|—)",
        r"(?P<comma>,)",
    ]),
    re.IGNORECASE,
)  # fmt: skip
_OTHER_SUBJECT = re.compile(r",|\b(?:who|and|that|they|he|she|person|viewer|user)\b", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a text says, in `words`, of a person's taste. `kind` is "genre", "brand", "years" or "title"; `value` a
    name, the first and last year, or a title's normal form; `items` are the codes with that title.
    """

    kind: str
    value: str | tuple[int, int]
    liked: bool
    words: str
    items: tuple[int, ...] = ()


Span = tuple[int, int, list[Claim]]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A claim, its outcome (`SUPPORTED`, `CONTRADICTED` or `UNSUPPORTED`), and why."""

    claim: Claim
    outcome: str
    reason: str

    def __str__(self) -> str:
        sign = "likes" if self.claim.liked else "dislikes"
        return f"{self.outcome}: {sign} {self.claim.kind} {self.claim.words!r} ({self.reason})"


@dataclasses.dataclass(frozen=True)
class Faithfulness:
    """The verdicts on all claims of a text."""

    verdicts: tuple[Verdict, ...]

    def count(self, outcome: str) -> int:
        """Counts the claims that were `SUPPORTED`, `CONTRADICTED` or `UNSUPPORTED`."""
        return sum(verdict.outcome == outcome for verdict in self.verdicts)

    @property
    def score(self) -> float:
        """Share of the claims that are supported; NaN for a text that claims nothing: report those separately."""
        return self.count(SUPPORTED) / len(self.verdicts) if self.verdicts else float("nan")

    def __str__(self) -> str:
        return "\n".join(map(str, self.verdicts)) or "claims nothing"


def judge(found: Sequence[Claim], history: RatingHistory) -> Faithfulness:
    """Compares claims with a history, one by one: "horror of the 1980s" is two claims.

    A claim is *supported* when the loose rules of `GroupStats` (for a title, `RatingHistory.opinion`) agree with it,
    *contradicted* when they support the opposite, and *unsupported* otherwise.

    >>> comedy = frozenset({("genre", "Comedy")})
    >>> past = RatingHistory(7, (0, 1, 2), (4.0, 4.5, 1.0), (comedy, comedy, frozenset()), (1994, 1999, 1981))
    >>> print(judge([Claim("genre", "Comedy", True, "comedies"), Claim("genre", "War", True, "war")], past))
    supported: likes genre 'comedies' (2 rated, 2 liked, mean +1.08 from the person's own)
    unsupported: likes genre 'war' (none rated)
    """
    return Faithfulness(tuple(_judged(claim, history) for claim in found))


def _judged(claim: Claim, history: RatingHistory) -> Verdict:
    if claim.kind == "title":
        rated = [r for item, r in zip(history.items, history.ratings, strict=True) if item in claim.items]
        opinions = {history.opinion(rating) for rating in rated}
        reason = "rated " + ", ".join(f"{rating:g}" for rating in rated) if rated else "not in the history"
        reason = reason if claim.items else "no such title in the catalogue"
    else:
        stats = history.group_stats(claim.kind, claim.value)
        opinions = {int(stats.supports) - int(stats.opposes)}
        reason = f"{stats.rated} rated, {stats.liked} liked, mean {stats.lead:+.2f} from the person's own"
        reason = reason if stats.rated else "none rated"
    said = 1 if claim.liked else -1
    outcome = SUPPORTED if said in opinions else CONTRADICTED if -said in opinions else UNSUPPORTED
    return Verdict(claim, outcome, reason)


def claims(text: str, vocabulary: Vocabulary) -> list[Claim]:
    """Finds the distinct claims of a text, in its order.

    Titles are found first, so that their words count as nothing else: those in quotes (a capitalised quotation that is
    not in the catalogue claims a title that does not exist), then verbatim capitalised ones, the longest first. A
    single word is a title only in mid-sentence, away from other capitalised words, and outside the vocabulary. Years
    and decades follow, the words of the vocabulary, and capitalised names of two words or more that are unknown to the
    catalogue.

    >>> words = Vocabulary.of_words({("genre", "Comedy"): ["Comedy"], ("genre", "Horror"): ["Horror", "scary"]})
    >>> for claim in claims("Loves comedies of the 90s, but not scary films.", words):
    ...     print(claim.liked, claim.kind, claim.value)
    True genre Comedy
    True years (1990, 1999)
    False genre Horror
    """
    found: list[Span] = []
    finders = [_quoted, _titles, _times, _words, _names] if vocabulary.titles else [_times, _words]
    for finder in finders:
        for start, end, made in finder(text, vocabulary):
            found.append((start, end, made))
            text = text[:start] + HIDDEN * (end - start) + text[end:]
    found.sort(key=lambda span: span[:2])
    moods = _polarity(text, [(start, end) for start, end, _ in found])
    distinct: dict[tuple[object, ...], Claim] = {}
    for (_, _, made), is_liked in zip(found, moods, strict=True):
        for claim in made:
            distinct.setdefault((claim.kind, claim.value, is_liked), dataclasses.replace(claim, liked=is_liked))
    return list(distinct.values())


def _quoted(text: str, vocabulary: Vocabulary) -> Iterator[Span]:
    for match in _QUOTED.finditer(text):
        words = next(filter(None, match.groups()), "").strip()
        bare = _YEAR_AFTER.sub("", words.rstrip(" ,.;:"))
        name = next((name for name in map(normal, (words, bare)) if name in vocabulary.titles), None)
        is_name = any(map(str.isalnum, words)) and not words[0].islower() and normal(words) not in vocabulary.words
        if name is not None or is_name:
            # "Heat." with the sentence's full stop inside the quotes: it must still end the sentence.
            ends = words.endswith(".") and re.match(r"\s+[A-Z]|\s*$", text[match.end() :])
            end = match.end() - 2 if ends else _after_year(text, match.end())
            yield match.start(), end, _title(name or normal(bare), bare, vocabulary)


def _after_year(text: str, end: int) -> int:
    year = _YEAR_AFTER.match(text, end)
    return year.end() if year else end


def _title(name: str, words: str, vocabulary: Vocabulary) -> list[Claim]:
    return [Claim("title", name, True, words, vocabulary.titles.get(name, ()))]


def _titles(text: str, vocabulary: Vocabulary) -> Iterator[Span]:
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
                    yield start, _after_year(text, end), _title(name, text[start:end], vocabulary)
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
    is_capitalised = bool(content) and not any(word[0].islower() for word in content)
    return is_capitalised and not re.search(r"[,;!?]|\.\s", words)


def _begins_sentence(text: str, start: int) -> bool:
    return re.search(r"(?:^|[.!?:\n]|[-*•]\s)\s*$", text[:start]) is not None


def _is_name_before(text: str, start: int) -> bool:
    before = re.search(r"(?:^|(?<=\s))([A-Z]\w*)[ -]$", text[:start])
    return before is not None and not _begins_sentence(text, before.start(1))


def _times(text: str, vocabulary: Vocabulary) -> Iterator[Span]:
    for match in _TIME.finditer(text):
        if match["from"]:
            first, last = sorted((int(match["from"]), int(match["to"])))
        elif match["year"]:
            first = last = int(match["year"])
        else:
            first = first_year(match["decade"].casefold())
            last = first + 9
        side = (match["side"] or "").casefold().strip(" -")
        if side in ("before", "prior to", "older than", "pre"):
            first, last = FIRST_YEAR, first - 1
        elif side:
            first, last = first if side == "since" else last + 1, LAST_YEAR
        yield match.start(), match.end(), [Claim("years", (first, last), True, match[0])]


def _words(text: str, vocabulary: Vocabulary) -> Iterator[Span]:
    for match in vocabulary.pattern.finditer(text):
        named = vocabulary.words[normal(match[0])]
        yield match.start(), match.end(), [Claim(kind, name, True, match[0]) for kind, name in named]


def _names(text: str, vocabulary: Vocabulary) -> Iterator[Span]:
    for match in _NAME.finditer(text):
        words = match[0].rstrip(".'’-")
        capitalised = [word for word in words.split() if word[0].isupper() and word.casefold() not in _NO_TITLE]
        if len(capitalised) >= (3 if _begins_sentence(text, match.start()) else 2):
            yield match.start(), match.start() + len(words), _title(normal(words), words, vocabulary)


def _polarity(text: str, spans: Sequence[tuple[int, int]]) -> list[bool]:
    """Whether the claim at each span (first, last) is liked: cues such as "but not" set or reverse the mood."""
    moods: list[bool] = []
    mood, before_instead, negated = True, True, -1
    is_first, is_instead, prefers, last_kind = True, False, False, ""
    clause_start = 0
    for cue in [*_CUE.finditer(text), None]:
        while len(moods) < len(spans) and (cue is None or spans[len(moods)][0] < cue.start()):
            moods.append(mood)
        if cue is None:
            break
        kind = str(cue.lastgroup)
        if kind in ("end", "clause", "dash"):
            mood, negated, is_first, is_instead, prefers = True, -1, True, False, False
            clause_start = len(moods)
            continue
        if kind == "comma":
            mood, negated, is_instead = before_instead if is_instead else mood, -1, False
            continue
        if kind == "preferred_to" and not prefers:
            continue
        is_turned = negated >= 0 and len(re.findall(r"\w+", text[negated : cue.start()])) <= REACH
        if kind in ("instead", "preferred_to"):
            before_instead, is_instead, verdict = mood, True, False
        elif kind == "negator":
            negated, verdict = cue.end(), False
        elif kind == "reverse":
            negated, verdict, clause_start = cue.end(), not mood, len(moods)
        elif kind == "favour":
            verdict, prefers = not is_turned, cue[0].casefold().startswith(("prefer", "rather"))
        else:
            # "No interest in horror and avoids musicals": the verb in between has used the negation up.
            verdict = {"sure": True, "except": False, "against": is_turned and last_kind == "negator"}[kind]
        if is_first and kind in ("against", "negator"):
            for claim in range(clause_start, len(moods)):
                if not _OTHER_SUBJECT.search(text[spans[claim][1] : cue.start()]):
                    moods[claim] = verdict
        mood, last_kind, is_first = verdict, kind, False
    return moods
