"""Set before anything else is imported: no window for figures, two threads, no start-up messages; hypothesis."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "2")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import hypothesis
import pytest
from eager import eagerly

# How fast a machine is says nothing of the code: neither a slow example nor slowly drawn ones are an error.
hypothesis.settings.register_profile("recfuse", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("recfuse")


def pytest_configure(config):
    # Pipelines of batches stay graphs where a test takes its steps eagerly; TensorFlow says so each time.
    config.addinivalue_line("filterwarnings", "ignore:Even though the `tf.config:UserWarning")


@pytest.fixture
def eager():
    """The whole test without graphs; see `eagerly`."""
    with eagerly():
        yield
