"""LoRA's own weights: kept alone in a small file, put on, merged into the matrices, and taken out again.

The layers are Keras's (`enable_lora`).

Taught in notebook 09.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from keras import ops

from recfuse_lib.encoders.text import TextEncoder
from recfuse_lib.training import snapshots
from recfuse_lib.training.policies import PLACES, dense_layers


def save(encoder: TextEncoder, path: Path | str) -> int:
    """Keeps A and B of every layer that has LoRA in one file.

    Args:
        encoder: A text encoder that a LoRA policy was applied to, not merged.
        path: The file.

    Returns:
        Its size in bytes.

    Raises:
        ValueError: The encoder has no LoRA.
    """
    layers = _with_lora(encoder)
    arrays = {f"{name} {part}": _array(weight) for name, dense in layers.items() for part, weight in _parts(dense)}
    return snapshots.write(path, arrays, {"rank": int(next(iter(layers.values())).lora_rank)})


def load(encoder: TextEncoder, path: Path | str) -> None:
    """Puts the LoRA weights of a file onto an encoder with the pretrained weights.

    Args:
        encoder: A fresh text encoder, or one that has LoRA in the same places.
        path: The file.

    Raises:
        ValueError: The encoder has LoRA elsewhere or of another rank, or another shape.
        recfuse_lib.training.snapshots.SnapshotError: The file is damaged.
    """
    arrays, record = snapshots.read(path)
    names = sorted({name.rsplit(" ", 1)[0] for name in arrays})
    every = _dense(encoder)
    if unknown := [name for name in names if name not in every]:
        raise ValueError(f"{Path(path).name} is for a layer {unknown[0]!r}, which this encoder does not have")
    has = sorted(name for name, dense in every.items() if dense.lora_enabled)
    if has and has != names:
        raise ValueError(f"this encoder has LoRA in {', '.join(has)}; the file is for {', '.join(names)}")
    for name in names:
        dense = every[name]
        if not dense.lora_enabled:
            dense.enable_lora(record["rank"])
        for part, weight in _parts(dense):
            value = arrays[f"{name} {part}"]
            if tuple(weight.shape) != value.shape:
                raise ValueError(f"{name}: the file has shape {value.shape}, the encoder {tuple(weight.shape)}")
            weight.assign(value)
    encoder.recompile()


def merge(encoder: TextEncoder) -> dict[str, np.ndarray]:
    """Adds (α / R) A B to each matrix, so that the encoder is as fast as without LoRA, and answers the same.

    Args:
        encoder: A text encoder with LoRA; it is changed.

    Returns:
        What `unmerge` needs: B by layer.

    Raises:
        ValueError: The encoder has no LoRA.
    """
    kept = {}
    for name, dense in _with_lora(encoder).items():
        dense._kernel.assign(ops.add(dense._kernel, _product(dense)))
        kept[name] = _array(dense.lora_kernel_b)
        dense.lora_kernel_b.assign(np.zeros_like(kept[name]))
    return kept


def unmerge(encoder: TextEncoder, kept: dict[str, np.ndarray]) -> None:
    """Takes back what `merge` did.

    Args:
        encoder: The merged encoder; it is changed.
        kept: What `merge` returned.
    """
    layers = _with_lora(encoder)
    for name, b in kept.items():
        layers[name].lora_kernel_b.assign(b)
        layers[name]._kernel.assign(ops.subtract(layers[name]._kernel, _product(layers[name])))


def _product(dense: Any) -> Any:
    return (dense.lora_alpha / dense.lora_rank) * ops.matmul(dense.lora_kernel_a, dense.lora_kernel_b)


def _parts(dense: Any) -> list[tuple[str, Any]]:
    return [("A", dense.lora_kernel_a), ("B", dense.lora_kernel_b)]


def _dense(encoder: TextEncoder) -> dict[str, Any]:
    """Every matrix that may have LoRA: "layer 3 query" -> its layer."""
    layers = encoder.backbone.transformer_layers
    return {f"layer {depth} {name}": dense_layers(layer)[name] for depth, layer in enumerate(layers) for name in PLACES}


def _with_lora(encoder: TextEncoder) -> dict[str, Any]:
    layers = {name: dense for name, dense in _dense(encoder).items() if dense.lora_enabled}
    if not layers:
        raise ValueError('this encoder has no LoRA; apply a policy such as "lora-8" first')
    return layers


def _array(weight: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(weight))
