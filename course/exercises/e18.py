"""The checks of notebook 18's exercises."""

from collections.abc import Callable
from typing import Any

import numpy as np

from course.checks import exercise


@exercise(
    "18.1",
    start="rate × seconds copies would be busy all the time; divide by the utilisation, and there is no half a copy.",
    right="Little's law: rate × seconds requests are under way at once. Busy copies make queues, so leave room.",
)
def replicas(answer: Callable[[float, float, float], int]) -> str | None:
    for rate, seconds, utilisation, expected in ((100, 0.05, 0.5, 10), (1_000, 0.003, 0.7, 5), (1, 0.001, 0.9, 1)):
        found, busy = answer(rate, seconds, utilisation), rate * seconds
        if found == expected:
            continue
        if np.isclose(found, busy / utilisation):
            return "There is no half a copy: round up."
        if found in (int(busy), int(np.ceil(busy))) and expected > np.ceil(busy):
            return "Those copies are busy all the time, and requests queue without end; mind the utilisation."
        if found == int(np.ceil(busy * utilisation)):
            return "A copy that is busy only part of the time does less: divide by the utilisation."
        if found == int(busy / utilisation):
            return "Rounded down, the copies are busier than they may be: round up."
        return f"For {rate} requests a second of {seconds} s at {utilisation:.0%} it is {expected}; you find {found}."
    return None


@exercise(
    "18.2",
    start="Take what is not allowed out before you take the k best.",
    right="Filter first: of k best items that are filtered afterwards, none may be left.",
)
def allowed_top(answer: Callable[..., Any]) -> str | None:
    random = np.random.default_rng(0)
    for n_items, share, k in ((50, 0.5, 5), (50, 0.1, 5), (20, 0.1, 10), (10, 0.0, 3)):
        scores, allowed = random.normal(size=n_items) - 2, random.random(n_items) < share
        found = [int(code) for code in answer(scores.copy(), allowed.copy(), k)]
        order = np.argsort(-scores)
        expected = [int(code) for code in order if allowed[code]][:k]
        if found == expected:
            continue
        if found == [int(code) for code in order[:k] if allowed[code]]:
            return "You took the k best and filtered then, so too few are left: filter first."
        if any(not allowed[code] for code in found):
            return (
                "An item that is not allowed came back. Mind that scores may be negative, and that few may be allowed."
            )
        if found == expected[::-1]:
            return "The best one comes first."
        return f"Of {n_items} items, {int(allowed.sum())} allowed, k = {k}: expected {expected}, got {found}."
    return None


@exercise(
    "18.3",
    start="Check the whole list before anything is kept; within one list a key may stand twice as well.",
    right="All or nothing, and once: whoever got no answer may simply send the same again.",
)
def acknowledge(answer: Callable[..., list[str]]) -> str | None:
    kept = {"a": 1}
    found = answer(kept, [("b", 2), ("a", 1), ("b", 2)])
    if kept != {"a": 1, "b": 2}:
        return f"After a, b, and both again there are two events; you kept {kept}."
    if list(found or []) != ["b", "a", "b"]:
        return "Acknowledge every key of the list, in its order: the ones that were there before too."
    for events in ([("c", 3), ("a", 9)], [("d", 4), ("d", 5)]):
        before = dict(kept)
        try:
            answer(kept, events)
        except ValueError:
            if kept != before:
                return "The list was refused, but a part of it was kept: check everything first."
        else:
            return "A key that already stands for another event must raise ValueError, within one list too."
    return None
