"""The checks of notebook 14, Tell cause from coincidence."""

from collections.abc import Callable
from typing import Any

import numpy as np

from course.checks import exercise


@exercise(
    "14.1",
    start="Write down the four weights first: how much more often would the new policy have shown each?",
    right="The row that the new policy would never produce has weight 0 and counts in neither sum.",
)
def snips(answer: float) -> str | None:
    if abs(answer - 0.375) < 0.006:
        return "You divide by the number of rows, which is IPS; SNIPS divides by the weights' sum."
    if abs(answer - 0.6 / 1.1) < 0.006:
        return "That weighs by the new policy alone; divide each weight by the old policy's probability."
    if abs(answer - 0.5) < 0.006:
        return "That is the plain click rate, of the policy that wrote the log."
    return None if abs(answer - 1.5 / 3.5) < 0.006 else "The weights are 1, 2, ½ and 0; weigh the clicks with them."


@exercise(
    "14.2",
    start="Take one row with a small and one with a huge weight. What does each add to Equation 14.3?",
    right="Where the log says little, the model decides: some bias for much less variance.",
)
def switch(answer: Callable[..., float]) -> str | None:
    weight, click = np.array([0.5, 2.0, 40.0, 1.0]), np.array([1.0, 0.0, 1.0, 0.0])
    modelled, direct = np.array([0.4, 0.2, 0.3, 0.1]), np.array([0.3, 0.25, 0.35, 0.2])
    correction = weight * (click - modelled)
    found = float(answer(weight.copy(), click.copy(), modelled.copy(), direct.copy(), 2.0))
    right = float(np.mean(direct + np.where(weight <= 2.0, correction, 0)))
    if np.isclose(found, right):
        return None
    if np.isclose(found, np.mean(direct + correction)):
        return "Nothing is switched off: the row of weight 40 still has its correction."
    if np.isclose(found, np.mean(direct + np.minimum(weight, 2.0) * (click - modelled))):
        return "That clips the weight; asked is to leave the correction of such a row out."
    if np.isclose(found, np.mean((direct + correction)[weight <= 2.0])):
        return "The row is left out as a whole; its direct estimate has to stay in the mean."
    if np.isclose(found, np.mean(direct + np.where(weight < 2.0, correction, 0))):
        return "A weight of exactly `most` does not exceed it."
    return f"For the small case it gives {found:.3f}; expected {right:.3f}."


@exercise(
    "14.3",
    start="What does a coupon earn, in euros, from a person who would have bought for sure?",
    right="Profit, not probability, ranks the people, and a budget need not be spent.",
)
def send(answer: Callable[..., Any]) -> str | None:
    p0, p1 = np.array([0.1, 0.9, 0.3, 0.02, 0.2]), np.array([0.5, 1.0, 0.8, 0.04, 0.9])
    price = np.array([30.0, 100.0, 100.0, 40.0, 10.0])
    found = np.asarray(answer(p0.copy(), p1.copy(), price.copy(), 2))
    if found.dtype != bool or found.shape != p0.shape:
        return "The result is one True or False for each person."
    chosen = np.flatnonzero(found).tolist()
    if chosen == [1, 2]:
        return "Person 1 buys anyway and pays less with a coupon; count what is earned without one, too."
    if chosen == [2, 4]:
        return "Person 4 has the larger lift of the probability, person 0 that of the profit: prices differ."
    if chosen != [0, 2]:
        return f"With two coupons it chooses {chosen}; expected persons 0 and 2."
    many = np.flatnonzero(answer(p0.copy(), p1.copy(), price.copy(), 5)).tolist()
    return None if many == [0, 2, 4] else "With five coupons it sends some that lose money; keep those."


@exercise(
    "14.4",
    start="Write the weights of both groups down: who had a small chance of the coupon that they got counts more.",
    right="If weighting leaves the groups different in what you see, do not ask about what you do not see.",
)
def imbalance(answer: Callable[..., float]) -> str | None:
    generator = np.random.default_rng(14)
    x = generator.normal(size=(40, 3)) * [1, 5, 0.2]
    chance = 1 / (1 + np.exp(-x[:, 0]))
    coupon = generator.random(40) < chance
    found = float(answer(x.copy(), coupon.copy(), chance.copy()))

    def largest(one: np.ndarray, other: np.ndarray, unit: np.ndarray | float) -> float:
        a, b = np.average(x[coupon], axis=0, weights=one), np.average(x[~coupon], axis=0, weights=other)
        return float(np.max(np.abs(a - b) / unit))

    one, other, unit = 1 / chance[coupon], 1 / (1 - chance[~coupon]), x.std(axis=0)
    if abs(found - largest(one, other, unit)) < 0.02:
        return None
    if abs(found - largest(one * 0 + 1, other * 0 + 1, unit)) < 0.02:
        return "Nothing is weighted; that is the difference before, not after."
    if abs(found - largest(one, 1 / chance[~coupon], unit)) < 0.02:
        return "Those without a coupon were in their group with probability 1 − chance."
    if abs(found - largest(one, other, 1.0)) < 0.02:
        return "Columns have units; divide by each one's standard deviation."
    return "Compare the weighted means of both groups column by column, and keep the largest absolute difference."


@exercise(
    "14.5",
    start="Take two groups by hand: which share of their difference is the coupon's, if the outcome was over before?",
    right="It keeps whatever decided the coupon and takes away its effect: what is left is the confounding.",
)
def control_alarm(answer: Callable[..., Any]) -> str | None:
    generator = np.random.default_rng(5)
    group = np.repeat([0, 1], 400)
    coupon = generator.random(800) < np.where(group == 0, 0.2, 0.8)
    alike = group * 2.0 + generator.normal(size=800)
    if bool(answer(alike.copy(), coupon.copy(), group.copy())):
        return (
            "The groups differ in the outcome and in their coupons, and within each there is nothing: compare within."
        )
    if not bool(answer(alike + 0.5 * coupon, coupon.copy(), group.copy())):
        return "A difference of half a standard deviation in both groups goes unnoticed."
    if not bool(answer(alike - 0.5 * coupon, coupon.copy(), group.copy())):
        return "It notices a positive difference only; a negative one is an alarm as well."
    lone = np.append(group, 2)
    try:
        said = bool(answer(np.append(alike, 99.0), np.append(coupon, True), lone))
    except Exception:
        return "A group with one row on a side stops it; leave such groups out."
    return "A group with one row on a side decides it; leave such groups out." if said else None
