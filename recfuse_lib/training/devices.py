"""What training runs on: GPUs of any backend, and the precision that pays there. Taught in notebook 09."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recfuse_lib.encoders.text import TextEncoder

GIB = 2**30
PEAK_TFLOPS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L4": 121.0, "T4": 65.0, "V100": 125.0}
"""Dense 16-bit peak of a card in 10¹² FLOP/s, from the vendor's data sheets (SXM where there are several)."""


@dataclasses.dataclass(frozen=True)
class Device:
    """A processor of the backend: "cpu", "gpu" or "tpu", GiB of memory and CUDA capability where known."""

    kind: str
    name: str
    memory: float | None = None
    capability: float | None = None

    def __str__(self) -> str:
        return f"{self.kind.upper()} {self.name}" + (f", {self.memory:.0f} GiB" if self.memory else "")

    @property
    def peak(self) -> float | None:
        """16-bit peak in FLOP/s, where the card is known."""
        return next((1e12 * value for card, value in PEAK_TFLOPS.items() if card in self.name), None)


def describe_devices() -> list[Device]:
    """List the devices of the Keras backend (TensorFlow, JAX or PyTorch): accelerators first, the CPU last."""
    import keras
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cpu = Device("cpu", f"{cores} cores", psutil.virtual_memory().total / GIB)
    if keras.backend.backend() == "torch":
        import torch

        cards = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        return [*(Device("gpu", c.name, c.total_memory / GIB, c.major + c.minor / 10) for c in cards), cpu]
    if keras.backend.backend() == "jax":
        import jax  # type: ignore[import-not-found]

        chips = [device for device in jax.devices() if device.platform != "cpu"]
        memory = [(chip.memory_stats() or {}).get("bytes_limit", 0) / GIB or None for chip in chips]
        capability = [float(getattr(chip, "compute_capability", 0) or 0) or None for chip in chips]
        found = zip(chips, memory, capability, strict=True)
        return [*(Device(chip.platform, chip.device_kind, *rest) for chip, *rest in found), cpu]
    import tensorflow as tf

    details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    versions = [(one.get("device_name", "unnamed"), one.get("compute_capability", (0, 0))) for one in details]
    return [*(Device("gpu", name, None, major + minor / 10 or None) for name, (major, minor) in versions), cpu]


def precision_for(device: Device) -> str:
    """Return the Keras dtype policy that pays on a device; float16, before CUDA capability 8, needs loss scaling.

    Example:
        >>> precision_for(Device("cpu", "2 cores")), precision_for(Device("gpu", "Tesla T4", 15.0, 7.5))
        ('float32', 'mixed_float16')
    """
    if device.kind == "tpu" or (device.capability or 0) >= 8:
        return "mixed_bfloat16"
    return "mixed_float16" if (device.capability or 0) >= 7 else "float32"


def set_precision(encoder: TextEncoder, precision: str) -> None:
    """Let a text encoder compute in "mixed_bfloat16" or another dtype policy; its weights stay float32."""
    for layer in encoder.backbone._flatten_layers():
        layer.dtype_policy = precision
    encoder.recompile()
