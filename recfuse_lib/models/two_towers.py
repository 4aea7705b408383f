"""The joint model as a retriever: Keras trains two towers over content and behaviour, NumPy scores.
Taught in notebooks 08 and 18.
"""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd

from recfuse_lib.data.items import Items
from recfuse_lib.data.sequences import latest
from recfuse_lib.data.splits import Queries
from recfuse_lib.models import content
from recfuse_lib.models.inner_product import InnerProduct


class TwoTowers(InnerProduct):
    """Scores by the retrieval task of a `joint.JointModel` over content (`content.content`).

        s(u, i) = [p_u, 1]ᵀ [z_i, β_i],   z_i = C_i W + δ_i

    δ is 0 for an item that nobody has chosen, and its β is the median. A person whom the model does not know has the
    vector of a stranger: p_u comes from the history alone. `dimension` is D, `seed` that of weights and dropout.
    """

    def __init__(self, epochs: int = 3, dimension: int = 32, seed: int = 0) -> None:
        self.epochs, self.dimension, self.seed = epochs, dimension, seed

    def fit(self, history: pd.DataFrame, items: Items) -> TwoTowers:
        """Trains the towers; raises `DataError` where they do not fit into memory."""
        import keras

        from recfuse_lib.encoders.item_encodings import ItemEncodings
        from recfuse_lib.models.item_tower import ENCODING_SCALE
        from recfuse_lib.models.joint import JointModel

        keras.utils.set_random_seed(self.seed)
        known = np.isin(np.arange(items.n_items), history["item"])
        model = JointModel(dimension=self.dimension, mean_rating=float(history["rating"].mean()))
        encodings = ItemEncodings.of({"content": content.content(items, history)})
        model.fit(history, encodings, known, epochs=self.epochs)
        self.history_length = model.history_length

        def array(weight: object) -> np.ndarray:
            return np.array(keras.ops.convert_to_numpy(weight))

        user, item = model.user_tower, model.item_tower
        self.kernel = ENCODING_SCALE * array(item.kernels[0])
        self.transform, self.users, self.rating_weight = map(array, (user.transform, user.users, user.rating_weight))
        self.half_life, self.floor = np.exp(array(user.recency)[0]), 1 / (1 + np.exp(-array(user.recency)[1]))
        popularity = array(model.network.popularity)
        self.typical = np.median(popularity[known])
        popularity[~known] = self.typical
        self.keep(np.c_[array(item()), popularity])
        return self

    def extended(self, history: pd.DataFrame, items: Items) -> TwoTowers:
        """Places the new items by their content."""
        larger = copy.copy(self)
        new = content.content(items, history)[len(self.vectors) :] @ self.kernel
        larger.keep(np.vstack([self.vectors, np.c_[new, np.full(len(new), self.typical)]]))
        return larger

    def interest(self, queries: Queries) -> np.ndarray:
        """Computes [p_u, 1] of each query, float32 (Q, D + 1); see `user_tower.UserTower`."""
        past = latest(queries, self.history_length)
        weight = self.rating_weight[np.rint(2 * past["history_rating"]).astype("int64")] * (past["history_rating"] > 0)
        back = np.arange(weight.shape[1] - 1, -1, -1)
        weight = weight * (self.floor + (1 - self.floor) * np.exp2(-back / self.half_life))
        weight = (weight / np.sqrt(1 + np.square(weight).sum(axis=1, keepdims=True))).astype("float32")
        recent = np.einsum("ql,qld->qd", weight, self.vectors[past["history"], :-1])
        person = self.users[np.minimum(queries.user, len(self.users) - 1)]
        interest = recent @ self.transform + person
        return np.concatenate([interest, np.ones((len(interest), 1))], axis=1, dtype="float32")
