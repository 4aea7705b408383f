"""Trains a bundle on a data set, from random weights or from those of the champion.

    python -m recfuse_lib.serving.training      builds a first model to serve, of MovieLens

Taught in notebooks 18 and 19.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from recfuse_lib.data import movielens, sequences, splits
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import in_order
from recfuse_lib.models.joint import JointModel
from recfuse_lib.serving import promotion
from recfuse_lib.serving.bundle import Bundle, BundleError
from recfuse_lib.serving.events import EventStore
from recfuse_lib.serving.export import CatalogueEncodings, assign, attribute_names, export_bundle
from recfuse_lib.serving.ranker import RankerWeights, choose
from recfuse_lib.serving.settings import Settings
from recfuse_lib.training.pipelines import untuned

EPOCHS_FROM_NOTHING, EPOCHS_ONWARD = 8, 3
LEARNING_RATE, BATCH_SIZE = 3e-3, 1024

Encode = Callable[[Dataset, np.ndarray], CatalogueEncodings]
"""Encodes a catalogue, given which items have been met, bool (I,)."""


def build(
    dataset: Dataset,
    store: Path | str,
    version: str,
    *,
    seed: int = 0,
    warm_from: Bundle | None = None,
    epochs: int | None = None,
    since: int | None = None,
    replay: float | None = None,
    encode: Encode = CatalogueEncodings.of_dataset,
    text_encoder: str | None = "minilm",
    ranker: RankerWeights | None = None,
    metrics: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Bundle:
    """Trains a joint model and writes it as a bundle, from which the next one can start.

    The bundle holds exactly the people of the data set, and all its items. `warm_from` gives the initial weights and,
    by default, the ranker; an erased person's id, history and vector are not carried over. By default 8 epochs are
    trained, 3 from `warm_from`; 0 keeps its weights. For the other arguments see `fit` and `export_bundle`.

    Raises:
        BundleError: See `export_bundle`, or `warm_from` has other dimensions.
    """
    keras.utils.set_random_seed(seed)
    seen = met(dataset)
    content = encode(dataset, seen)
    if warm_from is None:
        model = JointModel(mean_rating=float(dataset.interactions["value"].mean()))
        epochs = EPOCHS_FROM_NOTHING if epochs is None else epochs
    else:
        model = restore(warm_from, dataset, content)
        ranker = ranker or RankerWeights(**warm_from.schema["ranker"])
        epochs = EPOCHS_ONWARD if epochs is None else epochs
    if epochs and warm_from is None and since is None:  # long enough for XLA to pay
        model.fit(dataset.events(), content.encodings, seen, n_users=dataset.n_users, epochs=epochs)
    else:
        if warm_from is None:
            model.build(dataset.n_users, dataset.n_items, content.encodings.widths)
        model.item_tower.set_encodings(content.encodings)
        model.item_tower.set_available(seen)
        if epochs:
            fit(model, dataset.events(), epochs=epochs, since=since, replay=replay, seed=seed)
    origin = {
        "seed": seed,
        "epochs": epochs,
        "warm_from": warm_from and warm_from.version,
        "trained_until": int(dataset.interactions["timestamp"].max()),
        **(provenance or {}),
    }
    return export_bundle(
        store,
        version,
        model,
        dataset,
        content,
        metrics=metrics or {},
        provenance=origin,
        ranker=ranker or RankerWeights(),
        text_encoder=text_encoder,
    )


def fit(
    model: JointModel,
    events: pd.DataFrame,
    *,
    epochs: int,
    since: int | None = None,
    replay: float | None = None,
    seed: int = 0,
) -> keras.callbacks.History:
    """Trains on all events, or on those from `since` on (Unix seconds) and a sample of the older ones.

    `replay` is the number of older events as a multiple of the new ones, None for all; without any, the model forgets.
    Every example has its full history, whichever examples are chosen. The model needs its item encodings; one that was
    trained before continues with Adam's momenta reset to 0.
    """
    events = in_order(events)
    new = np.ones(len(events), bool) if since is None else events["timestamp"].to_numpy() >= since
    if not new.any():
        raise ValueError(f"no event is from {since} on; there is nothing new to learn from")
    old = np.flatnonzero(~new)
    if replay is not None:
        kept = min(len(old), round(replay * int(new.sum())))
        old = np.random.default_rng(seed).choice(old, kept, replace=False)
    rows = np.sort(np.concatenate([np.flatnonzero(new), old]))
    inputs = {name: values[rows] for name, values in sequences.examples(events, model.history_length).items()}
    keras.utils.set_random_seed(seed)
    for tower in (model.item_tower, model.user_tower):
        tower.random.state.assign(keras.random.SeedGenerator(seed).state)
    if model.network.compiled:
        for variable in model.network.optimizer.variables:
            if variable is not model.network.optimizer._learning_rate:
                variable.assign(keras.ops.zeros_like(variable))
    else:
        model.network.compile(optimizer=keras.optimizers.Adam(LEARNING_RATE), jit_compile=False)
    with untuned():
        return model.network.fit(inputs, epochs=epochs, batch_size=BATCH_SIZE, verbose=0)


def restore(bundle: Bundle, dataset: Dataset, content: CatalogueEncodings) -> JointModel:
    """Restores the model of a bundle, resized to another data set: what both know keeps its weights. A new person
    starts as a stranger, a new item with its content alone and the popularity of the median item, a new attribute with
    weights of 0. Raises BundleError if the dimensions differ from those of `content`.
    """
    schema, saved, widths = bundle.schema, bundle.weights(), content.encodings.widths
    if list(schema["dimensions"]) != list(widths):
        raise BundleError(
            f"{bundle.version} knows {', '.join(schema['dimensions'])}, the catalogue has {', '.join(widths)}; encode "
            "the same dimensions, or build without warm_from"
        )
    shape = {name: schema[name] for name in ("dimension", "history_length", "mean_rating")}
    model = JointModel(**shape).build(dataset.n_users, dataset.n_items, widths)
    users = _positions(bundle.users(), [str(one) for one in dataset.user_ids])
    users = np.append(np.where(users < 0, len(saved["users"]) - 1, users), len(saved["users"]) - 1)
    items = _positions([row["item_id"] for row in bundle.catalogue()], _item_ids(dataset))
    met = bundle.array("available").astype(bool)
    usual = np.median(saved["popularity"][met])
    resized = {
        **saved,
        "users": saved["users"][users],
        "user_bias": saved["user_bias"][users],
        "correction": _rows(np.where(met[:, None], saved["correction"], np.float32(0)), items, 0.0),
        "popularity": _rows(np.where(met, saved["popularity"], usual), items, usual),
        "item_bias": _rows(saved["item_bias"], items, 0.0),
    }
    if "attributes" in widths:
        attributes = _positions(schema["attributes"], attribute_names(dataset, content.seen))
        for name in ("kernel_attributes", "gate_attributes"):
            resized[name] = _rows(saved[name], attributes, 0.0)
    assign(model, resized)
    model.item_tower.set_available(_rows(met, items, False))
    return model


def met(dataset: Dataset) -> np.ndarray:
    """Finds the items that have an event, bool (I,)."""
    return dataset.catalogue["item_id"].isin(dataset.interactions["item_id"]).to_numpy()


def met_by(bundle: Bundle, dataset: Dataset) -> np.ndarray:
    """Finds the items of a data set that had an event when a bundle was trained, bool (I,)."""
    known = [row["item_id"] for row, there in zip(bundle.catalogue(), bundle.array("seen"), strict=True) if there]
    return np.isin(_item_ids(dataset), known)


def build_first(
    dataset: Dataset,
    events: EventStore,
    store: Path,
    version: str,
    encode: Encode = CatalogueEncodings.of_dataset,
    text_encoder: str | None = "minilm",
) -> Bundle:
    """Chooses the ranker on the validation fold, trains on everything, and promotes the bundle. Whoever was erased from
    the event store is in neither training, and older bundles, which still know them, are removed.
    """
    erasures = events.erasures()
    events.import_dataset(dataset)
    everything = events.dataset(name=dataset.name)
    fold = splits.warm(_without_whom_was_erased(dataset, everything)).validation
    keras.utils.set_random_seed(0)
    seen = np.bincount(fold.history["item"], minlength=fold.n_items) > 0
    content = encode(dataset, seen)
    model = JointModel(mean_rating=float(fold.history["rating"].mean()))
    model.fit(fold.history, content.encodings, seen, n_users=fold.n_users, epochs=EPOCHS_FROM_NOTHING)
    ranker, figures = choose(model, fold)
    bundle = build(
        everything,
        store,
        version,
        encode=encode,
        text_encoder=text_encoder,
        ranker=ranker,
        metrics={"fold": f"{dataset.name}, warm, validation", **figures},
        provenance={"erasures": erasures},
    )
    promotion.promote(store, version, "the first", figures)
    remove_older(store, erasures)
    return bundle


def remove_older(store: Path, erasures: int) -> None:
    """Removes bundles with fewer erasures than the champion: they may know who was erased."""
    for version in promotion.versions(store):
        try:
            heard_of = int(Bundle.load(store / version).manifest["provenance"].get("erasures", 0))
        except BundleError:
            heard_of = -1  # nobody knows whom a damaged one holds
        if heard_of < erasures:
            promotion.discard(store, version, "it knows somebody who was erased", action="remove")


def _without_whom_was_erased(dataset: Dataset, kept: Dataset) -> Dataset:
    there, given = (
        pd.MultiIndex.from_frame(one.interactions[["user_id", "item_id"]].astype(str)) for one in (kept, dataset)
    )
    return dataclasses.replace(dataset, interactions=dataset.interactions[given.isin(there)].reset_index(drop=True))


def _item_ids(dataset: Dataset) -> list[str]:
    return [str(one) for one in dataset.catalogue["item_id"]]


def _positions(old: Sequence[str], new: Sequence[str]) -> np.ndarray:
    """Position of each new id among the old ones, -1 where absent, (len(new),)."""
    return pd.Index(old).get_indexer(pd.Index(new))


def _rows(old: np.ndarray, positions: np.ndarray, missing: Any) -> np.ndarray:
    rows = old[positions].copy()
    rows[positions < 0] = missing
    return np.asarray(rows)


def main() -> int:
    """Builds a first model of MovieLens in the store of the settings."""
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
