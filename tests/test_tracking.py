"""What lesson 09 shows while it trains is what the model does, in the logs and in TensorBoard."""

import finetuning_case as case
import numpy as np
import pytest

from recfuse_lib.training.callbacks import TensorBoardLog
from recfuse_lib.training.gradients import task_gradients

lesson = case.lesson


@pytest.mark.usefixtures("eager")
def test_gradients_speed_and_losses_stand_in_the_logs_and_in_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    tuned = case.model("top-2")
    batches = case.batches(tuned, seed=3)
    callbacks = [
        lesson.LayerGradients(batches[0]),
        lesson.ThroughputLogger(batches, 3),
        TensorBoardLog(tmp_path, {"policy": "top-2"}),
    ]
    logs = case.learn(tuned, rounds=1, steps=3, data=batches, callbacks=callbacks)
    top = [weight for weight in tuned.encoder.backbone.transformer_layers[-1].weights if weight.trainable]
    _, (retrieval, _) = task_gradients(tuned, batches[0], top)
    expected = np.sqrt(sum(np.vdot(part, part) for part in retrieval))
    assert logs["gradients/layer_2/retrieval"][0] == pytest.approx(expected, rel=1e-4)
    assert not any("layer_0" in name for name in logs)
    assert logs["learning_rate"] == pytest.approx([0.01])
    tokens = sum(batches[step]["mask"].size for step in range(3))
    assert logs["tokens_per_second"][0] * logs["seconds"][0] == pytest.approx(tokens)

    events = EventAccumulator(str(tmp_path))
    events.Reload()
    for tag, name in {
        "retrieval/loss": "retrieval_loss",
        "gradients/layer_2/ranking": "gradients/layer_2/ranking",
    }.items():
        (event,) = events.Tensors(tag)
        assert tensor_util.make_ndarray(event.tensor_proto) == pytest.approx(logs[name][0], rel=1e-5)


def test_operations_are_counted_for_what_runs_and_what_learns():
    one_layer = 4 * 8 * 8 + 2 * 8 * 16
    assert lesson.flops_per_token(case.model("frozen").text) == 0
    assert lesson.flops_per_token(case.model("top-1").text) == 6 * one_layer
    assert lesson.flops_per_token(case.model("bias-only").text) == 4 * 3 * one_layer
    # Each of two heads has an A of 8 × 2; B of 2 × 4 is shared; query and value.
    added = 2 * (8 * 2 * 2 + 2 * 4)
    assert lesson.flops_per_token(case.model("lora-2-top-1").text) == 4 * (one_layer + added) + 2 * added


def test_the_callback_of_weights_and_biases_works_offline_with_these_logs(tmp_path):
    wandb = pytest.importorskip("wandb")
    from wandb.integration.keras import WandbMetricsLogger

    run = wandb.init(project="recfuse", mode="offline", dir=str(tmp_path), settings=wandb.Settings(silent=True))
    case.learn(case.model("frozen"), rounds=2, callbacks=[WandbMetricsLogger()])
    run.finish()
    (kept,) = (tmp_path / "wandb").glob("offline-run-*")
    assert next(kept.glob("*.wandb")).stat().st_size > 0
