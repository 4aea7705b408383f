"""Small trainings without a graph: to trace one costs as much as ten of their steps or more."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def eagerly(eager: bool = True) -> Iterator[None]:
    """Takes steps as they are written, where TensorFlow would trace and compile them first.

    Args:
        eager: False traces them, also within a test that takes its others eagerly.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(eager)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)
