"""Diversity, novelty, coverage, Gini and calibration: equal to brute force, and right in cases that one can see."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from scipy.stats import entropy

from recfuse_lib.data.splits import Queries
from recfuse_lib.evaluation import beyond_accuracy

SEEDS = st.integers(0, 10_000)


def queries_of(histories: list[list[int]], n_items: int) -> Queries:
    rows = [(user, item, 5.0, time) for user, items in enumerate(histories) for time, item in enumerate(items)]
    table = pd.DataFrame(rows, columns=["user", "item", "rating", "timestamp"])
    return Queries.of(table, np.arange(len(histories)), n_items)


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_diversity_is_the_mean_cosine_distance_of_scipy(seed: int) -> None:
    generator = np.random.default_rng(seed)
    encodings = generator.normal(size=(20, 5))
    items = generator.permuted(np.tile(np.arange(20), (4, 1)), axis=1)[:, :6]
    expected = [pdist(encodings[row], "cosine").mean() for row in items]
    np.testing.assert_allclose(beyond_accuracy.diversity(items, encodings), expected, atol=1e-12)


def test_diversity_leaves_empty_places_out_and_needs_two_items() -> None:
    encodings = np.eye(3)
    found = beyond_accuracy.diversity(np.array([[0, 1, -1], [2, -1, -1], [-1, -1, -1]]), encodings)
    assert found[0] == 1 and np.isnan(found[1:]).all()


def test_an_item_without_encoding_is_unlike_every_other() -> None:
    assert beyond_accuracy.diversity(np.array([[0, 1]]), np.array([[1.0, 0.0], [0.0, 0.0]])) == 1


def test_novelty_is_the_mean_information_of_the_places_that_are_filled() -> None:
    counts = np.array([63, 15, 0])
    found = beyond_accuracy.novelty(np.array([[0, 1], [2, -1], [-1, -1]]), counts, n_users=63)
    np.testing.assert_allclose(found, [(0 + 2) / 2, 6, np.nan])
    with pytest.raises(ValueError, match="count people"):
        beyond_accuracy.novelty(np.array([[0]]), np.array([9]), n_users=8)


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_exposure_and_coverage_count_what_is_shown(seed: int) -> None:
    generator = np.random.default_rng(seed)
    items, candidates = generator.integers(-1, 8, size=(5, 3)), generator.random(9) < 0.7
    candidates[8] = True
    shown = beyond_accuracy.exposure(items, 9)
    assert shown.tolist() == [int((items == item).sum()) for item in range(9)]
    expected = np.mean([item in items for item in np.flatnonzero(candidates)])
    assert beyond_accuracy.coverage(items, candidates) == pytest.approx(expected)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30).filter(any))
@settings(max_examples=50, deadline=None)
def test_gini_is_half_the_mean_absolute_difference_over_the_mean(amounts: list[int]) -> None:
    x = np.array(amounts, float)
    expected = np.abs(x[:, None] - x).mean() / (2 * x.mean())
    assert beyond_accuracy.gini(x) == pytest.approx(expected, abs=1e-12)
    assert beyond_accuracy.gini(x) + 1e-12 >= 0 and beyond_accuracy.gini(x) <= 1 - 1 / len(x) + 1e-12
    assert beyond_accuracy.gini(3 * x[::-1]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("amounts", [[0, 0], [-1, 2], []])
def test_gini_of_nothing_is_refused(amounts: list[int]) -> None:
    with pytest.raises(ValueError, match="not negative"):
        beyond_accuracy.gini(np.array(amounts))


GENRES = pd.Series(["Action|Comedy", "Action", "Drama", "", "Comedy|Drama|Action"])


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_miscalibration_is_the_divergence_of_scipy(seed: int) -> None:
    generator = np.random.default_rng(seed)
    shares, _ = beyond_accuracy.genre_shares(GENRES)
    queries = queries_of([list(generator.permutation(5)[:3]) for _ in range(4)], n_items=5)
    items = generator.permuted(np.tile([0, 1, 2, 4], (4, 1)), axis=1)[:, :2]
    history = queries.matrix().toarray() @ shares
    for row, found in enumerate(beyond_accuracy.miscalibration(items, queries, shares)):
        p, q = history[row] / history[row].sum(), shares[items[row]].mean(0)
        assert found == pytest.approx(entropy(p, 0.99 * q + 0.01 * p), abs=1e-9)


def test_the_same_mixture_is_calibrated_and_a_forgotten_genre_is_not() -> None:
    shares, names = beyond_accuracy.genre_shares(GENRES)
    assert names == ["Action", "Comedy", "Drama"] and shares[3].sum() == 0
    queries = queries_of([[1, 2], [1, 2], [3], [1]], n_items=5)
    items = np.array([[1, 2], [1, 1], [1, 2], [3, -1]])
    found = beyond_accuracy.miscalibration(items, queries, shares)
    assert found[0] == pytest.approx(0) and found[1] > 1
    assert np.isnan(found[2:]).all(), "without a genre on either side nothing can be said"


def test_lists_of_other_queries_are_refused() -> None:
    with pytest.raises(ValueError, match="1 lists and 2 queries"):
        beyond_accuracy.miscalibration(np.array([[1]]), queries_of([[1], [2]], 5), np.ones((5, 1)))
