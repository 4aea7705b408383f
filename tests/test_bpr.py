"""BPR: its gradient against finite differences, what it learns, and how it answers people whom it has not met."""

import itertools

import numpy as np
import pandas as pd
import pytest
from bpr import BPR, gradients
from hypothesis import given, settings
from hypothesis import strategies as st

from recfuse_lib.data import movielens, splits
from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import Queries
from recfuse_lib.data.weighting import Weighting
from recfuse_lib.evaluation.metrics import evaluate
from recfuse_lib.models.popularity import Popularity

N_ITEMS = 20


def loss(people, items, biases, user, liked, other, weight, l2) -> float:
    """The formula of the docstring, triple by triple."""
    total = 0.0
    for u, i, j, w in zip(user, liked, other, weight, strict=True):
        gap = people[u] @ items[i] + biases[i] - people[u] @ items[j] - biases[j]
        lengths = people[u] @ people[u] + items[i] @ items[i] + items[j] @ items[j]
        total += w * (-np.log(1 / (1 + np.exp(-gap))) + l2 / 2 * lengths)
    return total


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.floats(0, 1))
@settings(max_examples=15, deadline=None)
def test_the_gradient_is_that_of_finite_differences(seed: int, n: int, l2: float) -> None:
    generator = np.random.default_rng(seed)
    values = [generator.normal(size=size) for size in ((3, 2), (5, 2), (5,))]
    triples = generator.integers(0, 3, n), generator.integers(0, 5, n), generator.integers(0, 5, n), generator.random(n)
    for array, found in zip(values, gradients(*values, *triples, l2), strict=True):
        assert found.shape == array.shape
        for place in itertools.product(*map(range, array.shape)):
            sides = []
            kept = array[place]
            for step in (1e-5, -1e-5):
                array[place] = kept + step
                sides.append(loss(*values, *triples, l2))
            array[place] = kept
            assert found[place] == pytest.approx((sides[0] - sides[1]) / 2e-5, abs=1e-6)


def test_a_gap_of_any_size_has_a_finite_gradient() -> None:
    people, items, biases = np.full((1, 1), 1e4), np.array([[1e4], [-1e4]]), np.zeros(2)
    for liked, other in ((0, 1), (1, 0)):
        one = np.array([0]), np.array([liked]), np.array([other]), np.ones(1)
        assert all(np.isfinite(found).all() for found in gradients(people, items, biases, *one, 0.0))


@pytest.fixture(scope="module")
def history() -> pd.DataFrame:
    """Even people like even items, odd people odd ones; each leaves out some. The last two items nobody knows."""
    generator = np.random.default_rng(0)
    user, item = np.nonzero(generator.random((40, N_ITEMS - 2)) < 0.6)
    rating = np.where(user % 2 == item % 2, 5.0, 1.0)
    return pd.DataFrame({"user": user, "item": item, "rating": rating, "timestamp": np.arange(len(user))})


@pytest.fixture(scope="module")
def model(history: pd.DataFrame) -> BPR:
    return BPR(dimension=4, epochs=60).fit(history, Items.unnamed(N_ITEMS))


def test_what_a_person_would_like_stands_above_what_they_would_not(model: BPR, history: pd.DataFrame) -> None:
    scores = model.score(Queries.of(history, np.arange(40), N_ITEMS))[:, : N_ITEMS - 2]
    same = np.arange(40)[:, None] % 2 == np.arange(N_ITEMS - 2) % 2
    assert (scores[same].reshape(40, -1).min(1) > scores[~same].reshape(40, -1).max(1)).mean() > 0.9


def test_strangers_are_answered_from_their_history(model: BPR) -> None:
    events = pd.DataFrame({"user": [90, 91], "item": [2, 3], "rating": 5.0, "timestamp": 1})
    even, odd = model.score(Queries.of(events, np.array([90, 91]), N_ITEMS))
    assert even[4:18:2].mean() > even[5:18:2].mean()
    assert odd[5:18:2].mean() > odd[4:18:2].mean()


def test_without_a_history_popularity_speaks(model: BPR, history: pd.DataFrame) -> None:
    (scores,) = model.score(Queries.of(history, np.array([99]), N_ITEMS))
    np.testing.assert_array_equal(scores, model.biases)
    assert scores[: N_ITEMS - 2].min() > scores[N_ITEMS - 2 :].max()


def test_recency_counts_in_the_question_only(history: pd.DataFrame) -> None:
    recent = Weighting(half_life=1.0)
    plain, weighted = (
        BPR(dimension=4, epochs=5, weighting=weighting).fit(history, Items.unnamed(N_ITEMS))
        for weighting in (None, recent)
    )
    np.testing.assert_array_equal(plain.items, weighted.items)
    queries = Queries.of(history, np.arange(3), N_ITEMS)
    assert not np.allclose(plain.score(queries), weighted.score(queries))


def test_one_seed_gives_one_model(history: pd.DataFrame) -> None:
    first, again, other = (
        BPR(dimension=4, epochs=3, seed=seed).fit(history, Items.unnamed(N_ITEMS)).items for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_a_history_without_a_single_like_is_no_error(history: pd.DataFrame) -> None:
    disliked = history.assign(rating=1.0)
    scores = (
        BPR(dimension=4, epochs=2)
        .fit(disliked, Items.unnamed(N_ITEMS))
        .score(Queries.of(disliked, np.arange(3), N_ITEMS))
    )
    np.testing.assert_array_equal(scores, np.zeros((3, N_ITEMS)))


def test_a_query_is_answered_alike_alone_and_among_others(model: BPR, history: pd.DataFrame) -> None:
    queries = Queries.of(history, np.arange(41), N_ITEMS)
    together = model.score(queries)
    assert together.shape == (41, N_ITEMS) and together.dtype == np.float32
    np.testing.assert_allclose(model.score(queries[7:8]), together[7:8], atol=1e-5)


def test_on_movielens_it_ranks_better_than_popularity() -> None:
    dataset = movielens.load()
    fold = splits.warm(dataset).validation
    found = [
        evaluate(model.fit(fold.history, dataset.items), fold).summary()["ndcg@10"]
        for model in (Popularity(), BPR(epochs=20))
    ]
    assert found[1] > found[0] + 0.01, found
