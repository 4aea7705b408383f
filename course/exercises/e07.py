"""The checks of notebook 07, Fuse many dimensions of interest."""

from collections.abc import Callable
from typing import Any

import numpy as np

from course.checks import exercise


@exercise(
    "07.1",
    start="Take the rows (1, 2, 3, 6) and (5, 5, 5, 5): what should come out of each? Write that down first.",
    right="Every dimension now speaks in the same unit, whatever it counted before.",
)
def standardise(answer: Callable[[Any], Any]) -> str | None:
    scores = np.array([[1.0, 2.0, 3.0, 6.0], [5.0, 5.0, 5.0, 5.0], [-10.0, 0.0, 10.0, 20.0]])
    found = np.asarray(answer(scores.copy()))
    if found.shape != scores.shape:
        return f"The result has shape {found.shape}; expected {scores.shape}: every score stays where it is."
    if not np.isfinite(found).all():
        return "A row of equal scores is divided by zero; it should become zeros."
    away = scores - scores.mean(axis=1, keepdims=True)
    spread = away.std(axis=1, keepdims=True)
    if np.allclose(found, (scores - scores.mean()) / scores.std()):
        return "That is one mean for everybody; each row is a query of its own."
    if np.allclose(found, away):
        return "Centred well; now divide each row by its standard deviation."
    right = np.where(spread > 0, away / np.where(spread > 0, spread, 1), 0)
    return None if np.allclose(found, right) else f"The first row should be {right[0].round(3).tolist()}."


@exercise(
    "07.2",
    start="Give two films parts from three dimensions, and say by hand which film is first without each of them.",
    right="A counterfactual explanation: without this dimension something else would have been recommended.",
)
def decisive(answer: Callable[[Any], Any]) -> str | None:
    parts = np.array([[5.0, 4.8, 1.0], [1.0, 0.2, 0.1], [0.0, -0.9, 0.0], [0.3, 1.5, 0.1]])
    given = parts.copy()
    found = answer(given)
    if not np.array_equal(given, parts):
        return "Your function changes the parts that it was given; work on a copy."
    if np.ndim(found) != 1:
        return f"It returned {found!r}; expected a list of the dimensions' numbers."
    found = [int(number) for number in found]
    hints = {
        (0,): "The largest part of the first film is in the runner-up too: take it away from both and compare again.",
        (0, 1): "Take a dimension away from every film, not from the first alone.",
        (1,): "A dimension can also decide by holding another film back: look at its negative parts.",
        (0, 1, 2): "That a dimension prefers the first film is not enough: it must do so by more than the film's lead.",
        (0, 1, 3): "Those change the score of the first film; compare which film is first.",
        (): "Some decide here: film 0 leads film 1 by 0.7, and dimension 1 alone gives it 0.8 of that.",
    }
    if found != [1, 2]:
        return hints.get(tuple(found), f"For the small case it finds {found}; expected [1, 2].")
    lone = np.array([[0.0, 1.0], [3.0, 0.0]])
    if list(answer(lone.copy())) != [1]:
        return "With two films, (0, 1) and (3, 0), only the second dimension decides."
    return None


@exercise(
    "07.3",
    start="Write a history of six pairs on paper, mark what is liked, and cross out what nobody may know.",
    right="What lies after the first target is the future, even if it is not a target itself.",
)
def hold_out(answer: Callable[[Any, float], Any]) -> str | None:
    history = [(1, 5.0), (2, 2.0), (3, 4.0), (4, 4.5), (5, 1.0), (6, 5.0), (7, 3.0)]
    known, targets = answer(list(history), 0.5)
    known, targets = [tuple(pair) for pair in known], [int(target) for target in targets]
    if sorted(targets) == [6, 7]:
        return "Those are the last pairs; targets are the last of the liked ones."
    if sorted(targets) != [4, 6]:
        return f"Four pairs are liked, so half of them are two targets: items 4 and 6, not {targets}."
    if known == [pair for pair in history if pair[0] not in (4, 6)]:
        return "Items 5 and 7 came after the first target: knowing them is a look into the future."
    if known != history[:3]:
        return "Known is everything before the first target, disliked pairs too."
    _, one = answer([(8, 4.0), (9, 5.0)], 0.1)
    return None if [int(target) for target in one] == [9] else "A small share still asks for at least one target."
