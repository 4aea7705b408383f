"""The same text in other words: more training texts, written by a language model and checked before they are used.

A small model invents, so nothing it writes is taken on trust. A variant is kept if it says what must be said, has
other words than the original, and means about the same:  cos(e, e′) ≥ a threshold, with e from a text encoder. Where
none passes, the original stands, and the mask says so. The check has blind spots: a plot that is made up around the
right title passes, and opposites such as "cheap" and "costly" lie close. What is kept must prove its worth on
validation.

Taught in notebook 11.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt

from recfuse_lib.encoders import language_model
from recfuse_lib.encoders.language_model import LanguageModel

Encode = Callable[[list[str]], npt.NDArray[np.float32]]
MustStay = Callable[[str], list[str]]

# A small model follows examples better than orders.
REWRITE = """Text: Alien (1979). Horror, Sci-Fi.
The same in other words: Alien (1979), a frightening film about science and space.

Text: A hat made of straw, for the beach. Cheap.
The same in other words: For little money: a straw hat to wear by the sea.

Text: {}"""
REWRITE_ANSWER = "The same in other words:"
SYNONYMS = """Text: quick
Other words: fast, rapid, swift

Text: angry
Other words: furious, cross, enraged

Text: {}"""
SYNONYMS_ANSWER = "Other words:"
WORD = re.compile(r"[^\W\d_]{4,}")


@dataclass(frozen=True)
class Augmented:
    """Variants of N texts, n each.

    Args:
        texts: N lists of n; the original itself where no variant passed the checks.
        kept: Which are variants, bool (N, n).
    """

    texts: list[list[str]]
    kept: npt.NDArray[np.bool_]


def title_and_year(text: str) -> list[str]:
    """What a text about a film must go on saying: "Heat (1995). Crime." names Heat and 1995; other texts name nothing.

    Example:
        >>> title_and_year("2001: A Space Odyssey (1968). Sci-Fi."), title_and_year("A coat of 100 % wool.")
        (['2001: A Space Odyssey', '1968'], [])
    """
    found = re.match(r"(.+?) \((\d{4})\)", text)
    return list(found.groups()) if found else []


def rewritten(
    texts: Sequence[str], model: LanguageModel, encode: Encode, *, n: int = 1, least_cosine: float = 0.7,
    must_stay: MustStay = title_and_year, temperature: float = 0.7, seed: int = 0,
) -> Augmented:  # fmt: skip
    """Whole texts in the model's words.

    Args:
        texts: N texts.
        model: Writes the variants; each is cached on disk.
        encode: Texts → (N, D), such as `TextEncoder.encode`.
        n: Variants a text; no two are the same.
        least_cosine: Of the encodings of a variant and its original.
        must_stay: Text → the parts that a variant must hold: titles, brands.
        temperature: Higher gives more different variants, of which fewer pass.
        seed: Of the draws.
    """
    _several(texts)
    prompts = [REWRITE.format(text) for text in texts]
    draws = [
        language_model.generate_texts(
            prompts, model, max_tokens=64, stop="\n", temperature=temperature, seed=seed + draw, answer=REWRITE_ANSWER
        )
        for draw in range(n)
    ]
    variants = [[draw[row].strip() for draw in draws] for row in range(len(texts))]
    return _checked(texts, variants, encode, least_cosine, must_stay)


def synonyms(
    texts: Sequence[str], model: LanguageModel, encode: Encode, *, n: int = 1, least_cosine: float = 0.7,
    least_word_cosine: float = 0.5, must_stay: MustStay = title_and_year, share: float = 0.5, seed: int = 0,
) -> Augmented:  # fmt: skip
    """Texts in which some words stand for others. The model is asked once a word, not once a text.

    Args:
        texts, encode, n, least_cosine, must_stay, seed: As for `rewritten`.
        model: Lists synonyms of a word, greedily; the nearest that passes is taken. Its lists are cached on disk.
        share: Of the words that have a synonym, how many are replaced, on average; at least one is.
        least_word_cosine: Of the encodings of a word and its synonym; a word alone says less, so they differ more.
    """
    _several(texts)
    draw = Random(seed)
    places = [_free_words(text, must_stay(text)) for text in texts]
    lexicon = _lexicon({place.group().lower() for found in places for place in found}, model, encode, least_word_cosine)
    variants = []
    for text, found in zip(texts, places, strict=True):
        known = [place for place in found if place.group().lower() in lexicon]
        chosen = [
            [place for place in known if draw.random() < share] or draw.sample(known, min(1, len(known)))
            for _ in range(n)
        ]
        variants.append([_replaced(text, some, lexicon) for some in chosen])
    return _checked(texts, variants, encode, least_cosine, must_stay)


def _several(texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise TypeError("expected a list of texts, got one string")


def _free_words(text: str, fixed: Sequence[str]) -> list[re.Match[str]]:
    """The words of content outside the parts that must stay."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    spans = [found.span() for part in fixed for found in re.finditer(re.escape(part), text, re.IGNORECASE)]
    words = [word for word in WORD.finditer(text) if word.group().lower() not in ENGLISH_STOP_WORDS]
    return [word for word in words if all(word.end() <= start or stop <= word.start() for start, stop in spans)]


def _replaced(text: str, places: Sequence[re.Match[str]], lexicon: Mapping[str, str]) -> str:
    for place in reversed(places):
        other = lexicon[place.group().lower()]
        other = other.capitalize() if place.group()[0].isupper() else other
        text = text[: place.start()] + other + text[place.end() :]
    return text


def _lexicon(words: set[str], model: LanguageModel, encode: Encode, least_cosine: float) -> dict[str, str]:
    """Words → the nearest of the words that the model names, if it is another one and near enough."""
    ordered = sorted(words)
    prompts = [SYNONYMS.format(word) for word in ordered]
    answers = language_model.generate_texts(
        prompts, model, max_tokens=16, stop="\n", temperature=0.0, seed=0, answer=SYNONYMS_ANSWER
    )
    named = [(word, name) for word, answer in zip(ordered, answers, strict=True) for name in _names(word, answer)]
    cosines = _cosines([word for word, _ in named], [name for _, name in named], encode)
    near = sorted((cosine, word, name) for cosine, (word, name) in zip(cosines, named, strict=True))
    return {word: name for cosine, word, name in near if cosine >= least_cosine}


def _names(word: str, answer: str) -> list[str]:
    """The single words of a list with commas, without other forms of the word itself: "child" for "children"."""
    names = [name.strip(" .").lower() for name in answer.split(",")]
    return [name for name in names if WORD.fullmatch(name) and not (name.startswith(word) or word.startswith(name))]


def _checked(
    texts: Sequence[str], variants: list[list[str]], encode: Encode, least_cosine: float, must_stay: MustStay
) -> Augmented:
    """What passes, and the original where it does not."""
    kept = np.zeros((len(texts), max(map(len, variants), default=0)), bool)
    for row, text in enumerate(texts):
        seen = [_words(text)]
        parts = [_words(part) for part in must_stay(text)]
        for column, variant in enumerate(variants[row]):
            words = _words(variant)
            # A piece of the original says less and nothing in other words.
            new = bool(words) and not any(f" {words} " in f" {other} " for other in seen)
            kept[row, column] = new and all(f" {part} " in f" {words} " for part in parts)
            seen.append(words)
    pairs = [(int(row), variants[row][column]) for row, column in zip(*np.nonzero(kept), strict=True)]
    kept[kept] = _cosines([texts[row] for row, _ in pairs], [variant for _, variant in pairs], encode) >= least_cosine
    chosen = [
        [variant if passes else text for variant, passes in zip(written, mask, strict=True)]
        for text, written, mask in zip(texts, variants, kept, strict=True)
    ]
    return Augmented(chosen, kept)


def _words(text: str) -> str:
    """A text without marks and capitals."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def _cosines(texts: list[str], others: list[str], encode: Encode) -> npt.NDArray[np.float64]:
    if not texts:
        return np.zeros(0)
    left, right = (np.asarray(encode(side), np.float64) for side in (texts, others))
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return np.asarray((left * right).sum(axis=1) / np.where(lengths > 0, lengths, 1), np.float64)
