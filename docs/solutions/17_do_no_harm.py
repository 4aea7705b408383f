"""Solutions of notebook 17, and wrong answers with a word of the hint that each should get."""

import math

import numpy as np

PAIRS = 5 / 6
"""Six pairs: 3 is above 2, 0 and −1; 1 is above 0 and −1, but not above 2."""


def thresholds(missed, false, look):
    """A look is cheaper than showing above look / missed, and cheaper than hiding below 1 − look / false.

    If the first lies above the second, a look is never the cheapest. Then p · missed = (1 − p) · false decides.
    """
    first, second = look / missed, 1 - look / false
    if first > second:
        first = second = false / (missed + false)
    return first, second


def clipped(gradients, clip):
    """Each person's gradient is shortened to `clip` where it is longer, and never made longer."""
    length = np.linalg.norm(gradients, axis=1, keepdims=True)
    return (gradients * np.minimum(1, clip / np.maximum(length, 1e-12))).sum(axis=0)


def honest_epsilon(epsilon, noise, q, steps, delta, poisson):
    """Without coins a person is in `q * steps` batches for certain, rounded up, and nothing hides in which."""
    return epsilon(q, noise, steps, delta) if poisson else epsilon(1.0, noise, math.ceil(q * steps - 1e-9), delta)


solutions = {"17.1": PAIRS, "17.2": thresholds, "17.3": clipped, "17.4": honest_epsilon}
wrong = {
    "17.1": [(1 / 6, "stranger is above"), (5, "divide"), (0.5, "chance"), (0.9, "six pairs")],
    "17.2": [
        (lambda missed, false, look: (1 - look / false, look / missed), "exchanged"),
        (lambda missed, false, look: (look / missed, look / false), "hiding is wrong"),
        (lambda missed, false, look: (0.3, 0.4), "expected"),
        (lambda missed, false, look: (look / missed, 1 - look / false), "then nobody looks"),
        (
            lambda missed, false, look: (
                (look / missed, 1 - look / false) if look / missed <= 1 - look / false else (0.9, 0.9)
            ),
            "Nobody looks: show",
        ),
        (
            lambda missed, false, look: (
                (look / missed, 1 - look / false)
                if look / missed <= 1 - look / false
                else ((look / missed + 1 - look / false) / 2,) * 2
            ),
            "you have 0.200",
        ),
    ],
    "17.3": [
        (lambda gradients, clip: clipped(gradients.sum(axis=0, keepdims=True), clip), "clips the sum"),
        (lambda gradients, clip: np.clip(gradients, -clip, clip).sum(axis=0), "each number"),
        (lambda gradients, clip: (gradients / np.linalg.norm(gradients, axis=1)[:, None]).sum(axis=0), "became longer"),
        (lambda gradients, clip: clipped(gradients, clip) / len(gradients), "mean"),
        (lambda gradients, clip: gradients.sum(axis=0), "Expected"),
    ],
    "17.4": [
        (lambda epsilon, noise, q, steps, delta, poisson: epsilon(1.0, noise, steps, delta), "With coins"),
        (lambda epsilon, noise, q, steps, delta, poisson: epsilon(q, noise, steps, delta), "benefit"),
        (
            lambda epsilon, noise, q, steps, delta, poisson: epsilon(q if poisson else 1.0, noise, steps, delta),
            "every batch",
        ),
        (
            lambda epsilon, noise, q, steps, delta, poisson: epsilon(q, noise, steps if poisson else q * steps, delta),
            "for certain",
        ),
        (lambda epsilon, noise, q, steps, delta, poisson: epsilon(q, noise, steps, delta) if poisson else 0.0, "q = 1"),
        (
            lambda epsilon, noise, q, steps, delta, poisson: epsilon(
                q if poisson else 1.0, noise, steps if poisson else round(q * steps), delta
            ),
            "round up",
        ),
    ],
}
