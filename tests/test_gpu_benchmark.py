"""The benchmark for one card, at toy size on the backend that is installed: its report, what moves, how it counts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
POLICIES = ["frozen", "lora-8-top-2", "top-2", "bias-only", "everything"]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu")
    command = [sys.executable, "benchmarks/gpu.py", "--tiny", "--peak", "0.5", "--out", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert all(policy in done.stdout for policy in POLICIES)
    return json.loads((folder / "gpu.json").read_text())


def test_every_policy_is_measured(report):
    rows = [(row["precision"], row["policy"]) for row in report["rows"]]
    assert rows == [*(("mixed_bfloat16", policy) for policy in POLICIES), ("float32", "top-2")]
    assert report["peak_tflops"] == 0.5
    for row in report["rows"]:
        tokens = 0 if row["policy"] == "frozen" else 16 * 8
        assert row["tokens_per_step"] == tokens
        assert row["tokens_per_second"] == pytest.approx(tokens / row["seconds_per_step"])
        operations = row["tokens_per_second"] * row["flops_per_token"]
        assert row["tflops_per_second"] == pytest.approx(operations / 1e12)
        assert row["share_of_peak"] == (pytest.approx(operations / 0.5e12) if tokens else None)


def test_every_policy_trains_what_it_says_and_nothing_else(report):
    for row in report["rows"]:
        assert not row["frozen_and_moved"], row
        # A shift of all keys alike cancels in the softmax of attention.
        assert all(path.endswith("key/bias") for path in row["learned_and_stayed"]), row
        layers = {path.split("/")[0] for path in row["learned_and_moved"]}
        top = {"transformer_layer_1", "transformer_layer_2"}
        everywhere = {"transformer_layer_0", *top}
        below = {"token_embedding", "position_embedding", "segment_embedding", "embeddings_layer_norm"}
        expected = {"frozen": set(), "bias-only": everywhere, "everything": everywhere | below}
        assert layers == expected.get(row["policy"], top)
        assert all(loss > 0 for loss in row["losses"])


def test_operations_are_those_counted_by_hand(report):
    """8 wide, 16 inside, 2 heads of 4, 8 tokens: a square matrix has 64 numbers, the two of the network 128 each."""
    square, network, attention = 64, 128, 12 * 8 * 8
    forward = 2 * (4 * square + 2 * network)
    # Per head an A of 8 × 8 for a width of 8, one B of 8 × 4 for both heads.
    a, b = 8 * 2 * 8, 8 * 4
    counted = {
        "frozen": 0,
        "everything": 3 * (3 * forward + attention),
        # No gradient by what enters the query, key and value of the lowest layer.
        "top-2": 2 * (3 * forward + attention) - 2 * 3 * square,
        "bias-only": 3 * (2 * forward + attention) - 2 * 3 * square,
        "lora-8-top-2": 2 * (2 * forward + attention + 2 * 2 * 3 * (a + b)) - 2 * 3 * square - 2 * 2 * a,
    }
    assert {row["policy"]: row["flops_per_token"] for row in report["rows"]} == counted
