"""A room made ready: ``make room`` checks one machine and writes one line, which an instructor collects from all.

``make room COLLECT=FOLDER`` reads such lines into a table that says what to do where. Taught in docs/teaching/room.md.
"""

import argparse
import datetime
import json
import os
import platform
import secrets
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import recfuse_lib
from course import environment
from course.costs import NOTEBOOKS, REPOSITORY
from course.environment import DISK_NEEDED_GB, Finding
from course.execution import NotebookError, execute
from recfuse_lib import pretrained
from recfuse_lib.data import movielens
from recfuse_lib.pretrained import store

LINE = REPOSITORY / "build" / "room.txt"
PORTS = {8888: "JupyterLab", 8000: "make serve", 6006: "TensorBoard"}
SLOW_SECONDS = 240
FIELDS = {"id": str, "name": str, "made": str, "course": str, "system": str, "python": str, "tour": str, "open": list}
"""What a line holds, beside its checksum ``sum``."""


def _check_ports() -> Finding:
    taken = []
    for port, program in PORTS.items():
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                taken.append(f"{port} ({program})")
    if taken:
        return Finding("note", f"in use: {', '.join(taken)}", "end that program, or give another port when asked")
    return Finding("ok", f"{', '.join(map(str, PORTS))} are free")


def _check_disk() -> Finding:
    free = min(shutil.disk_usage(folder).free for folder in (REPOSITORY, tempfile.gettempdir())) / 1e9
    advice = f"free {DISK_NEEDED_GB:.0f} GB: the lessons write models and pictures"
    return Finding("ok", f"{free:.1f} GB") if free >= DISK_NEEDED_GB else Finding("wrong", f"{free:.1f} GB", advice)


def _check_data() -> Finding:
    movielens.load()  # raises where a file is not the one of its checksum
    with tempfile.TemporaryDirectory() as empty:
        try:
            pretrained.load("ml-100k", source=empty, progress=False)
        except pretrained.PretrainedError:
            advice = "lessons 16, 17 and 21 need it: python -m recfuse_lib.pretrained ml-100k, with a network"
            return Finding("note", "ml-100k is not there", advice)
    return Finding("ok", "MovieLens and ml-100k verified")


def _check_tour() -> Finding:
    import nbformat

    from course.usage import measured

    try:
        with measured() as usage, tempfile.TemporaryDirectory() as folder:
            os.environ["RECFUSE_LEADERBOARD"] = folder
            execute(nbformat.read(NOTEBOOKS / "00_tour.ipynb", as_version=4), NOTEBOOKS)
    except NotebookError as error:
        return Finding("wrong", " ".join(str(error).split()), "send build/room.txt to the instructor")
    text = f"{usage.seconds:.0f} s, {usage.peak_memory_mb / 1000:.1f} GB"
    if usage.seconds > SLOW_SECONDS:
        return Finding("note", text, "close other programs, plug it in; else share a machine for the long cells")
    return Finding("ok", text)


CHECKS = {**environment.CHECKS, "ports": _check_ports, "disk": _check_disk, "data": _check_data, "tour": _check_tour}


def line(name: str, findings: dict[str, Finding], number: str) -> str:
    """Make the line of this machine: no name but the one that was given, and no path of a home."""
    home, opened = str(Path.home()), {key: one for key, one in findings.items() if one.state != "ok"}
    content = {
        "id": number,
        "name": " ".join(name.split())[:40],
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "course": recfuse_lib.__version__,
        "system": f"{platform.system()} {platform.machine()}{' WSL' if 'microsoft' in platform.release() else ''}",
        "python": platform.python_version(),
        "tour": findings["tour"].text[:60] if "tour" in findings else "",
        "open": [[key, *(text.replace(home, "~") for text in one)] for key, one in opened.items()],
    }
    return json.dumps({**content, "sum": _checksum(content)})


def _checksum(content: dict[str, Any]) -> str:
    return store.sha256(json.dumps(content, sort_keys=True))[:8]


def read(text: str) -> dict[str, Any]:
    """Read a line back.

    Raises:
        ValueError: It was cut off or altered on its way, or is something else.
    """
    try:
        content = json.loads(text)
        sent = content.pop("sum")
        right = sent == _checksum(content) and {key: type(value) for key, value in content.items()} == FIELDS
        datetime.datetime.fromisoformat(content["made"])
    except (ValueError, KeyError, TypeError, AttributeError):
        right = False
    if not right:
        cut = text.startswith("{") and not text.endswith("}")
        raise ValueError(
            f"{'cut off' if cut else 'altered or no line of make room'}: ask for the file {LINE.name} itself"
        )
    return dict(content)


def collect(paths: list[Path], now: datetime.datetime, days: float, expected: int) -> tuple[str, bool]:
    """Read lines from files and folders; return the table, and whether everybody expected is ready."""
    files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path]) if file.is_file()]
    newest: dict[str, dict[str, Any]] = {}
    faults, replaced = [], 0
    for file in files:
        for number, text in enumerate(file.read_text("utf-8", errors="replace").splitlines(), start=1):
            if not (text := text.strip().removeprefix("\ufeff")):
                continue
            try:
                content = read(text)
            except ValueError as error:
                faults.append(f"{file.name} line {number}: {error}")
                continue
            replaced += content["id"] in newest
            newest[content["id"]] = max(content, newest.get(content["id"], content), key=lambda one: str(one["made"]))
    rows = [_row(content, now, days) for content in newest.values()]
    rows.sort(key=lambda row: (row[1] == "ready", row[1], row))
    lines = ["| who | state | system | Python | tour | to do |", "|---|---|---|---|---|---|"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    ready = sum(row[1] == "ready" for row in rows)
    lines += ["", f"{ready} ready of {len(rows)} machines; {replaced} older lines of the same machines left out"]
    lines += [f"unreadable: {fault}" for fault in faults]
    if expected > len(rows):
        lines.append(f"{expected - len(rows)} of {expected} machines sent no readable line")
    return "\n".join(lines), ready == len(rows) >= expected and not faults


def _row(content: dict[str, Any], now: datetime.datetime, days: float) -> tuple[str, ...]:
    age = (now - datetime.datetime.fromisoformat(content["made"])).total_seconds() / 86_400
    advice = [f"{subject}: {text}" + (f" → {what}" if what else "") for subject, _, text, what in content["open"]]
    state = "not ready" if any(one[1] == "wrong" for one in content["open"]) else "ready"
    if age > days or age < -1:
        state = "old" if age > 0 else "wrong clock"
        advice.insert(
            0, f"made {content['made'][:10]}: run make room again" + (", after setting the clock" * (age < 0))
        )
    elif content["course"] != recfuse_lib.__version__:
        state = "other course"
        advice.insert(0, f"has version {content['course']}, the course is {recfuse_lib.__version__}: install again")
    who = f"{content['name']} ({content['id']})".strip()
    return who, state, content["system"], content["python"], content["tour"], "; ".join(advice)


def main(arguments: list[str] | None = None) -> int:
    """Check this machine and write its line, or collect the lines of many; return 1 when something is not ready."""
    parser = argparse.ArgumentParser(prog="python -m course.room", description=main.__doc__)
    parser.add_argument("lines", nargs="*", type=Path, help="files or folders with lines: collect them into a table")
    parser.add_argument("--name", default="", help="what the line calls this machine: a seat or a first name")
    parser.add_argument("--expect", type=int, default=0, metavar="N", help="how many machines there are")
    parser.add_argument("--days", type=float, default=3, help="a line older than this must be made again; default: 3")
    options = parser.parse_args(arguments)
    if options.lines:
        table, everybody = collect(options.lines, datetime.datetime.now(datetime.UTC), options.days, options.expect)
        print(table)
        return 0 if everybody else 1
    try:
        number = read(LINE.read_text("utf-8").strip())["id"]  # the same machine keeps its number
    except (OSError, ValueError):
        number = secrets.token_hex(3)
    findings = environment.report(CHECKS)
    store.write(LINE, line(options.name, findings, number) + "\n")
    print(f"\nthis line is in build/{LINE.name}; give it to the instructor:\n{LINE.read_text('utf-8')}", end="")
    return 1 if any(finding.state == "wrong" for finding in findings.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
