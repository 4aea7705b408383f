"""What a training runs on: GPUs of any backend, the precision that pays there, several devices, too little memory.

Taught in notebook 09.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from typing import Any

from recfuse_lib.encoders.text import TextEncoder

GIB = 2**30
BFLOAT16_SINCE, FLOAT16_SINCE = 8.0, 7.0
"""CUDA compute capability from which a card has units for bfloat16 (Ampere) and for float16 (Volta)."""

PEAK_TFLOPS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L4": 121.0, "T4": 65.0, "V100": 125.0}
"""Dense 16-bit peak of a card in 10¹² FLOP/s, from the vendor's data sheets (SXM where there are several)."""


@dataclasses.dataclass(frozen=True)
class Device:
    """A processor that the backend can use.

    Attributes:
        kind: "cpu", "gpu" or "tpu".
        name: Its name.
        memory: GiB, or None where the backend does not say.
        capability: CUDA compute capability, or None.
    """

    kind: str
    name: str
    memory: float | None = None
    capability: float | None = None

    def __str__(self) -> str:
        memory = f", {self.memory:.0f} GiB" if self.memory else ""
        return f"{self.kind.upper()} {self.name}{memory}"

    @property
    def peak(self) -> float | None:
        """16-bit peak in FLOP/s, where the card is known."""
        return next((1e12 * value for card, value in PEAK_TFLOPS.items() if card in self.name), None)


def describe_devices() -> list[Device]:
    """The devices of the Keras backend (TensorFlow, JAX or PyTorch): accelerators first, the CPU last.

    Example:
        >>> describe_devices()[-1].kind
        'cpu'
    """
    import keras

    found = {"tensorflow": _of_tensorflow, "jax": _of_jax, "torch": _of_torch}[keras.backend.backend()]()
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return [*found, Device("cpu", f"{cores} cores", psutil.virtual_memory().total / GIB)]


def _of_tensorflow() -> list[Device]:
    import tensorflow as tf

    found = []
    for device in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(device)
        major, minor = details.get("compute_capability", (0, 0))
        found.append(Device("gpu", details.get("device_name", "unnamed"), None, major + minor / 10 or None))
    return found


def _of_jax() -> list[Device]:
    import jax  # type: ignore[import-not-found]

    found = []
    for device in jax.devices():
        if device.platform != "cpu":
            limit = (device.memory_stats() or {}).get("bytes_limit")
            capability = float(getattr(device, "compute_capability", 0) or 0) or None
            found.append(Device(device.platform, device.device_kind, limit and limit / GIB, capability))
    return found


def _of_torch() -> list[Device]:
    import torch

    found = []
    for number in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(number)
        found.append(Device("gpu", card.name, card.total_memory / GIB, card.major + card.minor / 10))
    return found


def precision_for(device: Device) -> str:
    """The Keras dtype policy that pays on a device: bfloat16 where it is fast, else float16, else float32.

    float16 needs loss scaling: see `recfuse_lib.training.optimizers.optimizer`.

    Example:
        >>> precision_for(Device("cpu", "2 cores"))
        'float32'
        >>> precision_for(Device("gpu", "Tesla T4", 15.0, 7.5))
        'mixed_float16'
    """
    if device.kind == "tpu" or (device.capability or 0) >= BFLOAT16_SINCE:
        return "mixed_bfloat16"
    return "mixed_float16" if (device.capability or 0) >= FLOAT16_SINCE else "float32"


def set_precision(encoder: TextEncoder, precision: str) -> None:
    """Lets a text encoder compute in another precision; the weights stay float32.

    Args:
        encoder: The text encoder; it is changed.
        precision: "float32", "mixed_bfloat16" or "mixed_float16".
    """
    for layer in encoder.backbone._flatten_layers():
        layer.dtype_policy = precision
    encoder.recompile()


def split_cpu(n: int) -> None:
    """Makes TensorFlow see its CPU as n devices, to try on a laptop what several cards would do.

    Raises:
        RuntimeError: TensorFlow has started already; do it first, in a fresh process.
    """
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration() for _ in range(n)])


def replicas() -> int:
    """How many devices share a batch where this is called; 1 without a TensorFlow strategy."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def replicas_of(made: Any) -> int:
    """On how many devices a model or an optimizer is; 1 unless it was made in the scope of a TensorFlow strategy."""
    made = getattr(made, "inner_optimizer", made)
    strategy = getattr(made, "_distribution_strategy", None) or getattr(made, "_distribute_strategy", None)
    return 1 if strategy is None else int(strategy.num_replicas_in_sync)


def mirrored(names: list[str]) -> Any:
    """A `tf.distribute.MirroredStrategy` for devices such as ["GPU:0", "GPU:1"], whose sums are made on the first one.

    Make model and optimizer in its `scope()`. Keras clips each device's gradient before the sum: a training that clips
    is on two devices close to what it is on one, not equal.
    """
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(names, cross_device_ops=tf.distribute.ReductionToOneDevice())


def sum_over_replicas(value: Any) -> Any:
    """The sum of a tensor over all devices that share a batch."""
    if replicas() == 1:
        return value
    import tensorflow as tf

    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)


def gather_from_replicas(value: Any) -> Any:
    """The rows of all devices, one device's after the other's; gradients flow back to where a row came from."""
    if replicas() == 1:
        return value
    import tensorflow as tf

    return tf.distribute.get_replica_context().all_gather(value, axis=0)


class OutOfMemory(RuntimeError):
    """The device's memory did not do; the message says what to change."""


@contextlib.contextmanager
def advise_on_memory(batch_size: int, encoded: int, policy: str, precision: str, accumulate: int = 1) -> Iterator[None]:
    """Turns the backend's out-of-memory error into `OutOfMemory` with advice that fits the settings.

    Args:
        batch_size: Examples a batch.
        encoded: Items encoded anew a batch.
        policy: Name of the freeze policy.
        precision: Dtype policy of the encoder.
        accumulate: Batches a step.

    Raises:
        OutOfMemory: In place of the error of TensorFlow, JAX, PyTorch or Python.
    """
    try:
        yield
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        advice = []
        if encoded > 8:
            advice.append(f"encode fewer items a batch (encoded={encoded // 2} in place of {encoded})")
        if batch_size > 1:
            advice.append(
                f"halve the batch and accumulate (batch_size={batch_size // 2}, accumulate={2 * accumulate}): "
                "the step stays about the same"
            )
        if precision == "float32":
            advice.append("compute the encoder in mixed_bfloat16, on a card that has it: activations take half")
        if policy in ("everything", "bias-only") or policy.startswith("lora"):
            advice.append('train fewer layers (policy "top-2"): no activations are kept below them')
        raise OutOfMemory(
            f"the memory did not do for policy {policy!r} with {batch_size} examples and {encoded} texts a batch in "
            f"{precision}. In this order: " + "; ".join(advice or ["use a device with more memory"])
        ) from error


def _is_out_of_memory(error: BaseException) -> bool:
    name = type(error).__name__
    return (
        isinstance(error, MemoryError)
        or name in ("ResourceExhaustedError", "OutOfMemoryError")
        or ("RESOURCE_EXHAUSTED" in str(error) and name in ("XlaRuntimeError", "JaxRuntimeError", "InternalError"))
    )
