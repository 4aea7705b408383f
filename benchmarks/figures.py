"""Make everything again that lessons and documents read: every table, every notebook, the leaderboard. Hours.

    python benchmarks/figures.py

What was finished is noted in build/figures: after an interruption the same command continues. A step that fails ends
the run with its own message.
"""

import os
import shutil
import subprocess
import sys

import repeat
import tables

BUILD = tables.REPOSITORY / "build"
PROGRESS = BUILD / "figures"
ACCEPT = ["-m", "course.leaderboard", "--accept"]
LEADERBOARD = [f"docs/leaderboard/{name}.csv" for name in ("warm", "rolling", "cold", "last-one", "rating")]
SCRIPTS = [
    *(["benchmarks/peers.py"], ["benchmarks/fused_model.py"], ["benchmarks/joint_model.py"]),
    *([f"benchmarks/{name}.py"] for name in repeat.SCRIPTS if name != "leaderboard_rows"),
    ["benchmarks/encode_with_llm.py", "leaderboard"],
    ACCEPT,
]
NOTEBOOKS = [
    ["-m", "course", "--in-place"],
    ACCEPT,
    ["benchmarks/repeat.py", "--stamp", *LEADERBOARD],
    ["-m", "course", "--readme"],
]
STEPS = [*(("scripts", words) for words in SCRIPTS), *(("notebooks", words) for words in NOTEBOOKS)]
"""Whose rows of the leaderboard are meant, and arguments of Python; nothing reads what a later step makes."""


def main() -> None:
    """Runs every step that is not noted as finished.

    Raises:
        subprocess.CalledProcessError: A step failed; those before it are noted.
    """
    if not PROGRESS.exists():
        for name in repeat.SCRIPTS:  # trainings that older code finished
            shutil.rmtree(BUILD / name, ignore_errors=True)
        PROGRESS.mkdir(parents=True)
    for number, (rows, words) in enumerate(STEPS, start=1):
        finished = PROGRESS / f"{number:02d}"
        print(f"[{number}/{len(STEPS)}] {' '.join(words)}{': done before' if finished.exists() else ''}", flush=True)
        if not finished.exists():
            own = {"RECFUSE_LEADERBOARD": str(PROGRESS / rows), "PYTHONPATH": str(tables.REPOSITORY)}
            subprocess.run([sys.executable, *words], cwd=tables.REPOSITORY, env={**os.environ, **own}, check=True)
            finished.touch()
    shutil.rmtree(PROGRESS)


if __name__ == "__main__":
    main()
