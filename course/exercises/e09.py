"""The checks of notebook 09, Fine-tune the language model inside the recommender."""

from collections.abc import Callable
from typing import Any

import numpy as np

from course.checks import exercise


@exercise(
    "09.1",
    start="Draw one matrix W and the detour beside it, with the sizes of A and B. How many such drawings are there?",
    right="Two thin matrices beside each wide one: 4 % of what those hold, and it grows with R alone.",
)
def lora_size(answer: float) -> str | None:
    if answer == 6 * 2 * 384 * 384:
        return "Those are the matrices themselves; LoRA leaves them as they are. Count A and B."
    if answer == 2 * 2 * 384 * 8:
        return "That is one layer; the encoder has six."
    if answer == 6 * 2 * 384 * 8:
        return "That is A alone or B alone; both learn."
    if answer == 6 * 2 * 384 * 384 * 8:
        return "The rank is the inner side of the product A B, not a number of copies."
    return None if answer == 6 * 2 * 2 * 384 * 8 else "Six layers, two matrices each, and for each of them A and B."


@exercise(
    "09.2",
    start="Write down the rates of four layers for a top rate of 0.02 and a decay of one half. Which is the first?",
    right="The lowest layer moves least: what it knows is general, and all others build on it.",
)
def rates(answer: Callable[[int, float, float], Any]) -> str | None:
    found = np.asarray(answer(4, 0.02, 0.5), "float64")
    if found.shape != (4,):
        return f"The result has shape {found.shape}; expected one rate a layer, (4,)."
    expected = np.array([0.0025, 0.005, 0.01, 0.02])
    if np.allclose(found, expected[::-1]):
        return "The lowest layer comes first in the result, and it should be the slowest."
    if np.allclose(found, expected / 2):
        return "The top layer itself is not decayed: its power is 0."
    if np.allclose(found, 0.02 * 0.5 * np.arange(1, 5)) or np.allclose(found, np.linspace(0.01, 0.02, 4)):
        return "The rate falls by a factor from layer to layer, not by a difference."
    return None if np.allclose(found, expected) else f"For L = 4, 0.02 and 0.5 expected {expected.tolist()}."


@exercise(
    "09.3",
    start="Three examples have the gradient 1, a fourth has 5. What is their mean, and what do two parts give?",
    right="With parts of one size it is the plain mean; a last part that is smaller must count for less.",
)
def accumulated(answer: Callable[[Any, Any], Any]) -> str | None:
    gradients, sizes = [np.array([1.0, 2.0]), np.array([4.0, -1.0])], [3, 1]
    found = np.asarray(answer(gradients, sizes), "float64")
    if found.shape != (2,):
        return f"The result has shape {found.shape}; a gradient has the shape of its parts, (2,)."
    if np.allclose(found, [2.5, 0.5]):
        return "That is the plain mean of the parts; the second part has one example and the first has three."
    if np.allclose(found, [5.0, 1.0]):
        return "That is the sum of the means; a loss that is a mean has a gradient that is a mean."
    if np.allclose(found, [7.0, 5.0]):
        return "That is the sum over the examples; divide by how many there are."
    return None if np.allclose(found, [1.75, 1.25]) else "Weigh each part with its size, add, divide by all examples."


@exercise(
    "09.4",
    start="Let every gradient be 1. Which sum is to be estimated, and what do the drawn ones add up to?",
    right="On average over the draws it is the gradient over all items, whichever of them were drawn.",
)
def estimate(answer: Callable[[Any, Any, Any], Any]) -> str | None:
    generator = np.random.default_rng(0)
    gradients = generator.normal(size=(12, 3)) + np.where(np.arange(12)[:, None] < 4, 3.0, -1.0)
    inside = np.arange(12) < 4
    total, found = gradients.sum(axis=0), []
    for _ in range(3_000):
        chosen = np.zeros(12, bool)
        chosen[generator.choice(4, 2, replace=False)] = True
        chosen[4 + generator.choice(8, 2, replace=False)] = True
        found.append(np.asarray(answer(gradients, inside, chosen), "float64"))
    mean = np.mean(found, axis=0)
    if mean.shape != (3,):
        return f"The result has shape {mean.shape}; expected one gradient, (3,)."
    if np.allclose(mean, gradients[:4].sum(axis=0), atol=0.3):
        return "Only the items of the batch count here; those that were not chosen pull the other way."
    if np.allclose(mean, gradients[:4].sum(axis=0) / 2 + gradients[4:].sum(axis=0) / 4, atol=0.3):
        return "The drawn items are added as if they stood for themselves alone; weigh each group by N / n."
    if np.allclose(mean, 3 * (gradients[:4].sum(axis=0) / 2 + gradients[4:].sum(axis=0) / 4), atol=0.3):
        return "One weight for all: but a larger share of the batch's items was drawn than of the others."
    return None if np.allclose(mean, total, atol=0.6) else "On average it should be the sum over all items."


@exercise(
    "09.5",
    start="Two products of a batch have the same description. What does Equation 9.3 ask there, and can it be met?",
    right="No text is pushed away from the behaviour of its own double, which it could not have told apart anyway.",
)
def contrast(answer: Callable[[Any, Any, float, Any], Any]) -> str | None:
    generator = np.random.default_rng(0)
    text, behaviour = (side / np.linalg.norm(side, axis=-1, keepdims=True) for side in generator.normal(size=(2, 5, 3)))
    codes = np.array([0, 1, 0, 2, 3])
    text[2] = text[0]
    found = np.asarray(answer(text, behaviour, 0.5, codes), "float64")
    if found.shape != ():
        return f"The result has shape {found.shape}; a loss is one number."
    logits = text @ behaviour.T / 0.5
    same, diagonal = codes[:, None] == codes, np.eye(5, dtype=bool)
    expected = _contrast(logits, same & ~diagonal)
    if np.isclose(found, _contrast(logits, same & False)):
        return "Products of the same text are still wrong answers to each other."
    if np.isclose(found, _contrast(logits, same)):
        return "The product itself is the right answer; it has to stay in its sums."
    if np.isclose(found, _contrast(text @ behaviour.T * 0.5, same & ~diagonal)):
        return "A low temperature should sharpen the softmax; yours flattens it."
    if np.isclose(found, expected * 5) or np.isclose(found, expected * 2):
        return "Equation 9.3 takes the mean over the batch and over both directions."
    one_way = [np.mean(_log_sums(turned, same & ~diagonal) - np.diag(logits)) for turned in (logits, logits.T)]
    if np.isclose(found, one_way).any():
        return "That is one direction; each behaviour has to find its text among all texts as well."
    if not np.isclose(found, expected):
        return "Compute the sums of one product by hand, for both directions, and compare."
    with np.errstate(all="ignore"):
        sharp = float(answer(text, behaviour, 0.001, codes))
    return (
        None
        if np.isfinite(sharp)
        else "At a temperature of 0.001 the exponentials overflow; take the largest away first."
    )


def _log_sums(logits: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    return np.asarray(np.logaddexp.reduce(np.where(left_out, -np.inf, logits), axis=1))


def _contrast(logits: np.ndarray, left_out: np.ndarray) -> float:
    both = _log_sums(logits, left_out) + _log_sums(logits.T, left_out.T)
    return float(np.mean(both / 2 - np.diag(logits)))
