"""Tables whose rows items share: collisions against NDCG, and a frequency filter against size. Table of lesson 20.

    python benchmarks/hashing.py            # about a processor minute

PureSVD of lesson 20 on all of MovieLens, protocol `warm`. The width was chosen on validation among `WIDTHS` with the
whole table; each variant is then fitted to the test's history and scored once on the test. Hashed tables are made with
`SEEDS` seeds; `ndcg` is their mean, `lowest` and `highest` their range, and `difference` to the whole table with its
95 % interval is over people, after the mean over seeds. `collisions` is the share of items that look like another one,
or, behind a frequency filter, that have no row; `beside what is known` is the share of recommended items that have a
row of something in the person's history.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pandas as pd
import tables

from course.lessons import definitions
from recfuse_lib.data import movielens, splits
from recfuse_lib.data.splits import Fold, Split
from recfuse_lib.evaluation.metrics import evaluate
from recfuse_lib.evaluation.significance import paired_bootstrap

SIZES = (8_192, 4_096, 2_048, 1_024, 512)
LEAST = (2, 3, 5, 10, 20, 40)
SEEDS = 5
WIDTHS = (16, 32, 64)
HASHING = tables.Table(
    "lessons/20_hashing.csv",
    "python benchmarks/hashing.py",
    {"sizes": list(SIZES), "least events": list(LEAST), "seeds": SEEDS, "widths": list(WIDTHS)},
    ("movielens",),
    (
        "notebooks/20_scale_out.ipynb",
        *(f"recfuse_lib/data/{name}.py" for name in ("movielens", "splits", "schema", "items")),
        "recfuse_lib/evaluation/metrics.py",
    ),
    keys=("table", "rows"),
    tolerance={"ndcg": 0.004, "collisions": 0.001},
)
TABLES = [HASHING]


@functools.cache
def lesson() -> ModuleType:
    """The lesson's definitions; its imports need Ray."""
    return definitions("20_scale_out")


@functools.cache
def split() -> Split:
    return splits.warm(movielens.load())


def scored(rows_of: np.ndarray, fold: Fold, width: int) -> tuple[np.ndarray, float]:
    """NDCG@10 of each person, and the share of recommended items that have a row of something that the person knows."""
    model = lesson().HashedSVD(rows_of, width).fit(fold.history, fold.items)
    ranking = evaluate(model, fold)
    known = (fold.queries.matrix() @ model.hashing).toarray() > 0
    shares = [(known[row, rows_of[ten]] & (rows_of[ten] >= 0)).any(axis=1) for row, ten in enumerate(ranking.items)]
    return ranking.per_query["ndcg"].to_numpy(), float(np.mean(shares))


@functools.cache
def width() -> int:
    """The best width on validation, with the whole table."""
    fold = split().validation
    every = np.arange(fold.n_items)[:, None]
    ndcg = {width: scored(every, fold, width)[0].mean() for width in WIDTHS}
    print("validation:", {name: round(float(value), 4) for name, value in ndcg.items()}, flush=True)
    return max(ndcg, key=lambda one: ndcg[one])


def variants(fold: Fold) -> Iterator[tuple[str, list[np.ndarray]]]:
    """A name, and the rows of each item for every seed."""
    yield "whole", [np.arange(fold.n_items)[:, None]]
    for name, hashes in (("one hash", 1), ("two hashes", 2)):
        for size in SIZES:
            yield name, [lesson().hashed(fold.n_items, size, hashes, seed) for seed in range(SEEDS)]
    for least in LEAST:
        yield "frequency filter", [lesson().frequent(fold.history, fold.n_items, least)]


def collisions(rows_of: np.ndarray) -> float:
    if (rows_of < 0).any():
        return float((rows_of < 0).mean())
    _, kind, count = np.unique(np.sort(rows_of, axis=1), axis=0, return_inverse=True, return_counts=True)
    return float((count[kind.ravel()] > 1).mean())


def row_of(name: str, made: list[np.ndarray], whole: np.ndarray, fold: Fold) -> dict[str, object]:
    found = [scored(rows_of, fold, width()) for rows_of in made]
    by_seed = np.array([ndcg for ndcg, _ in found])
    means, gap = by_seed.mean(axis=1), paired_bootstrap(by_seed.mean(axis=0), whole, fold.queries.user)
    rows = SIZES[np.argmin([abs(size - (made[0].max() + 1)) for size in SIZES])] if len(made) > 1 else made[0].max() + 1
    return {
        "table": name,
        "rows": int(rows),
        "MB": rows * width() * 4 / 1e6,
        "collisions": np.mean([collisions(rows_of) for rows_of in made]),
        "beside what is known": np.mean([share for _, share in found]),
        "ndcg": means.mean(),
        "lowest": means.min(),
        "highest": means.max(),
        "difference": gap.mean,
        "low": gap.low,
        "high": gap.high,
    }


def rows(only: tuple[str, ...] = ()) -> pd.DataFrame:
    fold, found = split().test, []
    whole, _ = scored(np.arange(fold.n_items)[:, None], fold, width())
    for name, made in variants(fold):
        if not only or name in only:
            found.append(row_of(name, made, whole, fold))
            print(found[-1], flush=True)
    return pd.DataFrame(found)


def repeat(table: tables.Table) -> pd.DataFrame:
    """The whole table and the filters again; the hashes take their five seeds."""
    return rows(("whole", "frequency filter"))


def main() -> None:
    for _ in tables.parts(("hashing",), []):
        tables.write(HASHING, rows())


if __name__ == "__main__":
    main()
