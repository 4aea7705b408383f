"""Devices: found or not, two that share a batch, another precision; and the optimizers."""

import subprocess
import sys
from pathlib import Path

import finetuning_case as case
import keras
import numpy as np
import pytest
from keras import ops

from course.lessons import definitions

lesson = definitions("09_fine_tune_on_gpu")
Device, layer_rates, optimizer, schedule = lesson.Device, lesson.layer_rates, lesson.optimizer, lesson.schedule


def test_the_cpu_is_always_there():
    found = lesson.describe_devices()
    assert found[-1].kind == "cpu"
    assert found[-1].memory > 0.5
    assert "CPU" in str(found[-1])


@pytest.mark.parametrize(
    ("device", "precision", "peak"),
    [
        (Device("gpu", "NVIDIA H100 80GB HBM3", 80.0, 9.0), "mixed_bfloat16", 989e12),
        (Device("gpu", "Tesla T4", 15.0, 7.5), "mixed_float16", 65e12),
        (Device("gpu", "an old one", 4.0, 6.1), "float32", None),
        (Device("tpu", "v4"), "mixed_bfloat16", None),
        (Device("cpu", "2 cores", 8.0), "float32", None),
    ],
)
def test_the_precision_that_pays(device, precision, peak):
    assert (lesson.precision_for(device), device.peak) == (precision, peak)


@pytest.mark.parametrize(("precision", "error"), [("mixed_bfloat16", 0.05), ("mixed_float16", 0.01)])
def test_lower_precision_keeps_float32_weights_and_about_the_same_encodings(precision, error):
    encoder = case.encoder()
    expected = encoder.encode(case.texts())
    lesson.set_precision(encoder, precision)
    found = encoder.encode(case.texts())
    assert 0 < np.abs(found - expected).max() < error
    assert {weight.dtype for weight in encoder.backbone.weights if weight.name == "kernel"} == {"float32"}


@pytest.mark.usefixtures("eager")
def test_float16_with_loss_scaling_learns():
    tuned = case.model("top-1")
    lesson.set_precision(tuned.encoder, "mixed_float16")
    scaled = optimizer("adam", 0.03, layer_rates(tuned.encoder, 0.3), loss_scaling=True)
    logs = case.lesson.train(tuned, case.batches(tuned), scaled, rounds=2, steps=2)
    assert logs["loss"][-1] < logs["loss"][0]


TWO = """
import sys
sys.path.insert(0, sys.argv[1])
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import contextlib, numpy as np
import finetuning_case as case

def run(scope, kind, feed):
    with scope:
        tuned = case.model("top-1", kind=kind)
        logs = case.learn(tuned, rounds=2, steps=3, name="sgd", rate=0.1, clip=None, feed=feed)
    return logs, tuned.joint.score(case.queries())

sums = tf.distribute.ReductionToOneDevice()
two_devices = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=sums)
one, scores_one = run(contextlib.nullcontext(), case.lesson.FineTuning, case.lesson.feed)
two, scores_two = run(two_devices.scope(), case.lesson.Mirrored, case.lesson.feed_parts)
for name in ("loss", "retrieval_loss", "ranking_loss", "staleness"):
    print(name, one[name], two[name])
    assert np.allclose(one[name], two[name], rtol=1e-4, atol=1e-6), name
assert np.abs(scores_one - scores_two).max() < 1e-4
print("equal")
"""


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a strategy of TensorFlow")
def test_two_devices_are_equal_to_one():
    command = [sys.executable, "-c", TWO, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.endswith("equal\n"), done.stdout + done.stderr[-2000:]


def test_layers_learn_slower_the_lower_they_are_and_later_when_unfrozen_one_by_one():
    encoder = case.encoder()
    rates = layer_rates(encoder, 0.1, layer_decay=0.5, unfreeze_every=7)
    by_layer = {path.split("/")[0]: value for path, value in rates.items()}
    assert by_layer["transformer_layer_2"] == (0.1, 0)
    assert by_layer["transformer_layer_1"] == (0.05, 7)
    assert by_layer["transformer_layer_0"] == (0.025, 14)
    assert by_layer["token_embedding"] == pytest.approx((0.0125, 21))
    assert not any("item_tower" in path for path in rates)


def one_step(name, rates=None, steps=1, decay=0.0, value=2.0, gradient=1.0):
    variable = keras.Variable(np.full((2, 2), value, "float32"), name="kernel")
    made = optimizer(name, 0.1, rates and {variable.path: rates}, decay, clip=None)
    made.build([variable])
    for _ in range(steps):
        made.apply([ops.full((2, 2), gradient)], [variable])
    return float(ops.convert_to_numpy(variable)[0, 0])


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_rate_scales_the_step_and_nothing_moves_before_its_turn(name):
    assert one_step(name) == pytest.approx(1.9, abs=1e-4)
    assert one_step(name, rates=(0.5, 0)) == pytest.approx(1.95, abs=1e-4)
    assert one_step(name, rates=(1.0, 2), steps=2) == 2.0
    assert one_step(name, rates=(1.0, 2), steps=3) < 2.0


def test_weight_decay_is_decoupled_in_adamw_and_a_penalty_in_the_others():
    # Adam divides a gradient by its own size, so a penalty vanishes in it; AdamW pulls by η · decay · w.
    assert one_step("adam", decay=0.5) == pytest.approx(1.9, abs=1e-4)
    assert one_step("adamw", decay=0.5) == pytest.approx(2 - 0.1 * 0.5 * 2 - 0.1, abs=1e-4)
    assert one_step("sgd", decay=0.5) == pytest.approx(2 - 0.1 * (1 + 0.5 * 2), abs=1e-4)
    assert one_step("adamw", decay=0.5, rates=(0.5, 0)) == pytest.approx(2 - 0.05 * 0.5 * 2 - 0.05, abs=1e-4)


def test_the_schedule_warms_up_and_cools_down():
    rate = schedule(0.01, steps=100, warm_up=0.1)
    values = np.array([float(rate(step)) for step in range(101)])
    assert values.argmax() == 10
    assert (np.diff(values[:11]) > 0).all()
    assert (np.diff(values[10:]) < 0).all()
    assert float(schedule(0.01, 100, warm_up=0)(0)) == pytest.approx(0.01)


def test_accumulation_takes_the_mean_of_its_batches():
    variable = keras.Variable(np.zeros(1, "float32"), name="kernel")
    made = optimizer("sgd", 1.0, clip=None, accumulate=2)
    made.build([variable])
    made.apply([ops.array([1.0])], [variable])
    assert float(ops.convert_to_numpy(variable)[0]) == 0
    made.apply([ops.array([3.0])], [variable])
    assert float(ops.convert_to_numpy(variable)[0]) == pytest.approx(-2)


def test_the_whole_gradient_is_clipped():
    variable = keras.Variable(np.zeros(2, "float32"), name="kernel")
    made = optimizer("sgd", 1.0, clip=1.0)
    made.build([variable])
    made.apply([ops.array([30.0, 40.0])], [variable])
    np.testing.assert_allclose(ops.convert_to_numpy(variable), [-0.6, -0.8], rtol=1e-5)


def test_optimizers_are_known_by_name_and_kept():
    with pytest.raises(ValueError, match="no optimizer 'lion'; there are adam, adamw, sgd"):
        optimizer("lion", 0.1)
    made = optimizer("adamw", 0.1, {"a": (0.5, 3)}, decay=0.01)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(made))
    assert (again.rates, again.decay) == ({"a": (0.5, 3)}, 0.01)
