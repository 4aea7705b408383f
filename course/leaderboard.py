"""The leaderboard's page: ``python -m course.leaderboard`` renders ``docs/leaderboard.md`` from the committed rows, and
with ``--accept`` first takes over those of the last ``make course`` (or of ``$RECFUSE_LEADERBOARD``).
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pandas as pd

from recfuse_lib.pretrained import store
from recfuse_lib.teaching import leaderboard

PAGE = leaderboard.REPOSITORY / "docs" / "leaderboard.md"
SCORINGS = "scorings.csv"
"""The log of all scorings of a test, in the folder of the tables."""


def accept() -> list[str]:
    """Takes this machine's rows over into the committed tables; returns the protocols that changed.

    Each row is also a line of `scorings.csv`, with the commit: a test that was scored stays on record.
    """
    changed, commit = [protocol for protocol in leaderboard.PROTOCOLS if len(leaderboard.own(protocol))], _commit()
    log = leaderboard.COMMITTED / SCORINGS
    lines = log.read_text("utf-8").splitlines() if log.exists() else ["date,commit,protocol,metric,value,model"]
    for protocol in changed:
        rows = leaderboard.table(protocol, provenance=True).drop(columns="run")
        store.write(leaderboard.COMMITTED / f"{protocol}.csv", rows.to_csv(lineterminator="\n", float_format="%.5f"))
        metric, own = leaderboard.main_metric(protocol), leaderboard.own(protocol)
        for date, value, model in zip(own["date"], own[metric], own["model"], strict=True):
            line = f'{date},{commit},{protocol},{metric},{value:.5f},"{model}"'
            lines += [line] if line not in lines else []
    store.write(log, "\n".join(lines) + "\n")
    return changed


def render(tables: Mapping[str, pd.DataFrame]) -> str:
    """Renders the leaderboard as Markdown, from protocol → its table with provenance."""
    lines = [
        "# Leaderboard",
        "",
        "Every row was written by a run; none is typed. Intervals are 95 % bootstrap intervals over users.",
        "Positives are ratings of at least 4; a user's history is masked.",
    ]
    for protocol, rows in tables.items():
        if rows.empty:
            continue
        hidden = (*leaderboard.PROVENANCE, "run")
        metrics = [name for name in rows.columns if not name.endswith(("_low", "_high")) and name not in hidden]
        heads = ["model", *metrics, "seeds", "tuned", "from"]
        lines += ["", f"## `{protocol}`", "", f"Asks: {leaderboard.PROTOCOLS[protocol][1]}.", ""]
        lines += ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
        for model, row in rows.iterrows():
            origin = f"`{row['command']}`, {row['date']}"
            cells = [str(model), *(_cell(row, name) for name in metrics), str(row["seeds"]), str(row["tuned"]), origin]
            lines.append("| " + " | ".join(cells) + " |")
        lines += ["", f"Versions: {'; '.join(sorted({str(versions) for versions in rows['versions']}))}."]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Render ``docs/leaderboard.md`` from the committed rows."""
    parser = argparse.ArgumentParser(prog="python -m course.leaderboard", description=main.__doc__)
    parser.add_argument("--accept", action="store_true", help="first take over the rows of the last make course")
    if parser.parse_args(arguments).accept:
        os.environ.setdefault("RECFUSE_LEADERBOARD", str(leaderboard.REPOSITORY / "build" / "course" / "leaderboard"))
        print("taken over: " + (", ".join(accept()) or f"nothing; there are no rows in {leaderboard.own_folder()}"))
    store.write(PAGE, render(leaderboard.committed_tables()))
    print(f"written: {PAGE.relative_to(leaderboard.REPOSITORY)}")
    return 0


def _cell(row: "pd.Series[Any]", name: str) -> str:
    if pd.isna(row[name]):
        return ""
    value = f"{row[name]:.3f}"
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return value if low is None or pd.isna(low) else f"{value} [{low:.3f}, {high:.3f}]"


def _commit() -> str:
    """The commit of the code, with a + where something is changed since; "" without git."""
    words = ["git", "-C", str(leaderboard.REPOSITORY), "describe", "--always", "--dirty=+"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


if __name__ == "__main__":
    sys.exit(main())
