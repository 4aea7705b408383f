"""Lesson 10's slices of items: they part what they are given, and count and find the targets of each part."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from course.lessons import definitions
from recfuse_lib.data import movielens, splits
from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import Fold, Queries
from recfuse_lib.evaluation.metrics import Ranking, evaluate
from recfuse_lib.models.popularity import Popularity

lesson = definitions("10_evaluate")


@given(st.lists(st.integers(0, 40), min_size=1, max_size=40).filter(any))
@settings(max_examples=60, deadline=None)
def test_the_head_is_the_fewest_items_that_hold_half(amounts: list[int]) -> None:
    counts = np.array(amounts)
    part = lesson.head_and_tail(counts)
    assert ((part == "cold") == (counts == 0)).all()
    head = counts[part == "head"]
    assert head.sum() >= counts.sum() / 2 > head.sum() - head.min()
    assert head.min() >= counts[part == "tail"].max(initial=0)


def test_targets_are_counted_and_found_by_slice() -> None:
    history = pd.DataFrame({"user": [0, 1, 2], "item": [0, 0, 0], "rating": 5.0, "timestamp": 1})
    targets = scipy.sparse.csr_array(np.array([[1, 1, 1, 0], [1, 0, 0, 1]], bool))
    fold = Fold(history, Queries.of(history, np.array([3, 4]), 4), targets, np.ones(4, bool), 5, Items.unnamed(4))
    ranking = Ranking(2, pd.DataFrame(), 1.0, np.array([[0, 1], [2, 1]]))
    table = lesson.by_target(ranking, fold, np.array(["head", "tail", "tail", "cold"]))
    assert table["items"].tolist() == [1, 2, 1]
    assert table["targets"].tolist() == [2, 2, 1]
    assert table["people"].tolist() == [2, 1, 1]
    assert table["shown"].tolist() == [0.25, 0.75, 0]
    assert table["recall"].tolist() == [0.5, 0.5, 0.0]


def test_one_slice_of_all_items_has_the_recall_of_evaluate() -> None:
    fold = splits.warm(movielens.load()).validation
    ranking = evaluate(Popularity().fit(fold.history, fold.items), fold)
    part = lesson.head_and_tail(np.bincount(fold.history["item"], minlength=fold.n_items))
    parts = lesson.by_target(ranking, fold, part)
    assert parts["targets"].sum() == fold.targets.sum()
    assert parts.loc["head", "shown"] == 1, "popularity shows nothing but the head"
    whole = lesson.by_target(ranking, fold, np.where(part == "none", "", "head")).loc["head"]
    assert whole["recall"] == pytest.approx(ranking.per_query["recall"].mean())
