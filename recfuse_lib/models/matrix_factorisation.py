"""The collaborative dimension: what the ratings and clicks of similar people say.

Rating predictors (biases, user-kNN, the mixture of §4.2) and matrix factorisation with four losses.

Taught in notebook 04.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import keras_rs
import numpy as np
import pandas as pd
import scipy.sparse
from keras import ops

from recfuse_lib.data.faults import DataError
from recfuse_lib.data.splits import POSITIVE, Queries
from recfuse_lib.data.weighting import by_user
from recfuse_lib.models import memory
from recfuse_lib.training.pipelines import untuned

OBJECTIVES = ("mse", "bpr", "sampled_softmax", "softmax")


def item_means(history: pd.DataFrame, n_items: int, shrinkage: float = 5.0) -> np.ndarray:
    """ȳ_i of §4.2: every item's mean rating, pulled towards the mean μ of all ratings where there are few.

        ȳ_i = (Σ_u r_ui + k μ) / (n_i + k)

    Args:
        history: Columns `item`, `rating`.
        n_items: Size of the catalogue.
        shrinkage: k, in ratings.

    Returns:
        Stars, (n_items,).

    Example:
        >>> item_means(pd.DataFrame({"item": [0, 0, 1], "rating": [5.0, 5.0, 2.0]}), n_items=3, shrinkage=1.0)
        array([4.66666667, 3.        , 4.        ])
    """
    total = np.bincount(history["item"], history["rating"], minlength=n_items)
    count = np.bincount(history["item"], minlength=n_items)
    return np.asarray((total + shrinkage * history["rating"].mean()) / (count + shrinkage))


class Biases:
    """Some people are generous and some items are good: ŷ_ui = μ + b_u + b_i, by regularised least squares.

        min_b Σ_ui (r_ui − μ − b_u − b_i)² + λ_u Σ_u b_u² + λ_i Σ_i b_i²

    Args:
        user_l2: λ_u, in ratings.
        item_l2: λ_i, in ratings.

    Example:
        >>> history = pd.DataFrame({"user": [0, 0, 1], "item": [0, 1, 0], "rating": [5.0, 4.0, 3.0]})
        >>> model = Biases(user_l2=0.1, item_l2=0.1).fit(history, n_users=2, n_items=2)
        >>> model.predict(np.array([1]), np.array([1])).round(1)
        array([2.3])

    References:
        Koren (2010), Factor in the Neighbors: Scalable and Accurate Collaborative Filtering, ACM TKDD 4(1), Eq. 1.
    """

    def __init__(self, user_l2: float = 5.0, item_l2: float = 3.0, iterations: int = 10) -> None:
        self.user_l2, self.item_l2, self.iterations = user_l2, item_l2, iterations

    def fit(self, history: pd.DataFrame, n_users: int, n_items: int) -> Biases:
        """Solves for one side's biases while the other's are held fixed, `iterations` times."""
        user, item = history["user"].to_numpy(), history["item"].to_numpy()
        self.mean = float(history["rating"].mean())
        rest = history["rating"].to_numpy("float64") - self.mean
        user_count, item_count = np.bincount(user, minlength=n_users), np.bincount(item, minlength=n_items)
        self.user, self.item = np.zeros(n_users), np.zeros(n_items)
        for _ in range(self.iterations):
            self.item = np.bincount(item, rest - self.user[user], n_items) / (item_count + self.item_l2)
            self.user = np.bincount(user, rest - self.item[item], n_users) / (user_count + self.user_l2)
        return self

    def predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Stars for pairs of codes, (N,)."""
        return np.asarray(self.mean + self.user[user] + self.item[item])


class UserKNN:
    """ŷ^u of §4.2: what people of similar taste gave the item, relative to what was to be expected.

        ŷ_ui = b_ui + Σ_v s_uv (r_vi − b_vi) / (Σ_v s_uv + k),   s_uv = cos(u, v) · n_uv / (n_uv + m), or 0 if negative

    The sums run over those who rated i. b is the prediction of `Biases`, the cosine is that of the deviations from
    it, n_uv is the number of items that both rated.

    Args:
        shrinkage: k, pulls predictions that rest on little similarity towards b_ui.
        overlap: m, pulls similarities that rest on few common items towards 0, in items.
        biases: The predictor that gives b.

    References:
        Herlocker, Konstan, Borchers and Riedl (1999), An Algorithmic Framework for Performing Collaborative
        Filtering, SIGIR.
    """

    def __init__(self, shrinkage: float = 1.0, overlap: float = 20.0, biases: Biases | None = None) -> None:
        self.shrinkage, self.overlap = shrinkage, overlap
        self.biases = biases or Biases()

    def fit(self, history: pd.DataFrame, n_users: int, n_items: int) -> UserKNN:
        """Predicts every pair of person and item once, (n_users, n_items)."""
        user, item = history["user"].to_numpy(), history["item"].to_numpy()
        rest = history["rating"].to_numpy() - self.biases.fit(history, n_users, n_items).predict(user, item)
        deviation = scipy.sparse.csr_array((rest.astype("float32"), (user, item)), shape=(n_users, n_items))
        rated = scipy.sparse.csr_array((np.ones(len(user), "float32"), (user, item)), shape=(n_users, n_items))
        norms = np.sqrt(np.bincount(user, rest**2, n_users)) + 1e-9
        common = (rated @ rated.T).toarray()
        similarity = (deviation @ deviation.T).toarray() / np.outer(norms, norms) * common / (common + self.overlap)
        similarity = np.maximum(similarity, 0).astype("float32")
        np.fill_diagonal(similarity, 0)
        self.deviation = (similarity @ deviation) / (similarity @ rated + self.shrinkage)
        return self

    def predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Stars for pairs of codes, (N,)."""
        return np.asarray(self.biases.predict(user, item) + self.deviation[user, item])


@dataclasses.dataclass(frozen=True)
class AlphaMixture:
    """The article's collaborative filtering (§4.2): ŷ = α ŷ^u + (1 − α) ȳ_i.

    With d = ŷ^u − ȳ_i the squared error Σ (r − ȳ_i − α d)² is a parabola in α, whose lowest point is

        α* = Σ d (r − ȳ_i) / Σ d²,   and the nearest of 0 and 1 where it lies outside of 0–1.

    Fit it on ratings that neither part was fitted on: on its own training ratings ŷ^u looks better than it is.

    Args:
        alpha: α, the weight of the personal prediction, 0–1.

    Example:
        >>> mixture = AlphaMixture.fit(np.array([4.0, 2.0]), personal=np.array([5.0, 1.0]), means=np.array([3.0, 3.0]))
        >>> mixture.alpha, mixture.predict(np.array([1.0]), np.array([2.0]))
        (0.5, array([1.5]))
    """

    alpha: float

    @classmethod
    def fit(cls, ratings: np.ndarray, personal: np.ndarray, means: np.ndarray) -> AlphaMixture:
        """The α with the least squared error on held-out ratings.

        Args:
            ratings: r, stars given, (N,).
            personal: ŷ^u, stars predicted for this person, (N,).
            means: ȳ_i, the items' means, (N,).
        """
        difference = np.asarray(personal, "float64") - means
        curvature = difference @ difference
        alpha = difference @ (np.asarray(ratings, "float64") - means) / curvature if curvature > 0 else 0.0
        return cls(float(np.clip(alpha, 0, 1)))

    def predict(self, personal: np.ndarray, means: np.ndarray) -> np.ndarray:
        """Stars, (N,)."""
        return np.asarray(self.alpha * personal + (1 - self.alpha) * means)


@keras.saving.register_keras_serializable("recfuse")
class MatrixFactorisation(keras.Model):
    """The latent semantic model: s(u, i) = μ + b_u + b_i + p_uᵀ q_i, with one of four losses.

        mse              mean of (r_ui − s(u, i))², over ratings
        bpr              mean of −log σ(s(u, i) − s(u, j)), i liked, j drawn from the catalogue
        sampled_softmax  mean of −log softmax over i and N items drawn by popularity, each score less log Q(item)
        softmax          mean of −log softmax over the whole catalogue

    To each comes λ(‖P‖² + ‖Q‖² + ‖b‖²) / number of events, the ridge of PMF. Build and train one with `factorise`.

    Args:
        n_users: Number of user codes.
        n_items: Size of the catalogue.
        dimension: Width D of the vectors.
        objective: One of `OBJECTIVES`.
        l2: λ, in events.
        negatives: N of the sampled softmax.
        seed: Of the initial vectors and of the drawn items.

    Raises:
        ValueError: There is no such objective.

    References:
        Koren, Bell and Volinsky (2009), Matrix Factorization Techniques for Recommender Systems, IEEE Computer 42(8).
        Rendle, Freudenthaler, Gantner and Schmidt-Thieme (2009), BPR, UAI.
        Yi et al. (2019), Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations, RecSys.
    """

    def __init__(
        self,
        n_users: int,
        n_items: int,
        dimension: int = 32,
        objective: str = "mse",
        l2: float = 0.0,
        negatives: int = 256,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if objective not in OBJECTIVES:
            raise ValueError(f"objective {objective!r} is unknown; choose one of {', '.join(OBJECTIVES)}")
        self.config: dict[str, Any] = {
            "n_users": n_users,
            "n_items": n_items,
            "dimension": dimension,
            "objective": objective,
            "l2": l2,
            "negatives": negatives,
            "seed": seed,
        }
        self.draw = keras.random.SeedGenerator(seed)
        self.correct = keras_rs.layers.SamplingProbabilityCorrection(epsilon=1e-9)

        def weight(name: str, shape: tuple[int, ...], start: Any = "zeros", trainable: bool = True) -> Any:
            return self.add_weight(shape=shape, initializer=start, trainable=trainable, name=name)

        small = [keras.initializers.RandomNormal(stddev=0.1 / dimension**0.5, seed=seed + side) for side in (0, 1)]
        self.p, self.q = weight("p", (n_users, dimension), small[0]), weight("q", (n_items, dimension), small[1])
        self.user_bias, self.item_bias = weight("user_bias", (n_users,)), weight("item_bias", (n_items,))
        self.mean = weight("mean", (), trainable=False)
        self.user_count = weight("user_count", (n_users,), trainable=False)
        self.item_share = weight("item_share", (n_items,), trainable=False)
        self.cumulative_share = weight("cumulative_share", (n_items,), trainable=False)
        self.built = True

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.config}

    def adapt(self, history: pd.DataFrame) -> None:
        """Takes over what is counted rather than learned: μ, who is known, and each item's share Q of the events."""
        user_count = np.bincount(history["user"], minlength=self.config["n_users"])
        item_count = np.bincount(history["item"], minlength=self.config["n_items"])
        self.user_count.assign(user_count.astype("float32"))
        self.item_share.assign((item_count / len(history)).astype("float32"))
        self.cumulative_share.assign((np.cumsum(item_count) / len(history)).astype("float32"))
        self.mean.assign(float(history["rating"].mean()) if self.config["objective"] == "mse" else 0.0)

    def call(self, inputs: dict[str, Any]) -> Any:
        """Scores of pairs (B,) for `{"user", "item"}`; of the whole catalogue (B, n_items) for `{"user"}`."""
        user = inputs["user"]
        p, base = ops.take(self.p, user, axis=0), self.mean + ops.take(self.user_bias, user)
        if "item" not in inputs:
            return ops.expand_dims(base, -1) + self.item_bias + ops.matmul(p, ops.transpose(self.q))
        item = inputs["item"]
        return base + ops.take(self.item_bias, item) + ops.sum(p * ops.take(self.q, item, axis=0), -1)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        objective = self.config["objective"]
        if objective == "mse":
            loss = ops.mean(ops.square(y - y_pred))
        elif objective == "bpr":
            other = keras.random.randint(ops.shape(x["item"]), 0, self.config["n_items"], seed=self.draw)
            loss = ops.mean(ops.softplus(self({"user": x["user"], "item": other}) - y_pred))
        elif objective == "sampled_softmax":
            loss = self._sampled_softmax(x["user"], x["item"], y_pred)
        else:
            each = ops.sum(y, -1) * ops.logsumexp(y_pred, -1) - ops.sum(y * y_pred, -1)
            loss = ops.sum(each) / ops.sum(y)
        squares = sum(ops.sum(ops.square(part)) for part in (self.p, self.q, self.user_bias, self.item_bias))
        return loss + self.config["l2"] * squares / ops.sum(self.user_count)

    def _sampled_softmax(self, user: Any, item: Any, scores: Any) -> Any:
        last = self.config["n_items"] - 1
        uniform = keras.random.uniform((self.config["negatives"],), seed=self.draw)
        drawn = ops.minimum(ops.searchsorted(self.cumulative_share, uniform), last)
        others = ops.matmul(ops.take(self.p, user, axis=0), ops.transpose(ops.take(self.q, drawn, axis=0)))
        others += self.mean + ops.take(self.user_bias, user)[:, None] + ops.take(self.item_bias, drawn)
        others = self.correct(others, ops.broadcast_to(ops.take(self.item_share, drawn), ops.shape(others)))
        others = ops.where(ops.equal(item[:, None], drawn), -1e9, others)  # the liked item itself may be drawn
        liked = self.correct(scores, ops.take(self.item_share, item))
        return ops.mean(ops.logsumexp(ops.concatenate([liked[:, None], others], axis=-1), -1) - liked)

    def score(self, queries: Queries) -> np.ndarray:
        """Scores of all items for people that the model was trained on, float32 (Q, n_items).

        Raises:
            DataError: A user code was not in the training events: the model has no vector for that person.
        """
        count = ops.convert_to_numpy(self.user_count)
        user = np.asarray(queries.user)
        known = (user >= 0) & (user < len(count))
        known[known] = count[user[known]] > 0
        if not known.all():
            raise DataError(
                f"user {user[~known][0]} was not in the training events, so matrix factorisation has no vector for "
                "them; train again with their events, or use a model that answers any history (EASE, iALS)"
            )
        return np.asarray(ops.convert_to_numpy(self({"user": user})))

    def predict_pairs(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Scores of pairs of codes (stars, for `mse`), float32 (N,)."""
        return np.asarray(ops.convert_to_numpy(self({"user": np.asarray(user), "item": np.asarray(item)})))


def factorise(
    history: pd.DataFrame,
    n_users: int,
    n_items: int,
    objective: str = "mse",
    epochs: int = 20,
    batch_size: int = 2_048,
    learning_rate: float = 0.01,
    **config: Any,
) -> MatrixFactorisation:
    """Trains a `MatrixFactorisation`: `mse` on all ratings, the others on the positives (ratings of at least 4).

    Args:
        history: Columns `user`, `item`, `rating`, `timestamp`.
        n_users: Number of user codes.
        n_items: Size of the catalogue.
        objective: One of `OBJECTIVES`.
        epochs: Passes over the events.
        batch_size: Events a step; people a step for `softmax`, whose rows of the catalogue are long.
        learning_rate: Of Adam.
        **config: More arguments of `MatrixFactorisation`.
    """
    model = MatrixFactorisation(n_users, n_items, objective=objective, **config)
    events = history if objective == "mse" else history[history["rating"] >= POSITIVE]
    model.adapt(events)
    if objective == "softmax":
        rows = by_user(events, n_items)
        way_out = "take another objective, which draws items instead of scoring all"
        memory.check(8 * len(rows) * n_items, f"a softmax over {n_items:,} items for {len(rows):,} people", way_out)
        x, y = {"user": rows.user}, rows.matrix().toarray()
    else:
        x, y = {name: events[name].to_numpy("int32") for name in ("user", "item")}, events["rating"].to_numpy("float32")
    # A few events are repeated so that all batches have one shape: the step is then traced once.
    size = min(batch_size, len(y))
    chosen = np.resize(np.random.default_rng(model.config["seed"]).permutation(len(y)), -(-len(y) // size) * size)
    # XLA would take a second to compile what it makes no faster.
    model.compile(keras.optimizers.Adam(learning_rate), jit_compile=False)
    x = {name: values[chosen] for name, values in x.items()}
    with untuned():
        model.fit(x, y[chosen], batch_size=size, epochs=epochs, verbose=0)
    return model
