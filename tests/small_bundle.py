"""Small worlds for the tests of the service: stories with texts, a shop without any, and titles alone.

Dimensions and towers are fitted, gates are drawn at random as if they had learned much, and texts have an encoder of
one layer. A store of all of them takes seconds, once for all tests of a run."""

import functools
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from eager import eagerly
from filelock import FileLock

from recfuse_lib.data.items import Items
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import in_order
from recfuse_lib.encoders.text import TextEncoder
from recfuse_lib.models.dimensions import usable
from recfuse_lib.models.fitted_gate import FittedGate
from recfuse_lib.models.fused import FusedModel
from recfuse_lib.models.two_stage import TwoStage
from recfuse_lib.models.two_towers import TwoTowers
from recfuse_lib.serving.bundle import Bundle, write_bundle
from recfuse_lib.serving.training import encoded, fill

N_USERS, N_ITEMS, UNSEEN = 12, 60, 57
KINDS = ("Comedy", "Horror", "Western")
WORDS = ("funny", "scary", "dusty")
BRANDS = ("Northern", "Harbour", "Elm", "Quiet")
VERSIONS = {"v1": "stories", "v2": "deaf", "shop": "shop", "titles": "titles"}
"""Bundles of the shared store and their worlds; "deaf" are the stories for a model that reads no texts."""


@functools.cache
def dataset(world: str = "stories") -> Dataset:
    """Makes one of the worlds; nobody has chosen the last three items."""
    kind = np.arange(N_ITEMS) % 3
    ids = pd.DataFrame({"item_id": [f"f{code}" for code in range(N_ITEMS)]})
    price = np.where(np.arange(N_ITEMS) % 5, 1.0 + np.arange(N_ITEMS), np.nan)
    if world == "shop":
        brand = [BRANDS[code % 4] for code in range(N_ITEMS)]
        goods = ids.assign(kind=[KINDS[k] for k in kind], brand=brand, price=price)
        log = _log(1).drop(columns="rating").assign(signal="purchase")
        return Dataset.of("shop", log, goods, roles={"kind": "category", "brand": "category", "price": "number"})
    titles = ids.assign(title=[f"{WORDS[k]} story {code}" for code, k in enumerate(kind)])
    if world == "titles":
        log = _log(2).drop(columns="timestamp")
        return Dataset.of("titles", log, titles, roles={"title": "text"}, positive="rating>=4")
    genres = [KINDS[k] + ("|Drama" if code % 2 else "") for code, k in enumerate(kind)]
    stories = titles.assign(year=1960 + np.arange(N_ITEMS), genres=genres, price=price)
    return Dataset.of("stories", _log(0), stories, positive="rating>=4")


def _log(seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    rows = [
        (f"u{user:02}", f"f{item}", float(random.choice([1.0, 3.5, 5.0])), 1_000 * user + 200_000 * step)
        for user in range(N_USERS)
        for step, item in enumerate(random.permutation(UNSEEN)[: 5 + user], start=1)
    ]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])


@functools.cache
def text_encoder() -> TextEncoder:
    """One transformer layer with random weights, and a tokenizer that knows the words of the titles."""
    import keras_hub
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "story", *WORDS, *map(str.lower, KINDS), "drama", *map(str, range(90))]
    tokenizer = Tokenizer(models.WordLevel({word: code for code, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    keras.utils.set_random_seed(0)
    size = {"vocabulary_size": 101, "num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
    backbone = keras_hub.models.BertBackbone(**size, max_sequence_length=32)
    for weight in backbone.weights:
        weight.assign(weight + np.random.default_rng(1).normal(0, 0.5, weight.shape))
    return TextEncoder(backbone, tokenizer, max_tokens=16)


@functools.cache
def model(world: str = "stories") -> TwoStage:
    """The fitted system of a world."""
    known = dataset("stories" if world == "deaf" else world)
    items = known.items if world == "deaf" else encoded(known, text_encoder())
    return gated(known.events(), items, task_weight=10.0 * known.has_stars)


def gated(
    events: pd.DataFrame, items: Items, task_weight: float = 10.0, seed: int = 0, retriever: TwoTowers | None = None
) -> TwoStage:
    """Fits a system whose gates are drawn at random."""
    ranking, random = FusedModel(task_weight=task_weight), np.random.default_rng(seed)
    ranking.gate = random_gate(random, len(usable(ranking.dimensions, events, items)), 4, 3)
    ranking.rating_gate = random_gate(random, 3, 3, 4) if task_weight else None
    with eagerly():
        return TwoStage(ranking, retriever or TwoTowers(epochs=1, dimension=8)).refit(in_order(events), items)


def random_gate(random: np.random.Generator, dimensions: int, user: int, item: int, hidden: int = 8) -> FittedGate:
    def weight(*shape: int) -> np.ndarray:
        return random.normal(0, 0.2, shape).astype("float32")

    network = weight(dimensions + user + item, hidden), weight(hidden), weight(hidden, 1), weight(1)
    level = weight(dimensions) + np.float32(0.3)
    return FittedGate(level, weight(user, dimensions), weight(item, dimensions), weight(item), network)


def write(store: Path, version: str, world: str = "stories") -> Bundle:
    """Writes the bundle of a world."""
    known = dataset("stories" if world == "deaf" else world)

    def files(folder: Path) -> None:
        fill(folder, model(world), known, text_encoder())

    return write_bundle(store, version, files, {"ndcg@10": 0.5}, {"name": known.name, "seed": 0})


def shared(factory: pytest.TempPathFactory) -> Path:
    """The store of this run of pytest, to read from: a bundle for each of `VERSIONS`.

    The first test that asks makes it; other processes of the run wait for it.
    """
    run = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        run = run.parent
    store = run / "small-store"
    with FileLock(run / "small-store.lock"):
        if not store.exists():
            work = run / "small-store.partial"
            shutil.rmtree(work, ignore_errors=True)
            for version, world in VERSIONS.items():
                write(work, version, world)
            work.rename(store)
    return store


def copy(factory: pytest.TempPathFactory, store: Path, versions: Iterable[str] = ("v1",)) -> None:
    """Puts bundles of the shared store into a store that may be changed."""
    for version in versions:
        shutil.copytree(shared(factory) / version, store / version)
