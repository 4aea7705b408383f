"""What starts the service in containers, run with stand-ins for the programs, and what its documents say of it."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from recfuse_lib.serving.events import EventStore
from recfuse_lib.serving.settings import Settings

ROOT = Path(__file__).parents[1]
FIT, ADOPT, SERVE = "recfuse fit", "python -m recfuse_lib.serving.retraining adopt", "recfuse serve"


def commands_of_compose() -> dict[str, str]:
    """The shell command of each service that states one."""
    text = (ROOT / "compose.yaml").read_text("utf-8")
    services = re.findall(r"^  (\w+):\n((?:    .*\n)+)", text, re.M)
    stated = {name: re.search(r"command: >\n((?:      .*\n)+)", body) for name, body in services}
    return {name: " ".join(one[1].split()).replace("$$", "$") for name, one in stated.items() if one}


def called(command: str, state: Path, failing: str = "no program") -> list[str]:
    """Runs a command whose programs are stand-ins that note how they were called; one of them fails."""
    programs, calls = state.parent / "programs", state.parent / "calls"
    programs.mkdir(exist_ok=True)
    calls.unlink(missing_ok=True)
    for name in ("recfuse", "python"):
        script = f'#!/bin/sh\necho "{name} $*" >> {calls}\ncase "{name} $*" in "{failing}"*) exit 1; esac\n'
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "RECFUSE_DATABASE": "sqlite:///events.db"}
    subprocess.run(shlex.split(command.replace("/state", str(state))), env=environment, check=False, timeout=20)
    return calls.read_text("utf-8").splitlines()


def programs_of(calls: list[str]) -> list[str]:
    return [next(name for name in (FIT, ADOPT, SERVE) if call.startswith(name)) for call in calls]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


def test_a_first_start_fits_adopts_and_serves_and_a_later_one_serves(state: Path) -> None:
    command = commands_of_compose()["recommender"]
    calls = called(command, state)
    assert programs_of(calls) == [FIT, ADOPT, SERVE]
    assert "--database sqlite:///events.db" in calls[1] and calls[2].endswith(f"{state}/bundles")
    (state / "movielens").mkdir()
    (state / "movielens" / "manifest.json").touch()
    assert programs_of(called(command, state)) == [ADOPT, SERVE], "a model that was fitted is not fitted again"
    (state / "bundles").mkdir()
    (state / "bundles" / "current").touch()
    assert programs_of(called(command, state)) == [SERVE]


@pytest.mark.parametrize("failing", [FIT, ADOPT])
def test_nothing_is_served_after_a_failure(state: Path, failing: str) -> None:
    assert programs_of(called(commands_of_compose()["recommender"], state, failing))[-1] == failing


def test_the_image_alone_fits_once_and_serves_what_it_is_told(state: Path) -> None:
    start = re.search(r'^CMD \["sh", "-c", "(.*)"\]$', (ROOT / "Dockerfile").read_text("utf-8"), re.M)
    assert start
    command = shlex.join(["sh", "-c", start[1]])
    assert programs_of(called(command, state)) == [FIT, SERVE]
    (state / "movielens").mkdir()
    (state / "movielens" / "manifest.json").touch()
    assert programs_of(called(command, state)) == [SERVE]


def test_a_password_may_hold_any_character() -> None:
    """In an address, one of @ / # : would end it; PostgreSQL's clients read PGPASSWORD as it is."""
    text = (ROOT / "compose.yaml").read_text("utf-8")
    addresses = re.findall(r"RECFUSE_DATABASE: (.*)\n +PGPASSWORD: \$\{POSTGRES_PASSWORD\}\n", text)
    assert len(addresses) == text.count("RECFUSE_DATABASE: ") and not any("$" in one for one in addresses)
    for one in addresses:
        EventStore(one).close()


def test_every_setting_is_described_and_nothing_else_is_called_one() -> None:
    page = (ROOT / "docs" / "serving.md").read_text("utf-8")
    settings = {f"RECFUSE_{field.upper()}" for field in Settings.model_fields}
    described = set(re.findall(r"RECFUSE_[A-Z_]+", "\n".join(re.findall(r"^\| (`RECFUSE_.*?) \|", page, re.M))))
    assert described == settings
    for name in ("docs/serving.md", "compose.yaml", "Dockerfile"):
        used = set(re.findall(r"RECFUSE_[A-Z_]+", (ROOT / name).read_text("utf-8")))
        assert used <= settings | {"RECFUSE_CACHE"}, name
