"""The leaderboard: one table a protocol, filled by runs and never typed.

A run records its rows under ``$RECFUSE_LEADERBOARD`` (by default in the cache). The course's rows are committed as
``docs/leaderboard/<protocol>.csv``; ``python -m recfuse_lib.teaching.leaderboard`` renders them as
``docs/leaderboard.md``, and with ``--accept`` first takes over the rows of the last ``make course`` (or of
``$RECFUSE_LEADERBOARD``). Used in every notebook that trains a model.
"""

import argparse
import datetime
import importlib.metadata
import json
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from recfuse_lib import __version__
from recfuse_lib.pretrained import store

REPOSITORY = Path(__file__).parents[2]
COMMITTED = REPOSITORY / "docs" / "leaderboard"
PAGE = REPOSITORY / "docs" / "leaderboard.md"

PROTOCOLS = {
    "warm": ("ndcg@10", "each user's last 20 % of positive ratings, ranked among all movies"),
    "rolling": ("ndcg@10", "every positive rating after one cut in time, ranked among all movies"),
    "cold": ("ndcg@10", "movies that no model has seen in training, ranked among one another"),
    "rating": ("rmse", "ratings held out at random, predicted in stars"),
    "last-one": ("ndcg@10", "each user's last positive rating: for comparison with papers, never for a claim"),
}
"""Protocol → the metric that sorts its table, and what it asks."""

SCORINGS = "scorings.csv"
"""The log of all scorings of a test, in the folder of the tables."""

_LOWER_IS_BETTER = ("rmse", "mae")
_PROVENANCE = ["seeds", "tuned", "command", "versions", "date"]


def record(
    protocol: str,
    model: str,
    metrics: Mapping[str, Any],
    *,
    seeds: int | list[int],
    command: str,
    tuned: str = "not tuned",
) -> None:
    """Keeps the result of a run; it replaces an earlier row of the same model as a whole.

    ``metrics`` maps each metric to a value, (value, low, high), or an interval with ``mean``, ``low``, ``high``: the
    mean over ``seeds``. ``command`` is the command or notebook that produces the row again; ``tuned`` says how the
    settings were chosen, with the number of trials ("12 trials on validation").
    """
    main_metric = _main_metric(protocol)
    if main_metric not in metrics:
        raise ValueError(f"the {protocol} table is sorted by {main_metric}; add it to metrics ({list(metrics)})")
    row: dict[str, Any] = {"model": model}
    for name, value in metrics.items():
        row.update(_columns(name, value))
    row |= {
        "seeds": " ".join(str(seed) for seed in ([seeds] if isinstance(seeds, int) else seeds)),
        "tuned": tuned,
        "command": command,
        "versions": _versions(),
        "date": datetime.date.today().isoformat(),
    }
    # One file a row: two notebooks that run at the same time never touch the same file.
    slug = re.sub(r"\W+", "-", model.lower()).strip("-")
    path = _own_folder() / protocol / f"{slug}.json"
    try:
        store.write(path, json.dumps(row, indent=1, ensure_ascii=False))
    except OSError as error:  # a lesson continues without its row
        print(f"{model} is not recorded: {path.parent} cannot be written ({error.strerror}); name another folder with")
        print("RECFUSE_LEADERBOARD to keep your rows")


def table(protocol: str, *, provenance: bool = False) -> pd.DataFrame:
    """Returns the table of a protocol, best first: the course's rows, replaced by this machine's where it has them.

    Rows are indexed by model; metric ``m`` has the columns ``m`` and, where there is an interval, ``m_low`` and
    ``m_high``; ``run`` says whether a row is the course's or yours. ``provenance`` adds seeds, tuning, command,
    versions and date.
    """
    main_metric = _main_metric(protocol)
    frames = [_committed(protocol).assign(run="course"), _own(protocol).assign(run="yours")]
    rows = pd.concat([frame for frame in frames if len(frame)] or frames[:1])
    if rows.empty:
        return pd.DataFrame(columns=[main_metric, "run"], index=pd.Index([], name="model"))
    rows = rows.drop_duplicates("model", keep="last").set_index("model")
    rows = rows.sort_values([main_metric], ascending=main_metric in _LOWER_IS_BETTER, kind="stable")
    behind = [*_PROVENANCE, "run"] if provenance else ["run"]
    return rows[[name for name in rows.columns if name not in (*_PROVENANCE, "run")] + behind]


def accept() -> list[str]:
    """Takes this machine's rows over into the committed tables; returns the protocols that changed.

    Each row is also a line of `scorings.csv`, with the commit: a test that was scored stays on record.
    """
    changed, commit = [protocol for protocol in PROTOCOLS if len(_own(protocol))], _commit()
    log = COMMITTED / SCORINGS
    lines = log.read_text("utf-8").splitlines() if log.exists() else ["date,commit,protocol,metric,value,model"]
    for protocol in changed:
        rows = table(protocol, provenance=True).drop(columns="run")
        store.write(COMMITTED / f"{protocol}.csv", rows.to_csv(lineterminator="\n", float_format="%.5f"))
        metric, own = _main_metric(protocol), _own(protocol)
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
        hidden = (*_PROVENANCE, "run")
        metrics = [name for name in rows.columns if not name.endswith(("_low", "_high")) and name not in hidden]
        heads = ["model", *metrics, "seeds", "tuned", "from"]
        lines += ["", f"## `{protocol}`", "", f"Asks: {PROTOCOLS[protocol][1]}.", ""]
        lines += ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
        for model, row in rows.iterrows():
            origin = f"`{row['command']}`, {row['date']}"
            cells = [str(model), *(_cell(row, name) for name in metrics), str(row["seeds"]), str(row["tuned"]), origin]
            lines.append("| " + " | ".join(cells) + " |")
        lines += ["", f"Versions: {'; '.join(sorted({str(versions) for versions in rows['versions']}))}."]
    return "\n".join(lines) + "\n"


def committed_tables() -> dict[str, pd.DataFrame]:
    """Returns protocol → the rows that the course publishes, best first."""
    tables = {protocol: _committed(protocol) for protocol in PROTOCOLS}
    return {protocol: rows.set_index("model") for protocol, rows in tables.items() if len(rows)}


def main(arguments: list[str] | None = None) -> int:
    """Render ``docs/leaderboard.md`` from the committed rows."""
    parser = argparse.ArgumentParser(prog="python -m recfuse_lib.teaching.leaderboard", description=main.__doc__)
    parser.add_argument("--accept", action="store_true", help="first take over the rows of the last make course")
    if parser.parse_args(arguments).accept:
        os.environ.setdefault("RECFUSE_LEADERBOARD", str(REPOSITORY / "build" / "course" / "leaderboard"))
        print("taken over: " + (", ".join(accept()) or f"nothing; there are no rows in {_own_folder()}"))
    store.write(PAGE, render(committed_tables()))
    print(f"written: {PAGE.relative_to(REPOSITORY)}")
    return 0


def _committed(protocol: str) -> pd.DataFrame:
    path = COMMITTED / f"{protocol}.csv"
    return pd.read_csv(path, dtype={"seeds": str}) if path.exists() else pd.DataFrame()


def _own(protocol: str) -> pd.DataFrame:
    files = sorted((_own_folder() / protocol).glob("*.json"))
    return pd.DataFrame([json.loads(path.read_text(encoding="utf-8")) for path in files])


def _own_folder() -> Path:
    return Path(os.environ.get("RECFUSE_LEADERBOARD") or store.cache_dir() / "leaderboard")


def _main_metric(protocol: str) -> str:
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[protocol][0]


def _columns(name: str, value: Any) -> dict[str, float]:
    if hasattr(value, "low"):
        value = (value.mean, value.low, value.high)
    numbers = [float(part) for part in value] if isinstance(value, (tuple, list)) else [float(value)]
    if len(numbers) not in (1, 3) or not all(math.isfinite(part) for part in numbers):
        raise ValueError(f"{name} is {value!r}; give a finite number, or (value, low, high)")
    return dict(zip([name, f"{name}_low", f"{name}_high"], numbers, strict=False))


def _cell(row: "pd.Series[Any]", name: str) -> str:
    if pd.isna(row[name]):
        return ""
    value = f"{row[name]:.3f}"
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return value if low is None or pd.isna(low) else f"{value} [{low:.3f}, {high:.3f}]"


def _commit() -> str:
    """The commit of the code, with a + where something is changed since; "" without git."""
    words = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty=+"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _versions() -> str:
    packages = [f"{name} {importlib.metadata.version(name)}" for name in ("tensorflow", "keras", "numpy", "scipy")]
    return ", ".join([f"recfuse_lib {__version__}", f"Python {platform.python_version()}", *packages])


if __name__ == "__main__":
    sys.exit(main())
