"""A tiny text encoder with random weights, and simulated people who like what some words say."""

import keras
import keras_hub
import numpy as np
import pandas as pd
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from course.lessons import definitions
from recfuse_lib.data.splits import Queries
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.encoders.text import TextEncoder
from recfuse_lib.models.joint import JointModel

lesson = definitions("09_fine_tune_on_gpu")

N_USERS, N_ITEMS, KINDS, LENGTH = 20, 30, 3, 6
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"word{n}" for n in range(20)), "space", "love", "crime"]


def encoder(seed: int = 1, n_layers: int = 3, dropout: float = 0.0) -> TextEncoder:
    keras.utils.set_random_seed(seed)
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=len(WORDS),
        num_layers=n_layers,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        max_sequence_length=32,
        dropout=dropout,
    )
    generator = np.random.default_rng(seed)
    for weight in backbone.weights:
        if weight.name in ("kernel", "embeddings"):
            weight.assign(generator.normal(0, 0.3, weight.shape))
    tokenizer = Tokenizer(models.WordLevel({word: code for code, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return TextEncoder(backbone, tokenizer, max_tokens=32)


def texts() -> list[str]:
    generator = np.random.default_rng(2)
    lengths = generator.choice([1, 4, 8, 13], N_ITEMS)  # few: texts of one length are encoded together
    return [
        " ".join([*(f"word{n}" for n in generator.integers(0, 20, length)), WORDS[-1 - item % KINDS]])
        for item, length in enumerate(lengths)
    ]


def history() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    rows = [
        (user, item, 5.0 if item % KINDS == user % KINDS else 2.0, step)
        for user in range(N_USERS)
        for step, item in enumerate(generator.permutation(N_ITEMS - 2)[:12])
    ]
    return pd.DataFrame(rows, columns=["user", "item", "rating", "timestamp"])


def queries() -> Queries:
    return Queries.of(history(), np.arange(N_USERS), N_ITEMS)


SEEN = np.arange(N_ITEMS - 2)


def model(policy="top-1", dropout=0.0, seed=0, kind=lesson.Resumable):
    """A fine-tuning whose joint model drops nothing, so that two runs can be compared."""
    own = encoder(dropout=dropout)
    encodings = ItemEncodings.of({"text": own.encode(texts())})
    keras.utils.set_random_seed(seed)
    dropouts = {"item_dropout": 0.0, "modality_dropout": 0.0, "user_dropout": 0.0}
    joint = JointModel(dimension=8, history_length=LENGTH, **dropouts).build(N_USERS, N_ITEMS, encodings.widths)
    tuned = kind(joint, lesson.tunable(own, policy, texts()), encodings, SEEN)
    tuned.encoder = own
    return tuned


def batches(tuned, size=48, encoded=8, seed=0):
    return lesson.Batches(history(), LENGTH, size, encoded, tuned.text and tuned.text.lower, seed)


def learn(tuned, rounds=2, steps=3, rate=0.01, name="adam", clip=1.0, data=None, **settings):
    """Some rounds of training; returns the logs."""
    chosen = lesson.optimizer(name, rate, lesson.layer_rates(tuned.encoder, 0.3), clip=clip)
    return lesson.train(tuned, data or batches(tuned, seed=3), chosen, rounds, steps, **settings)
