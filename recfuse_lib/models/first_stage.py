"""The rough scores of a large catalogue without a pass over all items for each dimension: most scores are 0, the same
for all items of a year, or the same for everybody. Taught in notebook 18.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from recfuse_lib.data.splits import Queries
from recfuse_lib.models.closed_form import ContentPopularity, Era, FutureItems, TemporalPopularity, Transitions
from recfuse_lib.models.contract import Recommender, clip
from recfuse_lib.models.ease import EASE
from recfuse_lib.models.fused import FusedModel
from recfuse_lib.models.item_knn import ItemKNN


class FirstStage:
    """Scores all items by Σ_d g_d z_d + vᵀf_i over the dimensions `towers`, and gives z of those that are asked for.

    z = (s − m) / σ, where m and σ are of all items. A dimension that scores few items (s = 0 elsewhere) adds to those
    and, by −m/σ, to all of one evidence f_i alike; an item's year and f_i are its group, and groups are few.
    """

    def __init__(self, model: FusedModel, towers: list[Recommender], by_item: np.ndarray, level: np.ndarray) -> None:
        self.towers, self.by_item, self.n_items = towers, by_item, len(level)
        fixed = {place: one.level for place, one in enumerate(towers) if isinstance(one, ContentPopularity)}
        self.fixed = {place: self._standardised(one) for place, one in fixed.items()}
        always = level + sum(by_item[place] * z for place, z in self.fixed.items())
        self.rows = np.stack([always, *self.fixed.values()]).astype("float32")
        years = next((np.nan_to_num(one.years) for one in towers if isinstance(one, FutureItems)), np.zeros(len(level)))
        _, evidence = np.unique(2 * model.count + (model.item_evidence[:, 2] > 0), return_inverse=True)
        _, year = np.unique(years, return_inverse=True)
        _, self.first, self.group, self.size = np.unique(
            evidence * (year.max() + 1) + year, return_index=True, return_inverse=True, return_counts=True
        )
        self.group = self.group.astype("int32")

    def _standardised(self, scores: np.ndarray) -> np.ndarray:
        scores = np.asarray(scores - scores.mean(dtype="float64"), "float32")
        scores *= np.float32(1 / (np.sqrt(scores @ scores / self.n_items) + 1e-6))
        return clip(scores)

    def __call__(self, query: Queries, by_user: np.ndarray) -> tuple[np.ndarray, Any]:
        """Returns the rough scores, (I,), and a function from item codes (C,) to z, (dimensions, C)."""
        rough = np.append(np.float32(1), by_user[[*self.fixed]]).astype("float32") @ self.rows
        of_group, found = np.zeros(len(self.first)), list[tuple[Any, Any, float]]()
        for place, tower in enumerate(self.towers):
            gate, width = by_user[place], self.by_item[place]
            if place in self.fixed:
                found.append((None, self.fixed[place], 0.0))
            elif isinstance(tower, Era | FutureItems):
                scores = tower.score(query, self.first[None])[0].astype("float64")
                mean, deviation = self._moments(scores, self.size) if not tower.is_flag else (0.0, 1.0)
                of_group += (gate + width[self.first]) * clip((scores - mean) / deviation)
                found.append((tower, mean, deviation))
            elif isinstance(tower, EASE):
                z = self._standardised(tower.score(query)[0])
                rough += (width + gate) * z
                found.append((None, z, 0.0))
            else:
                assert isinstance(tower, ItemKNN | TemporalPopularity | Transitions)
                codes, scores = tower.touched(query)
                mean, deviation = self._moments(scores)
                z, least = clip((scores - mean) / deviation), max(-mean / deviation, -4.0)
                of_group += (gate + width[self.first]) * least
                rough[codes] += (gate + width[codes]) * (z - least)
                found.append((codes, z, least))
        rough += of_group.astype("float32")[self.group]

        def z_of(codes: np.ndarray) -> np.ndarray:
            rows = np.empty((len(found), len(codes)), "float32")
            for row, (what, values, more) in zip(rows, found, strict=True):
                if what is None:
                    row[:] = values[codes]
                elif isinstance(what, Recommender):
                    row[:] = clip((what.score(query, codes[None])[0] - values) / more)
                else:
                    place = np.minimum(np.searchsorted(what, codes), max(len(what) - 1, 0))
                    row[:] = np.where(what[place] == codes, values[place], more) if len(what) else more
            return rows

        return rough, z_of

    def _moments(self, scores: np.ndarray, size: np.ndarray | float = 1.0) -> tuple[float, float]:
        """Mean and standard deviation over all items of scores that `size` items have each, and the others 0."""
        mean = float((size * scores).sum()) / self.n_items
        square = float((size * np.square(scores, dtype="float64")).sum()) / self.n_items
        return mean, max(square - mean**2, 0.0) ** 0.5 + 1e-6
