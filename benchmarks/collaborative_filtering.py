"""What lesson 04 shows a part of: the whole search, every loss with three seeds, and ratings on five folds.

    python benchmarks/collaborative_filtering.py                   # all four tables
    python benchmarks/collaborative_filtering.py search losses     # some of search, losses, rating_search, rating

`search` and `rating_search` tune on validation alone. `rating` scores the test ratings of each fold once and puts its
rows on the leaderboard of this machine.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

import keras
import numpy as np
import pandas as pd
import tables

from course.lessons import definitions
from recfuse_lib.data import movielens, splits
from recfuse_lib.data.items import Items
from recfuse_lib.data.weighting import Weighting
from recfuse_lib.evaluation.metrics import Scorer, evaluate, rmse
from recfuse_lib.evaluation.significance import bootstrap, paired_bootstrap
from recfuse_lib.models.ease import EASE
from recfuse_lib.models.ials import ImplicitALS
from recfuse_lib.models.item_knn import ItemKNN
from recfuse_lib.models.popularity import Popularity
from recfuse_lib.teaching import leaderboard

lesson = definitions("04_collaborative_filtering")

COMMAND = "python benchmarks/collaborative_filtering.py"
TRIALS = 12
"""Most settings a model may try."""

IALS = {"dimension": [32], "iterations": [5]}
SOFTMAX = {"epochs": 20, "batch_size": 64, "learning_rate": 0.02}
SPACES: dict[str, dict[str, list[Any]]] = {
    "popularity, decayed": {"half_life_days": np.geomspace(60, 12_000, 12).astype(int).tolist()},
    "item-kNN": {"neighbours": [20, 50, 100, 200], "shrinkage": [0.0, 10.0, 50.0]},
    "EASE": {"l2": [20.0, 50.0, 100.0, 200.0, 400.0, 800.0], "weighting": [Weighting(), Weighting(0.3)]},
    "iALS": {**IALS, "unobserved": [0.1, 0.3, 1.0], "l2": [0.003, 0.01, 0.03]},
    "matrix factorisation, softmax": {"l2": [1.0, 2.0, 3.0], "dimension": [32]},
}
"""Model → name → the values that are tried on validation."""

RECENT = [Weighting(low, half, floor) for low in (0.0, 0.3) for half in (3, 10, 30) for floor in (0.0, 0.2)]
"""Tried with the best setting of a model that weighs histories."""

LOSSES: dict[str, dict[str, Any]] = {
    "mse": {"l2": 12.0, "epochs": 12, "batch_size": 8_192, "learning_rate": 0.02},
    "bpr": {"l2": 0.5, "epochs": 20, "batch_size": 2_048, "learning_rate": 0.02},
    "sampled_softmax": {"l2": 2.0, "epochs": 12, "batch_size": 4_096, "learning_rate": 0.03},
    "softmax": {"l2": 2.0, **SOFTMAX},
}
"""Chosen on validation by hand; with `uncorrected` the sampled softmax is trained once more, without its correction."""

SEEDS = (0, 1, 2)
SHRINKAGE, OVERLAP, L2 = (0.1, 0.2, 0.5, 1.0), (5.0, 20.0), (4.0, 12.0, 36.0)
MIXTURES = {
    "α-mixture: plain user-kNN, item mean": ("user-kNN, plain", "item mean"),
    "α-mixture: shrunk user-kNN, item mean": ("user-kNN, shrunk", "item mean"),
    "α-mixture: matrix factorisation, user-kNN": ("matrix factorisation", "user-kNN, shrunk"),
}
"""Name → the two predictions that it mixes."""

DIFFERENCES = [
    ("α-mixture: plain user-kNN, item mean", "user-kNN, plain"),
    ("α-mixture: matrix factorisation, user-kNN", "user-kNN, shrunk"),
]
"""Pairs whose squared errors are compared on the same ratings."""

BASELINES = ("ease", "ials", "item_knn", "popularity")
LESSON = "notebooks/04_collaborative_filtering.ipynb"
RANKING_CODE = (
    "recfuse_lib/data/weighting.py",
    *(f"recfuse_lib/models/{name}.py" for name in BASELINES),
    *("recfuse_lib/data/splits.py", "recfuse_lib/evaluation/metrics.py", LESSON),
)
RATING_CODE = ("recfuse_lib/data/splits.py", "recfuse_lib/evaluation/significance.py", LESSON)

SEARCH = tables.Table(
    "lessons/04_search.csv",
    f"{COMMAND} search",
    {
        "trials": TRIALS,
        "spaces": {name: str(space) for name, space in SPACES.items()},
        "recent": str(RECENT),
        "seed": 0,
    },
    ("movielens",),
    RANKING_CODE,
    ("model", "rank"),
    {"ndcg": 0.002},
)
LOSS = tables.Table(
    "lessons/04_losses.csv",
    f"{COMMAND} losses",
    {"losses": LOSSES, "seeds": list(SEEDS)},
    ("movielens",),
    RANKING_CODE,
    ("loss", "seed"),
    {"ndcg": 0.006, "coverage": 0.006},
)
RATING_SEARCH = tables.Table(
    "lessons/04_rating_search.csv",
    f"{COMMAND} rating_search",
    {
        "user-kNN": {"shrinkage": list(SHRINKAGE), "overlap": list(OVERLAP)},
        "matrix factorisation": {"l2": list(L2)},
        "fold": 0,
    },
    ("movielens",),
    RATING_CODE,
    ("model", "trial"),
    {"rmse": 0.002},
)
RATING = tables.Table(
    "lessons/04_rating.csv",
    f"{COMMAND} rating",
    {"folds": splits.RATING_FOLDS, "mixtures": MIXTURES, "replicates": 2_000, "seed": 0},
    ("movielens",),
    RATING_CODE,
    ("fold", "model"),
    {"rmse": 0.004, "low": 0.006, "high": 0.006, "mae": 0.004},
)
RATING_DIFFERENCES = tables.Table(
    "lessons/04_rating_differences.csv",
    RATING.command,
    {**RATING.settings, "pairs": DIFFERENCES},
    RATING.data,
    RATING.code,
    ("fold", "model", "other"),
    {"difference": 0.004, "low": 0.005, "high": 0.005},
)
TABLES = [SEARCH, LOSS, RATING_SEARCH, RATING, RATING_DIFFERENCES]


# ------------------------------------------------------------------------------------------ rankings


def trained(events: pd.DataFrame, items: Items, objective: str, seed: int = 0, **options: Any) -> Any:
    """The lesson's matrix factorisation with every seed set: the order of the batches has another than the model."""
    keras.utils.set_random_seed(seed)
    loss = getattr(lesson, f"{objective}_loss")
    return lesson.MatrixFactorisation(loss, seed=seed, **options).fit(events, items)


def fitted(name: str, values: dict[str, Any], fold: splits.Fold) -> Scorer:
    """A model of the search with these settings, fitted on a fold's history."""
    if name == "matrix factorisation, softmax":
        return trained(fold.history, fold.items, "softmax", **values, **SOFTMAX)
    kinds = {"popularity": Popularity, "item-kNN": ItemKNN, "EASE": EASE, "iALS": ImplicitALS}
    return kinds[name.split(" +")[0].split(",")[0]](**values).fit(fold.history, fold.items)


def searched() -> pd.DataFrame:
    """Every trial of every model, the best of each first."""
    fold = splits.warm(movielens.load()).validation
    rows = []

    def trials(name: str, space: dict[str, list[Any]]) -> dict[str, Any]:
        found = lesson.search(lambda **values: fitted(name, values, fold), space, fold, TRIALS)
        for rank, trial in enumerate(found.to_dict("records"), start=1):
            weighted = "popularity" not in name and "softmax" not in name
            weighting = dict(vars(trial.pop("weighting", Weighting()))) if weighted else {}
            rows.append({"model": name, "rank": rank, **trial, **weighting})
        print(f"{name}: {found['ndcg'].iloc[0]:.4f} after {len(found)} trials", flush=True)
        return dict(found.loc[0, [*space]])

    trials("popularity", {"half_life_days": [np.inf]})
    best = {name: trials(name, space) for name, space in SPACES.items()}
    for name in ("item-kNN", "EASE", "iALS"):
        kept = {key: [value] for key, value in best[name].items() if key != "weighting"}
        trials(f"{name} + recency", {**kept, "weighting": RECENT})
    return pd.DataFrame(rows).convert_dtypes()


def loss_row(loss: str, seed: int) -> dict[str, Any]:
    """One training on the validation history, and what it recommends."""
    fold = splits.warm(movielens.load()).validation
    without = mock.patch.object(lesson, "log_share", lambda counts: np.zeros(len(counts), "float32"))
    with without if loss == "uncorrected" else contextlib.nullcontext():
        objective = "sampled_softmax" if loss == "uncorrected" else loss
        model = trained(fold.history, fold.items, objective, seed, **LOSSES[objective])
    ranking = evaluate(model, fold)
    liked = np.bincount(fold.history.query("rating >= 4")["item"], minlength=fold.n_items)
    print(f"{loss}, seed {seed}: {ranking.summary()['ndcg@10']:.4f}", flush=True)
    found = {"ndcg": ranking.summary()["ndcg@10"], "coverage": ranking.coverage}
    return {"loss": loss, "seed": seed, **found, "median_likes": float(np.median(liked[ranking.items]))}


# ------------------------------------------------------------------------------------------- ratings


def rating_trials() -> Iterator[dict[str, Any]]:
    """Every setting tried on the validation ratings of fold 0."""
    dataset = movielens.load()
    fold = splits.rating(dataset, 0)

    def error(model: Any) -> float:
        return rmse(fold.validation["rating"], model.predict(*lesson.pairs_of(fold.validation)))

    for trial, (shrinkage, overlap) in enumerate(itertools.product(SHRINKAGE, OVERLAP)):
        model = lesson.UserKNN(shrinkage, overlap).fit(fold.train, dataset.items)
        setting = {"shrinkage": shrinkage, "overlap": overlap}
        yield {"model": "user-kNN", "trial": trial, **setting, "rmse": error(model)}
    for trial, l2 in enumerate(L2):
        model = trained(fold.train, dataset.items, "mse", **{**LOSSES["mse"], "l2": l2})
        yield {"model": "matrix factorisation", "trial": trial, "l2": l2, "rmse": error(model)}


def predictors(train: pd.DataFrame, ask: pd.DataFrame, items: Items) -> dict[str, np.ndarray]:
    """Predicted stars for the pairs of `ask` of every model that is fitted on `train` alone."""
    keras.utils.set_random_seed(0)
    return lesson.predictors(train, lesson.pairs_of(ask), items, **LOSSES["mse"])


def tested(number: int) -> tuple[pd.DataFrame, dict[str, float]]:
    """The test ratings of a fold with every model's prediction, and the α of each mixture."""
    dataset = movielens.load()
    fold = splits.rating(dataset, number)
    held_out = predictors(fold.train, fold.validation, dataset.items)
    predicted = predictors(pd.concat([fold.train, fold.validation]), fold.test, dataset.items)
    alphas = {}
    for name, (a, b) in MIXTURES.items():
        alphas[name] = lesson.fitted_alpha(fold.validation["rating"], held_out[a], held_out[b])
        predicted[name] = lesson.mixed(alphas[name], predicted[a], predicted[b])
    print(f"fold {number}: { ({name: round(alpha, 2) for name, alpha in alphas.items()}) }", flush=True)
    return pd.DataFrame(predicted).assign(user=fold.test["user"], truth=fold.test["rating"]), alphas


def rating_rows(fold: str, tests: pd.DataFrame, alphas: dict[str, float]) -> pd.DataFrame:
    """Errors with 95 % intervals from resampled people."""
    rows = []
    for name in tests.columns.drop(["user", "truth"]):
        squared = bootstrap((tests["truth"] - tests[name]) ** 2, tests["user"], samples=2_000)
        middle, low, high = np.sqrt([squared.mean, squared.low, squared.high])
        row = {"fold": fold, "model": name, "rmse": middle, "low": low, "high": high}
        mae = float(np.mean(np.abs(np.asarray(tests["truth"], "float64") - tests[name])))
        rows.append({**row, "mae": mae, "alpha": alphas.get(name)})
    return pd.DataFrame(rows)


def difference_rows(fold: str, tests: pd.DataFrame) -> pd.DataFrame:
    """Mean squared error of a model less that of another, paired, with intervals from resampled people."""
    rows = []
    for name, other in DIFFERENCES:
        a, b = ((tests["truth"] - tests[model]).to_numpy() ** 2 for model in (name, other))
        found = paired_bootstrap(a, b, tests["user"].to_numpy(), samples=2_000)
        interval = {"difference": found.mean, "low": found.low, "high": found.high}
        rows.append({"fold": fold, "model": name, "other": other, **interval})
    return pd.DataFrame(rows)


def rating_tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables of the five folds, each fold alone and all together."""
    folds = {str(number): tested(number) for number in range(splits.RATING_FOLDS)}
    everything = pd.concat([tests for tests, _ in folds.values()]), {}
    parts = {**folds, "all": everything}
    return (
        pd.concat([rating_rows(fold, *part) for fold, part in parts.items()], ignore_index=True),
        pd.concat([difference_rows(fold, tests) for fold, (tests, _) in parts.items()], ignore_index=True),
    )


def record(rating: pd.DataFrame) -> None:
    """Put the rows of all five folds on this machine's leaderboard."""
    trials = {"user-kNN": 8, "matrix factorisation": 3}
    for row in rating[rating["fold"] == "all"].itertuples():
        tuned = [f"{kind}: {count} trials" for kind, count in trials.items() if kind in row.model]
        by = "; ".join(tuned) if tuned and "plain" not in row.model else "not tuned"
        metrics = {"rmse": (row.rmse, row.low, row.high), "mae": row.mae}
        leaderboard.record("rating", row.model, metrics, seeds=0, command=RATING.command, tuned=by)


# ----------------------------------------------------------------------------------------- the tables


def repeat(table: tables.Table) -> pd.DataFrame:
    """The cheapest row of a table, made again."""
    if table is SEARCH:
        committed = pd.read_csv(tables.DOCUMENTS / table.path)
        row = committed.query("model == 'EASE' and rank == 1").iloc[0]
        values = {"l2": row["l2"], "weighting": Weighting(row["low_rating"], row["half_life"], row["floor"])}
        fold = splits.warm(movielens.load()).validation
        ndcg = evaluate(fitted("EASE", values, fold), fold).summary()["ndcg@10"]
        return pd.DataFrame([{"model": "EASE", "rank": 1, "ndcg": ndcg}])
    if table is LOSS:
        return pd.DataFrame([loss_row("mse", 0)])
    if table is RATING_SEARCH:
        return pd.DataFrame([next(rating_trials())])
    tests, alphas = tested(0)
    return rating_rows("0", tests, alphas) if table is RATING else difference_rows("0", tests)


def main(asked: list[str]) -> None:
    """Makes the tables that are asked for, all without a name."""
    for part in asked or ("search", "losses", "rating_search", "rating"):
        if part == "search":
            tables.write(SEARCH, searched())
        elif part == "losses":
            rows = [loss_row(loss, seed) for loss in (*LOSSES, "uncorrected") for seed in SEEDS]
            tables.write(LOSS, pd.DataFrame(rows))
        elif part == "rating_search":
            tables.write(RATING_SEARCH, pd.DataFrame(rating_trials()))
        elif part == "rating":
            rating, differences = rating_tables()
            tables.write(RATING, rating)
            tables.write(RATING_DIFFERENCES, differences)
            record(rating)
        else:
            raise SystemExit(f"{part} is no table of this script; see its first lines")


if __name__ == "__main__":
    main(sys.argv[1:])
