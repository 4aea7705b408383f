"""Whether XLA compiles a training.

Taught in notebook 08.
"""

from __future__ import annotations

import keras

PAYS_FROM = 100
"""Steps. On two CPU cores compiling the joint model takes about as long as XLA then saves in 80 to 200 of them."""


def with_xla(steps: int) -> bool | str:
    """What to give Keras as `jit_compile` for a training of so many steps.

    On a CPU, Keras leaves XLA off for TensorFlow unless asked, though it nearly halves the time of a step. But
    compiling takes ten seconds and more, which a short training never gets back. JAX and PyTorch are left to Keras.

    Args:
        steps: All steps of the training, over all epochs.

    Example:
        >>> with_xla(1_000) in (True, "auto"), with_xla(3) in (False, "auto")
        (True, True)
    """
    return steps >= PAYS_FROM if keras.backend.backend() == "tensorflow" else "auto"
