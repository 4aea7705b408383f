import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from recfuse_lib.data.items import Items
from recfuse_lib.evaluation.drift import (
    LARGEST,
    calibration_error,
    categories,
    measure,
    popularity_shift,
    population_stability,
)

COUNTS = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=12).filter(
    lambda pairs: sum(a for a, _ in pairs) and sum(b for _, b in pairs)
)


def stability_by_hand(pairs):
    n, m = (sum(pair[side] + 0.5 for pair in pairs) for side in (0, 1))
    return sum(((b + 0.5) / m - (a + 0.5) / n) * math.log(((b + 0.5) / m) / ((a + 0.5) / n)) for a, b in pairs)


@given(COUNTS)
def test_stability_and_shift_by_hand(pairs):
    then, now = np.array(pairs).T
    assert population_stability(then, now) == pytest.approx(stability_by_hand(pairs), abs=1e-9)
    assert popularity_shift(then, now) == pytest.approx(jensenshannon(then, now, base=2) ** 2, abs=1e-9)
    assert population_stability(then, now) == pytest.approx(population_stability(now, then))
    assert -1e-12 <= popularity_shift(then, now) <= 1 + 1e-12
    assert population_stability(then, then) == pytest.approx(0) == popularity_shift(then, 3 * then)


@given(st.lists(st.tuples(st.floats(0.5, 5), st.floats(0.5, 5)), min_size=1, max_size=60), st.integers(1, 12))
def test_calibration_by_hand(pairs, bins):
    ordered = sorted(pairs, key=lambda pair: pair[0])
    bins_, start, expected = min(bins, len(pairs)), 0, 0.0
    for number in range(bins_):
        size = len(pairs) // bins_ + (number < len(pairs) % bins_)
        part, start = ordered[start : start + size], start + size
        expected += size / len(pairs) * abs(np.mean([p for p, _ in part]) - np.mean([y for _, y in part]))
    predicted, observed = np.array(pairs).T
    assert calibration_error(predicted, observed, bins) == pytest.approx(expected, abs=1e-9)


def events(generator, n, items, ratings):
    return pd.DataFrame(
        {"item": generator.choice(20, n, p=items), "rating": generator.choice([2.0, 3.0, 4.0, 5.0], n, p=ratings)}
    )


def test_an_alarm_where_the_world_moved_and_only_there():
    generator = np.random.default_rng(0)
    even, up = np.full(20, 1 / 20), np.arange(20) / 190
    mixed, happy = [0.25] * 4, [0.05, 0.05, 0.1, 0.8]
    labels = np.repeat(["a", "b"], 10)
    then = events(generator, 3_000, even, mixed)
    assert measure(then, events(generator, 500, even, mixed), labels).alarms == []
    assert measure(then, events(generator, 500, even, happy), labels).alarms == ["rating_psi"]
    now = events(generator, 500, up, mixed)
    moved = measure(then, now, labels)
    assert set(moved.alarms) == {"category_psi", "popularity_shift"}
    unlabelled = measure(then, now, None)
    assert unlabelled.alarms == ["popularity_shift"] and "category_psi" not in unlabelled.figures
    assert moved.figures["popularity_shift"] > 3 * moved.chance["popularity_shift"]


def test_few_events_alarm_nobody():
    generator = np.random.default_rng(5)
    even, mixed = np.full(20, 1 / 20), [0.25] * 4
    alarms, large = [], 0
    for _ in range(60):
        found = measure(events(generator, 40, even, mixed), events(generator, 12, even, mixed), np.arange(20))
        large += found.figures["popularity_shift"] > LARGEST["popularity_shift"]
        alarms += found.alarms
    # Twelve events never look like forty, yet chance explains it.
    assert large == 60 and len(alarms) <= 6


def test_calibration_is_judged_when_there_are_predictions():
    generator = np.random.default_rng(0)
    even, mixed = np.full(20, 1 / 20), [0.25] * 4
    then, now = events(generator, 300, even, mixed), events(generator, 300, even, mixed)
    honest = measure(then, now, np.zeros(20), predicted=np.full(300, now["rating"].mean()))
    assert honest.figures["calibration_error"] < LARGEST["calibration_error"] and honest.alarms == []
    wrong = measure(then, now, np.zeros(20), predicted=np.full(300, now["rating"].mean() + 0.5))
    assert wrong.alarms == ["calibration_error"]
    unsaid = np.where(np.arange(300) < 200, np.nan, now["rating"].mean() + 0.5)
    assert measure(then, now, None, predicted=unsaid).alarms == ["calibration_error"]
    silent = measure(then, now, None, predicted=np.full(300, np.nan))
    assert "calibration_error" not in silent.figures


def test_the_category_of_an_item_is_its_first_label():
    table = pd.DataFrame({"item_id": [1, 2], "brand": ["Ada", "Bo"], "kind": ["War|Drama", ""]})
    several = Items(catalogue=table, roles={"brand": "category", "kind": "categories"})
    assert categories(several).tolist() == ["War", ""]
    assert categories(Items(catalogue=table, roles={"brand": "category"})).tolist() == ["Ada", "Bo"]
    assert categories(Items.unnamed(2)) is None
