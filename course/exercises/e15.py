"""The checks of notebook 15, Learn by acting."""

from collections.abc import Callable
from typing import Any

import numpy as np

from course.checks import exercise


@exercise(
    "15.1",
    start="Write down, for each round, what the best choice would have earned on average.",
    right="Regret compares chances, not clicks: bad luck is no mistake, and good luck does not excuse one.",
)
def regret(answer: float) -> str | None:
    if abs(answer - 0.7) < 1e-6:
        return "That is the regret of one round chosen worst; add up what each of the four choices gives away."
    if abs(answer - 1.7) < 1e-6:
        return "That counts the clicks that came; regret compares the chances."
    if abs(answer - 0.25) < 1e-6:
        return "That is the mean of a round; add the rounds up."
    return None if abs(answer - 1.0) < 1e-6 else "In each round: the best chance minus the chance of what was shown."


@exercise(
    "15.2",
    start="Three visits on paper: which of them counts for more than one visit, and by how much?",
    right="A log of thousands in which a few visits carry all the weight knows no more than those few.",
)
def snips(answer: Callable[[Any, Any, Any], Any]) -> str | None:
    clicked, target, logged = np.array([1.0, 0, 1, 0]), np.array([0.4, 0.1, 0.2, 0.5]), np.array([0.1, 0.5, 0.4, 0.5])
    weight = target / logged
    value, size = (float(part) for part in answer(clicked.copy(), target.copy(), logged.copy()))
    right, effective = (weight @ clicked) / weight.sum(), weight.sum() ** 2 / (weight**2).sum()
    if np.isclose(value, (weight @ clicked) / len(weight)):
        return "That is IPS, which divides by the number of visits; SNIPS divides by the sum of the weights."
    inverse = logged / target
    if np.isclose(value, (inverse @ clicked) / inverse.sum()):
        return "Your weights are upside down: a visit counts more if the new version would choose it more often."
    if not np.isclose(value, right):
        return f"For the small case the value is {value:.3f}; expected {right:.3f}."
    if np.isclose(size, weight.sum()):
        return "The sum of the weights is about the number of visits, however unequal they are. Square it first."
    return None if np.isclose(size, effective) else f"The effective size is {size:.3f}; expected {effective:.3f}."


@exercise(
    "15.3",
    start="What do you believe of a product that was shown 0 times? Draw from that.",
    right="A product that was never shown can still win a draw; one that failed often hardly ever does.",
)
def beta(answer: Callable[[Any, Any, Any], int]) -> str | None:
    clicks, shows = np.array([30, 0, 2]), np.array([60, 0, 40])
    generator = np.random.default_rng(0)
    share = (
        np.bincount([int(answer(clicks.copy(), shows.copy(), generator)) for _ in range(3_000)], minlength=3) / 3_000
    )
    if share.max() == 1:
        return "It always chooses the same product; a draw differs from time to time."
    if share.max() < 0.4:
        return "It chooses all three about equally often; the clicks make no difference."
    if share[2] > 0.05:
        return f"It chooses the product with 2 clicks of 40 in {share[2]:.0%} of the draws. Did you count the misses?"
    if 0.6 < share[1] < 0.75:
        return "The second number counts the misses, not all the times that it was shown."
    if abs(share[1] - 0.5) > 0.04:
        return f"The unseen product wins {share[1]:.0%} of the draws, half is right; begin at 1 and 1."
    return None


@exercise(
    "15.4",
    start="Two things can bring a product to the last place. List them, with their probabilities.",
    right="What the model puts there can also be drawn, so both ways add up; without this the weights are wrong.",
)
def last_place(answer: Callable[[float, int, bool], float]) -> str | None:
    drawn, chosen = float(answer(0.1, 50, True)), float(answer(0.1, 50, False))
    if np.isclose(drawn, 0.1):
        return "A tenth of the lists has a drawn place, and 50 products share it."
    if np.isclose(drawn, 1 / 50):
        return "Only a share of the lists draws at all."
    if not np.isclose(drawn, 0.1 / 50):
        return f"For a drawn product the probability is {drawn:.4f}; expected {0.1 / 50:.4f}."
    if np.isclose(chosen, 0.9):
        return "The product that the model puts there is one of the 50, so chance may draw it as well."
    if np.isclose(chosen, 1.0):
        return "The model does not always decide the last place."
    return None if np.isclose(chosen, 0.902) else f"For the model's own choice it is {chosen:.4f}; expected 0.9020."
