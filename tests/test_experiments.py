"""Lesson 10's simulated A/B test: assignment, power and sequential p-values keep their promises."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from course.lessons import definitions
from recfuse_lib.data import market
from recfuse_lib.data.market.simulator import Truth

lesson = definitions("10_evaluate")

PEOPLE = np.arange(20_000)


def test_half_are_treated_and_names_of_experiments_are_independent() -> None:
    one, other = (lesson.assign(PEOPLE, name) for name in ("a", "b"))
    assert abs(one.mean() - 0.5) < 0.015
    assert abs((one & other).mean() - 0.25) < 0.015


def test_an_assignment_depends_on_the_person_alone() -> None:
    whole = lesson.assign(PEOPLE, "a")
    assert (lesson.assign(PEOPLE[::-1], "a")[::-1] == whole).all()
    assert (lesson.assign(PEOPLE[500:600], "a") == whole[500:600]).all()


@given(st.floats(0.05, 1), st.floats(0.1, 5))
@settings(max_examples=50, deadline=None)
def test_the_people_needed_give_the_power_asked_for_and_fewer_do_not(difference: float, deviation: float) -> None:
    n = lesson.people_needed(difference, deviation)
    assert lesson.power_of(n, difference, deviation) >= 0.8 - 1e-9
    if n > 20:
        assert lesson.power_of(n - 1, difference, deviation) < 0.8 + 1e-4


def test_power_is_that_of_the_t_test_with_many_people() -> None:
    n, difference = 300, 0.2
    shift = difference / np.sqrt(2 / n)
    edge = stats.t.ppf(0.975, 2 * n - 2)
    exact = stats.nct.sf(edge, 2 * n - 2, shift) + stats.nct.cdf(-edge, 2 * n - 2, shift)
    assert lesson.power_of(n, difference, 1.0) == pytest.approx(exact, abs=0.002)
    assert lesson.power_of(n, 0.0, 1.0) == pytest.approx(0.05)


def test_a_look_is_welchs_test_of_those_who_have_come() -> None:
    generator = np.random.default_rng(0)
    treated = generator.random(900) < 0.4
    outcome = generator.exponential(size=900) + 0.1 * treated
    table = lesson.interim_analyses(outcome, treated, at=np.array([50, 400, 900]))
    for people, difference, error, p in table.itertuples(index=False):
        arms = outcome[:people][treated[:people]], outcome[:people][~treated[:people]]
        theirs = stats.ttest_ind(*arms, equal_var=False)
        assert difference == pytest.approx(arms[0].mean() - arms[1].mean())
        assert difference / error == pytest.approx(theirs.statistic)
        assert p == pytest.approx(theirs.pvalue)


@given(st.floats(-3, 3), st.floats(0.2, 2), st.floats(0.1, 2))
@settings(max_examples=30, deadline=None)
def test_the_mixture_ratio_is_the_integral_that_defines_it(difference: float, error: float, mixing: float) -> None:
    true = np.linspace(-20, 20, 40_001)
    mixed = np.trapezoid(stats.norm.pdf(difference, true, error) * stats.norm.pdf(true, 0, mixing), true)
    ratio = mixed / stats.norm.pdf(difference, 0, error)
    found = lesson.always_valid(np.array([difference]), np.array([error]), mixing)
    assert found[0] == pytest.approx(min(1, 1 / ratio), rel=1e-3)


def test_peeking_cries_wolf_and_the_sequential_test_does_not_but_still_sees() -> None:
    generator = np.random.default_rng(0)
    at, alarms = np.arange(100, 2_001, 100), {"peeking": 0, "once": 0, "sequential": 0, "found": 0}
    for _ in range(300):
        treated, outcome = generator.random(2_000) < 0.5, generator.normal(size=2_000)
        table = lesson.interim_analyses(outcome, treated, at)
        alarms["peeking"] += (table["p"] <= 0.05).any()
        alarms["once"] += table["p"].iloc[-1] <= 0.05
        alarms["sequential"] += lesson.always_valid(table["difference"], table["error"], 0.2).iloc[-1] <= 0.05
        shifted = lesson.interim_analyses(outcome + 0.3 * treated, treated, at)
        alarms["found"] += lesson.always_valid(shifted["difference"], shifted["error"], 0.2).iloc[-1] <= 0.05
    assert alarms["peeking"] > 45 and alarms["once"] < 27 and alarms["sequential"] < 15 and alarms["found"] > 290


def test_always_valid_p_values_never_rise() -> None:
    found = lesson.always_valid(np.array([0.0, 5.0, 0.1]), np.ones(3), tau=1.0)
    assert (np.diff(found) <= 0).all() and found[1] == found[2] < 0.05


@pytest.fixture(scope="module")
def truth() -> Truth:
    return market.make(seed=0, scale=0.2)[1]


def five_by_visit(visit: int) -> np.ndarray:
    """Five other items in each visit."""
    return 40 * (visit % 4) + np.arange(5)


def test_a_stay_for_each_shopper_and_the_same_again_with_the_same_seed(truth: Truth) -> None:
    users = np.arange(50, 150)
    found, again, other = (lesson.simulate_stays(truth, five_by_visit, users, seed) for seed in (3, 3, 4))
    assert len(found) == 100 and found["visits"].between(1, 30).all()
    assert (found["bought"] <= found["clicks"]).all() and (found["clicks"] <= 5 * found["visits"]).all()
    pd.testing.assert_frame_equal(found, again)
    assert not found.equals(other)
