"""What to watch while a model learns: the validation metrics after every epoch, and TensorBoard.
Taught in notebook 08.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

TAGS = {
    "retrieval_loss": "retrieval/loss",
    "ranking_loss": "ranking/loss",
    "val_ndcg": "retrieval/val_ndcg",
    "val_rmse": "ranking/val_rmse",
}
"""Name in the logs → name in TensorBoard; all others are kept."""


class TensorBoardLog(keras.callbacks.Callback):
    """Writes a joint model's training for TensorBoard: scalars by task, histograms, HParams.

    Scalars are all logs of an epoch, λ under `balance/`, and what `probe`, a `GradientProbe` of the same training,
    measured. Histograms are the item tower's gates, one a dimension, and the norm of each item's correction δ. `folder`
    is this run's alone; TensorBoard is started on its parent. `settings` are the hyperparameters to compare: numbers,
    strings or booleans.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], probe: Any = None) -> None:
        super().__init__()
        self.folder, self.settings, self.probe = folder, settings, probe

    def on_train_begin(self, logs: Any = None) -> None:
        import tensorflow as tf
        from tensorboard.plugins.hparams import api as hparams  # type: ignore[import-untyped]

        self.writer = tf.summary.create_file_writer(str(self.folder))
        with self.writer.as_default(step=0):
            hparams.hparams(dict(self.settings))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        import tensorflow as tf

        tower = self.model.item_tower
        with self.writer.as_default(step=epoch + 1):
            for name, value in (logs or {}).items():
                tf.summary.scalar(TAGS.get(name, name), value)
            tf.summary.scalar("balance/task_weight", self.model.task_weight)
            for name, gate in zip(tower.names, tower.gates().T, strict=True):
                tf.summary.histogram(f"gates/{name}", gate)
            lengths = np.linalg.norm(ops.convert_to_numpy(tower.correction), axis=1)
            tf.summary.histogram("item_tower/correction_length", lengths)

    def on_train_end(self, logs: Any = None) -> None:
        import tensorflow as tf

        with self.writer.as_default():
            for record in self.probe.records if self.probe is not None else []:
                for name in ("cosine", "retrieval_norm", "ranking_norm"):
                    tf.summary.scalar(f"gradients/{name}", record[name], step=int(record["step"]))
        self.writer.close()
