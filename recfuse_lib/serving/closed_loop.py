"""The closed loop on the simulated market: a model recommends, shoppers answer, and a policy says when to train again.

Taught in notebook 19.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any, Literal

import keras
import numpy as np
import pandas as pd

from recfuse_lib.data.market.simulator import Market, Truth
from recfuse_lib.data.market.weeks import VISITS, WeeklyShop
from recfuse_lib.data.schema import Dataset
from recfuse_lib.data.splits import Queries
from recfuse_lib.encoders.attributes import AttributeEncoder
from recfuse_lib.encoders.item_encodings import ItemEncodings
from recfuse_lib.evaluation.metrics import top_k
from recfuse_lib.models.joint import JointModel
from recfuse_lib.serving.content import Content
from recfuse_lib.serving.retraining import EXAM_SHARE, Comparison, compare
from recfuse_lib.serving.training import Encode, assign, fit, met, weights

Policy = Literal["never", "always", "when better", "unless worse"]
EPOCHS_FIRST, EPOCHS_ONWARD, REPLAY = 8, 4, 1.0
DIMENSION, HISTORY_LENGTH = 32, 20
BEST, CHANCE = 4, 2
"""Places of a slate that the model fills, and places after them that chance fills."""

RESTS = 4
"""Visits for which an item that the model has shown is not shown again by it."""


def encode_attributes(dataset: Dataset, seen: np.ndarray) -> Content:
    """Attributes alone: quick, and enough to see what a rule of retraining does."""
    matrix, present = AttributeEncoder(dataset.roles).fit(dataset.catalogue[seen]).transform(dataset.catalogue)
    return Content.of(ItemEncodings.of({"attributes": matrix}, {"attributes": present}), seen)


@dataclasses.dataclass(frozen=True)
class Loop:
    """A market, and the model that was trained on its log: where every policy starts.

    Attributes:
        market, truth: The simulated market.
        log: What the shop knew when the log ended.
        model: A model of the size of the market; its weights are exchanged during a run.
        first: The weights after the log.
        content: What the model knows of the items.
    """

    market: Market
    truth: Truth
    log: Dataset
    model: JointModel
    first: dict[str, np.ndarray]
    content: Content

    @property
    def _ids(self) -> np.ndarray:
        return self.log.catalogue["item_id"].to_numpy()

    @classmethod
    def begin(cls, market: Market, truth: Truth, seed: int = 0, encode: Encode = encode_attributes) -> Loop:
        """Trains the first champion.

        Args:
            market, truth: From `recfuse_lib.data.market.make`.
            seed: Of the training.
            encode: Encodes the catalogue.
        """
        keras.utils.set_random_seed(seed)
        log = market.dataset()
        content = encode(log, met(log))
        mean = float(log.interactions["value"].mean())
        model = JointModel(dimension=DIMENSION, history_length=HISTORY_LENGTH, mean_rating=mean)
        model.build(log.n_users, log.n_items, content.encodings.widths)
        model.item_tower.set_encodings(content.encodings)
        model.item_tower.set_available(met(log))
        fit(model, log.events(), epochs=EPOCHS_FIRST, seed=seed)
        first = weights(model)
        # As in a bundle: what nobody has met speaks by its content, and is as popular as the median item.
        first["popularity"][~content.seen] = np.median(first["popularity"][content.seen])
        first["correction"][~content.seen] = 0
        return cls(market, truth, log, model, first, content)

    def run(
        self,
        policy: Policy,
        weeks: int = 10,
        seed: int = 0,
        fashion: float = 1.0,
        broken: Collection[int] = (),
        fair: bool = True,
    ) -> pd.DataFrame:
        """Weeks under one policy.

        "never" keeps the first champion. "always" trains onward on all events after each week and serves the result.
        "when better" trains onward without the newest events and serves the result only if it is better on those
        (`recfuse_lib.serving.retraining.compare`); "unless worse" serves it unless the whole interval is below zero.

        Args:
            policy: When to train again.
            weeks: How many.
            seed: Of what shoppers do, and of replay.
            fashion: See `WeeklyShop`.
            fair: Whether the exam asks only for what was shown by chance; otherwise for all that was liked.
            broken: Weeks after which the training job has a fault: what it learned of the items is
                written in the order of another catalogue.

        Returns:
            One row a week: `satisfaction`, the sum over visits of the probability that the shopper comes back;
            `visits`; `positives`, events of 4 stars or more; `action`, what the policy did after it; and of a
            comparison `difference`, `low`, `high`.
        """
        shop = WeeklyShop(self.market, self.truth, seed, fashion)
        champion, dataset = self.first, self.log
        trained_until = int(dataset.interactions["timestamp"].max())
        rows: list[dict[str, Any]] = []
        by_chance: list[pd.DataFrame] = []
        rested = np.full((dataset.n_users, dataset.n_items), RESTS, "int8")
        for week in range(weeks):
            assign(self.model, champion)
            satisfaction, visits, events = 0.0, 0, []
            for _ in range(VISITS):
                slates = self._slates(shop, dataset, rested)
                users, items = np.repeat(self.log.user_ids[shop.here], CHANCE), self._ids[slates[:, BEST:]].ravel()
                by_chance.append(pd.DataFrame({"user_id": users, "item_id": items}))
                new, back = shop.visit(slates)
                events.append(new)
                satisfaction, visits = satisfaction + float(back.sum()), visits + len(back)
                dataset = with_events(dataset, new)
            action, found = "", None
            if policy == "always":
                champion = self._train(champion, dataset, trained_until, seed, week in broken)
                trained_until, action = int(dataset.interactions["timestamp"].max()), "promote"
            elif policy != "never":
                recent = dataset.interactions["timestamp"][dataset.interactions["timestamp"] > trained_until]
                cut = int(np.quantile(recent, 1 - EXAM_SHARE, method="nearest"))
                challenger = self._train(champion, _before(dataset, cut), trained_until, seed, week in broken)
                found = self._compare(challenger, champion, dataset, cut, pd.concat(by_chance) if fair else None)
                accepted = found.better if policy == "when better" else found.difference.high > 0
                action = "promote" if accepted else "refuse"
                if accepted:
                    champion, trained_until = challenger, cut - 1
            positives = sum(int((new["value"] >= 4).sum()) for new in events)
            row: dict[str, Any] = {"week": week + 1, "satisfaction": satisfaction, "visits": visits}
            row |= {"positives": positives, "action": action}
            if found is not None:
                interval = found.difference
                row |= {"difference": interval.mean, "low": interval.low, "high": interval.high}
            rows.append(row)
        return pd.DataFrame(rows)

    def _slates(self, shop: WeeklyShop, dataset: Dataset, rested: np.ndarray) -> np.ndarray:
        """The best on sale that the shopper has not clicked yet nor been shown lately, then two by chance."""
        queries = Queries.of(dataset.events(), shop.here, dataset.n_items)
        scores = self.model.score(queries)
        scores[np.repeat(np.arange(len(queries)), queries.lengths), queries.item] = -np.inf
        scores[(rested[shop.here] < RESTS) | ~shop.on_sale] = -np.inf
        best = top_k(scores, BEST)
        rested[rested < RESTS] += 1
        rested[shop.here[:, None], best] = 0
        # Chance is everybody's, whoever still comes.
        generator = np.random.default_rng([shop.seed, 8, shop.visits])
        chance = generator.choice(np.flatnonzero(shop.on_sale), (self.log.n_users, CHANCE))[shop.here]
        return np.concatenate([best, chance], axis=1)

    def _train(
        self, start: dict[str, np.ndarray], dataset: Dataset, trained_until: int, seed: int, broken: bool
    ) -> dict[str, np.ndarray]:
        events = dataset.events()
        assign(self.model, start)
        available = np.isin(np.arange(dataset.n_items), events["item"])
        self.model.item_tower.set_available(available)
        fit(self.model, events, epochs=EPOCHS_ONWARD, since=trained_until + 1, replay=REPLAY, seed=seed)
        made = weights(self.model)
        if broken:
            mixed = np.random.default_rng(seed).permutation(dataset.n_items)
            made |= {name: made[name][mixed] for name in ("correction", "popularity", "item_bias")}
        return made

    def _compare(
        self,
        challenger: dict[str, np.ndarray],
        champion: dict[str, np.ndarray],
        dataset: Dataset,
        cut: int,
        by_chance: pd.DataFrame | None,
    ) -> Comparison:
        model = self.model
        twin = JointModel(**model.settings).build(model.n_users, model.n_items, model.item_tower.widths)
        twin.item_tower.set_encodings(self.content.encodings)
        assign(twin, challenger)
        assign(self.model, champion)
        return compare(twin, self.model, dataset, cut, by_chance)


def with_events(dataset: Dataset, new: pd.DataFrame) -> Dataset:
    """A data set with more events; the newest of a pair counts. They come from the simulator, so they are valid."""
    types = dataset.interactions.dtypes.to_dict()
    everything = pd.concat([dataset.interactions, new.astype(types)], ignore_index=True)
    everything = everything.drop_duplicates(["user_id", "item_id"], keep="last")
    order = ["timestamp", "user_id", "item_id"]
    return dataclasses.replace(dataset, interactions=everything.sort_values(order, ignore_index=True))


def _before(dataset: Dataset, cut: int) -> Dataset:
    past = dataset.interactions[dataset.interactions["timestamp"] < cut]
    return dataclasses.replace(dataset, interactions=past.reset_index(drop=True))
