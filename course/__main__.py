"""Run the whole course headless: the check before a class, and how notebooks are executed.

``python -m course`` executes every notebook in a fresh kernel of this Python, continues after a
failure, and writes executed copies, HTML pages, costs and the leaderboard to ``build/course/``. When it was stopped, or
a notebook failed, the next run continues with what is missing. With ``--in-place`` it writes the executed notebooks
back (``make notebooks``); with ``--accept`` it takes the costs of the last run over into ``docs/timings.csv`` and
README's table.
"""

import argparse
import base64
import dataclasses
import datetime
import errno
import json
import mimetypes
import os
import platform
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from course import costs, plans
from course.costs import MEASURES, NOTEBOOKS, REPOSITORY
from course.leaderboard import render
from recfuse_lib.pretrained import store
from recfuse_lib.teaching import environment, leaderboard

OUTPUT = REPOSITORY / "build" / "course"
MACHINE = REPOSITORY / "build" / "machine.json"


@dataclasses.dataclass
class Run:
    """The execution of one notebook.

    Attributes:
        processor_seconds: User and system seconds of the kernel and all that it started.
        seconds: Wall seconds, the kernel's start included.
        peak_memory_mb: Largest resident memory of the kernel and its children, sampled ten times a second.
        error: What went wrong, in a line or two; empty when nothing did.
    """

    name: str
    processor_seconds: float = 0.0
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    error: str = ""

    def __str__(self) -> str:
        cost = f"{self.processor_seconds:.0f} processor s, {self.seconds:.0f} s, {self.peak_memory_mb / 1000:.1f} GB"
        return cost + (f"\n      FAILED {self.error}" if self.error else "")


class Progress:
    """What a run has done so far, kept on disk until all of it is done.

    Args:
        output: The folder of the run.
    """

    def __init__(self, output: Path) -> None:
        self.path = output / "progress.json"
        folders = (REPOSITORY / name for name in ("recfuse_lib", "course"))
        self._library = _digest(*sorted(path for folder in folders for path in folder.rglob("*.py")))
        self._done: dict[str, dict[str, Any]] = json.loads(self.path.read_text("utf-8")) if self.path.exists() else {}

    def find(self, notebook: Path) -> Run | None:
        """Return the run of this very notebook with this very library, if there is one."""
        entry = self._done.get(notebook.stem)
        return Run(**entry["run"]) if entry and entry["digest"] == self._digest(notebook) else None

    def keep(self, notebook: Path, run: Run) -> None:
        """Remember a run that succeeded."""
        self._done[notebook.stem] = {"digest": self._digest(notebook), "run": dataclasses.asdict(run)}
        store.write(self.path, json.dumps(self._done, indent=1))

    def forget(self) -> None:
        """The next run begins at the first notebook."""
        self.path.unlink(missing_ok=True)

    def _digest(self, notebook: Path) -> str:
        return self._library + _digest(notebook)


def main(arguments: list[str] | None = None) -> int:
    """Execute notebooks; return 1 when one of them fails, 130 or 143 when a signal stopped it."""
    parser = argparse.ArgumentParser(prog="python -m course", description=main.__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="default: build/course")
    parser.add_argument("--in-place", action="store_true", help="write the executed notebooks back, nothing else")
    parser.add_argument("--accept", action="store_true", help="take the last run's costs over; executes nothing")
    parser.add_argument("--readme", action="store_true", help="renew README's table, and the plans; executes nothing")
    parser.add_argument("--media", type=Path, metavar="DIR", help="pictures for MovieLens, named by movie id: 1.jpg")
    options = parser.parse_args(arguments)
    if options.media:
        # A kernel works in the notebook's folder.
        os.environ["RECFUSE_MEDIA"] = str(options.media.resolve())
    if options.accept:
        costs.accept_timings(options.output / "timings.csv")
    if options.accept or options.readme:
        costs.renew_readme()
        plans.main()
        return 0
    paths = options.notebooks or sorted(NOTEBOOKS.glob("*.ipynb"))
    if not paths:
        print(f"there is no notebook in {NOTEBOOKS.name}/")
        return 1
    from course.execution import Stopped

    try:
        return _run_in_place(paths) if options.in_place else _run_course(paths, options.output.resolve())
    except Stopped as stopped:
        print(f"\n{stopped}; no kernel is left, and what ran before is kept: the same command continues", flush=True)
        return 128 + stopped.number
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(f"\nthe disk is full: {error.filename or options.output} could not be written. What ran before is kept;")
        print("make room, and the same command continues", flush=True)
        return 1


def _run_course(paths: list[Path], output: Path) -> int:
    progress = Progress(output)
    if not progress.path.exists():
        # Rows of an earlier run must not pass for rows of this one.
        shutil.rmtree(output / "leaderboard", ignore_errors=True)
    os.environ["RECFUSE_LEADERBOARD"] = str(output / "leaderboard")
    runs = []
    for number, path in enumerate(paths, start=1):
        run = progress.find(path)
        print(f"[{number}/{len(paths)}] {path.stem}" + (": done in the run before" if run else ""), flush=True)
        if run is None:
            notebook, run = _run_one(path)
            store.write(output / "notebooks" / path.name, _text(notebook))
            store.write(output / "html" / f"{path.stem}.html", _page(notebook))
            if not run.error:
                progress.keep(path, run)
        print(f"      {run}", flush=True)
        runs.append(run)
    _write_summary(runs, output)
    if not (failed := _failed(runs)):
        progress.forget()
    return 1 if failed else 0


def _run_in_place(paths: list[Path]) -> int:
    runs = []
    for number, path in enumerate(paths, start=1):
        print(f"[{number}/{len(paths)}] {path.stem}", flush=True)
        notebook, run = _run_one(path)
        if not run.error:
            store.write(path, _text(notebook))
        print(f"      {run}", flush=True)
        runs.append(run)
    return 1 if _failed(runs) else 0


def _failed(runs: list[Run]) -> list[str]:
    failed = [run.name for run in runs if run.error]
    rest = f"; failed: {', '.join(failed)}" if failed else ""
    print(f"{len(runs) - len(failed)} of {len(runs)} notebooks ran{rest}")
    return failed


def _run_one(path: Path) -> tuple[Any, Run]:
    """Execute a notebook in memory."""
    import nbformat

    from course.execution import NotebookError, execute
    from course.usage import measured

    run = Run(path.stem)
    notebook = nbformat.read(path, as_version=4)
    with measured() as usage:
        try:
            execute(notebook, path.resolve().parent)
        except NotebookError as error:  # the others still run
            run.error = str(error)
    for measure in MEASURES:
        setattr(run, measure, getattr(usage, measure))
    return notebook, run


def _text(notebook: Any) -> str:
    import nbformat

    return str(nbformat.writes(notebook)) + "\n"


def _page(notebook: Any) -> str:
    from nbconvert import HTMLExporter

    # The classic template is the one that shows a plotted figure's alternative text.
    page, _ = HTMLExporter(template_name="classic").from_notebook_node(notebook)  # type: ignore[no-untyped-call]
    return re.sub(r'(<img [^>]*src=")(\.\./docs/images/[^"]+)', lambda found: found[1] + _inside(found[2]), str(page))


def _inside(link: str) -> str:
    """A drawing as part of the page, which is read far from the repository."""
    path = NOTEBOOKS / link
    kind = mimetypes.guess_type(path.name)[0]
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _write_summary(runs: list[Run], output: Path) -> None:
    machine = json.loads(MACHINE.read_text("utf-8")) if MACHINE.exists() else {"processor": "", "factor": ""}
    rest = machine | {
        "cores": str(environment.cores()),
        "python": platform.python_version(),
        "date": datetime.date.today().isoformat(),
    }
    rows = [
        {"notebook": run.name, **{name: f"{getattr(run, name):.0f}" for name in MEASURES}, **rest}
        for run in runs
        if not run.error
    ]
    costs.write_timings(rows, output / "timings.csv")
    tables = {protocol: leaderboard.table(protocol, provenance=True) for protocol in leaderboard.PROTOCOLS}
    page = render(tables)
    store.write(output / "leaderboard.md", page)
    print(f"\n{page}\n{'notebook':<32}{'processor s':>12}{'seconds':>9}{'peak GB':>9}")
    for run in runs:
        line = f"{run.name:<32}{run.processor_seconds:>12.0f}{run.seconds:>9.0f}{run.peak_memory_mb / 1000:>9.1f}"
        print(line + ("  failed" if run.error else ""))
    total, seconds = (sum(getattr(run, name) for run in runs) for name in MEASURES[:2])
    print(f"{'all':<32}{total:>12.0f}{seconds:>9.0f}{max(run.peak_memory_mb for run in runs) / 1000:>9.1f}")
    print(f"written to {output}: notebooks/, html/, leaderboard.md, timings.csv")


def _digest(*paths: Path) -> str:
    return store.sha256(*(bytes.fromhex(store.sha256(path)) for path in paths))


if __name__ == "__main__":
    sys.exit(main())
