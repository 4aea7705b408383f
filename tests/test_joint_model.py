"""The first joint model: it learns, it saves, it explains itself exactly, and strangers are welcome."""

import copy
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from contributions import contributions
from eager import eagerly
from keras import ops

from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import Queries
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.models.joint import JointModel, _even_batches
from recfuse_lib.models.popularity import Popularity

N_USERS, N_ITEMS, WIDTH = 40, 60, 6
GROUPS = 3


@pytest.fixture(scope="module")
def history() -> pd.DataFrame:
    """Simulated people, each of whom likes one of three kinds of items."""
    generator = np.random.default_rng(0)
    rows = []
    for user in range(N_USERS):
        for step, item in enumerate(generator.permutation(N_ITEMS)[:24]):
            likes = item % GROUPS == user % GROUPS
            rows.append((user, item, 5.0 if likes else 2.0, step))
    return pd.DataFrame(rows, columns=["user", "item", "rating", "timestamp"])


@pytest.fixture(scope="module")
def encodings() -> ItemEncodings:
    """The kind of each item, with noise: what a text would tell."""
    generator = np.random.default_rng(1)
    kinds = np.eye(WIDTH)[np.arange(N_ITEMS) % GROUPS]
    return ItemEncodings.of({"text": kinds + generator.normal(0, 0.1, (N_ITEMS, WIDTH))})


def make(**settings: object) -> JointModel:
    return JointModel(dimension=8, history_length=10, **settings)


@pytest.fixture(scope="module")
def trained(history: pd.DataFrame, encodings: ItemEncodings) -> JointModel:
    keras.utils.set_random_seed(0)
    # Few enough steps that XLA is left out: it takes longer to compile than they take.
    return make().fit(history[history["item"] != 7], encodings, epochs=6, batch_size=64, learning_rate=0.01)


def asked(items: list[int], ratings: list[float], user: int = N_USERS) -> Queries:
    length = len(items)
    return Queries(
        np.array([user], "int32"),
        np.array([0, length]),
        np.array(items, "int32"),
        np.array(ratings, "float32"),
        np.arange(length),
        N_ITEMS,
    )


def test_a_stranger_is_understood_from_the_history(trained: JointModel) -> None:
    scores = trained.score(asked([0, 3, 6], [5.0, 5.0, 5.0]))[0]
    kind = np.arange(N_ITEMS) % GROUPS
    assert scores[kind == 0].mean() > scores[kind != 0].mean() + 0.5


def test_an_item_that_nobody_rated_finds_its_fans_by_its_text(trained: JointModel) -> None:
    fans, others = trained.score(asked([1, 4], [5.0, 5.0]))[0, 7], trained.score(asked([0, 3], [5.0, 5.0]))[0, 7]
    assert fans > others


def test_low_ratings_are_predicted_low(trained: JointModel) -> None:
    query = asked([0, 3, 6], [5.0, 5.0, 5.0])
    liked, disliked = trained.predict(query, pd.DataFrame({"user": N_USERS, "item": [9, 10]}))
    assert liked > disliked + 1


@pytest.mark.usefixtures("eager")
def test_both_tasks_report_their_loss_and_lambda_weighs_them(history: pd.DataFrame, encodings: ItemEncodings) -> None:
    logs = make(task_weight=2.0).fit(history, encodings, epochs=1, batch_size=len(history)).logs
    expected = logs["retrieval_loss"][0] + 2 * logs["ranking_loss"][0]
    assert logs["loss"][0] == pytest.approx(expected, rel=1e-4)


def test_retrieval_loss_is_the_softmax_over_the_available_catalogue() -> None:
    scores = np.random.default_rng(2).normal(size=(4, N_ITEMS)).astype("float32")
    item, positive = np.array([3, 1, 0, 5]), np.array([1.0, 0.0, 1.0, 0.0], "float32")
    available, network = np.arange(N_ITEMS) % 5 != 4, make().build(1, N_ITEMS, {"text": WIDTH}).network
    network.item_tower.set_available(available)
    log_softmax = scores - np.log(np.exp(scores[:, available]).sum(1, keepdims=True))
    expected = -(log_softmax[0, 3] + log_softmax[2, 0]) / 2
    loss = float(network.retrieval_loss_of(scores, item, positive))
    assert loss == pytest.approx(expected, rel=1e-5)


def saved_and_loaded(model: JointModel, folder: Path) -> JointModel:
    model.network.save_weights(folder / "joint.weights.h5")
    other = JointModel(**model.settings).build(model.n_users, model.n_items, model.item_tower.widths)
    other.network.load_weights(folder / "joint.weights.h5")
    return other


def test_saved_and_loaded_scores_are_bit_exact(trained: JointModel, tmp_path) -> None:
    query = asked([0, 3], [5.0, 2.0], user=3)
    loaded, asked_for = saved_and_loaded(trained, tmp_path), pd.DataFrame({"user": [3], "item": [4]})
    np.testing.assert_array_equal(loaded.score(query), trained.score(query))
    np.testing.assert_array_equal(loaded.predict(query, asked_for), trained.predict(query, asked_for))


def test_a_network_is_saved_with_its_settings(trained: JointModel, tmp_path) -> None:
    trained.network.save(tmp_path / "joint.keras")
    again = copy.copy(trained)
    again.network = keras.models.load_model(tmp_path / "joint.keras")
    query = asked([0, 3], [5.0, 2.0], user=3)
    np.testing.assert_array_equal(again.score(query), trained.score(query))


@pytest.fixture(scope="module")
def two_dimensions(encodings: ItemEncodings) -> ItemEncodings:
    """The text as before, and pictures of two thirds of the items, which tell the kind too."""
    picture = np.random.default_rng(2).normal(encodings.matrices["text"][:, :GROUPS] * 2, 0.1)
    return ItemEncodings.of({**encodings.matrices, "image": picture}, {"image": np.arange(N_ITEMS) % 4 != 0})


def test_an_unavailable_item_in_the_history_is_named(history: pd.DataFrame, encodings: ItemEncodings) -> None:
    available = np.arange(N_ITEMS) != history["item"].iloc[0]
    with pytest.raises(ValueError, match=f"item {history['item'].iloc[0]} is in the history"):
        make().fit(history, encodings, available, epochs=1)


@pytest.mark.parametrize(("n_examples", "batch_size"), [(1, 64), (64, 64), (65, 64), (960, 64), (1_000, 64), (7, 3)])
def test_batches_are_of_one_size_and_hold_every_example(n_examples: int, batch_size: int) -> None:
    rows, size = _even_batches(n_examples, batch_size)
    assert size <= batch_size and len(rows) % size == 0
    assert len(rows) // size == -(-n_examples // batch_size)
    repeats = np.bincount(rows, minlength=n_examples)
    assert repeats.min() == 1 and repeats.max() <= 2 and len(rows) - n_examples < len(rows) // size


def test_an_empty_history_teaches_nothing(history: pd.DataFrame, encodings: ItemEncodings) -> None:
    with pytest.raises(ValueError, match="empty"):
        make().fit(history[:0], encodings)


AVAILABLE = np.arange(N_ITEMS) % 6 != 5


def learn_two_dimensions(
    history: pd.DataFrame, two_dimensions: ItemEncodings, epochs: int = 7, batch_size: int = 64
) -> tuple[JointModel, np.ndarray]:
    """A model that met five sixths of the items, and the corrections δ that it began with."""
    start = []

    def begin(logs: object) -> None:
        start.append(np.array(ops.convert_to_numpy(model.item_tower.correction)))

    keras.utils.set_random_seed(3)
    model = make(modality_dropout=0.3)
    options = {"epochs": epochs, "batch_size": batch_size, "learning_rate": 0.02}
    callback = keras.callbacks.LambdaCallback(on_train_begin=begin)
    model.fit(history[AVAILABLE[history["item"]]], two_dimensions, AVAILABLE, callbacks=[callback], **options)
    return model, start[0]


@pytest.fixture(scope="module")
def multimodal(history: pd.DataFrame, two_dimensions: ItemEncodings) -> tuple[JointModel, np.ndarray]:
    return learn_two_dimensions(history, two_dimensions)


def test_unavailable_items_are_left_as_they_began(multimodal: tuple[JointModel, np.ndarray]) -> None:
    model, start = multimodal
    moved = (ops.convert_to_numpy(model.item_tower.correction) != start).any(1)
    np.testing.assert_array_equal(moved, AVAILABLE)
    np.testing.assert_array_equal(ops.convert_to_numpy(model.network.popularity) != 0, AVAILABLE)
    assert not model.item_tower.parts()["behaviour"][~AVAILABLE].any()


def test_unavailable_items_find_their_fans_by_content(multimodal: tuple[JointModel, np.ndarray]) -> None:
    # All of them are of the third kind.
    others = multimodal[0].score(asked([0, 3, 6], [5.0, 5.0, 5.0]))[0, ~AVAILABLE]
    fans = multimodal[0].score(asked([2, 8, 14], [5.0, 5.0, 5.0]))[0, ~AVAILABLE]
    assert fans.mean() > others.mean() + 0.5


def test_several_dimensions_are_saved_and_explained(
    multimodal: tuple[JointModel, np.ndarray], two_dimensions: ItemEncodings, tmp_path
) -> None:
    model = multimodal[0]
    gates = model.item_tower.gates()
    np.testing.assert_allclose(gates.sum(1), 1, atol=1e-6)
    assert gates.std(axis=0).min() > 0 and not gates[::4, 1].any()
    query = asked([1, 4], [5.0, 5.0], user=2)
    table, scores = contributions(model, query, item=7), model.score(query)[0]
    assert table["total"].sum() == pytest.approx(scores[7] - scores.mean(), abs=1e-4)
    assert {"text", "image", "behaviour"} <= set(table.columns)
    loaded = saved_and_loaded(model, tmp_path)
    np.testing.assert_array_equal(loaded.score(query), model.score(query))
    np.testing.assert_array_equal(loaded.item_tower.gates(), gates)
    loaded.item_tower.set_encodings(two_dimensions.with_missing("image", 1.0, seed=0))
    assert not np.array_equal(loaded.score(query)[0], scores)


def test_one_seed_gives_one_model(history: pd.DataFrame, two_dimensions: ItemEncodings) -> None:
    with eagerly():
        one, other = (learn_two_dimensions(history, two_dimensions, epochs=1, batch_size=300)[0] for _ in range(2))
    query = asked([0], [5.0])
    np.testing.assert_array_equal(one.score(query), other.score(query))


def test_an_empty_history_is_a_history(trained: JointModel) -> None:
    scores = trained.score(asked([], []))
    assert scores.shape == (1, N_ITEMS) and np.isfinite(scores).all()


def test_contributions_add_up_to_the_lead_over_the_mean(trained: JointModel) -> None:
    query = asked([0, 3, 10], [5.0, 4.0, 1.0], user=2)
    scores = trained.score(query)[0]
    table = contributions(trained, query, item=9)
    assert table["total"].sum() == pytest.approx(scores[9] - scores.mean(), abs=1e-4)
    assert set(table.loc[table["source"] == "history", "item"]) == {0, 3, 10}
    with pytest.raises(ValueError, match="one"):
        contributions(
            trained, Queries.of(pd.DataFrame(columns=["user", "item", "rating", "timestamp"]), np.arange(2), 5), 0
        )


def test_items_are_enough_to_fit_it(history: pd.DataFrame, encodings: ItemEncodings) -> None:
    items = Items.unnamed(N_ITEMS).encoded(**encodings.matrices)
    centred = encodings.centred(np.unique(history["item"]))
    with eagerly():
        keras.utils.set_random_seed(0)
        one = make().fit(history, items, epochs=1, batch_size=500)
        keras.utils.set_random_seed(0)
        other = make().fit(history, centred, epochs=1, batch_size=500)
    np.testing.assert_array_equal(one.score(asked([0, 3], [5.0, 2.0])), other.score(asked([0, 3], [5.0, 2.0])))


def test_fitted_again_it_begins_again(history: pd.DataFrame, encodings: ItemEncodings) -> None:
    model, scores = make(), []
    with eagerly():
        for _ in range(2):
            keras.utils.set_random_seed(0)
            scores.append(model.fit(history, encodings, epochs=1, batch_size=500).score(asked([0], [5.0])))
    np.testing.assert_array_equal(*scores)


def test_it_beats_popularity_on_people_of_different_kinds(trained: JointModel, history: pd.DataFrame) -> None:
    queries = Queries.of(history, np.arange(N_USERS), N_ITEMS)
    kind = np.arange(N_ITEMS) % GROUPS == (np.arange(N_USERS) % GROUPS)[:, None]

    def share_of_own_kind(scores: np.ndarray) -> float:
        scores = np.where(queries.matrix().toarray() > 0, -np.inf, scores)
        return float(np.take_along_axis(kind, np.argsort(-scores, 1)[:, :5], 1).mean())

    popular = share_of_own_kind(Popularity().fit(history, Items.unnamed(N_ITEMS)).score(queries))
    assert share_of_own_kind(trained.score(queries)) > popular + 0.3
