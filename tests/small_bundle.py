"""A small world for the tests of the service: simulated people and films, a joint model with random weights, a text
encoder of one layer. Nothing is trained, so a bundle is made in seconds, and once for all tests of a run."""

import functools
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from filelock import FileLock

from recfuse_lib.data.schema import Dataset
from recfuse_lib.encoders.attributes import AttributeEncoder
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.encoders.text import TextEncoder
from recfuse_lib.models.joint import JointModel
from recfuse_lib.serving.bundle import Bundle
from recfuse_lib.serving.export import CatalogueEncodings, export_bundle
from recfuse_lib.serving.ranker import RankerWeights

N_USERS, N_ITEMS, UNSEEN = 12, 60, 57
KINDS = ("Comedy", "Horror", "Western")
WORDS = ("funny", "scary", "dusty")
RANKER = RankerWeights(rating=0.3, count=0.1)


@functools.cache
def dataset() -> Dataset:
    """Films of three kinds; the last three have no ratings."""
    random = np.random.default_rng(0)
    kind = np.arange(N_ITEMS) % 3
    catalogue = pd.DataFrame({"item_id": [f"f{code}" for code in range(N_ITEMS)]})
    catalogue["title"] = [f"{WORDS[k]} story {code}" for code, k in enumerate(kind)]
    catalogue["year"] = 1960 + np.arange(N_ITEMS)
    catalogue["genres"] = [KINDS[k] + ("|Drama" if code % 2 else "") for code, k in enumerate(kind)]
    catalogue["price"] = np.where(np.arange(N_ITEMS) % 5, 1.0 + np.arange(N_ITEMS), np.nan)
    rows = [
        (f"u{user:02}", f"f{item}", float(random.choice([1.0, 3.5, 5.0])), 1_000 * user + step)
        for user in range(N_USERS)
        for step, item in enumerate(random.permutation(UNSEEN)[: 5 + user])
    ]
    interactions = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    return Dataset.of("small", interactions, catalogue, positive="rating>=4")


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
def content() -> CatalogueEncodings:
    seen = np.bincount(dataset().events()["item"], minlength=N_ITEMS) > 0
    attributes, known = AttributeEncoder(dataset().roles).fit(dataset().catalogue[seen]).transform(dataset().catalogue)
    raw = {"text": text_encoder().encode(dataset().texts()), "attributes": attributes}
    return CatalogueEncodings.of(ItemEncodings.of(raw, {"attributes": known & (np.arange(N_ITEMS) != 4)}), seen)


@functools.cache
def model() -> JointModel:
    """All weights random, as if it had learned much."""
    keras.utils.set_random_seed(0)
    one = JointModel(dimension=8, history_length=6, mean_rating=3.4)
    one.build(N_USERS, N_ITEMS, content().encodings.widths)
    random = np.random.default_rng(2)
    for weight in one.network.trainable_weights:
        weight.assign(weight + random.normal(0, 0.3, weight.shape))
    for weight, code in (
        (one.user_tower.users, [N_USERS]),
        (one.network.popularity, np.flatnonzero(~content().seen)),
    ):
        values = np.array(keras.ops.convert_to_numpy(weight))
        values[code] = 0  # whom nobody met has nothing of their own
        weight.assign(values)
    one.item_tower.set_encodings(content().encodings)
    one.item_tower.set_available(content().seen)
    return one


def write(store: Path, version: str, **arguments: object) -> Bundle:
    """A bundle of all that, in about three seconds."""
    given = {"metrics": {"ndcg@10": 0.5}, "provenance": {"seed": 0}, "text_encoder": text_encoder(), **arguments}
    return export_bundle(store, version, model(), dataset(), content(), ranker=RANKER, **given)


def shared(factory: pytest.TempPathFactory) -> Path:
    """The store of this run of pytest, to read from: "v1", and "v2", which cannot hear words.

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
            write(work, "v1")
            write(work, "v2", text_encoder=None)
            work.rename(store)
    return store


def copy(factory: pytest.TempPathFactory, store: Path, versions: Iterable[str] = ("v1",)) -> None:
    """Puts bundles of the shared store into a store that may be changed."""
    for version in versions:
        shutil.copytree(shared(factory) / version, store / version)
