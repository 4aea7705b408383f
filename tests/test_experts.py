"""A mixture of experts: the layer is its formula, starts as if it were not there, and a joint model learns through it."""

import keras
import numpy as np
import pandas as pd
import pytest
from keras import ops

from course.lessons import definitions
from recfuse_lib.data.splits import Queries
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.models.joint import JointModel, JointNetwork

lesson = definitions("08_train_jointly")

DIMENSION, HIDDEN = 5, 3
X = np.random.default_rng(0).normal(size=(7, DIMENSION)).astype("float32")


def values(tensor: object) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(tensor))


def with_random_weights(layer: keras.layers.Layer, seed: int = 1) -> keras.layers.Layer:
    generator = np.random.default_rng(seed)
    for variable in layer.trainable_variables:
        variable.assign(generator.normal(size=variable.shape))
    return layer


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def test_mmoe_is_its_formula() -> None:
    layer = with_random_weights(lesson.Experts(DIMENSION, HIDDEN, n_experts=4))
    kernel, bias = values(layer.kernel), values(layer.bias)[:, 0]
    gate, heads = values(layer.gate_kernel), values(layer.heads)
    for task, found in enumerate(layer(X)):
        for x, y in zip(X, values(found), strict=True):
            weights = softmax(x @ gate[task])
            mixed = sum(weights[k] * relu(x @ kernel[k] + bias[k]) for k in range(4))
            np.testing.assert_allclose(y, mixed @ heads[task], rtol=1e-4, atol=1e-4)


def test_it_begins_as_if_it_were_not_there() -> None:
    assert all(not values(y).any() and y.shape == X.shape for y in lesson.Experts(DIMENSION)(X))


@pytest.fixture(scope="module")
def history() -> pd.DataFrame:
    """Simulated people who like items of their own parity."""
    generator = np.random.default_rng(0)
    rows = [
        (user, item, 5.0 if item % 2 == user % 2 else 2.0, step)
        for user in range(12)
        for step, item in enumerate(generator.permutation(20)[:12])
    ]
    return pd.DataFrame(rows, columns=["user", "item", "rating", "timestamp"])


ENCODINGS = ItemEncodings.of({"text": np.random.default_rng(1).normal(size=(20, 4))})


def learn(history: pd.DataFrame, network: type[JointNetwork]) -> JointModel:
    keras.utils.set_random_seed(0)
    model = JointModel(network, dimension=6, history_length=5)
    return model.fit(history, ENCODINGS, epochs=1, batch_size=48, learning_rate=0.01)


@pytest.mark.usefixtures("eager")
def test_a_joint_model_learns_through_it(history: pd.DataFrame) -> None:
    model, queries = learn(history, lesson.MMoE), Queries.of(history, np.arange(12), 20)
    assert values(model.network.user_experts.heads).all() and values(model.network.item_experts.heads).all()
    again = learn(history, lesson.MMoE)  # sums over threads have no fixed order
    np.testing.assert_allclose(again.score(queries), model.score(queries), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(again.predict(queries, history), model.predict(queries, history), rtol=1e-4, atol=1e-5)
