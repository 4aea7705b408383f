"""Writes `answers.jsonl`: what SmolLM2 says of the people whom notebook 03 describes. About ten minutes on two cores.

    python data/generated/build.py

Each line holds the key of a question (prompt, weights, settings) and the greedy answer. The questions are those of
`recfuse_lib.stated.profiles` for the people of `described`.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    from recfuse_lib.data import movielens
    from recfuse_lib.encoders import language_model
    from recfuse_lib.stated.profiles import profiles
    from recfuse_lib.stated.readers import described

    model = language_model.load("smollm2")
    language_model.COMMITTED = HERE / "nowhere"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RECFUSE_CACHE"] = folder
        dataset = movielens.load()
        for name, fold in described(dataset).items():
            for grounded in (True, False) if name == "warm" else (True,):
                profiles(dataset, fold.queries, model, grounded=grounded)
                print(name, "grounded" if grounded else "free", len(fold.queries), flush=True)
        entries = {file.stem: file.read_text("utf-8").split("\n", 1)[1] for file in Path(folder, "texts").glob("*.txt")}
    lines = [json.dumps({"key": key, "answer": entries[key]}, ensure_ascii=False) for key in sorted(entries)]
    content = ("\n".join(lines) + "\n").encode()
    (HERE / "answers.jsonl").write_bytes(content)
    checksums = {"answers": {"file_sha256": hashlib.sha256(content).hexdigest()}}
    (HERE / "checksums.json").write_text(json.dumps(checksums, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
