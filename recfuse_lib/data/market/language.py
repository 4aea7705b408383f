"""The words of the simulated shop: titles and descriptions of its products, comments of its shoppers.

A material, an occasion or an opinion has many wordings; some deny what another would say ("not exactly cheap"), some
mislead ("the hours after the office closes" is a party): a language model reads them, a keyword search does not. All
draws are integers of a NumPy generator, so one seed gives the same texts on every platform. Taught in notebook 01.
"""

import functools
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recfuse_lib.data.market.photographs import read_file

Codes = npt.NDArray[np.integer]
Row = list[int]

CATEGORIES = (
    "T-shirt", "Trousers", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
MATERIALS = ("cotton", "leather", "wool", "linen", "denim", "recycled polyester")
OCCASIONS = ("work", "party", "sport", "travel", "leisure", "outdoor")
PRICE_TIERS = ("low", "mid", "high")
BRANDS = (
    "Halven", "Ostrel", "Quimbra", "Tarnoke", "Velmisk", "Brundok", "Iskarel", "Kolvane", "Wexmere", "Dravost",
    "Nimbrough", "Pelluno",
)  # fmt: skip
TAGS = ("looks", "material", "occasion", "price", "brand", "sound", "clip", "kind", "style")

_MANY = 1 << 30


@functools.cache
def phrases() -> dict[str, Any]:
    """Return the wordings: tables indexed first by a code, such as that of a material, a tag or the stars."""
    return dict(json.loads(read_file("phrases.json")))


@functools.cache
def opinions(tag: int, polarity: int) -> list[str]:
    """Return all wordings of an opinion: sayings and subject × verdict, about equally many of each."""
    verdicts = phrases()["liked" if polarity > 0 else "disliked"]
    general = [f"{subject} {verdict}" for subject, verdict in itertools.product(phrases()["subjects"][tag], verdicts)]
    sayings: list[str] = phrases()["sayings"][tag][0 if polarity > 0 else 1]
    return general + sayings * (len(general) // len(sayings))


def titles(generator: np.random.Generator, category: Codes, brand: Codes, material: Codes) -> list[str]:
    """Draw product names from codes of the tuples above, (I,); half name the material, and names may repeat.

    >>> titles(np.random.default_rng(5), np.array([6, 9]), np.array([0, 1]), np.array([3, 1]))
    ['Halven linen shirt', 'Ostrel leather ankle boots']
    """
    series, nouns = phrases()["series"], phrases()["title_nouns"]
    draw = generator.integers(0, 2 * len(series), len(category))
    return [
        f"{BRANDS[b]} {series[s] if s < len(series) else MATERIALS[m]} {nouns[c]}"
        for c, b, m, s in _rows(category, brand, material, draw)
    ]


def descriptions(generator: np.random.Generator, *codes: Codes) -> list[str]:
    """Draw what the shop says of each product: category, material, occasion and price, sometimes brand and looks.

    `codes`: category, brand, material, occasion, price tier, looks (0 none, dark, light, plain, patterned), each (I,).
    """
    said = phrases()
    template = generator.integers(0, len(said["descriptions"]), len(codes[0]))
    draws = generator.integers(0, _MANY, (5, len(codes[0]))).T
    return [
        said["descriptions"][t]
        .format(
            noun=_one(said["nouns"][c], d[0]),
            brand=BRANDS[b],
            material=_one(said["materials"][m], d[1]),
            occasion=_one(said["occasions"][o], d[2]),
            price=_one(said["prices"][p], d[3]),
            visible=_one(said["looks"][v], d[4]),
        )
        .rstrip()
        for c, b, m, o, p, v, t, d in _rows(*codes, template, draws)
    ]


def comments(generator: np.random.Generator, stars: Codes, tags: Codes, polarities: Codes) -> list[str]:
    """Draw what shoppers write: a feeling that fits the stars, each opinion in words of its own, sometimes chatter.

    An opinion has 32 wordings or more, and most general ones ("… could not be better") serve every tag, so a comment
    with two tags has to be read, not searched. `stars` are 1 to 5, (R,); `tags` codes of `TAGS`, −1 for none, (R, K);
    `polarities` +1 where the tag was liked, −1 where it was disliked, (R, K).
    """
    n, width = tags.shape
    layout = generator.integers(0, 6, n)
    draws = generator.integers(0, _MANY, (4, n)).T
    wording, joint = generator.integers(0, _MANY, (2, n, width))
    return [_comment(*row) for row in _rows(stars - 1, layout, draws, tags, polarities, wording, joint)]


def _comment(star: int, layout: int, draws: Row, tags: Row, polarities: Row, wording: Row, joint: Row) -> str:
    """One review: layouts 0 to 2 and 5 open with the feeling, 3 to 5 close with it; odd ones have a filler."""
    said, (opening, closing, chatter, start) = phrases(), draws
    filler = _one(said["happenings"], chatter // len(said["moments"])) + _one(said["moments"], chatter) + "."
    told = _told(start, tags, polarities, wording, joint)
    if not told:
        layout |= 1  # without an opinion, something else has to be said
    parts = [
        _one(said["openings"][star], opening) if layout in (0, 1, 2, 5) else "",
        filler if layout in (1, 3) else "",
        told,
        filler if layout == 5 else "",
        _one(said["closings"][star], closing) if layout >= 3 else "",
    ]
    return " ".join(filter(None, parts))


def _told(start: int, tags: Row, polarities: Row, wording: Row, joint: Row) -> str:
    """The opinions of one review in turn, from `start`; a change of polarity is joined by a contrast."""
    told, before = "", 0
    for step in range(len(tags)):
        position = (start + step) % len(tags)
        if tags[position] >= 0:
            polarity = polarities[position]
            clause = _one(opinions(tags[position], polarity), wording[position])
            link = _one(phrases()["same" if polarity == before else "contrast"], joint[position]) if told else ""
            told += link + (clause if link not in ("", ". ") else clause[0].upper() + clause[1:])
            before = polarity
    return told and told + "."


def _rows(*columns: Any) -> Iterator[tuple[Any, ...]]:
    """Rows of several arrays as Python numbers, which are faster one at a time than NumPy's."""
    return zip(*(column.tolist() for column in columns), strict=True)


def _one(choices: Sequence[str], draw: int) -> str:
    return choices[draw % len(choices)]
