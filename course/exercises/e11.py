"""The checks of notebook 11's exercises."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from course.checks import exercise
from course.lessons import NOTEBOOKS, definitions

RACES, BUDGET, LEAD = 40, 10.0, 0.0005


@exercise(
    "11.1",
    start="With what probability do n draws all miss? For which n is that small enough?",
    right="59 trials for the best twentieth with 95 %, however many knobs there are.",
)
def trials_needed(answer: Callable[..., int]) -> str | None:
    for share, chance in ((0.05, 0.95), (0.1, 0.9), (0.01, 0.5), (0.5, 0.75)):
        exact = math.ceil(math.log(1 - chance) / math.log(1 - share) - 1e-9)
        found = answer(share, chance)
        if found == exact:
            continue
        if found == math.ceil(chance / share) or found == math.ceil(1 / share):
            return "That adds the chances of the draws up; two draws can both be among the best. Multiply the misses."
        if abs(found - exact) <= 1:
            return f"Nearly: for {share} and {chance} it is a whole number of trials that is just enough, not {found}."
        return f"For a share of {share} and a chance of {chance}, {found} is not the smallest number of trials."
    return None


@exercise(
    "11.2",
    start="Draw five curves on paper. Who runs on after the first rung, and on what is the next choice based?",
    right="Each rung asks only those that are still running; the last rung drops nobody.",
)
def survivors(answer: Callable[..., list[int]]) -> str | None:
    curves = np.array([[5, 1, 9], [4, 6, 1], [3, 9, 9], [2, 8, 3], [1, 9, 9]], float)
    given = curves.copy()
    found = [int(one) for one in answer(given, 0.5)]
    if not np.array_equal(given, curves):
        return "The curves that were given have changed; work on a copy."
    if found == [2]:
        return "The last rung drops nobody: all that reach it are trained to the end."
    if found in ([2, 4], [3, 4]):
        return "A trial that was stopped at the first rung has come back. It has no value at the second."
    if found in ([0, 1], [0]):
        return "The second choice uses the values of the second rung, not those of the first."
    if found != sorted(found):
        return "Return the trials in ascending order."
    if found != [1, 2]:
        return f"Of the curves {curves.tolist()} with keep = 0.5, trials 1 and 2 reach the last rung, you find {found}."
    random = np.random.default_rng(0).random((20, 4))
    running = np.arange(20)
    for rung in range(3):
        order = running[np.argsort(-random[running, rung])]
        running = order[: math.ceil(len(order) / 3 - 1e-9)]
    if [int(one) for one in answer(random.copy(), 1 / 3)] != sorted(running.tolist()):
        return "With 20 trials and keep = 1/3, 7 run on after the first rung, then 3, then 1: round up each time."
    return None


@exercise(
    "11.3",
    start="Of what is the standard error wanted: of one mean, or of how far two means are apart?",
    right="The standard error of the paired difference: what all trials share, easy and hard people, cancels.",
)
def cheapest(answer: Callable[..., int]) -> str | None:
    random = np.random.default_rng(0)
    hard = random.normal(0, 0.3, (200, 1))
    quality = np.array([0.30, 0.299, 0.285, 0.20])
    ndcg = hard + quality + random.normal(0, 0.02, (200, 4))
    ndcg += quality - ndcg.mean(axis=0)
    cost = np.array([10.0, 5, 2, 1])
    found = int(answer(ndcg.copy(), cost.copy()))
    if found in (2, 3):
        return (
            "Too generous: people differ far more than trials do. All trials were judged on the same people, so "
            "compare the differences, person by person."
        )
    if found == 0:
        return "Trial 1 is behind by less than one standard error of the difference, and costs half."
    if found != 1:
        return f"{found} is no number of a trial that is nearly as good as the best; count from 0."
    if int(answer(ndcg[:, :2], np.array([1.0, 5]))) != 0:
        return "Where the best is also the cheapest, it stays."
    return None


@exercise(
    "11.4",
    start="After k rounds the ensemble is the mean of k chosen members. What does the next member change?",
    right="A member that is chosen twice has twice the weight; one that is never chosen has none.",
)
def select(answer: Callable[..., list[int]]) -> str | None:
    target = np.array([1.0, 2, 3])
    scores = np.array([[3.0, 2, 1], [1.5, 2, 2.5], [0.5, 2.1, 3.6], [9, 9, 9]])

    def judge(mean: Any) -> float:
        return -float(np.abs(np.asarray(mean) - target).sum())

    expected = _selected(scores, judge, 4)
    found = [int(one) for one in answer(scores.copy(), judge, 4)]
    if found == expected:
        exact = _selected(scores[::-1], judge, 3)
        return None if [int(one) for one in answer(scores[::-1].copy(), judge, 3)] == exact else "Try other scores."
    if len(found) != 4:
        return "One member for each round: with 4 rounds the list has four entries."
    if len(set(found)) == len(found):
        return "A member may be added again; that is how it gets more weight."
    if found[0] != expected[0]:
        return "The first member is the one that is best alone."
    return f"The judge sees the mean of all chosen ones, the new one included. Expected {expected}, found {found}."


def _selected(scores: np.ndarray, judge: Callable[..., float], rounds: int) -> list[int]:
    chosen: list[int] = []
    for _ in range(rounds):
        values = [judge(scores[[*chosen, k]].mean(axis=0)) for k in range(len(scores))]
        chosen.append(int(np.argmax(values)))
    return chosen


@functools.cache
def _lesson() -> Any:
    """What the notebook defines, with the results that its race looks up."""
    lesson: Any = definitions("11_tune_and_ensemble")
    grid = pd.read_csv(NOTEBOOKS.parent / "docs" / "lessons" / "11_grid.csv").set_index(list(lesson.SPACE))
    values = [grid[[f"{what} {rung}" for rung in lesson.RUNGS]].to_numpy() for what in ("ndcg", "seconds")]
    lesson.RESULTS = {key: (values[0][row], values[1][row]) for row, key in enumerate(grid.index)}
    return lesson


def _mean_of_races(propose: Callable[..., dict[str, Any]]) -> float:
    races = [_lesson().race(propose, False, BUDGET, seed) for seed in range(RACES)]
    return float(np.mean([race[race[:, 0] <= BUDGET][-1, 1] for race in races]))


@exercise(
    "11.5",
    start="What do you know after five trials that random search does not use? Which knob would you move next?",
    right="It finds more than random search in the same seconds.",
)
def propose(answer: Callable[..., dict[str, Any]]) -> str | None:
    lesson = _lesson()
    setting = answer([], np.random.default_rng(0))
    if set(setting) != set(lesson.SPACE) or any(setting[name] not in lesson.SPACE[name] for name in lesson.SPACE):
        return "The first proposal, with nothing done yet, must already be a setting from SPACE, with all five knobs."
    random, yours = _mean_of_races(lesson.at_random), _mean_of_races(answer)
    if yours < random + LEAD:
        return f"Random search finds {random:.4f} on average, yours {yours:.4f}; it must lead by {LEAD}."
    return None
