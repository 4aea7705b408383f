"""Solutions of notebook 12, and wrong answers with the hint that each should get."""

import numpy as np

# 48 bytes for each of a million items, and 48 × 256 centres of 8 float32: 48 + 0.393 million bytes.
SIZE = 48 + 48 * 256 * 8 * 4 / 1e6


def four_bits(matrix):
    # On MiniLM the vectors then keep a cosine of about 0.85 with those of before: too coarse without more care, such
    # as a scale for every 32 weights of a column, which is how files of large language models do it.
    scale = np.abs(matrix).max(axis=0, keepdims=True) / 7
    return np.round(matrix / scale).astype("int8"), scale


def four_bits_with_one_scale(matrix):
    scale = np.abs(matrix).max() / 7
    return np.round(matrix / scale), scale


def eight_bits(matrix):
    scale = np.abs(matrix).max(axis=0, keepdims=True) / 127
    return np.round(matrix / scale), scale


def four_bits_cut_off(matrix):
    scale = np.abs(matrix).max(axis=0, keepdims=True) / 7
    return np.trunc(matrix / scale * (1 + 1e-9)), scale


def four_bits_of_rows(matrix):
    scale = np.abs(matrix).max(axis=1, keepdims=True) / 7
    return np.round(matrix / scale), scale


def four_bits_not_whole(matrix):
    scale = np.abs(matrix).max(axis=0, keepdims=True) / 7
    return matrix / scale, scale


def four_bits_too_coarse(matrix):
    scale = np.abs(matrix).max(axis=0, keepdims=True) / 5
    return np.round(matrix / scale), scale


def on_the_frontier(ms, ndcg):
    as_fast, as_good = ms[None] <= ms[:, None], ndcg[None] >= ndcg[:, None]
    better = (ms[None] < ms[:, None]) | (ndcg[None] > ndcg[:, None])
    return ~(as_fast & as_good & better).any(axis=1)


def frontier_of_both(ms, ndcg):
    return ~((ms[None] < ms[:, None]) & (ndcg[None] > ndcg[:, None])).any(axis=1)


def frontier_without_ties(ms, ndcg):
    as_fast, as_good = ms[None] <= ms[:, None], ndcg[None] >= ndcg[:, None]
    return ~(as_fast & as_good & ~np.eye(len(ms), dtype=bool)).any(axis=1)


def frontier_in_their_order(ms, ndcg):
    return ndcg > np.concatenate([[-np.inf], np.maximum.accumulate(ndcg)[:-1]])


def look_up_products(query, centres, codes):
    parts, _, width = centres.shape
    products = np.einsum("pw,pcw->pc", query.reshape(parts, width), centres)
    return products[np.arange(parts), codes].sum(axis=1)


def decoded(centres, codes):
    return np.concatenate([part[code] for part, code in zip(centres, codes.T, strict=True)], axis=1)


def distances(query, centres, codes):
    return ((decoded(centres, codes) - query) ** 2).sum(axis=1)


def without_the_query(query, centres, codes):
    return centres.sum(axis=2)[np.arange(len(centres)), codes].sum(axis=1)


def centres_of_the_first_part(query, centres, codes):
    return look_up_products(query, np.repeat(centres[:1], len(centres), axis=0), codes)


solutions = {"12.1": SIZE, "12.2": four_bits, "12.3": on_the_frontier, "12.4": look_up_products}
wrong = {
    "12.1": [
        (48, "the centres too"),
        (48 + 48 * 256 * 384 * 4 / 1e6, "as long as a part"),
        (48 * 4 + 256 * 384 * 4 / 1e6, "how many bits"),
        (1536, "Codes and centres"),
    ],
    "12.2": [
        (four_bits_with_one_scale, "One scale serves"),
        (eight_bits, "with four bits it is 7"),
        (four_bits_cut_off, "half a step"),
        (four_bits_of_rows, "one scale for each column"),
        (four_bits_not_whole, "round them"),
        (four_bits_too_coarse, "become 7"),
        (lambda matrix: (four_bits(matrix)[0][0], four_bits(matrix)[1]), "one whole number for each weight"),
    ],
    "12.3": [
        (frontier_of_both, "equally fast"),
        (frontier_without_ties, "do not push"),
        (frontier_in_their_order, "in no order"),
        (lambda ms, ndcg: ndcg > 0, "slower and worse"),
        (lambda ms, ndcg: ndcg.max(), "one truth value"),
    ],
    "12.4": [
        (distances, "the distance"),
        (without_the_query, "does not count"),
        (centres_of_the_first_part, "of that part"),
        (lambda query, centres, codes: decoded(centres, codes) * query, "one score for each item"),
    ],
}
