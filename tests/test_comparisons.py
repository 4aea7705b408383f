"""Lesson 10's tests, corrections and power: equal to scipy's and to brute force, and as often wrong as they promise."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from course.lessons import definitions
from recfuse_lib.evaluation.significance import bootstrap, holm

lesson = definitions("10_evaluate")

SEEDS = st.integers(0, 10_000)


def test_the_paired_test_is_scipys_permutation_test() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.random(40), generator.random(40) + 0.1
    theirs = stats.permutation_test(
        (a, b), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", vectorized=True,
        n_resamples=20_000, rng=np.random.default_rng(1),
    )  # fmt: skip
    ours = lesson.paired_test(a, b, np.arange(40), samples=20_000)
    assert ours == pytest.approx(theirs.pvalue, abs=0.01)


def test_with_few_people_it_is_the_count_of_all_swaps() -> None:
    generator = np.random.default_rng(1)
    a, b, people = generator.normal(0.5, 1, 24), generator.normal(size=24), np.repeat(np.arange(8), 3)
    total = (a - b).reshape(8, 3).sum(1)
    sums = np.array([np.dot(signs, total) for signs in itertools.product([-1, 1], repeat=8)])
    exact = (np.abs(sums) >= abs(total.sum()) - 1e-12).mean()
    assert lesson.paired_test(a, b, people, samples=40_000) == pytest.approx(exact, abs=0.01)


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_the_order_of_models_and_the_names_of_people_do_not_matter(seed: int) -> None:
    generator = np.random.default_rng(seed)
    a, b, people = generator.random(30), generator.random(30), generator.integers(0, 9, 30)
    p = lesson.paired_test(a, b, people, samples=500)
    assert p == lesson.paired_test(b, a, people, samples=500)
    assert p == lesson.paired_test(a, b, np.char.add("person ", people.astype(str)), samples=500)
    assert 0 < p <= 1


def test_two_equal_models_have_p_of_one() -> None:
    assert lesson.paired_test(np.ones(9), np.ones(9), np.arange(9), samples=100) == 1


def test_false_alarms_come_as_often_as_promised_over_people_and_too_often_over_queries() -> None:
    generator = np.random.default_rng(0)
    people, alarms = np.repeat(np.arange(30), 8), {"people": 0, "queries": 0}
    for _ in range(200):
        difference = generator.normal(size=30)[people] + 0.3 * generator.normal(size=240)
        alarms["people"] += lesson.paired_test(difference, 0 * difference, people, samples=300) <= 0.05
        alarms["queries"] += lesson.paired_test(difference, 0 * difference, np.arange(240), samples=300) <= 0.05
    assert alarms["people"] <= 20 and alarms["queries"] > 80


def closed_testing(p: list[float]) -> list[float]:
    """Holm's procedure by definition: the largest Bonferroni p of all the families that hold a comparison."""
    families = [f for size in range(1, len(p) + 1) for f in itertools.combinations(range(len(p)), size)]
    return [max(min(1, len(f) * min(p[j] for j in f)) for f in families if i in f) for i in range(len(p))]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
@settings(max_examples=60, deadline=None)
def test_holm_is_the_closed_test_of_bonferroni(p: list[float]) -> None:
    np.testing.assert_allclose(holm(np.array(p)), closed_testing(p), atol=1e-12)


def test_holm_keeps_the_family_honest() -> None:
    p = np.random.default_rng(0).random((2_000, 20))
    plain = (p <= 0.05).any(1).mean()
    corrected = np.mean([holm(row).min() <= 0.05 for row in p])
    assert plain > 0.55 and corrected < 0.07


def test_the_standard_error_is_scipys_with_one_query_a_person_and_the_bootstraps_with_many() -> None:
    generator = np.random.default_rng(0)
    values = generator.exponential(size=300)
    assert lesson.standard_error(values, np.arange(300)) == pytest.approx(stats.sem(values))
    people = np.repeat(np.arange(60), generator.integers(1, 10, 60))
    values = generator.normal(size=60)[people] + generator.normal(size=len(people))
    interval = bootstrap(values, people)
    width = (interval.high - interval.low) / (2 * 1.96)
    assert lesson.standard_error(values, people) == pytest.approx(width, rel=0.1)


def test_the_minimum_detectable_difference_is_found_four_times_in_five() -> None:
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(2_000, 100))
    true = lesson.minimum_detectable_difference(noise[0], np.arange(100))
    assert true == pytest.approx(2.8016 * stats.sem(noise[0]), rel=1e-3)
    known = 2.8016 / np.sqrt(100)
    found = stats.ttest_1samp(noise + known, 0, axis=1).pvalue <= 0.05
    assert 0.76 < found.mean() < 0.83


def test_seeds_and_people_are_two_sources_of_doubt() -> None:
    generator = np.random.default_rng(0)
    people, seeds = np.repeat(np.arange(50), 4), generator.normal(0, 1.5, size=(6, 1))
    values = generator.normal(size=50)[people] + seeds + 0.1 * generator.normal(size=(6, 200))
    found, over_people = lesson.over_people_and_seeds(values, people), bootstrap(values.mean(0), people)
    assert found.mean == pytest.approx(over_people.mean)
    assert found.high - found.low > 1.2 * (over_people.high - over_people.low)


def test_equal_seeds_add_no_doubt() -> None:
    row = np.random.default_rng(0).random(80)
    found, over_people = lesson.over_people_and_seeds(np.stack([row] * 3), np.arange(80)), bootstrap(row, np.arange(80))
    assert found.high - found.low == pytest.approx(over_people.high - over_people.low, rel=0.05)


def test_both_sources_by_brute_force() -> None:
    generator = np.random.default_rng(3)
    people, values = np.array([0, 0, 1, 2, 2, 2, 3, 4]), generator.random((3, 8))
    means = []
    for _ in range(4_000):
        rows = values[generator.integers(3, size=3)]
        drawn = np.concatenate([np.flatnonzero(people == person) for person in generator.integers(5, size=5)])
        means.append(rows[:, drawn].mean())
    low, high = np.quantile(means, [0.025, 0.975])
    found = lesson.over_people_and_seeds(values, people)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)
