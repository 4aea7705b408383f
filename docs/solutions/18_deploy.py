"""Solutions of notebook 18, and wrong answers with the hint that each should get."""

import itertools
import math

import numpy as np


def replicas(rate, seconds, utilisation):
    """rate × seconds is the work that arrives each second: so many copies would be busy all the time. One that may be
    busy for only a share of it does that share, and there is no half a copy."""
    return math.ceil(rate * seconds / utilisation)


def in_turn(lists, count):
    """Each retriever has a pointer into its list, here an iterator; what is taken is skipped, and a retriever without
    more drops out. With the places of the lesson (200) every person gets 200 candidates, not 100 to 200; the list of
    ten hardly changes, as the section on recall suggests."""
    chosen = {}
    waiting = [iter(one) for one in lists]
    while waiting and len(chosen) < count:
        retriever = waiting.pop(0)
        code = next((code for code in retriever if code not in chosen), None)
        if code is not None:
            chosen[code] = None
            waiting.append(retriever)
    return list(chosen)


def with_repetitions(lists, count):
    rounds = itertools.zip_longest(*lists)
    return [code for codes in rounds for code in codes if code is not None][:count]


def one_after_another(lists, count):
    return list(dict.fromkeys(code for one in lists for code in one))[:count]


def a_turn_is_lost(lists, count):
    chosen = []
    for codes in zip(*lists, strict=False):
        chosen += [code for code in dict.fromkeys(codes) if code not in chosen]
    return chosen[:count]


def the_shortest_ends_it(lists, count):
    return in_turn([one[: min(map(len, lists))] for one in lists], count)


def all_of_them(lists, count):
    return in_turn(lists, sum(map(len, lists)))


def acknowledge(kept, events):
    """The list is tried on a copy; only when every key fits does anything happen to `kept`. Within one list a key may
    stand twice as well, which the copy finds out too."""
    new = dict(kept)
    for key, event in events:
        if new.setdefault(key, event) != event:
            raise ValueError(f"{key} stands for another event")
    kept.update(new)
    return [key for key, _ in events]


def only_new_keys(kept, events):
    new = [key for key, _ in events if key not in kept]
    acknowledge(kept, events)
    return new


def half_kept(kept, events):
    for key, event in events:
        if kept.setdefault(key, event) != event:
            raise ValueError(key)
    return [key for key, _ in events]


def overwritten(kept, events):
    kept.update(events)
    return [key for key, _ in events]


def nothing_kept(kept, events):
    return [key for key, _ in events]


def hedged(first, second, wait):
    """The second copy is asked at `wait`, so its answer is there at wait + second; the first goes on working meanwhile.

    With a wait of p95 one request in twenty is sent twice, and an answer is later than p95 + x only if both copies are
    slow: in 0.05 times the share of answers that take longer than x. So p99 becomes p95 + p80, if it was not below that
    already. Where p99 is twice p95, as our first answers at 1 connection, that gains little; hedging pays where a few
    answers take ten times as long as the others. At 16 connections nearly all of the time is waiting in line, and a
    second copy on the same two cores lengthens the line: the function assumes that it is as fast as if it were alone.
    Hedging helps against bad luck, not against too much work."""
    late = first > wait
    return np.where(late, np.minimum(first, wait + second), first), late.mean()


def always_asked(first, second, wait):
    return np.minimum(first, second), 1.0


def asked_at_once(first, second, wait):
    return np.where(first > wait, np.minimum(first, second), first), (first > wait).mean()


def given_up(first, second, wait):
    return np.where(first > wait, wait + second, first), (first > wait).mean()


def counted_wrongly(first, second, wait):
    times, share = hedged(first, second, wait)
    return times, 1 - share


def times_alone(first, second, wait):
    return hedged(first, second, wait)[0]


solutions = {"18.1": replicas, "18.2": in_turn, "18.3": acknowledge, "18.4": hedged}
wrong = {
    "18.1": [
        (lambda rate, seconds, utilisation: rate * seconds / utilisation, "round up"),
        (lambda rate, seconds, utilisation: math.ceil(rate * seconds), "mind the utilisation"),
        (lambda rate, seconds, utilisation: math.ceil(rate * seconds * utilisation), "divide by the utilisation"),
        (lambda rate, seconds, utilisation: int(rate * seconds / utilisation), "Rounded down"),
        (lambda rate, seconds, utilisation: 1, "it is"),
    ],
    "18.2": [
        (with_repetitions, "twice"),
        (one_after_another, "had a turn"),
        (a_turn_is_lost, "chooses its next"),
        (the_shortest_ends_it, "the others go on"),
        (all_of_them, "as soon as"),
    ],
    "18.3": [
        (only_new_keys, "every key"),
        (half_kept, "a part of it"),
        (overwritten, "must raise"),
        (nothing_kept, "you kept"),
    ],
    "18.4": [
        (times_alone, "two things"),
        (always_asked, "never asked"),
        (asked_at_once, "only after the wait"),
        (given_up, "goes on working"),
        (counted_wrongly, "your share"),
    ],
}
