"""The checks of notebook 04's exercises."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from course.checks import exercise
from recfuse_lib.data import movielens, splits
from recfuse_lib.evaluation.metrics import evaluate

TO_BEAT = 0.12
"""NDCG@10 on validation; EASE(50, Weighting(0.3, 10, 0.2)) reaches 0.117."""


@exercise(
    "04.1",
    start="Equation 2: sum 1 / log2(k + 1) over the ranks with a hit; divide by the best sum that two targets allow.",
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
    start="Equation 12: with d = personal - means, alpha is the sum of d * (ratings - means) over the sum of d * d.",
    right="It is a regression of what the mean leaves over on what the personal prediction adds, clipped to 0–1.",
)
def alpha(answer: Callable[..., float]) -> str | None:
    generator = np.random.default_rng(0)
    means = generator.uniform(2, 4, 200)
    difference = generator.normal(0, 0.5, 200)
    noise = generator.normal(0, 0.3, 200)
    personal = means + difference
    for true in (0.7, 0.2):
        ratings = means + true * difference + noise
        exact = difference @ (ratings - means) / (difference @ difference)
        found = float(answer(ratings, personal, means))
        if np.isclose(found, 1 - exact):
            return "That is the weight of the item mean; α is the weight of the personal prediction."
        if np.isclose(found, ratings @ personal / (personal @ personal)):
            return "Take the item mean off both sides first: regress ratings - means on personal - means."
        if not np.isclose(found, exact):
            return (
                f"For ratings made with α = {true} you find {found:.3f}, and the least squared error is at {exact:.3f}."
            )
    for true, bound in ((1.6, 1.0), (-0.5, 0.0)):
        if not np.isclose(float(answer(means + true * difference, personal, means)), bound):
            return (
                f"Here the parabola's lowest point is at {true}, outside of 0–1: a weight of a mixture must be clipped."
            )
    return None


@exercise(
    "04.3",
    start="Take the logQ-corrected scores of Equation 10: subtract the logarithm of each item's share Q.",
    right="A frequent item is drawn often as a wrong answer; less log Q, its score no longer pays for that.",
)
def correction(answer: Callable[..., np.ndarray]) -> str | None:
    scores = np.array([[2.0, 1.0, 0.5], [0.0, 3.0, 1.0]])
    share = np.array([0.7, 0.2, 0.1])
    before = scores.copy()
    found = np.asarray(answer(scores, share))
    if not np.array_equal(scores, before):
        return "The scores that were given have changed; compute new ones instead of writing into the array."
    if np.allclose(found, scores + np.log(share)):
        return "The sign is wrong way round: with + log Q a popular item gains, and it is drawn too often already."
    if np.allclose(found, scores - share):
        return "Subtract the logarithm of the share, not the share: scores are logarithms of probabilities."
    if found.shape != scores.shape:
        return f"The result has shape {found.shape}; the scores have {scores.shape}."
    return None if np.allclose(found, scores - np.log(share)) else "Each score less the logarithm of its item's share."


@exercise(
    "04.4",
    start="Print the shape of what `Dot` gives, and look which axis of 1 × 64 has the length 64.",
    right="Along axis 2 lie the 64 numbers of a vector; the flattened result is one number a pair.",
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
    start="Start from EASE(50, Weighting(0.3, 10, 0.2)), change one thing at a time, and judge on validation only.",
    right="Better than the strong baseline on validation. How much would the test confirm, after all your trials?",
)
def stronger(answer: Any) -> str | None:
    fold = _validation()
    missing = [name for name in ("fit", "score") if not hasattr(answer, name)]
    if missing:
        return f"Hand in an object with fit(history, items) and score(queries); yours has no {missing[0]}."
    reached = evaluate(answer.fit(fold.history, fold.items), fold).summary()["ndcg@10"]
    if reached < 0.06:
        return f"NDCG@10 is {reached:.3f}, about that of popularity. Does the model use the person's history?"
    return None if reached > TO_BEAT else f"NDCG@10 is {reached:.4f}; more than {TO_BEAT} is asked for. Go on."


@functools.cache
def _validation() -> splits.Fold:
    return splits.warm(movielens.load()).validation
