"""A fitted recommender in one file: arrays and plain settings, no pickle, so nothing in it runs when it is read.
Taught in notebook 18.
"""

import importlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

from recfuse_lib.data.faults import DataError
from recfuse_lib.data.items import Items
from recfuse_lib.models import array_file, index
from recfuse_lib.models.fused import FusedModel
from recfuse_lib.models.inner_product import InnerProduct
from recfuse_lib.models.two_stage import TwoStage
from recfuse_lib.pretrained import store

LIBRARY = "recfuse_lib."
SPARSE = ("data", "indices", "indptr")
LEFT_OUT = ("items", "index", "training", "first_stage", "cosines")
"""Attributes that are not written: given when the file is read, made again then, or Keras's log of training."""
SMALLER = np.iinfo("int32").max


def save(model: FusedModel | TwoStage, path: Path | str) -> None:
    """Writes a fitted model into an `.npz` file, whole or not at all.
    Raises `ValueError`: the model, or a part of it, is not of this library, such as a gate other than `EvidenceGate`.
    """
    arrays: dict[str, np.ndarray] = {}
    written = {"checksum": _checksum(model.items), "model": _described(model, "model", arrays, {})}
    with store.replacing(path) as file:
        array_file.write(file, {"_": np.array(json.dumps(written)), **arrays})


def load(path: Path | str, items: Items) -> Any:
    """Reads a saved model; its scores are the same.

    `items` hold the catalogue and the encodings that the model learned on.
    Raises `DataError`: the file is no saved model, or the catalogue or the encodings differ.
    """
    try:
        arrays = array_file.read(path)
        written = json.loads(str(arrays.pop("_")))
        if written["checksum"] != _checksum(items):
            raise DataError(f"{path} learned from another catalogue, other roles or other encodings than those given")
        return _made(written["model"], arrays, items)
    except (KeyError, ValueError, AttributeError, ImportError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a saved model ({error}); fit it again and write it with `save`") from error


def _described(value: Any, name: str, arrays: dict[str, np.ndarray], there: dict[int, str]) -> Any:
    """What JSON can hold; arrays are put aside under a name, each once however many share it."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        if id(value) not in there:
            there[id(value)] = name
            arrays[name] = value
        return {"array": there[id(value)]}
    if isinstance(value, scipy.sparse.csr_array):
        places = "int32" if max(value.nnz, *value.shape) <= SMALLER else "int64"
        stored = [value.data, *(part.astype(places, copy=False) for part in (value.indices, value.indptr))]
        parts = {
            part: _described(one, f"{name}/{part}", arrays, there) for part, one in zip(SPARSE, stored, strict=True)
        }
        return {"sparse": parts, "shape": list(value.shape)}
    if isinstance(value, pd.DataFrame):
        columns = {
            str(column): _described(value[column].to_numpy(), f"{name}/{column}", arrays, there) for column in value
        }
        return {"table": columns}
    if isinstance(value, Mapping):
        return {"mapping": {key: _described(one, f"{name}/{key}", arrays, there) for key, one in value.items()}}
    if isinstance(value, InnerProduct) and hasattr(value, "vectors"):
        assert len(value.moments) == 2  # computed once, here, and not by whoever loads
    kind = type(value)
    fields = value._asdict() if hasattr(value, "_asdict") else getattr(value, "__dict__", None)
    if isinstance(value, (list, tuple)) and not hasattr(value, "_asdict"):
        sequence = [_described(one, f"{name}/{place}", arrays, there) for place, one in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": sequence}
    if fields is None or not kind.__module__.startswith(LIBRARY):
        what = getattr(value, "__name__", kind.__name__)
        raise ValueError(f"{name} is {what}, which cannot be saved: it is not of this library")
    kept = {field: one for field, one in fields.items() if field not in LEFT_OUT}
    if isinstance(value, TwoStage):
        kept["cells"] = index.packed(value.index)
    described = {field: _described(one, f"{name}/{field}", arrays, there) for field, one in kept.items()}
    return {"object": f"{kind.__module__}:{kind.__qualname__}", "fields": described}


def _made(described: Any, arrays: Mapping[str, np.ndarray], items: Items) -> Any:
    if not isinstance(described, dict):
        return described
    (kind, content), *_ = described.items()
    if kind == "array":
        return arrays[content]
    if kind == "sparse":
        parts = tuple(_made(content[part], arrays, items) for part in SPARSE)
        return scipy.sparse.csr_array(parts, shape=described["shape"])
    if kind == "object":
        return _object(content, {name: _made(one, arrays, items) for name, one in described["fields"].items()}, items)
    if kind in ("table", "mapping"):
        made = {name: _made(one, arrays, items) for name, one in content.items()}
        return pd.DataFrame(made) if kind == "table" else made
    sequence = [_made(one, arrays, items) for one in content]
    return tuple(sequence) if kind == "tuple" else sequence


def _object(named: str, fields: dict[str, Any], items: Items) -> Any:
    module, _, name = named.partition(":")
    if not module.startswith(LIBRARY):
        raise ValueError(f"{named} is not of this library")
    kind = getattr(importlib.import_module(module), name)
    if issubclass(kind, tuple):
        return kind(**fields)
    made = kind.__new__(kind)
    made.__dict__.update(fields)
    if isinstance(made, FusedModel):
        made.items = items
    return made.prepared() if isinstance(made, TwoStage) else made


def _checksum(items: Items) -> str:
    arrays = {**items.encodings, "available": items.available}
    known = {name: array for name, array in sorted(arrays.items()) if array is not None}
    described = items.catalogue.to_csv(), json.dumps(dict(items.roles))
    return store.sha256(*described, *(part for one in known.items() for part in one))
