"""The checks of notebook 19, Keep learning after the release."""

from collections.abc import Callable
from typing import Any

import numpy as np

from course.checks import exercise


@exercise(
    "19.1",
    start="Write the shares of both periods down first, and say which bins Equation 19.1 sums over.",
    right="Above 0.1, below 0.25: look at it, and wait with the alarm.",
)
def stability(answer: float) -> str | None:
    p, q = np.array([0.6, 0.4]), np.array([0.4, 0.6])
    expected = float(np.sum((q - p) * np.log(q / p)))
    if np.isclose(answer, expected / 2, atol=6e-4):
        return "That is the term of one bin; add the other one."
    if np.isclose(answer, expected / np.log(2), atol=6e-4):
        return "Equation 19.1 has the natural logarithm; you took base 2."
    if np.isclose(answer, -expected, atol=6e-4):
        return "The index is never negative: the ratio in the logarithm is now over then, as in the difference."
    return None if np.isclose(answer, expected, atol=6e-4) else "Each bin adds (q − p) times the logarithm of q / p."


@exercise(
    "19.2",
    start="Draw zero, −harm and an interval on a line; then say where the interval may lie for each of the answers.",
    right="This is a test of non-inferiority: only the end of the interval that could contradict you counts.",
)
def decide(answer: Callable[[float, float, float], str]) -> str | None:
    harm = 0.02
    for low, high in ((0.01, 0.03), (-0.01, 0.03)):
        if answer(low, high, harm) == "wait":
            return f"[{low}, {high}] with harm {harm}: no loss as large as that is in the interval, so it is certain."
        if answer(low, high, harm) != "promote":
            return f"[{low}, {high}] with harm {harm} should be promoted: harm is a loss, so it lies at −{harm}."
    if answer(-0.05, -0.03, harm) != "refuse":
        return f"[-0.05, -0.03] with harm {harm} should be refused: even its high end loses more than is allowed."
    if answer(-0.015, -0.005, harm) != "promote":
        return f"[-0.015, -0.005] is worse for certain, but by less than {harm}; a little worse is allowed."
    if answer(-0.05, 0.01, harm) != "wait":
        return f"[-0.05, 0.01] holds −{harm}: the loss may be larger than that or not, so neither is certain."
    if answer(-0.03, -0.01, 0.05) != "promote":
        return "With another harm the answer should change; compare with −harm, not with a number of your own."
    return None


@exercise(
    "19.3",
    start="Say what a sender may believe after each kind of answer. Begin with the error: what is stored then?",
    right="Sending again is harmless now, and a list is stored as a whole or not at all.",
)
def receive(answer: Callable[[dict[str, Any], list[tuple[str, Any]]], list[str]]) -> str | None:
    stored = {"a": 1}
    acknowledged = answer(stored, [("a", 1), ("b", 2), ("b", 2)])
    if acknowledged == ["b"] or acknowledged == ["b", "b"]:
        return "An event that is there already is acknowledged too, or its sender keeps sending for ever."
    if acknowledged != ["a", "b", "b"]:
        return f"Every key given is acknowledged, in its order: a, b, b; you returned {acknowledged!r}."
    if stored != {"a": 1, "b": 2}:
        return f"The store should hold a and b, once each; it holds {stored!r}."
    for before, events in (({"a": 1}, [("c", 3), ("a", 9)]), ({}, [("c", 3), ("c", 4)])):
        stored = dict(before)
        try:
            answer(stored, events)
        except ValueError:
            if stored != before:
                return "A list with a conflict was stored in part; look at all events before you store one."
        else:
            where = "the store" if before else "the same list"
            return f"A key that stands for another event in {where} must raise ValueError."
    return None


@exercise(
    "19.4",
    start="Say in one sentence what is alike for all 200 deals, and what chance changes. Write one deal first.",
    right="Anything above it is more than chance explains in 99 of 100 cases.",
)
def chance_level(answer: Callable[..., float]) -> str | None:
    then, now, calls = np.arange(30), np.arange(30, 40), []

    def figure(one: np.ndarray, two: np.ndarray) -> float:
        calls.append((np.asarray(one), np.asarray(two)))
        return float(np.mean(two) - np.mean(one))

    found = float(answer(then, now, figure, np.random.default_rng(0)))
    if not calls or {(len(one), len(two)) for one, two in calls} != {(30, 10)}:
        return "Each deal keeps both sizes: 30 events then and 10 now."
    if any(sorted([*one, *two]) != list(range(40)) for one, two in calls):
        return "Each event is dealt exactly once: shuffle them, do not draw with replacement."
    if len({tuple(two) for _, two in calls}) < 20:
        return "The deals are all alike; shuffle again each time."
    if not 195 <= len(calls) <= 205:
        return f"There should be 200 deals; you made {len(calls)}."
    figures = np.array([np.mean(two) - np.mean(one) for one, two in calls[-200:]])
    if np.isclose(found, figures.max()):
        return "That is the largest of all; take the value that 99 % stay below."
    if np.isclose(found, np.quantile(figures, 0.95)):
        return "That is the 95 % quantile; the level is 99 %."
    close = np.abs(found - np.quantile(figures, 0.99)) < 0.5
    return None if close else "Return the 99 % quantile of the figures."


@exercise(
    "19.5",
    start="Begin with `chosen` of Section 3. Which of its lines decides how likely an old event is?",
    right="Replay leans to the recent past, and the far past keeps a chance.",
)
def rows_to_learn(answer: Callable[..., Any]) -> str | None:
    timestamp = np.array([10, 95, 20, 96, 30, 97, 40, 50, 60, 70])
    rows = np.asarray(answer(timestamp, 95, 1.0, np.random.default_rng(0)))
    if not set(rows) >= {1, 3, 5}:
        return "An event that happened exactly at `since`, or later, is new; all new ones are learned from."
    if len(rows) != len(set(rows)):
        return "An event is there twice; choose without replacement."
    if len(rows) != 6:
        return f"With 3 new events and replay 1 there should be 3 older ones as well; you chose {len(rows) - 3}."
    if list(rows) != sorted(rows):
        return "Return the positions in ascending order."
    if len(answer(timestamp, 95, 9.0, np.random.default_rng(0))) != len(timestamp):
        return "Where there are fewer older events than asked for, take them all."
    if list(answer(np.array([5, 6]), 5, 1.0, np.random.default_rng(0))) != [0, 1]:
        return "There may be no older events at all."
    generator, pair = np.random.default_rng(1), np.array([800, 900, 1_000])
    newer = np.mean([1 in list(answer(pair, 1_000, 1.0, generator)) for _ in range(900)])
    if abs(newer - 1 / 2) < 0.06:
        return "Both older events are equally likely; the one of half the age should be chosen twice as often."
    if abs(newer - 1 / 3) < 0.06:
        return "The older one is chosen twice as often; turn the weights round: in proportion to 1 / age."
    return None if abs(newer - 2 / 3) < 0.06 else "The weights should be in proportion to 1 / (since − timestamp)."
