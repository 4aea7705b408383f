"""What a lesson writes out can be taken from it, and nothing else of the lesson runs."""

import json
from pathlib import Path

import pytest

from course import lessons


def test_definitions_are_taken_and_nothing_else_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [
        "%matplotlib inline\nfrom dataclasses import dataclass\nSEEDS = (0, 1)\nlearned = 1 / 0",
        "@dataclass(frozen=True)\nclass Pair:\n    first: int\n\n\ndef pairs():\n    return [Pair(s) for s in SEEDS]",
        "raise SystemExit",
    ]
    code = [{"cell_type": "code", "source": [cell]} for cell in cells]
    (tmp_path / "98_two.ipynb").write_text(
        json.dumps({"cells": [{"cell_type": "markdown", "source": ["x = 1"]}, *code]})
    )
    monkeypatch.setattr(lessons, "NOTEBOOKS", tmp_path)
    two = lessons.definitions("98_two")
    assert [pair.first for pair in two.pairs()] == [0, 1] and not hasattr(two, "learned")
    with pytest.raises(FileNotFoundError):
        lessons.definitions("97_none")
