"""What each notebook costs, as measured, and README's table of it."""

import base64
import csv
import io
import json
import re
import sys
from pathlib import Path

from recfuse_lib.pretrained import store

REPOSITORY = Path(__file__).parents[1]
NOTEBOOKS = REPOSITORY / "notebooks"
TIMINGS = REPOSITORY / "docs" / "timings.csv"
README = REPOSITORY / "README.md"
RESULT = REPOSITORY / "docs" / "images" / "result.png"
MEASURES = ["processor_seconds", "seconds", "peak_memory_mb"]
FIELDS = ["notebook", *MEASURES, "processor", "factor", "cores", "python", "date"]
SLOWEST = 3.4
"""How many of the reference machine's processor seconds the slowest machine seen needed."""


def renew_readme() -> None:
    """Write the table of notebooks and the picture of a result into README."""
    store.write(README, with_table(README.read_text("utf-8"), notebook_table()))
    RESULT.write_bytes(result_picture())


def notebook_table(timings: Path = TIMINGS) -> str:
    """README's table of notebooks, with what each costs.

    The minutes of the slow machine are measured where the table of costs has rows of a machine twice as slow as the
    reference; otherwise they are the reference's processor seconds times the factor of the slowest machine seen.

    Args:
        timings: The table of costs.
    """
    rows = list(read_timings(timings).values())
    fast = {row["notebook"]: row for row in rows if float(row["factor"]) < 2}
    slow = {row["notebook"]: row for row in rows if float(row["factor"]) >= 2}
    lines = [
        "| notebook | you will build | read | run | on a slow machine | processor s | memory |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        card, name = _card(path), path.stem
        cells = [f"[`{name}`](notebooks/{path.name})", card["You will build"], f"{card['Minutes']} min"]
        if name in fast:
            row = fast[name]
            slowly = float(row["seconds"]) / float(row["factor"]) * SLOWEST
            cells += [
                f"{float(row['seconds']) / 60:.1f} min",
                f"{float(slow[name]['seconds']) / 60:.1f} min" if name in slow else f"≈ {slowly / 60:.0f} min",
                row["processor_seconds"],
                f"{float(row['peak_memory_mb']) / 1000:.1f} GB",
            ]
        else:
            cells += ["not yet measured", "", "", ""]
        lines.append("| " + " | ".join(cells) + " |")
    if fast:
        total = sum(float(row["processor_seconds"]) for row in fast.values())
        last = max(fast.values(), key=lambda row: row["date"])
        machine = f"{last['cores']} cores of an {last['processor']}"
        lines += [
            "",
            f"Measured on {machine} with Python {last['python']}, {last['date']}: {total:.0f} processor seconds.",
            f"≈ is computed: the slowest machine seen needs {SLOWEST:g} times as long as the reference. How yours "
            "compares, `python benchmarks/machine.py` says in a minute.",
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
    """Take over the costs of the last run; rows of other notebooks and of other machines stay.

    Args:
        measured: The ``timings.csv`` that a run wrote.

    Raises:
        SystemExit: If the run does not know its machine.
    """
    rows = read_timings(measured)
    if any(not row["factor"] for row in rows.values()):
        sys.exit("run python benchmarks/machine.py and the course again: a row of costs names its machine")
    rows = read_timings(TIMINGS) | rows
    present = {path.stem for path in NOTEBOOKS.glob("*.ipynb")}
    write_timings([rows[key] for key in sorted(rows) if key[0] in present], TIMINGS)


def write_timings(rows: list[dict[str, str]], path: Path) -> None:
    """Replace a table of costs.

    Args:
        rows: One row a notebook and processor, with the columns ``FIELDS``.
        path: Where it goes.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    store.write(path, text.getvalue())


def read_timings(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    """The rows of a table of costs, by notebook and processor."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {(row["notebook"], row["processor"]): row for row in csv.DictReader(file)}


def _card(path: Path) -> dict[str, str]:
    """What the table needs of a notebook's card; a card that lacks it is the skeleton test's affair."""
    import nbformat

    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    head = "\n".join(cells[:2])
    build = re.search(r"\*\*You will build\b[^*]*\*\*[\s:·—–-]*((?:[^\n|]|\n +)+)", head)
    read = re.search(r"\*\*Minutes\b[^*]*\*\*.*?(\d+)[^\d]*read", head)
    return {
        "You will build": " ".join(build.group(1).split()).rstrip(".") if build else "",
        "Minutes": read.group(1) if read else "?",
    }
