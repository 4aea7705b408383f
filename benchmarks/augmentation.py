"""Do other words help an encoder that has few texts to learn from? Two tables of lesson 11.

    python benchmarks/augmentation.py    # about five processor minutes, most of them for the generator

A market whose shoppers care what a description says (scale 0.15, seed 0). The course's generator writes variants of the
texts of `POOL` known products, word by word (synonyms) and as a whole (rewriting); lesson 03's checks let through what
is not the same, and near enough in meaning. `11_rewrites.csv` has them all. Then the map of lesson 09 from frozen texts
to behaviour learns from `SIZES` of these products, `DRAWS` times, with and without variants; a shopper is the mean of
the mapped texts of what they clicked, and new products are ranked by their cosine with it. `noise` adds to each
encoding a random step as long as that of the rewriting, and needs none; `longer` has no variants and three times
the epochs. Differences are paired over shoppers, the mean over the draws.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pandas as pd
import tables

from course.lessons import definitions
from recfuse_lib.data import market
from recfuse_lib.encoders import language_model
from recfuse_lib.encoders.centring import Centring
from recfuse_lib.encoders.text import encode_texts
from recfuse_lib.evaluation.metrics import evaluate
from recfuse_lib.evaluation.significance import bootstrap, paired_bootstrap

LESSON, WORDS = definitions("11_tune_and_ensemble"), definitions("03_describe_interests")
ALIGNING, MULTIMODAL = definitions("09_fine_tune_on_gpu"), definitions("06_multimodal_tower")
COMMAND = "python benchmarks/augmentation.py"
SEED, SCALE, POOL, SIZES, DRAWS = 0, 0.15, 64, (24, 64), 4
EPOCHS = 100
VARIANTS = ("none", "synonyms", "rewriting", "both", "noise", "longer")
CODE = (
    *(f"notebooks/{name}.ipynb" for name in ("03_describe_interests", "06_multimodal_tower")),
    *(f"notebooks/{name}.ipynb" for name in ("09_fine_tune_on_gpu", "11_tune_and_ensemble")),
    "recfuse_lib/data/market",
    *(f"recfuse_lib/encoders/{name}.py" for name in ("centring", "language_model", "local_language_model", "text")),
    *(f"recfuse_lib/evaluation/{name}.py" for name in ("metrics", "significance")),
)
SETTINGS = {"scale": SCALE, "seed": SEED, "texts": POOL, "known": list(SIZES), "draws": DRAWS}
DATA = ("market/photographs.csv", "market/photographs.png", "market/phrases.json")
REWRITES = tables.Table("lessons/11_rewrites.csv", COMMAND, SETTINGS, DATA, CODE, ("item", "way"), {"cosine": 0.05})
AUGMENTATION = tables.Table(
    "lessons/11_augmentation.csv", COMMAND, SETTINGS, DATA, CODE, ("known", "variants"), {"ndcg": 0.02}
)
TABLES = [REWRITES, AUGMENTATION]


@functools.cache
def shop() -> tuple[Any, Any, np.ndarray]:
    """The data set, its new products as a fold, and the known products of the pool."""
    taste = market.Weights(words=1.5, visual=0, sound=0, motion=0, mood=0)
    made, truth = market.make(SEED, SCALE, taste)
    dataset = made.dataset()
    known = np.flatnonzero(~truth.products.new)
    fold = MULTIMODAL.purchases_to_predict(truth, dataset, cold=True)
    return dataset, fold, np.random.default_rng(SEED).permutation(known)[:POOL]


@functools.cache
def written() -> dict[str, tuple[list[str], np.ndarray]]:
    """Way → the variants of the pool's texts, the text itself where none passed, and which passed."""
    dataset, _, pool = shop()
    texts, model = [dataset.texts()[item] for item in pool], language_model.load("smollm2")
    ways = {"synonyms": WORDS.synonyms, "rewriting": WORDS.rewritten}
    return {way: make(texts, model, encode_texts) for way, make in ways.items()}


def rewrites() -> pd.DataFrame:
    dataset, _, pool = shop()
    texts = [dataset.texts()[item] for item in pool]
    rows = []
    for way, (variants, kept) in written().items():
        cosines = (encode_texts(texts) * encode_texts(variants)).sum(axis=1)
        for item, text, variant, is_kept, cosine in zip(pool, texts, variants, kept, cosines, strict=True):
            row = {"item": item, "way": way, "kept": int(is_kept), "cosine": cosine if is_kept else np.nan}
            rows.append(row | {"text": text, "variant": variant if is_kept else ""})
    return pd.DataFrame(rows)


@functools.cache
def encodings() -> dict[str, np.ndarray]:
    """Variants → the centred encodings that a product may show, (V, I, D); the text itself comes first."""
    dataset, _, pool = shop()
    raw = encode_texts(dataset.texts())
    others = {}
    for way, (variants, _) in written().items():
        others[way] = raw.copy()
        others[way][pool] = encode_texts(variants)
    centring = Centring().fit(raw[pool])
    text, synonyms, rewriting = (centring.transform(one) for one in (raw, others["synonyms"], others["rewriting"]))
    step = float(np.linalg.norm((rewriting - text)[pool][written()["rewriting"][1]], axis=1).mean())
    random = np.random.default_rng(SEED).normal(size=(3, *text.shape)).astype("float32")
    noisy = text + step * random / np.linalg.norm(random, axis=-1, keepdims=True)
    noisy /= np.linalg.norm(noisy, axis=-1, keepdims=True)
    return {
        "none": text[None],
        "synonyms": np.stack([text, synonyms]),
        "rewriting": np.stack([text, rewriting]),
        "both": np.stack([text, synonyms, rewriting]),
        "noise": np.stack([text, *noisy]),
        "longer": text[None],
    }


class Mapped:
    """Ranks by the cosine with the mean of the mapped texts of what somebody clicked."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors

    def score(self, queries: Any) -> np.ndarray:
        return np.asarray(queries.matrix() @ self.vectors @ self.vectors.T)


def ndcg(variants: str, size: int, draw: int) -> np.ndarray:
    """NDCG@10 of every shopper on the new products, with a map that learned from `size` products."""
    dataset, fold, pool = shop()
    known = np.random.default_rng([draw, size]).permutation(pool)[:size]
    behaviour = ALIGNING.behaviour_vectors(fold.history, dataset.n_items)
    epochs = EPOCHS * (3 if variants == "longer" else 1)
    vectors = LESSON.fit_augmented(encodings()[variants], behaviour, known, draw, epochs)
    return evaluate(Mapped(vectors), fold).per_query["ndcg"].to_numpy()


def augmentation() -> pd.DataFrame:
    _, fold, _ = shop()
    people, rows = fold.queries.user, []
    frozen = evaluate(Mapped(encodings()["none"][0]), fold).per_query["ndcg"].to_numpy()
    for size in SIZES:
        plain = [ndcg("none", size, draw) for draw in range(DRAWS)]
        for variants in ("frozen", *VARIANTS):
            found = plain if variants == "none" else [frozen] * DRAWS
            if variants not in ("none", "frozen"):
                found = [ndcg(variants, size, draw) for draw in range(DRAWS)]
            values, gain = (
                np.mean(found, axis=0),
                paired_bootstrap(np.mean(found, axis=0), np.mean(plain, axis=0), people),
            )
            interval = bootstrap(values, people)
            row = {"known": size, "variants": variants, "ndcg": interval.mean, "low": interval.low}
            row |= {"high": interval.high, "gain": gain.mean, "gain low": gain.low, "gain high": gain.high}
            means = [float(a.mean() - b.mean()) for a, b in zip(found, plain, strict=True)]
            rows.append(row | {"smallest gain": min(means), "largest gain": max(means)})
            print(size, variants, f"{interval}", gain, flush=True)
    return pd.DataFrame(rows)


def repeat(table: tables.Table) -> pd.DataFrame:
    """The synonyms of some texts again; one draw without variants again, against the mean of all."""
    if table == REWRITES:
        made = rewrites()
        return made[made["way"] == "synonyms"].head(8)
    return pd.DataFrame([{"known": SIZES[-1], "variants": "none", "ndcg": ndcg("none", SIZES[-1], 0).mean()}])


def main() -> None:
    tables.write(REWRITES, rewrites())
    tables.write(AUGMENTATION, augmentation())


if __name__ == "__main__":
    main()
