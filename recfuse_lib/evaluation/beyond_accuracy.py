"""What a list is like apart from being right: diverse, novel, spread over the catalogue, in keeping with a taste.

Taught in notebook 10.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from recfuse_lib.data.splits import Queries

SMOOTHING = 0.01


def diversity(items: np.ndarray, encodings: np.ndarray) -> np.ndarray:
    """How unlike one another the items of each list are: the mean of 1 − cos(e_i, e_j) over its pairs.

    Args:
        items: Recommended item codes, -1 where a list is shorter, (Q, K).
        encodings: One vector an item, (n_items, D). An item without any (all zeros) is unlike every other.

    Returns:
        (Q,), 0 for lists of items that are all alike; NaN for a list with fewer than two items.

    Example:
        >>> diversity(np.array([[0, 1], [0, 2]]), np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]))
        array([0., 1.])

    References:
        Ziegler, McNee, Konstan and Lausen (2005), Improving Recommendation Lists Through Topic Diversification, WWW.
    """
    encodings = np.asarray(encodings, "float64")
    length = np.linalg.norm(encodings, axis=1, keepdims=True)
    unit = np.divide(encodings, length, out=np.zeros_like(encodings), where=length > 0)
    there = items >= 0
    vectors = unit[items] * there[:, :, None]
    # The sum over pairs from the length of the sum, without ever forming the pairs.
    alike = ((vectors.sum(1) ** 2).sum(1) - (vectors**2).sum((1, 2))) / 2
    pairs = there.sum(1) * (there.sum(1) - 1) / 2
    return np.asarray(1 - np.divide(alike, pairs, out=np.full(len(items), np.nan), where=pairs > 0))


def novelty(items: np.ndarray, counts: np.ndarray, n_users: int) -> np.ndarray:
    """How surprising each list is: the mean of −log₂ p_i bits, p_i = (n_i + 1) / (n_users + 1), over its items.

    p_i is about the probability that a person knows the item.

    Args:
        items: Recommended item codes, -1 where a list is shorter, (Q, K).
        counts: How many people interacted with each item, (n_items,).
        n_users: How many people there are.

    Returns:
        (Q,); 0 bits for what everybody knows; NaN for an empty list.

    Raises:
        ValueError: An item was known by more people than there are.

    Example:
        >>> novelty(np.array([[0, 1]]), np.array([7, 1]), n_users=7)
        array([1.])

    References:
        Vargas and Castells (2011), Rank and Relevance in Novelty and Diversity Metrics, RecSys.
    """
    if counts.max(initial=0) > n_users:
        raise ValueError(f"an item has a count of {counts.max():,} among {n_users:,} people; count people, not events")
    bits = -np.log2((np.asarray(counts) + 1) / (n_users + 1))
    there = items >= 0
    length = there.sum(1)
    return np.asarray(
        np.divide((bits[items] * there).sum(1), length, out=np.full(len(items), np.nan), where=length > 0)
    )


def coverage(items: np.ndarray, candidates: np.ndarray) -> float:
    """Share of the candidates that somebody was shown.

    Args:
        items: Recommended item codes, -1 where a list is shorter, (Q, K).
        candidates: The items that may be recommended, bool (n_items,).

    Example:
        >>> coverage(np.array([[0, 1], [0, -1]]), np.ones(4, bool))
        0.5
    """
    return float((exposure(items, len(candidates)) > 0)[candidates].mean())


def exposure(items: np.ndarray, n_items: int) -> np.ndarray:
    """In how many lists each item stands, (n_items,).

    Example:
        >>> exposure(np.array([[0, 1], [0, -1]]), n_items=3)
        array([2, 1, 0])
    """
    return np.bincount(items[items >= 0], minlength=n_items)


def gini(amounts: np.ndarray) -> float:
    """How unevenly something is shared out: 0 when all get the same, (n − 1) / n when one gets everything.

        G = Σ_i (2i − n − 1) x_(i) / (n Σ_i x_i),  x in ascending order, i = 1 … n

    Args:
        amounts: What each of n gets, not negative and not all 0, (n,).

    Raises:
        ValueError: An amount is negative, or all are 0.

    Example:
        >>> gini(np.array([1, 1, 1, 1])), gini(np.array([0, 0, 0, 8]))
        (0.0, 0.75)

    References:
        Gini (1912), Variabilità e mutabilità.
    """
    ordered = np.sort(np.asarray(amounts, "float64"))
    n, total = len(ordered), ordered.sum()
    if not total > 0 or ordered[0] < 0:
        raise ValueError(f"amounts add up to {total:g}, the smallest is {ordered[:1]}; give some that are not negative")
    return float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * total))


def genre_shares(genres: pd.Series[str]) -> tuple[np.ndarray, list[str]]:
    """Each item's genres as shares that add up to 1: p(g | i).

    Args:
        genres: "Action|Comedy" for each item, "" when there is none.

    Returns:
        Shares (n_items, G), rows of zeros where there is none, and the names of the G genres.

    Example:
        >>> shares, names = genre_shares(pd.Series(["Action|Comedy", "Comedy", ""]))
        >>> names, shares.tolist()
        (['Action', 'Comedy'], [[0.5, 0.5], [0.0, 1.0], [0.0, 0.0]])
    """
    table = genres.str.get_dummies("|").drop(columns="", errors="ignore")
    amounts = table.to_numpy("float64")
    return amounts / np.maximum(amounts.sum(axis=1, keepdims=True), 1), list(table.columns)


def miscalibration(items: np.ndarray, queries: Queries, shares: np.ndarray) -> np.ndarray:
    """How far the genres of a list are from those of the person's history, in nats: 0 is the same mixture.

        C_KL(p, q) = Σ_g p(g | u) ln(p(g | u) / q̃(g | u)),   q̃ = (1 − 0.01) q + 0.01 p

    p is the mean of p(g | i) over the person's history, q over the list.

    Args:
        items: Recommended item codes, -1 where a list is shorter, (Q, K).
        queries: The histories, Q of them.
        shares: p(g | i), from `genre_shares`, (n_items, G).

    Returns:
        (Q,), at least 0; NaN where the history or the list has no genre.

    Raises:
        ValueError: There are not as many lists as queries.

    References:
        Steck (2018), Calibrated Recommendations, RecSys.
    """
    if len(items) != len(queries):
        raise ValueError(f"{len(items)} lists and {len(queries)} queries; give the lists of these very queries")
    wanted = _normalised(queries.matrix() @ shares)
    given = _normalised((shares[items] * (items >= 0)[:, :, None]).sum(1))
    mixed = (1 - SMOOTHING) * given + SMOOTHING * wanted
    ratio = np.divide(wanted, mixed, out=np.ones_like(wanted), where=wanted > 0)
    return np.asarray((wanted * np.log(ratio)).sum(1) + 0 * given.sum(1))


def _normalised(amounts: np.ndarray) -> np.ndarray:
    """Rows that add up to 1; NaN where there is nothing."""
    total = amounts.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(amounts, total, out=np.full_like(amounts, np.nan, dtype="float64"), where=total > 0))
