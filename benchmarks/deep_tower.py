"""What order, ratings, times, features and the loss are worth to the deep model: the tables of lesson 05.

    python benchmarks/deep_tower.py            # 42 trainings; finished ones are kept in build/deep_tower
    python benchmarks/deep_tower.py --report   # only write docs/lessons/05_*.csv from them

Thirteen variants of one model, each with three seeds, are trained on the history of the `warm` validation fold and
judged on it. They differ from "sampled" in one thing each. Then the deep model as it was chosen on validation (full
softmax, six epochs) is trained with the same seeds on all that precedes the test, and scored on it once beside EASE;
its row goes to the leaderboard. After a change of code, delete build/deep_tower.
"""

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pandas as pd
import tables

from course.lessons import definitions
from recfuse_lib.data import movielens, splits
from recfuse_lib.data.splits import Fold
from recfuse_lib.data.weighting import Weighting
from recfuse_lib.encoders.attributes import AttributeEncoder
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.encoders.text import encode_texts
from recfuse_lib.evaluation.metrics import evaluate
from recfuse_lib.evaluation.significance import bootstrap, paired_bootstrap
from recfuse_lib.models.ease import EASE
from recfuse_lib.models.sequential import SequentialModel, SequentialNetwork
from recfuse_lib.pretrained import store
from recfuse_lib.teaching import leaderboard

lesson = definitions("05_deep_tower")

RUNS = tables.REPOSITORY / "build" / "deep_tower"
COMMAND = "python benchmarks/deep_tower.py"
SEEDS = (0, 1, 2)
MODEL = {"dimension": 48, "history_length": 64, "negatives": 1_024}
TRAINING = {"epochs": 4, "learning_rate": 0.01}
CHANGES: dict[str, dict[str, Any]] = {
    "sampled": {},
    "full softmax": {"negatives": 0},
    "sampled, without logQ": {},
    "in-batch": {},
    "one negative": {},
    "without the causal mask": {},
    "without order": {},
    "without ratings": {},
    "without times": {},
    "ids only": {},
    "text": {},
    "text of another film": {},
    "text + attributes, linear": {"crosses": 0},
}
NETWORKS = {
    "sampled, without logQ": lesson.WithoutLogQ,
    "in-batch": lesson.InBatch,
    "one negative": lesson.OneNegative,
    "without the causal mask": lesson.WithoutMask,
    "without ratings": lesson.WithoutRatings,
    "without times": lesson.WithoutTimes,
}
"""What is trained; `SequentialNetwork` where there is no entry."""

ASKED = {"asked: shuffled": 2**40, "asked: shuffled within days": 86_400}
"""Questions to the model "sampled" whose events change places within so many seconds."""
TESTED = {"dimension": 48, "history_length": 64, "negatives": 0}
TESTED_TRAINING = {"epochs": 6, "learning_rate": 0.01}
CLOSED_FORM = {"EASE": Weighting(), "EASE + recency": Weighting(0.3, 3, 0.2)}
MINUS = {
    "full softmax": ["sampled, without logQ", "in-batch", "one negative", "sampled"],
    "sampled": ["without the causal mask", "without order", *ASKED, "without ratings", "without times"],
    "ids only": ["text", "text of another film", "text + attributes, linear", "sampled"],
    "text of another film": ["text"],
    "text + attributes, linear": ["sampled"],
}
"""What is subtracted → from which variants."""

DATA = ("movielens",)
CODE = (
    "notebooks/05_deep_tower.ipynb",
    "recfuse_lib/models/sequential.py",
    "recfuse_lib/models/transformer.py",
    "recfuse_lib/models/item_tower.py",
    "recfuse_lib/data/sequences.py",
    "recfuse_lib/data/splits.py",
    "recfuse_lib/encoders/attributes.py",
    "recfuse_lib/encoders/item_encodings.py",
    "recfuse_lib/evaluation/metrics.py",
    "recfuse_lib/evaluation/significance.py",
)
SETTINGS = {"seeds": list(SEEDS), "model": MODEL, "training": TRAINING, "variants": CHANGES}
VARIANTS = tables.Table(
    "lessons/05_variants.csv", COMMAND, SETTINGS, DATA, CODE, ("variant", "seed"), {"ndcg": 0.015, "coverage": 0.02}
)
DIFFERENCES = tables.Table(
    "lessons/05_differences.csv", COMMAND, SETTINGS, DATA, CODE, ("variant", "minus"), {"difference": 0.01}
)
TEST = tables.Table(
    "lessons/05_test.csv",
    COMMAND,
    {"seeds": list(SEEDS), "model": TESTED, "training": TESTED_TRAINING},
    DATA,
    (*CODE, "recfuse_lib/models/ease.py", "recfuse_lib/data/weighting.py"),
    ("model",),
    {"ndcg": 0.001},
)
TABLES = [VARIANTS, DIFFERENCES, TEST]

Scores = dict[str, np.ndarray]


@functools.cache
def world() -> tuple[Any, Any, np.ndarray]:
    """The data, its `warm` split, and the films' encoded texts."""
    dataset = movielens.load()
    return dataset, splits.warm(dataset), encode_texts(dataset.texts())


@functools.cache
def encodings(part: str) -> ItemEncodings:
    """Text and attributes, of which only films of the fold's history have a say in the vocabulary and the means."""
    dataset, split, texts = world()
    seen = np.unique(getattr(split, part).history["item"])
    attributes, present = AttributeEncoder(dataset.roles).fit(dataset.catalogue.iloc[seen]).transform(dataset.catalogue)
    return ItemEncodings.of({"text": texts, "attributes": attributes}, {"attributes": present}).centred(seen)


def shuffled_history(history: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Every person's time stamps, given to their events at random."""
    places = history.assign(draw=np.random.default_rng(seed).random(len(history))).sort_values(["user", "draw"])
    in_time = history.sort_values(["user", "timestamp"])
    return places.assign(timestamp=in_time["timestamp"].to_numpy()).drop(columns="draw")


def features(variant: str, seed: int) -> ItemEncodings:
    """What a variant knows of the films."""
    both = encodings("validation")
    text = both.only("text")
    others = {
        "ids only": lambda: ItemEncodings.of({"text": np.zeros_like(text.matrices["text"])}),
        "text": lambda: text,
        "text of another film": lambda: text.permuted("text", seed),
    }
    return others[variant]() if variant in others else both


def judged(scorer: Any, fold: Fold, seconds: float) -> Scores:
    """What is kept of a scorer."""
    ranking = evaluate(scorer, fold)
    likes = np.bincount(fold.history.query("rating >= 4")["item"], minlength=fold.n_items)
    return {
        "ndcg": ranking.per_query["ndcg"].to_numpy(),
        "recall": ranking.per_query["recall"].to_numpy(),
        "coverage": np.array(ranking.coverage),
        "likes": np.array(np.median(likes[ranking.items])),
        "seconds": np.array(seconds),
    }


def train(variant: str, seed: int) -> dict[str, Scores]:
    """One training on the validation fold, judged; "sampled" is also asked with shuffled histories."""
    fold, known = world()[1].validation, features(variant, seed)
    history = shuffled_history(fold.history, seed) if variant == "without order" else fold.history
    keras.utils.set_random_seed(seed)
    model = SequentialModel(NETWORKS.get(variant, SequentialNetwork), **{**MODEL, **CHANGES[variant]})
    begun = time.process_time()
    model.fit(history, known, **TRAINING)
    seconds = time.process_time() - begun
    scorer = lesson.Asked(model, ASKED["asked: shuffled"], seed) if variant == "without order" else model
    scores = {variant: judged(scorer, fold, seconds)}
    if variant == "sampled":
        scores |= {name: judged(lesson.Asked(model, unit, seed), fold, 0.0) for name, unit in ASKED.items()}
    return scores


def train_for_test(seed: int) -> dict[str, Scores]:
    """The deep model as it was chosen, on the test."""
    fold, known = world()[1].test, encodings("test")
    keras.utils.set_random_seed(seed)
    model = SequentialModel(**TESTED)
    begun = time.process_time()
    model.fit(fold.history, known, **TESTED_TRAINING)
    return {"test": judged(model, fold, time.process_time() - begun)}


def keep(name: str, seed: int, make: Callable[[], dict[str, Scores]]) -> None:
    """Make and keep what is not yet kept."""
    if (RUNS / f"{seed} {name}.npz").exists():
        return
    begun, scores = time.process_time(), make()
    # The training's own name comes last: when that file is there, all are.
    for key in sorted(scores, key=lambda key: key == name):
        with store.replacing(RUNS / f"{seed} {key}.npz") as file:
            np.savez(file, **scores[key])
    means = {key: round(float(values["ndcg"].mean()), 4) for key, values in scores.items()}
    print(f"seed {seed}: {means}, {time.process_time() - begun:.0f} CPU s", flush=True)


def kept(name: str, seed: int) -> Scores:
    return dict(np.load(RUNS / f"{seed} {name}.npz"))


def variant_row(variant: str, seed: int, scores: Scores) -> dict[str, Any]:
    means = {name: float(scores[name].mean()) for name in ("ndcg", "recall", "coverage", "likes", "seconds")}
    return {"variant": variant, "seed": seed, **means}


def difference_row(variant: str, minus: str, a: list[np.ndarray], b: list[np.ndarray]) -> dict[str, Any]:
    """The seeds' mean difference with its interval over people, and the smallest and the largest of the seeds."""
    both, per_seed = paired(a, b), [float(one.mean() - other.mean()) for one, other in zip(a, b, strict=True)]
    row = {"variant": variant, "minus": minus, "difference": both.mean, "low": both.low, "high": both.high}
    return row | {"smallest": min(per_seed), "largest": max(per_seed)}


def paired(a: list[np.ndarray], b: list[np.ndarray]) -> Any:
    mean = np.mean(a, axis=0)
    return paired_bootstrap(mean, np.mean(b, axis=0), np.arange(len(mean)))


def test_row(model: str, scores: list[Scores]) -> dict[str, Any]:
    ndcg = np.mean([one["ndcg"] for one in scores], axis=0)
    interval = bootstrap(ndcg, np.arange(len(ndcg)))
    others = {name: float(np.mean([one[name].mean() for one in scores])) for name in ("recall", "coverage")}
    row = {"model": model, "ndcg": interval.mean, "low": interval.low, "high": interval.high, **others}
    per_seed = [float(one["ndcg"].mean()) for one in scores]
    return row | {"smallest": min(per_seed), "largest": max(per_seed)}


def closed_form(name: str, part: str) -> Scores:
    fold = getattr(world()[1], part)
    return judged(EASE(100.0, CLOSED_FORM[name]).fit(fold.history, fold.items), fold, 0.0)


def report() -> None:
    """Writes the tables and the leaderboard's row."""
    names = [*CHANGES, *ASKED]
    rows = [variant_row(name, seed, kept(name, seed)) for name in names for seed in SEEDS]
    tables.write(VARIANTS, pd.DataFrame(rows))
    ndcg = {name: [kept(name, seed)["ndcg"] for seed in SEEDS] for name in names}
    pairs = [(variant, minus) for minus, variants in MINUS.items() for variant in variants]
    rows = [difference_row(variant, minus, ndcg[variant], ndcg[minus]) for variant, minus in pairs]
    tables.write(DIFFERENCES, pd.DataFrame(rows))
    deep = [kept("test", seed) for seed in SEEDS]
    others = {name: closed_form(name, "test") for name in CLOSED_FORM}
    rows = [test_row("deep model", deep)]
    for name, scores in others.items():
        lead = paired([one["ndcg"] for one in deep], [scores["ndcg"]])
        lead = {"deep_minus": lead.mean, "deep_minus_low": lead.low, "deep_minus_high": lead.high}
        rows.append(test_row(name, [scores]) | lead)
    tables.write(TEST, pd.DataFrame(rows))
    row = rows[0]
    metrics = {"ndcg@10": (row["ndcg"], row["low"], row["high"])}
    metrics |= {"recall@10": row["recall"], "coverage@10": row["coverage"]}
    tuned = "7 trials on validation, by hand"
    leaderboard.record("warm", "deep model", metrics, seeds=list(SEEDS), command=COMMAND, tuned=tuned)


def repeat(table: tables.Table) -> pd.DataFrame:
    """One row of a table again. On the test only EASE is scored, which is no new model."""
    if table == TEST:
        return pd.DataFrame([test_row("EASE", [closed_form("EASE", "test")])])
    if table == VARIANTS:
        return pd.DataFrame([variant_row("sampled", 0, again(0)["sampled"])])
    name = "asked: shuffled within days"
    a, b = ([again(seed)[key]["ndcg"] for seed in SEEDS] for key in (name, "sampled"))
    return pd.DataFrame([difference_row(name, "sampled", a, b)])


@functools.cache
def again(seed: int) -> dict[str, Scores]:
    return train("sampled", seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", action="store_true", help="train nothing")
    if not parser.parse_args().report:
        for seed in SEEDS:
            for variant in CHANGES:
                keep(variant, seed, functools.partial(train, variant, seed))
            keep("test", seed, functools.partial(train_for_test, seed))
    report()


if __name__ == "__main__":
    main()
