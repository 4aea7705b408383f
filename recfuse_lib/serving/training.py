"""From a data set to a bundle: training from nothing, or onward from the weights of the champion.

Taught in notebook 19.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import safetensors
import safetensors.numpy

from recfuse_lib.data import sequences
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import in_order
from recfuse_lib.encoders.attributes import AttributeEncoder
from recfuse_lib.models.joint import JointModel
from recfuse_lib.serving.bundle import Bundle, BundleError, write_bundle
from recfuse_lib.serving.combination import Combination
from recfuse_lib.serving.content import Content
from recfuse_lib.training.pipelines import untuned

WEIGHTS = "weights.safetensors"
EPOCHS_FROM_NOTHING, EPOCHS_ONWARD = 8, 3
LEARNING_RATE, BATCH_SIZE = 3e-3, 1024

Encode = Callable[[Dataset, np.ndarray], Content]
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
    dimension: int = 64,
    encode: Encode = Content.of_dataset,
    text_encoder: str | None = "minilm",
    combination: Combination | None = None,
    metrics: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Bundle:
    """Trains a joint model and writes it as a bundle, weights included, so that the next one can start from it.

    Whoever is in the data set is in the bundle, and nobody else: an erased person's id, history and vector are not
    carried over from `warm_from`.

    Args:
        dataset: What to learn from; all its items are in the bundle, met or not.
        store: The bundle store.
        version: Name of the bundle.
        seed: Of the training. Sets the random numbers of Keras, NumPy and Python.
        warm_from: Where to start from; from nothing by default.
        epochs: Passes; by default 8 from nothing and 3 onward. 0 keeps the weights of `warm_from`.
        since: See `fit`.
        replay: See `fit`.
        dimension: D; `warm_from` decides where it is given.
        encode: Encodes the catalogue.
        text_encoder: See `recfuse_lib.serving.export.export_bundle`.
        combination: The ranker's weights; by default those of `warm_from`, or retrieval's own order.
        metrics: What is known of the model.
        provenance: What else tells where it came from.

    Raises:
        BundleError: See `export_bundle`, or `warm_from` holds no weights.
        ValueError: There is nothing to learn from.
    """
    from recfuse_lib.serving.export import export_bundle

    keras.utils.set_random_seed(seed)
    seen = met(dataset)
    content = encode(dataset, seen)
    if warm_from is None:
        mean = float(dataset.interactions["value"].mean())
        model = JointModel(dimension=dimension, mean_rating=mean)
        epochs = EPOCHS_FROM_NOTHING if epochs is None else epochs
    else:
        model = restore(warm_from, dataset, content)
        combination = combination or Combination(**warm_from.schema["combination"])
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
    Path(store).mkdir(parents=True, exist_ok=True)
    # Hidden and named like the work of `write_bundle`, which clears away what a killed process left.
    work = Path(tempfile.mkdtemp(prefix=f".{version}.", suffix=".partial", dir=store))
    try:
        made = export_bundle(
            work,
            version,
            model,
            dataset,
            content,
            metrics=metrics or {},
            provenance=origin,
            combination=combination or Combination(),
            text_encoder=text_encoder,
        )
        labels = attribute_names(dataset, seen)

        def fill(folder: Path) -> None:
            shutil.copytree(made.folder, folder, ignore=shutil.ignore_patterns("manifest.json"), dirs_exist_ok=True)
            arrays = {name: np.ascontiguousarray(value) for name, value in weights(model).items()}
            safetensors.numpy.save_file(arrays, folder / WEIGHTS, {"attributes": "\n".join(labels)})

        return write_bundle(store, version, fill, made.manifest["metrics"], made.manifest["provenance"])
    finally:
        shutil.rmtree(work, ignore_errors=True)


def fit(
    model: JointModel,
    events: pd.DataFrame,
    *,
    epochs: int,
    since: int | None = None,
    replay: float | None = None,
    seed: int = 0,
) -> keras.callbacks.History:
    """Trains on all events, or on the newest ones and a share of the older ones.

    Every example has the person's history before it, whichever examples are chosen. A model that was trained before
    goes on with the momenta of Adam at 0.

    Args:
        model: With the encodings of the items.
        events: Columns `user`, `item`, `rating`, `timestamp`.
        epochs: Passes.
        since: Unix seconds; events from here on are the new ones. By default all are.
        replay: How many older events are repeated beside the new ones, as a multiple of their number; None is all.
            Without any, the model forgets.
        seed: Of the choice of older events, of the order and of what is dropped; sets Keras's random numbers.

    Raises:
        ValueError: No event is new.
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


def restore(bundle: Bundle, dataset: Dataset, content: Content) -> JointModel:
    """The model of a bundle, resized to another data set: what both know keeps its weights.

    A new person starts as a stranger. A new item starts with its content alone and the popularity of the median item.
    A new attribute has no say yet.

    Args:
        bundle: Made by `build`.
        dataset: Its users and items are the rows of the model.
        content: Of `dataset`.

    Raises:
        BundleError: The bundle holds no weights, or its dimensions are others than those of `content`.
    """
    path = bundle.folder / WEIGHTS
    if not path.exists():
        raise BundleError(f"{bundle.version} holds no {WEIGHTS} to start from; build from nothing, without warm_from")
    schema, saved = bundle.schema, safetensors.numpy.load_file(path)
    if list(schema["dimensions"]) != list(content.encodings.widths):
        raise BundleError(
            f"{bundle.version} knows {', '.join(schema['dimensions'])}, the catalogue has "
            f"{', '.join(content.encodings.widths)}; encode the same dimensions, or build without warm_from"
        )
    settings = {name: schema[name] for name in ("dimension", "history_length", "mean_rating")}
    model = JointModel(**settings).build(dataset.n_users, dataset.n_items, content.encodings.widths)
    with safetensors.safe_open(path, framework="numpy") as file:
        labels = file.metadata()["attributes"].split("\n")
    users = _places(bundle.users(), [str(one) for one in dataset.user_ids])
    items = _places([row["item_id"] for row in bundle.catalogue()], _item_ids(dataset))
    attributes = _places(labels, attribute_names(dataset, content.seen))
    met = bundle.array("available").astype(bool)
    corrections = np.where(met[:, None], saved["correction"], np.float32(0))
    usual = np.median(saved["popularity"][met])
    stranger = len(saved["users"]) - 1
    resized = {
        **saved,
        "users": saved["users"][np.append(np.where(users < 0, stranger, users), stranger)],
        "user_bias": saved["user_bias"][np.append(np.where(users < 0, stranger, users), stranger)],
        "correction": _rows(corrections, items, 0.0),
        "popularity": _rows(np.where(met, saved["popularity"], usual), items, usual),
        "item_bias": _rows(saved["item_bias"], items, 0.0),
    }
    for name in ("kernel_attributes", "gate_attributes"):
        if name in resized:
            resized[name] = _rows(saved[name], attributes, 0.0)
    assign(model, resized)
    model.item_tower.set_available(_rows(met, items, False))
    return model


def met(dataset: Dataset) -> np.ndarray:
    """Which items have an event, bool (I,)."""
    return dataset.catalogue["item_id"].isin(dataset.interactions["item_id"]).to_numpy()


def met_by(bundle: Bundle, dataset: Dataset) -> np.ndarray:
    """Which items of a data set had an event when a bundle was trained, bool (I,)."""
    known = [row["item_id"] for row, there in zip(bundle.catalogue(), bundle.array("seen"), strict=True) if there]
    return np.isin(_item_ids(dataset), known)


def weights(model: JointModel) -> dict[str, np.ndarray]:
    """All that training changes, by name."""
    return {name: np.array(keras.ops.convert_to_numpy(weight)) for name, weight in _variables(model).items()}


def assign(model: JointModel, named: Mapping[str, np.ndarray]) -> None:
    """Gives a model the weights that `weights` took from one of the same size."""
    for name, variable in _variables(model).items():
        variable.assign(named[name])


def attribute_names(dataset: Dataset, seen: np.ndarray) -> tuple[str, ...]:
    """What the numbers of the dimension "attributes" say, in the order of its columns."""
    return AttributeEncoder(dataset.roles).fit(dataset.catalogue[seen]).names


def _variables(model: JointModel) -> dict[str, Any]:
    items, users, ranking = model.item_tower, model.user_tower, model.network.ranking
    named = {
        "correction": items.correction,
        "gate_bias": items.gate_bias,
        "transform": users.transform,
        "users": users.users,
        "rating_weight": users.rating_weight,
        "recency": users.recency,
        "popularity": model.network.popularity,
        "user_bias": ranking.user_bias,
        "item_bias": ranking.item_bias,
        "hidden_kernel": ranking.first.kernel,
        "hidden_bias": ranking.first.bias,
        "last_kernel": ranking.last.kernel,
        "last_bias": ranking.last.bias,
    }
    for name, kernel, gate in zip(items.names, items.kernels, items.gate_kernels, strict=True):
        named |= {f"kernel_{name}": kernel, f"gate_{name}": gate}
    assert len(named) == len(model.network.trainable_weights)
    return named


def _item_ids(dataset: Dataset) -> list[str]:
    return [str(one) for one in dataset.catalogue["item_id"]]


def _places(old: list[str] | tuple[str, ...], new: list[str] | tuple[str, ...]) -> np.ndarray:
    """Where each new id was among the old ones, -1 for nowhere, (len(new),)."""
    place = {one: number for number, one in enumerate(old)}
    return np.array([place.get(one, -1) for one in new], "int64")


def _rows(old: np.ndarray, places: np.ndarray, missing: Any) -> np.ndarray:
    rows = old[places].copy()
    rows[places < 0] = missing
    return np.asarray(rows)
