"""The checks of notebook 07, Fuse many dimensions of interest."""

from collections.abc import Callable
from typing import Any

import numpy as np

from course.checks import exercise


@exercise(
    "07.1",
    start="Take each row's mean away and divide by its standard deviation (axis=1, keepdims=True).",
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
    start="bias + user @ of_user is one row for the person; item @ of_item is one row a film. Add them.",
    right="What is known of the person shifts all films alike; what is known of a film shifts that film.",
)
def gates(answer: Callable[..., Any]) -> str | None:
    generator = np.random.default_rng(0)
    bias, of_user, of_item = generator.normal(size=3), generator.normal(size=(2, 3)), generator.normal(size=(4, 3))
    user, item = generator.normal(size=2), generator.normal(size=(5, 4))
    found = np.asarray(answer(bias, of_user, of_item, user, item))
    if found.shape != (5, 3):
        return f"The result has shape {found.shape}; expected (I, D): one row of gates a film."
    if np.allclose(found, bias + item @ of_item):
        return "The person's evidence is missing: add user @ of_user."
    if np.allclose(found, np.broadcast_to(bias + user @ of_user, (5, 3))):
        return "All films have the same gates: the item's evidence is missing."
    if np.allclose(found, user @ of_user + item @ of_item):
        return "The bias is missing: it is the trust where nothing is known."
    right = bias + user @ of_user + item @ of_item
    return None if np.allclose(found, right) else "Check: bias + user @ of_user + item @ of_item."


@exercise(
    "07.3",
    start="Find the positions of the liked pairs; the last share of them, at least one, are targets.",
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
