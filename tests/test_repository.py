"""The repository itself: what must be there, what must not, and what must agree."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

REQUIRED = [
    "README.md", "CONTRIBUTING.md", "LICENSE", "LICENSE-CONTENT", "CITATION.cff", "Makefile", ".ci/run",
    "pyproject.toml", "constraints.txt", "environment.yml", ".github/ISSUE_TEMPLATE/bug.yml",
    "data/movielens/README.md", "docs/images/system.svg",
]  # fmt: skip


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def tracked_texts() -> list[tuple[str, str]]:
    texts = []
    for path in tracked_files():
        try:
            texts.append((str(path.relative_to(ROOT)), path.read_text("utf-8")))
        except UnicodeDecodeError:
            continue
    return texts


@pytest.mark.parametrize("name", REQUIRED)
def test_required_file_is_there(name: str) -> None:
    assert (ROOT / name).exists()


def test_no_package_index_is_named() -> None:
    """The index is the reader's own choice: pip's settings decide."""
    pattern = re.compile(r"(?:extra-)?index-" + "url|--find-" + "links|/simple" + r"/\S")
    assert [name for name, text in tracked_texts() if pattern.search(text)] == []


def test_no_path_of_a_machine_is_tracked() -> None:
    pattern = re.compile(r"(?<![\w./:])/(?:home|root|tmp|work|farm|Users)/[\w.-]+")
    assert [(name, match) for name, text in tracked_texts() for match in pattern.findall(text)] == []


def test_environment_yml_says_what_pyproject_says() -> None:
    text = (ROOT / "environment.yml").read_text("utf-8")
    assert f"- python{PROJECT['requires-python']}" in text.replace(" ", "").replace("-python", "- python")
    assert "- -e .[dev]" in text and "- -c constraints.txt" in text
    packages = re.findall(r"^\s+- ([a-z][\w-]*)", text, re.M)
    assert set(packages) <= {"python", "pip", "conda-forge"}, "name packages in pyproject.toml only"


def test_every_dependency_has_one_exact_version() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if line[:1] != "#"]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+(\s*;.*)?", line) for line in lines)
    pins = {canonicalize_name(line.partition("==")[0]): line.partition("==")[2].split(";")[0].strip() for line in lines}
    extras = PROJECT["optional-dependencies"].values()
    for text in [*PROJECT["dependencies"], *[text for extra in extras for text in extra]]:
        requirement = Requirement(text)
        # PyTorch is a benchmark's alone, and which build fits depends on the machine; an extra may name another extra.
        if requirement.name in ("torch", PROJECT["name"]):
            continue
        version = pins.get(canonicalize_name(requirement.name))
        assert version, f"{requirement.name} has no version in constraints.txt"
        assert requirement.specifier.contains(version), f"{text}, but constraints.txt says {version}"


def test_ci_runs_make_test_and_nothing_else() -> None:
    lines = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
    assert lines[1] == "set -euo pipefail" and lines[-1] == "make test" and len(lines) == 4
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_import_is_quick_and_light() -> None:
    code = """
import sys, time
begun = time.perf_counter()
import recfuse_lib
heavy = {"tensorflow", "keras", "keras_hub", "sklearn", "matplotlib"} & set(sys.modules)
print(f"{time.perf_counter() - begun:.3f}", *heavy)
"""
    times = []
    for _ in range(3):  # the best of three: a busy machine is no fault of the import
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        seconds, *heavy = done.stdout.split()
        assert heavy == [], "heavy frameworks are imported when they are used"
        times.append(float(seconds))
    assert min(times) < 0.5


MOST_LINES_A_FILE = 350
ROOMS = {
    "pretrained": 430,
    "data": 3_720,
    "encoders": 1_115,
    "evaluation": 315,
    "training": 185,
    "stated": 1_430,
    "models": 3_300,
    "teaching": 340,
    "serving": 3_760,
    "scale": 80,
    "command": 810,
}
"""The rooms of the library from the ground up, and the lines that each may have. They may shrink."""
TOOLS, EXERCISES = 2_425, 150
"""Lines of the tools in `course/`; and lines of checks a lesson, on average, in `course/exercises/`."""


def test_rooms_keep_their_budget() -> None:
    lines = {
        room: _lines(path for path in (ROOT / "recfuse_lib").rglob("*.py") if _room(path) == room) for room in ROOMS
    }
    checks = _lines((ROOT / "course" / "exercises").rglob("*.py"))
    tools = _lines((ROOT / "course").rglob("*.py")) - checks
    lessons = len(list((ROOT / "notebooks").glob("*.ipynb")))
    print(*(f"{room} {count:,} of {ROOMS[room]:,} lines" for room, count in lines.items()), sep="\n")
    print(f"the library {sum(lines.values()):,} lines, the course's tools {tools:,} of {TOOLS:,}")
    print(f"checks of exercises {checks:,} of {EXERCISES * lessons:,}")
    assert all(count <= ROOMS[room] for room, count in lines.items()), lines
    assert tools <= TOOLS and checks <= EXERCISES * lessons


def _lines(paths: Iterable[Path]) -> int:
    return sum(path.read_text("utf-8").count("\n") for path in paths)


def test_no_room_imports_from_above() -> None:
    order = list(ROOMS)
    upwards = []
    for path in (ROOT / "recfuse_lib").rglob("*.py"):
        if (room := _room(path)) in order:
            above = order[order.index(room) + 1 :]
            for module in _imported(ast.parse(path.read_text("utf-8"))):
                parts = module.split(".")
                if parts[0] == "recfuse_lib" and len(parts) > 1 and parts[1] in above:
                    upwards.append(f"{path.relative_to(ROOT)} imports {module}")
    assert upwards == []


def _room(path: Path) -> str:
    return path.relative_to(ROOT / "recfuse_lib").parts[0].removesuffix(".py")


def _imported(node: ast.AST) -> Iterator[str]:
    """Modules that are imported when code runs; what only a type checker reads does not count."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (name.name for name in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            yield from (f"{child.module}.{name.name}" for name in child.names)
        yield from _imported(child)


def test_no_module_imports_itself_by_a_detour() -> None:
    name = {
        path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "recfuse_lib").rglob("*.py")
    }
    name = {path: one.removesuffix(".__init__") for path, one in name.items()}
    modules = set(name.values())
    needs = {}
    for path, module in name.items():
        read = set(_imported(ast.parse(path.read_text("utf-8"))))
        # "from a.b import c" reads the module a.b.c where there is one, else a.b.
        needs[module] = {one if one in modules else one.rpartition(".")[0] for one in read} & modules - {module}
    while ready := {module for module, others in needs.items() if not others & set(needs)}:
        for module in ready:
            del needs[module]
    assert needs == {}, "a circle, and what stands on it"


def test_files_are_read_in_one_sitting() -> None:
    long = {path.name: path.read_text("utf-8").count("\n") for path in (ROOT / "recfuse_lib").rglob("*.py")}
    assert {name: lines for name, lines in long.items() if lines > MOST_LINES_A_FILE} == {}
    assert not {"utils.py", "helpers.py", "common.py", "misc.py"} & set(long)
