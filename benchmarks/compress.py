"""What lesson 12 reads from tables: encoders of text and ways to keep vectors, by quality, time and size.

    python benchmarks/compress.py            # encoders, vectors, index and service, about twenty processor minutes
    python benchmarks/compress.py encoders   # one of them
    python benchmarks/compress.py encoders --peer PYTHON    # model2vec too, from an environment that has it

Quality is NDCG@10 of `cold`: ContentEASE reads the vectors of the texts and nothing else. Its ridge is chosen for each
row on the validation of three splits; the test is scored once. Intervals are 95 % bootstrap intervals over people
and, beside them, over the splits. Milliseconds are processor time for one text after the other on one core, tokenizer
included. The distilled student is trained twice, on half of the films each time, and encodes those that it has not
read. Without `--peer` the row of model2vec stays as it is. `service` puts each encoder into the bundle that
`recfuse fit ml-small` writes. What was encoded is kept in `build/compress`.
"""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import faiss
import numpy as np
import pandas as pd
import serving
import tables
from onnxruntime.quantization import QuantType, quantize_dynamic
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from course.lessons import definitions
from recfuse_lib import pretrained
from recfuse_lib.data import movielens, splits
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import Fold
from recfuse_lib.encoders.centring import Centring
from recfuse_lib.encoders.text import TextEncoder, encode_texts, equal_lengths
from recfuse_lib.evaluation.significance import bootstrap, paired_bootstrap
from recfuse_lib.models.closed_form import ContentEASE
from recfuse_lib.serving.bundle import Bundle, seal
from recfuse_lib.serving.recommender import Recommender
from recfuse_lib.serving.text_encoder import IR_VERSION, OPSET, Graph, TextEncoderSession, export_text_encoder

COMMAND = "python benchmarks/compress.py"
BUILD = tables.REPOSITORY / "build" / "compress"
SPLITS, RIDGES, SAMPLES = range(10), (30.0, 100.0, 300.0), 2_000
TUNED_ON = 3
"""Splits whose validation chooses the ridge."""
IN_THE_SYSTEM = (
    *("MiniLM, 6 layers", "int8", "int8 for new films alone", "first 4 layers", "first 4 layers, int8"),
    *("student for new films alone", "static table", "TF-IDF, 256 directions"),
)
"""Encoders that are also judged inside the dimension "content", beside genres, years and the other attributes."""
TEACHER = "MiniLM, 6 layers"
STUDENT: dict[str, Any] = {"layers": 2, "epochs": 4, "batch": 64, "learning rate": 5e-4, "seed": 0}
WIDTH = 256
"""Of the static table, of random vectors and of TF-IDF's directions."""
TIMED, ROUNDS = 200, 5
"""Film texts that are timed, and how often; encoders take turns."""
NOISE_SEEDS = range(4)
ALONE = "for new films alone"
"""Such an encoder leaves the vectors of known films as they are; a wish is read by it, the films by MiniLM."""
STARTS, NO_ENCODER = 3, "no encoder"
PROBED = (1, 2, 4, 8, 16, 32)
CELLS = 32
LESSON = definitions("12_compress")

DATA = ("movielens",)
CODE = (
    "notebooks/12_compress.ipynb",
    *(f"recfuse_lib/data/{name}.py" for name in ("items", "splits", "weighting")),
    *(f"recfuse_lib/encoders/{name}.py" for name in ("attributes", "centring", "text")),
    *(f"recfuse_lib/evaluation/{name}.py" for name in ("metrics", "significance")),
    *(f"recfuse_lib/models/{name}.py" for name in ("closed_form", "content", "ease", "inner_product")),
    "recfuse_lib/serving/text_encoder.py",
)
SETTINGS = {
    "cold splits": list(SPLITS),
    "ridge chosen on splits": TUNED_ON,
    "ridge": list(RIDGES),
    "bootstrap samples": SAMPLES,
}
NEAR = {"validation": 0.002, "ndcg": 0.002}
ENCODERS = tables.Table(
    "lessons/12_encoders.csv",
    f"{COMMAND} encoders",
    {**SETTINGS, "student": STUDENT, "width": WIDTH, "timed": TIMED, "rounds": ROUNDS},
    (*DATA, "wishes"),
    (*CODE, "notebooks/03_describe_interests.ipynb"),
    ("encoder",),
    NEAR,
)
VECTORS = tables.Table("lessons/12_vectors.csv", f"{COMMAND} vectors", SETTINGS, DATA, CODE, ("vectors",), NEAR)
INDEX = tables.Table(
    "lessons/12_index.csv",
    f"{COMMAND} index",
    {"cold splits": list(SPLITS), "cells": CELLS, "probed": list(PROBED), "bootstrap samples": SAMPLES},
    DATA,
    CODE,
    ("index", "effort"),
    {"recall": 0.02, "ndcg": 0.005},
)
SERVICE = tables.Table(
    "lessons/12_service.csv",
    f"{COMMAND} service",
    {"starts": STARTS},
    (*DATA, "wishes"),
    ("notebooks/03_describe_interests.ipynb", "recfuse_lib/serving/text_encoder.py"),
    ("encoder",),
    {"encoder_mb": 1.0},
)
TABLES = [ENCODERS, VECTORS, INDEX, SERVICE]


# ---------------------------------------------------------------------------------------------- films and people


@functools.cache
def films() -> tuple[Dataset, list[str], np.ndarray]:
    """MovieLens, the text of each film, and what the teacher makes of it."""
    dataset = movielens.load()
    return dataset, dataset.texts(), encode_texts(dataset.texts())


@functools.cache
def folds(part: str) -> list[Fold]:
    return [getattr(splits.cold(films()[0], number), part) for number in SPLITS]


def known_to(fold: Fold) -> np.ndarray:
    return np.unique(fold.history["item"])


def in_the_system(vectors: np.ndarray, fold: Fold) -> np.ndarray:
    """NDCG@10 of each person by the dimension "content": the text, and years, genres and the other attributes."""
    model = ContentEASE().fit(fold.history, fold.items.encoded(text=vectors))
    return LESSON.judged(model.interest(fold.queries) @ model.vectors[fold.candidates].T, fold)


class Scored(NamedTuple):
    """What a way to encode reaches: the ridge that validation chose, and the test by person, all splits together."""

    ridge: float
    validation: float
    test: np.ndarray
    system: np.ndarray


def scored(name: str, vectors: Callable[[Fold], np.ndarray], again: bool = False) -> Scored:
    """Chooses the ridge on the validation of the splits, then scores the test once; kept in `build/compress`."""
    kept = BUILD / f"{name}.npz"
    if again or not kept.exists():
        of_ridge = np.zeros(len(RIDGES))
        for fold in folds("validation")[:TUNED_ON]:
            made = vectors(fold)
            of_ridge += [LESSON.cold_ndcg(made, fold, ridge).mean() for ridge in RIDGES]
        ridge = RIDGES[int(of_ridge.argmax())]
        made = [vectors(fold) for fold in folds("test")]
        test = [LESSON.cold_ndcg(one, fold, ridge) for one, fold in zip(made, folds("test"), strict=True)]
        asked_too = zip(made, folds("test"), strict=True) if name in IN_THE_SYSTEM else ()
        system = [in_the_system(one, fold) for one, fold in asked_too] or [np.zeros(0)]
        BUILD.mkdir(parents=True, exist_ok=True)
        np.savez(
            kept, ridge=ridge, validation=of_ridge.max() / TUNED_ON,
            test=np.concatenate(test), system=np.concatenate(system),
        )  # fmt: skip
    with np.load(kept) as found:
        result = Scored(float(found["ridge"]), float(found["validation"]), found["test"], found["system"])
    print(
        f"{name}: ridge {result.ridge:g}, validation {result.validation:.4f}, test {result.test.mean():.4f}", flush=True
    )
    return result


@functools.cache
def asked() -> tuple[np.ndarray, np.ndarray]:
    """The person and the split of each query of the tests."""
    people = np.concatenate([fold.queries.user for fold in folds("test")])
    return people, np.repeat(list(SPLITS), [len(fold.queries) for fold in folds("test")])


def quality(found: Scored, teacher: Scored) -> dict[str, float]:
    """Columns of a table: means, and differences from the teacher with intervals over people and over splits."""
    people, _ = asked()
    row = {"ridge": found.ridge, "validation": found.validation}
    row |= columns("", "ndcg", bootstrap(by_split(found.test), np.arange(len(SPLITS)), SAMPLES))
    row |= columns("difference_", "difference", paired_bootstrap(found.test, teacher.test, people, SAMPLES))
    apart = by_split(found.test) - by_split(teacher.test)
    over_splits = bootstrap(apart, np.arange(len(SPLITS)), SAMPLES)
    row |= {"split_low": over_splits.low, "split_high": over_splits.high}
    if not len(found.system):
        return row
    row |= {"system": float(by_split(found.system).mean())}
    lead = paired_bootstrap(found.system, teacher.system, people, SAMPLES)
    return row | columns("system_difference_", "system_difference", lead)


def by_split(values: np.ndarray) -> np.ndarray:
    _, split = asked()
    return np.bincount(split, values) / np.bincount(split)


def columns(prefix: str, name: str, interval: Any) -> dict[str, float]:
    return {name: interval.mean, f"{prefix}low": interval.low, f"{prefix}high": interval.high}


# ------------------------------------------------------------------------------------------------------ encoders


class Encoder(NamedTuple):
    """A text encoder: vectors of all films for a fold, one call, and its file."""

    runtime: str
    vectors: Callable[[Fold], np.ndarray]
    call: Callable[[list[str]], np.ndarray]
    megabytes: float


@functools.cache
def teacher() -> TextEncoder:
    return TextEncoder.from_pretrained("minilm", progress=False)


def kept_vectors(name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    path = BUILD / f"{name}.npy"
    if not path.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        np.save(path, make())
    return np.asarray(np.load(path))


def shortened(layers: list[int], weights: Path | None = None) -> TextEncoder:
    """MiniLM with some of its layers, counted from 0, and perhaps with other weights."""
    encoder = TextEncoder.from_pretrained("minilm", progress=False)
    encoder.backbone.transformer_layers = [encoder.backbone.transformer_layers[layer] for layer in layers]
    if weights is not None:
        with np.load(weights) as found:
            for variable, name in zip(trained_of(encoder), found.files, strict=True):
                variable.assign(found[name])
    encoder.recompile()
    return encoder


def onnx_folder(name: str, layers: list[int], weights: Path | None = None) -> Path:
    folder = BUILD / "onnx" / name
    if not (folder / "text_encoder.onnx").exists():
        folder.mkdir(parents=True, exist_ok=True)
        export_text_encoder(shortened(layers, weights), folder)
    return folder


def int8_folder(name: str, source: Path, **how: Any) -> Path:
    folder = BUILD / "onnx" / name
    if not (folder / "text_encoder.onnx").exists():
        folder.mkdir(parents=True, exist_ok=True)
        quantize_dynamic(source / "text_encoder.onnx", folder / "text_encoder.onnx", weight_type=QuantType.QInt8, **how)
        shutil.copy(source / "tokenizer.json", folder)
    return folder


def served(name: str, folder: Path) -> Encoder:
    """As the service runs it: ONNX Runtime, one text at a time."""
    session = TextEncoderSession(SimpleNamespace(folder=folder))  # type: ignore[arg-type]
    vectors = kept_vectors(name, lambda: session(films()[1]))
    size = (folder / "text_encoder.onnx").stat().st_size
    return Encoder("ONNX Runtime", lambda fold: vectors, session, size / 1e6)


def trained_of(encoder: TextEncoder) -> list[Any]:
    return [weight for layer in encoder.backbone.transformer_layers for weight in layer.trainable_variables]


def student_weights(half: int) -> Path:
    """The weights of a student that has read the films of one half: cosine to the teacher, embeddings frozen."""
    path = BUILD / f"student {half}.npz"
    if path.exists():
        return path
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(STUDENT["seed"])
    _, texts, wanted = films()
    encoder = shortened(list(range(STUDENT["layers"])))
    variables, rows = trained_of(encoder), np.flatnonzero(half_of_films() == half)
    tokens = encoder.tokenize([texts[row] for row in rows])
    batches = list(equal_lengths(tokens, STUDENT["batch"]))
    steps = STUDENT["epochs"] * len(batches)
    rate = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=STUDENT["learning rate"], warmup_steps=50)
    optimizer = keras.optimizers.Adam(rate)
    optimizer.build(variables)

    @tf.function(reduce_retracing=True)
    def step(ids: Any, target: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = 1 - tf.reduce_mean(tf.reduce_sum(encoder.forward(ids) * target, axis=1))
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    generator = np.random.default_rng(STUDENT["seed"])
    for epoch in range(STUDENT["epochs"]):
        losses = [
            float(step(tf.constant(np.array([tokens[row] for row in batch], "int32")), wanted[rows[batch]]))
            for batch in (batches[number] for number in generator.permutation(len(batches)))
        ]
        print(f"student {half}, epoch {epoch + 1}: loss {np.mean(losses):.4f}", flush=True)
    np.savez(path, *[np.asarray(variable) for variable in variables])
    return path


def half_of_films() -> np.ndarray:
    """Which of two halves each film belongs to, (I,)."""
    n_items = len(films()[1])
    return np.random.default_rng(STUDENT["seed"]).permutation(n_items) % 2


def students(quantised: bool, read: bool = False) -> Encoder:
    """Each film is encoded by the student that has not read it or, to show what that hides, by the one that has."""
    pair = []
    for half in (0, 1):
        name = f"student {half}"
        folder = onnx_folder(name, list(range(STUDENT["layers"])), student_weights(half))
        if quantised:
            folder = int8_folder(f"{name}, int8", folder, per_channel=True)
        pair.append(served(f"{name}, int8" if quantised else name, folder))
    first, second = (one.vectors(folds("test")[0]) for one in pair)
    takes_first = (half_of_films() == 0) == read
    vectors = np.where(takes_first[:, None], first, second)
    return pair[0]._replace(vectors=lambda fold: vectors)


def for_new_films_alone(encoder: Encoder) -> Encoder:
    """Known films keep the teacher's vectors: what happens where a service changes its encoder and nothing else."""

    def vectors(fold: Fold) -> np.ndarray:
        return np.where(fold.candidates[:, None], encoder.vectors(fold), films()[2])

    return encoder._replace(vectors=vectors)


def keras_int8() -> Encoder:
    encoder = TextEncoder.from_pretrained("minilm", progress=False)
    encoder.backbone.quantize("int8")
    encoder.recompile()
    vectors = kept_vectors("Keras int8", lambda: encoder.encode(films()[1]))
    return Encoder("Keras", lambda fold: vectors, one_by_one(encoder), saved_size(encoder))


def one_by_one(encoder: TextEncoder) -> Callable[[list[str]], np.ndarray]:
    def call(texts: list[str]) -> np.ndarray:
        return np.concatenate([encoder._forward(np.array([ids], "int32")) for ids in encoder.tokenize(texts)])

    return call


def saved_size(encoder: TextEncoder) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "encoder.weights.h5"
        encoder.backbone.save_weights(path)
        return path.stat().st_size / 1e6


@functools.cache
def pieces() -> tuple[np.ndarray, Any]:
    """Vectors of the vocabulary's pieces, (V, D), and how often each is in each film's text."""
    size = teacher().backbone.vocabulary_size
    vectors = kept_vectors("pieces", lambda: LESSON.encode_pieces(teacher(), range(size)))
    return vectors, LESSON.counted_pieces(teacher(), films()[1])


def english_rarity() -> np.ndarray:
    names = (pretrained.load("minilm") / "vocab.txt").read_text("utf-8").splitlines()
    return np.asarray(LESSON.rarity(LESSON.english_shares(names)))


def static(weights: str, width: int = WIDTH, random: bool = False) -> Encoder:
    """The lesson's table: pieces through MiniLM, their widest directions, weights by rarity."""
    vectors, counts = pieces()
    table = LESSON.cut(vectors, np.arange(len(vectors)), width)
    if random:
        table = np.random.default_rng(0).normal(size=table.shape)
    table = table.astype("float32")

    def weighted(known: np.ndarray) -> np.ndarray:
        if weights == "none":
            return np.ones(len(table), "float32")
        if weights == "English":
            return english_rarity()
        counted = np.asarray(counts[known].sum(axis=0)).ravel()
        return np.asarray(LESSON.rarity(counted / counted.sum()))

    ready = table * weighted(np.arange(counts.shape[0]))[:, None]
    tokenizer = tokenizer_of_the_service()

    def call(texts: list[str]) -> np.ndarray:
        sums = np.stack([ready[tokenizer.encode(text).ids[1:-1]].sum(axis=0) for text in texts])
        return np.asarray(sums / np.linalg.norm(sums, axis=1, keepdims=True))

    return Encoder(
        "NumPy", lambda fold: LESSON.static_vectors(counts, table, weighted(known_to(fold))), call, ready.nbytes / 1e6
    )


def tokenizer_of_the_service() -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(onnx_folder(TEACHER, list(range(6))) / "tokenizer.json"))


def words() -> Encoder:
    """No language model: TF-IDF and its widest directions, both learned from known films."""
    texts = films()[1]

    def fitted(known: np.ndarray) -> tuple[TfidfVectorizer, TruncatedSVD]:
        counter = TfidfVectorizer(sublinear_tf=True).fit([texts[film] for film in known])
        return counter, TruncatedSVD(WIDTH, random_state=0).fit(counter.transform([texts[film] for film in known]))

    def vectors(fold: Fold) -> np.ndarray:
        counter, directions = fitted(known_to(fold))
        return np.asarray(directions.transform(counter.transform(texts)), "float32")

    counter, directions = fitted(np.arange(len(texts)))
    size = directions.components_.astype("float32").nbytes / 1e6
    return Encoder("scikit-learn", vectors, lambda some: directions.transform(counter.transform(some)), size)


MODEL2VEC = """
import json, sys, time
import numpy as np
from model2vec.distill import distill
folder, texts, out = sys.argv[1], json.load(open(sys.argv[2])), sys.argv[3]
model = distill(model_name=folder, pca_dims=256)
np.save(out, model.encode(texts))
seconds = []
for text in texts[:200] * 5:
    begun = time.process_time()
    model.encode([text])
    seconds.append(time.process_time() - begun)
print(json.dumps({"ms": 1000 * float(np.median(seconds)), "mb": model.embedding.nbytes / 1e6}))
"""


def model2vec(python: str) -> Encoder:
    """The library's own distillation with its defaults, in an environment of its own."""
    told = BUILD / "model2vec.json"
    if not told.exists():
        with tempfile.NamedTemporaryFile("w", suffix=".json") as texts:
            json.dump(films()[1], texts)
            texts.flush()
            words = [python, "-c", MODEL2VEC, str(pretrained.load("minilm")), texts.name, str(BUILD / "model2vec.npy")]
            told.write_text(subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    said, vectors = json.loads(told.read_text()), np.load(BUILD / "model2vec.npy")
    return Encoder("model2vec", lambda fold: vectors, lambda texts: np.full(1, said["ms"]), said["mb"])


def encoders(peer: str | None) -> Iterator[tuple[str, Encoder]]:
    """Every encoder by its name in the table."""
    whole = onnx_folder(TEACHER, list(range(6)))
    yield TEACHER, served(TEACHER, whole)
    yield "int8", served("int8", int8_folder("int8", whole, per_channel=True))
    yield "int8 for new films alone", for_new_films_alone(served("int8", int8_folder("int8", whole, per_channel=True)))
    one_scale = int8_folder("int8, one scale a matrix", whole, per_channel=False)
    yield "int8, one scale a matrix", served("int8, one scale a matrix", one_scale)
    float32 = TextEncoder.from_pretrained("minilm", progress=False)
    vectors = films()[2]
    yield "MiniLM in Keras", Encoder("Keras", lambda fold: vectors, one_by_one(float32), saved_size(float32))
    yield "int8 in Keras", keras_int8()
    for layers in (4, 3, 2, 1):
        name = f"first {layers}"
        yield f"{name} layers" if layers > 1 else "first layer", served(name, onnx_folder(name, list(range(layers))))
    yield "every other layer", served("every other", onnx_folder("every other", [0, 2, 4]))
    four = onnx_folder("first 4", [0, 1, 2, 3])
    yield "first 4 layers, int8", served("first 4, int8", int8_folder("first 4, int8", four, per_channel=True))
    three = onnx_folder("first 3", [0, 1, 2])
    yield "first 3 layers, int8", served("first 3, int8", int8_folder("first 3, int8", three, per_channel=True))
    yield "student, 2 layers", students(quantised=False)
    yield "student, 2 layers, int8", students(quantised=True)
    yield "student for new films alone", for_new_films_alone(students(quantised=True))
    yield "student that has read the film", students(quantised=False, read=True)
    yield "static table", static("none")
    yield "static table, 64 wide", static("none", 64)
    yield "static table, weights of English", static("English")
    yield "static table, weights counted here", static("counted")
    if peer:
        yield "model2vec", model2vec(peer)
    yield "random table", static("none", random=True)
    yield "TF-IDF, 256 directions", words()


def encoder_rows(peer: str | None) -> pd.DataFrame:
    found = dict(encoders(peer))
    results = {name: scored(name, one.vectors) for name, one in found.items()}
    milliseconds = timed({name: one.call for name, one in found.items() if name != "model2vec"})
    rows = []
    for name, one in found.items():
        ms = milliseconds[name] if name in milliseconds else float(one.call([""])[0])
        costs = {"runtime": one.runtime, "ms": ms, "mb": one.megabytes, "cosine": cosine(one)}
        row = {"encoder": name, **costs, **quality(results[name], results[TEACHER])}
        if name != "model2vec":
            hits = of_wishes(name, one)
            row |= {"wish_ndcg": hits.mean()}
            lead = paired_bootstrap(hits, of_wishes(TEACHER, found[TEACHER]), np.arange(len(hits)), SAMPLES)
            row |= columns("wish_", "wish_difference", lead)
        rows.append(row)
    if not peer and (tables.DOCUMENTS / ENCODERS.path).exists():
        committed = pd.read_csv(tables.DOCUMENTS / ENCODERS.path)
        rows += committed[committed["encoder"] == "model2vec"].to_dict("records")
    return pd.DataFrame(rows)


def cosine(encoder: Encoder) -> float:
    """Mean cosine with MiniLM's vectors, of an encoder that is as wide."""
    fold, raw = folds("test")[0], films()[2]
    vectors = encoder.vectors(fold)
    return float((vectors * raw)[fold.candidates].sum(axis=1).mean()) if vectors.shape == raw.shape else float("nan")


def of_wishes(name: str, encoder: Encoder) -> np.ndarray:
    """NDCG@10 of each wish by its words alone: the films' centred vectors times the wish's, as the service does it."""
    said, (dataset, texts, raw) = wishes(), films()
    if encoder.runtime in ("NumPy", "scikit-learn"):
        vectors = encoder.call(texts)
    else:
        vectors = raw if ALONE in name else encoder.vectors(folds("test")[0])
    asked_for = np.concatenate([encoder.call([wish]) for wish in said["wish"]])
    scores = asked_for @ Centring().fit(vectors).transform(vectors).T
    judge = definitions("03_describe_interests").ndcg_of_wishes
    return np.asarray(judge(scores, list(said["relevant"]), dataset.catalogue))


def timed(calls: dict[str, Callable[[list[str]], np.ndarray]]) -> dict[str, float]:
    """Median processor milliseconds for one film's text; the fastest of the rounds, since others disturb."""
    texts = [films()[1][film] for film in np.random.default_rng(0).choice(len(films()[1]), TIMED, replace=False)]
    medians: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            call(texts[:10])
            seconds = []
            for text in texts:
                begun = time.process_time()
                call([text])
                seconds.append(time.process_time() - begun)
            medians[name].append(1000 * float(np.median(seconds)))
    return {name: min(values) for name, values in medians.items()}


# ------------------------------------------------------------------------------------------------------- vectors


def vector_kinds() -> dict[str, tuple[float, Callable[[Fold], np.ndarray]]]:
    """Bytes an item, and the vectors as they are read again; what is learned is learned from known films."""
    raw = films()[2]

    def int8(vectors: np.ndarray) -> np.ndarray:
        whole, scale = LESSON.in_int8(vectors, axis=0)
        return np.asarray(whole * scale, "float32")

    def cut(width: int) -> Callable[[Fold], np.ndarray]:
        return lambda fold: LESSON.cut(raw, known_to(fold), width)

    def parts(count: int) -> Callable[[Fold], np.ndarray]:
        return lambda fold: LESSON.product_quantised(raw, known_to(fold), count)

    return {
        "float32": (1536, lambda fold: raw),
        "float16": (768, lambda fold: raw.astype("float16").astype("float32")),
        "int8": (384, lambda fold: int8(raw)),
        "1 bit": (48, lambda fold: np.where(raw > np.median(raw[known_to(fold)], axis=0), 1, -1).astype("float32")),
        **{f"{width} widest": (4 * width, cut(width)) for width in (128, 64, 32)},
        "first 64": (256, lambda fold: raw[:, :64]),
        "64 widest of the test": (256, lambda fold: LESSON.cut(raw, np.flatnonzero(fold.candidates), 64)),
        "64 widest, int8": (64, lambda fold: int8(LESSON.cut(raw, known_to(fold), 64))),
        **{f"noise, seed {seed}": (1536, noisy(seed)) for seed in NOISE_SEEDS},
        **{f"{count} codes": (count, parts(count)) for count in (48, 24, 8)},
    }


def noisy(seed: int) -> Callable[[Fold], np.ndarray]:
    """Vectors that were moved at random as far as int8 moves them: what a change of this size does by itself."""
    raw = films()[2]
    cosine = (raw * kept_vectors("int8", lambda: np.zeros(0))).sum(axis=1, keepdims=True)
    noise = np.random.default_rng(seed).normal(size=raw.shape)
    noise -= (noise * raw).sum(axis=1, keepdims=True) * raw
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    moved = np.asarray(cosine * raw + np.sqrt(1 - cosine**2) * noise, "float32")
    return lambda fold: moved


def vector_rows(names: set[str] | None = None) -> pd.DataFrame:
    """Every way to write a vector, or some of them, made again."""
    raw, fold = films()[2], folds("test")[0]
    sample = np.random.default_rng(0).choice(len(raw), 1_000, replace=False)
    before = LESSON.neighbours(raw, sample)
    teacher = scored("vectors, float32", lambda fold: raw, again=names is not None)
    rows = []
    for name, (size, vectors) in vector_kinds().items():
        if names is None or name in names:
            recall = LESSON.kept(before, LESSON.neighbours(vectors(fold), sample))
            found = scored(f"vectors, {name}", vectors, again=names is not None)
            rows.append({"vectors": name, "bytes": size, "recall": recall, **quality(found, teacher)})
    return pd.DataFrame(rows)


# --------------------------------------------------------------------------------------------------------- index


def index_rows(numbers: range = SPLITS) -> pd.DataFrame:
    """What an approximate search among the new films finds, and what that costs the people."""
    found: dict[tuple[str, int], list[tuple[float, np.ndarray, np.ndarray]]] = {}
    for number in numbers:
        fold = folds("test")[number]
        model = LESSON.recommender(films()[2], fold)
        interest = model.interest(fold.queries)
        items = np.ascontiguousarray(model.vectors[fold.candidates])
        exact = faiss.IndexFlatIP(items.shape[1])
        exact.add(items)
        wanted = exact.search(interest, 10)[1]
        best = LESSON.of_lists(wanted, fold)
        for key, index in approximate(items):
            lists = index.search(interest, 10)[1]
            found.setdefault(key, []).append((LESSON.kept(wanted, lists), LESSON.of_lists(lists, fold), best))
    people = np.concatenate([folds("test")[number].queries.user for number in numbers])
    rows = []
    for (name, effort), parts in found.items():
        lists, best = (np.concatenate([part[side] for part in parts]) for side in (1, 2))
        lost = paired_bootstrap(lists, best, people, SAMPLES)
        row = {"index": name, "effort": effort, "recall": np.mean([part[0] for part in parts])}
        row |= {
            "ndcg": np.mean([part[1].mean() for part in parts]),
            "exact": np.mean([part[2].mean() for part in parts]),
        }
        rows.append({**row, **columns("difference_", "difference", lost)})
    return pd.DataFrame(rows)


def approximate(items: np.ndarray) -> Iterator[tuple[tuple[str, int], Any]]:
    cells = faiss.IndexIVFFlat(faiss.IndexFlatIP(items.shape[1]), items.shape[1], CELLS, faiss.METRIC_INNER_PRODUCT)
    cells.train(items)
    cells.add(items)
    for probed in PROBED:
        cells.nprobe = probed
        yield ("cells", probed), cells
    graph = faiss.IndexHNSWFlat(items.shape[1], 8, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = 40
    graph.add(items)
    for effort in (10, 20, 40, 80):
        graph.hnsw.efSearch = effort
        yield ("graph", effort), graph


# ------------------------------------------------------------------------------------------------------- service


def static_graph() -> Any:
    """A static table that the service can load as it is: the lesson's, as wide as MiniLM's vectors, and 1 / length."""
    from onnx import TensorProto, helper

    vectors, _ = pieces()
    table = LESSON.cut(vectors, np.arange(len(vectors)), vectors.shape[1])
    table = table * english_rarity()[:, None]
    table[[LESSON.CLS, LESSON.SEP]] = 0
    graph = Graph()
    rows = graph.add("Gather", graph.constant(table), "token_ids")
    mask = graph.add("Unsqueeze", "attention", graph.constant([2]))
    total = graph.add("ReduceSum", graph.add("Mul", rows, mask), graph.constant([1]), keepdims=0)
    graph.add("LpNormalization", total, name="encoding", axis=-1, p=2)
    kinds, tensor = {"token_ids": TensorProto.INT32, "attention": TensorProto.FLOAT}, helper.make_tensor_value_info
    inputs = [tensor(name, kind, ["batch", "length"]) for name, kind in kinds.items()]
    outputs = [tensor("encoding", TensorProto.FLOAT, ["batch", vectors.shape[1]])]
    described = helper.make_graph(graph.nodes, "text_encoder", inputs, outputs, graph.weights)
    return helper.make_model(described, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def candidates() -> dict[str, Path]:
    """The encoders that the service may have, as files."""
    whole, two = onnx_folder(TEACHER, list(range(6))), list(range(STUDENT["layers"]))
    student = onnx_folder("student 0", two, student_weights(0))
    table = BUILD / "onnx" / "static"
    table.mkdir(parents=True, exist_ok=True)
    (table / "text_encoder.onnx").write_bytes(static_graph().SerializeToString())
    return {
        TEACHER: whole,
        "int8": int8_folder("int8", whole, per_channel=True),
        "student, 2 layers, int8": int8_folder("student 0, int8", student, per_channel=True),
        "static table": table,
    }


def service_rows(model: Path) -> pd.DataFrame:
    """The service with each encoder in its bundle: what it weighs, its start, its memory, and words alone."""
    said = wishes()
    requests = [serving.request({"wish": wish, "k": 10}) for wish in said["wish"]]
    files = {**candidates(), NO_ENCODER: None}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in files}
    lists: dict[str, list[list[str]]] = {}
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        bundles = {name: with_encoder(model, Path(folder) / name, file) for name, file in files.items()}
        for _ in range(STARTS):
            for name, bundle in bundles.items():
                runs[name].append(one_start(bundle, requests))
        for name, bundle in bundles.items():
            lists[name] = answered(bundle, list(said["wish"]))
        sizes = {name: sum(path.stat().st_size for path in bundle.iterdir()) / 1e6 for name, bundle in bundles.items()}
    hits = {name: relevant_share(found, list(said["relevant"])) for name, found in lists.items()}
    rows = []
    for name, of_encoder in runs.items():
        file = files[name]
        encoder = 0.0 if file is None else (file / "text_encoder.onnx").stat().st_size / 1e6
        row: dict[str, Any] = {"encoder": name, "encoder_mb": encoder, "bundle_mb": sizes[name]}
        row |= pd.DataFrame(of_encoder).median().to_dict()
        row["same_items"] = np.mean([len({*a} & {*b}) / 10 for a, b in zip(lists[name], lists[TEACHER], strict=True)])
        row["relevant"] = hits[name].mean()
        apart = paired_bootstrap(hits[name], hits[TEACHER], np.arange(len(said)), SAMPLES)
        rows.append({**row, **columns("relevant_", "relevant_difference", apart)})
    return pd.DataFrame(rows)


def wishes() -> pd.DataFrame:
    said = pd.read_csv(tables.REPOSITORY / "data" / "wishes" / "wishes.csv", keep_default_na=False)
    return said[said["dataset"] == "movielens"]


def one_start(bundle: Path, requests: list[bytes]) -> dict[str, float]:
    with serving.running(bundle) as (process, port, start):
        serving.load(process, port, iter([serving.request({})] * 5), 1, serving.LONGEST)
        before = process.memory_info().rss / 1e6
        words = serving.load(process, port, iter(requests), 1, serving.LONGEST)
        after = process.memory_info().rss / 1e6
    return {
        "start_s": start["processor s"], "memory_mb": before, "memory_after_mb": after, "wish_ms": words["processor ms"]
    }  # fmt: skip


def answered(bundle: Path, said: list[str]) -> list[list[str]]:
    """The ids of the ten films of each wish."""
    recommender = Recommender(Bundle.load(bundle))
    nobody = recommender.history_of(None)
    answers = [recommender.recommend(nobody, query=recommender.parse_query(wish), reasons=False) for wish in said]
    return [[item["item_id"] for item in answer["items"]] for answer in answers]


def relevant_share(lists: list[list[str]], rules: list[str]) -> np.ndarray:
    """Of the ten films of each wish, the share that its rule allows."""
    catalogue = films()[0].catalogue
    row_of = {str(item): row for row, item in enumerate(catalogue["item_id"])}
    allowed = [definitions("03_describe_interests").relevant_items(rule, catalogue) for rule in rules]
    return np.array(
        [np.mean([one[row_of[str(i)]] for i in found] or [0]) for one, found in zip(allowed, lists, strict=True)]
    )


def with_encoder(model: Path, folder: Path, files: Path | None) -> Path:
    """A copy of a bundle with another text encoder, or with none."""
    shutil.copytree(model, folder)
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    if files is None:
        (folder / "text_encoder.onnx").unlink()
        (folder / "tokenizer.json").unlink()
    else:
        shutil.copy(files / "text_encoder.onnx", folder)
    (folder / "manifest.json").unlink()
    seal(folder, manifest["version"], manifest["metrics"], manifest["provenance"])
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", help="encoders, vectors, index, service; all without a name")
    parser.add_argument("--model", type=Path, default=tables.REPOSITORY / "build" / "movielens")
    parser.add_argument("--peer", help="the Python that has model2vec[distill]")
    options = parser.parse_args()
    wanted = options.what or ["encoders", "vectors", "index", "service"]
    if "encoders" in wanted:
        tables.write(ENCODERS, encoder_rows(options.peer))
    if "vectors" in wanted:
        tables.write(VECTORS, vector_rows())
    if "index" in wanted:
        tables.write(INDEX, index_rows())
    if "service" in wanted:
        if not (options.model / "manifest.json").exists():
            fit = [Path(sys.executable).parent / "recfuse", "fit", "ml-small", "--out", options.model]
            subprocess.run(fit, check=True)
        tables.write(SERVICE, service_rows(options.model))


def repeat(table: tables.Table) -> pd.DataFrame:
    """Makes again MiniLM's row, a cut, what the indexes find, and the size of MiniLM's file."""
    if table is ENCODERS:
        raw = scored(TEACHER, lambda fold: films()[2], again=True)
        return pd.DataFrame([{"encoder": TEACHER, **quality(raw, raw)}])
    if table is VECTORS:
        return vector_rows({"64 widest"})
    if table is INDEX:
        return index_rows()
    size = (onnx_folder(TEACHER, list(range(6))) / "text_encoder.onnx").stat().st_size / 1e6
    return pd.DataFrame([{"encoder": TEACHER, "encoder_mb": size}])


if __name__ == "__main__":
    main()
