"""What if the log is wrong? A fold whose history has flipped, missing or injected interactions.

Taught in notebook 10.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from recfuse_lib.data.positives import RATING_RANGE
from recfuse_lib.data.splits import Fold, Queries
from recfuse_lib.evaluation.metrics import Scorer, evaluate
from recfuse_lib.evaluation.significance import paired_bootstrap

KINDS = ("flipped", "missing", "injected")


def corrupt(fold: Fold, kind: str, share: float, seed: int = 0) -> Fold:
    """The same questions and targets, asked of a log that is partly wrong.

    - `flipped`: a share of the ratings is turned round, r → 5.5 − r: 5 stars become half a star;
    - `missing`: a share of the interactions is gone;
    - `injected`: interactions that never happened are added, as many as a share of the real ones: people, the active
      ones more often, give 5 stars to random items of the history, at times of their own interactions.

    Nothing is injected that is in the history already or is a target. What was lost is not masked any more, so a model
    may recommend it again, as it would in earnest.

    Args:
        fold: A fold with one query a person (`warm`, `cold`, `last_one`).
        kind: One of `KINDS`.
        share: Of the interactions of the history, 0–1.
        seed: Of the disturbance.

    Returns:
        A fold whose `history` and `queries` are disturbed; targets and candidates are those of `fold`.

    Raises:
        ValueError: No such kind, a share outside 0–1, or several queries of one person.
    """
    if kind not in KINDS or not 0 <= share <= 1:
        raise ValueError(f"{kind!r} of {share:g}; corrupt with one of {', '.join(KINDS)}, and a share of 0 to 1")
    if np.any(np.diff(fold.queries.user) <= 0):
        raise ValueError(
            "a person has several queries here, each with a history of its own; use warm, cold or last_one"
        )
    history, generator = fold.history, np.random.default_rng(seed)
    chosen = generator.permutation(len(history))[: round(share * len(history))]
    if kind == "missing":
        history = history.drop(index=history.index[chosen])
    elif kind == "flipped":
        rating = history["rating"].to_numpy(copy=True)
        rating[chosen] = sum(RATING_RANGE) - rating[chosen]
        history = history.assign(rating=rating)
    else:
        history = pd.concat([history, _invented(fold, len(chosen), generator)])
    history = history.reset_index(drop=True)
    return dataclasses.replace(fold, history=history, queries=Queries.of(history, fold.queries.user, fold.n_items))


def _invented(fold: Fold, n: int, generator: np.random.Generator) -> pd.DataFrame:
    """n interactions of pairs that are neither in the history nor targets."""
    query, item = fold.targets.nonzero()
    users = np.concatenate([fold.history["user"], fold.queries.user[query]]).astype("int64")
    items = np.concatenate([fold.history["item"], item])
    people, known = np.unique(fold.history["user"]), np.unique(fold.history["item"])
    taken = np.unique((users * fold.n_items + items)[np.isin(users, people) & np.isin(items, known)])
    free = len(people) * len(known) - len(taken)
    if n > free:
        raise ValueError(f"{n:,} interactions cannot be injected: only {free:,} pairs are free")
    rows = fold.history.iloc[:0]
    while len(rows) < n:
        more = fold.history.iloc[generator.integers(len(fold.history), size=n)].copy()
        more["item"] = generator.choice(known, size=n)
        more["rating"] = np.float32(RATING_RANGE[1])
        pair = more["user"].to_numpy("int64") * fold.n_items + more["item"].to_numpy()
        rows = pd.concat([rows, more[~np.isin(pair, taken)]]).drop_duplicates(["user", "item"])
    return rows.iloc[:n]


def stress(
    fit: Callable[[Fold], Scorer],
    fold: Fold,
    shares: Sequence[float],
    kinds: Sequence[str] = KINDS,
    k: int = 10,
    seed: int = 0,
) -> pd.DataFrame:
    """How a model does when its log is disturbed more and more.

    Args:
        fit: Called with a disturbed fold; returns a model fitted on its history.
        fold: A fold with one query a person.
        shares: Of the interactions, each above 0.
        kinds: Of `KINDS`.
        k: Cut-off.
        seed: Of the disturbances.

    Returns:
        One row a kind and share, share 0 included: `kind`, `share`, `ndcg`, and `change`, an Interval of the paired
        difference to the undisturbed log.
    """
    clean = evaluate(fit(fold), fold, k).per_query["ndcg"].to_numpy()
    rows = []
    for kind in kinds:
        for share in (0.0, *shares):
            values = clean
            if share > 0:
                disturbed = corrupt(fold, kind, share, seed)
                values = evaluate(fit(disturbed), disturbed, k).per_query["ndcg"].to_numpy()
            change = paired_bootstrap(values, clean, fold.queries.user)
            rows.append({"kind": kind, "share": share, "ndcg": float(values.mean()), "change": change})
    return pd.DataFrame(rows)
