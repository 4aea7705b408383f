"""The leaderboard: one table a protocol, filled by runs and never typed. Used in every notebook that trains a model.

A run records its rows under ``$RECFUSE_LEADERBOARD`` (by default in the cache). The course's rows are committed as
``docs/leaderboard/<protocol>.csv``; ``python -m course.leaderboard`` takes rows over and renders the page.
"""

import datetime
import importlib.metadata
import json
import math
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from recfuse_lib import __version__
from recfuse_lib.pretrained import store

REPOSITORY = Path(__file__).parents[2]
COMMITTED = REPOSITORY / "docs" / "leaderboard"

PROTOCOLS = {
    "warm": ("ndcg@10", "each user's last 20 % of positive ratings, ranked among all movies"),
    "rolling": ("ndcg@10", "every positive rating after one cut in time, ranked among all movies"),
    "cold": ("ndcg@10", "movies that no model has seen in training, ranked among one another"),
    "rating": ("rmse", "ratings held out at random, predicted in stars"),
    "last-one": ("ndcg@10", "each user's last positive rating: for comparison with papers, never for a claim"),
}
"""Protocol → the metric that sorts its table, and what it asks."""

_LOWER_IS_BETTER = ("rmse", "mae")
PROVENANCE = ["seeds", "tuned", "command", "versions", "date"]


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
    sorts = main_metric(protocol)
    if sorts not in metrics:
        raise ValueError(f"the {protocol} table is sorted by {sorts}; add it to metrics ({list(metrics)})")
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
    path = own_folder() / protocol / f"{slug}.json"
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
    sorts = main_metric(protocol)
    frames = [committed(protocol).assign(run="course"), own(protocol).assign(run="yours")]
    rows = pd.concat([frame for frame in frames if len(frame)] or frames[:1])
    if rows.empty:
        return pd.DataFrame(columns=[sorts, "run"], index=pd.Index([], name="model"))
    rows = rows.drop_duplicates("model", keep="last").set_index("model")
    rows = rows.sort_values([sorts], ascending=sorts in _LOWER_IS_BETTER, kind="stable")
    behind = [*PROVENANCE, "run"] if provenance else ["run"]
    return rows[[name for name in rows.columns if name not in (*PROVENANCE, "run")] + behind]


def committed(protocol: str) -> pd.DataFrame:
    """Returns the rows of a protocol that the course publishes."""
    path = COMMITTED / f"{protocol}.csv"
    return pd.read_csv(path, dtype={"seeds": str}) if path.exists() else pd.DataFrame()


def committed_tables() -> dict[str, pd.DataFrame]:
    """Returns protocol → the rows that the course publishes, best first."""
    tables = {protocol: committed(protocol) for protocol in PROTOCOLS}
    return {protocol: rows.set_index("model") for protocol, rows in tables.items() if len(rows)}


def own(protocol: str) -> pd.DataFrame:
    """Returns the rows of a protocol that this machine recorded."""
    files = sorted((own_folder() / protocol).glob("*.json"))
    return pd.DataFrame([json.loads(path.read_text(encoding="utf-8")) for path in files])


def own_folder() -> Path:
    """Returns the folder of this machine's rows."""
    return Path(os.environ.get("RECFUSE_LEADERBOARD") or store.cache_dir() / "leaderboard")


def main_metric(protocol: str) -> str:
    """Returns the metric that sorts the table of a protocol."""
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


def _versions() -> str:
    packages = [f"{name} {importlib.metadata.version(name)}" for name in ("tensorflow", "keras", "numpy", "scipy")]
    return ", ".join([f"recfuse_lib {__version__}", f"Python {platform.python_version()}", *packages])
