"""Rounds of training: parts of a history are held out, so a fusion learns from what its dimensions have not seen.

Each round that holds likes out is a `Fold`, and which items it hides altogether, bool (I,): they are new there.
`events` is a history in order throughout, `seed` decides what is hidden. Taught in notebook 07.
"""

import numpy as np
import pandas as pd

from recfuse_lib.data import splits
from recfuse_lib.data.faults import DataError
from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import Fold

HIDDEN_SHARE = 0.1
HARDEST, DRAWN = 400, 400
"""Candidates of a training query that score highest on the whole, and further ones drawn at random."""
MOST, DRAWN_BY = 700, 11
"""Queries a round, and the seed that draws them: a gate has some hundred weights, and more teach it nothing new."""


def hold_out_positives(
    events: pd.DataFrame, items: Items, seed: int, share: float = 0.1, hidden: float = HIDDEN_SHARE
) -> tuple[Fold, np.ndarray]:
    """Hold out a `share` of each person's positives, the last, as `splits.warm` does, and hide some items altogether.

    Hidden items, a share `hidden` of the known, are ranked among all others, so a fusion learns how often what is new
    is liked. Raises `DataError`: nobody has enough positives to hold any out.
    """
    liked = events[events["rating"] >= splits.POSITIVE].groupby("user")["item"]
    count, from_end = liked.transform("size"), liked.cumcount(ascending=False)
    held_out = (count >= splits.MIN_POSITIVES) & (from_end < np.maximum(1, np.floor(count * share)))
    targets = events.loc[held_out.index[held_out]]
    if targets.empty:
        raise DataError(f"nobody has {splits.MIN_POSITIVES} positives; there is nothing to train the gate on")
    known = splits.before_targets(events, targets)
    new = _some_items(events, items, seed, hidden)
    return _round(known[~new[known["item"]]], targets, np.ones(items.n_items, bool), items), new


def hold_out_items(
    events: pd.DataFrame, items: Items, seed: int, share: float = HIDDEN_SHARE
) -> tuple[Fold, np.ndarray]:
    """Hide a `share` of the known items altogether, and rank them for the people who liked one of them."""
    candidates = _some_items(events, items, seed, share)
    away = candidates[events["item"]]
    return _round(events[~away], events[away & (events["rating"] >= splits.POSITIVE)], candidates, items), candidates


def hold_out_future(events: pd.DataFrame, items: Items, share: float = 0.15) -> tuple[Fold, np.ndarray]:
    """Hold out the `share` of events that come after one moment, and ask for each like among them, as in `rolling`."""
    cut = int(np.quantile(events["timestamp"], 1 - share, method="nearest"))
    fold = splits.rolling_fold(items, events, cut, int(events["timestamp"].max()) + 1)
    return fold.drawn(MOST, seed=DRAWN_BY), np.zeros(items.n_items, bool)


def _some_items(events: pd.DataFrame, items: Items, seed: int, share: float) -> np.ndarray:
    known = np.unique(events["item"])
    some = np.random.default_rng([seed, 7]).choice(known, round(len(known) * share), replace=False)
    return np.isin(np.arange(items.n_items), some)


def _round(history: pd.DataFrame, targets: pd.DataFrame, candidates: np.ndarray, items: Items) -> Fold:
    fold = splits.fold_of(items, history, targets, candidates, int(history["user"].max()) + 1)
    return fold.drawn(MOST, seed=DRAWN_BY)


def hold_out_ratings(events: pd.DataFrame, parts: int, seed: int) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """Hold out each of `parts` random parts of the ratings of at most `MOST` people, given as (history, held out)."""
    part = np.random.default_rng([seed, 17]).permutation(len(events)) % parts
    people = np.unique(events["user"])
    people = np.random.default_rng([seed, 18]).choice(people, min(MOST, len(people)), replace=False)
    asked = events["user"].isin(people)
    return [(events[part != held], events[(part == held) & asked]) for held in range(parts)]


def candidates(
    level: np.ndarray, wanted: np.ndarray, allowed: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Choose what a gate ranks for one query: the targets, the hardest others, and some drawn from the rest.

    `level`, (I,), is the sum of the dimensions' standardised scores; `wanted` and `allowed` are bool, (I,). Returns
    item codes, (C,), and the log of how many items each stands for: more than 0 for one that was drawn.
    """
    targets = np.flatnonzero(wanted)
    others = np.flatnonzero(allowed & ~wanted)
    order = others[np.argsort(-level[others], kind="stable")]
    hardest, rest = order[: HARDEST - len(targets)], order[HARDEST - len(targets) :]
    drawn = generator.choice(rest, min(DRAWN, len(rest)), replace=False)
    stands_for = np.log(len(rest) / len(drawn)) if len(drawn) else 0.0
    chosen = np.concatenate([targets, hardest, drawn])
    return chosen, np.concatenate([np.zeros(len(targets) + len(hardest)), np.full(len(drawn), stands_for)])
