"""The patterns and word lists by which `wishes` reads a wish.

Taught in notebook 03.
"""

from __future__ import annotations

import re

_TENS = {"ten": 10, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80,
         "ninety": 90, "hundred": 100}  # fmt: skip
_DECADES = {"twenties": 1920, "thirties": 1930, "forties": 1940, "fifties": 1950, "sixties": 1960, "seventies": 1970,
            "eighties": 1980, "nineties": 1990}  # fmt: skip
_YEAR = r"(?:18|19|20)\d\d(?!\d|s\b|['’]s\b|\s+years?\b)"
_DECADE = rf"(?:the\s+)?(?:(?:18|19|20)\d0|['’]?\d0)['’]?s\b|(?:the\s+)?(?:{'|'.join(_DECADES)})\b"
_WHEN = rf"(?:(?:the\s+year\s+)?{_YEAR}|{_DECADE})"
MONEY = r"(?:€|\$|£|euros?\b|eur\b|dollars?\b|bucks\b|pounds?\b)"
_UNITS = r"(?:years?|months?|days?|hours?|minutes?|kg|km|cm|people|times|percent)\b"
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d{1,6})(?:[.,]\d{1,2})?(?![\d%]|s\b)"
_SUM = rf"(?:{MONEY}\s?)?(?:{_DIGITS}|(?:a\s+)?(?:{'|'.join(_TENS)})\b)"
_SUM += rf"(?:\s?{MONEY})?(?!\s?{_UNITS})"
_NEVER = r"(?:not|never|\w+n['’]t)\s+(?:\w+\s+)?"


def _patterns(number: str, before: str, words: dict[str, str], loose: str) -> list[tuple[str, re.Pattern[str]]]:
    """Comparison and pattern, the longer phrases first; `loose` is what a range without "between" must have."""
    low, high = rf"(?P<low>{number})", rf"(?P<high>{number})"
    spans = (rf"between\s+{low}\s+and\s+{high}", rf"from\s+{low}\s*(?:to|until|-|–)\s*{high}")
    phrases = [("range", rf"{before}{span}") for span in spans]
    phrases += [("range", rf"(?<![\w-]){loose}{low}\s*(?:to|-|–)\s*{high}")]
    phrases += [(comparison, rf"\b{before}(?:{said})\s+{low}") for comparison, said in words.items()]
    phrases += [
        ("≤", rf"(?<![\w-]){low}\s+or\s+(?:earlier|older|less|cheaper)\b"),
        ("≥", rf"(?<![\w-]){low}\s+(?:or\s+(?:later|newer|more)|(?:and\s+)?onwards?)\b"),
    ]
    return [(comparison, re.compile(phrase, re.I)) for comparison, phrase in phrases]


YEARS = [
    *_patterns(
        _WHEN,
        r"(?:\b(?:made|shot|released|filmed)\s+)?",
        {
            "≤": rf"until|up\s+to|(?:no|not|nothing)\s+(?:later|newer)\s+than|{_NEVER}after|nothing\s+after",
            "≥": rf"since|(?:no|not|nothing)\s+(?:earlier|older)\s+than|{_NEVER}before|nothing\s+before",
            "<": r"before|older\s+than|earlier\s+than|prior\s+to",
            ">": r"after|newer\s+than|later\s+than|more\s+recent\s+than",
        },
        "",
    ),
    ("=", re.compile(rf"\b(?:made\s+|shot\s+)?(?:from|in|of)\s+(?P<low>{_WHEN})", re.I)),
    ("=", re.compile(rf"(?<![\w€$£-])(?P<low>{_WHEN})(?!\s?{MONEY}|:)", re.I)),
]
PRICES = _patterns(
    _SUM,
    r"(?:\b(?:it|that|which|and|must|may|should|can|for|costs?|costing|priced?)\s+)*",
    {
        "≤": rf"at\s+(?:the\s+)?most|no\s+more\s+than|{_NEVER}(?:more\s+than|over|above)|up\s+to|max(?:imum|\.)?"
        r"|nothing\s+(?:over|above)",
        "≥": rf"at\s+least|no\s+less\s+than|{_NEVER}(?:less\s+than|under|below)|min(?:imum|\.)?"
        r"|nothing\s+(?:under|below)",
        "<": r"under|below|less\s+than|cheaper\s+than",
        ">": r"over|above|more\s+than",
    },
    rf"(?=[^,;]{{0,20}}?{MONEY})",
)

SYNONYMS = {
    "Sci-Fi": ("science fiction", "scifi", "sf"),
    "Romance": ("romantic", "love stories", "love story"),
    "Animation": ("cartoon", "animated"),
    "Children": ("kids", "children's", "child"),
    "Film-Noir": ("noir",),
    "Drama": ("dramatic",),
    "Documentary": ("documentaries",),
    "Mystery": ("mysteries",),
    "Comedy": ("comedies",),
}
"""Other names of a genre. A mood is none: "nothing sad" is not "without Drama"."""

LOOKS = ("black|dark", "white|light|pale|bright", "pattern|patterned|print|striped")
LIKE = re.compile(
    r"(?:\b(?P<who>\w+|['’]d)\s+)?\b(?:like|similar\s+to|in\s+the\s+style\s+of|reminiscent\s+of)\s+", re.I
)
BEFORE_LIKE = re.compile(
    r"\b(?:(?:an?|the|some|something|anything|one|more|films?|movies?|stories|stuff|just)\s+)+$", re.I
)
NO_LIKENESS_AFTER = {
    "i",
    "we",
    "you",
    "they",
    "would",
    "d",
    "not",
    "t",
    "people",
    "kids",
    "who",
    "really",
    "also",
    "to",
}
PRONOUNS = {"it", "this", "that", "them", "me", "him", "her", "you", "us", "she", "he", "they", "mine"}
AFTER_TITLE = {
    "but", "and", "or", "only", "just", "with", "without", "from", "set", "in", "for", "before", "after", "since",
    "under", "below", "over", "between", "made", "please", "not", "no", "nothing", "as", "except", "minus", "at",
}  # fmt: skip
NOT = re.compile(
    r"(?:\b(?:but|and|please|i)\s+)*(?P<verb>\b(?:does|do|did|can|could|must|should|shall|may|will|would)\s+)?"
    r"\b(?:(?:not|\w+n['’]t)(?:\s+(?P<verb_of_being>be|want))?|no|without|nothing|except|excluding|avoid|avoiding"
    r"|anything\s+but|other\s+than)\s+"
    r"(?:(?:any|an?|the|too|so|very|made|from|of|with|in|that|is|are|it|about|more|another|all|those|these)\s+)*",
    re.I,
)
IS_NOT = re.compile(r"\b(?:is|are|was|were)n['’]t\b", re.I)
NO_THING = {
    "only", "just", "matter", "problem", "doubt", "less", "later", "sure", "one", "idea", "necessarily", "much", "many",
    "especially", "to", "and", "or", "but", "even", "be", "yet", "at", "than", "what", "which", "who",
    "other", "such",
}  # fmt: skip
THINGS = r"(?:\s+(?:films?|movies?|pictures?|stuff|ones|things)\b)?"


def years_of(words: str) -> tuple[float, float]:
    """The first and the last year that are meant: "the 90s" are 1990 to 1999, and of a century that has ended."""
    name = words.casefold().removeprefix("the ").strip()
    if name in _DECADES:
        return _DECADES[name], _DECADES[name] + 9
    digits = re.sub(r"\D", "", words)
    if not name.endswith("s"):
        return int(digits), int(digits)
    start = int(digits) if len(digits) == 4 else (2000 if digits == "00" else 1900 + int(digits))
    return start, start + 9


def sum_of(words: str) -> tuple[float, float]:
    digits = re.search(r"\d+(?:[.,]\d+)?", re.sub(r",(?=\d{3})", "", words))
    named = [value for name, value in _TENS.items() if re.search(rf"\b{name}\b", words, re.I)]
    value = float(digits[0].replace(",", ".")) if digits else float(named[0])
    return value, value
