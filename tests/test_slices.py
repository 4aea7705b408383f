"""Slices of people and items: they part what they are given, and count and average each part rightly."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from recfuse_lib.data import movielens, splits
from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import Fold, Queries
from recfuse_lib.evaluation import slices
from recfuse_lib.evaluation.metrics import Ranking, evaluate
from recfuse_lib.models.popularity import Popularity


@given(
    st.lists(st.integers(0, 300), min_size=1),
    st.lists(st.integers(1, 200), min_size=1, max_size=5, unique=True).map(sorted),
)
@settings(max_examples=60, deadline=None)
def test_ranges_hold_what_their_names_say(values: list[int], edges: list[int]) -> None:
    for value, name in zip(values, slices.ranges(np.array(values), edges), strict=True):
        ends = name.replace(" or more", "–1000000").split("–")
        assert int(ends[0]) <= value <= int(ends[-1])


@pytest.mark.parametrize("edges", [[0], [3, 3], [5, 2]])
def test_edges_that_do_not_ascend_are_refused(edges: list[int]) -> None:
    with pytest.raises(ValueError, match="do not ascend"):
        slices.ranges(np.array([1]), edges)


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="-1 is negative"):
        slices.ranges(np.array([-1]), [2])


@given(st.lists(st.integers(0, 40), min_size=1, max_size=40).filter(any), st.floats(0.05, 0.95))
@settings(max_examples=60, deadline=None)
def test_the_head_is_the_fewest_items_that_hold_its_share(amounts: list[int], share: float) -> None:
    counts = np.array(amounts)
    kind = np.array(slices.head_and_tail(counts, share))
    assert ((kind == "cold") == (counts == 0)).all()
    head = counts[kind == "head"]
    assert head.sum() >= share * counts.sum() - 1e-9
    assert head.sum() - head.min() < share * counts.sum() + 1e-9
    assert head.min() >= counts[kind == "tail"].max(initial=0)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_slices_of_queries_add_up_to_the_whole(seed: int) -> None:
    generator = np.random.default_rng(seed)
    values, groups = generator.random(30), generator.integers(0, 12, 30)
    table = slices.by_query(values, groups, slices.ranges(generator.integers(0, 50, 30), [10, 20, 49]))
    there = table[table["queries"] > 0]
    assert table["queries"].sum() == 30
    mean = sum(row["queries"] * row["value"].mean for _, row in there.iterrows()) / 30
    assert mean == pytest.approx(values.mean())
    assert (table["people"] <= table["queries"]).all()


def test_a_slice_without_queries_has_no_value() -> None:
    table = slices.by_query(np.array([1.0]), np.array([0]), slices.ranges(np.array([1]), [5]))
    assert table.loc["5 or more", "value"] is None and table.loc["5 or more", "queries"] == 0
    with pytest.raises(ValueError, match="one each a query"):
        slices.by_query(np.array([1.0]), np.array([0, 1]), slices.ranges(np.array([1]), [5]))


def small() -> tuple[Ranking, Fold]:
    """Two people, four items: item 0 in the head, 1 and 2 in the tail, 3 cold."""
    history = pd.DataFrame({"user": [0, 1, 2], "item": [0, 0, 0], "rating": 5.0, "timestamp": 1})
    targets = scipy.sparse.csr_array(np.array([[1, 1, 1, 0], [1, 0, 0, 1]], bool))
    fold = Fold(history, Queries.of(history, np.array([3, 4]), 4), targets, np.ones(4, bool), 5, Items.unnamed(4))
    return Ranking(2, pd.DataFrame(), 1.0, np.array([[0, 1], [2, -1]])), fold


def test_targets_are_counted_and_found_by_slice() -> None:
    ranking, fold = small()
    table = slices.by_target(ranking, fold, pd.Categorical(["head", "tail", "tail", "cold"], ["head", "tail", "cold"]))
    assert table["items"].tolist() == [1, 2, 1]
    assert table["targets"].tolist() == [2, 2, 1]
    assert table["people"].tolist() == [2, 1, 1]
    assert table["shown"].tolist() == pytest.approx([1 / 3, 2 / 3, 0])
    assert [value.mean for value in table["recall"]] == [0.5, 0.5, 0.0]


def test_one_slice_of_all_items_has_the_recall_of_evaluate() -> None:
    dataset = movielens.load()
    fold = splits.warm(dataset).validation
    ranking = evaluate(Popularity().fit(fold.history, fold.items), fold)
    counts = np.bincount(fold.history["item"], minlength=fold.n_items)
    everything = pd.Categorical(np.full(fold.n_items, "all"))
    whole = slices.by_target(ranking, fold, everything)
    assert whole.loc["all", "recall"].mean == pytest.approx(ranking.per_query["recall"].mean())
    parts = slices.by_target(ranking, fold, slices.head_and_tail(counts))
    assert parts["targets"].sum() == whole.loc["all", "targets"] == fold.targets.sum()
    assert parts.loc["head", "shown"] == 1, "popularity shows nothing but the head"


def test_a_ranking_of_another_fold_is_refused() -> None:
    ranking, fold = small()
    with pytest.raises(ValueError, match="3 slices"):
        slices.by_target(ranking, fold, pd.Categorical(["a", "b", "c"]))
