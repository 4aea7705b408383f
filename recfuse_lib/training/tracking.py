"""What fine-tuning shows while it runs: learning rate, gradients by layer, speed, and a tracker that works offline.

TensorBoard itself is `recfuse_lib.training.monitoring.TensorBoardLog`, which writes all that stands in the logs.

Taught in notebook 09.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from recfuse_lib.training.batches import Batch, Batches
from recfuse_lib.training.finetuning import FineTuning
from recfuse_lib.training.gradients import task_gradients
from recfuse_lib.training.policies import dense_layers


class LayerGradients(keras.callbacks.Callback):
    """Measures after each round how hard each task pulls at each layer of the language model.

    It adds the length of the gradient of ℓ_idx and of ℓ_item, unweighted and with nothing dropped, to the logs:
    `gradients/layer_5/retrieval`, `gradients/layer_5/ranking`, …; the learning rate of φ too, as `learning_rate`.

    Args:
        batch: The batch to measure on, always the same; from `Batches`.
    """

    def __init__(self, batch: Batch) -> None:
        super().__init__()
        self.batch = batch

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = {} if logs is None else logs
        logs["learning_rate"] = float(ops.convert_to_numpy(self.model.optimizer.learning_rate))
        learns = [weight for weight in self.model.encoder.backbone.weights if weight.trainable]
        if not learns:
            return
        _, found = task_gradients(self.model, self.batch, learns)
        for task, gradients in zip(("retrieval", "ranking"), found, strict=True):
            squares: dict[str, float] = {}
            for weight, gradient in zip(learns, gradients, strict=True):
                name = weight.path.split("/")[0].replace("transformer_", "")
                squares[name] = squares.get(name, 0.0) + float(np.vdot(gradient, gradient))
            logs |= {f"gradients/{name}/{task}": float(np.sqrt(value)) for name, value in squares.items()}


class ThroughputLogger(keras.callbacks.Callback):
    """Measures each round: seconds, seconds of the processor, tokens encoded with a gradient, and FLOP/s.

    It adds `seconds`, `processor_seconds`, `tokens_per_second` and `flops_per_second` to the logs; the refresh of the
    table is not part of a round, and the first round holds the compilation.

    Args:
        batches: Of the training.
        steps: Steps a round.
    """

    def __init__(self, batches: Batches, steps: int) -> None:
        super().__init__()
        self.batches, self.steps = batches, steps

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._begun = time.perf_counter(), time.process_time()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        # The last one before the refresh, which is the first callback at the end of a round.
        self._ended = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        seconds, processor = (end - begin for begin, end in zip(self._begun, self._ended, strict=True))
        tokens = 0
        if self.batches.encoded:
            tokens = sum(self.batches[epoch * self.steps + step]["mask"].size for step in range(self.steps))
        if logs is not None:
            logs |= {
                "seconds": seconds,
                "processor_seconds": processor,
                "tokens_per_second": tokens / seconds,
                "flops_per_second": tokens * flops_per_token(self.model) / seconds,
            }


def flops_per_token(model: FineTuning) -> float:
    """Floating-point operations that a step takes for one token in the language model's matrices.

        2 P forward + 2 P for the gradient of the states + 2 P_θ for that of the weights

    with P the entries of the matrices in the layers that run, P_θ of those that learn. Attention's own products are
    left out: for texts of twenty tokens they are about one in a hundred.

    Args:
        model: The fine-tuning.
    """
    if model.start is None:
        return 0.0
    runs = learns = 0
    for layer in model.encoder.backbone.transformer_layers[max(model.start, 0) :]:
        for dense in dense_layers(layer).values():
            parts = [dense._kernel, *([dense.lora_kernel_a, dense.lora_kernel_b] if dense.lora_enabled else [])]
            runs += sum(int(np.prod(part.shape)) for part in parts)
            learns += sum(int(np.prod(part.shape)) for part in parts if part.trainable)
    return float(4 * runs + 2 * learns)


class WandbLog(keras.callbacks.Callback):
    """Sends the logs of each round to Weights & Biases, or keeps them in a folder where there is no network.

    It needs `pip install -e ".[track]"`. Unless `WANDB_MODE` says otherwise it works offline; `wandb sync` sends the
    folder later.

    Args:
        project: The project's name.
        settings: What the dashboard compares.
        folder: Where the run is kept.
    """

    def __init__(self, project: str, settings: Mapping[str, Any], folder: Path | str) -> None:
        super().__init__()
        self.project, self.settings, self.folder = project, dict(settings), Path(folder)

    def on_train_begin(self, logs: Any = None) -> None:
        import wandb

        self.folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=self.project,
            config=self.settings,
            dir=str(self.folder),
            mode=os.environ.get("WANDB_MODE", "offline"),  # type: ignore[arg-type]
            settings=wandb.Settings(silent=True),
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._run.log({name: float(value) for name, value in (logs or {}).items()}, step=epoch + 1)

    def on_train_end(self, logs: Any = None) -> None:
        self._run.finish()
