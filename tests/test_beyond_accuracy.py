"""Lesson 10's diversity, novelty, Gini and calibration: equal to brute force, and right in cases that one can see."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from scipy.stats import entropy

from course.lessons import definitions
from recfuse_lib.data.splits import Queries

lesson = definitions("10_evaluate")

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
    np.testing.assert_allclose(lesson.diversity(items, encodings), expected, atol=1e-12)


def test_an_item_without_encoding_is_unlike_every_other() -> None:
    assert lesson.diversity(np.array([[0, 1]]), np.array([[1.0, 0.0], [0.0, 0.0]])) == 1


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30).filter(any))
@settings(max_examples=50, deadline=None)
def test_gini_is_half_the_mean_absolute_difference_over_the_mean(amounts: list[int]) -> None:
    x = np.array(amounts, float)
    expected = np.abs(x[:, None] - x).mean() / (2 * x.mean())
    assert lesson.gini(x) == pytest.approx(expected, abs=1e-12)
    assert lesson.gini(x) + 1e-12 >= 0 and lesson.gini(x) <= 1 - 1 / len(x) + 1e-12
    assert lesson.gini(3 * x[::-1]) == pytest.approx(expected, abs=1e-12)


def test_novelty_is_the_mean_information_of_a_list() -> None:
    np.testing.assert_allclose(lesson.novelty(np.array([[0, 1], [2, 2]]), np.array([63, 15, 0]), 63), [1, 6])


GENRES = pd.Series(["Action|Comedy", "Action", "Drama", "", "Comedy|Drama|Action"])


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_miscalibration_is_the_divergence_of_scipy(seed: int) -> None:
    generator = np.random.default_rng(seed)
    shares, _ = lesson.genre_shares(GENRES)
    queries = queries_of([list(generator.permutation(5)[:3]) for _ in range(4)], n_items=5)
    items = generator.permuted(np.tile([0, 1, 2, 4], (4, 1)), axis=1)[:, :2]
    history = queries.matrix().toarray() @ shares
    for row, found in enumerate(lesson.miscalibration(items, queries, shares)):
        p, q = history[row] / history[row].sum(), shares[items[row]].mean(0)
        assert found == pytest.approx(entropy(p, 0.99 * q + 0.01 * p), abs=1e-9)


def test_the_same_mixture_is_calibrated_and_a_forgotten_genre_is_not() -> None:
    shares, names = lesson.genre_shares(GENRES)
    assert names == ["Action", "Comedy", "Drama"] and shares[3].sum() == 0
    found = lesson.miscalibration(np.array([[1, 2], [1, 1]]), queries_of([[1, 2], [1, 2]], n_items=5), shares)
    assert found[0] == pytest.approx(0) and found[1] > 1
