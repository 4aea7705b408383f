"""What averaging scores gains: seeds of one model, kinds of model, and the fused model with others. Table of lesson 11.

    python benchmarks/ensembles.py            # about five processor minutes; scores are kept in build/ensembles
    python benchmarks/ensembles.py --report   # only write docs/lessons/11_ensembles.csv from them

Judged on the validation of `warm`; no test is scored. Members are combined by reciprocal ranks, and for comparison by
standardised scores (`gain by score`). Every member has the same say, so nothing is tuned here, but for `WEIGHTED`,
pairs whose share is chosen on half of the people and judged on the others. The closed forms have the settings of the
fused model's dimensions before its search, iALS those of lesson 11's seeds. `likeness` is the correlation of the
members' standardised scores over the catalogue, the mean over people and pairs; `highest` is a member's highest such
score, the mean over people; the gain is over the member that is best alone on the same people, which flatters that
member.
"""

from __future__ import annotations

import argparse
import functools
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import tables
from bpr import BPR

from course.lessons import definitions
from recfuse_lib.data import movielens, splits
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import Fold
from recfuse_lib.data.weighting import Weighting
from recfuse_lib.encoders.text import encode_texts
from recfuse_lib.evaluation.metrics import evaluate
from recfuse_lib.evaluation.significance import bootstrap, paired_bootstrap
from recfuse_lib.models.contract import Recommender
from recfuse_lib.models.ease import EASE
from recfuse_lib.models.fused import FusedModel
from recfuse_lib.models.ials import ImplicitALS
from recfuse_lib.models.item_knn import ItemKNN
from recfuse_lib.pretrained import store

LESSON = definitions("11_tune_and_ensemble")
RUNS = tables.REPOSITORY / "build" / "ensembles"
COMMAND = "python benchmarks/ensembles.py"
RECENT = Weighting(0.3, 10.0, 0.2)
MEMBERS: dict[str, Callable[[], Recommender]] = {
    "EASE": lambda: EASE(100.0),
    "EASE, recent": lambda: EASE(50.0, RECENT),
    "item-kNN": lambda: ItemKNN(100, 10.0, RECENT),
    **{f"iALS {seed}": functools.partial(ImplicitALS, 24, 1.0, 0.003, 6, RECENT, seed) for seed in range(4)},
    **{f"BPR {seed}": functools.partial(BPR, 32, 0.02, 10, weighting=RECENT, seed=seed) for seed in range(2)},
    **{f"fused {seed}": functools.partial(FusedModel, task_weight=0, seed=seed) for seed in range(2)},
}
IN_PAIRS = ("EASE", "EASE, recent", "item-kNN", "iALS 0", "iALS 1", "BPR 0", "BPR 1", "fused 0", "fused 1")
LARGER = (
    ("iALS 0", "iALS 1", "iALS 2", "iALS 3"),
    ("EASE, recent", "item-kNN", "iALS 0"),
    ("EASE, recent", "item-kNN", "iALS 0", "BPR 0"),
    ("fused 0", "fused 1", "EASE, recent"),
    ("fused 0", "EASE, recent", "item-kNN", "iALS 0"),
    ("fused 0", "EASE, recent", "item-kNN", "iALS 0", "BPR 0"),
)
WEIGHTED = (("fused 0", "EASE, recent"), ("fused 0", "BPR 0"), ("EASE, recent", "BPR 0"), ("EASE, recent", "iALS 0"))
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
ENSEMBLES = tables.Table(
    "lessons/11_ensembles.csv",
    COMMAND,
    {
        "members": list(MEMBERS),
        "in pairs": list(IN_PAIRS),
        "larger": [list(one) for one in LARGER],
        "weighted": [list(one) for one in WEIGHTED],
        "shares": list(SHARES),
    },
    ("movielens",),
    (
        "notebooks/11_tune_and_ensemble.ipynb",
        "benchmarks/bpr.py",
        *(f"recfuse_lib/data/{name}.py" for name in ("splits", "weighting")),
        *(f"recfuse_lib/evaluation/{name}.py" for name in ("metrics", "significance")),
        *(
            f"recfuse_lib/models/{name}.py"
            for name in ("contract", "dimensions", "ease", "fused", "gates", "holdouts", "ials", "item_knn")
        ),
    ),
    ("members",),
    {"ndcg": 0.005, "likeness": 0.02},
)
TABLES = [ENSEMBLES]


@functools.cache
def world() -> Dataset:
    dataset = movielens.load()
    return dataset.encoded(text=encode_texts(dataset.texts()))


@functools.cache
def fold() -> Fold:
    return splits.warm(world()).validation


def fitted(name: str) -> np.ndarray:
    return MEMBERS[name]().fit(fold().history, world().items).standardised(fold().queries)


@functools.cache
def z(name: str) -> np.ndarray:
    """A member's standardised scores, (Q, I), kept once they are made."""
    path = RUNS / f"{name}.npy"
    if not path.exists():
        with store.replacing(path) as file:
            np.save(file, fitted(name).astype("float16"))
        print(f"{name}: {ndcg((name,)).mean():.4f}", flush=True)
    return np.asarray(np.load(path), "float32")


@functools.cache
def ranks(name: str) -> np.ndarray:
    """A member's reciprocal ranks, (Q, I)."""
    return np.asarray(LESSON.reciprocal_ranks(z(name), fold().queries.matrix().toarray() > 0))


class Given:
    """A scorer whose scores are there already."""

    def __init__(self, scores: np.ndarray) -> None:
        self.scores = scores

    def score(self, queries: Any) -> np.ndarray:
        return self.scores[np.searchsorted(fold().queries.user, queries.user)]


def ndcg(members: Iterable[str], of: Callable[[str], np.ndarray] = ranks) -> np.ndarray:
    """NDCG@10 of every person for the mean of the members' reciprocal ranks, or of their scores."""
    return evaluate(Given(LESSON.blend(of(name) for name in members)), fold()).per_query["ndcg"].to_numpy()


def kind(members: tuple[str, ...]) -> str:
    """Seeds of one model, kinds of model, or the fused model with others."""
    models = {name.split(" ")[0].strip(",") for name in members}
    if len(members) == 1:
        return "alone"
    if len(models) == 1:
        return "seeds" if "EASE" not in models else "kinds"
    return "with fused" if "fused" in models else "kinds"


def row(members: tuple[str, ...], alone: dict[str, np.ndarray]) -> dict[str, Any]:
    people, values = fold().queries.user, alone[members[0]] if len(members) == 1 else ndcg(members)
    interval = bootstrap(values, people)
    line: dict[str, Any] = {"members": " + ".join(members), "kind": kind(members), "n": len(members)}
    line |= {"ndcg": interval.mean, "low": interval.low, "high": interval.high}
    if len(members) == 1:
        line["highest"] = z(members[0]).max(axis=1).mean()
    else:
        best = max(members, key=lambda name: alone[name].mean())
        gain = paired_bootstrap(values, alone[best], people)
        alike = np.mean([LESSON.likeness(z(a), z(b)) for a, b in itertools.combinations(members, 2)])
        line |= {"likeness": alike, "best": best, "gain": gain.mean, "gain low": gain.low, "gain high": gain.high}
        line["gain by score"] = (ndcg(members, z) - alone[best]).mean()
    return line


def weighted_row(first: str, second: str, alone: dict[str, np.ndarray]) -> dict[str, Any]:
    """A pair whose second member has the share that is best for the other half of the people."""
    people, ndcg_at = fold().queries.user, []
    for share in SHARES:
        blended = (1 - share) * ranks(first) + share * ranks(second)
        ndcg_at.append(evaluate(Given(blended), fold()).per_query["ndcg"].to_numpy())
    by_share, half = np.array(ndcg_at), np.random.default_rng(0).permutation(len(people)) < len(people) // 2
    chosen = [int(by_share[:, others].mean(axis=1).argmax()) for others in (~half, half)]
    values = np.where(half, by_share[chosen[0]], by_share[chosen[1]])
    interval, gain = bootstrap(values, people), paired_bootstrap(values, alone[first], people)
    line: dict[str, Any] = {"members": f"{first} + {second}, weighted", "kind": "weighted", "n": 2}
    line |= {"ndcg": interval.mean, "low": interval.low, "high": interval.high}
    line |= {"likeness": LESSON.likeness(z(first), z(second)), "best": first}
    line |= {"gain": gain.mean, "gain low": gain.low, "gain high": gain.high}
    return line | {"shares": " ".join(str(SHARES[one]) for one in chosen)}


def groups() -> list[tuple[str, ...]]:
    return [*((name,) for name in MEMBERS), *itertools.combinations(IN_PAIRS, 2), *LARGER]


def report() -> None:
    """Writes the table."""
    alone = {name: ndcg((name,)) for name in MEMBERS}
    rows = [row(members, alone) for members in groups()]
    tables.write(ENSEMBLES, pd.DataFrame(rows + [weighted_row(*pair, alone) for pair in WEIGHTED]))


def repeat(table: tables.Table) -> pd.DataFrame:
    """EASE with recency and iALS again."""
    pair = ("EASE, recent", "iALS 0")
    a, b = (fitted(name) for name in pair)
    seen = fold().queries.matrix().toarray() > 0
    both = LESSON.blend(LESSON.reciprocal_ranks(one, seen) for one in (a, b))
    values = evaluate(Given(both), fold()).per_query["ndcg"]
    return pd.DataFrame([{"members": " + ".join(pair), "ndcg": values.mean(), "likeness": LESSON.likeness(a, b)}])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", action="store_true", help="fit nothing")
    if not parser.parse_args().report:
        for name in MEMBERS:
            z(name)
    report()


if __name__ == "__main__":
    main()
