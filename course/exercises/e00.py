"""The checks of notebook 00."""

from collections.abc import Callable
from typing import Any

import numpy as np

from course.checks import exercise


@exercise(
    "00.1",
    start="Two lists of different lengths share two items. What would the share be if you swapped the lists?",
    right="The share says how personal a list is: close to 1 against the popular films means hardly at all.",
)
def overlap(answer: Callable[[Any, Any], Any]) -> str | None:
    share = answer([1, 2, 3, 4], [4, 3, 9])
    if share == 2:
        return "That is a count. Divide it by the number of items in the first list."
    if np.isclose(share, 2 / 3):
        return "Divide by the length of the first list, not of the second."
    return None if np.isclose(share, 0.5) else "Of [1, 2, 3, 4], two are in [4, 3, 9]: the share is a half."


@exercise(
    "00.2",
    start="A cosine lies below one, a count of people may be in the hundreds. What becomes of the sum if they are "
    "added as they are?",
    right="Taking popularity away is the simplest of many ways to surprise; lesson 10 measures what it costs.",
)
def mix(answer: Callable[..., Any]) -> str | None:
    generator = np.random.default_rng(0)
    meaning, taste, popularity = generator.normal(3, 2, 9), generator.normal(-1, 5, 9), generator.gamma(1, 40, 9)
    given = np.asarray(answer(meaning, taste, popularity, 0.7), dtype=float)
    standard = [(values - values.mean()) / values.std() for values in (meaning, taste, popularity)]
    mixed = 0.7 * standard[0] + 0.3 * standard[1]
    if np.allclose(given, 0.7 * meaning + 0.3 * taste - popularity):
        return "The three are on different scales: popularity counts people. Standardise each before you mix."
    if np.allclose(given, mixed + standard[2]):
        return "That adds popularity. To surprise, take it away."
    if np.allclose(given, mixed - popularity):
        return "Popularity is not standardised yet, and its counts drown the rest."
    if np.allclose(given, 0.3 * standard[0] + 0.7 * standard[1] - standard[2]):
        return "The weight belongs to the meaning; taste gets one minus it."
    right = mixed - standard[2]
    return None if np.allclose(given, right) else "Check: weight · meaning + (1 − weight) · taste − popularity."


@exercise(
    "00.3",
    start="W was learned from the encodings of known films. What had been done to these, and in which order?",
    right="That is how a film gets its place before anybody has rated it.",
)
def place_new_item(answer: Callable[..., Any]) -> str | None:
    generator = np.random.default_rng(1)
    encoding, mean, kernel = generator.normal(size=5), generator.normal(size=5), generator.normal(size=(5, 3))
    given = np.asarray(answer(encoding, mean, kernel), dtype=float)
    centred = encoding - mean
    if given.shape != (3,):
        return f"The vector must have the width of the kernel's columns, 3 here; yours has shape {given.shape}."
    if np.allclose(given, encoding @ kernel):
        return "The encoding is still raw: take the mean away first, as the other films had it taken away."
    if np.allclose(given, centred @ kernel):
        return "Centring changes the length. Divide by it before you multiply."
    if np.allclose(given, encoding / np.linalg.norm(encoding) @ kernel):
        return "The length is right, but the mean is still in it."
    right = centred / np.linalg.norm(centred) @ kernel
    return None if np.allclose(given, right) else "Check the order: centre, bring to length 1, multiply with W."
