"""The dimensions of interest, and what each needs to know.

A further dimension is one more entry: `FusedModel({**DIMENSIONS, "director": Dimension(ContentSimilarity("director"),
("director",))})`. Taught in notebook 07.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from recfuse_lib.data.items import Items
from recfuse_lib.data.roles import CATEGORIES, CATEGORY, DATE, NUMBER
from recfuse_lib.data.weighting import Weighting
from recfuse_lib.models import closed_form
from recfuse_lib.models.content import LABELS, label_columns
from recfuse_lib.models.contract import Recommender
from recfuse_lib.models.ease import EASE
from recfuse_lib.models.item_knn import ItemKNN

TIMES, CONTENT, YEARS = "times", "content", "years"
LATELY = Weighting(low_rating=0.3, half_life=20.0, floor=0.2)


class Dimension(NamedTuple):
    """A recommender, not fitted, that is one dimension of interest; it is copied before it is fitted.

    `needs` says what must be known: `TIMES`, `CONTENT`, `YEARS`, `LABELS`, an encoding of the items or an attribute.
    """

    model: Recommender
    needs: tuple[str, ...] = ()


DIMENSIONS: Mapping[str, Dimension] = {
    "linear": Dimension(EASE(100.0)),
    "linear, recent": Dimension(EASE(50.0, LATELY), (TIMES,)),
    "neighbours": Dimension(ItemKNN(100, 10.0, LATELY)),
    "sequence": Dimension(closed_form.Transitions(), (TIMES,)),
    "month": Dimension(closed_form.TemporalPopularity(10.0), (TIMES,)),
    "year": Dimension(closed_form.TemporalPopularity(300.0), (TIMES,)),
    **{name: Dimension(closed_form.ContentSimilarity(name), (name,)) for name in ("text", "image", "sound", "clip")},
    "labels": Dimension(closed_form.ContentSimilarity(LABELS), (LABELS,)),
    "era": Dimension(closed_form.Era(), (YEARS,)),
    "future": Dimension(closed_form.FutureItems(), (YEARS, TIMES)),
    "content": Dimension(closed_form.ContentEASE(), (CONTENT,)),
    "popularity": Dimension(closed_form.ContentPopularity()),
    "popularity by content": Dimension(closed_form.ContentPopularity(by_content=True), (CONTENT,)),
}


def usable(dimensions: Mapping[str, Dimension], history: pd.DataFrame, items: Items) -> dict[str, Recommender]:
    """Return the dimensions that history and items say something about, in order; times that are all 0 are unknown."""
    known = {
        **dict.fromkeys((*items.encodings, *items.roles), True),
        TIMES: bool(history["timestamp"].any()),
        YEARS: bool(np.isfinite(items.years()).any()),
        LABELS: bool(label_columns(items)),
        CONTENT: "text" in items.encodings or bool(items.columns(CATEGORY, CATEGORIES, NUMBER, DATE)),
    }
    return {name: one.model for name, one in dimensions.items() if all(known.get(need) for need in one.needs)}
