"""What λ, the form of the loss, learned weights and experts do to the joint model: tables of lesson 08.

    python benchmarks/joint_training.py            # 27 trainings; finished ones are kept in build/joint_training
    python benchmarks/joint_training.py --report   # only write docs/lessons/08_*.csv from them

Nine variants of one model, each with three seeds, are trained on the history of the `warm` validation fold, among
the films with at least five ratings, and judged on it after every epoch: NDCG@10 of what people liked next, and the
squared error of the ratings that they gave then. No test is scored. After a change of code, delete
build/joint_training.
"""

import argparse
import functools
import time
from typing import Any

import keras
import numpy as np
import pandas as pd
import tables

from course.lessons import definitions
from recfuse_lib.data import movielens, splits
from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import Fold, Queries
from recfuse_lib.encoders.centring import Centring
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.encoders.text import encode_texts
from recfuse_lib.evaluation.metrics import evaluate
from recfuse_lib.evaluation.significance import bootstrap, paired_bootstrap
from recfuse_lib.models.ease import EASE
from recfuse_lib.models.joint import JointModel, JointNetwork
from recfuse_lib.models.popularity import Popularity
from recfuse_lib.pretrained import store

lesson = definitions("08_train_jointly")

RUNS = tables.REPOSITORY / "build" / "joint_training"
COMMAND = "python benchmarks/joint_training.py"
SEEDS = (0, 1, 2)
LEAST_RATINGS = 5
MODEL = {"dimension": 32, "history_length": 30}
TRAINING = {"epochs": 5, "learning_rate": 0.005}
EVERY = 20
"""Steps between two settings of λ by equal force."""
CHANGES: dict[str, dict[str, Any]] = {
    "λ = 1": {},
    "pairs (as printed)": {},
    "whole catalogue": {},
    "λ = 0": {"task_weight": 0.0},
    "λ = 100": {"task_weight": 100.0},
    "λ = ∞": {"task_weight": float("inf")},
    "uncertainty": {},
    "equal force": {},
    "MMoE": {},
}
NETWORKS = {
    "pairs (as printed)": lesson.PairsAsPrinted,
    "whole catalogue": lesson.WholeCatalogue,
    "uncertainty": lesson.Uncertainty,
    "MMoE": lesson.MMoE,
}
"""What is trained; `JointNetwork` where there is no entry."""

INNER = ("λ = 1", "λ = 100")
OTHERS = ("uncertainty", "equal force", "MMoE")
NDCG, BEST_ERROR, LAST_ERROR = "NDCG@10, last epoch", "squared error, best epoch", "squared error, last epoch"
COMPARED = [
    *[(NDCG, "λ = 1", closed) for closed in ("EASE", "popularity")],
    *[(NDCG, form, "popularity") for form in ("pairs (as printed)", "whole catalogue")],
    *[(NDCG, weight, "λ = 0") for weight in INNER],
    *[(measure, weight, "λ = ∞") for measure in (BEST_ERROR, LAST_ERROR) for weight in INNER],
    *[(measure, other, "λ = 1") for measure in (NDCG, BEST_ERROR) for other in OTHERS],
]
"""Measure, variant, and what is subtracted from it."""

DATA = ("movielens",)
CODE = (
    "notebooks/08_train_jointly.ipynb",
    "recfuse_lib/models/joint.py",
    "recfuse_lib/models/user_tower.py",
    "recfuse_lib/models/item_tower.py",
    "recfuse_lib/data/sequences.py",
    "recfuse_lib/data/splits.py",
    "recfuse_lib/encoders/centring.py",
    "recfuse_lib/models/ease.py",
    "recfuse_lib/models/popularity.py",
    "recfuse_lib/evaluation/metrics.py",
    "recfuse_lib/evaluation/significance.py",
)
# JSON has no infinity.
SETTINGS = {
    "seeds": list(SEEDS),
    "least_ratings": LEAST_RATINGS,
    "model": MODEL,
    "training": TRAINING,
    "every": EVERY,
    "variants": {name: {key: str(value) for key, value in changes.items()} for name, changes in CHANGES.items()},
}
EPOCHS = tables.Table(
    "lessons/08_epochs.csv",
    COMMAND,
    SETTINGS,
    DATA,
    CODE,
    ("variant", "seed", "epoch"),
    {"ndcg": 0.02, "rmse": 0.02, "task_weight": 0.5},
)
VARIANTS = tables.Table(
    "lessons/08_variants.csv", COMMAND, SETTINGS, DATA, CODE, ("variant",), {"ndcg": 0.01, "best_rmse": 0.005}
)
DIFFERENCES = tables.Table(
    "lessons/08_differences.csv",
    COMMAND,
    SETTINGS,
    DATA,
    CODE,
    ("measure", "variant", "minus"),
    {"difference": 0.01},
)
TABLES = [EPOCHS, VARIANTS, DIFFERENCES]

Scores = dict[str, np.ndarray]


@functools.cache
def world() -> tuple[Fold, pd.DataFrame, ItemEncodings]:
    """The fold among the films that are kept, the ratings that its people gave later, and the films' encodings."""
    dataset = movielens.load()
    split = splits.warm(dataset)
    counts = np.bincount(split.validation.history["item"], minlength=dataset.n_items)
    kept = counts >= LEAST_RATINGS
    code, n_items = np.cumsum(kept) - 1, int(kept.sum())

    def among_kept(events: pd.DataFrame) -> pd.DataFrame:
        events = events[kept[events["item"]]]
        return events.assign(item=code[events["item"]]).reset_index(drop=True)

    history, everything = among_kept(split.validation.history), among_kept(split.test.history)
    targets = split.validation.targets[:, kept]
    asked = np.flatnonzero(np.diff(targets.indptr))
    people = split.validation.queries.user[asked]
    every = np.ones(n_items, bool)
    queries, items = Queries.of(history, people, n_items), Items.unnamed(n_items)
    fold = Fold(history, queries, targets[asked], every, dataset.n_users, items)
    known = pd.MultiIndex.from_frame(history[["user", "item"]])
    is_later = ~pd.MultiIndex.from_frame(everything[["user", "item"]]).isin(known)
    later = everything[is_later & everything["user"].isin(people)].reset_index(drop=True)
    texts = encode_texts(dataset.texts())
    text = Centring().fit(texts[counts > 0]).transform(texts)[kept]
    return fold, later, ItemEncodings.of({"text": text})


class EveryEpoch(keras.callbacks.Callback):
    """Keeps NDCG@10 of every person and the squared error of every later rating, after each epoch."""

    def __init__(self, recommender: JointModel) -> None:
        super().__init__()
        self.recommender = recommender
        self.ndcg: list[np.ndarray] = []
        self.errors: list[np.ndarray] = []
        self.task_weight: list[float] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        fold, later, _ = world()
        queries = Queries.of(fold.history, np.unique(later["user"]), fold.n_items)
        self.errors.append((later["rating"].to_numpy() - self.recommender.predict(queries, later)) ** 2)
        self.ndcg.append(evaluate(self.recommender, fold).per_query["ndcg"].to_numpy())
        self.task_weight.append(self.model.task_weight)


@functools.cache
def train(variant: str, seed: int) -> Scores:
    """What a training measured, epoch by epoch."""
    fold, _, content = world()
    keras.utils.set_random_seed(seed)
    model = JointModel(NETWORKS.get(variant, JointNetwork), **{**MODEL, **CHANGES[variant]})
    measured = EveryEpoch(model)
    balancing = [lesson.EqualForce(fold.history, every=EVERY)] if variant == "equal force" else []
    logs = model.fit(fold.history, content, callbacks=[*balancing, measured], **TRAINING).logs
    found = {"ndcg": measured.ndcg, "errors": measured.errors, "task_weight": measured.task_weight}
    found |= {name: logs[name] for name in ("retrieval_loss", "ranking_loss")}
    return {name: np.array(values, "float64") for name, values in found.items()}


def closed_form(name: str) -> np.ndarray:
    """NDCG@10 of every person."""
    fold = world()[0]
    scorer = {"EASE": EASE(l2=100), "popularity": Popularity()}[name].fit(fold.history, fold.items)
    return evaluate(scorer, fold).per_query["ndcg"].to_numpy()


def keep(variant: str, seed: int) -> None:
    """Trains what is not yet kept."""
    path = RUNS / f"{seed} {variant}.npz"
    if path.exists():
        return
    begun, scores = time.process_time(), train(variant, seed)
    with store.replacing(path) as file:
        np.savez(file, **scores)
    ndcg, rmse = scores["ndcg"][-1].mean(), np.sqrt(scores["errors"].mean(axis=1).min())
    print(
        f"seed {seed} {variant}: NDCG@10 {ndcg:.4f}, best RMSE {rmse:.4f}, {time.process_time() - begun:.0f} CPU s",
        flush=True,
    )


def kept(variant: str, seed: int) -> Scores:
    return dict(np.load(RUNS / f"{seed} {variant}.npz"))


def best_epoch(scores: Scores) -> int:
    return int(scores["errors"].mean(axis=1).argmin())


def epoch_rows(variant: str, seed: int, scores: Scores) -> list[dict[str, Any]]:
    columns = {"ndcg": scores["ndcg"].mean(axis=1), "rmse": np.sqrt(scores["errors"].mean(axis=1))}
    columns |= {name: scores[name] for name in ("retrieval_loss", "ranking_loss", "task_weight")}
    epochs = pd.DataFrame(columns).to_dict("records")
    return [{"variant": variant, "seed": seed, "epoch": number, **row} for number, row in enumerate(epochs, 1)]


def variant_row(variant: str, scores: list[Scores]) -> dict[str, Any]:
    """The mean of the seeds after the last epoch with its interval over people, and the error at the best epoch."""
    per_seed = [float(one["ndcg"][-1].mean()) for one in scores]
    ndcg = np.mean([one["ndcg"][-1] for one in scores], axis=0)
    interval = bootstrap(ndcg, np.arange(len(ndcg)))
    errors = [np.sqrt(one["errors"].mean(axis=1)) for one in scores]
    best = [float(one.min()) for one in errors]
    row = {"variant": variant, "ndcg": interval.mean, "low": interval.low, "high": interval.high}
    row |= {"smallest": min(per_seed), "largest": max(per_seed), "rmse": float(np.mean([one[-1] for one in errors]))}
    row |= {"best_rmse": float(np.mean(best)), "best_rmse_smallest": min(best), "best_rmse_largest": max(best)}
    return row | {"best_epoch": float(np.mean([one.argmin() + 1 for one in errors]))}


def measured(measure: str, scores: Scores) -> np.ndarray:
    if measure == NDCG:
        return scores["ndcg"][-1]
    return scores["errors"][best_epoch(scores) if measure == BEST_ERROR else -1]


def difference_row(measure: str, variant: str, minus: str, a: list[np.ndarray], b: list[np.ndarray]) -> dict[str, Any]:
    """The seeds' mean difference with its interval over people, and the smallest and the largest of the seeds."""
    owner = np.arange(len(a[0])) if measure == NDCG else world()[1]["user"].to_numpy()
    both = paired_bootstrap(np.mean(a, axis=0), np.mean(b, axis=0), owner)
    per_seed = [float((one - other).mean()) for one, other in zip(a, b, strict=True)]
    row = {"measure": measure, "variant": variant, "minus": minus}
    row |= {"difference": both.mean, "low": both.low, "high": both.high}
    return row | {"smallest": min(per_seed), "largest": max(per_seed)}


def report() -> None:
    """Writes the tables."""
    runs = {variant: [kept(variant, seed) for seed in SEEDS] for variant in CHANGES}
    rows = [row for name, scores in runs.items() for seed in SEEDS for row in epoch_rows(name, seed, scores[seed])]
    tables.write(EPOCHS, pd.DataFrame(rows))
    tables.write(VARIANTS, pd.DataFrame([variant_row(name, scores) for name, scores in runs.items()]))
    closed = {name: [closed_form(name)] * len(SEEDS) for name in ("EASE", "popularity")}

    def values(measure: str, name: str) -> list[np.ndarray]:
        return closed[name] if name in closed else [measured(measure, one) for one in runs[name]]

    compared = [(*key, *(values(key[0], name) for name in key[1:])) for key in COMPARED]
    tables.write(DIFFERENCES, pd.DataFrame([difference_row(*row) for row in compared]))


def repeat(table: tables.Table) -> pd.DataFrame:
    """One row of a table again, or the epochs of one training."""
    if table == EPOCHS:
        return pd.DataFrame(epoch_rows("λ = 1", 0, train("λ = 1", 0)))
    scores = [train("λ = 1", seed) for seed in SEEDS]
    if table == VARIANTS:
        return pd.DataFrame([variant_row("λ = 1", scores)])
    ndcg, other = [measured(NDCG, one) for one in scores], [closed_form("popularity")] * len(SEEDS)
    return pd.DataFrame([difference_row(NDCG, "λ = 1", "popularity", ndcg, other)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", action="store_true", help="train nothing")
    if not parser.parse_args().report:
        for seed in SEEDS:
            for variant in CHANGES:
                keep(variant, seed)
    report()


if __name__ == "__main__":
    main()
