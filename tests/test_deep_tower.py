"""The sequential model never looks ahead, reads order, ratings and times, and is what it says it is."""

import copy

import keras
import numpy as np
import pandas as pd
import pytest
from eager import eagerly
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from sasrec import SASRec

from course.lessons import definitions
from recfuse_lib.data.items import Items
from recfuse_lib.data.sequences import latest, sequences
from recfuse_lib.data.splits import Queries, in_order
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.models.popularity import Popularity
from recfuse_lib.models.sequential import SequentialModel, SequentialNetwork
from recfuse_lib.models.transformer import (
    TIME_BUCKETS,
    AttributeCrosses,
    CausalAttention,
    HistoryTransformer,
    time_bucket,
)

lesson = definitions("05_deep_tower")
N_ITEMS = 12
EVENT = st.tuples(st.integers(0, 4), st.integers(0, N_ITEMS - 1), st.sampled_from([0.5, 3.0, 5.0]), st.integers(0, 9))
HISTORIES = st.lists(EVENT, min_size=1, max_size=30, unique_by=lambda event: event[:2]).map(
    lambda events: pd.DataFrame(events, columns=["user", "item", "rating", "timestamp"])
)
quick = settings(deadline=None, max_examples=40, derandomize=True)


# ------------------------------------------------------------------------------------------- sequences


@quick
@given(HISTORIES, st.integers(1, 6), st.integers(1, 6), st.integers(1, 3))
def test_each_event_is_the_next_item_of_one_place(
    history: pd.DataFrame, length: int, scored: int, horizon: int
) -> None:
    scored = min(scored, length)
    rows = sequences(history, length, scored, horizon)
    events = in_order(history)
    expected = sorted(zip(events["user"], events["item"], events["rating"], strict=True))
    item_past = {}
    for _, own in events.groupby("user"):
        items = own["item"].tolist()
        for place, item in enumerate(items):
            item_past[own["user"].iloc[0], item] = (items[:place], items[place : place + horizon])
    found = []
    for row in range(len(rows["history"])):
        real = rows["history_rating"][row] > 0
        for place in range(scored):
            if rows["target_rating"][row, place, 0] == 0:
                continue
            end = length - scored + place + 1
            past = rows["history"][row, :end][real[:end]].tolist()
            item = rows["target"][row, place, 0]
            user = next(
                user
                for (user, other), (before, _) in item_past.items()
                if other == item and before[len(before) - len(past) :] == past and (user, item, 1) not in found
            )
            before, ahead = item_past[user, item]
            assert past == before[max(0, len(before) - end) :]
            exists = rows["target_rating"][row, place] > 0
            assert rows["target"][row, place][exists].tolist() == ahead
            found.append((user, item, 1))
    assert len(found) == len(expected) == len(set(found))


def test_rows_of_one_person_in_full() -> None:
    history = pd.DataFrame({"user": 7, "item": [1, 2, 3, 4, 5], "rating": [5.0, 1, 4, 4, 3], "timestamp": range(5)})
    rows = sequences(history, length=4, scored=2, horizon=2)
    assert rows["history"].tolist() == [[1, 2, 3, 4], [0, 0, 1, 2], [0, 0, 0, 0]]
    assert rows["history_rating"].tolist() == [[5, 1, 4, 4], [0, 0, 5, 1], [0, 0, 0, 0]]
    assert rows["target"].tolist() == [[[4, 5], [5, 0]], [[2, 3], [3, 4]], [[0, 0], [1, 2]]]
    assert rows["target_rating"][2].tolist() == [[0, 0], [5, 1]]


def test_impossible_lengths_are_refused() -> None:
    history = pd.DataFrame({"user": [0], "item": [1], "rating": [5.0], "timestamp": [0]})
    with pytest.raises(ValueError, match="scored=5"):
        sequences(history, length=4, scored=5)


@quick
@given(HISTORIES, st.integers(1, 6))
def test_the_latest_events_are_the_ends_of_the_histories(history: pd.DataFrame, length: int) -> None:
    past = latest(Queries.of(history, np.arange(6), N_ITEMS), length)
    for user in range(6):
        own = in_order(history[history["user"] == user]).tail(length)
        empty = length - len(own)
        assert past["history"][user].tolist() == [0] * empty + own["item"].tolist()
        assert past["history_time"][user].tolist() == [0] * empty + own["timestamp"].tolist()
        assert (past["history_rating"][user] > 0).sum() == len(own)


# ---------------------------------------------------------------------------------------------- layers


@quick
@given(st.integers(0, 2_000_000_000))
def test_time_buckets_are_those_of_exact_arithmetic(seconds: int) -> None:
    exact, power = 0, 4
    while power <= 1 + seconds:
        exact, power = exact + 1, power * 4
    # In single precision a span just below a bound may count as the bound itself.
    found = int(ops.convert_to_numpy(time_bucket(np.array([seconds])))[0])
    assert found == min(exact, TIME_BUCKETS - 1) or abs(np.log(1 + seconds) / np.log(4) - found) < 1e-4


def started(layer: keras.layers.Layer, seed: int = 0) -> keras.layers.Layer:
    """With every weight at random, so that no part is 0 by its initial value."""
    generator = np.random.default_rng(seed)
    for weight in layer.trainable_weights:
        weight.assign(generator.normal(0, 0.3, weight.shape).astype("float32"))
    return layer


def test_attention_without_biases_is_that_of_keras() -> None:
    own = started(CausalAttention(dimension=6, length=5, heads=2))
    own.step_bias.assign(np.zeros((5, 2)))
    own.time_bias.assign(np.zeros((TIME_BUCKETS, 2)))
    theirs = keras.layers.MultiHeadAttention(2, 3)
    x = np.random.default_rng(1).normal(size=(3, 5, 6)).astype("float32")
    theirs.build(x.shape, x.shape)
    weights = []
    for number, projection in enumerate(own.projections):
        kernel, bias = (ops.convert_to_numpy(weight) for weight in projection.weights)
        weights += [kernel.reshape(2, 3, 6), bias] if number == 3 else [kernel.reshape(6, 2, 3), bias.reshape(2, 3)]
    theirs.set_weights(weights)
    exists = np.array([[True] * 5, [False] * 2 + [True] * 3, [True] * 5])
    mask = exists[:, None, :] | np.eye(5, dtype=bool)
    found = own(x, exists, np.zeros((3, 5, 5), "int32"))
    expected = theirs(x, x, attention_mask=mask, use_causal_mask=True)
    np.testing.assert_allclose(ops.convert_to_numpy(found), ops.convert_to_numpy(expected), atol=1e-5)


def test_biases_raise_the_weight_of_their_step_and_span() -> None:
    attention = CausalAttention(dimension=4, length=4, heads=1)
    x = np.zeros((1, 4, 4), "float32")
    spans = np.zeros((1, 4, 4), "int32")
    spans[0, 3, 0] = 2
    exists = np.ones((1, 4), bool)
    attention.step_bias.assign([[0.0], [1.0], [0.0], [0.0]])
    attention.time_bias.assign(np.where(np.arange(TIME_BUCKETS) == 2, 2.0, 0.0)[:, None])
    weights = ops.convert_to_numpy(attention.weights_of(x, exists, spans))[0, 0, 3]
    expected = np.exp([2.0, 0.0, 1.0, 0.0])
    np.testing.assert_allclose(weights, expected / expected.sum(), atol=1e-6)


def test_no_place_sees_what_comes_after_it() -> None:
    transformer = started(HistoryTransformer(dimension=8, length=10, blocks=2))
    assert not any(lesson.looks_ahead(transformer, seed) for seed in range(3))


def test_a_planted_leak_is_found() -> None:
    transformer = started(HistoryTransformer(dimension=8, length=10, blocks=2))
    transformer.blocks[1].attention.visible = lambda exists: ops.broadcast_to(exists[:, None, :], (2, 10, 10))
    assert lesson.looks_ahead(transformer)


def test_padding_changes_nothing() -> None:
    transformer = started(HistoryTransformer(dimension=4, length=6, blocks=2))
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(2, 6, 4)).astype("float32")
    vectors[1, 3:] = vectors[0, 3:]
    rating = np.array([[0, 0, 0, 5, 4, 1]] * 2, "float32")
    seconds = np.array([[0, 0, 0, 10, 20, 900], [7, 8, 9, 10, 20, 900]])
    found = ops.convert_to_numpy(transformer(vectors, rating, seconds))
    np.testing.assert_allclose(found[0, 3:], found[1, 3:], atol=1e-5)


@pytest.mark.parametrize("blind", ["history_rating", "history_time"])
def test_without_ratings_or_times_means_blind(blind: str) -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 4)).astype("float32")
    inputs = {"history": np.arange(5)[None], "history_rating": np.full((1, 5), 5.0), "history_time": np.arange(5)[None]}
    others = {"history_rating": np.array([[1.0, 5, 2, 4, 3]]), "history_time": np.array([[0, 9, 10**4, 10**6, 10**8]])}

    def differs(network: type[SequentialNetwork]) -> bool:
        made = network(20, {"text": 3}, dimension=4, history_length=5)
        started(made.transformer)
        one, other = (ops.convert_to_numpy(made.interests(given, vectors)) for given in (inputs, changed))
        return not np.allclose(one, other, atol=1e-5)

    changed = {**inputs, blind: others[blind]}
    assert differs(SequentialNetwork)
    assert not differs({"history_rating": lesson.WithoutRatings, "history_time": lesson.WithoutTimes}[blind])


def test_crosses_agree_with_the_formula() -> None:
    layer = started(AttributeCrosses(width=3, dimension=2, layers=2))
    attributes = np.random.default_rng(2).normal(size=(4, 3)).astype("float32")
    x = attributes
    for cross in layer.crosses:
        kernel, bias = (ops.convert_to_numpy(weight) for weight in cross.weights)
        x = attributes * (x @ kernel + bias) + x
    expected = x @ ops.convert_to_numpy(layer.project.kernel)
    np.testing.assert_allclose(ops.convert_to_numpy(layer(attributes)), expected, atol=1e-5)


# ---------------------------------------------------------------------------------------------- models


def chain(n_users: int = 60, n_items: int = 20, steps: int = 12) -> pd.DataFrame:
    """Everybody walks round a circle of items, from a place of their own: the last item alone tells the next."""
    begin = np.random.default_rng(0).integers(0, n_items, n_users)
    item = (begin[:, None] + np.arange(steps)) % n_items
    user = np.repeat(np.arange(n_users), steps)
    return pd.DataFrame(
        {"user": user, "item": item.ravel(), "rating": 5.0, "timestamp": np.tile(range(steps), n_users)}
    )


@pytest.fixture(scope="module")
def walk() -> pd.DataFrame:
    return chain()


@pytest.fixture(scope="module")
def encodings() -> ItemEncodings:
    generator = np.random.default_rng(0)
    return ItemEncodings.of({"text": generator.normal(size=(20, 8)), "attributes": generator.normal(size=(20, 3))})


def trained_on(
    walk: pd.DataFrame, encodings: ItemEncodings, epochs: int = 30, batch_size: int = 32, **options
) -> SequentialModel:
    keras.utils.set_random_seed(0)
    model = SequentialModel(**{"dimension": 16, "history_length": 8, "horizon": 1, "dropout": 0.0, **options})
    return model.fit(walk, encodings, epochs=epochs, batch_size=batch_size, learning_rate=0.02)


@pytest.fixture(scope="module")
def trained(walk: pd.DataFrame, encodings: ItemEncodings) -> SequentialModel:
    return trained_on(walk, encodings)


def share_right(model, walk: pd.DataFrame) -> float:
    """How often, after eight steps, the best item that is new to the person is the next on the circle."""
    begun = walk.groupby("user").head(8)
    queries = Queries.of(begun, np.unique(begun["user"]), 20)
    scores = np.where(queries.matrix().toarray() > 0, -np.inf, model.score(queries))
    last = begun.groupby("user")["item"].last().to_numpy()
    return float((scores.argmax(1) == (last + 1) % 20).mean())


def test_it_learns_what_only_order_tells(trained: SequentialModel, walk: pd.DataFrame) -> None:
    assert share_right(trained, walk) > 0.9
    assert share_right(Popularity().fit(walk, Items.unnamed(20)), walk) < 0.3
    mixed = walk.assign(timestamp=np.random.default_rng(0).permutation(len(walk)))
    assert share_right(trained, mixed) < 0.7


@pytest.mark.slow
@pytest.mark.parametrize("network", [SequentialNetwork, lesson.InBatch, lesson.OneNegative])
def test_every_loss_learns_the_walk(
    network: type[SequentialNetwork], walk: pd.DataFrame, encodings: ItemEncodings
) -> None:
    assert share_right(trained_on(walk, encodings, network=network, negatives=10), walk) > 0.7


def test_items_are_enough_to_fit_it(walk: pd.DataFrame, encodings: ItemEncodings) -> None:
    known = np.unique(walk["item"])
    items = Items.unnamed(20).encoded(**encodings.matrices)
    queries = Queries.of(walk, np.arange(5), 20)
    with eagerly():
        one, other = (trained_on(walk, given, epochs=1, batch_size=120) for given in (items, encodings.centred(known)))
    np.testing.assert_array_equal(one.score(queries), other.score(queries))


def test_one_seed_gives_one_model(walk: pd.DataFrame, encodings: ItemEncodings) -> None:
    queries = Queries.of(walk, np.arange(5), 20)
    with eagerly():
        one, other = (trained_on(walk, encodings, epochs=1, batch_size=120, dropout=0.2) for _ in range(2))
    np.testing.assert_array_equal(one.score(queries), other.score(queries))


def test_a_network_is_saved_with_its_settings(trained: SequentialModel, walk: pd.DataFrame, tmp_path) -> None:
    trained.network.save(tmp_path / "sequential.keras")
    again, queries = copy.copy(trained), Queries.of(walk, np.arange(5), 20)
    again.network = keras.models.load_model(tmp_path / "sequential.keras")
    np.testing.assert_array_equal(again.score(queries), trained.score(queries))


def test_any_history_is_answered(trained: SequentialModel) -> None:
    nothing = pd.DataFrame({"user": [1], "item": [3], "rating": [5.0], "timestamp": [0]})
    scores = trained.score(Queries.of(nothing, np.array([0, 1]), 20))
    assert scores.shape == (2, 20) and np.isfinite(scores).all() and not np.allclose(scores[0], scores[1])
    assert trained.score(Queries.of(nothing, np.array([], int), 20)).shape == (0, 20)


def test_what_cannot_be_learned_from_is_refused(walk: pd.DataFrame, encodings: ItemEncodings) -> None:
    model = SequentialModel(dimension=8, history_length=4)
    with pytest.raises(ValueError, match="could not be chosen"):
        model.fit(walk, encodings, available=np.arange(20) != 3)
    with pytest.raises(ValueError, match="nothing to learn"):
        model.fit(walk.assign(rating=2.0), encodings)


@pytest.mark.parametrize("loss", ["one", "full"])
def test_sasrec_learns_the_walk(loss: str, walk: pd.DataFrame) -> None:
    keras.utils.set_random_seed(0)
    network = {"dimension": 16, "length": 12, "blocks": 1, "dropout": 0.0}
    model = SASRec(**network, loss=loss, epochs=40, batch_size=30, learning_rate=0.01)
    assert share_right(model.fit(walk, Items.unnamed(20)), walk) > 0.8


@pytest.mark.usefixtures("eager")
def test_sasrec_may_read_positives_alone(walk: pd.DataFrame) -> None:
    keras.utils.set_random_seed(0)
    mixed = walk.assign(rating=np.where(walk["item"] % 2, 5.0, 2.0))
    model = SASRec(dimension=4, length=4, epochs=1, positives_only=True).fit(mixed, Items.unnamed(20))
    users = np.arange(60)
    all_events, liked = (Queries.of(history, users, 20) for history in (mixed, mixed[mixed["rating"] >= 4]))
    np.testing.assert_allclose(model.score(all_events), model.score(liked), atol=1e-6)
    with pytest.raises(ValueError, match="no events"):
        model.fit(walk.assign(rating=1.0), Items.unnamed(20))
    with pytest.raises(ValueError, match="full"):
        SASRec(loss="hinge")
