"""The customers of the simulated shop: what each likes, and how they act on it; `visit` is one step in time.
Taught in notebook 01.
"""

import dataclasses

import numpy as np

from recfuse_lib.data.market.products import FEATURES, SLICES, WIDTH, Products

N_GROUPS = 8
GROUP_SPREAD = 0.5
SLATE = 20
EXAMINATION = 1 / (1 + 0.15 * np.arange(SLATE))
"""Probability that a shopper looks at position k of a slate."""

DEEDS = {"viewed": "", "clicked": "click", "favourited": "favourite", "carted": "cart", "bought": "buy"}
"""What a shopper does, by its column of the log → which outcome of `respond` it takes beside a look."""


@dataclasses.dataclass(frozen=True)
class Weights:
    """How much each dimension of taste matters: the standard deviation of its part of a utility; 0 switches it off.

    `mood` is the part of the taste in sound that drifts with time; `quality` is the same for everybody.
    """

    collaborative: float = 0.8
    category: float = 0.8
    words: float = 0.8
    brand: float = 0.3
    price: float = 0.5
    visual: float = 1.0
    sound: float = 0.8
    motion: float = 0.8
    mood: float = 0.5
    quality: float = 0.4


@dataclasses.dataclass(frozen=True)
class Shoppers:
    """What is true of every shopper, by shopper code; no log holds any of it."""

    weights: Weights
    group: np.ndarray  # which of eight groups of like-minded people, (U,)
    tastes: np.ndarray  # one number for each feature of a product, in the columns of `products.SLICES`, (U, `WIDTH`)
    emphasis: np.ndarray  # by what factor each of `products.FEATURES` matters more than `weights` say, (U, dimensions)
    phase: np.ndarray  # where the drifting part of the taste in sound points on day 0 in the plane of moods, radians
    drift: np.ndarray  # how fast it turns, radians a day, (U,)
    price_sensitivity: np.ndarray  # how much a lower price helps, at least 0, (U,)
    activity: np.ndarray  # how readily a shopper clicks at all, (U,)

    def __len__(self) -> int:
        return len(self.group)

    def at(self, day: np.ndarray | float, user: np.ndarray) -> np.ndarray:
        """Return the tastes of some shoppers on some day of the log, the drifting mood included, (n, `WIDTH`)."""
        tastes = self.tastes[user]
        angle = self.phase[user] + self.drift[user] * day
        tastes[:, SLICES["sound"]] += self.weights.mood * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return np.asarray(tastes)


def concatenate(parts: list[Shoppers]) -> Shoppers:
    """Join all shoppers of several parts of one market."""
    columns = {name: [vars(part)[name] for part in parts] for name in vars(parts[0]) if name != "weights"}
    return Shoppers(parts[0].weights, **{name: np.concatenate(arrays) for name, arrays in columns.items()})


def make(
    generator: np.random.Generator, n_shoppers: int, groups: np.ndarray, weights: Weights, emphasis: np.ndarray
) -> Shoppers:
    """Draw shoppers, given the centre of each group in the collaborative dimension, (8, 8); see `Shoppers`."""
    group = generator.integers(N_GROUPS, size=n_shoppers)
    own = generator.normal(size=(n_shoppers, WIDTH))
    price_sensitivity = np.exp(generator.normal(-0.125, 0.5, n_shoppers))
    tastes = np.empty_like(own)
    for dimension, (name, width) in enumerate(FEATURES.items()):
        columns = SLICES[name]
        part = own[:, columns]
        if name == "collaborative":
            part = (groups[group] + GROUP_SPREAD * part) / np.sqrt(width * (1 + GROUP_SPREAD**2))
        elif name == "price":
            part = -price_sensitivity[:, None]
        elif name == "words":
            part = part / np.sqrt(2)
        elif name in ("visual", "sound", "motion"):
            part = part / np.sqrt(width)
        tastes[:, columns] = getattr(weights, name) * emphasis[:, [dimension]] * part
    return Shoppers(
        weights=weights,
        group=group,
        tastes=tastes,
        emphasis=emphasis,
        phase=generator.uniform(0, 2 * np.pi, n_shoppers),
        drift=generator.normal(0.0, np.pi / 90, n_shoppers),
        price_sensitivity=price_sensitivity,
        activity=generator.normal(0.0, 0.4, n_shoppers),
    )


def respond(
    shoppers: Shoppers,
    products: Products,
    user: np.ndarray,
    item: np.ndarray,
    day: np.ndarray,
    coupon: np.ndarray | bool,
    generator: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Draw what shoppers would do with each item of a slate if they looked at it: all potential outcomes.

        P(click | look) = σ(0.8 U + 0.6 hype + activity − 2.4)   P(favourite | click) = σ(0.9 U − 0.6)
        P(cart | click) = σ(0.9 U − 1.2)                         P(buy | cart) = σ(0.5 U − 0.5 + coupon · sensitivity)

    One draw decides each step, whatever the coupon: whoever buys without one also buys with one. `user` is (n,), `item`
    (n, K), `day` since the log began, (n,), `coupon` (n,) or one for all. Returns, each (n, K), `utility` (float64),
    `click`, `favourite`, `cart`, `buy`, `buy_without_coupon`, `buy_with_coupon` (bool; later steps imply a click).
    """
    utility = np.einsum("nw,nkw->nk", shoppers.at(day, user), products.features[item])
    utility += shoppers.weights.quality * products.quality[item]
    draw = generator.random((4, *item.shape))
    willing, sensitivity = shoppers.activity[user][:, None], shoppers.price_sensitivity[user][:, None]
    click = draw[0] < _sigmoid(0.8 * utility + 0.6 * products.hype[item] + willing - 2.4)
    favourite = click & (draw[1] < _sigmoid(0.9 * utility - 0.6))
    cart = click & (draw[2] < _sigmoid(0.9 * utility - 1.2))
    without = cart & (draw[3] < _sigmoid(0.5 * utility - 0.5))
    with_coupon = cart & (draw[3] < _sigmoid(0.5 * utility - 0.5 + sensitivity))
    buy = np.where(np.reshape(coupon, (-1, 1)), with_coupon, without)
    outcomes = {"utility": utility, "click": click, "favourite": favourite, "cart": cart, "buy": buy}
    return {**outcomes, "buy_without_coupon": without, "buy_with_coupon": with_coupon}


def visit(
    shoppers: Shoppers,
    products: Products,
    user: np.ndarray,
    item: np.ndarray,
    day: np.ndarray,
    satisfaction: np.ndarray,
    generator: np.random.Generator,
    coupon: np.ndarray | bool = False,
    filled: np.ndarray | bool = True,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    """Step the simulation by one visit: shoppers look at a slate from the top, act on it and are pleased or not.

    Takes what `respond` takes, the `satisfaction` before the visit, (n,), and which positions are `filled`, (n, K) or
    one for all. Returns what they would do (see `respond`); what they do, by `DEEDS`, bool (n, K); and the satisfaction
    afterwards: 0.8 · before + 0.2 · mean utility of what was clicked (−1 if nothing was), (n,).
    """
    would = respond(shoppers, products, user, item, day, coupon, generator)
    viewed = filled & (generator.random(item.shape) < EXAMINATION[: item.shape[1]])
    did = {deed: viewed & would.get(outcome, True) for deed, outcome in DEEDS.items()}
    clicks = did["clicked"].sum(axis=1)
    mean = np.where(clicks > 0, (would["utility"] * did["clicked"]).sum(axis=1) / np.maximum(clicks, 1), -1.0)
    return would, did, np.asarray(0.8 * satisfaction + 0.2 * mean)


def return_probability(satisfaction: np.ndarray) -> np.ndarray:
    """Compute P(comes back) = σ(2.5 + 1.5 · satisfaction), (n,)."""
    return _sigmoid(2.5 + 1.5 * satisfaction)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))
