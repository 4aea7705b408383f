"""How a machine compares with the reference machine, in about a minute.

    python benchmarks/machine.py

Budgets of this course are processor seconds of the reference machine, on which ``make test`` of commit 3088809 takes
2,398, its unit tests and doctests 912. This workload is fixed: products, factorisations, sparse products, plain Python,
a small Keras training and imports, each in processes of their own. It was run on the same machine as those unit tests
(``MEASURED``), so that from its seconds alone any machine's factor follows: multiply a budget by the factor to get that
machine's.
"""

import argparse
import json
import os
import platform
import re
import resource
import subprocess
import sys
from pathlib import Path

MACHINE = Path(__file__).resolve().parents[1] / "build" / "machine.json"
"""Where the result is kept for the runner of the course."""

REFERENCE = 912.0
"""Processor seconds of the unit tests and doctests at 3088809 on the reference machine."""

MEASURED = {"unit tests": 1595.0, "workload": 101.8}
"""Processor seconds of the same unit tests and of this workload on one other machine (two cores of an Intel Xeon of the
Sapphire Rapids generation, virtual; other programs ran beside both)."""

SETTINGS = {
    "OMP_NUM_THREADS": "2",
    "OPENBLAS_NUM_THREADS": "2",
    "TF_NUM_INTRAOP_THREADS": "2",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}

PARTS = {
    "products": """
import numpy as np
rng = np.random.default_rng(0)
left, right = rng.normal(size=(2, 2500, 2500)).astype("float32")
for _ in range(60):
    left = left @ right
    left /= np.abs(left).max()
""",
    "factorisations": """
import numpy as np
rng = np.random.default_rng(0)
for _ in range(6):
    rows = rng.normal(size=(2000, 2000))
    np.linalg.inv(rows.T @ rows + 2000 * np.eye(2000))
""",
    "sparse products": """
import numpy as np, scipy.sparse as sparse
rng = np.random.default_rng(0)
for _ in range(12):
    log = sparse.random(6000, 5000, 0.01, format="csr", dtype="float32", random_state=rng)
    alike = log.T @ log
    log @ alike
""",
    "plain Python": """
import json, random, re
random.seed(0)
for _ in range(45):
    rows = [{"user": random.randrange(10**6), "title": f"Film {number} (1979)"} for number in range(40_000)]
    rows = json.loads(json.dumps(rows))
    years = [re.search(r"\\((\\d{4})\\)", row["title"]).group(1) for row in rows]
    rows.sort(key=lambda row: row["user"])
""",
    "Keras training": """
import keras, numpy as np
keras.utils.set_random_seed(0)
users, items = (np.random.default_rng(seed).integers(0, 4000, 100_000) for seed in (0, 1))
who, what = keras.Input((), dtype="int32"), keras.Input((), dtype="int32")
dot = keras.layers.Dot(1)([keras.layers.Embedding(4000, 64)(who), keras.layers.Embedding(4000, 64)(what)])
model = keras.Model([who, what], keras.layers.Dense(1)(keras.layers.Dense(128, "relu")(dot)))
model.compile("adam", "mse", steps_per_execution=16)
model.fit([users, items], (users % 5).astype("float32"), batch_size=256, epochs=3, verbose=0)
""",
    "imports": "import tensorflow, keras, keras_hub, pandas, scipy.stats, sklearn.linear_model, matplotlib.pyplot",
}
"""What each part runs, in a Python of its own."""


def run(part: str) -> float:
    """Run a part and return its processor seconds, user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", PARTS[part]], check=True, env=os.environ | SETTINGS)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def factor(workload: float) -> float:
    """Return how many processor seconds this machine needs for one of the reference machine's.

    Args:
        workload: Processor seconds of all parts together.
    """
    return workload / MEASURED["workload"] * MEASURED["unit tests"] / REFERENCE


def processor() -> str:
    """Return the processor's name as the system gives it."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.processor()
    names = re.findall(r"^model name\s*: (.*)$", text, re.M)
    return names[0] if names else platform.machine()


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    total = 0.0
    for part in PARTS:
        seconds = run(part)
        total += seconds
        print(f"{part:<16}{seconds:8.1f} processor seconds", flush=True)
    print(f"{'all':<16}{total:8.1f} processor seconds")
    print(f"One processor second of the reference machine is {factor(total):.2f} here.")
    MACHINE.parent.mkdir(exist_ok=True)
    MACHINE.write_text(json.dumps({"processor": processor(), "factor": f"{factor(total):.2f}"}), "utf-8")


if __name__ == "__main__":
    main()
