"""What the simulated shop shows: an exposure policy whose propensities are known exactly.

Taught in notebook 01; notebook 14 makes use of it.
"""

import numpy as np

from recfuse_lib.data.market.products import FEATURES, Products
from recfuse_lib.data.market.shoppers import SLATE

UNIFORM_SHARE = 0.3


class LoggingPolicy:
    """The exposure policy that made the log: part chance, part what the shopper clicked before.

        π(i | b) = ε / N + (1 − ε) b[c_i] · m_i / Σ_{j in c_i} m_j

    b is the shop's belief in each category, m an item's prominence, N the number of items on sale. Positions are filled
    independently; an item that is drawn again leaves its later position empty, so it is shown at position k (from 0)
    with propensity π (1 − π)^k.
    """

    def __init__(self, products: Products) -> None:
        self.on_sale = np.flatnonzero(~products.new)
        self._category = products.category
        # On sale, by category: a draw in category c is a number between its bounds in the running sum.
        self._order = self.on_sale[np.argsort(products.category[self.on_sale], kind="stable")]
        self._running = np.cumsum(products.prominence[self._order])
        sizes = np.bincount(products.category[self._order], minlength=FEATURES["category"])
        self._bounds = np.concatenate([[0.0], self._running])[np.concatenate([[0], np.cumsum(sizes)])]
        self._within = products.prominence / np.diff(self._bounds)[products.category]

    def slates(self, belief: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw a slate for each shopper, given the belief in each category (n, C).

        Returns:
            Item codes, whether the position is filled, and the propensity with which it shows its item, each (n, K).
        """
        draw = generator.random((4, len(belief), SLATE))
        running = np.cumsum(belief, axis=1)
        category = np.minimum((draw[0][:, :, None] > running[:, None, :]).sum(2), belief.shape[1] - 1)
        low, high = self._bounds[category], self._bounds[category + 1]
        position = np.searchsorted(self._running, low + draw[1] * (high - low), side="right")
        chosen = self._order[np.minimum(position, len(self._order) - 1)]
        anything = self.on_sale[(draw[2] * len(self.on_sale)).astype("int64")]
        item = np.where(draw[3] < UNIFORM_SHARE, anything, chosen)
        return item, ~shown_before(item), self.propensity(belief, item)

    def propensity(self, belief: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Compute π (1 − π)^k of items on sale at positions k = 0, 1, …, (n, K), given the belief (n, C)."""
        wanted = np.take_along_axis(belief, self._category[item], axis=1)
        chance = UNIFORM_SHARE / len(self.on_sale) + (1 - UNIFORM_SHARE) * wanted * self._within[item]
        return np.asarray(chance * (1 - chance) ** np.arange(item.shape[1]))


def believe(clicks: np.ndarray) -> np.ndarray:
    """Compute the shop's belief in each category from the clicks so far: (clicks + 0.5) / Σ, (n, C)."""
    return np.asarray((clicks + 0.5) / (clicks + 0.5).sum(axis=1, keepdims=True))


def shown_before(slate: np.ndarray) -> np.ndarray:
    """Mark the positions whose item stands at an earlier position of the same slate, bool (n, K)."""
    return np.asarray(np.tril(slate[:, :, None] == slate[:, None, :], k=-1).any(axis=2))
