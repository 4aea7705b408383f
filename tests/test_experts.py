"""What tasks share: each layer is its formula, keeps what is its own apart, and a joint model learns through it."""

from collections.abc import Callable

import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from course.lessons import definitions
from recfuse_lib.data.splits import Queries
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.models.joint import JointModel, JointNetwork

lesson = definitions("08_train_jointly")

DIMENSION, HIDDEN = 5, 3
LAYERS: dict[str, Callable[[], keras.layers.Layer]] = {
    "bottom": lambda: lesson.shared_bottom(DIMENSION, HIDDEN),
    "mmoe": lambda: lesson.mmoe(DIMENSION, HIDDEN, n_experts=4),
    "cgc": lambda: lesson.ple(DIMENSION, HIDDEN, n_shared=2, n_own=1, n_levels=1),
    "ple": lambda: lesson.ple(DIMENSION, HIDDEN, n_shared=1, n_own=2, n_levels=3),
}
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


def test_shared_bottom_is_a_linear_tower_for_each_task() -> None:
    layer = with_random_weights(lesson.shared_bottom(DIMENSION, HIDDEN))
    kernel, bias = values(layer.levels[0].kernel)[0], values(layer.levels[0].bias)[0, 0]
    for task, found in enumerate(layer(X)):
        np.testing.assert_allclose(
            values(found), relu(X @ kernel + bias) @ values(layer.heads)[task], rtol=1e-4, atol=1e-5
        )


def test_mmoe_is_its_formula() -> None:
    layer = with_random_weights(lesson.mmoe(DIMENSION, HIDDEN, n_experts=4))
    level, heads = layer.levels[0], values(layer.heads)
    kernel, bias, gate = values(level.kernel), values(level.bias)[:, 0], values(level.gate_kernel)
    for task, found in enumerate(layer(X)):
        for x, y in zip(X, values(found), strict=True):
            weights = softmax(x @ gate[task])
            mixed = sum(weights[k] * relu(x @ kernel[k] + bias[k]) for k in range(4))
            np.testing.assert_allclose(y, mixed @ heads[task], rtol=1e-4, atol=1e-4)


def test_ple_is_its_formula() -> None:
    layer = with_random_weights(lesson.ple(DIMENSION, HIDDEN, n_shared=2, n_own=1, n_levels=2))
    owner = ["one", "two", "shared", "shared"]
    usable = {"one": [0, 2, 3], "two": [1, 2, 3], "shared": [0, 1, 2, 3]}
    for row, x in enumerate(X):
        state = dict.fromkeys(usable, x.astype("float64"))
        for number, level in enumerate(layer.levels):
            kernel, bias, gate = values(level.kernel), values(level.bias)[:, 0], values(level.gate_kernel)
            expert = [relu(state[owner[k]] @ kernel[k] + bias[k]) for k in range(4)]
            new = {}
            for output, name in enumerate(usable):
                if number == 1 and name == "shared":
                    assert gate.shape[0] == 2, "the last level has no shared output"
                    continue
                weights = softmax((state[name] @ gate[output])[usable[name]])
                new[name] = sum(w * expert[k] for w, k in zip(weights, usable[name], strict=True))
            state = new
        for task, name in enumerate(("one", "two")):
            expected = state[name] @ values(layer.heads)[task]
            np.testing.assert_allclose(values(layer(X)[task])[row], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_it_begins_as_if_it_were_not_there(make: Callable[[], keras.layers.Layer]) -> None:
    assert all(not values(y).any() and y.shape == X.shape for y in make()(X))


@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_gates_are_shares_of_what_a_task_may_use(shared: int, own: int, seed: int) -> None:
    layer = with_random_weights(lesson.ple(DIMENSION, HIDDEN, shared, own, n_levels=1), seed)
    gates = values(layer.levels[-1].gates([ops.convert_to_tensor(X)] * 3))
    assert gates.shape == (2, len(X), 2 * own + shared)
    np.testing.assert_allclose(gates.sum(2), 1, atol=1e-5)
    for task in range(2):
        others = [k for k in range(2 * own) if k // own != task]
        assert not gates[task][:, others].any()


def test_an_expert_of_one_task_is_nothing_to_the_other() -> None:
    layer = with_random_weights(lesson.ple(DIMENSION, HIDDEN, n_shared=1, n_own=1, n_levels=1))
    before = [values(y) for y in layer(X)]
    kernel = values(layer.levels[0].kernel).copy()
    kernel[1] += 1.0  # the second task's own
    layer.levels[0].kernel.assign(kernel)
    after = [values(y) for y in layer(X)]
    np.testing.assert_array_equal(before[0], after[0])
    assert not np.allclose(before[1], after[1])


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
@pytest.mark.parametrize("network", [lesson.SharedBottom, lesson.MMoE, lesson.PLE])
def test_a_joint_model_learns_through_it(history: pd.DataFrame, network: type[JointNetwork]) -> None:
    model, queries = learn(history, network), Queries.of(history, np.arange(12), 20)
    assert values(model.network.user_experts.heads).all() and values(model.network.item_experts.heads).all()
    again = learn(history, network)  # sums over threads have no fixed order
    np.testing.assert_allclose(again.score(queries), model.score(queries), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(again.predict(queries, history), model.predict(queries, history), rtol=1e-4, atol=1e-5)
