"""A fused model in one file: its gates and its history; what is closed-form is fitted anew when the file is read.

Taught in notebook 07.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recfuse_lib.data.faults import DataError
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import Queries
from recfuse_lib.models.fused import FUSIONS, FusedModel, rating_gate
from recfuse_lib.pretrained import store

SETTINGS = ("left_out", "hidden", "fusion", "task_weight", "seed")
COLUMNS = ("user", "item", "rating", "timestamp")


def save(model: FusedModel, path: Path | str) -> None:
    """Writes a model that has learned, whole or not at all.

    Args:
        model: The model.
        path: A file, by custom `….npz`.
    """
    weights = {f"{name}/{k}": w for name, gate in _gates(model).items() for k, w in enumerate(gate.get_weights())}
    settings = {name: getattr(model, name) for name in SETTINGS}
    settings["checksum"] = _checksum(model.dataset, model.text)
    arrays = {f"history/{column}": model.events[column].to_numpy() for column in COLUMNS} | weights
    arrays |= {
        "available": model.available,
        "settings": np.array(json.dumps(settings)),
    }
    with store.replacing(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def load(path: Path | str, dataset: Dataset, text: np.ndarray | None) -> FusedModel:
    """The saved model; on one machine its scores are the same to the bit.

    Args:
        path: A file that `save` wrote.
        dataset: With the catalogue that the model learned on.
        text: The text encodings that it learned on.

    Raises:
        DataError: The file is no saved model, or catalogue or encodings are others.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            saved = dict(file)
        settings = json.loads(str(saved["settings"]))
        events = pd.DataFrame({column: saved[f"history/{column}"] for column in COLUMNS})
        checksum, left_out = settings.pop("checksum"), tuple(settings.pop("left_out"))
        available = saved["available"]
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a saved fused model ({error}); write it again with `save`") from error
    if checksum != _checksum(dataset, text):
        raise DataError(f"{path} learned from another catalogue or other text encodings than those given")
    model = FusedModel(dataset, text, left_out=left_out, **settings)
    model.fit_dimensions(events, available)
    model.gate, model.rating_gate = FUSIONS[model.fusion](len(model.names), model.hidden), rating_gate(model.hidden)
    model.score(Queries.of(events.iloc[:0], np.array([0]), dataset.n_items))  # builds what the first call builds
    for name, gate in _gates(model).items():
        gate.set_weights([saved[f"{name}/{k}"] for k in range(len(gate.get_weights()))])
    return model


def _gates(model: FusedModel) -> dict[str, Any]:
    return {"gate": model.gate} | ({"rating_gate": model.rating_gate} if model.task_weight else {})


def _checksum(dataset: Dataset, text: np.ndarray | None) -> str:
    return store.sha256(dataset.catalogue.to_csv(), *([] if text is None else [text]))
