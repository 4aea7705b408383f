"""The set-up cell of every notebook.

``environment.start()`` opens every notebook; ``python -m course.environment`` checks the machine.
"""

import importlib
import importlib.metadata
import os
import platform
import tempfile
import warnings
from types import ModuleType

PROFILES = ("laptop", "full")
_SHOWN_PACKAGES = ("tensorflow", "keras", "keras-hub", "keras-rs", "numpy", "pandas")


def quiet_import(name: str) -> ModuleType:
    """Imports a framework without its start-up messages; when the import fails they are shown.

    TensorFlow writes some of them straight to the process's standard error, before any of its settings takes effect.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    standard_error = os.dup(2)
    with tempfile.TemporaryFile() as messages:
        os.dup2(messages.fileno(), 2)
        try:
            return importlib.import_module(name)
        except Exception:
            messages.seek(0)
            os.write(standard_error, messages.read())
            raise
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)


def profile() -> str:
    """Returns the size of the experiments, ``$RECFUSE_PROFILE``: ``laptop`` (two CPU cores) or ``full`` (a GPU)."""
    name = os.environ.get("RECFUSE_PROFILE", PROFILES[0])
    if name not in PROFILES:
        raise ValueError(f"RECFUSE_PROFILE is {name!r}; set it to one of {', '.join(PROFILES)}")
    return name


def start(seed: int = 0) -> None:
    """Opens a notebook: sets the seeds and the figure style, prints versions, profile and device.

    Call it before Keras or TensorFlow is imported: it also keeps their start-up messages off the page.

    >>> start(seed=0)  # doctest: +ELLIPSIS
    Python 3..., tensorflow 2..., keras 3...
    profile laptop, seed 0, tensorflow on ..., ... CPU cores
    """
    # KerasHub's dependencies ask for a progress widget, which the course does not use.
    warnings.filterwarnings("ignore", message="IProgress not found")
    keras = quiet_import("keras")

    from recfuse_lib.teaching import figures

    keras.utils.set_random_seed(seed)
    figures.use_style()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _SHOWN_PACKAGES)
    print(f"Python {platform.python_version()}, {versions}")
    print(f"profile {profile()}, seed {seed}, {keras.backend.backend()} on {device()}, {cores()} CPU cores")


def device() -> str:
    """Returns the names of the GPUs that TensorFlow sees, or ``CPU``."""
    config = quiet_import("tensorflow").config
    gpus = [config.experimental.get_device_details(gpu) for gpu in config.list_physical_devices("GPU")]
    return ", ".join(details.get("device_name", "GPU") for details in gpus) or "CPU"


def cores() -> int:
    """Returns how many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
