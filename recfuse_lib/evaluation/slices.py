"""For whom, and for what, is it better? The same metric for parts of the people and of the items, with counts.

Taught in notebook 10.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from recfuse_lib.data.splits import Fold
from recfuse_lib.evaluation.metrics import Ranking
from recfuse_lib.evaluation.significance import bootstrap

HEAD_SHARE = 0.5


def ranges(values: np.ndarray, edges: Sequence[int]) -> pd.Categorical[str]:
    """Which range each whole number falls into; the ranges begin at 0 and at each edge.

    Args:
        values: Whole numbers, not negative, such as lengths of histories, (n,).
        edges: Where a new range begins, ascending, above 0.

    Raises:
        ValueError: The edges do not ascend from above 0, or a value is negative.

    Example:
        >>> list(ranges(np.array([0, 19, 20, 500]), edges=[20, 100]))
        ['0–19', '0–19', '20–99', '100 or more']
    """
    lows = [0, *edges]
    if np.any(np.diff(lows) <= 0):
        raise ValueError(f"edges {list(edges)} do not ascend from above 0")
    if np.min(values, initial=0) < 0:
        raise ValueError(f"{np.min(values)} is negative; ranges are of counts")
    names = [str(low) if low == high - 1 else f"{low}–{high - 1}" for low, high in itertools.pairwise(lows)]
    codes = np.searchsorted(lows, values, side="right") - 1
    return pd.Categorical.from_codes(codes, pd.Index([*names, f"{lows[-1]} or more"]), ordered=True)


def head_and_tail(counts: np.ndarray, head_share: float = HEAD_SHARE) -> pd.Categorical[str]:
    """Each item as "head", "tail" or "cold".

    The head is the fewest items that together hold `head_share` of all interactions (of equal counts the lower item
    code goes first), the tail is all others with at least one, and cold is what has none.

    Args:
        counts: Interactions of each item in the history that models were fitted on, (n_items,).
        head_share: 0–1.

    Example:
        >>> list(head_and_tail(np.array([1, 6, 0, 2, 3])))
        ['tail', 'head', 'cold', 'tail', 'tail']
    """
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    codes = np.ones(len(counts), "int8")
    codes[order[before < head_share * counts.sum()]] = 0
    codes[counts == 0] = 2
    return pd.Categorical.from_codes(codes, pd.Index(["head", "tail", "cold"]), ordered=True)


def by_query(values: np.ndarray, groups: np.ndarray, slice_of: pd.Categorical[str]) -> pd.DataFrame:
    """The mean of a metric, or of a difference of two, in each slice of the queries.

    Args:
        values: One number a query, (Q,).
        groups: Who each query belongs to, (Q,).
        slice_of: The slice of each query, (Q,).

    Returns:
        One row a slice, in order: `queries`, `people`, and `value`, an Interval over people (None where there are no
        queries). Read the counts first: an interval over a handful of people is too narrow, over one without width.

    Raises:
        ValueError: The three have different lengths.

    Example:
        >>> by_query(np.array([1.0, 0.0]), np.array([5, 6]), ranges(np.array([3, 30]), [20]))["queries"].to_dict()
        {'0–19': 1, '20 or more': 1}
    """
    if not len(values) == len(groups) == len(slice_of):
        raise ValueError(f"{len(values)} values, {len(groups)} groups, {len(slice_of)} slices; give one each a query")
    rows = {}
    for code, name in enumerate(slice_of.categories):
        inside = slice_of.codes == code
        rows[name] = {
            "queries": int(inside.sum()),
            "people": len(np.unique(groups[inside])),
            "value": bootstrap(values[inside], groups[inside]) if inside.any() else None,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def by_target(ranking: Ranking, fold: Fold, slice_of: pd.Categorical[str]) -> pd.DataFrame:
    """How many of the targets of each slice of the items are found.

    Args:
        ranking: From `evaluate` on this fold.
        fold: The fold.
        slice_of: The slice of each item, (n_items,).

    Returns:
        One row a slice, in order: `items`, `targets`, `people` (with a target in it), `shown` (share of all recommended
        places that the slice takes), and `recall`, an Interval: the share of a query's targets in the slice that are
        among its K, averaged over the queries that have any (None where no query has).

    Raises:
        ValueError: The ranking is not of this fold, or there is not one slice an item.
    """
    if len(ranking.items) != len(fold.queries) or len(slice_of) != fold.n_items:
        raise ValueError(
            f"{len(ranking.items)} lists and {len(slice_of)} slices for {len(fold.queries)} queries and "
            f"{fold.n_items} items; give the ranking of this fold, and a slice for each item"
        )
    codes = np.asarray(slice_of.codes)
    query, item = fold.targets.nonzero()
    found = (ranking.items[query] == item[:, None]).any(axis=1)
    shown = codes[ranking.items[ranking.items >= 0]]
    rows = {}
    for code, name in enumerate(slice_of.categories):
        inside = codes[item] == code
        n_targets = np.bincount(query[inside], minlength=len(fold.queries))
        n_found = np.bincount(query[inside & found], minlength=len(fold.queries))
        asked = n_targets > 0
        user = fold.queries.user[asked]
        rows[name] = {
            "items": int((codes == code).sum()),
            "targets": int(inside.sum()),
            "people": len(np.unique(user)),
            "shown": float((shown == code).mean()),
            "recall": bootstrap(n_found[asked] / n_targets[asked], user) if asked.any() else None,
        }
    return pd.DataFrame.from_dict(rows, orient="index")
