"""The checks of notebook 17, Do no harm."""

from collections.abc import Callable
from typing import Any

import numpy as np

from course.checks import exercise


@exercise(
    "17.1",
    start="Compare each member with each stranger. How many pairs are there?",
    right="The AUC counts pairs, so it does not depend on how many members there are, nor on a threshold.",
)
def pairs(answer: float) -> str | None:
    if abs(answer - 1 / 6) < 1e-6:
        return "That counts the pairs in which the stranger is above."
    if abs(answer - 5) < 1e-6:
        return "That is the number of right pairs; divide by all pairs."
    if abs(answer - 0.5) < 1e-6:
        return "That is chance, or one member of two; compare pairs."
    return None if abs(answer - 5 / 6) < 1e-3 else "Of the six pairs, in how many is the member above?"


@exercise(
    "17.2",
    start="Write the three expected costs at a probability p, and find where two of them are equal.",
    right="Each threshold is where two of the three lines cross, and only the lowest line counts.",
)
def thresholds(answer: Callable[[float, float, float], Any]) -> str | None:
    look, hide = (float(one) for one in answer(20.0, 4.0, 1.0))
    if np.isclose(look, 0.75) or np.isclose(hide, 0.05):
        return "Your thresholds are exchanged: showing is expensive where harm is likely."
    if np.isclose(hide, 0.25):
        return "At 0.25 hiding costs far more than a look: hiding is wrong with probability 1 − p."
    if not (np.isclose(look, 0.05) and np.isclose(hide, 0.75)):
        return f"For prices 20, 4 and 1 it is {look:.3f} and {hide:.3f}; expected 0.050 and 0.750."
    look, hide = (float(one) for one in answer(3.0, 1.0, 0.9))
    if look > hide:
        return "With an expensive look the first threshold lies above the second; then nobody looks, and one is left."
    if np.isclose(look, 0.25) and np.isclose(hide, 0.25):
        return None
    return (
        "Nobody looks: show below and hide above the p where p · missed = (1 − p) · false; "
        f"you have {look:.3f} and {hide:.3f}."
    )


@exercise(
    "17.3",
    start="Write one person's gradient down, (3, 4), and clip it to length 1.",
    right="After this, no person moves the sum by more than the clip, and noise of that size hides them.",
)
def clipped(answer: Callable[[Any, float], Any]) -> str | None:
    gradients = np.array([[3.0, 4.0], [0.3, 0.4], [-6.0, 8.0]])
    length = np.linalg.norm(gradients, axis=1, keepdims=True)
    right = (gradients * np.minimum(1, 1 / length)).sum(axis=0)
    total = gradients.sum(axis=0)
    found = np.asarray(answer(gradients.copy(), 1.0), float)
    if np.shape(found) == right.shape and np.allclose(found, total * min(1, 1 / np.linalg.norm(total))):
        return "That clips the sum: one person can still decide its direction. Clip each person, then add."
    if np.shape(found) == right.shape and np.allclose(found, np.clip(gradients, -1, 1).sum(axis=0)):
        return "That clips each number; the length of (1, 1) is still above 1."
    if np.shape(found) == right.shape and np.allclose(found, (gradients / length).sum(axis=0)):
        return "The second person's gradient was shorter than the clip and became longer."
    if np.shape(found) == right.shape and np.allclose(found, right / 3):
        return "That is the mean; return the sum."
    return None if np.shape(found) == right.shape and np.allclose(found, right) else f"Expected {right.round(3)}."


@exercise(
    "17.4",
    start="How often does a person take part when the batches are shuffled, and by what chance?",
    right="The same noise and the same number of steps, another promise: the sampling is a part of the mechanism.",
)
def honest(answer: Callable[..., float]) -> str | None:
    def said(q: float, noise: float, steps: float, delta: float) -> float:
        return 1000 * q + steps + noise / 100 + delta

    coins, shuffled = (float(answer(said, 4.0, 0.2, 100, 0.001, one)) for one in (True, False))
    if not np.isclose(coins, said(0.2, 4.0, 100, 0.001)):
        return "With coins, the accountant is right as it is: epsilon(q, noise, steps, delta)."
    if np.isclose(shuffled, coins):
        return "Shuffled batches do not get the benefit of the coins."
    if np.isclose(shuffled, said(1.0, 4.0, 100, 0.001)):
        return "That is a promise for a person who is in every batch; here each person is in one batch of five."
    if np.isclose(shuffled, said(0.2, 4.0, 20, 0.001)):
        return "There are fewer steps for a person, but in these they take part for certain."
    if not np.isclose(shuffled, said(1.0, 4.0, 20, 0.001)):
        return "q = 1, in as many steps as a person has."
    uneven = float(answer(said, 4.0, 0.2, 52, 0.001, False))
    right = np.isclose(uneven, said(1.0, 4.0, 11, 0.001))
    return None if right else "Of 52 batches, five an epoch, some people are in 11: round up, or it promises too much."
