"""Solutions of notebook 19, and wrong answers with the hint that each should get."""

import numpy as np

P, Q = np.array([0.6, 0.4]), np.array([0.4, 0.6])


def decide(low, high, harm):
    if low > -harm:
        return "promote"
    return "refuse" if high < -harm else "wait"


def decide_by_zero(low, high, harm):
    return "promote" if low > 0 else "refuse" if high < -harm else "wait"


def decide_by_the_middle(low, high, harm):
    return "promote" if (low + high) / 2 > -harm else "refuse"


def decide_with_a_gain(low, high, harm):
    return "promote" if low > harm else "refuse" if high < harm else "wait"


def decide_that_no_loss_is_allowed(low, high, harm):
    return "refuse" if high < 0 else "promote" if low > -harm else "wait"


def decide_with_one_harm(low, high, harm):
    return decide(low, high, 0.02)


def decide_upside_down(low, high, harm):
    return {"promote": "refuse", "refuse": "promote", "wait": "wait"}[decide(low, high, harm)]


def decide_never_to_refuse(low, high, harm):
    return "promote" if low > -harm else "wait"


def receive(stored, events):
    fresh = {}
    for key, event in events:
        if {**fresh, **stored}.get(key, event) != event:
            raise ValueError(f"key {key!r} stands for another event")
        fresh[key] = event
    stored.update(fresh)
    return [key for key, _ in events]


def receive_new_ones_alone(stored, events):
    acknowledged = [key for key, _ in dict(events).items() if key not in stored]
    receive(stored, events)
    return acknowledged


def receive_without_a_look(stored, events):
    stored.update(events)
    return [key for key, _ in events]


def receive_one_by_one(stored, events):
    for key, event in events:
        if stored.setdefault(key, event) != event:
            raise ValueError(key)
    return [key for key, _ in events]


def receive_against_the_store(stored, events):
    if any(stored.get(key, event) != event for key, event in events):
        raise ValueError("another event")
    stored.update(events)
    return [key for key, _ in events]


def deals(then, now, figure, generator):
    both = np.concatenate([then, now])
    found = []
    for _ in range(200):
        dealt = generator.permutation(both)
        found.append(figure(dealt[: len(then)], dealt[len(then) :]))
    return np.array(found)


def chance_level(then, now, figure, generator):
    return np.quantile(deals(then, now, figure, generator), 0.99)


def chance_level_with_replacement(then, now, figure, generator):
    both = np.concatenate([then, now])
    draws = [(generator.choice(both, len(then)), generator.choice(both, len(now))) for _ in range(200)]
    return np.quantile([figure(*draw) for draw in draws], 0.99)


def chance_level_of_halves(then, now, figure, generator):
    both = np.concatenate([then, now])
    dealt = [np.array_split(generator.permutation(both), 2) for _ in range(200)]
    return np.quantile([figure(*halves) for halves in dealt], 0.99)


def rows_to_learn(timestamp, since, replay, generator):
    new, old = np.flatnonzero(timestamp >= since), np.flatnonzero(timestamp < since)
    weight = 1 / (since - timestamp[old])
    size = min(len(old), round(replay * len(new)))
    kept = generator.choice(old, size, replace=False, p=weight / weight.sum()) if size else old[:0]
    return np.sort(np.concatenate([new, kept]))


def rows_at_random(timestamp, since, replay, generator):
    new, old = np.flatnonzero(timestamp >= since), np.flatnonzero(timestamp < since)
    kept = generator.choice(old, min(len(old), round(replay * len(new))), replace=False) if len(old) else old
    return np.sort(np.concatenate([new, kept]))


def rows_of_the_far_past(timestamp, since, replay, generator):
    new, old = np.flatnonzero(timestamp >= since), np.flatnonzero(timestamp < since)
    weight = since - timestamp[old]
    size = min(len(old), round(replay * len(new)))
    kept = generator.choice(old, size, replace=False, p=weight / weight.sum()) if size else old[:0]
    return np.sort(np.concatenate([new, kept]))


solutions = {
    "19.1": float(np.sum((Q - P) * np.log(Q / P))),
    "19.2": decide,
    "19.3": receive,
    "19.4": chance_level,
    "19.5": rows_to_learn,
}
wrong = {
    "19.1": [
        (0.081, "one bin"),
        (0.234, "natural logarithm"),
        (-0.162, "never negative"),
        (0.5, "Each bin adds"),
    ],
    "19.2": [
        (decide_by_zero, "no loss as large"),
        (decide_by_the_middle, "neither is certain"),
        (decide_with_a_gain, "no loss as large"),
        (decide_that_no_loss_is_allowed, "a little worse is allowed"),
        (decide_with_one_harm, "With another harm"),
        (decide_upside_down, "harm is a loss"),
        (decide_never_to_refuse, "even its high end"),
    ],
    "19.3": [
        (receive_new_ones_alone, "acknowledged too"),
        (receive_without_a_look, "in the store must raise"),
        (receive_one_by_one, "stored in part"),
        (receive_against_the_store, "in the same list"),
        (lambda stored, events: None, "in its order"),
    ],
    "19.4": [
        (chance_level_with_replacement, "with replacement"),
        (chance_level_of_halves, "keeps both sizes"),
        (lambda *arguments: deals(*arguments).max(), "largest of all"),
        (lambda *arguments: np.quantile(deals(*arguments), 0.95), "95 % quantile"),
        (lambda *arguments: deals(*arguments).mean(), "Return the 99 %"),
    ],
    "19.5": [
        (rows_at_random, "equally likely"),
        (rows_of_the_far_past, "turn the weights round"),
        (lambda timestamp, since, *_: np.flatnonzero(timestamp > since), "exactly at"),
        (lambda timestamp, since, *_: np.flatnonzero(timestamp >= since), "you chose 0"),
        (lambda *arguments: rows_to_learn(*arguments)[::-1], "ascending"),
    ],
}
