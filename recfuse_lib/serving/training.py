"""Fits the system to a data set and writes it as a bundle. Taught in notebooks 18 and 19."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import recfuse_lib
from recfuse_lib import pretrained
from recfuse_lib.data.items import Items
from recfuse_lib.data.roles import TEXT
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import in_order
from recfuse_lib.encoders.text import TextEncoder, encode_texts
from recfuse_lib.models import saved
from recfuse_lib.models.dimensions import usable
from recfuse_lib.models.fused import FusedModel
from recfuse_lib.models.two_stage import TwoStage
from recfuse_lib.pretrained.store import sha256
from recfuse_lib.serving.bundle import Bundle, write_bundle, write_items
from recfuse_lib.serving.text_encoder import export_text_encoder

MINILM = pretrained.MODELS["minilm"]
WEIGHT_OF_STARS = 10.0  # λ where there are ratings to learn from


def build(
    dataset: Dataset, store: Path | str, version: str, *, gates_of: Bundle | None = None, seed: int = 0,
    text_encoder: TextEncoder | None = None, provenance: Mapping[str, Any] | None = None,
) -> Bundle:  # fmt: skip
    """Fits the system to a data set and writes it as a bundle.

    The bundle holds exactly the people of the data set, and all its items. With `gates_of` another bundle's gates stay,
    unless the data set has other dimensions now, and only what is closed-form is fitted again, in seconds.

    Raises:
        BundleError: The version exists, or the disk is full.
        DataError: There is nothing to learn from.
    """
    items, events = encoded(dataset, text_encoder), in_order(dataset.events())
    kept = None if gates_of is None else gates_of.model()
    if kept is None or kept.ranking.names != list(usable(kept.ranking.dimensions, events, items)):
        gates_of, weight = None, WEIGHT_OF_STARS if dataset.has_stars else 0.0
        model = TwoStage(FusedModel(task_weight=weight, seed=seed)).fit(events, items)
    else:
        model = kept.refit(events, items)
    origin = {"seed": seed, "gates_of": gates_of and gates_of.version, **described(dataset), **(provenance or {})}
    if text_encoder is not None:
        origin["text_encoder"] = "another"
    return write_bundle(store, version, lambda folder: fill(folder, model, dataset, text_encoder), {}, origin)


def encoded(dataset: Dataset, text_encoder: TextEncoder | None = None) -> Items:
    """Returns the items with encodings of their texts, where they have any; by MiniLM unless an encoder is given."""
    if not dataset.columns(TEXT):
        return dataset.items
    texts = dataset.texts()
    return dataset.items.encoded(text=encode_texts(texts) if text_encoder is None else text_encoder.encode(texts))


def fill(folder: Path, model: TwoStage, dataset: Dataset, text_encoder: TextEncoder | None = None) -> None:
    """Writes the files of a bundle, see `bundle`, for a model that was fitted on all of a data set."""
    items = model.items
    saved.save(model, folder / "model.npz")
    write_items(items, folder)
    users = [str(one) for one in dataset.user_ids]
    (folder / "users.json").write_text(json.dumps(users, ensure_ascii=False), "utf-8")
    if "text" in items.encodings:
        export_text_encoder(text_encoder or TextEncoder.from_pretrained("minilm", progress=False), folder)


def dataset_of(bundle: Bundle) -> Dataset:
    """Returns what a bundle was fitted on, with ids as text and stars on one scale."""
    events, users, items = bundle.model().ranking.events, np.array(bundle.users()), bundle.items
    catalogue = items.catalogue.astype({"item_id": "str"})
    known = {"user_id": users[events["user"]], "item_id": catalogue["item_id"].to_numpy()[events["item"]]}
    log = events[["rating", "timestamp"]].assign(**known)
    name = bundle.manifest["provenance"]["name"]
    return Dataset.of(name, log, catalogue, roles=dict(items.roles), positive="rating>=4")


def described(dataset: Dataset) -> dict[str, Any]:
    """Says what a bundle is made of: the data set, its times and size, and checksums of data and code."""
    times = dataset.events()["timestamp"]
    tables = (table.to_csv(index=False) for table in (dataset.interactions, dataset.catalogue))
    root = Path(recfuse_lib.__file__).parent
    sources = ((path.relative_to(root).as_posix(), path) for path in sorted(root.rglob("*.py")))
    return {
        "name": dataset.name,
        "trained_from": int(times.min()),
        "trained_until": min(int(times.max()), int(time.time())),
        "people": dataset.n_users,
        "items": dataset.n_items,
        "interactions": len(dataset.interactions),
        "positives": str(dataset.positives),
        "text_encoder": f"{MINILM.description}; {MINILM.licence}" if dataset.columns(TEXT) else None,
        "recfuse_lib": recfuse_lib.__version__,
        "data": sha256(*tables),
        "code": sha256(*(part for pair in sources for part in pair)),
    }
