"""A first model to serve: MovieLens, its ranker chosen on validation, its events in the event store.

    python -m recfuse_lib.serving.first_bundle

Taught in notebook 18.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from recfuse_lib.data import movielens, splits
from recfuse_lib.data.schema import Dataset
from recfuse_lib.models.joint import JointModel
from recfuse_lib.serving import promotion, training
from recfuse_lib.serving.bundle import Bundle
from recfuse_lib.serving.combination import choose
from recfuse_lib.serving.content import Content
from recfuse_lib.serving.events import EventStore
from recfuse_lib.serving.retraining import remove_older
from recfuse_lib.serving.settings import Settings


def build_first(
    dataset: Dataset,
    events: EventStore,
    store: Path,
    version: str,
    seed: int = 0,
    encode: training.Encode = Content.of_dataset,
    text_encoder: str | None = "minilm",
) -> Bundle:
    """Trains once on the past of the validation fold, to choose the ranker, and once on everything; then promotes.

    Whoever was erased from the event store since it took over the data set is in neither training, and older bundles,
    which still know them, are removed.

    Args:
        dataset: What the service begins with; it goes into the event store.
        events: The event store.
        store: The bundle store.
        version: Name of the bundle.
        seed: Of both trainings.
        encode: Encodes the catalogue.
        text_encoder: See `recfuse_lib.serving.export.export_bundle`.
    """
    erasures = events.erasures()
    events.import_dataset(dataset)
    everything = events.dataset(name=dataset.name)
    known = _without_whom_was_erased(dataset, everything)
    fold = splits.warm(known).validation
    keras.utils.set_random_seed(seed)
    seen = np.bincount(fold.history["item"], minlength=known.n_items) > 0
    content = encode(known, seen)
    mean = float(fold.history["rating"].mean())
    model = JointModel(mean_rating=mean)
    model.fit(fold.history, content.encodings, seen, n_users=known.n_users, epochs=training.EPOCHS_FROM_NOTHING)
    combination, figures = choose(model, fold)
    bundle = training.build(
        everything,
        store,
        version,
        seed=seed,
        encode=encode,
        text_encoder=text_encoder,
        combination=combination,
        metrics={"fold": f"{dataset.name}, warm, validation", **figures},
        provenance={"erasures": erasures},
    )
    promotion.promote(store, version, "the first", figures)
    remove_older(store, erasures)
    return bundle


def _without_whom_was_erased(dataset: Dataset, kept: Dataset) -> Dataset:
    """The interactions of a data set of which the event store still has the pair of person and item."""
    pair = ["user_id", "item_id"]
    there = pd.MultiIndex.from_frame(kept.interactions[pair].astype(str))
    asked = pd.MultiIndex.from_frame(dataset.interactions[pair].astype(str))
    interactions = dataset.interactions[asked.isin(there)].reset_index(drop=True)
    return dataclasses.replace(dataset, interactions=interactions)


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
