"""Files and folders are replaced whole or not at all, whatever happens meanwhile."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from recfuse_lib.pretrained import store


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_error_leaves_the_file_before_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "one.txt"
    store.write(path, "before")
    with pytest.raises(RuntimeError), store.replacing(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_text() == "before" and names(path.parent) == ["one.txt"]


def test_what_a_killed_writer_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    old, new = tmp_path / ".[1].txt.7-7.partial", tmp_path / ".[1].txt.8-8.partial"
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (time.time() - 7200,) * 2)
    store.write(tmp_path / "[1].txt", "whole")
    assert names(tmp_path) == sorted([new.name, "[1].txt"])


def test_a_folder_that_was_moved_away_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, target = tmp_path / "made", tmp_path / "model"
    for folder, content in ((target, "old"), (made, "new")):
        folder.mkdir()
        (folder / "file").write_text(content)
    rename = Path.rename

    def killed(path: Path, to: Path) -> Path:
        if path == made:
            raise KeyboardInterrupt
        return rename(path, to)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "rename", killed)
        store.replace_folder(made, target)
    assert not target.exists()
    store.recover_folder(target)
    assert (target / "file").read_text() == "old"
    store.replace_folder(made, target)
    assert (target / "file").read_text() == "new" and names(tmp_path) == ["model"]


def test_a_checksum_is_of_the_parts_in_their_order(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"cd")
    whole = store.sha256(b"abcdef")
    assert whole == store.sha256("ab", file, np.frombuffer(b"ef", "uint8")) != store.sha256(file, "ab", "ef")
    assert store.sha256(np.zeros((0, 2))) == store.sha256()
    assert store.sha256(np.arange(6).reshape(2, 3).T) == store.sha256(np.arange(6).reshape(2, 3).T.tobytes())
