"""Lesson 10's disturbed log: exactly what was asked for is wrong in it, nothing else, and nothing of it is an answer."""

import numpy as np
import pandas as pd
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from course.lessons import definitions
from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import Fold, Queries

lesson = definitions("10_evaluate")
N_USERS, N_ITEMS = 12, 20
SHARES = st.floats(0, 1)
SEEDS = st.integers(0, 10_000)


def fold_of(seed: int) -> Fold:
    """Twelve people, twenty items; ten people are asked, each with one or two targets that they have not rated."""
    generator = np.random.default_rng(seed)
    order = generator.permuted(np.tile(np.arange(N_ITEMS), (N_USERS, 1)), axis=1)
    rows = [
        (user, order[user, place], generator.integers(1, 11) / 2, 10 * place)
        for user in range(N_USERS)
        for place in range(3 + user % 5)
    ]
    history = pd.DataFrame(rows, columns=["user", "item", "rating", "timestamp"]).astype(
        {"user": "int32", "item": "int32", "rating": "float32", "timestamp": "int64"}
    )
    asked = np.arange(10)
    targets = np.zeros((10, N_ITEMS), bool)
    targets[asked, order[asked, 15]] = targets[asked, order[asked, 15 + asked % 2]] = True
    queries = Queries.of(history, asked, N_ITEMS)
    everything = np.ones(N_ITEMS, bool)
    return Fold(history, queries, scipy.sparse.csr_array(targets), everything, N_USERS, Items.unnamed(N_ITEMS))


def rows_of(history: pd.DataFrame) -> set[tuple[float, ...]]:
    return set(history.itertuples(index=False, name=None))


@given(SEEDS, SHARES, st.sampled_from(lesson.KINDS))
@settings(max_examples=60, deadline=None)
def test_the_share_asked_for_is_disturbed_and_the_questions_stay(seed: int, share: float, kind: str) -> None:
    fold = fold_of(seed % 7)
    found = lesson.corrupt(fold, kind, share, seed)
    n, before, after = round(share * len(fold.history)), rows_of(fold.history), rows_of(found.history)
    size = {"flipped": 0, "missing": -n, "injected": n}[kind]
    assert len(found.history) == len(after) == len(before) + size
    if kind == "flipped":
        turned = {(user, item, 5.5 - rating, time) for user, item, rating, time in before}
        assert after <= before | turned and len(after - before) == n
    elif kind == "missing":
        assert after <= before
    else:
        assert before <= after and {rating for _, _, rating, _ in after - before} <= {5.0}
    assert found.targets is fold.targets and found.candidates is fold.candidates
    assert (found.queries.user == fold.queries.user).all()
    assert found.queries.lengths.sum() == (found.history["user"] < 10).sum()
    assert found.history.dtypes.equals(fold.history.dtypes)


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_nothing_that_is_injected_is_an_answer_or_was_there(seed: int) -> None:
    fold = fold_of(seed)
    found = lesson.corrupt(fold, "injected", 1.0, seed).history
    assert not found.duplicated(["user", "item"]).any()
    asked = found[found["user"] < 10]
    assert not fold.targets.toarray()[asked["user"], asked["item"]].any()
    times = fold.history.groupby("user")["timestamp"].apply(set)
    assert all(time in times[user] for user, time in zip(found["user"], found["timestamp"], strict=True))


def test_a_seed_gives_the_same_disturbance_again() -> None:
    fold = fold_of(0)
    for kind in lesson.KINDS:
        again = [rows_of(lesson.corrupt(fold, kind, 0.4, seed).history) for seed in (1, 1, 2)]
        assert again[0] == again[1] != again[2]
