"""The checks of notebook 06, Fuse what an item says, shows and sounds like."""

from collections.abc import Callable
from typing import Any

import numpy as np

from course.checks import exercise


@exercise(
    "06.1",
    start="Ten looks among how many products? Each look is as likely as the next to be the right one.",
    right="k looks among N products succeed with probability k / N; every recall has to be compared with it.",
)
def by_chance(answer: float) -> str | None:
    if np.isclose(answer, 1 / 300):
        return "That is one look; the description has ten."
    if np.isclose(answer, 300 / 10):
        return "That is how many times more products than looks there are; turn it round."
    if np.isclose(answer, 100 * 10 / 300):
        return "That is in per cent; give a share between 0 and 1."
    return None if np.isclose(answer, 10 / 300) else "Divide the number of looks by the number of products."


@exercise(
    "06.2",
    start="Take the exponential of the logits, set it to 0 where nothing is present, and divide by the sum of the row.",
    right="What is missing has no weight, the rest share all of it, and an item with nothing gives zeros, not NaN.",
)
def masked_gates(answer: Callable[[Any, Any], Any]) -> str | None:
    logits = np.array([[0.0, 1.0, 2.0], [3.0, 0.0, 1.0], [1.0, 1.0, 1.0], [900.0, 1000.0, 0.0]])
    present = np.array([[True, True, True], [True, False, True], [False, False, False], [True, True, False]])
    with np.errstate(all="ignore"):
        found = np.asarray(answer(logits.copy(), present.copy()), "float64")
    if found.shape != logits.shape:
        return f"The result has shape {found.shape}; expected one gate for each logit, {logits.shape}."
    if not np.isfinite(found[2]).all():
        return "An item with nothing divides by zero: give it zeros."
    if not np.isfinite(found[3]).all():
        return "The exponential of 1000 is infinite: take away the largest logit of the row first."
    if not np.allclose(found[~present], 0):
        return "A missing dimension has weight: its gate must be exactly 0."
    if not np.allclose(found[[0, 1, 3]].sum(axis=1), 1):
        return "The gates of a row must sum to 1 over what is present: apply the mask before you divide."
    expected = np.exp([3.0, 1.0]) / np.exp([3.0, 1.0]).sum()
    return None if np.allclose(found[1, [0, 2]], expected) else "The gates of a row should be a softmax of its logits."


@exercise(
    "06.3",
    start="np.diff(frames, axis=0) gives the steps; their sign does not matter here.",
    right="The mean says what is shown, the steps say how fast it moves; neither can say it alone.",
)
def over_time(answer: Callable[[Any], Any]) -> str | None:
    moving, still = np.array([[0.0, 1.0], [2.0, 1.0], [0.0, 1.0]]), np.array([[1.0, 1.0]] * 3)
    with np.errstate(all="ignore"):
        found, at_rest, single = (np.asarray(answer(clip), "float64") for clip in (moving, still, moving[:1]))
    if found.shape != (4,):
        return f"The result has shape {found.shape}; expected (2 D,): the mean, then the mean step."
    if single.shape != (4,) or not np.isfinite(single).all():
        return "A clip of one frame has no steps, and the mean of nothing is NaN: say 0."
    if np.allclose(found[2:], 0):
        return "The steps there and back cancel: take their absolute values before the mean."
    if not np.allclose(found[:2], moving.mean(axis=0)):
        return "The first half should be the mean over time."
    if not np.allclose(at_rest[2:], 0):
        return "A still clip has steps of 0."
    return None if np.allclose(found[2:], [2.0, 0.0]) else "The second half should be the mean of the absolute steps."


@exercise(
    "06.4",
    start="Hide with generator.random(present.shape) < share; then look for the rows that lost everything.",
    right="Every item keeps something, so no vector is empty, and each dimension learns to do without the others.",
)
def drop(answer: Callable[[Any, float, Any], Any]) -> str | None:
    present = np.random.default_rng(1).random((4_000, 3)) < 0.7
    before = present.copy()
    found = np.asarray(answer(present, 0.3, np.random.default_rng(2)))
    if not np.array_equal(present, before):
        return "Your function changes the mask that it was given; work on a copy."
    if found.shape != present.shape:
        return f"The result has shape {found.shape}; expected {present.shape}."
    found = found.astype(bool)
    if (found & ~present).any():
        return "Something missing appears: the result may only hide."
    if (present.any(axis=1) & ~found.any(axis=1)).any():
        return "Some items lose everything: keep one thing of an item that had something."
    if not np.array_equal(np.asarray(answer(present, 0.0, np.random.default_rng(2))).astype(bool), present):
        return "With share 0 nothing is hidden."
    full = present.all(axis=1)
    hidden = 1 - found[full].mean()
    if hidden > 0.45:
        return "Far more is hidden than the share says: you may be hiding where the draw is above it."
    return None if 0.22 < hidden < 0.33 else "Each present entry should be hidden with the probability `share`."
