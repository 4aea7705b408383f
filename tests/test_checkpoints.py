"""A training of lesson 09 that is killed at any moment continues to the same curve; a NaN stops it; LoRA's own file."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import finetuning_case as case
import keras
import numpy as np
import pandas as pd
import pytest
from keras import ops

lesson = case.lesson


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


def run(folder, *callbacks):
    """Three rounds of two steps, of which a backup in the folder may hold some already; the model and its curve."""
    keras.utils.set_random_seed(0)
    tuned = case.model("top-1", dropout=0.2)
    backup = keras.callbacks.BackupAndRestore(folder / "backup", double_checkpoint=True)
    curve = keras.callbacks.CSVLogger(folder / "curve.csv", append=True)
    done = lesson.rounds_done(folder / "backup")
    case.learn(tuned, rounds=3, steps=2, callbacks=[*callbacks, backup, curve], done=done)
    return tuned, pd.read_csv(folder / "curve.csv")


@pytest.fixture
def folders(tmp_path):
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    return tmp_path / "whole", tmp_path / "cut"


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("damaged", [False, True])
def test_an_interrupted_training_continues_to_the_same_curve_and_the_same_weights(folders, damaged):
    """Also when the last backup was cut off while it was written: the one before it serves."""
    expected, undisturbed = run(folders[0])
    with pytest.raises(KeyboardInterrupt):
        run(folders[1], StopAfter(2, 0))
    if damaged:  # Keras notes the round after its weights
        latest = folders[1] / "backup" / "latest.weights.h5"
        latest.write_bytes(latest.read_bytes()[:-200])
        (folders[1] / "backup" / "training_metadata.json").write_text('{"epoch": 1, "batch": 0}')
    keras.utils.set_random_seed(99)
    resumed, curve = run(folders[1])
    for name in ("loss", "retrieval_loss", "ranking_loss", "staleness"):
        found = curve.groupby("epoch")[name].last()
        np.testing.assert_allclose(found, undisturbed[name], rtol=1e-5, atol=1e-7, err_msg=name)
    for one, other in zip(resumed.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import keras
from eager import eagerly
from test_checkpoints import run
left = int(sys.argv[3])
def die(step, logs):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
with eagerly(sys.argv[4] == "eager"):
    run(Path(sys.argv[2]), keras.callbacks.LambdaCallback(on_train_batch_end=die))
"""


def killed_after(steps, folder, way):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(folder), str(steps), way], capture_output=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_process_that_is_killed_in_the_middle_of_a_round_continues_to_the_same_curve(folders):
    killed_after(3, folders[1], "eager")
    assert lesson.rounds_done(folders[1] / "backup") == 1
    (_, expected), (_, found) = (run(folder) for folder in folders)
    np.testing.assert_allclose(found["loss"], expected["loss"], atol=1e-6)


@pytest.mark.soak
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_training_that_is_killed_again_and_again_ends_in_the_same_curve(folders):
    """As a graph, which is how lessons train; every process dies in the middle of a round."""
    for steps, rounds in ((1, 0), (3, 1), (1, 1), (3, 2), (1, 2)):
        killed_after(steps, folders[1], "graph")
        assert lesson.rounds_done(folders[1] / "backup") == rounds
    (_, expected), (_, found) = (run(folder) for folder in folders)
    np.testing.assert_allclose(found["loss"], expected["loss"], atol=1e-6)


@pytest.mark.usefixtures("eager")
def test_a_nan_stops_the_training_and_the_backup_is_what_it_was(tmp_path):
    tuned = case.model("frozen")
    data = case.batches(tuned, seed=3)
    row = data.rows(4)[7]
    data.inputs["rating"][row] = np.nan
    first = next(step for step in range(10) if row in data.rows(step))
    guards = [keras.callbacks.TerminateOnNaN(raise_error=True), keras.callbacks.BackupAndRestore(tmp_path)]
    with pytest.raises(RuntimeError, match="NaN or Inf loss encountered"):
        case.learn(tuned, rounds=4, steps=2, data=data, callbacks=guards)
    assert int(tuned.optimizer.iterations) - 1 == first and lesson.rounds_done(tmp_path) == first // 2
    assert np.isnan(data[first]["rating"]).any()


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
def test_lora_alone_merged_and_unmerged_says_the_same():
    tuned = case.model("lora-2")
    case.learn(tuned, rounds=1, rate=0.2)
    expected = tuned.text.encode()
    assert np.abs(expected - case.model("lora-2").text.encode()).max() > 0.01

    other = case.encoder()
    lesson.apply_policy(other, "lora-2")
    own, adapters = (lesson.adapters(one) for one in (tuned.encoder, other))
    assert own.keys() == adapters.keys() and len(own) == 3 * 2 * 2
    for path, weight in own.items():
        adapters[path].assign(weight)
    np.testing.assert_allclose(other.encode(case.texts()), tuned.encoder.encode(case.texts()), atol=1e-6)

    taken = lesson.merge(tuned.encoder)
    plain = case.encoder()
    plain.backbone.set_weights(
        [ops.convert_to_numpy(w) for w in tuned.encoder.backbone.weights if "lora" not in w.name]
    )
    np.testing.assert_allclose(plain.encode(case.texts()), other.encode(case.texts()), atol=1e-5)
    lesson.unmerge(taken)
    np.testing.assert_allclose(tuned.text.encode(), expected, atol=1e-5)
