"""A tiny text encoder with random weights, and simulated people who like what some words say."""

import keras
import keras_hub
import numpy as np
import pandas as pd
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from recfuse_lib.data.splits import Queries
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.encoders.text import TextEncoder
from recfuse_lib.models.joint import JointModel
from recfuse_lib.training.finetuning import FineTuning
from recfuse_lib.training.optimizers import layer_rates, optimizer

N_USERS, N_ITEMS, KINDS = 20, 30, 3
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


def model(policy: str = "top-1", dropout: float = 0.0, seed: int = 0, others: bool = False, **settings) -> FineTuning:
    """A fine-tuning whose joint model drops nothing, so that two runs can be compared."""
    own = encoder(dropout=dropout)
    matrices = {"text": own.encode(texts())}
    if others:
        matrices["attributes"] = np.random.default_rng(5).normal(size=(N_ITEMS, 4))
    encodings = ItemEncodings.of(matrices)
    keras.utils.set_random_seed(seed)
    joint = JointModel(
        N_USERS, N_ITEMS, encodings.widths, 8, 6, item_dropout=0.0, modality_dropout=0.0, user_dropout=0.0
    )
    return FineTuning(joint, own, texts(), encodings, SEEN, policy, **settings)


def learn(tuned: FineTuning, rounds: int = 2, steps: int = 3, rate: float = 0.01, name: str = "adam", **settings):
    """Some rounds of training; returns the logs."""
    chosen = optimizer(name, rate, layer_rates(tuned.encoder, 0.3), clip=settings.pop("clip", 1.0))
    data = settings.pop("batches", None) or tuned.batches(history(), batch_size=48, encoded=8, seed=3)
    return tuned.learn(data, chosen, rounds, steps, verbose=0, **settings)
