"""The words of the simulated shop: titles and descriptions of its products, comments of its shoppers.

Nothing here is a lookup the other way round: a material, an occasion or an opinion has many wordings, some deny what
another would say ("not exactly cheap"), and some words mislead ("the hours after the office closes" is a party). A
language model reads them; a search for one keyword does not. All choices are whole numbers drawn from a NumPy
generator, so that one seed gives the same texts on every platform.

Taught in notebook 01.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from recfuse_lib.data.market import phrases

Codes = npt.NDArray[np.integer]

CATEGORIES = (
    "T-shirt", "Trousers", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
MATERIALS = ("cotton", "leather", "wool", "linen", "denim", "recycled polyester")
OCCASIONS = ("work", "party", "sport", "travel", "leisure", "outdoor")
PRICE_TIERS = ("low", "mid", "high")
VISIBLE = ("nothing", "dark", "light", "plain", "patterned")
BRANDS = (
    "Halven", "Ostrel", "Quimbra", "Tarnoke", "Velmisk", "Brundok", "Iskarel", "Kolvane", "Wexmere", "Dravost",
    "Nimbrough", "Pelluno",
)  # fmt: skip
TAGS = ("looks", "material", "occasion", "price", "brand", "sound", "clip", "kind", "style")
STARS = (1, 5)

_MANY = 1 << 30


def _phrases(tag: int, liked: bool) -> list[str]:
    """All wordings of an opinion: sayings, and subject × predicate, about as many of the one as of the other."""
    verdicts = phrases.LIKED if liked else phrases.DISLIKED
    general = [f"{subject} {verdict}" for subject, verdict in itertools.product(phrases.SUBJECTS[tag], verdicts)]
    sayings = phrases.SAYINGS[tag][0 if liked else 1]
    return general + list(sayings) * (len(general) // len(sayings))


_OPINIONS = tuple({1: _phrases(tag, True), -1: _phrases(tag, False)} for tag in range(len(TAGS)))


def titles(generator: np.random.Generator, category: Codes, brand: Codes, material: Codes) -> list[str]:
    """Names of products, such as "Halven linen shirt" or "Halven Opal shirt"; two products may share one.

    Half of the titles name the material.

    Args:
        generator: Where the choices come from.
        category: Codes of `CATEGORIES`, (I,).
        brand: Codes of `BRANDS`, (I,).
        material: Codes of `MATERIALS`, (I,).

    Returns:
        I titles.

    Raises:
        ValueError: Arrays of different lengths, or a code that does not exist.

    Example:
        >>> titles(np.random.default_rng(5), np.array([6, 9]), np.array([0, 1]), np.array([3, 1]))
        ['Halven linen shirt', 'Ostrel leather ankle boots']
    """
    codes = _checked(
        category=(category, len(CATEGORIES)), brand=(brand, len(BRANDS)), material=(material, len(MATERIALS))
    )
    series = generator.integers(0, 2 * len(phrases.SERIES), len(category)).tolist()
    return [
        f"{BRANDS[b]} {phrases.SERIES[s] if s < len(phrases.SERIES) else MATERIALS[m]} {phrases.TITLE_NOUNS[c]}"
        for c, b, m, s in zip(*codes, series, strict=True)
    ]


def descriptions(
    generator: np.random.Generator,
    category: Codes,
    brand: Codes,
    material: Codes,
    occasion: Codes,
    price_tier: Codes,
    visible: Codes,
) -> list[str]:
    """What the shop says of its products: category, material, occasion and price, now and then the brand and a look.

    Args:
        generator: Where the choices come from.
        category: Codes of `CATEGORIES`, (I,).
        brand: Codes of `BRANDS`, (I,).
        material: Codes of `MATERIALS`, (I,).
        occasion: Codes of `OCCASIONS`, (I,).
        price_tier: Codes of `PRICE_TIERS`, (I,).
        visible: Codes of `VISIBLE`, (I,); 0 says nothing about the look.

    Returns:
        I descriptions of one to three sentences.

    Raises:
        ValueError: Arrays of different lengths, or a code that does not exist.

    Example:
        >>> code = np.array([3])
        >>> descriptions(np.random.default_rng(0), code, code, code, code, np.array([2]), np.array([0]))
        ['...']
    """
    codes = _checked(
        category=(category, len(CATEGORIES)),
        brand=(brand, len(BRANDS)),
        material=(material, len(MATERIALS)),
        occasion=(occasion, len(OCCASIONS)),
        price_tier=(price_tier, len(PRICE_TIERS)),
        visible=(visible, len(VISIBLE)),
    )
    template = generator.integers(0, len(phrases.DESCRIPTIONS), len(category)).tolist()
    draws = generator.integers(0, _MANY, (5, len(category))).tolist()
    return [
        phrases.DESCRIPTIONS[t]
        .format(
            noun=_one(phrases.NOUNS[c], d0),
            brand=BRANDS[b],
            material=_one(phrases.OF_MATERIAL[m], d1),
            occasion=_one(phrases.FOR_OCCASION[o], d2),
            price=_one(phrases.PRICE[p], d3),
            visible=_one(phrases.VISIBLE_PHRASES[v], d4),
        )
        .rstrip()
        for c, b, m, o, p, v, t, d0, d1, d2, d3, d4 in zip(*codes, template, *draws, strict=True)
    ]


def comments(generator: np.random.Generator, rating: Codes, tags: Codes, polarities: Codes) -> list[str]:
    """What shoppers write: a feeling that fits the stars, each given opinion in words of its own, sometimes chatter.

    An opinion has 32 wordings or more; most of the general ones ("… could not be better") serve every tag, so that a
    comment with two tags has to be read, not searched. What is true stays with the caller: `tags` and `polarities`.

    Args:
        generator: Where the choices come from.
        rating: Whole stars, 1 to 5, (R,).
        tags: Codes of `TAGS`, K = 3 a review at most by custom, −1 for none, (R, K).
        polarities: +1 where the tag was liked, −1 where it was disliked; any value where the tag is −1, same shape.

    Returns:
        R comments.

    Raises:
        ValueError: Shapes that do not agree, stars, tags or polarities that do not exist.

    Example:
        >>> tags, polarities = np.array([[3, 1]]), np.array([[-1, 1]])
        >>> comments(np.random.default_rng(1), np.array([4]), tags, polarities)
        ['...']
    """
    rating, tags, polarities = np.asarray(rating), np.asarray(tags), np.asarray(polarities)
    if tags.ndim != 2 or tags.shape != polarities.shape or rating.shape != tags.shape[:1]:
        raise ValueError(
            f"expected rating (R,) with tags and polarities (R, K), got {rating.shape}, {tags.shape} and "
            f"{polarities.shape}"
        )
    (stars,) = _checked(rating=(rating - STARS[0], STARS[1]))
    _checked(tags=(tags.ravel() + 1, len(TAGS) + 1))
    if not np.isin(polarities[tags >= 0], (-1, 1)).all():
        raise ValueError("a polarity is +1 (liked) or -1 (disliked)")
    n, width = tags.shape
    layout = generator.integers(0, 6, n)
    pieces = generator.integers(0, _MANY, (4, n))
    wording, joint = generator.integers(0, _MANY, (2, n, width))
    columns: list[list[Any]] = [a.tolist() for a in (layout, *pieces, tags, polarities, wording, joint)]
    return [_comment(*review) for review in zip(stars, *columns, strict=True)]


def _comment(
    star: int,
    layout: int,
    opening: int,
    closing: int,
    filler: int,
    start: int,
    tags: list[int],
    polarities: list[int],
    wording: list[int],
    joint: list[int],
) -> str:
    """One review. Layouts 0 to 2 and 5 open with the feeling, 3 to 5 close with it; odd ones have a filler."""
    opinions = _opinions(start, tags, polarities, wording, joint)
    if not opinions:
        layout |= 1  # without an opinion, something else has to be told
    parts = [_one(phrases.OPENINGS[star], opening)] if layout in (0, 1, 2, 5) else []
    if layout in (1, 3):
        parts.append(_one(phrases.FILLERS, filler))
    if opinions:
        parts.append(opinions)
    if layout == 5:
        parts.append(_one(phrases.FILLERS, filler))
    if layout >= 3:
        parts.append(_one(phrases.CLOSINGS[star], closing))
    return " ".join(parts)


def _opinions(start: int, tags: list[int], polarities: list[int], wording: list[int], joint: list[int]) -> str:
    """The opinions of one review from the one at `start` round; a change of polarity is joined by a contrast."""
    said, before = "", 0
    for step in range(len(tags)):
        place = (start + step) % len(tags)
        if tags[place] < 0:
            continue
        clause, polarity = _one(_OPINIONS[tags[place]][polarities[place]], wording[place]), polarities[place]
        link = _one(phrases.SAME if polarity == before else phrases.CONTRAST, joint[place]) if said else ""
        said += link + (clause if link not in ("", ". ") else clause[0].upper() + clause[1:])
        before = polarity
    return said and said + "."


def _one(choices: tuple[str, ...] | list[str], draw: int) -> str:
    return choices[draw % len(choices)]


def _checked(**codes: tuple[Codes, int]) -> list[list[int]]:
    """The code arrays as lists, once each is known to fit its vocabulary."""
    lengths = {name: len(array) for name, (array, _) in codes.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"one code a text is needed in every array, got {lengths}")
    for name, (array, size) in codes.items():
        if len(array) and not (array.min() >= 0 and array.max() < size):
            raise ValueError(f"{name}: codes reach from {array.min()} to {array.max()}, expected 0 to {size - 1}")
    return [np.asarray(array).tolist() for array, _ in codes.values()]
