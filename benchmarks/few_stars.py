"""Many clicks and few stars: what a share of the ratings is worth, alone and beside everything that was watched.

    python benchmarks/few_stars.py            # 24 trainings; finished ones are kept in build/few_stars
    python benchmarks/few_stars.py --report   # only write docs/lessons/08_few_stars*.csv from them

World and films are those of `joint_training.py`. Every rating of the history counts as a film that was watched; a
random share of the ratings keeps its stars; which ones differs by seed. Judged are the stars that the same people gave
later (where a network is trained, at the epoch that is best for the other half of the people) and NDCG@10 of what they
liked next. The models and both stages are written in lesson 08. After a change of code, delete build/few_stars.
"""

import argparse
import dataclasses
import functools
import time
from typing import Any

import keras
import numpy as np
import pandas as pd
import tables
from joint_training import MODEL, SEEDS, TRAINING, world

from course.lessons import definitions
from recfuse_lib.data.splits import Queries
from recfuse_lib.evaluation.metrics import evaluate
from recfuse_lib.evaluation.significance import paired_bootstrap
from recfuse_lib.models.joint import JointModel
from recfuse_lib.pretrained import store

lesson = definitions("08_train_jointly")

RUNS = tables.REPOSITORY / "build" / "few_stars"
COMMAND = "python benchmarks/few_stars.py"
EPOCHS, EPOCHS_OF_FEW = int(TRAINING["epochs"]), 30
"""The second is over the rated films alone, which give a twentieth of the steps."""
BIASES, TWO_STAGES = "biases", "two stages"
TEXT, RATED, AFTER = "two stages, text and popularity", "two stages, rated films alone", "two stages after "
TRAINED: dict[float, dict[str, tuple[str, float]]] = {
    1.0: {"joint on biases, λ = 1": ("OnBiases", 1.0)},
    0.25: {},
    0.05: {
        "ranking alone": ("FewStars", np.inf),
        "joint, λ = 1": ("FewStars", 1.0),
        "joint on biases, λ = 1": ("OnBiases", 1.0),
        "joint on biases, λ = 0.1": ("OnBiases", 0.1),
        "joint on biases, λ = 0.01": ("OnBiases", 0.01),
    },
}
"""Share → model → network of the lesson, and λ. Two stages need one training of retrieval for all shares."""

DATA = ("movielens",)
CODE = (
    "notebooks/08_train_jointly.ipynb",
    "benchmarks/joint_training.py",
    "recfuse_lib/models/joint.py",
    "recfuse_lib/models/user_tower.py",
    "recfuse_lib/models/item_tower.py",
    "recfuse_lib/data/sequences.py",
    "recfuse_lib/data/splits.py",
    "recfuse_lib/encoders/centring.py",
    "recfuse_lib/evaluation/significance.py",
)
SETTINGS = {
    "seeds": list(SEEDS),
    "epochs_of_few": EPOCHS_OF_FEW,
    "model": MODEL,
    "training": TRAINING,
    "trained": {str(share): {name: str(how) for name, how in models.items()} for share, models in TRAINED.items()},
}
MODELS = tables.Table(
    "lessons/08_few_stars.csv", COMMAND, SETTINGS, DATA, CODE, ("share", "model"), {"rmse": 0.01, "ndcg": 0.01}
)
DIFFERENCES = tables.Table(
    "lessons/08_few_stars_differences.csv",
    COMMAND,
    SETTINGS,
    DATA,
    CODE,
    ("share", "model", "minus"),
    {"difference": 0.015},
)
TABLES = [MODELS, DIFFERENCES]

Result = dict[str, Any]


class EveryEpoch(keras.callbacks.Callback):
    """Keeps the squared error of every later rating after each epoch, and the processor seconds that this takes."""

    def __init__(self, recommender: JointModel, events: pd.DataFrame, offset: np.ndarray) -> None:
        super().__init__()
        self.recommender, self.queries, self.offset = recommender, later_queries(events), offset
        self.errors: list[np.ndarray] = []
        self.seconds = 0.0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        begun = time.process_time()
        self.errors.append(errors_of(self.offset + self.recommender.predict(self.queries, world()[1])))
        self.seconds += time.process_time() - begun


def fitted(
    network: str, task_weight: float, events: pd.DataFrame, seed: int, epochs: int, offset: np.ndarray | None = None
) -> tuple[JointModel, float, np.ndarray]:
    """A trained model, its processor seconds, and its squared errors after each epoch, if it predicts stars."""
    begun = time.process_time()
    keras.utils.set_random_seed(seed)
    model = JointModel(getattr(lesson, network), **MODEL, task_weight=task_weight)
    watched = [] if offset is None else [EveryEpoch(model, events, offset)]
    settings: dict[str, Any] = {**TRAINING, "epochs": epochs, "n_users": n_users()}
    model.fit(events, world()[2], callbacks=watched, **settings)
    seconds = time.process_time() - begun - sum(one.seconds for one in watched)
    return model, seconds, np.array([one.errors for one in watched]).reshape(-1, len(world()[1]))


def n_users() -> int:
    return int(world()[0].history["user"].max()) + 1


def later_queries(events: pd.DataFrame) -> Queries:
    fold, later, _ = world()
    return Queries.of(events, np.unique(later["user"]), fold.n_items)


def ndcg(model: JointModel, events: pd.DataFrame) -> float:
    fold = world()[0]
    asked = dataclasses.replace(fold, history=events, queries=Queries.of(events, fold.queries.user, fold.n_items))
    return float(evaluate(model, asked).per_query["ndcg"].mean())


def errors_of(stars: np.ndarray) -> np.ndarray:
    return np.asarray((world()[1]["rating"].to_numpy() - stars) ** 2, "float64")


def chosen(errors: np.ndarray) -> np.ndarray:
    """Squared errors, (N,), of each half of the people at the epoch that is best for the other half, from (E, N)."""
    half = world()[1]["user"].to_numpy() % 2
    best = [errors[:, half != part].mean(axis=1).argmin() for part in (0, 1)]
    return np.asarray(np.where(half == 0, errors[best[0]], errors[best[1]]), "float64")


def two_stages(stars: pd.DataFrame, of_stars: np.ndarray, of_later: np.ndarray) -> np.ndarray:
    fold, later, _ = world()
    stage = lesson.TwoStages(stars, of_stars, n_users(), fold.n_items)
    return errors_of(stage.predict(later, of_later))


def of_text(asked: pd.DataFrame) -> np.ndarray:
    """What is known of a film without towers: its text, and how many people watched it."""
    fold, _, content = world()
    watched = np.log1p(np.bincount(fold.history["item"], minlength=fold.n_items))
    item = asked["item"].to_numpy()
    return np.asarray(np.c_[content.matrices["text"][item], watched[item]], "float64")


@functools.cache
def retrieval(seed: int) -> tuple[JointModel, float]:
    everything = lesson.with_few_stars(world()[0].history, 1.0, seed)
    return fitted("FewStars", 0.0, everything, seed, EPOCHS)[:2]


def run(share: float, seed: int, trained: bool = True) -> dict[str, Result]:
    """Every model's squared errors, and the NDCG@10, weights and processor seconds of what was trained."""
    fold, later, _ = world()
    events = lesson.with_few_stars(fold.history, share, seed)
    stars = events.dropna(subset="rating").reset_index(drop=True)

    def on(model: JointModel, events: pd.DataFrame) -> np.ndarray:
        return two_stages(stars, lesson.pairs(model, events, stars), lesson.pairs(model, events, later))

    usual = lesson.Biases(stars, n_users(), fold.n_items).predict(later)
    found: dict[str, Result] = {BIASES: {"errors": errors_of(usual), "weights": n_users() + fold.n_items + 1}}
    model, seconds = retrieval(seed)
    begun = time.process_time()
    found[TWO_STAGES] = {"errors": on(model, events)}
    seconds += time.process_time() - begun
    size = weights(model, "ranking") + lesson.pairs(model, events, stars[:1]).shape[1] + 1
    found[TWO_STAGES] |= {"ndcg": ndcg(model, events), "seconds": seconds, "weights": size}
    found[TEXT] = {"errors": two_stages(stars, of_text(stars), of_text(later))}
    if share == min(TRAINED):
        few = fitted("FewStars", 0.0, stars, seed, EPOCHS_OF_FEW)[0]
        found[RATED] = {"errors": on(few, stars), "ndcg": ndcg(few, stars)}
    for name, (network, task_weight) in TRAINED[share].items() if trained else ():
        target, offset = events, np.zeros(len(later))
        if network == "OnBiases":
            target, offset = lesson.with_left_over(events, n_users(), fold.n_items), usual
        model, seconds, errors = fitted(network, task_weight, target, seed, EPOCHS, offset)
        found[name] = {"errors": chosen(errors), "last": errors[-1], "ndcg": ndcg(model, target)}
        found[name] |= {"seconds": seconds, "weights": weights(model)}
        if network == "OnBiases":
            found[AFTER + name] = {"errors": on(model, events)}
    return found


def weights(model: JointModel, without: str = "-") -> int:
    """How many numbers are trained, without those of a task that is not."""
    trained = model.network.trainable_variables
    return sum(int(np.prod(variable.shape)) for variable in trained if without not in variable.path)


def keep(share: float, seed: int) -> None:
    """Trains what is not yet kept."""
    path = RUNS / f"{seed} {share}.npz"
    if path.exists():
        return
    found = run(share, seed)
    with store.replacing(path) as file:
        np.savez(file, **{f"{name}/{key}": value for name, one in found.items() for key, value in one.items()})
    rmses = {name: round(float(np.sqrt(one["errors"].mean())), 4) for name, one in found.items()}
    print(f"seed {seed}, {share:.0%} of the stars: {rmses}", flush=True)


def kept(share: float, seed: int) -> dict[str, Result]:
    found: dict[str, Result] = {}
    for key, value in np.load(RUNS / f"{seed} {share}.npz").items():
        name, part = key.split("/")
        found.setdefault(name, {})[part] = value
    return found


def rows(share: float, runs: list[dict[str, Result]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of both tables for one share: the mean of the seeds, and paired differences over people."""
    owner = world()[1]["user"].to_numpy()
    models, differences = [], []
    for name in runs[0]:
        errors = np.array([one[name]["errors"] for one in runs])
        rmse = np.sqrt(errors.mean(axis=1))
        row = {"share": share, "model": name, "rmse": rmse.mean(), "smallest": rmse.min(), "largest": rmse.max()}
        last = [one[name].get("last", one[name]["errors"]) for one in runs]
        row["last_rmse"] = np.sqrt(np.array(last).mean(axis=1)).mean()
        for part in ("ndcg", "seconds", "weights"):
            row[part] = np.mean([one[name][part] for one in runs]) if part in runs[0][name] else np.nan
        models.append(row)
        for minus in [other for other in (BIASES, TWO_STAGES) if other != name]:
            others = np.array([one[minus]["errors"] for one in runs])
            both = paired_bootstrap(errors.mean(axis=0), others.mean(axis=0), owner)
            seeds = (errors - others).mean(axis=1)
            row = {"share": share, "model": name, "minus": minus, "difference": both.mean}
            row |= {"low": both.low, "high": both.high, "smallest": seeds.min(), "largest": seeds.max()}
            differences.append(row)
    return models, differences


def report() -> None:
    """Writes the tables."""
    parts = [rows(share, [kept(share, seed) for seed in SEEDS]) for share in TRAINED]
    tables.write(MODELS, pd.DataFrame([row for models, _ in parts for row in models]))
    tables.write(DIFFERENCES, pd.DataFrame([row for _, differences in parts for row in differences]))


def repeat(table: tables.Table) -> pd.DataFrame:
    """The two stages of the smallest share again."""
    share = min(TRAINED)
    parts = rows(share, [run(share, seed, trained=False) for seed in SEEDS])
    return pd.DataFrame(parts[0] if table == MODELS else parts[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", action="store_true", help="train nothing")
    if not parser.parse_args().report:
        for seed in SEEDS:
            for share in sorted(TRAINED):
                keep(share, seed)
    report()


if __name__ == "__main__":
    main()
