"""Checkpoints: killed at any moment, damaged, of another training, or with a NaN on its way; and LoRA's file."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import finetuning_case as case
import keras
import numpy as np
import pytest
from keras import ops

from recfuse_lib.training import lora, snapshots
from recfuse_lib.training.checkpoints import Checkpoint, NotFinite
from recfuse_lib.training.policies import Policy

WRITER = """
import itertools, sys
import numpy as np
from recfuse_lib.training import snapshots
for turn in itertools.count():
    snapshots.write(sys.argv[1], {"w": np.full(300_000, turn, "float32")}, {"turn": turn})
    if turn == 0:
        print("begun", flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_whoever_is_killed_while_writing_leaves_a_whole_file(tmp_path):
    path = tmp_path / "state.safetensors"
    last = -1
    for pause in (0.0, 0.011, 0.023, 0.037, 0.05):
        path.unlink(missing_ok=True)
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout.readline() == "begun\n"
        time.sleep(pause)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        arrays, record = snapshots.read(path)
        assert (arrays["w"] == record["turn"]).all()
        last = max(last, record["turn"])
    assert last > 0


def test_a_write_that_fails_leaves_the_file_before_it(tmp_path, monkeypatch):
    path = tmp_path / "state.safetensors"
    snapshots.write(path, {"w": np.ones(3)}, {"turn": 1})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        snapshots.write(path, {"w": np.zeros(3)}, {"turn": 2})
    assert snapshots.read(path)[1] == {"turn": 1}


@pytest.mark.parametrize("damage", ["truncated", "altered", "empty", "something else"])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "state.safetensors"
    snapshots.write(path, {"w": np.arange(100.0)}, {})
    content = bytearray(path.read_bytes())
    if damage == "altered":
        content[-20] ^= 1
    path.write_bytes({"truncated": content[:-30], "altered": content, "empty": b""}.get(damage, b"hello, world"))
    with pytest.raises(snapshots.SnapshotError, match=r"state\.safetensors"):
        snapshots.read(path)


class StopAfter(keras.callbacks.Callback):
    """As good as a kill for what is on the disk: nothing of Keras's runs after it."""

    def __init__(self, round_, batch):
        super().__init__()
        self.at, self.round = (round_, batch), 0

    def on_epoch_begin(self, epoch, logs=None):
        self.round = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.round, batch) == self.at:
            raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
def test_an_interrupted_training_goes_on_to_the_same_curve_and_the_same_weights(tmp_path):
    def run(path, *callbacks):
        keras.utils.set_random_seed(0)
        tuned = case.model("top-1", dropout=0.2)
        patience = keras.callbacks.EarlyStopping("loss", patience=2, restore_best_weights=True)
        checkpoint = Checkpoint(path, {"rate": 0.01}, patience)
        case.learn(tuned, rounds=3, steps=2, callbacks=[*callbacks, patience, checkpoint])
        return tuned, checkpoint

    whole, expected = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", StopAfter(1, 0))
    keras.utils.set_random_seed(99)
    resumed, found = run(tmp_path / "cut")
    assert len(found.history) == 3
    for one, other in zip(found.history, expected.history, strict=True):
        assert one == pytest.approx(other, rel=1e-5, abs=1e-7)
    np.testing.assert_allclose(resumed.table, whole.table, atol=1e-6)
    np.testing.assert_allclose(resumed.score(case.queries()), whole.score(case.queries()), atol=1e-5)
    assert found.early_stopping.best == pytest.approx(expected.early_stopping.best, rel=1e-5)


@pytest.mark.usefixtures("eager")
def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    case.learn(case.model("frozen"), rounds=1, callbacks=[Checkpoint(tmp_path / "one", {"rate": 0.01})])
    with pytest.raises(ValueError, match=r"rate is '0\.02' here and '0\.01' there"):
        case.learn(case.model("frozen"), rounds=1, callbacks=[Checkpoint(tmp_path / "one", {"rate": 0.02})])


def test_a_nan_is_named_and_the_checkpoint_is_what_it_was(tmp_path):
    tuned = case.model("top-1")
    history = case.history()
    batches = tuned.batches(history, batch_size=48, encoded=8, seed=3)
    row = batches.rows(4)[7]
    batches.inputs["rating"][row] = np.nan
    first = next(step for step in range(10) if row in batches.rows(step))
    done = first // 2
    checkpoint = Checkpoint(tmp_path / "one")
    with pytest.raises(NotFinite, match=rf"step {first}.*example {row} \(user \d+, item \d+\): rating is nan") as error:
        case.learn(tuned, rounds=4, steps=2, callbacks=[checkpoint], batches=batches)
    if done:
        assert f"state after round {done}" in str(error.value)
        arrays, record = snapshots.read(tmp_path / "one")
        assert len(record["history"]) == done
        assert all(np.isfinite(array).all() for array in arrays.values() if array.dtype.kind == "f")


def test_a_training_that_diverges_is_named(tmp_path):
    with pytest.raises(NotFinite, match="the training diverged: lower the learning rate"):
        case.learn(case.model("frozen"), 4, 4, rate=1e30, name="sgd", clip=None, callbacks=[Checkpoint(tmp_path / "a")])


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
def test_lora_alone_merged_and_unmerged_says_the_same(tmp_path):
    tuned = case.model("lora-2")
    case.learn(tuned, rounds=1, rate=0.2)
    expected, scores = tuned.encode(), tuned.score(case.queries())
    assert np.abs(expected - case.model("lora-2").encode()).max() > 0.01

    size = lora.save(tuned.encoder, tmp_path / "lora")
    other = case.encoder()
    lora.load(other, tmp_path / "lora")
    np.testing.assert_allclose(other.encode(case.texts()), tuned.encoder.encode(case.texts()), atol=1e-6)
    assert size < 8_000

    kept = lora.merge(tuned.encoder)
    plain = case.encoder()
    plain.backbone.set_weights(
        [ops.convert_to_numpy(w) for w in tuned.encoder.backbone.weights if "lora" not in w.name]
    )
    np.testing.assert_allclose(plain.encode(case.texts()), other.encode(case.texts()), atol=1e-5)
    tuned.refresh()
    np.testing.assert_allclose(tuned.score(case.queries()), scores, atol=1e-5)
    lora.unmerge(tuned.encoder, kept)
    tuned.refresh()
    np.testing.assert_allclose(tuned.encode(), expected, atol=1e-5)
    np.testing.assert_allclose(tuned.score(case.queries()), scores, atol=1e-5)


def with_lora(policy):
    encoder = case.encoder()
    Policy.named(policy).apply(encoder)
    return encoder


def test_lora_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no LoRA"):
        lora.save(case.encoder(), tmp_path / "none")
    lora.save(with_lora("lora-2"), tmp_path / "two")
    with pytest.raises(ValueError, match="shape"):
        lora.load(with_lora("lora-3"), tmp_path / "two")
    with pytest.raises(ValueError, match="has LoRA in layer 2"):
        lora.load(with_lora("lora-2-top-1"), tmp_path / "two")
    with pytest.raises(ValueError, match="which this encoder does not have"):
        lora.load(case.encoder(n_layers=2), tmp_path / "two")


def curve(path, *callbacks):
    """The losses of three rounds, of which a checkpoint at `path` may hold some already."""
    keras.utils.set_random_seed(0)
    checkpoint = Checkpoint(path)
    case.learn(case.model("top-1", dropout=0.2), rounds=3, steps=2, callbacks=[*callbacks, checkpoint])
    return [logs["loss"] for logs in checkpoint.history]


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import keras
from eager import eagerly
from test_checkpoints import curve
left = int(sys.argv[3])
def die(step, logs):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
with eagerly(sys.argv[4] == "eager"):
    curve(sys.argv[2], keras.callbacks.LambdaCallback(on_train_batch_end=die))
"""


def killed_after(steps, path, way):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(path), str(steps), way], capture_output=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_process_that_is_killed_in_the_middle_of_a_round_goes_on_to_the_same_curve(tmp_path):
    killed_after(3, tmp_path / "killed", "eager")
    assert len(snapshots.read(tmp_path / "killed")[1]["history"]) == 1
    assert curve(tmp_path / "killed") == pytest.approx(curve(tmp_path / "whole"), abs=1e-6)


@pytest.mark.soak
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_training_that_is_killed_again_and_again_ends_in_the_same_curve(tmp_path):
    """As a graph, which is how lessons train; every process dies in the middle of a round."""
    for steps, rounds in ((1, 0), (3, 1), (1, 1), (3, 2), (1, 2)):
        killed_after(steps, tmp_path / "killed", "graph")
        path = tmp_path / "killed"
        assert (len(snapshots.read(path)[1]["history"]) if path.exists() else 0) == rounds
    assert curve(tmp_path / "killed") == pytest.approx(curve(tmp_path / "whole"), abs=1e-6)


def test_a_number_keeps_its_shape(tmp_path):
    snapshots.write(tmp_path / "one", {"n": np.array(3), "none": np.zeros((0, 2))}, {})
    arrays, _ = snapshots.read(tmp_path / "one")
    assert {name: array.shape for name, array in arrays.items()} == {"n": (), "none": (0, 2)}
