"""How long `recfuse fit` takes, and how much memory, on a log of many people: 20,000 × 12,000, 170,000 interactions.

    python benchmarks/large.py [people items interactions]

The log is simulated: people of forty tastes choose among items of forty kinds, popular ones more often. Nothing about
quality follows from it; what is measured is size.
"""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

TASTES = 40
OF_THEIR_TASTE = 0.7


def log(people: int, items: int, interactions: int, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Makes interactions and a catalogue with titles and kinds; a person chooses an item once."""
    random = np.random.default_rng(seed)
    weight = 1 / (np.arange(items) + 20.0)
    kind, taste = random.integers(0, TASTES, items), random.integers(0, TASTES, people)
    drawn = 2 * interactions
    user = random.permutation(np.repeat(np.arange(people), -(-drawn // people)))[:drawn]
    item = random.choice(items, drawn, p=weight / weight.sum())
    for one in range(TASTES):
        own, of_kind = np.flatnonzero(taste[user] == one), np.flatnonzero(kind == one)
        own = own[random.random(len(own)) < OF_THEIR_TASTE]
        item[own] = random.choice(of_kind, len(own), p=weight[of_kind] / weight[of_kind].sum())
    chosen = pd.DataFrame({"user_id": user, "item_id": item, "timestamp": 1_600_000_000 + 300 * np.arange(drawn)})
    chosen = chosen.drop_duplicates(["user_id", "item_id"])[:interactions]
    number = np.arange(items)
    catalogue = pd.DataFrame({"item_id": number, "title": [f"item {one} of kind {kind[one]}" for one in number]})
    return chosen, catalogue.assign(kind=[f"kind {one}" for one in kind])


def main() -> None:
    """Fits once, and says what it took."""
    size = [int(one) for one in sys.argv[1:]] or [20_000, 12_000, 170_000]
    with tempfile.TemporaryDirectory() as folder:
        for name, table in zip(("log", "items"), log(*size), strict=True):
            table.to_csv(Path(folder) / f"{name}.csv", index=False)
        words = ["fit", "log.csv", "--items", "items.csv", "--signal", "purchase", "--budget", "15"]
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "recfuse_lib", *words], cwd=folder, text=True, stdout=subprocess.PIPE
        )
        minutes = (time.monotonic() - started) / 60
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(done.stdout)
        files = sum(path.stat().st_size for path in (Path(folder) / "model").iterdir()) / 1e6
        left_out = re.findall("left out.*", (Path(folder) / "model" / "report.md").read_text("utf-8"))
    seconds = used.ru_utime + used.ru_stime
    people, items, interactions = size
    print(
        f"{people:,} people, {items:,} items, {interactions:,} interactions: {minutes:.1f} minutes, {seconds:.0f} "
        f"processor seconds, peak memory {used.ru_maxrss / 2**20:.2f} GB, {files:.0f} MB on disk; {left_out or 'whole'}"
    )


if __name__ == "__main__":
    main()
