"""Committed tables belong to the code, the data and the settings that they were made with."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import figures  # noqa: E402
import tables  # noqa: E402

ENTRIES = json.loads(tables.MANIFEST.read_text("utf-8")) if tables.MANIFEST.exists() else {}
EXAMPLE = tables.Table(
    "example.csv",
    "python benchmarks/example.py",
    {"seeds": [0]},
    ("example",),
    ("recfuse_lib/example.py",),
    ("model",),
    {"ndcg": 0.01},
)


@pytest.mark.parametrize("path", ENTRIES)
def test_a_table_belongs_to_the_tree(path: str) -> None:
    changed = tables.stale(path, ENTRIES[path])
    assert not changed, (
        f"docs/{path}: {', '.join(changed)} changed since the table was made. If no figure should move: "
        f"python benchmarks/repeat.py docs/{path} --stamp; otherwise {ENTRIES[path]['command']}"
    )


UNDECLARED = {"timings.csv", "leaderboard/scorings.csv"}


def test_every_table_is_declared() -> None:
    known = {*ENTRIES, *UNDECLARED}
    committed = {str(path.relative_to(tables.DOCUMENTS)) for path in tables.DOCUMENTS.rglob("*.csv")}
    assert committed == known


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a script, a library file, data and the table made from them."""
    for name, text in {
        "benchmarks/example.py": "SEEDS = [0]\n",
        "recfuse_lib/example.py": 'def gain(x):\n    """Doubles."""\n    return 2 * x\n',
        "data/example/log.csv": "1,2\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(tables, "REPOSITORY", tmp_path)
    monkeypatch.setattr(tables, "DOCUMENTS", tmp_path / "docs")
    monkeypatch.setattr(tables, "MANIFEST", tmp_path / "docs" / "tables.json")
    tables.write(EXAMPLE, pd.DataFrame({"model": ["EASE", "kNN"], "ndcg": [0.25, 0.125]}))
    return tmp_path


def stale_parts() -> list[str]:
    return tables.stale("example.csv", json.loads(tables.MANIFEST.read_text())["example.csv"])


@pytest.mark.parametrize(
    ("file", "text", "part"),
    [
        ("benchmarks/example.py", "SEEDS = [1]\n", "code"),
        ("recfuse_lib/example.py", "def gain(x):\n    return 3 * x\n", "code"),
        ("data/example/log.csv", "1,3\n", "data"),
        ("docs/example.csv", "model,ndcg\nEASE,0.9\nkNN,0.1\n", "the table itself"),
    ],
)
def test_what_changes_a_figure_makes_the_table_stale(example: Path, file: str, text: str, part: str) -> None:
    assert stale_parts() == []
    (example / file).write_text(text)
    assert stale_parts() == [part]


def test_a_comment_and_a_docstring_change_no_figure(example: Path) -> None:
    (example / "recfuse_lib/example.py").write_text(
        '"""New."""\n# Why.\ndef gain(x):\n    """Returns twice x."""\n    return (2 * x)\n'
    )
    assert stale_parts() == []


def test_a_row_made_again_is_compared_within_its_tolerance(example: Path) -> None:
    near = pd.DataFrame({"model": ["EASE"], "ndcg": [0.255]})
    assert tables.differences(EXAMPLE, near) == []
    assert len(tables.differences(EXAMPLE, near.assign(ndcg=0.27))) == 1


def test_a_cell_is_empty_only_where_the_committed_one_is(example: Path) -> None:
    again = pd.DataFrame({"model": ["EASE"], "ndcg": [float("nan")]})
    assert len(tables.differences(EXAMPLE, again)) == 1
    (example / "docs" / "example.csv").write_text("model,ndcg\nEASE,\n")
    assert tables.differences(EXAMPLE, again) == []


def test_something_must_have_been_made_again(example: Path) -> None:
    with pytest.raises(ValueError, match="none of these has a tolerance"):
        tables.differences(EXAMPLE, pd.DataFrame({"model": ["EASE"], "seconds": [1.0]}))


def test_a_row_has_one_name(example: Path) -> None:
    with pytest.raises(ValueError, match="two rows"):
        tables.write(EXAMPLE, pd.DataFrame({"model": ["EASE", "EASE"], "ndcg": [0.2, 0.3]}))
    assert "0.12500" in (example / "docs" / "example.csv").read_text()


# ------------------------------------------------------------------------------------ all of them, by one command


def test_one_command_makes_every_table_and_continues_after_an_interruption(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept = tmp_path / "deep_tower" / "0 old.npz"
    kept.parent.mkdir()
    kept.touch()
    monkeypatch.setattr(figures, "BUILD", tmp_path)
    monkeypatch.setattr(figures, "PROGRESS", tmp_path / "figures")
    ran: list[str] = []

    def run(words: list[str], env: dict[str, str], **_: object) -> None:
        ran.append(" ".join(words[1:]))
        if len(ran) == 5:
            raise subprocess.CalledProcessError(1, words)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(subprocess.CalledProcessError):
        figures.main()
    assert not kept.exists(), "a training of older code would pass for one of this tree"
    figures.main()
    assert ran[4] == ran[5] and len(ran) == len(figures.STEPS) + 1, "only what failed runs twice"
    made = {word for words in ran for word in words.split() if word.endswith(".py")}
    made_by = {word for entry in ENTRIES.values() for word in entry["command"].split() if word.endswith(".py")}
    assert made_by <= made
    assert not figures.PROGRESS.exists(), "the next run starts anew"


def test_the_parts_of_a_script_are_made_as_asked(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("lists", "weeks")
    assert [*tables.parts(names, [])] == ["lists", "weeks"] and [*tables.parts(names, ["weeks"])] == ["weeks"]
    assert capsys.readouterr().out.count("processor seconds") == 3
    with pytest.raises(SystemExit, match="years is no table"):
        next(tables.parts(names, ["weeks", "years"]))
