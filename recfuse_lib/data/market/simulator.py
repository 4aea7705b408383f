"""The simulated shop at work: sessions, slates, behaviours, reviews; and, apart from them, the truth.
Taught in notebook 01; notebook 14 makes use of the propensities of `LoggingPolicy`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from recfuse_lib.data.market import language, products, shoppers
from recfuse_lib.data.market.products import SLICES, Products
from recfuse_lib.data.market.shoppers import Shoppers, Weights
from recfuse_lib.data.roles import CATEGORIES, CATEGORY, NUMBER, TEXT
from recfuse_lib.data.schema import Dataset

if TYPE_CHECKING:
    from recfuse_lib.data.media import Media

N_PRODUCTS, N_SHOPPERS = 3_000, 4_000
OPENING = 1_704_067_200
"""Unix seconds at which the log begins, 2024-01-01."""

DAY = 86_400
SESSIONS, DAYS_BETWEEN = 30, 3.0
COUPON_SHARE, REVIEW_SHARE, UNIFORM_SHARE = 1 / 3, 0.4, 0.3
SHOPPERS_AT_ONCE = 4_000

BEHAVIOURS = {"clicked": 3.0, "favourited": 4.0, "carted": 4.5, "bought": 5.0}
"""Behaviour → its signal in stars. Being shown an item sends none: nobody knows whether it was seen."""

SIGNALS = {3.0: "click", 4.0: "favourite", 4.5: "cart", 5.0: "purchase"}
"""Stars → name of the strongest behaviour."""

ROLES = {"title": TEXT, "genres": CATEGORIES, "brand": CATEGORY, "price": NUMBER, "description": TEXT}

TAG_DIMENSIONS = ("visual", "material", "occasion", "price", "brand", "sound", "motion", "category", "collaborative")
"""The dimension of each of `language.TAGS`, as named in `products.SLICES`."""


@dataclasses.dataclass(frozen=True)
class Market:
    """What the simulated shop knows: its catalogue and its log; `data/market/README.md` describes the columns."""

    seed: int
    scale: float
    catalogue: pd.DataFrame  # one row a product; the position of a row is the item code
    impressions: pd.DataFrame  # one row for each item that was shown
    reviews: pd.DataFrame

    def dataset(self) -> Dataset:
        """Return one interaction a clicked pair, at its first click: its review's stars, else the top behaviour's."""
        clicked = self.impressions[self.impressions["clicked"]]
        stars = np.zeros(len(clicked))
        for behaviour, value in BEHAVIOURS.items():
            stars = np.where(clicked[behaviour], value, stars)
        pairs = clicked.assign(value=stars).groupby(["user_id", "item_id"], sort=True)
        log = pairs.agg(value=("value", "max"), timestamp=("timestamp", "min"))
        log["signal"] = log["value"].map(SIGNALS)
        reviewed = self.reviews.groupby(["user_id", "item_id"])["rating"].last()
        log.loc[reviewed.index, ["signal", "value"]] = pd.DataFrame({"signal": "rating", "value": reviewed})
        catalogue = self.catalogue.drop(columns=["launched", "year"])
        return Dataset.of("Market", log.reset_index(), catalogue, roles=ROLES, positive="value>=4")

    def media(self) -> Media:
        """Return a photograph, a jingle and a clip of each product, as files in the cache."""
        from recfuse_lib.data.market.media import write

        made, _ = products.make(self.seed, len(self.catalogue))
        return write(made, self.seed)


@dataclasses.dataclass(frozen=True)
class Truth:
    """What is true of a simulated market and no shop can know. Rows correspond to those of the `Market`.

    `outcomes`, one row an impression: `propensity` (of showing this item at this position), `utility` (U), and what
    would have happened after a look: `click`, `buy_without_coupon`, `buy_with_coupon`. `tags`, one row a review: for
    each of `language.TAGS`, +1 where the comment praises it, −1 where it blames it.
    """

    products: Products
    shoppers: Shoppers  # shopper 0 has `user_id` 1
    examination: np.ndarray  # probability that a shopper looks at position k of a slate, (K,)
    outcomes: pd.DataFrame
    tags: pd.DataFrame

    def utility(self, user: np.ndarray, day: float = SESSIONS * DAYS_BETWEEN) -> np.ndarray:
        """Compute U of every product for some shoppers on a day, by default at the end of the log, float64 (n, I)."""
        quality = self.shoppers.weights.quality * self.products.quality
        return np.asarray(self.shoppers.at(day, user) @ self.products.features.T + quality)


def make(
    seed: int = 0, scale: float = 1, weights: Weights | None = None, personal: float = 0.0
) -> tuple[Market, Truth]:
    """Make a simulated market from a seed: what the shop knows, and the truth apart from it.

    At `scale` 1 there are 3,000 products and 4,000 shoppers; time and memory grow with it. `personal` is how
    differently the dimensions matter to the shoppers: each one's weight of each is multiplied by e^(`personal` · n −
    `personal`² / 2), n standard normal, 1 on average; at 1 two thirds of the factors lie between .22 and 1.6.

    >>> market, truth = make(seed=0, scale=0.1)
    >>> len(market.catalogue), len(truth.shoppers), len(market.impressions) == len(truth.outcomes)
    (300, 400, True)
    """
    n_products, n_shoppers = round(scale * N_PRODUCTS), round(scale * N_SHOPPERS)
    if n_products < 100:
        raise ValueError(f"scale {scale:g} makes {n_products} products; use at least {100 / N_PRODUCTS:.2f}")
    made, catalogue = products.make(seed, n_products)
    groups = np.random.default_rng([seed, 2]).normal(size=(shoppers.N_GROUPS, products.FEATURES["collaborative"]))
    policy, crowds, logs, truths = LoggingPolicy(made), [], [], []
    for first in range(0, n_shoppers, SHOPPERS_AT_ONCE):
        generator = np.random.default_rng([seed, 3, first])
        n_people = min(SHOPPERS_AT_ONCE, n_shoppers - first)
        own = np.random.default_rng([seed, 8, first]).normal(size=(n_people, len(products.FEATURES)))
        emphasis = np.exp(personal * own - personal**2 / 2)
        crowds.append(shoppers.make(generator, n_people, groups, weights or Weights(), emphasis))
        log, outcomes = _visits(crowds[-1], made, policy, generator)
        log["user_id"] = (log["user_id"] + first + 1).astype("int32")
        logs.append(log)
        truths.append(outcomes)
    people = shoppers.concatenate(crowds)
    log, outcomes = pd.concat(logs, ignore_index=True), pd.concat(truths, ignore_index=True)
    del logs, truths
    order = np.lexsort((log["position"], log["user_id"], log["timestamp"] - log["position"]))
    log, outcomes = log.iloc[order].reset_index(drop=True), outcomes.iloc[order].reset_index(drop=True)
    starts = (log["user_id"] != log["user_id"].shift()) | (log["visit"] != log["visit"].shift())
    log.insert(0, "session_id", np.cumsum(starts).astype("int32"))
    reviews, tags = _reviews(people, made, log, outcomes, np.random.default_rng([seed, 5]))
    log["item_id"] = catalogue["item_id"].to_numpy()[log["item_id"]]
    closing = OPENING + int(SESSIONS * DAYS_BETWEEN * DAY)
    catalogue["launched"] = np.where(made.new, closing, OPENING).astype("int64")
    market = Market(seed, scale, catalogue, log.drop(columns="visit"), reviews)
    return market, Truth(made, people, shoppers.EXAMINATION, outcomes, tags)


class LoggingPolicy:
    """The exposure policy that made the log: part chance, part what the shopper clicked before.

        π(i | b) = ε / N + (1 − ε) b[c_i] · m_i / Σ_{j in c_i} m_j

    b is the shop's belief in each category, m an item's prominence, N the number of items on sale. Positions are filled
    independently; an item drawn again leaves its later position empty, so an item is shown at position k (from 0) with
    propensity π (1 − π)^k.
    """

    def __init__(self, products: Products) -> None:
        self.on_sale = np.flatnonzero(~products.new)
        self._category = products.category
        # On sale, by category: a draw in category c is a number between its bounds in the running sum.
        self._order = self.on_sale[np.argsort(products.category[self.on_sale], kind="stable")]
        self._running = np.cumsum(products.prominence[self._order])
        sizes = np.bincount(products.category[self._order], minlength=len(language.CATEGORIES))
        self._bounds = np.concatenate([[0.0], self._running])[np.concatenate([[0], np.cumsum(sizes)])]
        self._within = products.prominence / np.diff(self._bounds)[products.category]

    def slates(self, belief: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw slates, given the belief in each category (n, C): item codes, filled positions, propensities, (n, K)."""
        draw = generator.random((4, len(belief), shoppers.SLATE))
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
    """Mark the positions whose item is at an earlier position of the same slate, bool (n, K)."""
    return np.asarray(np.tril(slate[:, :, None] == slate[:, None, :], k=-1).any(axis=2))


def _visits(
    people: Shoppers, made: Products, policy: LoggingPolicy, generator: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The log and the truth of some shoppers; `user_id` and `item_id` are codes, `visit` counts a shopper's visits."""
    gap = generator.exponential(DAYS_BETWEEN, size=(len(people), SESSIONS))
    day_of = np.minimum(np.cumsum(gap, axis=1), SESSIONS * DAYS_BETWEEN * 0.999)
    clicks = np.zeros((len(people), len(language.CATEGORIES)))
    satisfaction, user = np.zeros(len(people)), np.arange(len(people))
    logs, truths = [], []
    for visit in range(SESSIONS):
        stays = generator.random(len(user)) < shoppers.return_probability(satisfaction[user])
        user = user[stays & (day_of[user, visit] < SESSIONS * DAYS_BETWEEN * 0.999)] if visit else user
        if not len(user):
            break
        day = day_of[user, visit]
        item, filled, propensity = policy.slates(believe(clicks[user]), generator)
        coupon = generator.random(len(user)) < COUPON_SHARE
        would, did, satisfaction[user] = shoppers.visit(
            people, made, user, item, day, satisfaction[user], generator, coupon, filled
        )
        row, position = np.nonzero(filled)
        columns = {
            "user_id": user[row].astype("int32"),
            "timestamp": (OPENING + (day * DAY).astype("int64"))[row] + position,
            "position": position.astype("int8"),
            "item_id": item[filled].astype("int32"),
            "coupon": coupon[row],
        }
        columns |= {deed: where[filled] for deed, where in did.items()}
        logs.append(pd.DataFrame({**columns, "visit": np.int8(visit)}))
        truth = {"propensity": propensity[filled].astype("float32"), "utility": would["utility"][filled]}
        truth |= {name: would[name][filled] for name in ("click", "buy_without_coupon", "buy_with_coupon")}
        truths.append(pd.DataFrame(truth).astype({"utility": "float32"}))
        row, position = np.nonzero(did["clicked"])
        np.add.at(clicks, (user[row], made.category[item[row, position]]), 1)
    return pd.concat(logs, ignore_index=True), pd.concat(truths, ignore_index=True)


def _reviews(
    people: Shoppers, made: Products, log: pd.DataFrame, outcomes: pd.DataFrame, generator: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame]:
    bought = np.flatnonzero(log["bought"])
    _, first = np.unique(log[["user_id", "item_id"]].to_numpy()[bought], axis=0, return_index=True)
    bought = np.sort(bought[first])
    bought = bought[generator.random(len(bought)) < REVIEW_SHARE]
    user, item = log["user_id"].to_numpy()[bought] - 1, log["item_id"].to_numpy()[bought]
    stars = 2.2 + 0.55 * outcomes["utility"].to_numpy("float64")[bought] + generator.normal(0.0, 0.5, len(bought))
    rating = np.clip(np.round(2 * stars), 1, 10) / 2
    timestamp = log["timestamp"].to_numpy()[bought] + generator.integers(2 * DAY, 9 * DAY, len(bought))
    # What each tag's dimension adds to the utility, (n, number of tags).
    product = people.at((timestamp - OPENING) / DAY, user) * made.features[item]
    parts = np.stack([product[:, SLICES[name]].sum(axis=1) for name in TAG_DIMENSIONS], axis=1)
    n_told = generator.integers(1, 4, len(bought))
    loudest = np.argsort(-np.abs(parts), axis=1, kind="stable")[:, :3]
    told = np.where(np.arange(3) < n_told[:, None], loudest, -1)
    polarity = np.where(np.take_along_axis(parts, loudest, axis=1) > 0, 1, -1)
    truth = np.zeros((len(bought), len(language.TAGS)), "int8")
    row, place = np.nonzero(told >= 0)
    truth[row, told[row, place]] = polarity[row, place]
    whole_stars = np.clip(np.ceil(rating), 1, 5).astype("int64")
    reviews = pd.DataFrame(
        {
            "user_id": (user + 1).astype("int32"),
            "item_id": (item + 1).astype("int32"),
            "timestamp": timestamp.astype("int64"),
            "rating": rating.astype("float32"),
            "comment": language.comments(generator, whole_stars, told, polarity),
        }
    ).astype({"comment": "str"})
    order = np.lexsort((reviews["item_id"], reviews["user_id"], reviews["timestamp"]))
    tags = pd.DataFrame(truth[order], columns=list(language.TAGS))
    return reviews.iloc[order].reset_index(drop=True), tags
