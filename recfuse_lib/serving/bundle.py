"""A bundle: one folder with a fitted system and all that a service needs, written whole or not at all; no pickle.

    manifest.json        format, version, metrics, provenance, size and sha256 of every other file
    model.npz            the fitted `TwoStage` model: gates, closed forms, vectors, and the history that it knows
    catalogue.parquet    one item a row, in the order of item codes; roles.json says what each column is
    encodings.npz        raw encodings of the items, by dimension
    words.npz            what wishes are read by: names, labels and words with the items that have them
    users.json           one id a person, in the order of person codes
    text_encoder.onnx    and tokenizer.json, where there are texts
Taught in notebook 18.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import pandas as pd

from recfuse_lib.data.faults import DataError
from recfuse_lib.data.items import Items
from recfuse_lib.models import array_file, saved
from recfuse_lib.models.two_stage import TwoStage
from recfuse_lib.pretrained.store import sha256, sync
from recfuse_lib.stated.gazetteer import Gazetteer

FORMAT = 3  # incremented when earlier bundles can no longer be read
BUILD_AGAIN = "build it again: recfuse fit … --out"
HOURS_OF_A_WRITER = 6
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class BundleError(DataError):
    """A bundle cannot be written or read. The message says which file, what is wrong with it, and what to do."""


@dataclasses.dataclass(frozen=True, eq=False)
class Bundle:
    """A verified bundle: its folder and manifest."""

    folder: Path
    manifest: Mapping[str, Any]

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Loads the manifest and compares every file with it; raises BundleError where one differs."""
        folder = Path(folder)
        manifest = manifest_of(folder)
        there = {path.relative_to(folder).as_posix() for path in _files(folder)} - {"manifest.json"}
        for name, expected in manifest["files"].items():
            if name not in there:
                raise BundleError(f"{folder.name}: {name} is missing; {BUILD_AGAIN}")
            if _described(folder / name) != expected:
                raise BundleError(f"{folder.name}: {name} is not what was written; {BUILD_AGAIN}")
        if extra := sorted(there - set(manifest["files"])):
            raise BundleError(f"{folder.name}: {extra[0]} is no part of this bundle; remove it, or {BUILD_AGAIN}")
        return cls(folder, manifest)

    @property
    def version(self) -> str:
        """Name of the bundle in its store."""
        return str(self.manifest["version"])

    @functools.cached_property
    def items(self) -> Items:
        """Catalogue, roles and encodings of the items."""
        roles = json.loads((self.folder / "roles.json").read_text("utf-8"))
        catalogue = pd.read_parquet(self.folder / "catalogue.parquet")
        items = Items(catalogue=catalogue, roles=roles, encodings=array_file.read(self.folder / "encodings.npz"))
        if (words := self.folder / "words.npz").exists():
            Gazetteer.of(items, array_file.read(words))
        return items

    def model(self) -> TwoStage:
        """Loads the fitted system; raises BundleError where it does not belong to the items."""
        try:
            model: TwoStage = saved.load(self.folder / "model.npz", self.items)
        except DataError as error:
            raise BundleError(f"{self.folder.name}: {error}") from error
        return model

    def users(self) -> list[str]:
        """Loads the ids of the people that the model knows, in the order of their codes."""
        return list(json.loads((self.folder / "users.json").read_text("utf-8")))

    @property
    def text_encoder(self) -> Path | None:
        """ONNX file of the text encoder, where there is one."""
        return path if (path := self.folder / "text_encoder.onnx").exists() else None


def write_items(items: Items, folder: Path) -> None:
    """Writes the files of the items."""
    items.catalogue.to_parquet(folder / "catalogue.parquet")
    (folder / "roles.json").write_text(json.dumps(dict(items.roles)), "utf-8")
    for name, arrays in (("encodings", items.encodings), ("words", Gazetteer.of(items).arrays())):
        with (folder / f"{name}.npz").open("wb") as file:
            array_file.write(file, arrays)


def seal(folder: Path, version: str, metrics: Mapping[str, Any], provenance: Mapping[str, Any]) -> Bundle:
    """Writes the manifest of all files in a folder, and waits until they are on the disk."""
    content = {
        "format": FORMAT,
        "version": version,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "metrics": dict(metrics),
        "provenance": dict(provenance),
        "files": {path.relative_to(folder).as_posix(): _described(path) for path in sorted(_files(folder))},
    }
    manifest = {**content, "digest": _digest(content)}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    for path in (*folder.rglob("*"), folder):
        sync(path)
    return Bundle(folder, content)


def write_bundle(
    store: Path | str, version: str, fill: Callable[[Path], Any], metrics: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> Bundle:  # fmt: skip
    """Writes a bundle into a hidden folder, flushes it to disk, then renames the folder to `store / version`. `fill`
    writes the files into the folder that it is given. Metrics and provenance are JSON.

    Raises:
        BundleError: The version exists, its name is invalid, or the disk is full.
    """
    store = Path(store)
    if not VERSION.fullmatch(version):
        raise BundleError(f"version {version!r} is no folder name; use letters, digits, '.', '-' and '_'")
    if (target := store / version).exists():
        raise BundleError(f"{target} is there already; a version never changes: choose another name")
    store.mkdir(parents=True, exist_ok=True)
    for left in store.glob(".*.partial"):
        if time.time() - left.stat().st_mtime > 3600 * HOURS_OF_A_WRITER:
            shutil.rmtree(left, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f".{version}.", suffix=".partial", dir=store))
    try:
        fill(work)
        sealed = seal(work, version, metrics, provenance)
        work.chmod(0o755)
        work.rename(target)
        sync(store)
    except OSError as error:
        raise BundleError(f"{target} cannot be written ({error.strerror or error}); nothing was left there") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Bundle(target, sealed.manifest)


def manifest_of(folder: Path) -> dict[str, Any]:
    """Reads the manifest of a bundle, without comparing its files; raises BundleError where it cannot be used."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{folder} is no bundle: it has no manifest.json; {BUILD_AGAIN}") from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{folder.name}: manifest.json cannot be read ({error}); {BUILD_AGAIN}") from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if not isinstance(found, int) or found < FORMAT:
        raise BundleError(f"{folder.name} is of format {found!r}, this service reads {FORMAT}; {BUILD_AGAIN}")
    if found > FORMAT:
        raise BundleError(f"{folder.name} is of format {found}, this service reads {FORMAT}: install a newer RecFuse")
    content = {key: value for key, value in manifest.items() if key != "digest"}
    if manifest.get("digest") != _digest(content) or not isinstance(manifest.get("files"), dict):
        raise BundleError(f"{folder.name}: manifest.json is not what was written; {BUILD_AGAIN}")
    return content


def _digest(content: Mapping[str, Any]) -> str:
    return sha256(json.dumps(content, sort_keys=True))


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_symlink() or path.is_file())


def _described(path: Path) -> dict[str, Any]:
    if path.is_symlink():
        raise BundleError(f"{path} is a link; a bundle holds its files itself")
    return {"size": path.stat().st_size, "sha256": sha256(path)}
