"""The pipelines of trainings on TensorFlow: nothing is tuned in them, and nothing else is different."""

import keras
import numpy as np
import pandas as pd
import pytest
from sasrec import SASRec

from recfuse_lib.data.items import Items
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.models.joint import JointModel
from recfuse_lib.models.sequential import SequentialModel
from recfuse_lib.training.pipelines import fit, untuned

tf = pytest.importorskip("tensorflow")


def autotuned() -> bool:
    """Whether a pipeline that is made now would be tuned; TensorFlow's default is None, which means yes."""
    return tf.data.Options().autotune.enabled is not False


def trained(seed=0):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    x = np.random.default_rng(seed).normal(size=(100, 3)).astype("float32")
    model.fit(x, x.sum(axis=1), batch_size=8, epochs=3, verbose=0)
    return model.get_weights()


def test_only_within_and_also_after_an_error():
    assert autotuned()
    with pytest.raises(RuntimeError), untuned():
        assert not autotuned()
        raise RuntimeError
    assert autotuned()


def test_the_models_of_the_course_train_within_it(monkeypatch):
    seen = []
    monkeypatch.setattr(
        keras.Model, "fit", lambda *arguments, **named: seen.append(autotuned()) or keras.callbacks.History()
    )
    history = pd.DataFrame({"user": [0, 0, 1, 1], "item": [0, 1, 1, 2], "rating": 5.0, "timestamp": [1, 2, 3, 4]})
    encodings = ItemEncodings.of({"text": np.eye(3)})
    JointModel(dimension=4).fit(history, encodings)
    SequentialModel(dimension=4, history_length=4).fit(history, encodings)
    SASRec(dimension=4, length=4, epochs=1).fit(history, Items.unnamed(3))
    assert seen == [False, False, False]


def test_the_same_batches_in_the_same_order():
    expected = trained()
    with untuned():
        found = trained()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_step_is_traced_once_and_learns_the_same():
    traced = []

    class Network(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = keras.layers.Dense(1)
            self.inner.build((None, 3))
            self.built = True

        def call(self, x):
            traced.append(x)
            return self.inner(x)

    x = np.random.default_rng(0).normal(size=(100, 3)).astype("float32")
    found = []
    for train in (fit, keras.Model.fit):
        keras.utils.set_random_seed(0)
        model = Network()
        model.compile("adam", "mse")
        traced.clear()
        train(model, x, x.sum(axis=1), batch_size=8, epochs=3, verbose=0)
        found.append((len(traced), *model.get_weights()))
    assert (found[0][0], found[1][0]) == (1, 2)
    np.testing.assert_array_equal(found[0][1], found[1][1])
