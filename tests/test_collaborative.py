"""The rating predictors and matrix factorisation."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recfuse_lib.data import movielens, splits
from recfuse_lib.data.faults import DataError
from recfuse_lib.data.splits import Queries
from recfuse_lib.evaluation.metrics import rmse
from recfuse_lib.models.matrix_factorisation import (
    OBJECTIVES,
    AlphaMixture,
    Biases,
    MatrixFactorisation,
    UserKNN,
    factorise,
    item_means,
)

N_USERS, N_ITEMS = 60, 40


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


def area_under_curve(model: MatrixFactorisation, held_out: pd.DataFrame) -> float:
    """How often a held-out positive is scored above a held-out negative of the same person."""
    pairs = held_out.assign(score=model.predict_pairs(held_out["user"].to_numpy(), held_out["item"].to_numpy()))
    shares = []
    for _, rows in pairs.groupby("user"):
        good, bad = rows.loc[rows["rating"] >= 4, "score"], rows.loc[rows["rating"] < 4, "score"]
        if len(good) and len(bad):
            shares.append((good.to_numpy()[:, None] > bad.to_numpy()).mean())
    return float(np.mean(shares))


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_loss_learns_planted_tastes(objective: str, planted: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    train, held_out = planted
    batch = 16 if objective == "softmax" else 128
    model = factorise(
        train, N_USERS, N_ITEMS, objective, epochs=40, batch_size=batch, learning_rate=0.03, dimension=4, l2=1.0, negatives=16
    )  # fmt: skip
    assert area_under_curve(model, held_out) > 0.85
    if objective == "mse":
        predicted = model.predict_pairs(held_out["user"].to_numpy(), held_out["item"].to_numpy())
        plain = Biases().fit(train, N_USERS, N_ITEMS).predict(held_out["user"], held_out["item"])
        assert rmse(held_out["rating"], predicted) < 0.6 * rmse(held_out["rating"], plain)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("objective", ["mse", "sampled_softmax"])
def test_a_saved_model_gives_the_same_scores(
    objective: str, planted: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path
) -> None:
    import keras

    model = factorise(planted[0], N_USERS, N_ITEMS, objective, epochs=1, dimension=4)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    known = np.unique(planted[0].loc[planted[0]["rating"] >= 4, "user"])
    queries = Queries.of(planted[0], known, N_ITEMS)
    scores = model.score(queries)
    assert scores.shape == (len(known), N_ITEMS) and scores.std() > 0
    np.testing.assert_array_equal(loaded.score(queries), scores)
    assert loaded.get_config() == model.get_config()
    with pytest.raises(DataError):
        loaded.score(Queries.of(planted[0], np.array([N_USERS]), N_ITEMS))


@pytest.mark.usefixtures("eager")
def test_scores_of_pairs_are_those_of_the_catalogue(planted: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    model = factorise(planted[0], N_USERS, N_ITEMS, epochs=1, dimension=4)
    catalogue = model.score(Queries.of(planted[0], np.array([3, 5]), N_ITEMS))
    pairs = model.predict_pairs(np.array([3, 5]), np.array([7, 0]))
    np.testing.assert_allclose(pairs, [catalogue[0, 7], catalogue[1, 0]], rtol=1e-5)


def test_an_unknown_person_is_refused_with_advice(planted: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    model = MatrixFactorisation(N_USERS, N_ITEMS, dimension=2)
    model.adapt(planted[0][planted[0]["user"] != 4])
    for user in (4, N_USERS, 10_000):
        with pytest.raises(DataError, match=f"user {user} was not in the training events"):
            model.score(Queries.of(planted[0], np.array([0, user]), N_ITEMS))


def test_an_unknown_objective_is_refused() -> None:
    with pytest.raises(ValueError, match="'hinge' is unknown; choose one of mse, bpr"):
        MatrixFactorisation(2, 2, objective="hinge")


def test_the_correction_makes_the_sampled_softmax_close_to_the_full_one(
    planted: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    """With many draws, Σ exp(s_j) / (N Q_j) estimates the full denominator, whatever the popularity."""
    from keras import ops

    events = planted[0][planted[0]["rating"] >= 4]
    model = MatrixFactorisation(N_USERS, N_ITEMS, dimension=4, objective="sampled_softmax", negatives=100_000)
    model.adapt(events)
    model.p.assign(np.random.default_rng(0).normal(size=(N_USERS, 4)))
    model.q.assign(np.random.default_rng(1).normal(size=(N_ITEMS, 4)))
    user, item = np.array([3, 8]), np.array([7, 2])
    drawn = float(
        model._sampled_softmax(
            ops.convert_to_tensor(user), ops.convert_to_tensor(item), model({"user": user, "item": item})
        )
    )
    scores = ops.convert_to_numpy(model({"user": user}))
    share = ops.convert_to_numpy(model.item_share)
    exact = 0.0
    for row, liked in zip(scores, item, strict=True):
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
    found = AlphaMixture.fit(ratings, personal, means)
    grid = [rmse(ratings, AlphaMixture(alpha).predict(personal, means)) for alpha in np.linspace(0, 1, 101)]
    assert 0 <= found.alpha <= 1
    assert rmse(ratings, found.predict(personal, means)) <= min(grid) + 1e-9


def test_item_means_are_shrunk_towards_the_mean_of_all() -> None:
    events = pd.DataFrame({"item": [0, 1, 1, 1], "rating": [5.0, 1, 1, 1]})
    np.testing.assert_allclose(item_means(events, 3, shrinkage=0.0 + 1e-12)[:2], [5, 1])
    np.testing.assert_allclose(item_means(events, 3, shrinkage=2), [(5 + 2 * 2) / 3, (3 + 2 * 2) / 5, 2])


def test_biases_satisfy_the_normal_equations(planted: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    train = planted[0]
    model = Biases(user_l2=2.0, item_l2=4.0, iterations=50).fit(train, N_USERS, N_ITEMS)
    rest = train["rating"].to_numpy() - model.predict(train["user"].to_numpy(), train["item"].to_numpy())
    np.testing.assert_allclose(np.bincount(train["user"], rest, N_USERS), 2.0 * model.user, atol=1e-6)
    np.testing.assert_allclose(np.bincount(train["item"], rest, N_ITEMS), 4.0 * model.item, atol=1e-3)


def test_user_knn_is_the_weighted_mean_of_a_loop(planted: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    train = planted[0]
    model = UserKNN(shrinkage=0.5, overlap=3.0).fit(train, N_USERS, N_ITEMS)
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
    biases = Biases().fit(train, dataset.n_users, dataset.n_items).predict(user, item)
    neighbours = UserKNN(shrinkage=0.2).fit(train, dataset.n_users, dataset.n_items).predict(user, item)
    factors = factorise(train, dataset.n_users, dataset.n_items, epochs=15, dimension=16, l2=12.0)
    assert rmse(test["rating"], biases) == pytest.approx(0.889, abs=0.012)
    assert rmse(test["rating"], neighbours) == pytest.approx(0.878, abs=0.012)
    assert rmse(test["rating"], factors.predict_pairs(user, item)) == pytest.approx(0.88, abs=0.012)
