"""A fused model in one file: its gates and its history; what is closed-form is fitted again when the file is read.

Taught in notebook 07.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from recfuse_lib.data.faults import DataError
from recfuse_lib.data.items import Items
from recfuse_lib.models.dimensions import DIMENSIONS, Dimension
from recfuse_lib.models.fitted_gate import FittedGate
from recfuse_lib.models.fused import FusedModel
from recfuse_lib.pretrained import store

SETTINGS = ("hidden", "task_weight", "seed")
COLUMNS = ("user", "item", "rating", "timestamp")


def save(model: FusedModel, path: Path | str) -> None:
    """Writes a trained model into an `.npz` file, whole or not at all.

    Raises:
        ValueError: The model fuses by another layer than `EvidenceGate`.
    """
    if not isinstance(model.gate, FittedGate):
        raise ValueError(f"a model that fuses by {type(model.gate).__name__} cannot be saved, only by EvidenceGate")
    gates = {"gate": model.gate} | ({"rating_gate": model.rating_gate} if model.rating_gate else {})
    weights = {f"{name}/{k}": w for name, one in gates.items() for k, w in enumerate((*one[:4], *one.network))}
    settings = {name: getattr(model, name) for name in SETTINGS}
    settings |= {"dimensions": model.names, "checksum": _checksum(model.items)}
    arrays = {f"history/{column}": model.events[column].to_numpy() for column in COLUMNS} | weights
    arrays["settings"] = np.array(json.dumps(settings))
    with store.replacing(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def load(path: Path | str, items: Items, dimensions: Mapping[str, Dimension] = DIMENSIONS) -> FusedModel:
    """Reads a saved model; on one machine its scores are the same to the bit.

    `items` hold the catalogue and the encodings that the model learned on; `dimensions` has all that it uses.

    Raises:
        DataError: The file is no saved model, or the catalogue or the encodings differ.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            saved = dict(file)
        settings = json.loads(str(saved["settings"]))
        events = pd.DataFrame({column: saved[f"history/{column}"] for column in COLUMNS})
        checksum, names = settings.pop("checksum"), settings.pop("dimensions")
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a saved fused model ({error}); write it again with `save`") from error
    if checksum != _checksum(items):
        raise DataError(f"{path} learned from another catalogue, other roles or other encodings than those given")
    model = FusedModel({name: dimensions[name] for name in names}, **settings)
    model.fit_dimensions(events, items)
    model.gate, model.rating_gate = (_gate(name, saved) for name in ("gate", "rating_gate"))
    return model


def _gate(name: str, saved: Mapping[str, np.ndarray]) -> FittedGate | None:
    arrays = [saved[key] for key in sorted(saved) if key.startswith(f"{name}/")]
    if not arrays:
        return None
    bias, of_user, of_item, level, *network = arrays
    return FittedGate(bias, of_user, of_item, level, tuple(network))


def _checksum(items: Items) -> str:
    arrays = {**items.encodings, "available": items.available}
    known = {name: array for name, array in sorted(arrays.items()) if array is not None}
    described = items.catalogue.to_csv(), json.dumps(dict(items.roles))
    return store.sha256(*described, *(part for one in known.items() for part in one))
