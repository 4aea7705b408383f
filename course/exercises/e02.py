"""The checks of notebook 02, Encode items with a language model."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from course.checks import exercise

PIECES = ["un", "una", "##able", "##ab", "##le"]


@exercise(
    "02.1",
    start="Start at the left, and read again which of the pieces that fit WordPiece takes. What is left of the word "
    "then?",
    right="`una` is longer than `un`, no piece fits the rest, and WordPiece never goes back, though `un` and `##able` "
    "would have done. MiniLM's vocabulary holds every letter by itself, so there it hardly ever happens.",
)
def cut(answer: Any) -> str | None:
    if isinstance(answer, str):
        return "WordPiece gives a list of pieces, even where it is a list of one."
    given = list(answer)
    if given == ["un", "##able"]:
        return "So a reader would cut it. WordPiece compares the pieces that fit at the start: is `un` the longest?"
    if missing := [piece for piece in given if piece not in [*PIECES, "[UNK]"]]:
        return f"{missing[0]!r} is not in the vocabulary; only five pieces are."
    if given == ["una", "[UNK]"]:
        return "What becomes of a word of which a part cannot be spelt? Section 1 says it just before the code."
    if given[:1] == ["una"]:
        return "The first piece is right. The rest is `ble`: which piece is exactly its beginning?"
    return (
        None if given == ["[UNK]"] else "Which of the five pieces does the word begin with? Take the longest of them."
    )


@exercise(
    "02.2",
    start="Write down the mask of one short text, once padded on the right and once on the left. What do the "
    "positions of its last real token have in common?",
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
        return f"The result has shape {found.shape}; expected (B, D): one vector per text."
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
    start="Draw a cloud of points in the plane that is wider in one direction than in the other. What is left of a "
    "point when that direction is taken away?",
    right="k = 0 is centring, and held-out films have no say in mean or directions. Which k is best on cold "
    "validation? The solution says what we found.",
)
def without_widest(answer: Callable[[Any, Any, int], Any]) -> str | None:
    generator = np.random.default_rng(0)
    wide = generator.normal(size=(40, 5)) * [4.0, 2.0, 1.0, 0.5, 0.2] + [3.0, -1.0, 0.0, 0.5, 1.0]
    encodings = wide @ np.linalg.qr(generator.normal(size=(5, 5)))[0]
    is_training = np.arange(40) < 30
    found = np.asarray(answer(encodings, is_training, 2))
    if found.shape != encodings.shape:
        return f"The result has shape {found.shape}; return all {len(encodings)} rows, held-out ones too, 5 wide."
    if np.allclose(found, _trimmed(encodings, encodings, [0, 1])):
        return "The held-out rows took part in mean and directions: a leak. Use the training rows only."
    if np.allclose(found, _trimmed(encodings, encodings[is_training], [3, 4])):
        return "Those are the narrowest directions: eigh sorts the eigenvalues upwards."
    right = _trimmed(encodings, encodings[is_training], [0, 1])
    if np.allclose(_unit(found), right) and not np.allclose(found, right):
        return "The right directions are gone; now divide every row by its length."
    if np.allclose(found, _unit(encodings - encodings[is_training].mean(axis=0))):
        return "That is centring alone; two directions are still to go."
    if not np.allclose(found, right):
        return "Test it on two dimensions and k = 1: what is left must stand at right angles to what was taken away."
    centred = np.asarray(answer(encodings, is_training, 0))
    same = centred.shape == encodings.shape and np.allclose(centred, _trimmed(encodings, encodings[is_training], []))
    return None if same else "With k = 0 no direction goes: the result is that of centring. A slice [-0:] takes all."


@exercise(
    "02.4",
    start="Which ratings belong to which of the two sides, and which to neither? And what is the mean of no rows?",
    right="A small `beta` moves the profile away from what was disliked. Does it help on cold validation? The "
    "solution says what we found.",
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
    start="Say it aloud, as you would tell a friend about the film. What do you say when you do not know the year?",
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


def _trimmed(encodings: np.ndarray, training: np.ndarray, ranks: list[int]) -> np.ndarray:
    """Rows of length 1, centred, without the directions of these ranks; rank 0 is the widest."""
    away = encodings - training.mean(axis=0)
    directions = np.linalg.eigh(np.cov(training.T))[1][:, ::-1][:, ranks]
    return _unit(away - away @ directions @ directions.T)
