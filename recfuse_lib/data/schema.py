"""The validated, immutable `Dataset` of films, goods, songs or anything else, which all data becomes.
Taught in notebook 01.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np
import pandas as pd

from recfuse_lib.data.assembly import assemble, part
from recfuse_lib.data.items import Items
from recfuse_lib.data.positives import Positives


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset(Items):
    """A catalogue, what people did with its items, and the people, validated and in a fixed order.

    Attributes:
        interactions: `user_id`, `item_id`, `signal` (as "rating" or "purchase") and, where there are any, `value`
            (stars, plays; float64) and `timestamp` (int64, seconds since 1970); each pair once, ordered by time, then
            user, then item.
        users: `user_id` and attributes of everybody with interactions; for slices and fairness, not features.

    >>> log = pd.DataFrame({"user_id": [7, 7], "item_id": [3, 4], "rating": [5.0, 2.5], "timestamp": [10, 11]})
    >>> items = pd.DataFrame({"item_id": [3, 4], "title": ["Alien", "Ran"], "genres": ["Horror|Sci-Fi", "War"]})
    >>> dataset = Dataset.of("tiny", log, items)
    >>> print(dataset.positives)
    A positive is every rating with a value of 4 or more (inferred: stars up to 5).
    >>> dataset.texts()
    ['Alien. Horror, Sci-Fi.', 'Ran. War.']
    """

    name: str
    interactions: pd.DataFrame
    users: pd.DataFrame | None
    user_roles: Mapping[str, str]
    positives: Positives

    @classmethod
    def of(
        cls,
        name: str,
        interactions: pd.DataFrame,
        catalogue: pd.DataFrame | None = None,
        users: pd.DataFrame | None = None,
        *,
        roles: Mapping[str, str] | None = None,
        positive: str | None = None,
        signal: str | None = None,
        keep: str | None = None,
    ) -> Dataset:
        """Validates and orders tables, as `recfuse_lib.data.read.read` does files; times are seconds since 1970.
        Raises `DataError`: a column is missing, or a row breaks the schema; the message names table, row and field.
        """
        log = part("interactions", interactions)
        items = None if catalogue is None else part("catalogue", catalogue)
        people = None if users is None else part("users", users)
        how = {"positive": positive, "signal": signal, "time": "s", "keep": keep}
        return cls(name, **assemble(log, items, people, **how, roles=roles, say=lambda line: None))

    @functools.cached_property
    def positive(self) -> np.ndarray:
        """Which interactions are positive, bool (N,)."""
        return self.positives.of(self.interactions)

    @functools.cached_property
    def user_ids(self) -> np.ndarray:
        """Sorted ids of all users, (n_users,); the position is the *user code*."""
        return np.unique(self.interactions["user_id"].to_numpy())

    @property
    def n_users(self) -> int:
        return len(self.user_ids)

    @functools.cached_property
    def items(self) -> Items:
        """The items alone, with which a model is fitted."""
        return Items(**{one.name: getattr(self, one.name) for one in dataclasses.fields(Items)})

    @property
    def has_times(self) -> bool:
        """Whether the order of somebody's interactions is known; an empty log says nothing against it."""
        if "timestamp" not in self.interactions:
            return False
        moments = self.interactions.groupby("user_id")["timestamp"].nunique()
        return moments.empty or bool((moments > 1).any())

    @property
    def has_stars(self) -> bool:
        """Whether there are ratings whose value a model can learn to predict."""
        if "value" not in self.interactions:
            return False
        stars = self.interactions.loc[self.interactions["signal"] == "rating", "value"]
        return stars.nunique() > 1

    def events(self) -> pd.DataFrame:
        """Returns the interactions with codes: `user`, `item` (int32), `rating` (float32), `timestamp` (int64).

        Ratings of any signal are on one scale, `Positives.stars`; where no times are known, every `timestamp` is 0.
        """
        table, items = self.interactions, pd.Index(self.catalogue["item_id"].to_numpy())
        return pd.DataFrame(
            {
                "user": np.searchsorted(self.user_ids, table["user_id"].to_numpy()).astype("int32"),
                "item": items.get_indexer(pd.Index(table["item_id"].to_numpy())).astype("int32"),
                "rating": self.positives.stars(table),
                "timestamp": table["timestamp"].to_numpy("int64") if self.has_times else np.zeros(len(table), "int64"),
            }
        )
