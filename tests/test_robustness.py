"""A disturbed log: exactly what was asked for is wrong in it, nothing else, and nothing of it is an answer."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import Fold, Queries
from recfuse_lib.evaluation.metrics import evaluate
from recfuse_lib.evaluation.robustness import KINDS, corrupt, stress
from recfuse_lib.models.popularity import Popularity

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
    return Fold(
        history, queries, scipy.sparse.csr_array(targets), np.ones(N_ITEMS, bool), N_USERS, Items.unnamed(N_ITEMS)
    )


def rows_of(history: pd.DataFrame) -> set[tuple[float, ...]]:
    return set(history.itertuples(index=False, name=None))


@given(SEEDS, SHARES, st.sampled_from(KINDS))
@settings(max_examples=60, deadline=None)
def test_the_share_asked_for_is_disturbed_and_the_questions_stay(seed: int, share: float, kind: str) -> None:
    fold = fold_of(seed % 7)
    found = corrupt(fold, kind, share, seed)
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
    found = corrupt(fold, "injected", 1.0, seed).history
    assert not found.duplicated(["user", "item"]).any()
    asked = found[found["user"] < 10]
    assert not fold.targets.toarray()[asked["user"], asked["item"]].any()
    times = fold.history.groupby("user")["timestamp"].apply(set)
    assert all(time in times[user] for user, time in zip(found["user"], found["timestamp"], strict=True))


def test_a_seed_gives_the_same_disturbance_again() -> None:
    fold = fold_of(0)
    for kind in KINDS:
        again = [rows_of(corrupt(fold, kind, 0.4, seed).history) for seed in (1, 1, 2)]
        assert again[0] == again[1] != again[2]


def test_what_cannot_be_disturbed_is_refused() -> None:
    fold = fold_of(0)
    with pytest.raises(ValueError, match="'melted'"):
        corrupt(fold, "melted", 0.1)
    with pytest.raises(ValueError, match="0 to 1"):
        corrupt(fold, "missing", 1.5)
    twice = Queries(
        *(getattr(fold.queries, name) for name in ("user", "indptr", "item", "rating", "timestamp")), N_ITEMS
    )
    twice.user[1] = twice.user[0]
    with pytest.raises(ValueError, match="several queries"):
        corrupt(fold, "missing", 0.1)


def test_a_log_that_is_full_has_no_room_for_more() -> None:
    fold = fold_of(0)
    pairs = pd.MultiIndex.from_product([range(N_USERS), range(N_ITEMS)], names=["user", "item"]).to_frame(index=False)
    full = Fold(
        pairs.assign(rating=5.0, timestamp=1), fold.queries, fold.targets[:, :], fold.candidates, N_USERS, fold.items
    )
    with pytest.raises(ValueError, match="pairs are free"):
        corrupt(full, "injected", 0.5)


def test_stress_shows_the_clean_log_and_each_disturbed_one() -> None:
    fold = fold_of(3)

    def fit(fold: Fold) -> Popularity:
        return Popularity().fit(fold.history, fold.items)

    table = stress(fit, fold, shares=[0.5], k=5, seed=4)
    assert list(zip(table["kind"], table["share"], strict=True)) == [(kind, s) for kind in KINDS for s in (0.0, 0.5)]
    clean = evaluate(fit(fold), fold, 5).per_query["ndcg"]
    assert (table.query("share == 0")["ndcg"] == clean.mean()).all()
    assert all(change.mean == change.low == change.high == 0 for change in table.query("share == 0")["change"])
    flipped = corrupt(fold, "flipped", 0.5, seed=4)
    values = evaluate(fit(flipped), flipped, 5).per_query["ndcg"]
    assert table.loc[1, "ndcg"] == pytest.approx(values.mean())
    assert table.loc[1, "change"].mean == pytest.approx((values - clean).mean())
