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
    start="Which score means that all is left, and which that nothing is?",
    right="Scaled by what there was to lose, curves of films with high and low scores can be averaged.",
)
def auc(answer: Callable[[Any], float]) -> str | None:
    scores = np.array([9.0, 5.0, 4.0, 1.0])
    given = scores.copy()
    found, share = float(answer(given)), (scores - 1) / 8
    if not np.array_equal(given, scores):
        return "It changes the scores that it was given; work on a copy."
    if np.isclose(found, share[1:-1].mean()):
        return None
    if np.isclose(found, share.mean()):
        return "Both ends are 1 and 0 for every explanation; leave them out."
    if np.isclose(found, (scores / 9)[1:-1].mean()):
        return "Without all dimensions the score is not 0; subtract what is left at the end first."
    if np.isclose(found, 1 - share[1:-1].mean()):
        return "That is the share that is lost; asked is the share that is left."
    return f"For 9, 5, 4, 1 it gives {found:.3f}; the shares between the ends are 0.5 and 0.375."


@exercise(
    "16.3",
    start="Where on the way from the baseline to x does each slope have to be taken?",
    right="It is complete for any differentiable function, whatever the way in between looks like.",
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
