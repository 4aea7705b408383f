"""Lesson 11's searches: what is pruned, where TPE looks, what importance and optimism must be where they are known."""

import numpy as np
import pandas as pd
import pytest

from course.lessons import definitions

LESSON = definitions("11_tune_and_ensemble")


def test_the_first_trials_are_never_pruned_and_a_loser_is() -> None:
    finished = [[0.3, 0.4, 0.5]] * 4
    assert LESSON.stops_at([0.0, 0.0, 0.0], finished) == 2
    finished.append([0.3, 0.4, 0.5])
    assert LESSON.stops_at([0.2, 0.9, 0.9], finished) == 0
    assert LESSON.stops_at([0.3, 0.35, 0.9], finished) == 1
    assert LESSON.stops_at([0.3, 0.4, 0.1], finished) == 2
    assert LESSON.stops_at([0.5, 0.1, 0.9], finished) == 2, "the best value so far counts, not the last"


def test_tpe_goes_where_the_good_ones_are() -> None:
    random = np.random.default_rng(0)
    done = [(setting, float(setting["l2"] == 0.003)) for setting in (LESSON.at_random([], random) for _ in range(40))]
    proposed = [LESSON.by_tpe(done, random)["l2"] for _ in range(20)]
    assert proposed.count(0.003) == 20


def test_what_does_not_matter_has_no_share() -> None:
    index = pd.MultiIndex.from_product([(1, 2, 3), (10, 20)], names=["matters", "does not"])
    shares = LESSON.main_effects(pd.Series([1.0, 1, 2, 2, 3, 3], index=index))
    assert shares["matters"] == pytest.approx(1) and shares["does not"] == pytest.approx(0)


def test_trials_that_differ_by_luck_alone_have_a_gap_and_nobody_else_gains() -> None:
    noise = np.random.default_rng(0).normal(size=(400, 30))
    gains = LESSON.gap(noise, noise[::-1], size=50, rounds=100).mean(axis=0)
    assert gains[0, -1] > 0.2 and abs(gains[1, -1]) < 0.05
    assert (np.diff(gains[0]) >= 0).all()


def test_one_trial_claims_nothing() -> None:
    rows = np.random.default_rng(0).random((30, 1))
    assert np.abs(LESSON.gap(rows, rows, size=30, rounds=5)).max() == 0


def test_equal_members_are_wholly_alike() -> None:
    z = np.random.default_rng(0).normal(size=(3, 500))
    z = (z - z.mean(axis=1, keepdims=True)) / z.std(axis=1, keepdims=True)
    assert LESSON.likeness(z, z) == pytest.approx(1) and LESSON.likeness(z, -z) == pytest.approx(-1)
    np.testing.assert_allclose(LESSON.blend([z, z]), z)


def test_ranks_do_not_see_how_long_a_tail_is_nor_what_the_person_has_seen() -> None:
    scores = np.array([[9.0, 3.0, 2.0, 1.0]])
    seen = np.array([[True, False, False, False]])
    ranks = LESSON.reciprocal_ranks(scores, seen)
    np.testing.assert_allclose(ranks[0, 1:], 1 / (60 + np.array([1, 2, 3])), rtol=1e-6)
    assert ranks[0, 0] == ranks.min(), "what was seen takes no rank before the others"
    np.testing.assert_array_equal(ranks, LESSON.reciprocal_ranks(scores**5, seen))
