"""One row of each protocol's leaderboard, made again.

The tables themselves are filled by `make figures`; this script declares what they depend on and
has the row that the weekly run compares (see `repeat.py`).
"""

import numpy as np
import pandas as pd
import peers
import tables

from course.lessons import definitions
from recfuse_lib.data import movielens, splits
from recfuse_lib.evaluation.metrics import evaluate
from recfuse_lib.models.ease import EASE

COMMAND = "python benchmarks/peers.py && python benchmarks/fused_model.py"
CODE = (
    *(f"recfuse_lib/data/{name}.py" for name in ("items", "positives", "roles", "schema", "splits", "weighting")),
    "recfuse_lib/evaluation/metrics.py",
    *("benchmarks/bpr.py", "benchmarks/sasrec.py"),
    *(f"recfuse_lib/models/{name}.py" for name in ("contract", "ease", "ials", "item_knn", "popularity")),
)
FUSION = (
    "recfuse_lib/encoders/attributes.py",
    *(f"recfuse_lib/models/{name}.py" for name in ("closed_form", "content", "dimensions", "inner_product")),
    *(f"recfuse_lib/models/{name}.py" for name in ("fitted_gate", "fused", "gates", "holdouts")),
    *(f"recfuse_lib/models/{name}.py" for name in ("two_stage", "two_towers", "index", "joint", "item_tower")),
)
STARS = ("notebooks/04_collaborative_filtering.ipynb", "recfuse_lib/models/ratings.py")


def _table(protocol: str, code: tuple[str, ...], tolerance: dict[str, float]) -> tables.Table:
    trials = {name: len(grid) for name, grid in peers.GRIDS.items()}
    settings = {"protocol": protocol, "seeds": "in the rows", "trials": trials}
    return tables.Table(f"leaderboard/{protocol}.csv", COMMAND, settings, ("movielens",), code, ("model",), tolerance)


TABLES = [
    _table("warm", CODE + FUSION, {"ndcg@10": 3e-3}),
    _table("rolling", CODE + FUSION, {"ndcg@10": 1e-4}),
    _table("cold", CODE + FUSION, {"ndcg@10": 1e-3}),
    _table("last-one", CODE, {"ndcg@10": 1e-4}),
    _table("rating", CODE + FUSION + STARS, {"rmse": 1e-4}),
]


def repeat(table: tables.Table) -> pd.DataFrame:
    """Make the row of tuned EASE again; of `rating` the biases, of `cold` the ridge over text and attributes.

    Of `warm` also that of the fused model, with one of its three seeds, which lie within .003 of their mean: a change
    of the fusion must not be accepted on a baseline's word.
    """
    if table.settings["protocol"] == "warm":
        return pd.concat([_ease("warm"), _fused()], ignore_index=True)
    return {"rating": _biases, "cold": _ridge}.get(table.settings["protocol"], _ease)(table.settings["protocol"])


def _ease(protocol: str) -> pd.DataFrame:
    dataset = movielens.load()
    if protocol != "last-one":
        name, best = "EASE (24 trials)", peers.tune("EASE", peers.PROTOCOLS[protocol](dataset))
        return pd.DataFrame([{"model": name, "ndcg@10": best.test.summary()["ndcg@10"]}])
    fold = splits.last_one(dataset).test
    scored = evaluate(EASE(100.0).fit(fold.history, fold.items), fold)  # as lesson 10, whose row it is, sets it
    return pd.DataFrame([{"model": "EASE", "ndcg@10": scored.summary()["ndcg@10"]}])


def _fused() -> pd.DataFrame:
    import fused_model

    fold = splits.warm(fused_model.dataset).test
    mean = fused_model.ndcg(fused_model.trained(fold.history), fold).mean()
    return pd.DataFrame([{"model": fused_model.NAME, "ndcg@10": mean}])


def _ridge(protocol: str) -> pd.DataFrame:
    import fused_model

    folds = [splits.cold(fused_model.dataset, number).test for number in range(10)]
    mean = np.mean([fused_model.ndcg(fused_model.ridge(fold), fold).mean() for fold in folds])
    return pd.DataFrame([{"model": fused_model.RIDGE, "ndcg@10": mean}])


def _biases(protocol: str) -> pd.DataFrame:
    dataset, biases = movielens.load(), definitions("04_collaborative_filtering").Biases()
    errors = []
    for number in range(splits.RATING_FOLDS):
        part = splits.rating(dataset, number)
        history = pd.concat([part.train, part.validation])
        user, item = (part.test[name].to_numpy() for name in ("user", "item"))
        stars = biases.fit(history, dataset.items).predict(user, item)
        errors.append((part.test["rating"].to_numpy() - stars) ** 2)
    return pd.DataFrame([{"model": "biases", "rmse": np.sqrt(np.concatenate(errors).mean())}])
