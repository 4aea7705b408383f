"""The rating predictors and matrix factorisation of lesson 04."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course.lessons import definitions
from recfuse_lib.data import movielens, splits
from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import Queries
from recfuse_lib.evaluation.metrics import rmse

lesson = definitions("04_collaborative_filtering")

N_USERS, N_ITEMS = 60, 40
ITEMS = Items.unnamed(N_ITEMS)


@pytest.fixture(scope="module")
def planted() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ratings of two planted dimensions of taste: those to learn from and those held out."""
    generator = np.random.default_rng(0)
    taste, nature = generator.normal(size=(N_USERS, 2)), generator.normal(size=(N_ITEMS, 2))
    user, item = np.nonzero(np.ones((N_USERS, N_ITEMS)))
    rating = np.clip(3.2 + (taste[user] * nature[item]).sum(1) + generator.normal(0, 0.2, len(user)), 0.5, 5)
    events = pd.DataFrame({"user": user, "item": item, "rating": rating, "timestamp": 0}).astype({"rating": "float32"})
    held_out = generator.random(len(events)) < 0.3
    return events[~held_out], events[held_out]


def area_under_curve(model: Any, held_out: pd.DataFrame) -> float:
    """How often a held-out positive is scored above a held-out negative of the same person."""
    pairs = held_out.assign(score=model.predict(held_out["user"], held_out["item"]))
    shares = []
    for _, rows in pairs.groupby("user"):
        good, bad = rows.loc[rows["rating"] >= 4, "score"], rows.loc[rows["rating"] < 4, "score"]
        if len(good) and len(bad):
            shares.append((good.to_numpy()[:, None] > bad.to_numpy()).mean())
    return float(np.mean(shares))


def fitted(train: pd.DataFrame, loss: str = "mse", epochs: int = 1, batch_size: int = 128, **settings: Any) -> Any:
    options = {"learning_rate": 0.03, "dimension": 4, **settings}
    return lesson.MatrixFactorisation(getattr(lesson, f"{loss}_loss"), epochs, batch_size, **options).fit(train, ITEMS)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["mse", "bpr", "sampled_softmax", "softmax"])
def test_every_loss_learns_planted_tastes(loss: str, planted: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    train, held_out = planted
    model = fitted(train, loss, epochs=40, batch_size=16 if loss == "softmax" else 128, l2=1.0)
    assert area_under_curve(model, held_out) > 0.85
    if loss == "mse":
        plain = lesson.Biases().fit(train, ITEMS).predict(held_out["user"], held_out["item"])
        found = model.predict(held_out["user"], held_out["item"])
        assert rmse(held_out["rating"], found) < 0.6 * rmse(held_out["rating"], plain)


@pytest.mark.usefixtures("eager")
def test_scores_of_pairs_are_those_of_the_catalogue(planted: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    model = fitted(planted[0])
    catalogue = model.score(Queries.of(planted[0], np.array([3, 5]), N_ITEMS))
    pairs = model.predict(np.array([3, 5]), np.array([7, 0]))
    np.testing.assert_allclose(pairs, [catalogue[0, 7], catalogue[1, 0]], rtol=1e-5)


@pytest.mark.usefixtures("eager")
def test_an_unknown_person_is_refused(planted: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    model = fitted(planted[0][planted[0]["user"] != 4])
    for user in (4, N_USERS):
        with pytest.raises(AssertionError, match="no vector for a person"):
            model.score(Queries.of(planted[0], np.array([0, user]), N_ITEMS))


def test_the_correction_makes_the_sampled_softmax_close_to_the_full_one(
    planted: tuple[pd.DataFrame, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With many draws, Σ exp(s_j) / (N Q_j) estimates the full denominator, whatever the popularity."""
    monkeypatch.setattr(lesson, "NEGATIVES", 100_000)
    counts = np.bincount(planted[0].loc[planted[0]["rating"] >= 4, "item"], minlength=N_ITEMS)
    network = lesson.FactorNetwork(N_USERS, counts, lesson.sampled_softmax_loss, dimension=4)
    network.p.assign(np.random.default_rng(0).normal(size=(N_USERS, 4)))
    network.q.assign(np.random.default_rng(1).normal(size=(N_ITEMS, 4)))
    x = {"user": np.array([3, 8]), "item": np.array([7, 2])}
    drawn = float(lesson.sampled_softmax_loss(network, x, None, network(x)))
    share, exact = counts / counts.sum(), 0.0
    for row, liked in zip(np.asarray(network({"user": x["user"]})), x["item"], strict=True):
        others = np.delete(np.arange(N_ITEMS), liked)
        known = others[share[others] > 0]
        denominator = np.exp(row[liked]) / share[liked] + 100_000 * np.exp(row[known]).sum()
        exact += (np.log(denominator) - (row[liked] - np.log(share[liked]))) / 2
    assert drawn == pytest.approx(exact, abs=0.03)


@given(
    st.lists(st.tuples(st.floats(0.5, 5), st.floats(0.5, 5), st.floats(0.5, 5)), min_size=1, max_size=30),
)
def test_the_closed_form_of_alpha_is_the_best_of_a_grid(rows: list[tuple[float, float, float]]) -> None:
    ratings, personal, means = np.array(rows).T
    if np.allclose(personal, means):
        return  # then every α is as good
    found = lesson.fitted_alpha(ratings, personal, means)
    grid = [rmse(ratings, lesson.mixed(alpha, personal, means)) for alpha in np.linspace(0, 1, 101)]
    assert 0 <= found <= 1
    assert rmse(ratings, lesson.mixed(found, personal, means)) <= min(grid) + 1e-9


def test_item_means_are_shrunk_towards_the_mean_of_all() -> None:
    events = pd.DataFrame({"item": [0, 1, 1, 1], "rating": [5.0, 1, 1, 1]})
    np.testing.assert_allclose(lesson.item_means(events, 3, shrinkage=1e-12)[:2], [5, 1])
    np.testing.assert_allclose(lesson.item_means(events, 3, shrinkage=2), [(5 + 2 * 2) / 3, (3 + 2 * 2) / 5, 2])


def test_biases_satisfy_the_normal_equations(planted: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    train = planted[0]
    model = lesson.Biases(user_l2=2.0, item_l2=4.0).fit(train, ITEMS, iterations=50)
    rest = train["rating"].to_numpy() - model.predict(train["user"].to_numpy(), train["item"].to_numpy())
    np.testing.assert_allclose(np.bincount(train["user"], rest, N_USERS), 2.0 * model.user, atol=1e-6)
    np.testing.assert_allclose(np.bincount(train["item"], rest, N_ITEMS), 4.0 * model.item, atol=1e-3)


def test_user_knn_is_the_weighted_mean_of_a_loop(planted: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    train = planted[0]
    model = lesson.UserKNN(shrinkage=0.5, overlap=3.0).fit(train, ITEMS)
    rest = np.zeros((N_USERS, N_ITEMS))
    rated = np.zeros((N_USERS, N_ITEMS), bool)
    user, item = train["user"].to_numpy(), train["item"].to_numpy()
    rest[user, item] = train["rating"].to_numpy() - model.biases.predict(user, item)
    rated[user, item] = True
    above, below = 0.0, 0.5
    for v in range(N_USERS):
        common = int((rated[9] & rated[v]).sum())
        cosine = rest[9] @ rest[v] / np.linalg.norm(rest[9]) / np.linalg.norm(rest[v])
        if v != 9 and rated[v, 2] and cosine > 0:
            above += cosine * common / (common + 3) * rest[v, 2]
            below += cosine * common / (common + 3)
    expected = model.biases.predict(np.array([9]), np.array([2]))[0] + above / below
    assert model.predict(np.array([9]), np.array([2]))[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_ratings_of_movielens_are_predicted_as_measured() -> None:
    dataset = movielens.load()
    split = splits.rating(dataset, 0)
    train, test = pd.concat([split.train, split.validation]), split.test
    user, item = test["user"].to_numpy(), test["item"].to_numpy()
    factors = lesson.MatrixFactorisation(lesson.mse_loss, 15, 2_048, 0.01, dimension=16, l2=12.0)
    for model, expected in ((lesson.Biases(), 0.889), (lesson.UserKNN(shrinkage=0.2), 0.878), (factors, 0.88)):
        found = rmse(test["rating"], model.fit(train, dataset.items).predict(user, item))
        assert found == pytest.approx(expected, abs=0.012)
