"""Committed tables: what each was made from, so that a test can tell when one no longer belongs to the code.

A script that makes tables declares them in ``TABLES`` and has a function ``repeat(table)`` that makes a row of one
again. :func:`write` puts the table into ``docs/`` and, into ``docs/tables.json``, the command, the settings, the
versions and a digest of the settings, the data and the declared code. ``tests/test_tables.py`` compares the digests
with the tree; ``python benchmarks/repeat.py`` makes one row of each table again and compares it with the committed.
"""

import ast
import datetime
import importlib.metadata
import json
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from course.lessons import definitions_in
from recfuse_lib.pretrained import store

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENTS = REPOSITORY / "docs"
MANIFEST = DOCUMENTS / "tables.json"
PACKAGES = ("tensorflow", "keras", "numpy", "scipy")


@dataclass(frozen=True)
class Table:
    """A table in ``docs/`` and what it is made from.

    Attributes:
        path: The CSV file, relative to ``docs/``.
        command: What makes the whole table, from the repository's root; its scripts count as code.
        settings: What a reader must know to make it again: sizes, seeds, grids.
        data: Files or folders under ``data/`` that it is computed from.
        code: Files or folders of ``recfuse_lib`` whose behaviour the figures depend on; of a notebook, what it defines.
        keys: The columns that name a row.
        tolerance: Column → largest absolute difference between a row that is made again and the committed one. Other
            processors round otherwise, so a trained model needs the spread of its seeds. What one training cannot give,
            such as seconds or a mean over several seeds, is left out.
    """

    path: str
    command: str
    settings: Mapping[str, Any]
    data: tuple[str, ...]
    code: tuple[str, ...]
    keys: tuple[str, ...]
    tolerance: Mapping[str, float] = field(default_factory=dict)


def parts(names: tuple[str, ...], asked: list[str]) -> Iterator[str]:
    """Yield the parts of a script that are asked for, all if none is, and say what each took.

    Raises:
        SystemExit: If the script has no such part; nothing was made then.
    """
    if unknown := set(asked) - set(names):
        raise SystemExit(f"{unknown.pop()} is no table of this script; see its first lines")
    for part in asked or names:
        begun = time.process_time()
        yield part
        print(f"{part}: {time.process_time() - begun:.0f} processor seconds", flush=True)


def write(table: Table, frame: pd.DataFrame) -> None:
    """Replace a table and its entry in the manifest.

    Args:
        table: What the table is made from.
        frame: Its rows; the columns of ``table.keys`` name each of them once.

    Raises:
        ValueError: If two rows have the same keys.
    """
    if frame.duplicated(list(table.keys)).any():
        raise ValueError(f"{table.path}: two rows have the same {', '.join(table.keys)}")
    path = DOCUMENTS / table.path
    store.write(path, frame.to_csv(index=False, float_format="%.5f", lineterminator="\n"))
    stamp(table)
    print(f"written: docs/{table.path}")


def stamp(table: Table) -> None:
    """Record that the committed table belongs to the tree as it is now."""
    entries = json.loads(MANIFEST.read_text("utf-8")) if MANIFEST.exists() else {}
    entries[table.path] = {
        "command": table.command,
        "settings": dict(table.settings),
        "data": list(table.data),
        "code": list(table.code),
        "digests": digests(table.command, table.settings, table.data, table.code),
        "sha256": store.sha256(DOCUMENTS / table.path),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "date": datetime.date.today().isoformat(),
    }
    store.write(MANIFEST, json.dumps(dict(sorted(entries.items())), indent=1, ensure_ascii=False) + "\n")


def digests(command: str, settings: Mapping[str, Any], data: tuple[str, ...], code: tuple[str, ...]) -> dict[str, str]:
    """Return one digest each of the settings, the data and the code, as the tree has them now.

    Code counts without its comments, docstrings and layout: only what runs can change a figure.

    Raises:
        FileNotFoundError: If a declared file is not there.
    """
    scripts = [word for word in command.split() if word.endswith(".py")]
    sources = [path for name in (*scripts, *code) for path in _files(REPOSITORY / name, ".py")]
    return {
        "settings": _digest(json.dumps(settings, sort_keys=True).encode()),
        "data": _digest(*(path.read_bytes() for name in data for path in _files(REPOSITORY / "data" / name, ""))),
        "code": _digest(*(_what_runs(path).encode() for path in sources)),
    }


def stale(path: str, entry: Mapping[str, Any]) -> list[str]:
    """Say what of a table's entry no longer agrees with the tree.

    Args:
        path: The table, relative to ``docs/``.
        entry: Its entry in the manifest.
    """
    now = digests(entry["command"], entry["settings"], tuple(entry["data"]), tuple(entry["code"]))
    changed = [name for name in now if now[name] != entry["digests"][name]]
    if store.sha256(DOCUMENTS / path) != entry["sha256"]:
        changed.append("the table itself")
    return changed


def differences(table: Table, again: pd.DataFrame) -> list[str]:
    """Compare rows that were made again with the committed ones; one line for each that is too far away.

    Columns that were not made again are not compared; a cell may be empty only where the committed one is.

    Raises:
        ValueError: None of the columns that have a tolerance was made again.
    """
    committed = pd.read_csv(DOCUMENTS / table.path).set_index(list(table.keys))
    compared = {name: most for name, most in table.tolerance.items() if name in again}
    if not compared:
        raise ValueError(f"{table.path}: made again were {', '.join(again)}, and none of these has a tolerance")
    lines = []
    for keys, row in again.set_index(list(table.keys)).iterrows():
        for column, most in compared.items():
            before, now = float(committed.loc[keys, column]), float(row[column])
            if np.isnan(before) and np.isnan(now):
                continue
            verdict = "" if abs(now - before) <= most else "too far: "
            line = f"{verdict}{keys} {column}: {now:.5f}, committed {before:.5f}, tolerance {most:g}"
            print(f"    {line}")
            lines += [line] if verdict else []
    return lines


def _files(path: Path, suffix: str) -> list[Path]:
    if path.is_file():
        return [path]
    files = sorted(file for file in path.rglob(f"*{suffix}") if file.is_file() and "__pycache__" not in file.parts)
    if not files:
        raise FileNotFoundError(f"{path.relative_to(REPOSITORY)} is declared by a table but is not there")
    return files


def _what_runs(path: Path) -> str:
    tree = definitions_in(path) if path.suffix == ".ipynb" else ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            # Docstrings, and the strings that describe a constant.
            kept = [part for part in body if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _digest(*parts: bytes) -> str:
    return store.sha256(*(bytes.fromhex(store.sha256(part)) for part in parts))[:16]
