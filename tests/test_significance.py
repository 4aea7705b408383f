"""Bootstrap intervals: equal to scipy's where both apply, honest in a simulation, exact in simple cases."""

import numpy as np
import pytest

from recfuse_lib.evaluation import significance
from recfuse_lib.evaluation.significance import Interval, bootstrap, paired_bootstrap


def test_with_one_value_a_group_it_equals_scipys() -> None:
    import scipy.stats

    values = np.random.default_rng(0).exponential(size=120)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    ours = bootstrap(values, groups=np.arange(120))
    spread = theirs.high - theirs.low
    assert ours.mean == pytest.approx(values.mean())
    assert abs(ours.low - theirs.low) < 0.05 * spread and abs(ours.high - theirs.high) < 0.05 * spread


def coverage(whole_people: bool, rounds: int = 200) -> float:
    """How often a 95 % interval holds the true mean 0, when the ten answers of a person are alike."""
    generator = np.random.default_rng(0)
    people = np.repeat(np.arange(40), 10)
    held = 0
    for _ in range(rounds):
        values = generator.normal(size=40)[people] + 0.3 * generator.normal(size=400)
        interval = bootstrap(values, people if whole_people else np.arange(400), samples=400)
        held += interval.low <= 0 <= interval.high
    return held / rounds


def test_intervals_over_people_hold_the_truth_as_often_as_they_say() -> None:
    assert 0.89 <= coverage(whole_people=True) <= 0.99


def test_intervals_over_queries_would_be_too_narrow() -> None:
    assert coverage(whole_people=False) < 0.7


def test_people_weigh_as_much_as_they_ask() -> None:
    interval = bootstrap(np.array([0.0, 0.0, 0.0, 1.0]), groups=np.array([7, 7, 7, 2]))
    assert interval == Interval(0.25, 0.0, 1.0)


def test_a_constant_difference_has_no_spread() -> None:
    a = np.random.default_rng(0).random(50)
    interval = paired_bootstrap(a + 0.25, a, groups=np.arange(50))
    assert (interval.mean, interval.low, interval.high) == pytest.approx((0.25, 0.25, 0.25))
    assert interval.excludes_zero


def test_two_equal_models_do_not_differ() -> None:
    a = np.random.default_rng(0).random(50)
    interval = paired_bootstrap(a, a, groups=np.arange(50))
    assert interval == Interval(0.0, 0.0, 0.0) and not interval.excludes_zero


def test_pairing_sees_a_difference_that_two_intervals_hide() -> None:
    generator = np.random.default_rng(0)
    people = np.arange(300)
    a = generator.random(300)
    b = a + 0.02 + 0.05 * generator.normal(size=300)
    one, other = bootstrap(a, people), bootstrap(b, people)
    assert one.high > other.low
    assert paired_bootstrap(b, a, people).excludes_zero


def test_swapping_the_models_turns_the_sign() -> None:
    generator = np.random.default_rng(1)
    a, b, people = generator.random(60), generator.random(60), np.arange(60) // 3
    forth, back = paired_bootstrap(a, b, people), paired_bootstrap(b, a, people)
    assert (forth.mean, forth.low, forth.high) == pytest.approx((-back.mean, -back.high, -back.low))


def test_the_names_of_the_groups_do_not_matter() -> None:
    values = np.random.default_rng(2).random(60)
    people = np.arange(60) // 3
    names = np.array([f"person {person:02d}" for person in people])
    assert bootstrap(values, people) == bootstrap(values, names)


def test_replicates_are_the_multinomials_of_seed_0() -> None:
    generator = np.random.default_rng(5)
    values, people = generator.normal(size=900), generator.integers(0, 300, 900)
    _, person = np.unique(people, return_inverse=True)
    total, count = np.bincount(person, values), np.bincount(person)
    draws = np.random.default_rng(0).multinomial(len(count), np.full(len(count), 1 / len(count)), size=2_345)
    low, high = np.quantile((draws * total).sum(1) / (draws * count).sum(1), [0.025, 0.975])
    interval = bootstrap(values, people, samples=2_345)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-12)


def test_draws_are_made_once_for_as_many_people_and_not_kept_for_very_many(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(6)
    a, b, people = generator.random(400), generator.random(400), np.arange(400) // 2
    significance._kept_draws.cache_clear()
    first = bootstrap(a, people), paired_bootstrap(a, b, people)
    assert significance._kept_draws.cache_info().misses == 1
    monkeypatch.setattr(significance, "_KEPT", 200 * 10_000 - 1)
    assert (bootstrap(a, people), paired_bootstrap(a, b, people)) == first
    assert significance._kept_draws.cache_info().hits == 1


@pytest.mark.parametrize("samples", [1, 999, 1_001])
def test_any_number_of_samples_will_do(samples: int) -> None:
    interval = bootstrap(np.array([0.0, 1.0, 2.0]), np.arange(3), samples=samples)
    assert 0 <= interval.low <= interval.high <= 2


def test_nothing_and_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="0 values"):
        bootstrap(np.array([]), np.array([]))
    with pytest.raises(ValueError, match="2 values and 3 groups"):
        bootstrap(np.zeros(2), np.arange(3))
    with pytest.raises(ValueError, match="2 and 3 queries"):
        paired_bootstrap(np.zeros(2), np.zeros(3), np.arange(2))
