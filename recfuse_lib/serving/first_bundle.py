"""A first model to serve: MovieLens, its ranker chosen on validation, its events in the event store.

    python -m recfuse_lib.serving.first_bundle

Taught in notebook 18.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from recfuse_lib.data import movielens, splits
from recfuse_lib.data.schema import Dataset
from recfuse_lib.serving import promotion
from recfuse_lib.serving.bundle import Bundle
from recfuse_lib.serving.combination import choose
from recfuse_lib.serving.events import EventStore
from recfuse_lib.serving.settings import Settings


def build_first(dataset: Dataset, events: EventStore, store: Path, version: str, seed: int = 0) -> Bundle:
    """Trains once on the past of the validation fold, to choose the ranker, and once on everything; then promotes.

    Args:
        dataset: What the service begins with; it goes into the event store.
        events: The event store.
        store: The bundle store.
        version: Name of the bundle.
        seed: Of both trainings.

    Taught in notebook 18.
    """
    import keras

    from recfuse_lib.serving import training
    from recfuse_lib.serving.content import Content
    from recfuse_lib.tasks.multitask import JointModel

    events.import_dataset(dataset)
    fold = splits.warm(dataset).validation
    keras.utils.set_random_seed(seed)
    seen = np.bincount(fold.history["item"], minlength=dataset.n_items) > 0
    content = Content.of_dataset(dataset, seen)
    mean = float(fold.history["rating"].mean())
    model = JointModel(dataset.n_users, dataset.n_items, content.encodings.widths, mean_rating=mean)
    model.learn(fold.history, content.encodings, seen, epochs=training.EPOCHS_FROM_NOTHING, verbose=0)
    combination, figures = choose(model, fold)
    metrics = {"fold": f"{dataset.name}, warm, validation", **figures}
    everything = events.dataset(name=dataset.name)
    bundle = training.build(everything, store, version, seed=seed, combination=combination, metrics=metrics)
    promotion.promote(store, version, "the first", figures)
    return bundle


def main() -> int:
    """The command line."""
    settings = Settings.of()
    settings.store.mkdir(parents=True, exist_ok=True)
    if settings.database.startswith("sqlite:///"):
        Path(settings.database.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    print("training a first model on MovieLens: about two minutes on two free cores", flush=True)
    version = time.strftime("movielens-%Y%m%dT%H%M%SZ", time.gmtime())
    bundle = build_first(movielens.load(), EventStore(settings.database), settings.store, version)
    seconds = time.monotonic() - begun
    print(f"{bundle.version} is built and serves ({seconds:.0f} s): {bundle.manifest['metrics']}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
