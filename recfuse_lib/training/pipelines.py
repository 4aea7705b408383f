"""Keras's `fit` on TensorFlow that returns when the training is over, not up to a minute later.

Taught in notebook 04.
"""

from collections.abc import Iterator
from contextlib import contextmanager
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
