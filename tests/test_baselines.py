"""The baselines against brute force, and what they reach on MovieLens."""

import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from bpr import BPR
from hypothesis import given
from hypothesis import strategies as st

from recfuse_lib.data import movielens, splits
from recfuse_lib.data.faults import DataError
from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import Queries
from recfuse_lib.data.weighting import Weighting, by_user
from recfuse_lib.evaluation.metrics import evaluate
from recfuse_lib.models import ease
from recfuse_lib.models.ease import EASE
from recfuse_lib.models.ials import ImplicitALS
from recfuse_lib.models.item_knn import ItemKNN
from recfuse_lib.models.popularity import SECONDS_PER_DAY, Popularity

N_USERS, N_ITEMS = 30, 18
RECENCY = Weighting(low_rating=0.3, half_life=10, floor=0.2)


@pytest.fixture(scope="module")
def history() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    user, item = np.nonzero(generator.random((N_USERS, N_ITEMS - 1)) < 0.3)  # the last item has no rating
    rating = generator.integers(1, 11, len(user)) / 2
    return pd.DataFrame({"user": user, "item": item, "rating": rating, "timestamp": generator.permutation(len(user))})


@pytest.fixture(scope="module")
def queries(history: pd.DataFrame) -> Queries:
    """All known people, and one whom nobody knows and who did nothing."""
    return Queries.of(history, np.arange(N_USERS + 1), N_ITEMS)


def liked(history: pd.DataFrame, low_rating: float = 0.0) -> np.ndarray:
    dense = np.zeros((N_USERS, N_ITEMS))
    dense[history["user"], history["item"]] = np.where(history["rating"] >= 4, 1.0, low_rating)
    return dense


def models() -> list[object]:
    return [
        Popularity(),
        Popularity(half_life_days=30),
        ItemKNN(neighbours=5),
        ItemKNN(neighbours=5, weighting=RECENCY),
        EASE(l2=10),
        EASE(l2=10, weighting=RECENCY),
        ImplicitALS(dimension=4, iterations=2),
        ImplicitALS(dimension=4, iterations=2, weighting=RECENCY),
    ]


@pytest.mark.parametrize("model", models(), ids=lambda model: type(model).__name__)
def test_scores_are_finite_for_anybody_and_leave_the_queries_as_they_were(model, history, queries) -> None:
    before = [part.copy() for part in (queries.item, queries.rating, queries.timestamp, queries.indptr)]
    events = history.copy()
    first = np.array(model.fit(history, Items.unnamed(N_ITEMS)).score(queries))
    assert first.shape == (N_USERS + 1, N_ITEMS) and first.dtype == np.float32
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, model.score(queries))
    for part, copy in zip((queries.item, queries.rating, queries.timestamp, queries.indptr), before, strict=True):
        np.testing.assert_array_equal(part, copy)
    pd.testing.assert_frame_equal(history, events)


@pytest.mark.parametrize("model", models(), ids=lambda model: type(model).__name__)
def test_a_query_is_answered_alike_alone_and_among_others(model, history, queries) -> None:
    together = model.fit(history, Items.unnamed(N_ITEMS)).score(queries)
    np.testing.assert_allclose(model.score(queries[7:8]), together[7:8], atol=1e-5)


@pytest.mark.parametrize("model", models(), ids=lambda model: type(model).__name__)
def test_a_history_without_a_single_like_is_no_error(model, history, queries) -> None:
    disliked = history.assign(rating=1.0)
    scores = model.fit(disliked, Items.unnamed(N_ITEMS)).score(Queries.of(disliked, np.arange(3), N_ITEMS))
    assert np.isfinite(scores).all()


def test_popularity_counts_positives_and_halves_them_with_age() -> None:
    day = SECONDS_PER_DAY
    events = pd.DataFrame(
        {
            "user": [0, 1, 2, 3],
            "item": [0, 0, 1, 2],
            "rating": [4.0, 5.0, 5.0, 3.5],
            "timestamp": [0, 10 * day, 20 * day, 30 * day],
        }
    )
    nobody = Queries.of(events, np.array([9]), 4)
    np.testing.assert_array_equal(Popularity().fit(events, Items.unnamed(4)).score(nobody), [[2, 1, 0, 0]])
    decayed = Popularity(half_life_days=10).fit(events, Items.unnamed(4)).score(nobody)
    np.testing.assert_allclose(decayed, [[1 / 8 + 1 / 4, 1 / 2, 0, 0]], rtol=1e-6)


def test_item_knn_is_the_shrunk_cosine_of_a_loop(history, queries) -> None:
    x, shrinkage, keep = liked(history), 3.0, 4
    similarity = np.zeros((N_ITEMS, N_ITEMS))
    for j in range(N_ITEMS):
        for i in range(N_ITEMS):
            if i != j:
                norms = np.linalg.norm(x[:, j]) * np.linalg.norm(x[:, i])
                similarity[j, i] = x[:, j] @ x[:, i] / (norms + shrinkage + 1e-9)
        similarity[j, np.argsort(-similarity[j])[keep:]] = 0
    model = ItemKNN(neighbours=keep, shrinkage=shrinkage).fit(history, Items.unnamed(N_ITEMS))
    # Which of equal neighbours is kept is free, so what is kept is compared by value.
    np.testing.assert_allclose(np.sort(model.similarity.toarray()), np.sort(similarity), atol=1e-6)
    expected = x @ model.similarity.toarray()
    np.testing.assert_allclose(model.score(queries)[:N_USERS], expected, atol=1e-5)


def test_item_knn_without_shrinkage_is_scikit_learns_cosine(history) -> None:
    from sklearn.metrics.pairwise import cosine_similarity

    cosine = cosine_similarity(liked(history).T)
    np.fill_diagonal(cosine, 0)
    model = ItemKNN(neighbours=N_ITEMS, shrinkage=0.0).fit(history, Items.unnamed(N_ITEMS))
    np.testing.assert_allclose(model.similarity.toarray(), cosine, atol=1e-6)


@pytest.mark.parametrize("low_rating", [0.0, 0.5])
def test_ease_from_the_users_side_is_ease_from_the_items_side(low_rating, history, queries) -> None:
    x, l2 = liked(history, low_rating), 7.0
    p = np.linalg.inv(x.T @ x + l2 * np.eye(N_ITEMS))
    b = np.eye(N_ITEMS) - p / np.diag(p)
    scores = EASE(l2, Weighting(low_rating)).fit(history, Items.unnamed(N_ITEMS)).score(queries)[:N_USERS]
    np.testing.assert_allclose(scores, x @ b, atol=1e-5)


def test_ease_solves_one_ridge_regression_an_item(history, queries) -> None:
    """Brute force of min ‖x_i − X b‖² + λ‖b‖² with b_i = 0, for each item on its own."""
    x, l2 = liked(history), 7.0
    b = np.zeros((N_ITEMS, N_ITEMS))
    for i in range(N_ITEMS):
        others = np.delete(np.arange(N_ITEMS), i)
        a = x[:, others]
        b[others, i] = np.linalg.solve(a.T @ a + l2 * np.eye(N_ITEMS - 1), a.T @ x[:, i])
    np.testing.assert_allclose(EASE(l2).fit(history, Items.unnamed(N_ITEMS)).score(queries)[:N_USERS], x @ b, atol=1e-5)


def ials_loss(model: ImplicitALS, x: np.ndarray, users: np.ndarray, items: np.ndarray) -> float:
    scores, seen = users @ items.T, x > 0
    loss = (x * (1 - scores) ** 2).sum() + model.unobserved * (scores**2).sum()
    user_count = seen.sum(1) + model.unobserved * x.shape[1]
    item_count = seen.sum(0) + model.unobserved * x.shape[0]
    return float(loss + model.l2 * (user_count @ (users**2).sum(1) + item_count @ (items**2).sum(1)))


def test_ials_half_steps_reach_the_lowest_point_and_the_loss_only_falls(history) -> None:
    model = ImplicitALS(dimension=5, unobserved=0.2, l2=0.05, weighting=Weighting(0.5))
    sparse = Weighting(0.5).matrix(by_user(history, N_ITEMS))
    x = sparse.toarray().astype("float64")
    items = np.random.default_rng(1).normal(0, 0.1, (N_ITEMS, 5)).astype("float32")
    losses = []
    for _ in range(6):
        users = model._solve(sparse, items)
        gradient = -2 * (x * (1 - users @ items.T)) @ items + 2 * model.unobserved * users @ items.T @ items
        count = (x > 0).sum(1) + model.unobserved * N_ITEMS
        np.testing.assert_allclose(gradient + 2 * model.l2 * count[:, None] * users, 0, atol=1e-4)
        losses.append(ials_loss(model, x, users, items))
        items = model._solve(sparse.T.tocsr(), users)
        losses.append(ials_loss(model, x, users, items))
    assert all(later <= earlier + 1e-4 for earlier, later in itertools.pairwise(losses))
    assert losses[-1] < 0.9 * losses[0]


@given(
    low=st.floats(0, 1),
    half_life=st.floats(0.5, 100),
    floor=st.floats(0, 1),
    ratings=st.lists(st.sampled_from([0.5, 3.5, 4.0, 5.0]), max_size=12),
)
def test_weights_fall_with_age_between_floor_and_one(low, half_life, floor, ratings) -> None:
    n = len(ratings)
    events = pd.DataFrame({"user": 0, "item": np.arange(n), "rating": np.array(ratings, float), "timestamp": range(n)})
    queries = Queries.of(events, np.array([0]), n + 1)
    row = Weighting(low, half_life, floor).matrix(queries).toarray()[0]
    liked = np.flatnonzero(np.array(ratings) >= 4)
    assert (np.diff(row[liked]) >= -1e-6).all()
    assert (row[liked] >= floor - 1e-6).all() and (row <= 1 + 1e-6).all()
    rejected = np.flatnonzero(np.array(ratings) < 4)
    assert (row[rejected] <= low + 1e-6).all()
    if n:
        assert row[n - 1] == pytest.approx(1 if ratings[-1] >= 4 else low)
    flat = Weighting(low, half_life, floor).without_recency().matrix(queries).toarray()[0]
    np.testing.assert_allclose(flat[:n], np.where(np.array(ratings) >= 4, 1, low), atol=1e-6)


@pytest.fixture(scope="module")
def warm() -> splits.Fold:
    return splits.warm(movielens.load()).test


@pytest.mark.parametrize(
    ("model", "ndcg", "tolerance"),
    [(Popularity(), 0.068, 0.003), (EASE(l2=50, weighting=RECENCY), 0.134, 0.010)],
    ids=["popularity", "EASE"],
)
def test_warm_is_reached_as_measured(model, ndcg, tolerance, warm) -> None:
    reached = evaluate(model.fit(warm.history, warm.items), warm).summary()["ndcg@10"]
    assert reached == pytest.approx(ndcg, abs=tolerance)


@pytest.mark.parametrize(
    "model", [ItemKNN(20), EASE(100), ImplicitALS(dimension=32, iterations=5)], ids=lambda model: type(model).__name__
)
def test_whoever_looks_at_the_person_clearly_beats_popularity(model, warm) -> None:
    assert evaluate(model.fit(warm.history, warm.items), warm).summary()["ndcg@10"] > 0.068 + 0.02


@pytest.mark.parametrize("n_users", [12, 60])
def test_ease_inverts_the_smaller_side_and_scores_alike(n_users: int) -> None:
    random = np.random.default_rng(0)
    pairs = np.argwhere(random.random((n_users, 30)) < 0.3)
    history = pd.DataFrame(pairs, columns=["user", "item"]).assign(rating=5.0, timestamp=1)
    queries = Queries.of(history, np.arange(n_users), 30)
    model = EASE(7.0).fit(history, Items.unnamed(30))
    assert model.by_items == (n_users > 30)
    x = queries.matrix().toarray().astype("float64")
    p = np.linalg.inv(x.T @ x + 7.0 * np.eye(30))
    b = np.eye(30) - p / np.diagonal(p)
    np.testing.assert_allclose(model.score(queries), x @ b, atol=1e-5)


def test_a_large_inverse_is_that_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ease, "LARGE", 10)
    monkeypatch.setattr(ease, "BLOCK", 7)
    x = scipy.sparse.random_array((30, 40), density=0.2, random_state=0, format="csr")
    gram, wanted = (x.T @ x).tocsr(), np.random.default_rng(0).normal(size=(40, 3))
    expected = np.linalg.inv(gram.toarray() + 3 * np.eye(40))
    np.testing.assert_allclose(ease.inverse(gram, 3.0), expected, atol=1e-6)
    np.testing.assert_allclose(ease.solve(gram, 3.0, wanted), expected @ wanted, atol=1e-9)
    with pytest.raises(DataError, match="give a larger λ"):
        ease.solve(gram, -5.0, wanted)


def test_what_does_not_fit_into_memory_is_refused_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    free = ease.memory.psutil.virtual_memory()._replace(available=10_000)
    monkeypatch.setattr(ease.memory.psutil, "virtual_memory", lambda: free)
    history = pd.DataFrame({"user": np.arange(40), "item": np.arange(40), "rating": 5.0, "timestamp": 1})
    with pytest.raises(DataError, match=r"inverting a matrix of 40 × 40 needs .* are free; leave out people or items"):
        EASE().fit(history, Items.unnamed(40))


@pytest.mark.parametrize("model", [ItemKNN(), ImplicitALS(), BPR()], ids=lambda model: type(model).__name__)
def test_every_model_estimates_its_memory_before_it_takes_it(model: object, monkeypatch: pytest.MonkeyPatch) -> None:
    free = ease.memory.psutil.virtual_memory()._replace(available=1_000)
    monkeypatch.setattr(ease.memory.psutil, "virtual_memory", lambda: free)
    history = pd.DataFrame({"user": np.arange(40), "item": np.arange(40), "rating": 5.0, "timestamp": 1})
    with pytest.raises(DataError, match=r"needs 0\.0 GB of memory, and 0\.0 GB are free; (keep|take|leave)"):
        model.fit(history, Items.unnamed(40))  # type: ignore[attr-defined]
