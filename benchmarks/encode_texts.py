"""Texts a second: our encoder against sentence-transformers on PyTorch, side by side on the same cores.

Both encode the 9,066 MovieLens texts with the same weights, in processes of their own that wait for their turn, so that
only one works at a time. The order alternates from round to round. Threads are pinned to the same number for both.
sentence-transformers runs at several batch sizes (its default is 32), and the best of them counts. The encodings are
compared as well.

Nothing else should run meanwhile: PyTorch's threads wait for one another in a busy loop, so on a busy machine it loses
far more than we do, and the ratio flatters us.

    pip install torch==2.13.0 sentence-transformers==5.1.2     # or in an environment of its own: --peer PYTHON
    python benchmarks/encode_texts.py [--peer PYTHON] [--rounds 5] [--threads 2] [--texts 9066]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

OURS = "RecFuse"
PEER = "sentence-transformers"
TOLERANCE = 1e-4
PEER_BATCH_SIZES = (32, 64, 128)
WISH = ["something funny for a rainy evening"]


def work(side: str, folder: Path, threads: int) -> None:
    """What each process does: load, then encode on demand. One line of JSON in and out for each order."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    texts = json.loads((folder / "texts.json").read_text("utf-8"))
    started = time.perf_counter()
    if side == OURS:
        from recfuse_lib.encoders.text import TextEncoder

        encoder = TextEncoder.from_pretrained("minilm", progress=False)

        def encode(some: list[str], _: int | None) -> np.ndarray:
            return encoder.encode(some)
    else:
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(threads)
        model = SentenceTransformer(str(folder / "weights"), device="cpu")

        def encode(some: list[str], batch_size: int | None) -> np.ndarray:
            return model.encode(some, batch_size=batch_size or 32, normalize_embeddings=True, show_progress_bar=False)

    loaded = time.perf_counter()
    encode(WISH, None)
    print(json.dumps({"load": loaded - started, "wish": time.perf_counter() - loaded}), file=answers, flush=True)
    for line in sys.stdin:
        batch_size = json.loads(line)
        started, processor = time.perf_counter(), time.process_time()
        encodings = encode(texts, batch_size)
        seconds, processor = time.perf_counter() - started, time.process_time() - processor
        np.save(folder / f"{side}.npy", encodings)
        print(json.dumps({"seconds": seconds, "processor": processor}), file=answers, flush=True)


class Worker:
    """A process that encodes when asked."""

    def __init__(self, python: str, side: str, folder: Path, threads: int) -> None:
        pinned = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")}
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
        self.process = subprocess.Popen(
            [python, __file__, "--work", side, "--folder", str(folder), "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **quiet, **pinned, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
        )
        self.start = self._answer()

    def encode(self, batch_size: int | None = None) -> dict[str, float]:
        assert self.process.stdin is not None
        print(json.dumps(batch_size), file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("A process ended early; is the peer installed? See the head of this file.")
        answer: dict[str, float] = json.loads(line)
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def compare(options: argparse.Namespace, folder: Path) -> bool:
    """Run the rounds, print the tables, and say whether both claims hold."""
    from recfuse_lib import pretrained
    from recfuse_lib.data import movielens

    texts = movielens.load().texts()[: options.texts]
    (folder / "texts.json").write_text(json.dumps(texts), "utf-8")
    (folder / "weights").symlink_to(pretrained.load("minilm"))
    workers = {
        OURS: Worker(sys.executable, OURS, folder, options.threads),
        PEER: Worker(options.peer, PEER, folder, options.threads),
    }
    lanes: list[tuple[str, int | None]] = [(OURS, None), *((PEER, size) for size in PEER_BATCH_SIZES)]
    results: dict[tuple[str, int | None], list[dict[str, float]]] = {lane: [] for lane in lanes}
    for turn in range(options.rounds):
        for lane in lanes if turn % 2 == 0 else lanes[::-1]:
            results[lane].append(workers[lane[0]].encode(lane[1]))
            rate = len(texts) / results[lane][-1]["seconds"]
            print(f"round {turn + 1}: {_title(lane):32} {rate:6.0f} texts/s", flush=True)
    for worker in workers.values():
        worker.close()
    difference = float(np.abs(np.load(folder / f"{OURS}.npy") - np.load(folder / f"{PEER}.npy")).max())

    print(f"\n{len(texts):,} texts, {options.threads} threads, {options.rounds} alternating rounds\n")
    print("| encoder | first pass | median texts/s | lowest–highest | processor s |\n|---|---|---|---|---|")
    rates = {lane: [len(texts) / run["seconds"] for run in runs] for lane, runs in results.items()}
    for lane, rate in rates.items():
        processor = statistics.median(run["processor"] for run in results[lane])
        print(
            f"| {_title(lane)} | {rate[0]:.0f} | {statistics.median(rate):.0f} "
            f"| {min(rate):.0f}–{max(rate):.0f} | {processor:.1f} |"
        )
    best = max(lanes[1:], key=lambda lane: statistics.median(rates[lane]))
    ratios = [ours / peer for ours, peer in zip(rates[OURS, None], rates[best], strict=True)]
    ratio = statistics.median(ratios)
    print(f"\n{OURS} / {_title(best)}: median {ratio:.2f}, rounds {min(ratios):.2f}–{max(ratios):.2f}")
    for side, worker in workers.items():
        print(f"{side}: import and load {worker.start['load']:.1f} s, then the first wish {worker.start['wish']:.2f} s")
    print(f"largest difference between the encodings: {difference:.1e} (allowed {TOLERANCE:.0e})")
    return ratio >= 1 and difference < TOLERANCE


def _title(lane: tuple[str, int | None]) -> str:
    return lane[0] if lane[1] is None else f"{lane[0]}, batch {lane[1]}"


def main() -> int:
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", default=sys.executable, help="the Python that has sentence-transformers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--texts", type=int, default=None, help="only the first so many")
    parser.add_argument("--work", choices=(OURS, PEER), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work, options.folder, options.threads)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return 0 if compare(options, Path(folder)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
