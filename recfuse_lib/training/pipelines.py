"""Keras's `fit` on TensorFlow that returns when the training is over, not up to a minute later.

Taught in notebook 08.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import keras


@contextmanager
def untuned() -> Iterator[None]:
    """Within it, TensorFlow does not tune the pipelines that Keras makes of arrays.

    tf.data tunes a pipeline in a thread that sleeps between two looks, twice as long each time, up to a minute. At the
    pipeline's end that thread often sleeps on, as if it were woken before it can see the end, and `fit` waits for it.
    On two busy cores eleven of thirteen trainings of 3 seconds waited, most of them for two more; without tuning none
    did. Arrays in memory leave nothing to tune. Other backends have no such thread.

    Example:
        >>> model = keras.Sequential([keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> with untuned():
        ...     history = model.fit(keras.ops.ones((4, 2)), keras.ops.ones((4, 1)), verbose=0)
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
