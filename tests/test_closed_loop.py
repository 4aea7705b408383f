import numpy as np
import pytest

from course.lessons import definitions
from recfuse_lib.data import market

lesson = definitions("19_keep_learning")


@pytest.fixture(scope="module")
def shop():
    return lesson.open_shop(*market.make(seed=0, scale=0.1), seed=0)


@pytest.mark.slow
def test_every_rule_meets_the_same_first_week_and_leaves_the_first_champion(shop):
    before = {name: weight.copy() for name, weight in shop.first.items()}
    runs = {
        rule: lesson.run_weeks(shop, rule, weeks=2, seed=1)
        for rule in ("never", "always", "when better", "unless worse")
    }
    assert len({run["satisfaction"][0] for run in runs.values()}) == 1
    assert list(runs["never"]["action"]) == ["", ""] and list(runs["always"]["action"]) == ["promote", "promote"]
    for rule in ("when better", "unless worse"):
        run = runs[rule]
        accepted = run["low"] > 0 if rule == "when better" else run["high"] > 0
        assert ((run["action"] == "promote") == accepted).all()
        assert ((run["low"] <= run["difference"]) & (run["difference"] <= run["high"])).all()
    assert all((shop.first[name] == weight).all() for name, weight in before.items())
    again = lesson.run_weeks(shop, "when better", weeks=2, seed=1)
    assert np.allclose(again[["satisfaction", "difference"]], runs["when better"][["satisfaction", "difference"]])


@pytest.mark.slow
def test_a_faulty_job_is_seen_in_its_exam(shop):
    healthy, faulty = (lesson.run_weeks(shop, "unless worse", weeks=1, broken=broken) for broken in ((), (0,)))
    assert faulty["difference"][0] < healthy["difference"][0]
    assert faulty["satisfaction"][0] == healthy["satisfaction"][0]


def test_events_are_added_and_the_newest_of_a_pair_counts(shop):
    old = shop.log.interactions
    new = old.tail(3).assign(value=1.0, timestamp=old["timestamp"].max() + 5)
    both = lesson.with_events(shop.log, new)
    assert len(both.interactions) == len(old)
    assert (both.interactions.tail(3)["value"] == 1.0).all()
    assert both.interactions["timestamp"].is_monotonic_increasing
    assert (both.user_ids == shop.log.user_ids).all()
