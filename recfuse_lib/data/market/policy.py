"""What the simulated shop shows: an exposure policy whose propensities are known exactly.

Taught in notebook 01; notebook 14 makes use of it.
"""

from __future__ import annotations

import numpy as np

from recfuse_lib.data.market import language
from recfuse_lib.data.market.products import Products

SLATE = 20
UNIFORM_SHARE = 0.3


class ShopPolicy:
    """The exposure policy that made the log: part chance, part what the shopper clicked before.

        π(i | b) = ε / N + (1 − ε) b[c_i] · m_i / Σ_{j in c_i} m_j

    b is the shop's belief in each category, m an item's prominence, N the number of items on sale. Places are filled
    independently; an item that is drawn again leaves its later place empty, so it is shown at place k (from 0) with
    propensity π (1 − π)^k.
    """

    def __init__(self, made: Products) -> None:
        self.on_sale = np.flatnonzero(~made.new)
        n_categories = len(language.CATEGORIES)
        # On sale, by category: a draw in category c is a number between its bounds in the running sum.
        self._order = self.on_sale[np.argsort(made.category[self.on_sale], kind="stable")]
        self._running = np.cumsum(made.prominence[self._order])
        sizes = np.bincount(made.category[self._order], minlength=n_categories)
        self._bounds = np.concatenate([[0.0], self._running])[np.concatenate([[0], np.cumsum(sizes)])]
        total = np.diff(self._bounds)
        self._within = made.prominence / total[made.category]
        self._category = made.category

    def slates(self, belief: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draws a slate for each shopper.

        Args:
            belief: Probability of each category, (n, C).
            generator: The randomness.

        Returns:
            Item codes (n, K), whether the place is filled (n, K), and the propensity with which it shows its item.
        """
        draw = generator.random((4, len(belief), SLATE))
        running = np.cumsum(belief, axis=1)
        category = np.minimum((draw[0][:, :, None] > running[:, None, :]).sum(2), belief.shape[1] - 1)
        low, high = self._bounds[category], self._bounds[category + 1]
        place = np.searchsorted(self._running, low + draw[1] * (high - low), side="right")
        chosen = self._order[np.minimum(place, len(self._order) - 1)]
        anything = self.on_sale[(draw[2] * len(self.on_sale)).astype("int64")]
        item = np.where(draw[3] < UNIFORM_SHARE, anything, chosen)
        again = np.tril(item[:, :, None] == item[:, None, :], k=-1).any(axis=2)
        return item, ~again, self.propensity(belief, item)

    def propensity(self, belief: np.ndarray, item: np.ndarray) -> np.ndarray:
        """π (1 − π)^k of items on sale at places k = 0, 1, …, (n, K), given the belief (n, C)."""
        wanted = np.take_along_axis(belief, self._category[item], axis=1)
        chance = UNIFORM_SHARE / len(self.on_sale) + (1 - UNIFORM_SHARE) * wanted * self._within[item]
        return np.asarray(chance * (1 - chance) ** np.arange(item.shape[1]))


def believe(clicks: np.ndarray) -> np.ndarray:
    """The shop's belief in each category, from the clicks so far: (clicks + 0.5) / Σ, (n, C)."""
    return np.asarray((clicks + 0.5) / (clicks + 0.5).sum(axis=1, keepdims=True))
