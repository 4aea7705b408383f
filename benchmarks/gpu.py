"""Joint fine-tuning on one accelerator: tokens a second, share of the card's peak and memory of every freeze policy.

    KERAS_BACKEND=jax python benchmarks/gpu.py --out build/gpu        # at most eight minutes on one card
    python benchmarks/gpu.py --out build/gpu --tiny                   # the same code at toy size, on any machine

The model is that of lesson 09: the language model inside the joint graph, both losses, AdamW with a rate for each
layer. Encoder and recommender have their real shapes, weights and texts are random, since neither changes the speed;
people, films and histories are MovieLens. Only training steps are timed, not the refresh of the table between rounds.

What keeps a card busy:

- Examples, and what enters the lowest layer that learns, lie on the card; a step is told row numbers alone.
- All texts of a step fill one bucket, 32 tokens: nothing is padded, no mask is computed, and each policy compiles once.
- 8,192 texts a step: the recommender's part, and the start of each kernel, weigh little beside the language model's.
- Keras's `fit` leaves results on the card until a round is over, so the next step is queued while one runs.
- No dropout in the language model: it draws more numbers than it is worth in a few hundred steps, and attention with
  dropout has no fused kernel.

What bounds it: MiniLM is narrow. A matrix of 384 × 384 does 192 operations for each byte that its input and output move
in bfloat16, about as many as a card does in the time of one byte (H200: 206, A100: 153). All else between the matrices
(normalisation, residuals, GELU, attention's softmax) moves bytes and computes little, so memory, not arithmetic, should
be the bound, and a wider encoder come nearer to the peak. `frozen` computes nothing of the language model: its row says
what the recommender's part of a step costs.
"""

import argparse
import dataclasses
import itertools
import json
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from keras import ops

if keras.backend.backend() != "tensorflow":
    # KerasHub takes TensorFlow along where it is installed; it needs it for tokenizers alone.
    sys.modules["tensorflow"] = sys.modules["tensorflow_text"] = None

import keras_hub
from tokenizers import Tokenizer, models

from course.lessons import definitions
from recfuse_lib.data import movielens, sequences
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.encoders.text import TextEncoder
from recfuse_lib.models.joint import JointModel
from recfuse_lib.pretrained import store

lesson = definitions("09_fine_tune_on_gpu")

GIB = 2**30

POLICIES = ("frozen", "lora-8-top-2", "top-2", "bias-only", "everything")
"""From the least memory to the most: JAX knows the highest use so far and no other."""
PRECISIONS = ("mixed_bfloat16", "float32")
SECONDS = 420
"""No training begins later, so that all ends within eight minutes."""


@dataclasses.dataclass(frozen=True)
class Size:
    """Shapes of the encoder, MiniLM's by default, and of a training step."""

    vocabulary: int = 30522
    layers: int = 6
    heads: int = 12
    width: int = 384
    inner: int = 1536
    tokens: int = 32
    texts: int = 8192
    examples: int = 4096
    history: int = 200
    dimension: int = 64
    events: int = 100_000
    steps: int = 30
    rounds: int = 4


TINY = Size(40, 3, 2, 8, 16, tokens=8, texts=16, examples=32, history=6, dimension=4, events=500, steps=1, rounds=2)


def random_encoder(size: Size, precision: str) -> TextEncoder:
    """Makes an encoder of this shape whose weights are random."""
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=size.vocabulary,
        num_layers=size.layers,
        num_heads=size.heads,
        hidden_dim=size.width,
        intermediate_dim=size.inner,
        max_sequence_length=max(size.tokens, 512),
        dropout=0.0,
    )
    encoder = TextEncoder(backbone, Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]")), size.tokens)
    lesson.set_precision(encoder, precision)
    return encoder


class OnCard(lesson.FineTuning):
    """The lesson's fine-tuning with its data on the card; inputs are row numbers of examples and items.

    `examples` are those of `sequences.examples`, `lower` (I, T, ...) what enters the lowest layer that learns.
    """

    def __init__(self, joint, text, encodings, seen, examples, lower):
        super().__init__(joint, text, encodings, seen)
        self.examples = {name: self._constant(values) for name, values in examples.items()}
        self.lower = None if text is None else self._constant(lower)

    def _constant(self, values):
        kind = str(values.dtype)
        weight = self.add_weight(shape=values.shape, dtype=kind, initializer="zeros", trainable=False)
        weight.assign(values)
        return weight

    def _batch(self, inputs):
        return inputs | {name: ops.take(values, inputs["row"], axis=0) for name, values in self.examples.items()}

    def encoded(self, inputs, training):
        return self.text(ops.take(self.lower, inputs["fresh"], axis=0), training=training)

    def call(self, inputs, training=False):
        return super().call(self._batch(inputs), training)

    def compute_loss(self, x, y=None, y_pred=None, sample_weight=None, training=True):
        return super().compute_loss(self._batch(x), y, y_pred, sample_weight, training)


class Clock(keras.callbacks.Callback):
    """Measures the seconds of each round, until its results are there."""

    def on_train_begin(self, logs=None):
        self.seconds, self.losses = [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.begun = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.losses.append(float(logs["loss"]))  # waits for the card
        self.seconds.append(time.perf_counter() - self.begun)


def flops_per_token(encoder: TextEncoder, start: int | None, tokens: int) -> int:
    """Counts the operations that one token of a training step needs in the language model.

        Σ_m 2 P_m (1 + s_m + g_m) + Σ_l 12 T D

    m runs over the matrices of the layers from `start` on, of P_m numbers each, LoRA's thin ones included: 2 P_m
    forward, 2 P_m for the gradient by its input (s_m, 0 where nothing below learns), 2 P_m for its own (g_m, 0 where it
    is frozen). l runs over these layers: T tokens of D numbers are compared and mixed in attention, 4 T D forward and
    twice that backward. Embeddings, normalisations, biases, activations and the recommender are not counted.
    """
    if start is None:
        return 0
    first, total = max(start, 0), 0
    for number, layer in enumerate(encoder.backbone.transformer_layers[first:], first):
        for name, dense in lesson.dense_layers(layer).items():
            bottom = number == start and name in ("query", "key", "value")
            matrices = [dense._kernel, *([dense.lora_kernel_a, dense.lora_kernel_b] if dense.lora_enabled else [])]
            for matrix in matrices:
                # What LoRA's B reads is A's, which learns.
                needed = not bottom or (dense.lora_enabled and matrix is dense.lora_kernel_b)
                total += 2 * int(np.prod(matrix.shape)) * (1 + needed + bool(matrix.trainable))
        total += 12 * tokens * encoder.dimensions
    return total


def peak_memory() -> float | None:
    """The most memory of the card that was in use so far, GiB, where the backend says so."""
    if keras.backend.backend() == "jax":
        import jax

        statistics = jax.local_devices()[0].memory_stats() or {}
        return statistics["peak_bytes_in_use"] / GIB if "peak_bytes_in_use" in statistics else None
    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.max_memory_allocated() / GIB if torch.cuda.is_available() else None
    return None


def batches(size: Size, examples, known, generator):
    """The row numbers of one round's steps."""
    for _ in range(size.steps):
        row = generator.integers(len(examples["item"]), size=size.examples, dtype="int32")
        widths = np.zeros(len(known), int)
        fresh, weight = lesson.chosen_items(examples["item"][row], known, size.texts, widths, generator)
        yield {"row": row, "fresh": fresh, "weight": weight}


def measure(
    size: Size, policy: str, precision: str, examples: sequences.Arrays, peak: float | None, eager: bool
) -> dict:
    """Trains one policy and returns its row of the report."""
    keras.utils.clear_session()  # frees the card of the model before
    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    n_users, n_items = (int(examples[name].max()) + 1 for name in ("user", "item"))
    known = np.arange(n_items)
    size = dataclasses.replace(size, texts=min(size.texts, n_items))
    encoder = random_encoder(size, precision)
    start = lesson.apply_policy(encoder, policy)
    ids = generator.integers(size.vocabulary, size=(n_items, size.tokens), dtype="int32")
    text, lower = None, ids
    if start is not None:
        text = lesson.TunableEncoder(encoder, None, start, lower=ids)
        if start >= 0:
            lower = lesson.run_layers(encoder.backbone, lesson.embed(encoder.backbone, ids), 0, start)
            lower = ops.convert_to_numpy(ops.cast(lower, "float32"))
    joint = JointModel(dimension=size.dimension, history_length=size.history)
    joint.build(n_users, n_items, {"text": size.width})
    encodings = ItemEncodings.of({"text": generator.normal(size=(n_items, size.width)).astype("float32")})
    model = OnCard(joint, text, encodings, known, examples, lower)
    weights = {weight.path: weight for weight in encoder.backbone.weights}
    before = {path: ops.convert_to_numpy(weight).copy() for path, weight in weights.items()}

    model.compile(lesson.optimizer("adamw", 1e-3, lesson.layer_rates(encoder, 0.1)), run_eagerly=eager)
    clock, used = Clock(), peak_memory()
    steps = list(batches(size, examples, known, generator))
    if text is None:
        steps = [{"row": step["row"]} for step in steps]
    stream = ((step,) for step in itertools.cycle(steps))
    model.fit(stream, epochs=size.rounds, steps_per_epoch=size.steps, shuffle=False, verbose=0, callbacks=[clock])

    moved = {path for path, weight in weights.items() if np.any(ops.convert_to_numpy(weight) != before[path])}
    learns = {path for path, weight in weights.items() if weight.trainable}
    seconds = float(np.median(clock.seconds[1:])) / size.steps
    tokens = size.texts * size.tokens if text else 0
    operations = flops_per_token(encoder, start, size.tokens)
    memory = peak_memory()
    return {
        "policy": policy,
        "precision": precision,
        "trainable": lesson.parameters(encoder)[0],
        "tokens_per_step": tokens,
        "flops_per_token": operations,
        "first_round_seconds": clock.seconds[0],
        "seconds_per_step": seconds,
        "examples_per_second": size.examples / seconds,
        "tokens_per_second": tokens / seconds,
        "tflops_per_second": tokens * operations / seconds / 1e12,
        "share_of_peak": tokens * operations / seconds / peak if peak and tokens else None,
        "peak_memory_gib": memory if memory != used else None,
        "losses": clock.losses,
        "learned_and_moved": sorted(learns & moved),
        "learned_and_stayed": sorted(learns - moved),
        "frozen_and_moved": sorted(moved - learns),
    }


def main() -> None:
    begun = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the report, gpu.json")
    parser.add_argument("--tiny", action="store_true", help="toy shapes, which say nothing about speed")
    parser.add_argument("--texts", type=int, help="texts encoded a step; fewer where the card has less memory")
    parser.add_argument("--peak", type=float, help="dense 16-bit peak of the card in TFLOP/s, where it is not known")
    arguments = parser.parse_args()
    size = TINY if arguments.tiny else Size()
    if arguments.texts:
        size = dataclasses.replace(size, texts=arguments.texts)
    device = lesson.describe_devices()[0]
    peak = arguments.peak * 1e12 if arguments.peak else device.peak
    # Nothing is measured on TensorFlow without a card, and its graphs take longer to make than toys to train.
    eager = (device.kind, keras.backend.backend()) == ("cpu", "tensorflow")
    report = {
        "device": str(device),
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "peak_tflops": peak and peak / 1e12,
        "size": dataclasses.asdict(size),
        "rows": [],
    }
    events = movielens.load().events().head(size.events)
    codes = {name: pd.factorize(events[name])[0] for name in ("user", "item")}
    examples = sequences.examples(events.assign(**codes), size.history)
    plan = list(itertools.product(PRECISIONS, POLICIES))
    for precision, policy in [*plan[: len(POLICIES)], ("float32", "top-2")] if arguments.tiny else plan:
        if not arguments.tiny and time.perf_counter() - begun > SECONDS:
            print(f"no time left for {policy} in {precision}")
            continue
        row = measure(size, policy, precision, examples, peak, eager)
        report["rows"].append(row)
        store.write(arguments.out / "gpu.json", json.dumps(report, indent=1))
        share = "" if row["share_of_peak"] is None else f"{row['share_of_peak']:.1%}"
        print(f"{precision:<15}{policy:<13}{row['tokens_per_second']:>12,.0f} tokens/s  {share}", flush=True)
    shown = ["policy", "precision", "trainable", "seconds_per_step", "examples_per_second", "tokens_per_second"]
    shown += ["tflops_per_second", "share_of_peak", "peak_memory_gib"]
    print(
        f"\n{report['device']}, Keras {keras.__version__} on {report['backend']}; peak {report['peak_tflops']} TFLOP/s"
    )
    print(pd.DataFrame(report["rows"])[shown].to_string(index=False, float_format="{:,.3f}".format, na_rep=""))


if __name__ == "__main__":
    main()
