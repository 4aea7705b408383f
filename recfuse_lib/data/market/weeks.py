"""The simulated shop after its log ends: week after week a recommender fills the slates, and tastes move on.

Taught in notebook 19.
"""

import dataclasses

import numpy as np
import pandas as pd

from recfuse_lib.data.market import shoppers, simulator
from recfuse_lib.data.market.products import SLICES
from recfuse_lib.data.market.simulator import BEHAVIOURS, Market, Truth, shown_before

VISITS = 2
"""Of each shopper in a week."""

WEEKS_OF_A_FASHION = 4
FASHIONABLE = ("category", "words", "brand")


class WeeklyShop:
    """Shoppers of a simulated market who come twice a week, as long as they are satisfied.

    Three things change with time, all of them simulated: a fashion that all shoppers share (what they like in
    category, material, occasion and brand) moves from one random direction to the next in four weeks; each shopper's
    mood turns, as in the log; and the products that nobody had seen when the log ended go on sale, a few a week.

    Whoever is shown a slate acts as in `shoppers.visit`, and comes back with the probability that their satisfaction
    gives; who does not is gone. What happens depends on the seed and on the slates alone.

    Args:
        market: The shop's log.
        truth: Its truth.
        seed: Of what happens after the log.
        fashion: How strong the fashion is; a shopper's own tastes have 1.

    Attributes:
        visits: How many visits there were since the log ended.
        here: User codes of the shoppers that still come.

    Example:
        >>> from recfuse_lib.data.market import make
        >>> shop = WeeklyShop(*make(scale=0.1), seed=0)
        >>> events, satisfaction = shop.visit(np.tile(np.arange(5), (len(shop.here), 1)))
        >>> list(events.columns), len(satisfaction) > len(shop.here)
        (['user_id', 'item_id', 'signal', 'value', 'timestamp'], True)
    """

    def __init__(self, market: Market, truth: Truth, seed: int = 0, fashion: float = 1.0) -> None:
        self.truth, self.seed, self.fashion = truth, seed, fashion
        self._ids = market.catalogue["item_id"].to_numpy()
        # Those who clicked once: the users of `Market.dataset`, in the same order.
        self._shopper = np.unique(market.impressions["user_id"][market.impressions["clicked"]]) - 1
        self._satisfaction = np.zeros(len(self._shopper))
        self.visits = 0
        self.here = np.arange(len(self._shopper))
        generator = np.random.default_rng([seed, 6])
        self._launch = np.where(truth.products.new, generator.integers(1, 11, len(self._ids)), 0)
        drawn = generator.normal(size=(16, truth.shoppers.tastes.shape[1]))
        self._directions = np.zeros_like(drawn)
        for columns in (SLICES[name] for name in FASHIONABLE):
            # Fashion says what is liked more than the rest, not that everything is.
            self._directions[1:, columns] = (drawn[:, columns] - drawn[:, columns].mean(axis=1, keepdims=True))[1:]

    @property
    def week(self) -> int:
        """Whole weeks since the log ended."""
        return self.visits // VISITS

    @property
    def on_sale(self) -> np.ndarray:
        """Which items can be shown this week, bool (I,)."""
        return self._launch <= self.week

    def taste_of_fashion(self) -> np.ndarray:
        """Return what everybody's tastes have in addition this week, in the columns of `products.SLICES`."""
        start, share = self.week // WEEKS_OF_A_FASHION, self.week / WEEKS_OF_A_FASHION % 1
        return np.asarray(self.fashion * ((1 - share) * self._directions[start] + share * self._directions[start + 1]))

    def visit(self, slates: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
        """Show a slate to each shopper that still comes.

        Args:
            slates: Item codes, best first, one row for each of `here`, (n, K); an item that a slate holds twice counts
                at its first position.

        Returns:
            The events, columns as in `Dataset.interactions`: what was clicked, with the stars of the strongest
            behaviour; and the probability that each of `here` comes back, (n,), before those who do not are gone.

        Raises:
            ValueError: Not one slate a shopper, or an item is not on sale.
        """
        if slates.ndim != 2 or len(slates) != len(self.here) or not self.on_sale[slates].all():
            raise ValueError(f"slates have shape {slates.shape}; give each of {len(self.here)} shoppers items on sale")
        generator = np.random.default_rng([self.seed, 7, self.visits])
        # Everybody's dice are thrown, whoever still comes: two recommenders then differ by their slates alone.
        item = np.zeros((len(self._shopper), slates.shape[1]), "int64")
        item[self.here] = slates
        present = np.isin(np.arange(len(item)), self.here)
        day = simulator.SESSIONS * simulator.DAYS_BETWEEN + 7 * ((self.visits + generator.random(len(item))) / VISITS)
        people = dataclasses.replace(self.truth.shoppers, tastes=self.truth.shoppers.tastes + self.taste_of_fashion())
        filled = ~shown_before(item)
        _, did, satisfaction = shoppers.visit(
            people, self.truth.products, self._shopper, item, day, self._satisfaction, generator, filled=filled
        )
        self._satisfaction = np.where(present, satisfaction, self._satisfaction)
        back = shoppers.return_probability(satisfaction[self.here])
        row, position = np.nonzero(did["clicked"] & present[:, None])
        value = np.zeros(len(row))
        for behaviour, stars in BEHAVIOURS.items():
            value = np.where(did[behaviour][row, position], stars, value)
        events = pd.DataFrame(
            {
                "user_id": self._shopper[row] + 1,
                "item_id": self._ids[item[row, position]],
                "signal": [simulator.SIGNALS[star] for star in value],
                "value": value,
                "timestamp": simulator.OPENING + (day[row] * simulator.DAY).astype("int64") + position,
            }
        )
        self.here = self.here[generator.random(len(item))[self.here] < back]
        self.visits += 1
        return events, back
