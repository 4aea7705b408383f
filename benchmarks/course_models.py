"""What lesson 10 compares: the course's own models on the tests of `warm` and `rolling`, with seed 0.

    python benchmarks/course_models.py              # both tables, about ten processor minutes
    python benchmarks/course_models.py lists        # one of lists, new_users

Settings are those of the leaderboard, nothing is chosen here. `lists` keeps each person's ten films on `warm`; a list
is all that a metric or a paired test needs. `new_users` splits the questions of `rolling` by how many ratings of the
person are known.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import keras
import numpy as np
import pandas as pd
import tables
from deep_tower import TESTED, TESTED_TRAINING
from fuse_interests import TUNED_PEER
from joint_model import encode

from recfuse_lib.data import movielens, splits
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import Fold
from recfuse_lib.data.weighting import Weighting
from recfuse_lib.encoders.text import encode_texts
from recfuse_lib.evaluation.metrics import Ranking, Scorer, evaluate
from recfuse_lib.evaluation.significance import bootstrap, paired_bootstrap
from recfuse_lib.models.ease import EASE
from recfuse_lib.models.fused import FusedModel
from recfuse_lib.models.joint import JointModel
from recfuse_lib.models.popularity import Popularity
from recfuse_lib.models.sequential import SequentialModel

COMMAND = "python benchmarks/course_models.py"
WARM = ("EASE + recency, tuned", "deep", "joint", "fused")
ROLLING = ("popularity", "EASE", "EASE + recency", "deep", "joint", "fused")
KNOWN = {"none": 0, "1–4": 1, "5–19": 5, "20–99": 20, "100 or more": 100}
"""Slice → the fewest ratings of the person that are known when the question is asked."""

DATA = ("movielens",)
CODE = (
    *(f"recfuse_lib/data/{name}.py" for name in ("items", "positives", "schema", "sequences", "splits", "weighting")),
    *(f"recfuse_lib/encoders/{name}.py" for name in ("attributes", "centring", "item_encodings")),
    *(f"recfuse_lib/evaluation/{name}.py" for name in ("metrics", "significance")),
    *(f"recfuse_lib/models/{name}.py" for name in ("closed_form", "content", "contract", "dimensions", "ease")),
    *(f"recfuse_lib/models/{name}.py" for name in ("fused", "gates", "holdouts", "item_tower", "joint")),
    *(f"recfuse_lib/models/{name}.py" for name in ("popularity", "sequential", "transformer", "user_tower")),
)
LISTS = tables.Table(
    "lessons/10_lists.csv",
    f"{COMMAND} lists",
    {"models": list(WARM), "seed": 0},
    DATA,
    CODE,
    ("model", "user"),
    {"ndcg": 0.001},
)
NEW_USERS = tables.Table(
    "lessons/10_new_users.csv",
    f"{COMMAND} new_users",
    {"models": list(ROLLING), "known": KNOWN, "seed": 0},
    DATA,
    CODE,
    ("model", "known"),
    {"ndcg": 0.001, "low": 0.002, "high": 0.002},
)
TABLES = [LISTS, NEW_USERS]


@functools.cache
def world() -> Dataset:
    dataset = movielens.load()
    return dataset.encoded(text=encode_texts(dataset.texts()))


def fitted(name: str, fold: Fold) -> Scorer:
    """One of the models, fitted on the history of a fold."""
    keras.utils.set_random_seed(0)
    items = world().items
    if name == "deep":
        deep = SequentialModel(**TESTED)
        deep.fit(fold.history, encode(world(), fold), **TESTED_TRAINING)
        return deep
    if name == "joint":
        joint = JointModel()
        joint.fit(fold.history, encode(world(), fold).only("text"))
        return joint
    if name == "fused":
        return FusedModel(seed=0).fit(fold.history, items)
    recorded = pd.read_csv(tables.DOCUMENTS / "lessons/10_rolling.csv").set_index("model")
    closed_form = {
        "popularity": lambda: Popularity(),
        "EASE + recency, tuned": lambda: TUNED_PEER,
        **{one: functools.partial(tuned_on_rolling, recorded.loc[one]) for one in ("EASE", "EASE + recency")},
    }
    return closed_form[name]().fit(fold.history, items)


def tuned_on_rolling(row: pd.Series) -> EASE:
    return EASE(row["l2"], Weighting(row["low_rating"], row["half_life"], row["floor"]))


def ranked(name: str, fold: Fold) -> Ranking:
    ranking = evaluate(fitted(name, fold), fold)
    print(f"{name}: NDCG@10 {ranking.per_query['ndcg'].mean():.4f}", flush=True)
    return ranking


def list_rows(name: str, fold: Fold) -> pd.DataFrame:
    """Each person's ten films."""
    ranking = ranked(name, fold)
    shown = [" ".join(map(str, films)) for films in ranking.items]
    return pd.DataFrame({"model": name, "user": fold.queries.user, "ndcg": ranking.per_query["ndcg"], "items": shown})


def new_user_rows(ndcg: dict[str, np.ndarray], fold: Fold) -> pd.DataFrame:
    """NDCG@10 of each model by what is known of who asks, and by how much the fused model leads; people are drawn."""
    user, rows = fold.queries.user, []
    part = np.searchsorted(list(KNOWN.values()), fold.queries.lengths, side="right") - 1
    for number, known in enumerate(KNOWN):
        asked = part == number
        sizes = {"queries": int(asked.sum()), "people": len(np.unique(user[asked]))}
        for name, values in ndcg.items():
            mean = bootstrap(values[asked], user[asked])
            row: dict[str, Any] = {"model": name, "known": known, **sizes}
            row |= {"ndcg": mean.mean, "low": mean.low, "high": mean.high}
            if name != "fused" and "fused" in ndcg:
                lead = paired_bootstrap(ndcg["fused"][asked], values[asked], user[asked])
                row |= {"lead": lead.mean, "lead_low": lead.low, "lead_high": lead.high}
            rows.append(row)
    return pd.DataFrame(rows)


def repeat(table: tables.Table) -> pd.DataFrame:
    """Rows of a model in closed form, made again."""
    if table is LISTS:
        return list_rows(WARM[0], splits.warm(world()).test)
    fold = splits.rolling(world()).test
    return new_user_rows({"EASE": ranked("EASE", fold).per_query["ndcg"].to_numpy()}, fold)


def main(asked: list[str]) -> None:
    """Makes the tables that are asked for, both without a name."""
    unknown = set(asked) - {"lists", "new_users"}
    if unknown:
        raise SystemExit(f"{unknown.pop()} is no table of this script; see its first lines")
    if not asked or "lists" in asked:
        fold = splits.warm(world()).test
        tables.write(LISTS, pd.concat([list_rows(name, fold) for name in WARM]))
    if not asked or "new_users" in asked:
        fold = splits.rolling(world()).test
        ndcg = {name: ranked(name, fold).per_query["ndcg"].to_numpy() for name in ROLLING}
        tables.write(NEW_USERS, new_user_rows(ndcg, fold))


if __name__ == "__main__":
    main(sys.argv[1:])
