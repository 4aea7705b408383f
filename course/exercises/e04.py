"""The checks of notebook 04's exercises."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from course.checks import exercise
from recfuse_lib.data import movielens, splits
from recfuse_lib.evaluation.metrics import evaluate

TO_BEAT = 0.162
"""NDCG@10 on validation; EASE(100, Weighting(0.3, 3, 0.2)), the choice of the lesson, reaches 0.160."""


@exercise(
    "04.1",
    start="Which two sums does Equation 4.2 divide, and how many terms has each of them here?",
    right="The best list has both targets on top: 1 + 1 / log2(3). Yours has them at ranks 2 and 5.",
)
def ndcg(answer: float) -> str | None:
    found = 1 / np.log2(3) + 1 / np.log2(6)
    if np.isclose(answer, found, atol=1e-3):
        return "That is the DCG. Divide by the DCG of the best possible list."
    if np.isclose(answer, found / (1 / np.log2(np.arange(2, 7))).sum(), atol=1e-3):
        return "Your ideal list has five hits, but there are only two targets: its sum ends at min(n, K)."
    if np.isclose(answer, 1.0):
        return "That is the recall. NDCG also asks how high the hits stand."
    if np.isclose(answer, (1 / np.log(2) + 1 / np.log(5)) / (1 + 1 / np.log2(3)), atol=1e-2):
        return "The discount is log2(k + 1), counted from rank 1."
    return (
        None if np.isclose(answer, found / (1 + 1 / np.log2(3)), atol=1e-3) else "Write down the two sums separately."
    )


@exercise(
    "04.2",
    start="Begin with one group. Then ask: what becomes of Equation 4.13 for a group in which there is nothing to "
    "divide by?",
    right="One regression per group, clipped to 0–1, and the α of all where a group says nothing. Where does the "
    "personal prediction deserve more weight? The solution says what we found.",
)
def alphas(answer: Callable[..., Any]) -> str | None:
    generator = np.random.default_rng(0)
    true = np.array([0.7, 0.2, 1.6, -0.5, 0.0, 0.4])
    group = np.repeat([0, 1, 2, 3, 5], 60)
    means, difference = generator.uniform(2, 4, 300), generator.normal(0, 0.5, 300)
    difference[group == 5] = 0
    ratings = means + true[group] * difference + generator.normal(0, 0.3, 300)
    personal = means + difference

    def exact(rows: np.ndarray) -> float:
        d = difference[rows]
        return float(d @ (ratings - means)[rows] / (d @ d))

    of_all = exact(group >= 0)
    unclipped = np.array([exact(group == number) for number in range(4)])
    found = np.asarray(answer(ratings, personal, means, group), "float64")
    if found.shape == ():
        return "That is one number for all ratings; each group has its own α."
    if found.shape != (6,):
        return f"The result has shape {found.shape}; the groups are 0 to 5, and group 4 happens to be empty."
    if np.allclose(found[:4], of_all):
        return "All groups have the α of all ratings; each is fitted on its own ratings alone."
    if np.allclose(found[:4], 1 - unclipped):
        return "That is the weight of the item mean; α is the weight of the personal prediction."
    if np.allclose(found[:4], unclipped):
        return "Two groups have an α outside of 0–1: a weight of a mixture must be clipped."
    if np.isnan(found[4:]).any():
        return "Groups 4 and 5 get NaN: one is empty, in the other the two predictions agree. They get the α of all."
    if not np.allclose(found[:4], np.clip(unclipped, 0, 1)):
        return f"Group 0 was made with α = 0.7; you find {found[0]:.3f}, and the least error is at {unclipped[0]:.3f}."
    return (
        None if np.allclose(found[4:], of_all) else "Groups 4 and 5 say nothing about α; they get that of all ratings."
    )


@exercise(
    "04.3",
    start="How probable is it that one draw gives a certain film? Count both ways in which that can happen.",
    right="Q is the probability of a draw, however it comes about: part of it evenly over the catalogue, part of it by "
    "popularity. With even = 0 it is the correction of section 7; with even = 1 it changes nothing.",
)
def correction(answer: Callable[..., np.ndarray]) -> str | None:
    scores = np.array([[2.0, 1.0, 0.5], [0.0, 3.0, 1.0]])
    share, even, n_items = np.array([0.5, 0.2, 0.1]), 0.25, 20
    before = scores.copy()
    found = np.asarray(answer(scores, share, even, n_items))
    q = even / n_items + (1 - even) * share
    if not np.array_equal(scores, before):
        return "The scores that were given have changed; compute new ones instead of writing into the array."
    if found.shape != scores.shape:
        return f"The result has shape {found.shape}; the scores have {scores.shape}."
    if np.allclose(found, scores + np.log(q)):
        return "The sign is the wrong way round: with + log Q a film that is drawn often gains, and it should pay."
    if np.allclose(found, scores - np.log(share)):
        return "That is the correction for draws by popularity alone; a share of the draws is even."
    if np.allclose(found, scores - q):
        return "Subtract the logarithm of Q, not Q: scores are logarithms of probabilities."
    if np.allclose(found, scores - even * np.log(1 / n_items) - (1 - even) * np.log(share)):
        return "You mix the logarithms. The probabilities add up first; their sum has a logarithm."
    if np.allclose(found, scores - np.log(even / 3 + (1 - even) * share)):
        return "An even draw is from the whole catalogue, not from the films that were drawn."
    if np.allclose(found, scores - np.log(even * share + (1 - even) / n_items)):
        return "`even` is the probability of an even draw; you gave it to popularity."
    return None if np.allclose(found, scores - np.log(q)) else "Write down Q of one film first, as a sum of two terms."


@exercise(
    "04.4",
    start="Section 9.2 printed the shape that the article's Dot gives. Over which axis does it sum, and how long is "
    "that?",
    right="Along axis 2 lie the 64 numbers of a vector; the flattened result is one number per pair.",
)
def dot(answer: Callable[..., Any]) -> str | None:
    import keras

    generator = np.random.default_rng(0)
    user, item = (generator.normal(size=(5, 1, 64)).astype("float32") for _ in range(2))
    found = keras.ops.convert_to_numpy(answer(user, item))
    exact = (user * item).sum((1, 2))
    if found.shape == (5, 64, 64):
        return "That is the outer product, 64 × 64 numbers a pair: the axis of the sum has length 1."
    if found.shape in ((5, 5), (1, 1)):
        return "Users are multiplied with the items of other rows too; each pair stands for itself."
    if found.size != 5:
        return f"The result has shape {found.shape}; a pair of vectors gives one number, so five numbers here."
    if np.allclose(found.ravel(), exact / 64, atol=1e-4):
        return "That is the mean of the products; a dot product is their sum."
    return None if np.allclose(found.ravel(), exact, atol=1e-3) else "Multiply number by number, then sum over the 64."


@exercise(
    "04.5",
    start="Section 6 shows which of the simple changes brought most. Change one thing at a time, and count your "
    "trials.",
    right="Better than the strong baseline on validation. How much would the test confirm, after all your trials? The "
    "solution says how much it did of ours.",
)
def stronger(answer: Any) -> str | None:
    fold = _validation()
    missing = [name for name in ("fit", "score") if not hasattr(answer, name)]
    if missing:
        return f"Hand in an object with fit(history, items) and score(queries); yours has no {missing[0]}."
    reached = evaluate(answer.fit(fold.history, fold.items), fold).summary()["ndcg@10"]
    if reached < 0.09:
        return f"NDCG@10 is {reached:.3f}, about that of popularity. Does the model use the person's history?"
    return None if reached > TO_BEAT else f"NDCG@10 is {reached:.4f}; more than {TO_BEAT} is asked for. Go on."


@functools.cache
def _validation() -> splits.Fold:
    return splits.warm(movielens.load()).validation
