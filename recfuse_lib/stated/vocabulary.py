"""The words by which a text can speak of genres, brands, tags and titles: a closed list, so that claims can be checked.

Taught in notebook 03.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Self

from recfuse_lib.data.items import natural_title
from recfuse_lib.data.schema import Dataset
from recfuse_lib.stated.evidence import catalogue_groups, shown_title

Concept = tuple[str, str]
"""A kind ("genre", "brand", "tag") and the name in it."""

SYNONYMS: dict[str, tuple[str, ...]] = {
    "Action": ("action-packed",),
    "Adventure": ("adventurous",),
    "Animation": ("animated", "cartoon", "anime"),
    "Children": ("children's", "childrens", "kids", "kids'", "family film", "family movie", "family-friendly"),
    "Comedy": ("comedic", "funny", "humor", "humour", "humorous", "hilarious", "rom-com", "romcom"),
    "Crime": ("criminal", "gangster", "mafia", "heist"),
    "Documentary": (),
    "Drama": ("dramatic",),
    "Fantasy": ("fantastical",),
    "Film-Noir": ("noir", "films noirs"),
    "Horror": ("scary", "frightening", "terrifying", "spooky", "slasher"),
    "Musical": (),
    "Mystery": ("mysterious", "whodunit"),
    "Romance": ("romantic", "love story", "rom-com", "romcom"),
    "Sci-Fi": ("scifi", "science fiction", "futuristic"),
    "Thriller": ("thrilling", "suspense", "suspenseful"),
    "War": ("wartime",),
    "Western": (),
    "T-shirt": ("tee", "tee shirt"),
    "Trousers": ("trouser", "pants", "slacks"),
    "Pullover": ("jumper", "sweater"),
    "Dress": ("frock", "gown"),
    "Coat": (),
    "Sandal": (),
    "Shirt": ("blouse",),
    "Sneaker": ("trainer",),
    "Bag": ("handbag",),
    "Ankle boot": ("booties",),
}
"""Genre of a film or category of the market → other words for it; plurals are made from the words."""

TAG_WORDS: dict[str, tuple[str, ...]] = {
    "looks": ("look", "appearance"),
    "material": ("fabric",),
    "occasion": (),
    "price": ("cost",),
    "brand": ("label",),
    "sound": ("jingle",),
    "clip": ("video", "animation"),
    "kind": (),
    "style": (),
}
"""Tag of the market's comments → other words for it."""


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """What a claim can be about.

    Attributes:
        words: Normal form of a word or phrase → what it names; "romcom" names two genres.
        pattern: Finds the words in a text.
        titles: Normal form of a title → the items that bear it.
        as_shown: Titles exactly as `shown_title` writes them.
        longest: Words of the longest title.

    Example:
        >>> words = Vocabulary.of_words({("genre", "Comedy"): ["Comedy", "funny"]})
        >>> [match[0] for match in words.pattern.finditer("Funny films, dark comedies, uncomic ones")]
        ['Funny', 'comedies']
    """

    words: Mapping[str, tuple[Concept, ...]]
    pattern: re.Pattern[str]
    titles: Mapping[str, tuple[int, ...]]
    as_shown: frozenset[str]
    longest: int

    @classmethod
    def of(cls, dataset: Dataset, tags: Mapping[str, Sequence[str]] | None = None) -> Self:
        """The words of a catalogue: its genres and brands with their synonyms, all titles, and maybe tags.

        A title is known by all its names: with the article in front or left out, what stands before a colon
        and, from three words on, what stands after it or a dash (unless another title is called so), and the names in
        brackets.

        Args:
            dataset: Whose catalogue.
            tags: Tag → other words for it, such as `TAG_WORDS`.
        """
        names: dict[Concept, list[str]] = {}
        for kind, name in sorted(set().union(*catalogue_groups(dataset))):
            names[kind, name] = [name, *(SYNONYMS.get(name, ()) if kind == "genre" else ())]
        for tag, words in (tags or {}).items():
            names["tag", tag] = [tag, *words]
        return cls.of_words(names, dataset.titles())

    @classmethod
    def of_words(cls, names: Mapping[Concept, Sequence[str]], titles: Sequence[str] = ()) -> Self:
        """The words for given concepts, with their plurals.

        Args:
            names: What can be named → the words that do.
            titles: One an item code.
        """
        words: dict[str, list[Concept]] = {}
        phrases: set[str] = set()
        for concept, spellings in names.items():
            for phrase in [form for spelling in spellings for form in _forms(spelling)]:
                phrases.add(phrase)
                if concept not in words.setdefault(normal(phrase), []):
                    words[normal(phrase)].append(concept)
        proper: dict[str, list[int]] = {}
        lesser: dict[str, list[int]] = {}
        for code, title in enumerate(titles):
            first, *others = _names(title)
            proper.setdefault(first, []).append(code)
            for other in others:
                lesser.setdefault(other, []).append(code)
        known = {**lesser, **proper}
        known.pop("", None)
        return cls(
            {phrase: tuple(concepts) for phrase, concepts in words.items()},
            _finder(phrases),
            {name: tuple(codes) for name, codes in known.items()},
            frozenset(shown_title(title) for title in titles),
            max((len(name.split()) for name in known), default=0),
        )


def normal(words: str) -> str:
    """Words without case, punctuation, and "and" or "&"; signs alone stay as they are.

    >>> normal("Dumb & Dumber"), normal("dumb and dumber"), normal("WALL·E"), normal("$")
    ('dumb dumber', 'dumb dumber', 'wall e', '$')
    """
    folded = unicodedata.normalize("NFKC", words).casefold()
    tokens = [token for token in re.findall(r"[^\W_]+", folded) if token != "and"]
    return " ".join(tokens) or folded.strip()


def _forms(word: str) -> list[str]:
    plural = f"{word[:-1]}ies" if re.search("[^aeiou]y$", word) else word + ("es" if word[-1:] in "sx" else "s")
    return [word, plural]


def _finder(phrases: set[str]) -> re.Pattern[str]:
    def spelled(phrase: str) -> str:
        return "".join(r"[\s-]" if sign in " -" else "['’]" if sign == "'" else re.escape(sign) for sign in phrase)

    longest_first = sorted(filter(None, phrases), key=lambda phrase: (-len(phrase), phrase))
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(spelled, longest_first)) or '(?!)'})(?!\w)", re.IGNORECASE)


def _names(title: str) -> list[str]:
    """The normal forms by which a title may be called, the proper one first."""
    shown, natural = shown_title(title), natural_title(title)
    in_brackets = [name.removeprefix("a.k.a. ") for name in re.findall(r"\(([^()]+)\)", natural)]
    others = [natural, *(natural_title(name) for name in in_brackets), shown.split(":")[0]]
    others += [part for part in re.split(": | - ", shown)[1:] if len(normal(part).split()) > 2]
    others += [re.sub("^(The|A|An) ", "", name) for name in (shown, shown.split(":")[0])]
    proper = normal(shown)
    return [proper, *dict.fromkeys(name for name in map(normal, others) if name not in ("", proper))]
