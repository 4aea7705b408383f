"""Writes what SmolLM2 says and judges in the lessons: `answers.jsonl` and `likelihoods.npz`. An hour on two cores.

    python data/generated/build.py

The lessons and the profiles of `benchmarks/describe_interests.py` are run with an empty cache and without these files;
all that the model wrote, and every large table of log-likelihoods, is kept under the key by which it was asked for.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from recfuse_lib.pretrained import store

HERE = Path(__file__).resolve().parent
LESSONS = ("03_describe_interests", "10_evaluate")
LARGE = 100
"""Tables of fewer clauses are judged anew by every reader."""
WITHOUT = """
from pathlib import Path
from recfuse_lib.encoders import language_model
language_model.COMMITTED = Path("nowhere")
"""
DESCRIBE = """
import sys
sys.path.insert(0, "benchmarks")
import describe_interests
describe_interests.profile_rows()
for fold in describe_interests.folds().values():
    describe_interests.written(fold, ["grounded"])
"""


def run(lesson: str) -> None:
    """Runs a lesson from end to end as if nothing were committed."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(HERE.parents[1] / "notebooks" / f"{lesson}.ipynb", 4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(WITHOUT))
    NotebookClient(notebook, timeout=None, kernel_name="python3").execute()


def kept(kind: str) -> dict[str, np.ndarray]:
    """Key → what the cache holds of a kind."""
    return {file.stem: store.fetch(file.stem, kind) for file in sorted((store.cache_dir() / kind).iterdir())}


def collect() -> dict[str, bytes]:
    """File name → content, from what the cache holds."""
    answers, tables = kept("texts"), kept("likelihoods")
    lines = [json.dumps({"key": key, "answer": str(answer)}, ensure_ascii=False) for key, answer in answers.items()]
    likelihoods = io.BytesIO()
    np.savez_compressed(likelihoods, **{key: table for key, table in tables.items() if len(table) >= LARGE})
    return {"answers.jsonl": ("\n".join(lines) + "\n").encode(), "likelihoods.npz": likelihoods.getvalue()}


def write(files: dict[str, bytes]) -> None:
    """Writes the files and their checksums."""
    for name, content in files.items():
        store.write(HERE / name, content)
    checksums = {Path(name).stem: {"file_sha256": store.sha256(content)} for name, content in files.items()}
    store.write(HERE / "checksums.json", json.dumps(checksums, indent=2) + "\n")


def main() -> None:
    from recfuse_lib import pretrained

    pretrained.load("smollm2")
    weights = pretrained.cache_dir() / "weights"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "weights").symlink_to(weights)
        os.environ["RECFUSE_CACHE"] = folder
        for lesson in LESSONS:
            run(lesson)
            print(lesson, flush=True)
        subprocess.run([sys.executable, "-c", WITHOUT + DESCRIBE], cwd=HERE.parents[1], check=True)
        write(collect())


if __name__ == "__main__":
    main()
