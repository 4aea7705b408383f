"""The checks of notebook 13, Learn without labels."""

from collections.abc import Callable
from typing import Any

import numpy as np

from course.checks import exercise


@exercise(
    "13.1",
    start="Write the shares of all three answers down first. Which of them does plain entropy leave out?",
    right="'Don't know' is an answer, and the most frequent one: of a film that nobody knows the entropy is 0.",
)
def entropy0(answer: float) -> str | None:
    share = np.array([0.3, 0.1, 0.6])
    right = -(share * np.log2(share)).sum()
    if abs(answer - 0.811) < 0.002:
        return "That is the entropy among those who know the film; the others are a third class."
    if abs(answer + (share * np.log(share)).sum()) < 0.002:
        return "That is in nats; take logarithms to base 2."
    return None if abs(answer - right) < 0.0006 else "Sum −p log₂ p over the shares of the three answers."


@exercise(
    "13.2",
    start="Take two questions with three answers each, and compute by hand what each is worth on average.",
    right="A question is worth what its answers are worth, each as often as it is given.",
)
def next_question(answer: Callable[[Any, Any, Any], int]) -> str | None:
    worth = np.array([[9.0, 0.0, 0.0], [4.0, 4.0, 2.0], [2.0, 2.0, 4.0], [2.0, 2.0, 2.0]])
    chance = np.array([[0.1, 0.1, 0.8], [0.1, 0.1, 0.8], [0.1, 0.1, 0.8], [0.3, 0.3, 0.4]])
    given = worth.copy()
    first = int(answer(given, chance.copy(), []))
    if not np.array_equal(given, worth):
        return "Your function changes the table that it was given; work on a copy."
    if first == 0:
        return "Question 0 is worth most if they like the film, but nine of ten do not say so: weigh by the chances."
    if first == 1:
        return "Question 1 has the largest plain mean of its answers; weigh each answer by its chance."
    if first != 2:
        return f"For the small case it chooses {first}; expected 2, worth 3.6 on average."
    second = int(answer(worth.copy(), chance.copy(), [2]))
    if second == 2:
        return "It asks question 2 again; leave out what was asked."
    return None if second == 1 else f"After question 2 it chooses {second}; expected 1."


@exercise(
    "13.3",
    start="Draw four films of one person: rated or not, liked or not, in the half or not. What may be said of each?",
    right="An answer may use what the person could say today, never what is to be found.",
)
def honest(answer: Callable[[Any, Any, Any], Any]) -> str | None:
    rated = np.array([[1, 1, 1, 1, 0, 0]], bool)
    liked = np.array([[1, 0, 1, 0, 0, 0]], bool)
    half = np.array([[1, 1, 0, 0, 1, 0]], bool)
    found = np.asarray(answer(rated, liked, half))
    if found.shape != rated.shape:
        return f"The result has shape {found.shape}; expected one answer for each person and film, {rated.shape}."
    if found.tolist() == [[0, 1, 0, 1, 2, 2]]:
        return "Films 2 and 3 lie in the other half: an answer about them gives away what is to be found."
    if found[0, 4] == 1:
        return "Nobody rated film 4, so there is nothing to say about it, though it lies in the half."
    if found.tolist() == [[0, 2, 2, 2, 2, 2]]:
        return "Film 1 was rated and not liked: that is an answer of its own."
    return None if found.tolist() == [[0, 1, 2, 2, 2, 2]] else "Expected [[0, 1, 2, 2, 2, 2]] for the small case."


@exercise(
    "13.4",
    start="With two histories and two views each, which of the four cosines should be large?",
    right="Each view must pick its partner out of the batch; that is a classification whose labels come for free.",
)
def contrast(answer: Callable[[Any, Any, float], float]) -> str | None:
    generator = np.random.default_rng(0)
    one, two = generator.normal(size=(2, 5, 3))

    def loss(one: np.ndarray, two: np.ndarray, temperature: float) -> tuple[float, float]:
        a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (one, two))
        alike = a @ b.T / temperature
        rows, columns = (float(np.mean(np.log(np.exp(x).sum(axis=1)) - np.diag(x))) for x in (alike, alike.T))
        return rows, columns

    found, right = float(answer(one.copy(), two.copy(), 0.5)), loss(one, two, 0.5)
    if np.isclose(found, np.mean(right)):
        return None if np.isfinite(answer(one, two, 0.001)) else "At a temperature of 0.001 it overflows."
    if any(np.isclose(found, side) for side in right):
        return "That is one direction; the second view must find the first one too: take the mean of both."
    if np.isclose(found, np.mean(loss(one, two, 1.0))):
        return "The temperature has no effect: divide the cosines by it."
    if np.isclose(found, 5 * np.mean(right)):
        return "That is the sum over the batch; take the mean."
    return "Make all vectors of length 1, then take the cross-entropy of each row of cosines / temperature."


@exercise(
    "13.5",
    start="Take the pairs from the surest down, and keep a count for each film.",
    right="A cap per film bounds by how much one round can raise what is popular already.",
)
def capped(answer: Callable[[Any, Any, int, int], Any]) -> str | None:
    scores = np.array([[0.9, 0.5, 0.1], [0.8, 0.4, 0.3], [0.7, 0.6, 0.2]])
    known = np.zeros((3, 3), bool)
    known[0, 0] = True
    pairs = [(int(row), int(item)) for row, item in zip(*answer(scores.copy(), known.copy(), 3, 1), strict=True)]
    if any(known[pair] for pair in pairs):
        return "It guesses what is known already."
    if sorted(pairs) == [(1, 0), (2, 0), (2, 1)]:
        return "Film 0 comes twice; at most one guess a film was allowed."
    if len(pairs) != 3:
        return f"It gives {len(pairs)} pairs; asked for were 3."
    if sorted(pairs) != [(1, 0), (1, 2), (2, 1)]:
        return f"It gives {sorted(pairs)}; the surest allowed ones are (1, 0), (2, 1) and (1, 2)."
    few = list(zip(*answer(scores.copy(), known.copy(), 9, 1), strict=True))
    return None if len(few) == 3 else "Where the cap leaves fewer pairs than asked for, give those."
