"""Set before anything else is imported: no window for figures, one thread, no start-up messages; hypothesis."""

import contextlib
import os
import sys

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import hypothesis
import pytest
from eager import eagerly

# How fast a machine is says nothing of the code: neither a slow example nor slowly drawn ones are an error.
hypothesis.settings.register_profile("recfuse", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("recfuse")

EXAMPLES_OF_SMOLLM2 = ("recfuse_lib.encoders.local_language_model.LocalLanguageModel",)
"""In the documentation; `test_smollm2.py` runs them, so that one process loads the model and not three."""


TAKE_LONG = {
    *("balancing", "bpr", "bundle", "checkpoints", "closed_loop", "collaborative", "crash", "deep_tower", "devices"),
    *("experts", "finetuning", "fit", "fusion", "generator_tuning", "joint_model", "language_model", "media_encoders"),
    *("market_media", "monitoring", "multimodal", "negatives", "openai_compatible", "pipelines", "pretrained"),
    *("retraining", "serving", "serving_outage", "serving_page", "serving_recommender", "serving_schema", "smollm2"),
    *("text_encoder", "tracking", "two_stage"),
}
"""Files of tests that train or load models, start services or kill processes: `make check` leaves them out."""


def pytest_collection_modifyitems(items):
    items[:] = [item for item in items if item.name not in EXAMPLES_OF_SMOLLM2]
    for item in items:
        if item.path.stem.removeprefix("test_") in TAKE_LONG:
            item.add_marker(pytest.mark.slow)


class ExamplesWithoutGraphs:
    """A training in an example of the documentation has one step or two."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        trains = isinstance(item, pytest.DoctestItem) and "keras" in sys.modules
        with eagerly() if trains else contextlib.nullcontext():
            return (yield)


def pytest_configure(config):
    config.pluginmanager.register(ExamplesWithoutGraphs())
    # Pipelines of batches stay graphs where a test takes its steps eagerly; TensorFlow says so each time.
    config.addinivalue_line("filterwarnings", "ignore:Even though the `tf.config:UserWarning")


@pytest.fixture
def eager():
    """The whole test without graphs; see `eagerly`."""
    with eagerly():
        yield
