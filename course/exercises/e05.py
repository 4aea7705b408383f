"""The checks of notebook 05's exercises."""

from collections.abc import Callable
from typing import Any

import numpy as np

from course.checks import exercise


@exercise(
    "05.1",
    start="Draw a square, t downwards and j to the right. Which of its fields may a causal model use?",
    right="Of 25 pairs 15 have j ≤ t: the lower triangle with its diagonal.",
)
def visible_pairs(answer: int) -> str | None:
    hints = {25: "That is all pairs, the future among them.", 5: "That is the diagonal alone."}
    hints[10] = "Those are the pairs with j < t. A position also sees its own event: that one has happened."
    return None if answer == 15 else hints.get(answer, "Draw the square of t and j and count the pairs with j ≤ t.")


@exercise(
    "05.2",
    start="What would row 0 be, which sees one position only? Write it down, then row 1, then think of all at once.",
    right="Each row sums to one, and nothing above the diagonal has any weight.",
)
def causal_weights(answer: Callable[..., np.ndarray]) -> str | None:
    generator = np.random.default_rng(0)
    query, key = generator.normal(size=(2, 5, 4))
    logits = query @ key.T / 2
    allowed = np.tri(5, dtype=bool)
    powers = np.where(allowed, np.exp(logits), 0.0)
    exact = powers / powers.sum(1, keepdims=True)
    found = np.asarray(answer(query, key))
    if found.shape != (5, 5):
        return f"The result has shape {found.shape}; five positions look at five positions."
    if np.allclose(found, np.where(allowed, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), 0)):
        return (
            "The mask comes after the softmax: the rows no longer sum to one, and the future has had its say in them."
        )
    if np.triu(np.abs(found), 1).max() > 1e-6:
        zeros = np.exp(np.where(allowed, logits, 0.0))
        if np.allclose(found, zeros / zeros.sum(1, keepdims=True)):
            return "A logit of 0 is no mask: exp(0) = 1 is a weight like any other. Use minus infinity."
        if not np.tril(np.abs(found), -1).max() > 1e-6:
            return "You see the future and hide the past: the condition is j ≤ t."
        return "There is weight above the diagonal: position t sees what comes after it."
    if np.allclose(found, _softmax(np.where(allowed, query @ key.T, -np.inf))):
        return "The logits lack the division by √d, here by 2."
    if np.allclose(found.sum(0), 1) and not np.allclose(found.sum(1), 1):
        return "The softmax runs over the positions t; it must run over j, along each row."
    if not np.isfinite(found).all():
        return "There is a NaN: a row in which everything is minus infinity has no softmax. The diagonal must stay."
    huge = np.asarray(answer(query * 1e3, key * 1e3))
    if not np.isfinite(huge).all():
        return "Right for small numbers, but it overflows for large ones: subtract each row's maximum first."
    return None if np.allclose(found, exact) else "Compute row 0 by hand: it sees one position, with weight one."


@exercise(
    "05.3",
    start="Draw the square of people and targets. Where are the right answers, and whose share belongs to which "
    "column?",
    right="Each target competes with all targets of the batch, and an item does not suffer for being popular. The "
    "correction belongs to what enters the softmax, so it comes after the division by τ.",
)
def in_batch(answer: Callable[..., Any]) -> str | None:
    generator = np.random.default_rng(1)
    interests, vectors = generator.normal(size=(2, 6, 3))
    share, temperature = generator.dirichlet(np.ones(6)), 0.2
    cosine = _unit(interests) @ _unit(vectors).T
    exact = _in_batch(cosine / temperature - np.log(share))
    found = np.asarray(answer(interests, vectors, share, temperature), "float64")
    if found.size != 1:
        return f"The result has shape {found.shape}; the loss of a batch is one number, the mean over its rows."
    if np.isclose(found, _in_batch(interests @ vectors.T / temperature - np.log(share))):
        return "Those are dot products: divide both sides by their lengths first, row by row."
    if np.isclose(found, _in_batch(cosine / temperature)):
        return "Nothing is corrected. Subtract log Q of the item of each column; taken off a whole row it cancels."
    if np.isclose(found, _in_batch((cosine - np.log(share)) / temperature)):
        return "The correction is divided by τ as well, so here it is five times as strong as it should be."
    if np.isclose(found, _in_batch(cosine * temperature - np.log(share))):
        return "You multiply by τ; a small temperature makes the differences larger."
    if np.isclose(found, _in_batch(cosine / temperature + np.log(share))):
        return "The sign is the wrong way round: with + log Q popular items pay twice."
    if np.isclose(found, _in_batch(cosine.T / temperature - np.log(share))):
        return "Your rows are items: the softmax must run over the items, for each person."
    if np.isclose(found, exact * 6):
        return "That is the sum over the batch; take the mean."
    if np.isclose(found, -exact):
        return "The sign is wrong: a loss is minus a log-probability."
    return None if np.isclose(found, exact) else "Write down the 6 × 6 matrix of corrected scores, then one row's loss."


@exercise(
    "05.4",
    start="`looks_ahead` of section 3 has one place at which the histories part. Which leaks would it not see?",
    right="It names the leaky model and clears the honest ones, whatever their outputs look like.",
)
def leak_test(answer: Callable[..., bool]) -> str | None:
    def honest(x: np.ndarray) -> np.ndarray:
        return np.cumsum(x, axis=0)

    def itself(x: np.ndarray) -> np.ndarray:
        return np.array(x) ** 2

    def peeks(x: np.ndarray) -> np.ndarray:
        return np.asarray(np.cumsum(x, axis=0) + np.roll(x, -1, axis=0))

    def mean_of_all(x: np.ndarray) -> np.ndarray:
        return np.asarray(np.zeros_like(x) + x.mean(axis=0))

    def far(x: np.ndarray) -> np.ndarray:
        return np.asarray(np.cumsum(x, axis=0) + np.where(np.arange(len(x))[:, None] < 2, x[-1], 0))

    def late(x: np.ndarray) -> np.ndarray:
        return np.asarray(np.cumsum(x, axis=0) + np.where(np.arange(len(x))[:, None] == 5, x[6], 0))

    for model, hint in (
        (honest, "A running sum only looks back, but your test accuses it. Compare what lies before the change only."),
        (itself, "A position may see its own event; only what comes after it is forbidden."),
    ):
        if answer(model, 8):
            return hint
    for model, hint in (
        (peeks, "A model that sees one position ahead passes your test. Compare also the one just before the change."),
        (mean_of_all, "A model that averages the whole history passes your test."),
        (
            far,
            "A model whose first positions see the last passes your test. Change all that comes after, also the last.",
        ),
        (
            late,
            "A model in which position 5 sees position 6, and nothing else is wrong, passes your test. Let the "
            "histories part after every position in turn.",
        ),
    ):
        if not answer(model, 8):
            return hint
    return None


@exercise(
    "05.5",
    start="Take one film. How long is its δ, how long may it be, and by what must every number of it be multiplied?",
    right="Content decides where a film begins, and ε how far behaviour may take it from there. Is it ahead of a "
    "frozen or of a free δ? The solution says what we found.",
)
def bounded(answer: Callable[..., Any]) -> str | None:
    delta = np.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0], [-6.0, 8.0]])
    anchor = np.array([[0.0, 2.0], [2.0, 0.0], [1.0, 0.0], [0.0, 40.0]])
    before = delta.copy()
    found = np.asarray(answer(delta, anchor, 0.5), "float64")
    if not np.array_equal(delta, before):
        return "The δ that was given has changed; return a new array."
    if found.shape != delta.shape:
        return f"The result has shape {found.shape}; δ has {delta.shape}."
    if np.isnan(found).any():
        return "A film that nothing has moved, a row of zeros, gets NaN: you divide by its length."
    if np.allclose(found[:2], [[0.6, 0.8], [0.6, 0.8]]):
        return "A short δ is made longer: only rows above the limit may change."
    if np.allclose(found, np.clip(delta, -0.5, 0.5)):
        return "You clip number by number; that changes the direction. Shorten the row as a whole."
    if np.allclose(found[0], [0.3, 0.4]):
        return "You limit δ to the length ε; the limit is ε times the length of the anchor's row."
    if np.allclose(found[3], delta[3] / 2):
        return "The last film's δ has length 10 and may have 20; it must stay as it is."
    right = np.array([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0], [-6.0, 8.0]])
    return (
        None
        if np.allclose(found, right)
        else "The first film's anchor has length 2, so its δ may have length 1: (0.6, 0.8)."
    )


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def _in_batch(scores: np.ndarray) -> float:
    return float(-np.log(np.diag(_softmax(scores))).mean())


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))
