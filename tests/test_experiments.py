"""The simulated A/B test: assignment, power and sequential p-values keep their promises; both worlds are one shopper's."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from recfuse_lib.data import market
from recfuse_lib.data.market.simulator import Truth
from recfuse_lib.evaluation import experiments

PEOPLE = np.arange(20_000)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.0, 1.0])
def test_the_share_is_assigned_and_names_of_experiments_are_independent(share: float) -> None:
    one, other = (experiments.assign(PEOPLE, name, share) for name in ("a", "b"))
    assert abs(one.mean() - share) < 0.015
    assert abs((one & other).mean() - share**2) < 0.015


def test_an_assignment_depends_on_the_person_alone() -> None:
    whole = experiments.assign(PEOPLE, "a")
    assert (experiments.assign(PEOPLE[::-1], "a")[::-1] == whole).all()
    assert (experiments.assign(PEOPLE[500:600], "a") == whole[500:600]).all()
    assert not (experiments.assign(PEOPLE, "a", 0.1) & ~experiments.assign(PEOPLE, "a", 0.2)).any(), (
        "a ramp-up keeps people"
    )
    with pytest.raises(ValueError, match="between 0 and 1"):
        experiments.assign(PEOPLE, "a", 2)


@given(st.floats(0.05, 1), st.floats(0.1, 5))
@settings(max_examples=50, deadline=None)
def test_the_people_needed_give_the_power_asked_for_and_fewer_do_not(difference: float, deviation: float) -> None:
    n = experiments.people_needed(difference, deviation)
    assert experiments.power_of(n, difference, deviation) >= 0.8 - 1e-9
    if n > 20:
        assert experiments.power_of(n - 1, difference, deviation) < 0.8 + 1e-4


def test_power_is_that_of_the_t_test_with_many_people() -> None:
    n, difference = 300, 0.2
    shift = difference / np.sqrt(2 / n)
    edge = stats.t.ppf(0.975, 2 * n - 2)
    exact = stats.nct.sf(edge, 2 * n - 2, shift) + stats.nct.cdf(-edge, 2 * n - 2, shift)
    assert experiments.power_of(n, difference, 1.0) == pytest.approx(exact, abs=0.002)
    assert experiments.power_of(n, 0.0, 1.0) == pytest.approx(0.05)
    with pytest.raises(ValueError, match="no number of people"):
        experiments.people_needed(0.0, 1.0)


def test_a_look_is_welchs_test_of_those_who_have_come() -> None:
    generator = np.random.default_rng(0)
    treated = generator.random(900) < 0.4
    outcome = generator.exponential(size=900) + 0.1 * treated
    table = experiments.interim_analyses(outcome, treated, at=[50, 400, 900])
    for people, difference, error, p in table.itertuples(index=False):
        arms = outcome[:people][treated[:people]], outcome[:people][~treated[:people]]
        theirs = stats.ttest_ind(*arms, equal_var=False)
        assert difference == pytest.approx(arms[0].mean() - arms[1].mean())
        assert difference / error == pytest.approx(theirs.statistic)
        assert p == pytest.approx(theirs.pvalue)


def test_looks_that_come_too_early_or_too_late_are_refused() -> None:
    with pytest.raises(ValueError, match="begin to look later"):
        experiments.interim_analyses(np.ones(5), np.array([1, 0, 0, 0, 0], bool), at=[5])
    with pytest.raises(ValueError, match="there are 5 people"):
        experiments.interim_analyses(np.ones(5), np.array([1, 1, 0, 0, 0], bool), at=[6])


@given(st.floats(-3, 3), st.floats(0.2, 2), st.floats(0.1, 2))
@settings(max_examples=30, deadline=None)
def test_the_mixture_ratio_is_the_integral_that_defines_it(difference: float, error: float, mixing: float) -> None:
    true = np.linspace(-20, 20, 40_001)
    mixed = np.trapezoid(stats.norm.pdf(difference, true, error) * stats.norm.pdf(true, 0, mixing), true)
    ratio = mixed / stats.norm.pdf(difference, 0, error)
    found = experiments.always_valid(np.array([difference]), np.array([error]), mixing)
    assert found[0] == pytest.approx(min(1, 1 / ratio), rel=1e-3)


def test_peeking_cries_wolf_and_the_sequential_test_does_not_but_still_sees() -> None:
    generator = np.random.default_rng(0)
    at, alarms = np.arange(100, 2_001, 100), {"peeking": 0, "once": 0, "sequential": 0, "found": 0}
    for _ in range(300):
        treated, outcome = generator.random(2_000) < 0.5, generator.normal(size=2_000)
        table = experiments.interim_analyses(outcome, treated, at)
        alarms["peeking"] += (table["p"] <= 0.05).any()
        alarms["once"] += table["p"].iloc[-1] <= 0.05
        alarms["sequential"] += experiments.always_valid(table["difference"], table["error"], 0.2)[-1] <= 0.05
        shifted = experiments.interim_analyses(outcome + 0.3 * treated, treated, at)
        alarms["found"] += experiments.always_valid(shifted["difference"], shifted["error"], 0.2)[-1] <= 0.05
    assert alarms["peeking"] > 45 and alarms["once"] < 27 and alarms["sequential"] < 15 and alarms["found"] > 290


def test_always_valid_p_values_never_rise() -> None:
    found = experiments.always_valid(np.array([0.0, 5.0, 0.1]), np.ones(3), mixing=1.0)
    assert (np.diff(found) <= 0).all() and found[1] == found[2] < 0.05


@pytest.fixture(scope="module")
def truth() -> Truth:
    return market.make(seed=0, scale=0.2)[1]


def first(clicks: np.ndarray, visit: int) -> np.ndarray:
    return np.tile(np.arange(5), (len(clicks), 1))


def liked_category(clicks: np.ndarray, visit: int) -> np.ndarray:
    """Five items that depend on what was clicked before."""
    return 40 * clicks.argmax(1)[:, None] + np.arange(5)


def test_both_worlds_hold_one_stay_for_each_shopper_and_policy(truth: Truth) -> None:
    users = np.arange(50, 150)
    found = experiments.simulate_counterfactuals(truth, {"old": first, "new": liked_category}, users, seed=3)
    assert found["policy"].tolist() == ["old"] * 100 + ["new"] * 100
    assert found["user"].tolist() == [*users, *users]
    assert found["visits"].between(1, 30).all() and found["satisfaction"].between(0, 1).all()
    assert (found["bought"] <= found["clicks"]).all() and (found["clicks"] <= 5 * found["visits"]).all()
    again = experiments.simulate_counterfactuals(truth, {"old": first, "new": liked_category}, users, seed=3)
    pd.testing.assert_frame_equal(found, again)
    assert not found.equals(
        experiments.simulate_counterfactuals(truth, {"old": first, "new": liked_category}, users, seed=4)
    )


def test_the_same_policy_twice_is_the_same_world(truth: Truth) -> None:
    found = experiments.simulate_counterfactuals(truth, {"a": liked_category, "b": liked_category}, np.arange(40))
    worlds = [found[found["policy"] == name].drop(columns="policy").reset_index(drop=True) for name in "ab"]
    pd.testing.assert_frame_equal(*worlds)


def test_a_slate_that_shows_an_item_twice_is_refused(truth: Truth) -> None:
    with pytest.raises(ValueError, match="distinct items"):
        experiments.simulate_counterfactuals(
            truth, {"twice": lambda clicks, visit: 0 * first(clicks, visit)}, np.arange(3)
        )
    with pytest.raises(ValueError, match="'short' gave"):
        experiments.simulate_counterfactuals(
            truth, {"short": lambda clicks, visit: first(clicks, visit)[1:]}, np.arange(3)
        )
