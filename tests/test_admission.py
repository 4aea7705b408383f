"""The rule of admission: a definition enters the library when a second lesson, the service or the command needs it."""

import json
from pathlib import Path

import pytest
from admission import unadmitted

ROOT = Path(__file__).parents[1]
MOST, MOST_LINES = 1, 7
"""What only one lesson needs today: the likelihoods that come with lesson 03. It may become less."""


def test_what_only_one_lesson_needs_becomes_less() -> None:
    found = unadmitted(ROOT)
    print(f"{len(found)} definitions with {sum(found.values()):,} lines serve one lesson or a script alone")
    assert len(found) <= MOST and sum(found.values()) <= MOST_LINES, sorted(found)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A library of three functions, two lessons that use one of them, and a command that uses another."""
    files = {
        "recfuse_lib/models/mean.py": "def total(x):\n    return sum(x)\n\n\ndef mean(x):\n    return total(x) / len(x)\n",
        "recfuse_lib/command/say.py": "from recfuse_lib.models.shown import shown\n\n\ndef say(x):\n    print(shown(x))\n",
        "recfuse_lib/models/shown.py": "def shown(x):\n    return str(x)\n",
    }
    for name, text in files.items():
        write(tmp_path, name, text)
    for lesson in ("01", "02"):
        write_lesson(tmp_path, lesson, "from recfuse_lib.models import mean\nprint(mean.mean([1]))")
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def write_lesson(root: Path, name: str, code: str) -> None:
    write(root, f"notebooks/{name}.ipynb", json.dumps({"cells": [{"cell_type": "code", "source": [code]}]}))


def test_what_two_lessons_or_the_command_need_is_admitted_with_all_that_it_needs(house: Path) -> None:
    assert unadmitted(house) == {}


def test_a_definition_that_nobody_needs_is_found(house: Path) -> None:
    write(house, "recfuse_lib/models/planted.py", "def planted():\n    return 1\n")
    assert unadmitted(house) == {("recfuse_lib.models.planted", "planted"): 2}
    write_lesson(house, "03", "from recfuse_lib.models.planted import planted\nplanted()")
    assert list(unadmitted(house)) == [("recfuse_lib.models.planted", "planted")], "one lesson is not enough"


def test_what_a_package_passes_on_is_used_where_it_is_defined(house: Path) -> None:
    write(house, "recfuse_lib/models/planted.py", "def planted():\n    return 1\n")
    write(house, "recfuse_lib/models/__init__.py", "from recfuse_lib.models.planted import planted\n")
    for lesson in ("03", "04"):
        assert list(unadmitted(house)) == [("recfuse_lib.models.planted", "planted")]
        write_lesson(house, lesson, "from recfuse_lib import models\nmodels.planted()")
    assert unadmitted(house) == {}


def test_an_import_that_no_result_needs_is_no_second_use(house: Path) -> None:
    write(house, "recfuse_lib/models/planted.py", "def planted():\n    return 1\n")
    write_lesson(house, "03", "from recfuse_lib.models.planted import planted\nplanted()")
    write_lesson(house, "04", "from recfuse_lib.models.planted import planted")
    assert list(unadmitted(house)) == [("recfuse_lib.models.planted", "planted")]
    write_lesson(house, "04", "from recfuse_lib.models.planted import planted\nplanted()")
    assert unadmitted(house) == {}
