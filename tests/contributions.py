"""Why this item? The joint model's score taken apart in Keras; what the service says of its reasons must agree."""

from __future__ import annotations

import numpy as np
import pandas as pd
from keras import ops

from recfuse_lib.data import sequences
from recfuse_lib.data.splits import Queries
from recfuse_lib.models.joint import JointModel


def contributions(model: JointModel, queries: Queries, item: int) -> pd.DataFrame:
    """What lifts one item above the average item for one person.

    The score is a sum over the history, the person's own vector and the popularity, and the item's vector is a sum of
    content and behaviour, so nothing is approximated:

        s(u, i) − mean_k s(u, k) = Σ_j w_j (Vᵀz_j)ᵀ(z_i − z̄) + b_uᵀ(z_i − z̄) + (β_i − β̄)

    Args:
        model: A trained joint model.
        queries: One query.
        item: The code of the item to explain.

    Returns:
        One row a source, largest total first: `source` ("history", "person" or "popularity"), `item` (the code of the
        past item, -1 for the others), one column a dimension of the item tower (`text`, …), `behaviour` and `total`.
        The totals add up to the score's lead over the mean score.

    Raises:
        ValueError: There is not exactly one query.
    """
    if len(queries) != 1:
        raise ValueError(f"{len(queries)} queries; one recommendation of one person is explained at a time")
    history, rating, _ = sequences.latest(queries, model.history_length).values()
    parts = model.item_tower.parts()
    vectors = np.sum(list(parts.values()), axis=0)
    popularity = ops.convert_to_numpy(model.network.popularity)
    weights = ops.convert_to_numpy(model.user_tower.weights_of(ops.convert_to_tensor(rating)))[0]
    real = rating[0] > 0
    past = weights[real, None] * (vectors[history[0, real]] @ ops.convert_to_numpy(model.user_tower.transform))
    user = min(int(queries.user[0]), model.n_users)
    person = ops.convert_to_numpy(model.user_tower.users)[user]
    sources = np.concatenate([past, person[None]])
    table = pd.DataFrame({"source": ["history"] * len(past) + ["person", "popularity"]})
    table["item"] = [*history[0, real], -1, -1]
    for name, part in parts.items():
        table[name] = [*(sources @ (part[item] - part.mean(0))), 0.0]
    table.loc[table["source"] == "popularity", "behaviour"] = float(popularity[item] - popularity.mean())
    table["total"] = table[list(parts)].sum(axis=1)
    return table.sort_values("total", ascending=False, ignore_index=True)
