"""Keeps the finished parts of a run on disk, so that an interrupted one continues where it was.
Taught in notebook 21.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from recfuse_lib.data.schema import Dataset
from recfuse_lib.pretrained import store

Say = Callable[[str], None]


@dataclasses.dataclass
class Work:
    """The finished parts of a run, in a folder by name; `deadline` is when the budget ends, by `time.monotonic`."""

    folder: Path
    deadline: float
    say: Say

    @classmethod
    def of(cls, out: Path, dataset: Dataset, minutes: float, say: Say) -> Work:
        """Opens the work for a data set; what was kept for other data is deleted."""
        work = cls(out.with_name(f".{out.name}.unfinished"), time.monotonic() + 60 * minutes, say)
        tables = (
            pd.util.hash_pandas_object(table.astype("str"), index=False).to_numpy()
            for table in (dataset.interactions, dataset.catalogue)
        )
        data = store.sha256(repr((dataset.name, dataset.positives.text, dict(dataset.roles))), *tables)
        if work.kept("data") != data:
            shutil.rmtree(work.folder, ignore_errors=True)
            work.keep("data", data)
        else:
            say(f"continuing with what {work.folder} keeps of an earlier run")
        return work

    @property
    def left(self) -> float:
        """Seconds left of the budget."""
        return self.deadline - time.monotonic()

    def kept(self, name: str) -> Any:
        """Returns what is kept under a name, or None."""
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text("utf-8")) if path.exists() else None

    def keep(self, name: str, value: Any) -> None:
        """Keeps a value that JSON can hold."""
        store.write(self.folder / f"{name}.json", json.dumps(value))

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """Returns what is kept under a name; otherwise makes and keeps it."""
        value = self.kept(name)
        if value is None:
            value = make()
            self.keep(name, value)
        return value

    def tell(self, line: str) -> None:
        """Says a line of progress, with what is left of the budget."""
        left = max(0, round(self.left))
        self.say(f"{line} · {left // 60}:{left % 60:02} of the budget left")
