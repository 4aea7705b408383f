"""The checks of notebook 20, Use more machines when one is not enough."""

from collections.abc import Callable
from typing import Any

import numpy as np

from course.checks import exercise


@exercise(
    "20.1",
    start="Write down how many numbers belong to one row while it is trained.",
    right="Cut by rows, the slots go with their rows: nothing of the optimizer is kept twice.",
)
def gigabytes_of_a_shard(answer: float) -> str | None:
    weights = 1e8 * 64 * 4 / 8e9
    if np.isclose(answer, weights):
        return "Those are the weights; Adam keeps two more numbers beside each of them."
    if np.isclose(answer, 3 * weights * 8):
        return "That is the whole table; eight machines share it."
    if np.isclose(answer, 2 * weights):
        return "The weights and how many slots?"
    if np.isclose(answer, weights + 2 * weights * 8):
        return "The slots are cut as their rows are."
    return None if np.isclose(answer, 3 * weights) else "Rows, times width, times bytes, times what is kept; then cut."


@exercise(
    "20.2",
    start="What does a machine know that sees one event and nothing else? The worker follows from that alone.",
    right="Any fixed function of the id's bytes will do. A stream of events is cut the same way, for years.",
)
def worker_of(answer: Callable[..., Any]) -> str | None:
    ids = np.array([f"person {number:03}" for number in range(900)])
    found = np.asarray(answer(ids, 4))
    if found.shape != ids.shape or not np.issubdtype(found.dtype, np.integer):
        return f"Return one integer for each id, shape {ids.shape}; yours is {found.dtype}, {found.shape}."
    if found.min() < 0 or found.max() > 3:
        return f"Workers count from 0 to 3; yours are {found.min()} to {found.max()}."
    if not np.array_equal(np.asarray(answer(ids[::-1], 4))[::-1], found):
        return "The same log in another order, and people have moved to another worker."
    if not np.array_equal(np.asarray(answer(ids[450:], 4)), found[450:]):
        return "A machine that sees half of the log sends people elsewhere than one that sees all of it."
    if np.array_equal(found, [hash(str(one)) % 4 for one in ids]):
        return "Python's hash of a text is another one in every process: see what PYTHONHASHSEED is for."
    if np.bincount(found, minlength=4).min() < 900 / 8:
        return "One worker has less than half of its share; how evenly does what you compute spread over the ids?"
    if len(np.unique(np.asarray(answer(ids, 7)))) != 7:
        return "With seven workers, not all seven get people."
    return None


@exercise(
    "20.3",
    start="Say what the mean over everybody is when one worker had 1 person and the other 999.",
    right="This is equation (20.1) again: sums and counts may be added, means may not.",
)
def over_all(answer: Callable[..., Any]) -> str | None:
    means, counts = np.array([0.5, 0.1, np.nan, 0.3]), np.array([10, 30, 0, 60])
    found = answer(means, counts)
    if found is None or np.shape(found):
        return "Return one number."
    if np.isnan(found):
        return "A worker without people has no mean; it must not count, and NaN times 0 is NaN."
    if np.isclose(found, np.nanmean(means)):
        return "Each worker counts the same here, whether it had ten people or sixty."
    if np.isclose(found, 26 / 4):
        return "Divide by the people, not by the workers."
    if np.isclose(found, 26 / 60):
        return "Divide by all people, not by those of the largest worker."
    return (
        None if np.isclose(found, 0.26) else "Add up what all people together have, then divide by how many they are."
    )


@exercise(
    "20.4",
    start="Begin with two items only: how likely are they to look alike?",
    right="Collisions go from one in m to two in m²: that is what a second hash buys for the price of a sum.",
)
def alike(answer: Callable[..., Any]) -> str | None:
    for n, m in ((9_066, 8_192), (9_066, 512), (2_000, 300)):
        found = answer(n, m)
        if found is None or np.shape(found):
            return "Return one number for two numbers."
        one = 1 - (1 - 1 / m) ** (n - 1)
        if np.isclose(found, one, rtol=1e-2):
            return "That is equation (20.2), for one hash."
        if np.isclose(found, one**2, rtol=1e-2):
            return "Both rows may be shared, each with somebody else; alike is who shares both with the same item."
        if np.isclose(found, 1 - (1 - 1 / m**2) ** (n - 1), rtol=1e-2):
            return "A sum does not know which row came first: (a, b) and (b, a) look alike."
        if not np.isclose(found, 1 - (1 - 2 / m**2) ** (n - 1), rtol=1e-2):
            if np.isclose(found, 2 * n / m**2, rtol=1e-2):
                return "That counts an item twice that looks like two others; at least one is what is asked."
            return f"For n = {n:,} and m = {m:,} it is another number: how likely is one given item the same pair?"
    return None
