"""The simulated shop as a Gymnasium environment: the recommender acts, the shopper answers and may not come back.

Taught in notebook 15.
"""

from __future__ import annotations

from typing import Any, Literal

import gymnasium
import numpy as np

from recfuse_lib.data.market import shoppers, simulator
from recfuse_lib.data.market.simulator import Truth

RECENT = 10


class MarketEnvironment(gymnasium.Env[dict[str, np.ndarray], np.ndarray]):
    """One episode is one shopper, one step is one visit.

    An action is a slate: the item codes to show, best place first. The shopper looks at each place with the market's
    probability of examination and answers as the simulator's shoppers do. After a visit they come back with the
    probability that their satisfaction gives; the episode is over when they do not, and cut off after 30 visits.

    An observation holds what a shop knows: `recent`, the codes of the last ten clicked items, oldest first, I where
    there are fewer; `clicks`, the clicks so far in each category; `visit`, the number of visits before this one.

    Args:
        truth: Of a simulated market.
        slate_size: How many items an action shows, 1–20.
        reward: "clicks" counts the clicks of a visit; "satisfaction" is the probability that the shopper comes back
            after it, so that the sum over an episode is long-term satisfaction. Both are in `info` at every step, with
            `bought`, `utility` (mean over what was clicked) and `user`.

    Raises:
        ValueError: There is no such reward, or the slate is too long.

    Example:
        >>> from recfuse_lib.data.market import make
        >>> shop = MarketEnvironment(make(scale=0.1)[1], slate_size=3)
        >>> observation, info = shop.reset(seed=0)
        >>> observation, reward, terminated, truncated, info = shop.step(np.array([5, 17, 200]))
        >>> sorted(info)
        ['bought', 'clicks', 'satisfaction', 'user', 'utility']

    References:
        Towers et al. (2024), Gymnasium: A Standard Interface for Reinforcement Learning Environments.
    """

    def __init__(self, truth: Truth, slate_size: int = 5, reward: Literal["clicks", "satisfaction"] = "clicks") -> None:
        if reward not in ("clicks", "satisfaction"):
            raise ValueError(f"reward {reward!r} does not exist; choose 'clicks' or 'satisfaction'")
        if not 1 <= slate_size <= len(truth.examination):
            raise ValueError(f"a slate of {slate_size} items; shoppers look at 1 to {len(truth.examination)}")
        self.truth, self.reward = truth, reward
        n_items = len(truth.products)
        self.n_categories = int(truth.products.category.max()) + 1
        self.action_space = gymnasium.spaces.MultiDiscrete(np.full(slate_size, n_items))
        self.observation_space = gymnasium.spaces.Dict(
            {
                "recent": gymnasium.spaces.MultiDiscrete(np.full(RECENT, n_items + 1)),
                "clicks": gymnasium.spaces.Box(0, np.inf, (self.n_categories,), "int64"),
                "visit": gymnasium.spaces.Box(0, simulator.SESSIONS, (1,), "int64"),
            }
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """A shopper comes for the first time.

        Args:
            seed: Of the shopper and of everything they do.
            options: `{"user": code}` chooses the shopper.
        """
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(len(self.truth.shoppers)))
        self._user = int((options or {}).get("user", drawn))
        self._recent = np.full(RECENT, len(self.truth.products), "int64")
        self._clicks = np.zeros(self.n_categories, "int64")
        self._visit, self._day = 0, float(self.np_random.exponential(simulator.DAYS_BETWEEN))
        self._satisfaction = np.zeros(1)
        return self._observation(), {"user": self._user}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Shows a slate; an item that it holds twice counts at its first place."""
        action = np.asarray(action, "int64")
        if not self.action_space.contains(action):
            raise ValueError(
                f"action {action.tolist()} is not a slate of {self.action_space.shape[0]} item codes of "
                f"0–{len(self.truth.products) - 1}"
            )
        item = action[np.sort(np.unique(action, return_index=True)[1])]
        would = shoppers.respond(
            self.truth.shoppers,
            self.truth.products,
            np.array([self._user]),
            item[None],
            np.array([self._day]),
            np.zeros(1, bool),
            self.np_random,
        )
        viewed = self.np_random.random(len(item)) < self.truth.examination[: len(item)]
        clicked = viewed & would["click"][0]
        self._satisfaction = simulator.satisfied(self._satisfaction, would["utility"], clicked[None])
        back = float(simulator.return_probability(self._satisfaction)[0])
        np.add.at(self._clicks, self.truth.products.category[item[clicked]], 1)
        self._recent = np.concatenate([self._recent, item[clicked]])[-RECENT:]
        self._visit += 1
        self._day += float(self.np_random.exponential(simulator.DAYS_BETWEEN))
        n_clicks = int(clicked.sum())
        info = {
            "user": self._user,
            "clicks": n_clicks,
            "satisfaction": back,
            "bought": int((viewed & would["buy"][0]).sum()),
            "utility": float(would["utility"][0, clicked].mean()) if n_clicks else 0.0,
        }
        terminated = bool(self.np_random.random() >= back)
        truncated = not terminated and self._visit >= simulator.SESSIONS
        reward = float(n_clicks) if self.reward == "clicks" else back
        return self._observation(), reward, terminated, truncated, info

    def _observation(self) -> dict[str, np.ndarray]:
        return {
            "recent": self._recent.copy(),
            "clicks": self._clicks.copy(),
            "visit": np.array([self._visit], "int64"),
        }
