"""Keras's `fit` without what TensorFlow adds to a training of seconds.
Taught in notebook 04.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import keras


@contextmanager
def untuned() -> Iterator[None]:
    """Keep TensorFlow from tuning the pipelines that Keras makes of arrays; other backends have none.

    The tuning thread sleeps between two looks, twice as long each time, up to a minute; often it sleeps through the
    pipeline's end, and `fit` waits for it. On two busy cores eleven of thirteen trainings of 3 seconds waited, most of
    them for two more; without tuning none did. Arrays in memory leave nothing to tune.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    class Options(tf.data.Options):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.autotune.enabled = False

    with mock.patch.object(tf.data, "Options", Options):
        yield


def fit(model: keras.Model, *arrays: Any, **settings: Any) -> keras.callbacks.History:
    """Call `fit` of a compiled model that has all its variables, `untuned` and with one tracing instead of two.

    Where Adam makes its averages within the first step, TensorFlow traces that step, and compiles it, once more.
    """
    model.optimizer.build(model.trainable_variables)
    with untuned():
        return model.fit(*arrays, verbose=settings.pop("verbose", 0), **settings)
