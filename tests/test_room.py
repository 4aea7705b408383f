"""A room made ready: thirty simulated machines' lines in one table, and a folder that installs without a network."""

import datetime
import json
import os
import platform
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import course.room as room
import course.stick as stick
from course.environment import Finding

ROOT = Path(__file__).parents[1]
NOW = datetime.datetime(2026, 12, 1, 9, tzinfo=datetime.UTC)
OK = {"python": Finding("ok", "3.12.4 on Linux x86_64"), "tour": Finding("ok", "63 s, 2.9 GB")}
NO_WEIGHTS = {**OK, "weights": Finding("wrong", "smollm2 not in the cache", "run: make weights")}
BUSY = {**OK, "ports": Finding("note", "in use: 8888 (JupyterLab)", "end that program")}


def made(seat: int, findings=OK, *, when: str = "2026-12-01T08:00:00+00:00", **changes) -> str:
    """A simulated machine's line."""
    content = json.loads(room.line(f"seat {seat}", findings, f"{seat:06x}"))
    del content["sum"]
    content |= {"made": when, **changes}
    return json.dumps({**content, "sum": room._checksum(content)})


def collected(tmp_path: Path, *texts: str, expected: int = 0) -> tuple[str, bool]:
    for number, text in enumerate(texts):
        (tmp_path / f"{number:02}.txt").write_text(text, "utf-8")
    return room.collect([tmp_path], NOW, 3, expected)


def test_thirty_simulated_machines_in_one_table(tmp_path):
    lines = [made(seat) for seat in range(1, 24)]
    lines += [made(24, NO_WEIGHTS), made(25, BUSY), made(26, when="2026-11-20T08:00:00+00:00")]
    lines += [made(27, when="2027-01-01T08:00:00+00:00"), made(28, course="0.0.9"), made(29)[:150]]
    lines += [made(30).replace("3.1", "3.2"), "a greeting"]
    lines += [made(1, NO_WEIGHTS, when="2026-12-01T07:00:00+00:00")]  # before it was put right
    table, everybody = collected(tmp_path, "\n".join(lines[:20]), *lines[20:], expected=30)
    assert not everybody
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| seat")]
    state = {row[0].removeprefix("| "): row[1] for row in rows}
    assert len(rows) == 28 and list(state.values()).count("ready") == 24
    assert [row[1] for row in rows[:4]] == ["not ready", "old", "other course", "wrong clock"], "those to do come first"
    assert state["seat 24 (000018)"] == "not ready" and state["seat 26 (00001a)"] == "old"
    assert state["seat 1 (000001)"] == "ready", "the newest line counts"
    assert "weights: smollm2 not in the cache → run: make weights" in table
    assert "ports: in use: 8888 (JupyterLab) → end that program" in table, "a note is said, and does not hinder"
    assert "24 ready of 28 machines; 1 older lines of the same machines left out" in table
    assert "unreadable: 09.txt line 1: cut off: ask for the file room.txt itself" in table
    assert "10.txt line 1: altered" in table and "11.txt line 1: altered or no line" in table
    assert "2 of 30 machines sent no readable line" in table


def test_everybody_ready_is_said(tmp_path, monkeypatch, capsys):
    assert collected(tmp_path, made(1), "\ufeff" + made(2) + "\r\n\n", expected=2)[1]
    recent = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    (tmp_path / "00.txt").write_text(made(1, when=recent), "utf-8")
    assert room.main([str(tmp_path / "00.txt"), "--expect", "1"]) == 0
    assert room.main([str(tmp_path / "00.txt"), "--expect", "2"]) == 1
    assert "1 of 2 machines sent no readable line" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text", ["[]", "{}", "null", '{"sum": 1}', made(1, made=3), made(1, open="x"), made(1, when="x")]
)
def test_what_is_no_line_is_refused(text):
    with pytest.raises(ValueError, match="ask for the file"):
        room.read(text)


def test_a_name_cannot_break_the_table(tmp_path):
    table, _ = collected(tmp_path, made(1, name="a | b\n| c"))
    assert len([line for line in table.splitlines() if line.startswith("| a")]) == 1


def test_a_machine_keeps_its_number_and_tells_nothing_of_its_owner(tmp_path, monkeypatch, capsys):
    home = str(Path.home())
    checks = {"cache": lambda: Finding("note", f"{home}/.cache is full", f"free {home}"), "tour": lambda: OK["tour"]}
    monkeypatch.setattr(room, "LINE", tmp_path / "room.txt")
    monkeypatch.setattr(room, "CHECKS", checks)
    assert room.main([]) == 0
    first = (tmp_path / "room.txt").read_text("utf-8")
    assert first in capsys.readouterr().out
    assert home not in first and platform.node() not in first and "~/.cache is full" in first
    monkeypatch.setitem(checks, "tour", lambda: Finding("wrong", "the kernel died"))
    assert room.main(["--name", " seat   7 "]) == 1
    second = room.read((tmp_path / "room.txt").read_text("utf-8"))
    assert second["id"] == room.read(first)["id"] and second["name"] == "seat 7"


def test_the_machine_s_own_checks_see_ports_and_data(monkeypatch):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(room, "PORTS", {taken.getsockname()[1]: "a program"})
        assert room._check_ports().state == "note"
    assert room._check_ports().state == "ok"
    assert room._check_data().state in ("ok", "note") and room._check_disk().state in ("ok", "wrong")


# ------------------------------------------------------------------------------------------------- the folder


def wheel(folder: Path, name: str, version: str, tag: str = "py3-none-any", needs: tuple[str, ...] = ()) -> Path:
    path = folder / f"{name.replace('-', '_')}-{version}-{tag}.whl"
    information = path.name.removesuffix(f"-{tag}.whl") + ".dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {
        f"{name.replace('-', '_')}.py": f"version = {version!r}\n",
        f"{information}/METADATA": metadata + "".join(f"Requires-Dist: {need}\n" for need in needs),
        f"{information}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for inner, text in files.items():
            archive.writestr(inner, text)
        archive.writestr(f"{information}/RECORD", "".join(f"{inner},,\n" for inner in files))
    return path


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A small local index in place of the network's; the pins do not name what only a Mac needs."""
    (folder := tmp_path / "index").mkdir()
    course = (
        "speed==2.0",
        "old",
        "bell>=1; sys_platform == 'darwin'",
        "fur; python_version < '3.12'",
        "off; extra == 'never'",
    )
    wheel(folder, "base", "1.0", needs=course)
    wheel(folder, "base", "1.1")
    wheel(folder, "speed", "2.0", "cp312-cp312-manylinux_2_27_x86_64")
    wheel(folder, "speed", "2.0", "cp311-cp311-manylinux_2_27_x86_64")
    wheel(folder, "old", "1.0", "py3-none-manylinux1_x86_64")
    wheel(folder, "bell", "1.0", needs=("rope[long]",))
    wheel(folder, "rope", "3.0", needs=("silk; extra == 'long'",))
    for name in ("bell", "silk", "fur"):
        wheel(folder, name, "1.2")
    monkeypatch.setattr(stick, "PARALLEL", 1)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_wheels_are_collected_for_another_machine_and_what_is_missing_is_named(index, tmp_path):
    (folder := tmp_path / "wheels").mkdir()
    pins, asked = {"base": "1.0", "speed": "2.0"}, [Requirement("Base<2")]
    names = {}
    for target in (stick.Target("linux-x86_64", "3.12"), stick.Target("macos-arm64", "3.11")):
        wheels, missing = stick.collect(target, asked, pins, folder)
        names[target.platform] = sorted(path.name.partition("-py3-none-any")[0] for path in wheels), missing
    linux = ["base-1.0", "old-1.0-py3-none-manylinux1_x86_64.whl", "speed-2.0-cp312-cp312-manylinux_2_27_x86_64.whl"]
    assert names["linux-x86_64"] == (linux, [])
    # The newest bell is taken and not the one that needs a rope; neither old nor speed is there for a Mac.
    assert names["macos-arm64"] == (["base-1.0", "bell-1.2", "fur-1.2"], ["old", "speed==2.0"])


def test_the_folder_installs_with_nothing_else_and_refuses_an_altered_wheel(index, tmp_path, monkeypatch):
    """As on a stick: pip reads the page of links with checksums, its path has a space, and the index is gone."""
    (folder := tmp_path / "My Stick" / "wheels").mkdir(parents=True)
    stick.collect(stick.Target("linux-x86_64", "3.12"), [Requirement("silk"), Requirement("fur")], {}, folder)
    stick.finish(folder.parent, ["linux-x86_64"])
    sums = (folder.parent / "SHA256SUMS").read_text("utf-8").splitlines()
    assert [line.split("  ")[1] for line in sums] == [
        "CONTENTS.txt", "wheels/fur-1.2-py3-none-any.whl", "wheels/index.html", "wheels/silk-1.2-py3-none-any.whl",
    ]  # fmt: skip
    monkeypatch.setenv("PIP_FIND_LINKS", f"{folder.parent.as_uri()}/wheels/index.html")

    def install(name: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(tmp_path / "site"), name]
        return subprocess.run(command, capture_output=True, text=True)

    assert install("silk").returncode == 0 and (tmp_path / "site" / "silk.py").exists()
    wheel(folder, "fur", "1.2", needs=("silk",))
    refused = install("fur")
    assert refused.returncode and "DO NOT MATCH" in refused.stderr


def test_roots_are_what_make_lab_installs():
    project = {
        "build-system": {"requires": ["setuptools"]},
        "project": {
            "name": "course",
            "dependencies": ["a>=1"],
            "optional-dependencies": {"dev": ["course[serve]", "b"], "serve": ["c[fast]"], "other": ["d"]},
        },
    }
    assert sorted(map(str, stick.roots(project, "dev"))) == ["a>=1", "b", "c[fast]", "setuptools"]


def test_make_uses_the_folder_for_pip_and_only_when_it_is_named():
    def told(*arguments: str) -> dict[str, str]:
        given = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        shown = "show: ; @env"
        command = ["make", "--silent", "--file=Makefile", f"--eval={shown}", "show", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=True)
        lines = (line.partition("=") for line in done.stdout.splitlines())
        return {name: value for name, _, value in lines if name.startswith("PIP_")}

    assert told() == {}
    seen = told("STICK=http://10.0.0.7:8000")
    assert (seen["PIP_FIND_LINKS"], seen["PIP_NO_INDEX"]) == ("http://10.0.0.7:8000/wheels/index.html", "1")
    assert seen["PIP_TRUSTED_HOST"] == "10.0.0.7"
    assert told("STICK=file:///media/My%20Stick")["PIP_FIND_LINKS"] == "file:///media/My%20Stick/wheels/index.html"


def test_the_install_script_takes_the_course_from_its_own_folder(tmp_path):
    (folder := tmp_path / "My Stick").mkdir()
    (folder / "install.sh").write_bytes((ROOT / "course" / "stick" / "install.sh").read_bytes())
    (made := tmp_path / "recfuse").mkdir()
    (made / "Makefile").write_text("lab room:\n\t@echo $@ from $(STICK)\n", "utf-8")
    subprocess.run(["tar", "-czf", folder / "recfuse.tar.gz", "-C", tmp_path, "recfuse"], check=True)
    course = tmp_path / "home" / "course"
    given = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # as typed in a shell
    given |= {"COURSE": str(course), "HOME": str(tmp_path / "home")}

    def ran(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = ["sh", str(folder / "install.sh"), *arguments]
        return subprocess.run(command, env=given | more, capture_output=True, text=True)

    missing = ran(f"file://{tmp_path}/nowhere")
    assert missing.returncode == 1 and "is the folder whole" in missing.stderr
    first = ran()
    assert first.stdout.strip() == f"lab from {folder.as_uri()}", first.stderr
    (course / "mine.txt").write_text("kept", "utf-8")
    assert ran(ROOM="1").stdout.startswith("room from") and (course / "mine.txt").exists()


# -------------------------------------------------------------------------------------------------- the image


def test_the_image_of_the_lab_has_the_service_s_python_the_pins_and_no_root_user():
    lab, service = ((ROOT / name).read_text("utf-8") for name in (".binder/Dockerfile", "Dockerfile"))
    steps = [line.split(maxsplit=1) for line in lab.replace("\\\n", " ").splitlines() if line[:1] not in ("", "#")]
    assert f"\n{' '.join(steps[0])}\n" in service and steps[0][0] == "FROM"
    assert Requirement(f"python{supported_pythons()}").specifier.contains(steps[0][1].split(":")[1].partition("-")[0])
    kinds = [kind for kind, _ in steps]
    assert {"FROM", "ARG", "ENV", "RUN", "WORKDIR", "COPY", "USER", "EXPOSE", "CMD"} >= set(kinds)
    assert "--constraint constraints.txt" in lab and "ENTRYPOINT" not in kinds, "Binder starts Jupyter by itself"
    assert [text for kind, text in steps if kind == "USER"] == ["${NB_UID}"], "never root again"
    after = kinds.index("USER")
    assert "recfuse_lib.pretrained minilm smollm2" in steps[after + 1][1], "the weights are the user's own"
    assert "ml-100k" not in " ".join(text for _, text in steps), "it may not be passed on"
    command = json.loads(steps[-1][1])
    assert (ROOT / command[-1].partition("/lab/tree/")[2]).exists()
    (jupyter,) = [text.split()[0].partition("=")[2] for kind, text in steps if "JUPYTER_CONFIG_PATH" in text]
    assert (ROOT / jupyter.removeprefix("${HOME}/")).is_dir()


def supported_pythons() -> str:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"]
