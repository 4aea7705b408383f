import numpy as np
import pandas as pd
import pytest

from course.lessons import definitions
from recfuse_lib.data import market
from recfuse_lib.evaluation.significance import paired_bootstrap

lesson = definitions("19_keep_learning")


@pytest.fixture(scope="module")
def shop():
    return lesson.open_shop(*market.make(seed=0, scale=0.05), seed=0)


def test_every_rule_meets_the_same_first_week_and_leaves_the_first_champion(shop):
    before = [weight.copy() for weight in shop.first]
    runs = {rule: lesson.run_weeks(shop, rule, weeks=1, seed=1) for rule in ("always", "when better")}
    runs["faulty"] = lesson.run_weeks(shop, "unless worse", weeks=1, seed=1, broken=(0,))
    assert len({run["satisfaction"][0] for run in runs.values()}) == 1
    assert list(runs["always"]["action"]) == ["promote"]
    run = runs["when better"]
    assert ((run["action"] == "promote") == (run["low"] > 0)).all()
    assert ((run["low"] <= run["difference"]) & (run["difference"] <= run["high"])).all()
    assert runs["faulty"]["difference"][0] < run["difference"][0]
    assert all((one == weight).all() for one, weight in zip(shop.first, before, strict=True))


def test_events_are_added_and_the_newest_of_a_pair_counts(shop):
    old = shop.log.interactions
    new = old.tail(3).assign(value=1.0, timestamp=old["timestamp"].max() + 5)
    both = lesson.with_events(shop.log, new)
    assert len(both.interactions) == len(old)
    assert (both.interactions.tail(3)["value"] == 1.0).all()
    assert both.interactions["timestamp"].is_monotonic_increasing
    assert (both.user_ids == shop.log.user_ids).all()


def test_replay_takes_all_that_is_new_and_so_many_of_the_old():
    timestamp = np.array([3, 9, 1, 8, 2, 4, 5])
    new = [1, 3]
    for replay, count in {0.0: 2, 0.5: 3, 1.0: 4, None: 7, 1e9: 7}.items():
        rows = lesson.chosen(timestamp, since=8, replay=replay)
        assert len(set(rows)) == len(rows) == count and set(new) <= set(rows) and (np.diff(rows) > 0).all()


def test_training_onward_is_repeated_exactly_and_starts_from_the_weights(shop):
    events = shop.log.events()
    since = int(events["timestamp"].quantile(0.9))
    found = []
    for _ in range(2):
        lesson.assign(shop.model, shop.first)
        lesson.train(shop.model, events, epochs=1, since=since, replay=0.0, seed=3)
        found.append(lesson.weights(shop.model))
    assert all(np.allclose(one, other) for one, other in zip(*found, strict=True))
    moved = [np.abs(one - first).max() for one, first in zip(found[0], shop.first, strict=True)]
    assert 0 < max(moved) < 0.1, "one step or few of Adam from the first champion"


def test_the_ten_lines_decide_as_the_library_does():
    generator = np.random.default_rng(0)
    people = generator.integers(0, 80, 400)
    old = generator.random(400)
    for lead, expected in ((0.2, "promote"), (0.0, "refuse"), (-0.2, "refuse")):
        new = old + lead + generator.normal(0, 0.5, 400)
        verdict, low, high = lesson.decide(new, old, people)
        library = paired_bootstrap(new, old, people)
        assert verdict == expected and (low, high) == pytest.approx((library.low, library.high), abs=0.01)


def test_percentiles_by_hand():
    class Fixed:
        def score(self, queries):
            return np.array([[0.1, 0.9, 0.5, 0.7], [0.1, 0.9, 0.5, 0.7]])

    events = pd.DataFrame({"user": [0, 0, 1, 1], "item": [1, 2, 0, 3], "rating": 5.0, "timestamp": [1, 9, 2, 8]})
    items = lesson.Dataset.of("all", events.rename(columns={"user": "user_id", "item": "item_id"})).items
    fold = lesson.rolling_fold(items, pd.concat([events, events.assign(user=2, timestamp=[3, 4, 5, 6])]), 8, 10)
    # Person 0 likes item 2 and has 1: of 0 and 3, one is below. Person 1 likes 3 and has 0: of 1 and 2, one is.
    assert fold.targets.indices.tolist() == [2, 3]
    assert lesson.percentiles(Fixed(), fold) == pytest.approx([0.5, 0.5])
