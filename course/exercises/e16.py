"""The checks of notebook 16, Explain a recommendation."""

from collections.abc import Callable
from typing import Any

import numpy as np

from course.checks import exercise


@exercise(
    "16.1",
    start="There are two orders in which two players can join. What does the first add in each?",
    right="3 when it comes first and 5 when it comes second; the two values, 4 and 2, add up to 6.",
)
def two_players(answer: float) -> str | None:
    if np.isclose(answer, 3):
        return "That is what it is worth alone; in the other order it joins the second."
    if np.isclose(answer, 5):
        return "That is what it adds when it comes last: leave one out. Take the mean over both orders."
    if np.isclose(answer, 4.5):
        return "You divide 6 in proportion to what each is worth alone; the joint gain of 2 belongs to both alike."
    if np.isclose(answer, 2):
        return "That is the second one's value."
    return (
        None if np.isclose(answer, 4) else "Take the mean of what it adds when it comes first and when it comes last."
    )


@exercise(
    "16.2",
    start="Where does the curve begin, and how far apart are its points?",
    right="Each removal weighs the same here; of the five shares in a plain mean, four are of the first eight.",
)
def area(answer: Callable[..., float]) -> str | None:
    scores, removed = np.array([8.0, 6.0, 5.0, 4.0, 2.0, 1.0]), (1, 2, 4, 8, 16)
    given = scores.copy()
    found, share, count = float(answer(given, removed)), scores / 8, np.array([0, *removed])
    if not np.array_equal(given, scores):
        return "It changes the scores that it was given; work on a copy."
    right = np.trapezoid(share, count) / 16
    if np.isclose(found, right):
        return None
    if np.isclose(found, share[1:].mean()) or np.isclose(found, np.trapezoid(share) / 5):
        return "The points are not equally far apart: from 8 to 16 removals is eight times as wide as from 1 to 2."
    if np.isclose(found, np.trapezoid(share[1:], removed) / 15) or np.isclose(
        found, np.trapezoid(share[1:], removed) / 16
    ):
        return "The curve begins at 0 removals, where all of the score is left."
    if np.isclose(found, right * 16):
        return "Divide by the last count, so that a curve that never falls has an area of 1."
    if np.isclose(found, right * 8):
        return "Divide the scores by the first one, so that films with high and low scores can be compared."
    if np.isclose(found, np.diff(count) @ share[:-1] / 16):
        return "Those are rectangles; take the mean height of both ends of each piece."
    return f"For 8, 6, 5, 4, 2, 1 after 0, 1, 2, 4, 8 and 16 removals it gives {found:.3f}; the first piece is 0.875."


@exercise(
    "16.3",
    start="Where on the way from the baseline to x does each slope have to be taken?",
    right="With enough steps it is complete for any function with a continuous gradient.",
)
def gradient_path(answer: Callable[..., Any]) -> str | None:
    x, baseline = np.array([1.0, 2.0, -2.0]), np.array([0.5, 0.0, 1.0])

    def slope(at: np.ndarray) -> np.ndarray:
        return np.array([at[1], at[0], 3 * at[2] ** 2])  # of s = x₀ x₁ + x₂³

    def mean_slope(alpha: np.ndarray) -> np.ndarray:
        return np.asarray(np.mean([slope(baseline + one * (x - baseline)) for one in alpha], axis=0))

    found = np.asarray(answer(slope, x.copy(), baseline.copy(), 100), "float64")
    if found.shape != x.shape:
        return f"The result has shape {found.shape}; expected one number for each input, {x.shape}."
    along = mean_slope((np.arange(100) + 0.5) / 100)
    if np.allclose(found, (x - baseline) * along):
        few = np.asarray(answer(slope, x.copy(), baseline.copy(), 2))
        right = np.allclose(few, (x - baseline) * mean_slope(np.array([0.25, 0.75])))
        return None if right else "With two steps take the slopes at a quarter and at three quarters of the way."
    if np.allclose(found, (x - baseline) * slope(x)):
        return "That is gradient × input: one slope, at the end of the way."
    if np.allclose(found, 100 * (x - baseline) * along):
        return "That is the sum of the slopes; take their mean."
    if np.allclose(found, x * along):
        return "The way begins at the baseline: multiply by x − baseline."
    for alpha in (np.arange(100) / 100, (np.arange(100) + 1) / 100, np.linspace(0, 1, 100), np.linspace(0, 1, 101)):
        if np.allclose(found, (x - baseline) * mean_slope(alpha)):
            return "Take the middles of the parts: with two steps at a quarter and at three quarters of the way."
    return f"The parts add up to {found.sum():.3f}; completeness wants s(x) − s(baseline) = -7."


@exercise(
    "16.4",
    start="Two copies: what happens to the score when one is removed, and when both are?",
    right="Pairs find twins; triplets would need triples, which is why the Shapley value asks all coalitions.",
)
def pairs_out(answer: Callable[..., Any]) -> str | None:
    def score(kept: Any) -> float:
        kept = np.asarray(kept, bool)
        return 4.0 * bool(kept[0] or kept[1]) + 1.0 * bool(kept[2]) - 0.5 * bool(kept[3])

    found = np.asarray(answer(score, 4), "float64")
    if found.shape != (4,):
        return f"The result has shape {found.shape}; expected one number for each event."
    if np.allclose(found, [0, 0, 1, -0.5]):
        return "That is leave one out: the twins 0 and 1 still hide behind each other."
    if np.allclose(found, [2, 2, 1, 0.25]):
        return None
    if np.allclose(found, [4, 4, 1, 0.5]):
        return "The fall of a pair belongs to both; count half of it."
    return f"For twins worth 4, one event worth 1 and one of −0.5 it gives {found.round(2).tolist()}."
