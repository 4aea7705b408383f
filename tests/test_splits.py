"""No protocol lets a model see what it is asked about; the frozen counts stay frozen."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recfuse_lib.data import movielens, splits
from recfuse_lib.data.faults import DataError
from recfuse_lib.data.schema import Dataset

N_ITEMS = 9
Event = tuple[int, int, float, int]  # user, item, rating, timestamp


def dataset_of(events: list[Event]) -> Dataset:
    table = pd.DataFrame(events, columns=["user_id", "item_id", "rating", "timestamp"])
    items = pd.DataFrame({"item_id": range(N_ITEMS), "title": "film", "genres": ""})
    return Dataset.of("small", table, items, positive="rating>=4")


# Few moments in time, so that ties are common.
EVENT = st.tuples(
    st.integers(0, 4), st.integers(0, N_ITEMS - 1), st.sampled_from([0.5, 3.5, 4.0, 5.0]), st.integers(0, 9)
)
OTHER: list[Event] = [(9, 0, 4.0, 0), (9, 1, 0.5, 3)]
"""Of somebody else, from whom something can be learned."""

DATASETS = st.lists(EVENT, min_size=1, max_size=40, unique_by=lambda event: event[:2]).map(
    lambda events: dataset_of(events + OTHER)
)
# The first person likes six films, so that there is somebody to ask.
ANSWERABLE = st.lists(EVENT, max_size=40, unique_by=lambda event: event[:2]).map(
    lambda events: dataset_of(
        [event for event in events if event[0]] + [(0, item, 5.0, item // 2) for item in range(6)] + OTHER
    )
)
quick = settings(deadline=None, max_examples=40, derandomize=True)


def person(dataset: Dataset, user: int) -> list[Event]:
    """A person's events by time; ties are broken by item."""
    events = [event for event in dataset.events().itertuples(index=False, name=None) if event[0] == user]
    return sorted(events, key=lambda event: (event[3], event[1]))


def rows(table: pd.DataFrame) -> list[Event]:
    return list(table[["user", "item", "rating", "timestamp"]].itertuples(index=False, name=None))


def histories(queries: splits.Queries) -> Iterator[tuple[int, list[Event]]]:
    """Each query's user and history, read off the ragged arrays."""
    for query, user in enumerate(queries.user):
        part = slice(queries.indptr[query], queries.indptr[query + 1])
        fields = (queries.item[part], queries.rating[part], queries.timestamp[part])
        yield int(user), [(int(user), *event) for event in zip(*(field.tolist() for field in fields), strict=True)]


def leaks(dataset: Dataset, fold: splits.Fold) -> list[str]:
    """What a fold of a per-user protocol gives away."""
    found = []
    known = fold.history.groupby("user")["item"].agg(set).to_dict()
    ordered = dataset.events().sort_values(["timestamp", "item"]).groupby("user")["item"].agg(list)
    for query, (user, history) in enumerate(histories(fold.queries)):
        targets = set(fold.targets[[query]].indices.tolist())
        shown = {item for _, item, _, _ in history} | known.get(user, set())
        if targets & shown:
            found.append(f"user {user}: a target is in the history")
        items = ordered[user]
        first = min(place for place, item in enumerate(items) if item in targets)
        if (set(items[first:]) - targets) & shown:
            found.append(f"user {user}: the history holds something later than the first target")
    return found


def same(one: splits.Fold, other: splits.Fold) -> bool:
    arrays = ("user", "indptr", "item", "rating", "timestamp")
    return (
        one.history.equals(other.history)
        and all(np.array_equal(getattr(one.queries, name), getattr(other.queries, name)) for name in arrays)
        and (one.targets != other.targets).nnz == 0
        and np.array_equal(one.candidates, other.candidates)
    )


# ------------------------------------------------------------------------------------ warm and last-one


@quick
@given(ANSWERABLE)
@pytest.mark.parametrize("protocol", [splits.warm, splits.last_one])
def test_nothing_of_a_persons_future_is_in_their_history(protocol, dataset: Dataset) -> None:  # type: ignore[no-untyped-def]
    split = protocol(dataset)
    assert leaks(dataset, split.validation) == [] and leaks(dataset, split.test) == []


@quick
@given(ANSWERABLE)
def test_warm_agrees_with_a_loop_over_people(dataset: Dataset) -> None:
    split = splits.warm(dataset)
    for fold, part in ((split.validation, "validation"), (split.test, "test")):
        expected_history, expected_targets = [], {}
        for user in range(dataset.n_users):
            events = person(dataset, user)
            positives = [event for event in events if event[2] >= 4]
            n_test, n_validation = max(1, len(positives) // 5), max(1, len(positives) // 10)
            if len(positives) < 5:
                expected_history += events
                continue
            before_test = len(positives) - n_test
            chosen = positives[before_test:] if part == "test" else positives[before_test - n_validation : before_test]
            expected_targets[user] = sorted(item for _, item, _, _ in chosen)
            expected_history += events[: events.index(chosen[0])]
        assert rows(fold.history) == expected_history
        targets = {user: sorted(fold.targets[[query]].indices) for query, user in enumerate(fold.queries.user)}
        assert targets == expected_targets
        for user, history in histories(fold.queries):
            assert history == [event for event in expected_history if event[0] == user]
        assert fold.candidates.all() and fold.n_users == dataset.n_users


@quick
@given(ANSWERABLE)
@pytest.mark.parametrize("protocol", [splits.warm, splits.last_one])
def test_validation_knows_nothing_of_the_test(protocol, dataset: Dataset) -> None:  # type: ignore[no-untyped-def]
    split = protocol(dataset)
    asked_later = {(user, item) for user, items in _targets(split.test) for item in items}
    assert not asked_later & set(zip(split.validation.history["user"], split.validation.history["item"], strict=True))
    assert not asked_later & {(user, item) for user, items in _targets(split.validation) for item in items}
    assert set(rows(split.validation.history)) <= set(rows(split.test.history))


def _targets(fold: splits.Fold) -> list[tuple[int, list[int]]]:
    return [(int(user), fold.targets[[query]].indices.tolist()) for query, user in enumerate(fold.queries.user)]


@quick
@given(ANSWERABLE)
def test_last_one_asks_for_one_item_a_person(dataset: Dataset) -> None:
    split = splits.last_one(dataset)
    assert set(np.diff(split.test.targets.indptr)) == set(np.diff(split.validation.targets.indptr)) == {1}
    for user, (item,) in _targets(split.test):
        assert [event[1] for event in person(dataset, user) if event[2] >= 4][-1] == item


@given(DATASETS)
@quick
def test_data_without_anybody_to_ask_are_refused(dataset: Dataset) -> None:
    likes = dataset.events().query("rating >= 4").groupby("user").size()
    if likes.max() >= 5:
        assert len(splits.warm(dataset).test.queries) == (likes >= 5).sum()
    else:
        with pytest.raises(DataError, match="small: the protocol warm cannot be used: nobody has 5 positives"):
            splits.warm(dataset)


def test_ties_in_time_are_broken_by_item() -> None:
    tied = dataset_of([(0, item, 5.0, 7) for item in (4, 2, 8, 0, 6)] + OTHER)
    split = splits.warm(tied)
    assert _targets(split.test) == [(0, [8])] and _targets(split.validation) == [(0, [6])]
    assert split.test.queries.item.tolist() == [0, 2, 4, 6]


@pytest.mark.parametrize("planted", ["target", "later"])
def test_a_planted_leak_is_caught(planted: str) -> None:
    dataset = dataset_of([(0, item, 5.0 if item < 6 else 1.0, item) for item in range(N_ITEMS)] + OTHER)
    fold = splits.warm(dataset).test
    assert leaks(dataset, fold) == []
    item = 5 if planted == "target" else 8
    leak = pd.DataFrame({"user": [0], "item": [item], "rating": [5.0], "timestamp": [item]})
    in_history = dataclasses.replace(fold, history=pd.concat([fold.history, leak]))
    in_query = dataclasses.replace(fold, queries=splits.Queries.of(in_history.history, fold.queries.user, N_ITEMS))
    complaint = "a target is in" if planted == "target" else "something later"
    for faulty in (in_history, in_query):
        assert any(complaint in found for found in leaks(dataset, faulty))


# ------------------------------------------------------------------------------------ rolling, cold, rating


@quick
@given(DATASETS)
def test_rolling_is_frozen_at_the_cut_and_each_query_is_a_prefix(dataset: Dataset) -> None:
    moments = np.sort(dataset.events()["timestamp"].to_numpy())
    at = {share: int(np.quantile(moments, share, method="nearest")) for share in (0.4, 0.5, 0.6, 0.7, 0.8)}
    cuts, ends = [at[0.4], at[0.5], at[0.6], at[0.8]], [at[0.6], at[0.7], at[0.8], moments[-1] + 1]
    likes = dataset.events().query("rating >= 4")
    first = dataset.events().groupby("item")["timestamp"].min().reindex(range(N_ITEMS)).to_numpy()
    for cut, end in zip(cuts, ends, strict=True):
        asked_for = likes[(likes["timestamp"] >= cut) & (likes["timestamp"] < end)]
        if not (first[asked_for["item"]] < cut).any():
            with pytest.raises(DataError, match="small: the protocol rolling cannot be used: in the time of its"):
                splits.rolling(dataset)
            return
    split = splits.rolling(dataset)
    for fold, cut, end in zip((*split.tuning, split.test), cuts, ends, strict=True):
        assert set(rows(fold.history)) == {event for event in rows(dataset.events()) if event[3] < cut}
        assert set(np.flatnonzero(fold.candidates)) == set(fold.history["item"])
        asked = []
        for query, (user, history) in enumerate(histories(fold.queries)):
            (target,) = fold.targets[[query]].indices
            events = person(dataset, user)
            event = events[len(history)]
            assert history == events[: len(history)] and event[1] == target
            asked.append(event)
        expected = [
            event
            for event in rows(splits.in_order(dataset.events()))
            if cut <= event[3] < end and event[2] >= 4 and fold.candidates[event[1]]
        ]
        assert asked == expected


@quick
@given(DATASETS, st.integers(0, 9))
def test_cold_items_are_unknown_until_they_are_asked_for(dataset: Dataset, seed: int) -> None:
    held = np.random.default_rng(seed).permutation(N_ITEMS)[:2]
    if not all((dataset.events().query("rating >= 4")["item"] == item).any() for item in held):
        with pytest.raises(DataError, match="small: the protocol cold cannot be used: of its 9 items"):
            splits.cold(dataset, seed)
        return
    split = splits.cold(dataset, seed)
    held_out = [set(np.flatnonzero(fold.candidates)) for fold in (split.validation, split.test)]
    assert not held_out[0] & held_out[1]
    unknown = [held_out[0] | held_out[1], held_out[1]]
    for fold, cold_items, hidden in zip((split.validation, split.test), held_out, unknown, strict=True):
        assert set(rows(fold.history)) == {event for event in rows(dataset.events()) if event[1] not in hidden}
        assert not hidden & set(fold.queries.item.tolist())
        liked = [event for event in rows(dataset.events()) if event[1] in cold_items and event[2] >= 4]
        assert {(user, item) for user, items in _targets(fold) for item in items} == {event[:2] for event in liked}


@quick
@given(DATASETS)
def test_the_rating_folds_cover_every_event_once(dataset: Dataset) -> None:
    assume(len(dataset.interactions) >= 10)
    everything = sorted(rows(dataset.events()))
    parts = [splits.rating(dataset, fold) for fold in range(5)]
    assert sorted(event for part in parts for event in rows(part.test)) == everything
    for part in parts:
        assert sorted(rows(part.train) + rows(part.validation) + rows(part.test)) == everything


@quick
@given(ANSWERABLE, st.integers(0, 9))
def test_every_protocol_is_deterministic(dataset: Dataset, seed: int) -> None:
    for protocol in (splits.warm, splits.last_one, splits.rolling, lambda data: splits.cold(data, seed)):
        try:
            one, other = protocol(dataset), protocol(dataset)
        except DataError:
            continue  # what is refused, and why, has tests of its own
        assert same(one.validation, other.validation) and same(one.test, other.test)
    assert all(a.equals(b) for a, b in zip(*(vars(splits.rating(dataset, 1)).values() for _ in range(2)), strict=True))


# ------------------------------------------------------------------------------------------- queries


@quick
@given(DATASETS, st.integers(-12, 12), st.integers(-12, 12))
def test_a_slice_of_queries_is_those_queries(dataset: Dataset, start: int, stop: int) -> None:
    queries = splits.Queries.of(dataset.events(), np.arange(dataset.n_users), N_ITEMS)
    assert list(histories(queries[start:stop])) == list(histories(queries))[start:stop]
    assert queries[start:stop].n_items == N_ITEMS
    dense = queries.matrix().toarray()
    np.testing.assert_array_equal(queries[start:stop].matrix().toarray(), dense[start:stop])


@quick
@given(DATASETS)
def test_the_matrix_and_the_steps_back_agree_with_a_loop(dataset: Dataset) -> None:
    queries = splits.Queries.of(dataset.events(), np.arange(dataset.n_users), N_ITEMS)
    expected = np.zeros((dataset.n_users, N_ITEMS))
    steps = []
    for user in range(dataset.n_users):
        events = person(dataset, user)
        for place, event in enumerate(events):
            expected[user, event[1]] = event[2]
            steps.append(len(events) - 1 - place)
    np.testing.assert_array_equal(queries.matrix(queries.rating).toarray(), expected)
    np.testing.assert_array_equal(queries.matrix().toarray(), expected > 0)
    assert queries.steps_back.tolist() == steps


def test_a_person_without_history_is_a_query_too() -> None:
    history = pd.DataFrame({"user": [1], "item": [2], "rating": [4.0], "timestamp": [5]})
    queries = splits.Queries.of(history, np.array([0, 1, 3]), N_ITEMS)
    assert queries.lengths.tolist() == [0, 1, 0]
    assert queries.matrix().toarray().sum(1).tolist() == [0, 1, 0]


def test_changing_a_matrix_leaves_the_queries_as_they_are() -> None:
    queries = splits.Queries.of(dataset_of([(0, 3, 4.0, 1), (0, 5, 2.0, 2)]).events(), np.array([0]), N_ITEMS)
    matrix = queries.matrix(np.array([0.0, 1.0]))
    matrix.eliminate_zeros()
    assert queries.item.tolist() == [3, 5] and queries.indptr.tolist() == [0, 2]


# ------------------------------------------------------------------------------------------ MovieLens


@pytest.fixture(scope="module")
def films() -> Dataset:
    return movielens.load()


def test_warm_on_movielens_is_frozen(films: Dataset) -> None:
    split = splits.warm(films)
    assert (len(split.test.queries), split.test.targets.nnz, len(split.test.history)) == (659, 10_048, 77_141)
    assert (len(split.validation.queries), split.validation.targets.nnz) == (659, 10_048)
    assert leaks(films, split.test) == []


def test_the_other_protocols_on_movielens_are_frozen(films: Dataset) -> None:
    assert len(splits.last_one(films).test.queries) == 659
    rolling = splits.rolling(films)
    assert [len(fold.queries) for fold in (*rolling.tuning, rolling.test)] == [7_508, 8_151, 6_886, 8_090]
    for seed in range(2):
        assert splits.cold(films, seed).test.candidates.sum() == 907
    part = splits.rating(films, 0)
    assert (len(part.train), len(part.validation), len(part.test)) == (72_000, 8_003, 20_001)
    assert isinstance(splits.warm(films).test.targets, scipy.sparse.csr_array)


# ------------------------------------------------------------------------- data that a protocol cannot use


def shop(**columns: object) -> Dataset:
    """Ten people who bought six of nine things each, without times."""
    pairs = [(user, (user + step) % N_ITEMS) for user in range(10) for step in range(6)]
    log = pd.DataFrame(pairs, columns=["user_id", "item_id"]).assign(**columns)
    return Dataset.of("shop", log, signal="purchase")


def test_without_times_warm_holds_out_at_random_and_always_the_same() -> None:
    one, other = splits.warm(shop()).test, splits.warm(shop()).test
    assert same(one, other)
    places = [list(range(6)).index((int(item) - user) % N_ITEMS) for user, (item,) in _targets(one)]
    assert len(set(places)) > 2, "the held-out things are not those with the largest codes"
    assert not one.queries.steps_back.any()


@pytest.mark.parametrize("moments", [1_700_000_000, np.repeat(1_700_000_000 + np.arange(10), 6)])
def test_one_moment_a_person_says_nothing_of_any_order(moments: object) -> None:
    dated, undated = shop(timestamp=moments), shop()
    assert not dated.has_times
    assert same(splits.warm(dated).test, splits.warm(undated).test)


REFUSED: list[tuple[str, Callable[[], Dataset], Callable[[Dataset], object], str]] = [
    ("no times", shop, splits.rolling, "no times are known"),
    ("no ratings", shop, lambda data: splits.rating(data, 0), "no ratings of different values"),
    ("one person", lambda: dataset_of([(0, item, 5.0, item) for item in range(6)]), splits.warm, "one person"),
    (
        "one item",
        lambda: Dataset.of("shop", pd.DataFrame({"user_id": [1, 2], "item_id": 7, "rating": [5.0, 4.0]})),
        splits.warm,
        "one item",
    ),
    (
        "no positives",
        lambda: dataset_of([(user, item, 1.0, item) for user in range(3) for item in range(6)]),
        lambda data: splits.cold(data, 0),
        "nothing in it is positive",
    ),
]


@pytest.mark.parametrize(("make", "protocol", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_a_protocol_cannot_use_is_named_with_the_reason(
    make: Callable[[], Dataset], protocol: Callable[[Dataset], object], reason: str
) -> None:
    with pytest.raises(DataError, match=f"(shop|small): the protocol .* cannot be used: .*{reason}"):
        protocol(make())
