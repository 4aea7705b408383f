"""Run the whole course headless: the check before a class, and how notebooks are executed.

``python -m recfuse_lib.teaching.course`` executes every notebook in a fresh kernel of this Python,
goes on after a failure, and writes executed copies, HTML pages, timings and the leaderboard to
``build/course/``. With ``--in-place`` it writes the executed notebooks back (``make notebooks``); with
``--accept`` it takes the timings of the last run over into ``docs/timings.csv`` and README's table.
"""

import argparse
import base64
import csv
import datetime
import json
import os
import platform
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recfuse_lib.teaching import leaderboard

REPOSITORY = Path(__file__).parents[2]
NOTEBOOKS = REPOSITORY / "notebooks"
OUTPUT = REPOSITORY / "build" / "course"
TIMINGS = REPOSITORY / "docs" / "timings.csv"
README = REPOSITORY / "README.md"
RESULT = REPOSITORY / "docs" / "images" / "result.png"
CELL_TIMEOUT_SECONDS = 900
FIELDS = ["notebook", "seconds", "peak_memory_mb", "cores", "python", "date"]


@dataclass
class Run:
    """The execution of one notebook.

    Attributes:
        seconds: Wall-clock seconds, the kernel's start included.
        peak_memory_mb: Largest resident memory of the kernel and its children, sampled ten times a second.
        error: What went wrong, in a line or two; empty when nothing did.
    """

    name: str
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    error: str = ""


def main(arguments: list[str] | None = None) -> int:
    """Execute notebooks; return 1 when one of them fails."""
    parser = argparse.ArgumentParser(prog="python -m recfuse_lib.teaching.course", description=main.__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="default: build/course")
    parser.add_argument("--in-place", action="store_true", help="write the executed notebooks back, nothing else")
    parser.add_argument("--accept", action="store_true", help="take the last run's timings over; executes nothing")
    parser.add_argument("--readme", action="store_true", help="renew README's table and picture; executes nothing")
    parser.add_argument("--media", type=Path, metavar="DIR", help="pictures for MovieLens, named by movie id: 1.jpg")
    options = parser.parse_args(arguments)
    if options.media:
        # A kernel works in the notebook's folder.
        os.environ["RECFUSE_MEDIA"] = str(options.media.resolve())
    if options.accept:
        accept_timings(options.output / "timings.csv")
    if options.accept or options.readme:
        README.write_text(with_table(README.read_text("utf-8"), notebook_table()), "utf-8")
        RESULT.write_bytes(result_picture())
        return 0
    paths = options.notebooks or sorted(NOTEBOOKS.glob("*.ipynb"))
    if not paths:
        print(f"there is no notebook in {NOTEBOOKS.name}/")
        return 1
    output = (REPOSITORY / "build" / "notebooks" if options.in_place else options.output).resolve()
    # Rows of an earlier run must not pass for rows of this one.
    shutil.rmtree(output / "leaderboard", ignore_errors=True)
    os.environ["RECFUSE_LEADERBOARD"] = str(output / "leaderboard")
    runs = []
    for number, path in enumerate(paths, start=1):
        print(f"[{number}/{len(paths)}] {path.stem}", flush=True)
        run = _run_one(path, None if options.in_place else output)
        print(
            f"      {run.seconds:.0f} s, {run.peak_memory_mb / 1000:.1f} GB"
            + (f"\n      FAILED {run.error}" if run.error else "")
        )
        runs.append(run)
    if not options.in_place:
        _write_summary(runs, output)
    failed = [run.name for run in runs if run.error]
    print(
        f"{len(runs) - len(failed)} of {len(runs)} notebooks ran" + (f"; failed: {', '.join(failed)}" if failed else "")
    )
    return 1 if failed else 0


def execute(notebook: Any, folder: Path, *, timeout: int = CELL_TIMEOUT_SECONDS) -> None:
    """Execute a notebook in a fresh kernel of this very Python, whatever kernels the machine has.

    No time stamp is written into the cells' metadata, so that a commit holds what a run gives.

    Args:
        notebook: A notebook of nbformat; its outputs are replaced.
        folder: The kernel's working directory.
        timeout: Seconds that a cell may take.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell fails.
    """
    from ipykernel.kernelspec import RESOURCES, get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    class ThisPython(KernelSpecManager):
        def get_kernel_spec(self, kernel_name: str) -> Any:
            return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())  # type: ignore[no-untyped-call]

    shown = time.perf_counter()

    def progress(cell_index: int, **_: Any) -> None:
        nonlocal shown
        if time.perf_counter() - shown > 10:
            shown = time.perf_counter()
            print(f"      cell {cell_index + 1} of {len(notebook.cells)}", flush=True)

    client = NotebookClient(
        notebook,
        km=AsyncKernelManager(kernel_name="python3", kernel_spec_manager=ThisPython()),
        resources={"metadata": {"path": str(folder)}},
        timeout=timeout,
        extra_arguments=["--log-level=ERROR"],
        record_timing=False,
        coalesce_streams=True,
        on_cell_executed=progress,
    )
    # A client shuts down only a kernel manager that it owns, and it takes one that it was given for somebody else's.
    client.owns_km = True
    client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)


def notebook_table(timings: Path = TIMINGS) -> str:
    """README's table of notebooks, with the minutes that were measured."""
    rows = {}
    if timings.exists():
        with timings.open(encoding="utf-8", newline="") as file:
            rows = {row["notebook"]: row for row in csv.DictReader(file)}
    lines = ["| notebook | you will build | read | run | memory |", "|---|---|--:|--:|--:|"]
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        card = _card(path)
        row = rows.get(path.stem)
        run = f"{float(row['seconds']) / 60:.1f} min" if row else "not yet measured"
        memory = f"{float(row['peak_memory_mb']) / 1000:.1f} GB" if row else ""
        link = f"[`{path.stem}`](notebooks/{path.name})"
        lines.append(f"| {link} | {card['You will build']} | {card['Minutes']} min | {run} | {memory} |")
    if rows:
        last = max(rows.values(), key=lambda row: row["date"])
        lines += [
            "",
            f"Measured on {last['cores']} CPU cores with Python {last['python']}, {last['date']}.",
        ]
    return "\n".join(lines)


def with_table(readme: str, table: str) -> str:
    """README's text with the table between its two markers replaced.

    Args:
        readme: The text; it holds ``<!-- notebooks -->`` and ``<!-- /notebooks -->``.
        table: The new table.

    Raises:
        ValueError: If a marker is missing.

    Example:
        >>> print(with_table("<!-- notebooks -->old<!-- /notebooks -->", "new"))
        <!-- notebooks -->
        new
        <!-- /notebooks -->
    """
    pattern = re.compile(r"<!-- notebooks -->.*?<!-- /notebooks -->", re.S)
    if not pattern.search(readme):
        raise ValueError("README.md lacks <!-- notebooks --> ... <!-- /notebooks -->")
    return pattern.sub(lambda _: f"<!-- notebooks -->\n{table}\n<!-- /notebooks -->", readme)


def result_picture() -> bytes:
    """The PNG that README shows: the first figure of the tour with bars for each recommended film.

    Raises:
        ValueError: If the tour holds no such figure.
    """
    notebook = json.loads((NOTEBOOKS / "00_tour.ipynb").read_text("utf-8"))
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    for output in outputs:
        alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
        if "each recommended film" in alt:
            return base64.b64decode("".join(output["data"]["image/png"]))
    raise ValueError("00_tour.ipynb has no figure whose alternative text speaks of each recommended film; execute it")


def accept_timings(measured: Path) -> None:
    """Take over the timings of the last run; rows of notebooks that it did not run stay.

    Args:
        measured: The ``timings.csv`` that a run wrote.
    """
    rows: dict[str, dict[str, str]] = {}
    for path in (TIMINGS, measured):
        if path.exists():
            with path.open(encoding="utf-8", newline="") as file:
                rows.update({row["notebook"]: row for row in csv.DictReader(file)})
    present = {path.stem for path in NOTEBOOKS.glob("*.ipynb")}
    _write_timings([rows[name] for name in sorted(rows) if name in present], TIMINGS)


def _run_one(path: Path, output: Path | None) -> Run:
    """Execute a notebook in place (``output`` is None), or into a copy and an HTML page."""
    import nbformat
    from nbclient.exceptions import CellExecutionError

    run = Run(path.stem)
    notebook = nbformat.read(path, as_version=4)
    begun = time.perf_counter()
    with _peak_memory(run):
        try:
            execute(notebook, path.resolve().parent)
        except CellExecutionError as error:
            source = error.traceback.splitlines()
            run.error = f"{error.ename}: {error.evalue}\n      in the cell that begins {_first_line(source)!r}"
        except Exception as error:  # a dead kernel, a cell that takes too long: the others still run
            run.error = f"{type(error).__name__}: {error}".splitlines()[0]
    run.seconds = time.perf_counter() - begun
    if output is None:
        if not run.error:
            nbformat.write(notebook, path)
        return run
    (output / "notebooks").mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, output / "notebooks" / path.name)
    _write_html(notebook, output / "html" / f"{path.stem}.html")
    return run


def _write_html(notebook: Any, path: Path) -> None:
    from nbconvert import HTMLExporter

    # The classic template is the one that shows a plotted figure's alternative text.
    page, _ = HTMLExporter(template_name="classic").from_notebook_node(notebook)  # type: ignore[no-untyped-call]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, "utf-8")


def _write_summary(runs: list[Run], output: Path) -> None:
    today = datetime.date.today().isoformat()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    done = [run for run in runs if not run.error]
    rows = [
        dict(
            zip(
                FIELDS,
                [
                    run.name,
                    f"{run.seconds:.0f}",
                    f"{run.peak_memory_mb:.0f}",
                    str(cores),
                    platform.python_version(),
                    today,
                ],
                strict=True,
            )
        )
        for run in done
    ]
    _write_timings(rows, output / "timings.csv")
    tables = {protocol: leaderboard.table(protocol, provenance=True) for protocol in leaderboard.PROTOCOLS}
    page = leaderboard.render(tables)
    (output / "leaderboard.md").write_text(page, "utf-8")
    print(f"\n{page}\n{'notebook':<32}{'seconds':>8}{'peak GB':>9}")
    for run in runs:
        failed = "  failed" if run.error else ""
        print(f"{run.name:<32}{run.seconds:>8.0f}{run.peak_memory_mb / 1000:>9.1f}{failed}")
    print(f"written to {output}: notebooks/, html/, leaderboard.md, timings.csv")


def _write_timings(rows: list[dict[str, str]], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _card(path: Path) -> dict[str, str]:
    """What the table needs of a notebook's card; a card that lacks it is the skeleton test's affair."""
    import nbformat

    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    head = "\n".join(cells[:2])
    build = re.search(r"\*\*You will build\b[^*]*\*\*[\s:·—–-]*([^\n|]+)", head)
    read = re.search(r"\*\*Minutes\b[^*]*\*\*.*?(\d+)[^\d]*read", head)
    return {
        "You will build": build.group(1).strip().rstrip(".") if build else "",
        "Minutes": read.group(1) if read else "?",
    }


def _first_line(traceback: list[str]) -> str:
    return next((line for line in traceback if line.strip() and not set(line) <= {"-"}), "").strip()[:80]


@contextmanager
def _peak_memory(run: Run) -> Iterator[None]:
    """Sample the resident memory of all child processes while the block runs."""
    import psutil

    this, done = psutil.Process(), threading.Event()

    def sample() -> None:
        while not done.wait(0.1):
            used = 0
            for child in this.children(recursive=True):
                try:
                    used += child.memory_info().rss
                except psutil.Error:
                    continue
            run.peak_memory_mb = max(run.peak_memory_mb, used / 1e6)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
