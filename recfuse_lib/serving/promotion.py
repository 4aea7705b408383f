"""Decides which bundle serves, and records every decision.

A bundle store holds a folder for each version, `current` (the champion's version, replaced atomically, so that a reader
finds the old or the new one) and `decisions.jsonl` (oldest first, each on disk before it takes effect).
Taught in notebook 19.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock

from recfuse_lib.data.faults import DataError
from recfuse_lib.pretrained.store import sync, write
from recfuse_lib.serving.bundle import VERSION

Figures = Mapping[str, Any]
CURRENT, DECISIONS = "current", "decisions.jsonl"


class PromotionError(DataError):
    """A bundle that cannot be promoted or removed. The message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Decision:
    """A line of `decisions.jsonl`: "promote", "refuse", "keep" (no challenger), "trial", "roll-back" or "remove"; the
    champion before it, and the figures that are its grounds.
    """

    action: str
    version: str
    champion: str | None
    reason: str
    figures: Mapping[str, Any]
    timestamp: int


def current(store: Path | str) -> str | None:
    """Returns the version of the champion; None before the first promotion."""
    try:
        version = (Path(store) / CURRENT).read_text("utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise PromotionError(f"{Path(store) / CURRENT} cannot be read ({error}); promote a version again") from error
    if not VERSION.fullmatch(version):
        raise PromotionError(f"{Path(store) / CURRENT} holds {version!r}, which names no version; promote one again")
    return version


def serving(store: Path | str) -> Path | None:
    """Finds the bundle that serves: the champion of a store, or the folder itself where that is a bundle."""
    store = Path(store)
    if (store / "manifest.json").exists():
        return store
    version = current(store)
    return store / version if version else None


def served_before(store: Path | str) -> list[Path]:
    """Finds the bundles that were ever champion and are still there, newest first; none if decisions are damaged."""
    champions: list[str] = []
    with contextlib.suppress(PromotionError):
        champions = [one.version for one in decisions(store) if one.action in ("promote", "roll-back")]
    return [Path(store) / version for version in dict.fromkeys(champions[::-1]) if (Path(store) / version).is_dir()]


def decisions(store: Path | str) -> list[Decision]:
    """Returns all decisions, oldest first; raises PromotionError where they cannot be read."""
    try:
        content = (Path(store) / DECISIONS).read_bytes()
        # What follows the last line break was being written when a process was killed: it never took effect.
        return [Decision(**json.loads(line)) for line in content.split(b"\n")[:-1]]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, OSError) as error:
        raise PromotionError(f"{DECISIONS} cannot be read ({type(error).__name__}); repair it or move it") from error


def promote(store: Path | str, version: str, reason: str, figures: Figures | None = None) -> Decision:
    """Makes a bundle the champion: records it, then replaces one file. If killed, the old or the new one serves."""
    with _locked(store) as folder:
        return _switch(folder, "promote", version, reason, figures)


def begin_trial(store: Path | str, version: str, share: float = 0.5, reason: str = "asked for") -> Decision:
    """Begins to answer a share of the people from a bundle beside the champion; it replaces a trial under way."""
    with _locked(store) as folder:
        _check(folder, version)
        if (champion := current(folder)) in (None, version):
            raise PromotionError(f"{champion or 'nothing'} serves; a trial needs a champion and another version")
        return _record(folder, "trial", version, reason, {"share": share})


def trial(store: Path | str) -> Decision | None:
    """Finds the trial under way: its bundle is there, and nothing was promoted or rolled back since it began."""
    changes = [one for one in decisions(store) if one.action in ("trial", "promote", "roll-back")]
    there = bool(changes) and (Path(store) / changes[-1].version).is_dir()
    return changes[-1] if there and changes[-1].action == "trial" else None


def roll_back(store: Path | str, reason: str = "asked for", figures: Figures | None = None) -> Decision:
    """Ends the trial under way; where there is none, restores the bundle that served before the champion. Repeated, the
    one before that.
    """
    with _locked(store) as folder:
        champion = current(folder)
        if champion is not None and trial(folder):
            return _switch(folder, "roll-back", champion, reason, figures)
        promotions = [one for one in decisions(folder) if one.action == "promote" and one.version == champion]
        before = promotions[-1].champion if promotions else None
        if before is None:
            raise PromotionError(f"nothing served before {champion}; there is nothing to roll back to")
        return _switch(folder, "roll-back", before, reason, figures)


def keep(store: Path | str, reason: str, figures: Figures | None = None) -> Decision:
    """Records that the champion continues and nothing was trained."""
    with _locked(store) as folder:
        if (champion := current(folder)) is None:
            raise PromotionError(f"there is no champion in {store}; promote one first")
        return _record(folder, "keep", champion, reason, figures)


def discard(
    store: Path | str, version: str, reason: str, figures: Figures | None = None, action: str = "refuse"
) -> Decision:
    """Records why a bundle that is not the champion is refused (or, as `action`, "remove"), and deletes it."""
    with _locked(store) as folder:
        _check(folder, version)
        if version == current(folder):
            raise PromotionError(f"{version} is the champion; promote another one first")
        decision = _record(folder, action, version, reason, figures)
        # Renamed first: half a bundle under its own name would look like a whole one.
        gone = (folder / version).rename(folder / f".gone-{version}")
        sync(folder)
        shutil.rmtree(gone)
        return decision


def versions(store: Path | str) -> list[str]:
    """Lists the versions in a store, by name."""
    return sorted(folder.name for folder in Path(store).glob("*") if folder.is_dir() and VERSION.fullmatch(folder.name))


def _switch(store: Path, action: str, version: str, reason: str, figures: Figures | None) -> Decision:
    _check(store, version)
    decision = _record(store, action, version, reason, figures)
    write(store / CURRENT, f"{version}\n")
    return decision


def _record(store: Path, action: str, version: str, reason: str, figures: Figures | None) -> Decision:
    champion = None
    with contextlib.suppress(PromotionError):  # a promotion mends a damaged pointer
        champion = current(store)
    decision = Decision(action, version, champion, reason, dict(figures or {}), int(time.time()))
    line = json.dumps(dataclasses.asdict(decision), ensure_ascii=False, allow_nan=False) + "\n"
    with (store / DECISIONS).open("ab+") as file:
        file.seek(0)
        # A line without its end was cut by a kill; the next one would be glued to it.
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())
    sync(store)
    return decision


def _check(store: Path, version: str) -> None:
    if not VERSION.fullmatch(version) or not (store / version).is_dir():
        there = ", ".join(versions(store)) or "none"
        raise PromotionError(f"there is no bundle {version!r} in {store}; there are {there}")


@contextlib.contextmanager
def _locked(store: Path | str) -> Iterator[Path]:
    store = Path(store)
    store.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(store / ".lock"):
        for left in store.glob(".gone-*"):
            shutil.rmtree(left)
        yield store
