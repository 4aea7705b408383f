"""The checks of notebook 06, Fuse what an item says, shows and sounds like."""

from collections.abc import Callable
from typing import Any

import numpy as np

from course.checks import exercise


@exercise(
    "06.1",
    start="How likely is it that a single look finds the right one? Begin with that.",
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
    start="Take four products, one without a picture, and write down one exchange that keeps all the rules.",
    right="Only the owners of the pictures have changed, so what is lost now came from the *right* picture.",
)
def exchanged(answer: Callable[[Any, Any, Any], Any]) -> str | None:
    encodings = np.random.default_rng(1).normal(size=(60, 4))
    present = np.arange(60) % 3 != 0
    encodings[~present] = 0
    given = encodings.copy(), present.copy()
    found = np.asarray(answer(*given, np.random.default_rng(2)), float)
    if not (np.array_equal(given[0], encodings) and np.array_equal(given[1], present)):
        return "Your function changes what it was given; work on copies."
    if found.shape != encodings.shape:
        return f"The result has shape {found.shape}; expected {encodings.shape}."
    if found[~present].any():
        return "Products without a picture got one, and others lost theirs: exchange among those that have one."
    before, after = ([tuple(row) for row in rows[present].round(9)] for rows in (encodings, found))
    if sorted(before) != sorted(after):
        if set(after) <= set(before):
            return "Some picture is used twice and another is lost: draw an order, not positions with repetition."
        return "The numbers of different pictures are mixed: a picture must move as a whole row."
    kept = [one == other for one, other in zip(before, after, strict=True)]
    if all(kept):
        return "Every product still has its own picture."
    for seed in range(40):
        few = np.arange(8.0).reshape(4, 2) + 1
        found = np.asarray(answer(few.copy(), np.array([True, True, True, False]), np.random.default_rng(seed)), float)
        if (found[:3] == few[:3]).all(axis=1).any():
            return "In a random order some products get their own picture back; nobody may. Shift the order by one."
    lone = np.asarray(answer(np.ones((2, 3)), np.array([True, False]), np.random.default_rng(0)), float)
    return None if np.array_equal(lone, np.ones((2, 3))) else "With a single picture nothing changes."


@exercise(
    "06.3",
    start="Take the clip (0, 2, 0) of one number a frame: which two numbers should come out, and which for (0, 0, 2)?",
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
    start="Hide by hand in a table of three products and three dimensions. Which row makes trouble, and when?",
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
