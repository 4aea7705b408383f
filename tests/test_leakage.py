"""Leaks planted on purpose are caught: a test interaction in training, a history that knows its future, a late count."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from recfuse_lib.data import movielens, splits
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import Fold
from recfuse_lib.evaluation.leakage import LeakageError, check_time, check_training, partial_rank_correlation

PROTOCOLS = ["warm", "rolling", "last_one", "cold"]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return movielens.load()


def fold_of(dataset: Dataset, protocol: str) -> Fold:
    return splits.cold(dataset, 0).test if protocol == "cold" else getattr(splits, protocol)(dataset).test


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_protocols_are_sound_and_a_single_planted_target_is_found(dataset: Dataset, protocol: str) -> None:
    fold = fold_of(dataset, protocol)
    check_training(fold.history, fold)
    check_training(fold.history.sample(100, random_state=0).assign(rating=5.0), fold)
    query, item = (indices[7] for indices in fold.targets.nonzero())
    planted = fold.history.iloc[[0]].assign(user=fold.queries.user[query], item=item)
    with pytest.raises(
        LeakageError, match=rf"1 of .* targets of this fold \(user {fold.queries.user[query]} item {item}\)"
    ):
        check_training(pd.concat([fold.history, planted]), fold)


def test_a_later_rating_that_is_no_target_is_found_too(dataset: Dataset) -> None:
    fold, events = splits.warm(dataset).test, dataset.events()
    query, item = fold.targets.nonzero()
    known = set(zip(fold.queries.user[query], item, strict=True))
    known |= set(zip(fold.history["user"], fold.history["item"], strict=True))
    later = [pair for pair in zip(events["user"], events["item"], strict=True) if pair not in known]
    assert later, "ratings below 4 that were given after the first target"
    planted = pd.DataFrame(later[:1], columns=["user", "item"])
    with pytest.raises(LeakageError, match="not in the fold's history"):
        check_training(pd.concat([fold.history, planted]), fold)


def test_everything_is_the_largest_leak(dataset: Dataset) -> None:
    fold = splits.warm(dataset).test
    with pytest.raises(LeakageError, match=rf"{int(fold.targets.sum()):,} of 100,004"):
        check_training(dataset.events(), fold)


@pytest.mark.parametrize("protocol", ["warm", "rolling", "last_one"])
def test_histories_end_before_their_first_target_and_one_second_too_late_is_found(
    dataset: Dataset, protocol: str
) -> None:
    fold, events = fold_of(dataset, protocol), dataset.events()
    check_time(fold, events)
    row = int(np.flatnonzero(fold.queries.lengths)[3])
    target = int(fold.targets[[row]].indices[0])
    when = events[(events["user"] == fold.queries.user[row]) & (events["item"] == target)]["timestamp"].iloc[0]
    times = fold.queries.timestamp.copy()
    times[fold.queries.indptr[row + 1] - 1] = when + 10**9
    planted = dataclasses.replace(fold, queries=dataclasses.replace(fold.queries, timestamp=times))
    with pytest.raises(LeakageError, match=rf"1 of .* reach beyond their first target, the first that of query {row} "):
        check_time(planted, events)


def test_a_history_that_holds_its_target_is_found(dataset: Dataset) -> None:
    fold, events = splits.warm(dataset).test, dataset.events()
    items = fold.queries.item.copy()
    items[fold.queries.indptr[5]] = fold.targets[[5]].indices[0]
    planted = dataclasses.replace(fold, queries=dataclasses.replace(fold.queries, item=items))
    with pytest.raises(LeakageError, match=r"1 of .* hold their own target"):
        check_time(planted, events)


def test_a_random_split_is_found(dataset: Dataset) -> None:
    events = splits.in_order(dataset.events())
    honest = splits.warm(dataset).test
    query, item = honest.targets.nonzero()
    pairs = set(zip(honest.queries.user[query], item, strict=True))
    is_target = np.array([pair in pairs for pair in zip(events["user"], events["item"], strict=True)])
    everything_else = splits.Queries.of(events[~is_target], honest.queries.user, dataset.n_items)
    with pytest.raises(LeakageError, match="reach beyond their first target"):
        check_time(dataclasses.replace(honest, queries=everything_else), events)


def test_a_count_taken_later_has_foresight_and_a_count_of_the_past_has_none(dataset: Dataset) -> None:
    fold, events = splits.rolling(dataset).test, dataset.events()
    attributes = pd.DataFrame(
        {
            "votes": np.bincount(events["item"], minlength=dataset.n_items),
            "votes before the cut": np.bincount(fold.history["item"], minlength=dataset.n_items),
            "chance": np.random.default_rng(0).random(dataset.n_items),
            "runtime": dataset.catalogue["runtime_minutes"],
        }
    )
    found = partial_rank_correlation(attributes.drop(columns="votes before the cut"), fold)
    assert found.index[0] == "votes" and found["votes"] > 0.4
    assert abs(found["chance"]) < 0.05 and found["runtime"] < 0.25


def test_foresight_is_the_correlation_of_what_the_past_leaves_over(dataset: Dataset) -> None:
    from scipy.stats import rankdata

    fold = splits.rolling(dataset).test
    year = dataset.catalogue[["year"]]
    there = fold.candidates & year["year"].notna().to_numpy()
    past = np.bincount(fold.history["item"], minlength=dataset.n_items)
    future = np.asarray(fold.targets.sum(axis=0)).ravel()
    a, f, p = (rankdata(values[there]) for values in (year["year"].to_numpy("float64", na_value=np.nan), future, past))
    left = [values - np.polyval(np.polyfit(p, values, 1), p) for values in (a, f)]
    assert partial_rank_correlation(year, fold)["year"] == pytest.approx(np.corrcoef(left)[0, 1])


def test_attributes_of_other_items_are_refused(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="2 rows of attributes"):
        partial_rank_correlation(pd.DataFrame({"a": [1, 2]}), splits.rolling(dataset).test)
