"""Did the model see what it is asked about? Checks that find a leak, whether it was an accident or planted.

Taught in notebook 10.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from recfuse_lib.data.splits import Fold

EXAMPLES = 3


class LeakageError(ValueError):
    """Something from after the cut is in what a model learns from. The message says what, how much, and what to do."""


def check_training(trained_on: pd.DataFrame, fold: Fold) -> None:
    """Refuses training data that hold anything but the fold's history: targets above all, but any other row too.

    The rule is *whatever is fitted takes `fold.history` and nothing else*; what is left out of it does no harm, and a
    rating that was changed (an augmentation) is allowed.

    Args:
        trained_on: What the model was fitted on: columns `user`, `item`.
        fold: The fold that it will be scored on.

    Raises:
        LeakageError: A target, or another interaction that is not in the fold's history, is in the training data.

    Example:
        >>> from recfuse_lib.data import movielens, splits
        >>> test = splits.warm(movielens.load()).test
        >>> check_training(test.history, test)

    References:
        Kaufman, Rosset, Perlich and Stitelman (2012), Leakage in Data Mining, ACM TKDD 6(4).
    """
    query, item = fold.targets.nonzero()
    pairs = _pairs(trained_on["user"], trained_on["item"], fold)
    answers = np.isin(pairs, _pairs(fold.queries.user[query], item, fold))
    unknown = ~answers & ~np.isin(pairs, _pairs(fold.history["user"], fold.history["item"], fold))
    for found, what in (
        (answers, "targets of this fold"),
        (unknown, "interactions that are not in the fold's history"),
    ):
        if found.any():
            rows = trained_on[found].iloc[:EXAMPLES]
            some = ", ".join(f"user {user} item {item}" for user, item in zip(rows["user"], rows["item"], strict=True))
            raise LeakageError(
                f"{int(found.sum()):,} of {len(trained_on):,} training interactions are {what} ({some}"
                f"{', …' if found.sum() > EXAMPLES else ''}); fit on fold.history and nothing else"
            )


def check_time(fold: Fold, events: pd.DataFrame) -> None:
    """Refuses a fold in which a query's history reaches beyond its first target, for protocols that split on time.

    Args:
        fold: Of `warm`, `rolling` or `last_one`; `cold` holds out items, not times.
        events: All interactions with their times, from `Dataset.events`.

    Raises:
        LeakageError: A query's history is later than its first target, or holds a target.

    Example:
        >>> from recfuse_lib.data import movielens, splits
        >>> dataset = movielens.load()
        >>> check_time(splits.rolling(dataset).test, dataset.events())
    """
    query, item = fold.targets.nonzero()
    when = pd.Series(events["timestamp"].to_numpy(), index=_pairs(events["user"], events["item"], fold))
    target_time = when.reindex(_pairs(fold.queries.user[query], item, fold)).to_numpy()
    first = pd.Series(target_time).groupby(query).min().reindex(range(len(fold.queries))).to_numpy()
    row = np.repeat(np.arange(len(fold.queries)), fold.queries.lengths)
    later = fold.queries.timestamp > first[row]
    own = np.isin(row.astype("int64") * fold.n_items + fold.queries.item, query.astype("int64") * fold.n_items + item)
    for found, what in ((own, "hold their own target"), (later, "reach beyond their first target")):
        if found.any():
            at = int(row[found][0])
            raise LeakageError(
                f"{len(np.unique(row[found])):,} of {len(fold.queries):,} histories {what}, the first that of query "
                f"{at} (user {fold.queries.user[at]}); end each history before the first target"
            )


def partial_rank_correlation(attributes: pd.DataFrame, fold: Fold) -> pd.Series[float]:
    """What each attribute of the items tells of their future that their past does not: a partial rank correlation.

        ρ(a, f | p) = (ρ_af − ρ_ap ρ_fp) / √((1 − ρ_ap²)(1 − ρ_fp²))

    a is the attribute, p the item's number of interactions in the fold's history, f its number of targets, ρ Spearman's
    correlation. What was known at the cut has little foresight; a count that was taken later has much. So a high value
    is a reason to ask *when* an attribute was measured. It is no proof, and a low one is none either.

    Args:
        attributes: One row an item, one column a numeric attribute; missing values are left out, (n_items, A).
        fold: Best of `rolling`, where past and future are the same for everybody.

    Returns:
        Attribute → ρ, -1–1, largest first.

    Raises:
        ValueError: There is not one row an item.
    """
    if len(attributes) != fold.n_items:
        raise ValueError(f"{len(attributes):,} rows of attributes for {fold.n_items:,} items; give one row an item")
    past = np.bincount(fold.history["item"], minlength=fold.n_items)
    future = np.asarray(fold.targets.sum(axis=0)).ravel()
    found = {}
    for name, column in attributes.items():
        values = column.to_numpy("float64", na_value=np.nan)
        there = ~np.isnan(values) & fold.candidates
        a, f, p = (rankdata(part[there]) for part in (values, future, past))
        (_, af, ap), (_, _, fp), _ = np.corrcoef([a, f, p])
        found[str(name)] = (af - ap * fp) / np.sqrt((1 - ap**2) * (1 - fp**2))
    return pd.Series(found, dtype="float64").sort_values(ascending=False)


def _pairs(user: pd.Series[int] | np.ndarray, item: pd.Series[int] | np.ndarray, fold: Fold) -> np.ndarray:
    """One number for each pair of a user and an item."""
    return np.asarray(np.asarray(user, "int64") * fold.n_items + np.asarray(item, "int64"))
