"""Solutions of notebook 18, and wrong answers with the hint that each should get."""

import math

import numpy as np


def replicas(rate, seconds, utilisation):
    return math.ceil(rate * seconds / utilisation)


def allowed_top(scores, allowed, k):
    codes = np.flatnonzero(allowed)
    return codes[np.argsort(-scores[codes])][:k]


def filtered_too_late(scores, allowed, k):
    best = np.argsort(-scores)[:k]
    return best[allowed[best]]


def multiplied(scores, allowed, k):
    return np.argsort(-(scores * allowed))[:k]


def worst_first(scores, allowed, k):
    return allowed_top(scores, allowed, k)[::-1]


def acknowledge(kept, events):
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


solutions = {"18.1": replicas, "18.2": allowed_top, "18.3": acknowledge}
wrong = {
    "18.1": [
        (lambda rate, seconds, utilisation: rate * seconds / utilisation, "round up"),
        (lambda rate, seconds, utilisation: math.ceil(rate * seconds), "mind the utilisation"),
        (lambda rate, seconds, utilisation: math.ceil(rate * seconds * utilisation), "divide by the utilisation"),
        (lambda rate, seconds, utilisation: int(rate * seconds / utilisation), "Rounded down"),
        (lambda rate, seconds, utilisation: 1, "it is"),
    ],
    "18.2": [(filtered_too_late, "filter first"), (multiplied, "not allowed"), (worst_first, "comes first")],
    "18.3": [
        (only_new_keys, "every key"),
        (half_kept, "a part of it"),
        (overwritten, "must raise"),
        (nothing_kept, "you kept"),
    ],
}
