"""The checks of notebook 02, Encode items with a language model."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from course.checks import exercise

LONGEST = 67


@exercise(
    "02.1",
    start="The list `lengths` of section 1 has the number of tokens of each text.",
    right="It is far below the 256 tokens that the encoder reads, so no text of this catalogue is cut.",
)
def longest(answer: int) -> str | None:
    if answer == LONGEST - 2:
        return "[CLS] and [SEP] are tokens too; the encoder reads them."
    if answer > 100:
        return "That many letters, perhaps; a token is a piece of a word."
    if answer < 40:
        return "That is not the longest, or you counted words: take the largest of `lengths`."
    return None if int(answer) == LONGEST else "Take the largest of `lengths`."


@exercise(
    "02.2",
    start="Find the last 1 in each row of the mask: count the zeros behind it in mask[:, ::-1].",
    right="It holds for both sides, so a model that writes and one that only reads can share it.",
)
def last_token(answer: Callable[[Any, Any], Any]) -> str | None:
    states = np.array(
        [
            [[3.0, 4.0], [0.0, 2.0], [9.0, 9.0], [9.0, 9.0]],
            [[8.0, 8.0], [6.0, 8.0], [1.0, 0.0], [-5.0, 12.0]],
            [[1.0, 0.0], [2.0, 1.0], [0.0, 1.0], [-8.0, 6.0]],
        ]
    )
    mask = np.array([[1, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1]])
    found = np.asarray(answer(states, mask))
    if found.shape != (3, 2):
        return f"The result has shape {found.shape}; expected (B, D): one vector a text."
    rows = np.arange(len(states))
    expected = states[rows, [1, 3, 3]]
    if np.allclose(found, expected):
        return "The right states; now divide each by its length, as Equation 2.9 does."
    if np.allclose(_unit(found), _unit(states[:, -1])):
        return "A text that is padded on the right ends before the last place: there you took the state of padding."
    if np.allclose(_unit(found), _unit(states[rows, mask.sum(axis=1) - 1])):
        return (
            "Counting the ones finds the end only if padding is on the right; with it on the left the text ends later."
        )
    if np.allclose(_unit(found), _unit(states[rows, mask.argmax(axis=1)])):
        return "That is the first real token; argmax finds the first 1, so turn the mask round."
    return (
        None if np.allclose(found, _unit(expected)) else f"For one small batch it should be {_unit(expected).tolist()}."
    )


@exercise(
    "02.3",
    start="Take the mean of encodings[is_training], subtract it from all rows, divide each row by its length.",
    right="Held-out items are centred with a mean in which they had no say.",
)
def centre(answer: Callable[[Any, Any], Any]) -> str | None:
    encodings = np.array([[1.0, 0.1], [1.0, -0.3], [0.6, 0.8], [0.0, 1.0]])
    is_training = np.array([True, True, False, False])
    found = np.asarray(answer(encodings, is_training))
    if found.shape != encodings.shape:
        return f"The result has shape {found.shape}; return all {len(encodings)} rows, held-out ones too."
    away = encodings - encodings[is_training].mean(axis=0)
    leaked = encodings - encodings.mean(axis=0)
    if np.allclose(found, away):
        return "Centred well; now divide every row by its length."
    if np.allclose(found, leaked) or np.allclose(found, _unit(leaked)):
        return "The held-out rows took part in the mean: a leak. Use the training rows only."
    if np.allclose(np.linalg.norm(found, axis=1), 1):
        return (
            None if np.allclose(found, _unit(away)) else "The rows have length 1, but another mean was taken from them."
        )
    return "The rows do not have length 1: divide each by its own norm (axis=1, keepdims=True)."


@exercise(
    "02.4",
    start="Two means: of vectors[ratings >= 4] and of vectors[ratings <= 2]; guard both against being empty.",
    right="A small `beta` moves the profile away from what was disliked. "
    "Few ratings are 2 or less, so on MovieLens do not expect much; measure it.",
)
def profile(answer: Callable[[Any, Any, float], Any]) -> str | None:
    vectors = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [-1.0, 0.0], [5.0, 5.0]])
    ratings = np.array([5.0, 4.0, 2.0, 0.5, 3.0])
    found = np.asarray(answer(vectors, ratings, 0.5))
    if found.shape != (2,):
        return f"The result has shape {found.shape}; one history gives one vector (D,)."
    liked, disliked = vectors[:2].mean(axis=0), vectors[2:4].mean(axis=0)
    if np.allclose(found, liked + 0.5 * disliked):
        return "The disliked side is added; it should push away."
    if np.allclose(found, liked):
        return "The disliked side has no effect: films rated 2 or less count with minus beta."
    if np.allclose(found, vectors[:2].sum(axis=0) - 0.5 * vectors[2:4].sum(axis=0)):
        return "Those are sums. Take means, or a person with many ratings on one side drowns the other."
    if np.allclose(found, liked - 0.5 * vectors[2:].mean(axis=0)):
        return "A 3 counts as disliked here; only 2 and less does."
    if not np.allclose(found, liked - 0.5 * disliked):
        return f"For one small history it should be {(liked - 0.5 * disliked).tolist()}."
    only_liked = np.asarray(answer(vectors[:2], ratings[:2], 0.5))
    if np.isnan(only_liked).any():
        return "Somebody who disliked nothing gets NaN: the mean of no rows. Add nothing for an empty side."
    none_liked = np.asarray(answer(vectors[2:4], ratings[2:4], 0.5))
    if np.isnan(none_liked).any():
        return "Somebody who liked nothing gets NaN: the mean of no rows. Add nothing for an empty side."
    fair = np.allclose(only_liked, liked) and np.allclose(none_liked, -0.5 * disliked)
    return None if fair else "With one side empty, the other should count as before."


@exercise(
    "02.5",
    start="Return an f-string with the title, the year when it is known, and the genres in plain words.",
    right="The form is sound. Whether it is better, validation says: compare it with the library's text, paired.",
)
def describe(answer: Callable[[str, Any, str], str]) -> str | None:
    full = answer("Alien", 1979, "Horror|Sci-Fi")
    if not isinstance(full, str):
        return f"It returned {type(full).__name__}; the encoder reads a string."
    bare = answer("Alien", pd.NA, "")
    if "Alien" not in full or "Alien" not in bare:
        return "The title is missing, and it tells the model most."
    if "|" in full:
        return "The bar between genres is no word; write a comma and a space."
    if "<NA>" in bare or "nan" in bare.lower() or "none" in bare.lower():
        return "An unknown year shows as such in the text; leave it out."
    if "()" in bare or bare.rstrip() != bare or "  " in bare or ". ." in bare or ": ." in bare:
        return f"Without year and genres something empty is left behind: {bare!r}."
    if full == bare:
        return "Year and genres make no difference; section 7 shows what they bring."
    if answer("Alien", 1979, "Horror|Sci-Fi") == answer("Alien", 1995, "Horror|Sci-Fi"):
        return "The year is not used; section 7 shows what it brings."
    return None


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))
