"""The checks of notebook 12, Make the encoder small and fast."""

from collections.abc import Callable
from typing import Any

import numpy as np

from course.checks import exercise


@exercise(
    "12.1",
    start="Write down what is kept once for each item, and what is kept once for all of them.",
    right="The centres are the same for a thousand items and for a billion; only the codes grow.",
)
def size_of_codes(answer: float) -> str | None:
    codes, centres = 48.0, 256 * 384 * 4 / 1e6
    if np.isclose(answer, codes, atol=0.005):
        return "Those are the codes; somebody has to know the centres too."
    if np.isclose(answer, codes + 48 * centres, atol=0.01):
        return "Each part has 256 centres, and a centre is as long as a part, not as the whole vector."
    if np.isclose(answer, 48 * 4 + centres, atol=0.01):
        return "A code chooses among 256 centres: how many bits does that need?"
    return None if np.isclose(answer, codes + centres, atol=0.005) else "Codes and centres, in millions of bytes."


@exercise(
    "12.2",
    start="Write down the whole numbers that four bits can say. Which byte holds −7 and 7 when each has 8 added?",
    right="Seventeen times fewer levels than int8: look at the error, and at NDCG, before you ship it.",
)
def four_bits(answer: Callable[[np.ndarray], Any]) -> str | None:
    matrix = np.random.default_rng(0).normal(size=(40, 6)) * [0.1, 1, 5, 1, 1, 20]
    packed, scale = (np.asarray(part) for part in answer(matrix))
    if packed.shape != (20, 6) or packed.dtype != np.uint8:
        return f"Two rows share a row of bytes: uint8 of shape (20, 6) here; yours is {packed.dtype}, {packed.shape}."
    if scale.size == 1:
        return "One scale serves the whole matrix; section 2 shows what that does to narrow columns."
    if scale.size != 6 or scale.shape[-1] != 6:
        return "There is one scale for each column: reduce over the rows, axis 0."
    whole = np.stack([packed & 15, packed >> 4], axis=1).reshape(40, 6).astype(int) - 8
    if not np.array_equal(np.abs(whole).max(axis=0), np.full(6, 7)):
        return "Unpacked, the largest weight of each column should be 7 or −7. Was 8 added before packing?"
    if (np.abs(whole * scale - matrix) <= scale / 2 + 1e-9).all():
        return None
    swapped = whole.reshape(20, 2, 6)[:, ::-1].reshape(40, 6)
    if (np.abs(swapped * scale - matrix) <= scale / 2 + 1e-9).all():
        return "The even rows belong in the low four bits, the odd ones in the high."
    halves = np.concatenate([whole[0::2], whole[1::2]])
    if (np.abs(halves * scale - matrix) <= scale / 2 + 1e-9).all():
        return "You packed the first half of the rows with the second; neighbours share a byte."
    return "Unpacked, some weight is off by more than half a step; round to the nearest whole number."


@exercise(
    "12.3",
    start="Say in words what another encoder must have so that this one is never worth choosing.",
    right="Only these are worth a discussion; among them the choice is yours, not the table's.",
)
def on_the_frontier(answer: Callable[[np.ndarray, np.ndarray], Any]) -> str | None:
    cases = [
        ([1.0, 2.0, 3.0], [0.1, 0.2, 0.15], [True, True, False], "The last is slower and worse than the second."),
        ([3.0, 1.0, 2.0], [0.3, 0.1, 0.2], [True, True, True], "The rows come in no order; compare all pairs."),
        ([1.0, 1.0], [0.1, 0.2], [False, True], "Of two that are equally fast only the better one is on it."),
        ([1.0, 2.0], [0.2, 0.2], [True, False], "Of two that are equally good only the faster one is on it."),
        ([1.0, 1.0], [0.2, 0.2], [True, True], "Two that are equal in both do not push each other off."),
    ]
    for ms, ndcg, expected, hint in cases:
        found = np.asarray(answer(np.array(ms), np.array(ndcg)))
        if found.shape != (len(ms),):
            return f"Return one truth value for each encoder; yours has shape {found.shape}."
        if not np.array_equal(found.astype(bool), expected):
            return hint
    return None


@exercise(
    "12.4",
    start="Write the inner product with a decoded vector as a sum over the parts. What does each summand depend on?",
    right="No vector was decoded: a table of products is made once a query, then every item costs a few look-ups.",
)
def look_up_products(answer: Callable[..., Any]) -> str | None:
    generator = np.random.default_rng(0)
    query, centres = generator.normal(size=12), generator.normal(size=(3, 5, 4))
    codes = generator.integers(0, 5, (20, 3))
    codes[0] = [4, 0, 2]
    decoded = np.concatenate([centres[part, codes[:, part]] for part in range(3)], axis=1)
    found = np.asarray(answer(query, centres, codes))
    if found.shape != (20,):
        return f"Return one score for each item, shape (20,); yours has shape {found.shape}."
    if np.allclose(found, -((decoded - query) ** 2).sum(axis=1)) or np.allclose(
        found, ((decoded - query) ** 2).sum(axis=1)
    ):
        return "That is the distance; asked for is the inner product."
    turned = np.stack([centres[:, :, k] for k in range(4)], axis=2).sum(axis=2)
    if np.allclose(found, turned[np.arange(3), codes].sum(axis=1)):
        return "The query does not count yet."
    if not np.allclose(found, decoded @ query):
        return "Each part's code chooses among the centres of that part; the part of the query is of the same places."
    return None
