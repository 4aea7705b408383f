"""The checks of notebook 18's exercises."""

from collections.abc import Callable
from typing import Any

import numpy as np

from course.checks import exercise


@exercise(
    "18.1",
    start="Leave the utilisation aside at first: how many seconds of work arrive in every second?",
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
    start="Do it by hand for the lists 5 3 1 4 and 5 3 2 6 and four places. What does the second one choose first?",
    right="As many candidates for everybody, and no retriever can fill them alone.",
)
def in_turn(answer: Callable[..., Any]) -> str | None:
    cases: list[tuple[list[list[int]], int, list[int]]] = [
        ([[5, 3, 1, 4], [5, 3, 2, 6]], 4, [5, 3, 1, 2]),
        ([[1, 2, 3], [1, 4, 5]], 3, [1, 4, 2]),
        ([[7], [8, 9, 10], []], 3, [7, 8, 9]),
        ([[1, 2], [2, 1]], 5, [1, 2]),
    ]
    for lists, count, expected in cases:
        found = [int(code) for code in answer([list(one) for one in lists], count)]
        if found == expected:
            continue
        asked = f"For {lists} and {count} places"
        if len(set(found)) < len(found):
            return f"{asked} an item is there twice: what another retriever has chosen is taken."
        if found == list(dict.fromkeys(code for one in lists for code in one))[:count]:
            return f"{asked} the first retriever took all it wanted before the second had a turn."
        if len(found) > count:
            return f"{asked} you return {len(found)}: stop as soon as all places are taken."
        if set(found) < set(expected):
            return f"{asked} you return {found}: when one retriever has no more, the others go on."
        return (
            f"{asked} it is {expected}; you return {found}: a retriever whose best is taken chooses its next at once."
        )
    return None


@exercise(
    "18.3",
    start="Write down what `kept` must be after a list of three events of which only the last is refused.",
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


@exercise(
    "18.4",
    start="Take one request with a wait of 10: the first copy needs 30, the second 5. When is the answer there?",
    right="A few more requests cut the tail, if the copies are slow at different moments. Now measure how far; the "
    "solution says what to expect, and why two processes on the same cores are no two copies.",
)
def hedged(answer: Callable[..., Any]) -> str | None:
    first, second = np.array([4.0, 30.0, 30.0, 12.0, 10.0]), np.array([1.0, 5.0, 90.0, 1.0, 1.0])
    result = answer(first.copy(), second.copy(), 10.0)
    if not isinstance(result, tuple) or len(result) != 2:
        return "Return two things: the times, and the share of requests that were sent twice."
    times, share = np.asarray(result[0], float), float(result[1])
    expected = np.array([4.0, 15.0, 30.0, 11.0, 10.0])
    if times.shape != expected.shape:
        return "There is one time for each request."
    if times[0] == 1:
        return "The first request was answered before the wait was over; its second copy was never asked."
    if times[1] == 5:
        return "The second copy is asked only after the wait, so its answer comes that much later."
    if times[2] > 30:
        return "The first copy goes on working: where it answers before the second, that answer counts."
    if not np.allclose(times, expected):
        return f"For the first copy's {first} and the second's {second} the times are {expected}; you find {times}."
    if not np.isclose(share, 0.6):
        return f"Three of the five requests were not answered within the wait; your share is {share:g}."
    return None
