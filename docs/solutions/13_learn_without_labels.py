"""Solutions of notebook 13, and wrong answers with a word of the hint that each should get."""

import numpy as np

ENTROPY0 = 1.295
"""−0.3 log₂ 0.3 − 0.1 log₂ 0.1 − 0.6 log₂ 0.6. Among those who know the film it would be 0.811: 'don't know' adds to
it, because whether somebody knows a film says something about them."""


def next_question(worth, chance, asked):
    """The mean over the answers, each as likely as it is; what was asked comes last."""
    expected = (worth * chance).sum(axis=1)
    expected[list(asked)] = -np.inf
    return int(expected.argmax())


def honest(rated, liked, half):
    """Only what was rated *and* lies in the half may be answered; all else is 'don't know', 2."""
    knows = rated & half
    return np.where(knows, np.where(liked, 0, 1), 2)


def contrast(one, two, temperature):
    """Cross-entropy of each row of cosines, in both directions.

    The largest logit is taken away before the exponential: at a small temperature it would overflow.
    """
    one, two = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (one, two))
    losses = []
    for alike in (one @ two.T / temperature, two @ one.T / temperature):
        shifted = alike - alike.max(axis=1, keepdims=True)
        losses.append(np.mean(np.log(np.exp(shifted).sum(axis=1)) - np.diag(shifted)))
    return (losses[0] + losses[1]) / 2


def capped(scores, known, count, most):
    """From the surest down, a pair is taken unless its film has had its share.

    With five known events, one guess a person and at most 5 a film, the hundred most popular films take 38 % of the
    positions after five rounds instead of 52 %. NDCG@10 does not profit, .054 instead of .065: a cap bounds the drift
    and not the error, and what it leaves out are the guesses that the model was surest of.
    """
    taken, rows, items = np.zeros(scores.shape[1], int), [], []
    for place in np.argsort(-scores, axis=None, kind="stable"):
        row, item = np.unravel_index(place, scores.shape)
        if len(rows) < count and not known[row, item] and taken[item] < most:
            taken[item] += 1
            rows.append(row)
            items.append(item)
    return np.array(rows), np.array(items)


def changes_the_table(worth, chance, asked):
    worth *= chance
    worth[list(asked)] = -np.inf
    return worth.sum(axis=1).argmax()


def one_way(one, two, temperature, total=np.mean):
    one, two = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (one, two))
    alike = one @ two.T / temperature
    return total(np.log(np.exp(alike).sum(axis=1)) - np.diag(alike))


def overflows(one, two, temperature):
    with np.errstate(over="ignore"):
        return (one_way(one, two, temperature) + one_way(two, one, temperature)) / 2


def too_many(scores, known, count, most):
    return (uncapped if count > 3 else capped)(scores, known, count, most)


def uncapped(scores, known, count, most):
    free = np.where(known, -np.inf, scores)
    return np.unravel_index(np.argsort(-free, axis=None, kind="stable")[:count], scores.shape)


solutions = {
    "13.1": ENTROPY0,
    "13.2": next_question,
    "13.3": honest,
    "13.4": contrast,
    "13.5": capped,
}
wrong = {
    "13.1": [(0.811, "third class"), (0.898, "base 2"), (1.5, "three answers")],
    "13.2": [
        (lambda worth, chance, asked: worth.max(axis=1).argmax(), "nine of ten"),
        (lambda worth, chance, asked: worth.mean(axis=1).argmax(), "plain mean"),
        (lambda worth, chance, asked: 3, "expected 2"),
        (lambda worth, chance, asked: (worth * chance).sum(axis=1).argmax(), "again"),
        (lambda worth, chance, asked: 0 if asked else 2, "expected 1"),
        (changes_the_table, "work on a copy"),
    ],
    "13.3": [
        (lambda rated, liked, half: np.where(rated, np.where(liked, 0, 1), 2), "gives away"),
        (lambda rated, liked, half: np.where(half, np.where(liked, 0, 1), 2), "Nobody rated"),
        (lambda rated, liked, half: np.where(liked & half, 0, 2), "an answer of its own"),
        (lambda rated, liked, half: 2 - rated - (liked & half), "Expected"),
        (lambda rated, liked, half: np.array([0, 1]), "shape"),
    ],
    "13.4": [
        (one_way, "one direction"),
        (lambda one, two, temperature: contrast(one, two, 1.0), "has no effect"),
        (lambda one, two, temperature: 5 * contrast(one, two, temperature), "sum over the batch"),
        (lambda one, two, temperature: 0.0, "length 1"),
        (overflows, "overflows"),
    ],
    "13.5": [
        (lambda s, known, count, most: capped(s, known & False, count, most), "known already"),
        (uncapped, "twice"),
        (lambda s, known, count, most: capped(s, known, 1, most), "asked for were 3"),
        (lambda s, known, count, most: (np.array([1, 0, 2]), np.array([0, 1, 2])), "surest allowed"),
        (too_many, "fewer pairs"),
    ],
}  # fmt: skip
