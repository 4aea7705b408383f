"""The products of the simulated shop: what its customers see of them, and what is true of them.
Taught in notebook 01.
"""

import dataclasses
import itertools

import numpy as np
import pandas as pd

from recfuse_lib.data.market import language, photographs

FEATURES = {
    "collaborative": 8,
    "category": len(language.CATEGORIES),
    "words": len(language.MATERIALS) + len(language.OCCASIONS),
    "brand": len(language.BRANDS),
    "price": 1,
    "visual": len(photographs.VISUAL),
    "sound": 2,
    "motion": 2,
}
"""Dimension of taste → how many numbers describe a product in it."""

SLICES = {
    name: slice(end - width, end)
    for (name, width), end in zip(FEATURES.items(), itertools.accumulate(FEATURES.values()), strict=True)
}
SLICES["material"] = slice(SLICES["words"].start, SLICES["words"].start + len(language.MATERIALS))
SLICES["occasion"] = slice(SLICES["material"].stop, SLICES["words"].stop)
WIDTH = sum(FEATURES.values())

NEW_SHARE = 0.1
SAID_OF_LOOKS = 1 / 3
CENTRAL_PRICE = (15.0, 45.0, 40.0, 60.0, 110.0, 45.0, 35.0, 75.0, 55.0, 120.0)
"""Euro, by category."""


@dataclasses.dataclass(frozen=True)
class Products:
    """What is true of every product, by item code; the catalogue and the files show some of it."""

    pixels: np.ndarray  # the photograph, uint8 (I, 28, 28)
    category: np.ndarray  # code of `language.CATEGORIES`, (I,); the next three are codes too
    brand: np.ndarray
    material: np.ndarray
    occasion: np.ndarray
    price: np.ndarray  # euro, (I,)
    mood: np.ndarray  # valence and arousal of the jingle, each in −1.73…1.73, (I, 2)
    motion: np.ndarray  # speed and sway of the clip, each in −1.73…1.73, (I, 2)
    features: np.ndarray  # all of it as numbers with about variance 1, in the columns of `SLICES`, (I, `WIDTH`)
    quality: np.ndarray  # what makes everybody happier with it, (I,)
    hype: np.ndarray  # what makes everybody click on it without being happier, (I,)
    prominence: np.ndarray  # how much more often the shop shows it than others of its category, (I,)
    new: np.ndarray  # whether it arrives when the log ends, so that nobody has seen it, (I,)

    def __len__(self) -> int:
        return len(self.category)


def make(seed: int, n_products: int) -> tuple[Products, pd.DataFrame]:
    """Make the products of a market, and the catalogue that its customers see, without its column `launched`."""
    generator = np.random.default_rng([seed, 1])
    real, kind = photographs.load()
    order = np.concatenate([generator.permutation(len(real)) for _ in range(-(-n_products // len(real)))])[:n_products]
    pixels, category = real[order], kind[order]
    for start in range(len(real), n_products, len(real)):
        # A bigger shop sells them again in other shades: a table of integers by exact arithmetic, the same everywhere.
        level, strength = np.arange(256), int(generator.integers(-100, 101))
        shade = (level + level * (255 - level) * strength // 25_500).astype("uint8")
        pixels[start : start + len(real)] = shade[pixels[start : start + len(real)]]
    visual = photographs.visual_properties(pixels, category)
    brand, material, occasion = (
        generator.integers(len(names), size=n_products)
        for names in (language.BRANDS, language.MATERIALS, language.OCCASIONS)
    )
    brand_level = generator.normal(0.0, 0.25, len(language.BRANDS))
    markup = brand_level[brand] + generator.normal(0.0, 0.35, n_products)
    price = np.round(np.array(CENTRAL_PRICE)[category] * np.exp(markup), 2)
    dear = (markup - markup.mean()) / markup.std()
    mood, motion = generator.uniform(-np.sqrt(3), np.sqrt(3), size=(2, n_products, 2))
    parts = [
        generator.normal(size=(n_products, FEATURES["collaborative"])),
        # One column a value: a taste of standard normal numbers gives a utility of variance 1.
        np.eye(FEATURES["category"])[category],
        np.eye(len(language.MATERIALS))[material],
        np.eye(len(language.OCCASIONS))[occasion],
        np.eye(FEATURES["brand"])[brand],
        dear[:, None],
        visual,
        mood,
        motion,
    ]
    products = Products(
        pixels=pixels,
        category=category,
        brand=brand,
        material=material,
        occasion=occasion,
        price=price,
        mood=mood,
        motion=motion,
        features=np.concatenate(parts, axis=1),
        quality=generator.normal(size=n_products),
        hype=generator.normal(size=n_products),
        prominence=np.exp(generator.normal(0.0, 0.7, n_products)),
        new=generator.permutation(n_products) < round(NEW_SHARE * n_products),
    )
    tier = np.searchsorted([-0.5, 0.5], dear)
    looks = _looks_that_are_told(visual, generator)
    catalogue = pd.DataFrame(
        {
            "item_id": np.arange(1, n_products + 1, dtype="int32"),
            "title": language.titles(generator, category, brand, material),
            "year": pd.array([pd.NA] * n_products, dtype="Int64"),
            "genres": np.array(language.CATEGORIES)[category],
            "brand": np.array(language.BRANDS)[brand],
            "price": price,
            "description": language.descriptions(generator, category, brand, material, occasion, tier, looks),
        }
    ).astype({"title": "str", "genres": "str", "brand": "str", "description": "str"})
    return products, catalogue


def _looks_that_are_told(visual: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The one look that some descriptions mention: 0 none, 1 dark, 2 light, 3 plain, 4 patterned."""
    tone = np.select([visual[:, 0] < -0.4, visual[:, 0] > 0.4], [1, 2], 0)
    pattern = np.select([visual[:, 1] < -0.4, visual[:, 1] > 0.4], [3, 4], 0)
    told = np.where(generator.random(len(visual)) < 0.5, tone, pattern)
    return np.where(generator.random(len(visual)) < SAID_OF_LOOKS, told, 0)
