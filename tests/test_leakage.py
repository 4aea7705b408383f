"""Lesson 10's checks: leaks planted on purpose are caught: a test interaction in training, a history that knows its future, a late count."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from course.lessons import definitions
from recfuse_lib.data import movielens, splits
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import Fold

lesson = definitions("10_evaluate")

PROTOCOLS = ["warm", "rolling", "last_one", "cold"]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return movielens.load()


def fold_of(dataset: Dataset, protocol: str) -> Fold:
    return splits.cold(dataset, 0).test if protocol == "cold" else getattr(splits, protocol)(dataset).test


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_protocols_are_sound_and_a_single_planted_target_is_found(dataset: Dataset, protocol: str) -> None:
    fold = fold_of(dataset, protocol)
    lesson.check_training(fold.history, fold)
    lesson.check_training(fold.history.sample(100, random_state=0).assign(rating=5.0), fold)
    query, item = (indices[7] for indices in fold.targets.nonzero())
    planted = fold.history.iloc[[0]].assign(user=fold.queries.user[query], item=item)
    with pytest.raises(
        ValueError, match=rf"1 of .* targets of this fold \(user {fold.queries.user[query]} item {item}\)"
    ):
        lesson.check_training(pd.concat([fold.history, planted]), fold)


def test_a_later_rating_that_is_no_target_is_found_too(dataset: Dataset) -> None:
    fold, events = splits.warm(dataset).test, dataset.events()
    query, item = fold.targets.nonzero()
    known = set(zip(fold.queries.user[query], item, strict=True))
    known |= set(zip(fold.history["user"], fold.history["item"], strict=True))
    later = [pair for pair in zip(events["user"], events["item"], strict=True) if pair not in known]
    assert later, "ratings below 4 that were given after the first target"
    planted = pd.DataFrame(later[:1], columns=["user", "item"])
    with pytest.raises(ValueError, match="not in the fold's history"):
        lesson.check_training(pd.concat([fold.history, planted]), fold)


def test_everything_is_the_largest_leak(dataset: Dataset) -> None:
    fold = splits.warm(dataset).test
    with pytest.raises(ValueError, match=rf"{int(fold.targets.sum()):,} of 100,004"):
        lesson.check_training(dataset.events(), fold)


@pytest.mark.parametrize("protocol", ["warm", "rolling", "last_one"])
def test_histories_end_before_their_first_target_and_one_second_too_late_is_found(
    dataset: Dataset, protocol: str
) -> None:
    fold, events = fold_of(dataset, protocol), dataset.events()
    lesson.check_time(fold, events)
    row = int(np.flatnonzero(fold.queries.lengths)[3])
    target = int(fold.targets[[row]].indices[0])
    when = events[(events["user"] == fold.queries.user[row]) & (events["item"] == target)]["timestamp"].iloc[0]
    times = fold.queries.timestamp.copy()
    times[fold.queries.indptr[row + 1] - 1] = when + 10**9
    planted = dataclasses.replace(fold, queries=dataclasses.replace(fold.queries, timestamp=times))
    with pytest.raises(ValueError, match=rf"1 of .* reach beyond their first target, the first that of query {row} "):
        lesson.check_time(planted, events)


def test_a_history_that_holds_its_target_is_found(dataset: Dataset) -> None:
    fold, events = splits.warm(dataset).test, dataset.events()
    items = fold.queries.item.copy()
    items[fold.queries.indptr[5]] = fold.targets[[5]].indices[0]
    planted = dataclasses.replace(fold, queries=dataclasses.replace(fold.queries, item=items))
    with pytest.raises(ValueError, match=r"1 of .* hold their own target"):
        lesson.check_time(planted, events)


def test_a_random_split_is_found(dataset: Dataset) -> None:
    events = splits.in_order(dataset.events())
    honest = splits.warm(dataset).test
    query, item = honest.targets.nonzero()
    pairs = set(zip(honest.queries.user[query], item, strict=True))
    is_target = np.array([pair in pairs for pair in zip(events["user"], events["item"], strict=True)])
    everything_else = splits.Queries.of(events[~is_target], honest.queries.user, dataset.n_items)
    with pytest.raises(ValueError, match="reach beyond their first target"):
        lesson.check_time(dataclasses.replace(honest, queries=everything_else), events)


def test_a_count_taken_later_tells_of_the_future_and_a_count_of_the_past_does_not(dataset: Dataset) -> None:
    fold, events = splits.rolling(dataset).test, dataset.events()
    votes, past = (np.bincount(log["item"], minlength=dataset.n_items) for log in (events, fold.history))
    future = np.asarray(fold.targets.sum(axis=0)).ravel()
    runtime = dataset.catalogue["runtime_minutes"].to_numpy("float64", na_value=np.nan)
    chance = np.random.default_rng(0).random(dataset.n_items)
    there = fold.candidates
    told = [lesson.partial_rank_correlation(one[there], past[there], future[there]) for one in (votes, chance, runtime)]
    assert told[0] > 0.4 and abs(told[1]) < 0.05 and told[2] < 0.25


def test_it_is_the_correlation_of_what_the_past_leaves_over() -> None:
    generator = np.random.default_rng(0)
    past = generator.poisson(3, 400)
    future, attribute = past + generator.poisson(2, 400), past - generator.normal(0, 2, 400)
    attribute[:9] = np.nan
    a, f, p = (rankdata(values[9:]) for values in (attribute, future, past))
    left = [values - np.polyval(np.polyfit(p, values, 1), p) for values in (a, f)]
    found = lesson.partial_rank_correlation(attribute, past, future)
    assert found == pytest.approx(np.corrcoef(left)[0, 1])
