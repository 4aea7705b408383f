"""Checkpoints from which a training goes on as if it had never stopped, and an end to it when the numbers go bad.

Taught in notebook 09.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from recfuse_lib.training import snapshots
from recfuse_lib.training.batches import Batches


class NotFinite(RuntimeError):
    """A loss is NaN or infinite; the message says at which step, why as far as the batch tells, and what to do."""


class Checkpoint(keras.callbacks.Callback):
    """Keeps the state of a `FineTuning` after each round in one file, and goes on from it.

    The state is every weight that moves, the table, the random numbers, the optimizer's moments and step, the logs of
    all rounds, and how patient early stopping still is. What is frozen is not in it: the weights' checksum pins it.

    After each step it looks at the loss. One that is not finite stops the training before anything is written, so the
    file stays the state after the last good round.

    Args:
        path: The file.
        settings: What else the training depends on (learning rate, …); a checkpoint of other settings is refused.
        early_stopping: The training's early stopping, if it has one; it must stand before this callback.

    Attributes:
        history: The logs of all rounds, those before an interruption too.
        size: Bytes of the file.

    Raises:
        NotFinite: A loss is not finite.
    """

    def __init__(
        self,
        path: Path | str,
        settings: Mapping[str, Any] | None = None,
        early_stopping: keras.callbacks.EarlyStopping | None = None,
    ) -> None:
        super().__init__()
        self.path, self.settings, self.early_stopping = Path(path), dict(settings or {}), early_stopping
        self.history: list[dict[str, float]] = []
        self.size = 0
        self._patience: dict[str, Any] | None = None

    def restore(self, model: Any, batches: Batches, rounds: int, steps: int) -> int:
        """Brings a model to the state of the file, if there is one.

        Returns:
            How many rounds are done.

        Raises:
            ValueError: The file is of another training; the message says what differs.
            recfuse_lib.training.snapshots.SnapshotError: The file is damaged.
        """
        self.batches, self.steps, self._round = batches, steps, 0
        self._about = {
            **{name: str(value) for name, value in self.settings.items()},
            "policy": model.policy.name,
            "optimizer": type(model.optimizer).__name__,
            "rounds": rounds,
            "steps a round": steps,
            "batch size": batches.size,
            "items encoded anew": batches.encoded,
            "examples": len(batches.inputs["item"]),
            "seed": batches.seed,
        }
        if not self.path.is_file():
            return 0
        arrays, record = snapshots.read(self.path)
        different = [
            f"{name} is {self._about.get(name)!r} here and {record['about'].get(name)!r} there"
            for name in sorted({*self._about, *record["about"]})
            if self._about.get(name) != record["about"].get(name)
        ]
        if different:
            raise ValueError(
                f"{self.path.name} is a checkpoint of another training: {'; '.join(different)}. "
                "Train with its settings, or give another file"
            )
        variables = _moving(model)
        kept = {name: array.shape for name, array in arrays.items() if not name.startswith("best")}
        if kept != {name: tuple(variable.shape) for name, variable in variables.items()}:
            raise ValueError(f"{self.path.name} is a checkpoint of a model with other weights; give another file")
        for name, variable in variables.items():
            variable.assign(arrays[name])
        self.history, self.size = record["history"], self.path.stat().st_size
        self._patience = record["patience"]
        if self._patience is not None and self._patience["best"] is not None:
            best = iter(arrays[name] for name in sorted(arrays) if name.startswith("best"))
            held = {id(weight) for weight in model.constants}
            weights = [ops.convert_to_numpy(one) if id(one) in held else next(best) for one in model.weights]
            self._patience["best_weights"] = weights if self._patience.pop("keeps_best") else None
        done = len(self.history)
        return rounds if record["stopped"] else done

    def on_train_begin(self, logs: Any = None) -> None:
        # Early stopping forgets everything when a training begins.
        for name, value in (self._patience or {}).items():
            setattr(self.early_stopping, name, value)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._round = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        losses = {name: float(value) for name, value in (logs or {}).items() if name.endswith("loss")}
        if all(math.isfinite(value) for value in losses.values()):
            return
        step = self._round * self.steps + batch
        why = self.batches.where_not_finite(step)
        advice = (
            f"the batch holds it: {why}; mend the data"
            if why
            else "the numbers of the batch are finite, so the training diverged: lower the learning rate, clip the "
            "gradient, or use loss scaling where it is float16"
        )
        kept = f"{self.path.name} holds the state after round {len(self.history)}" if self.history else "none is kept"
        bad = ", ".join(name for name, value in losses.items() if not math.isfinite(value))
        raise NotFinite(
            f"{bad} not finite at step {step} (round {self._round + 1}). Cause: {advice}. Checkpoint: {kept}"
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.history.append({name: float(value) for name, value in (logs or {}).items()})
        arrays = {name: np.asarray(ops.convert_to_numpy(one)) for name, one in _moving(self.model).items()}
        patience = None
        if self.early_stopping is not None:
            best = self.early_stopping.best_weights
            patience = {name: getattr(self.early_stopping, name) for name in ("wait", "best", "best_epoch")}
            patience = {name: None if value is None else float(value) for name, value in patience.items()}
            patience["keeps_best"] = best is not None
            held = {id(weight) for weight in self.model.constants}
            for place, (weight, value) in enumerate(zip(self.model.weights, best or [], strict=False)):
                if id(weight) not in held:
                    arrays[f"best{place:05d}"] = np.asarray(value)
        record = {
            "about": self._about,
            "history": self.history,
            "patience": patience,
            "stopped": bool(self.model.stop_training),
        }
        self.size = snapshots.write(self.path, arrays, record)


def _moving(model: Any) -> dict[str, Any]:
    """Every variable of a model and its optimizer that a training may change, by its place: Keras numbers its names."""
    held = {id(weight) for weight in model.constants}
    own = [variable for variable in model.variables if id(variable) not in held]
    named = {f"model{place:05d}": variable for place, variable in enumerate(own)}
    return named | {f"optimizer{place:05d}": one for place, one in enumerate(model.optimizer.variables)}
