"""What the next item is held against: the whole catalogue, a drawn part of it, the batch, or one other item.

Taught in notebook 05.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

KINDS = ("full", "sampled", "in_batch", "one")
"""`full` softmax, `sampled` softmax, `in_batch` softmax, `one` negative."""

NEVER = -1e9
"""A score so low that its exponential is 0."""


def full_softmax(interests: Any, target: Any, vectors: Any, bias: Any, available: Any) -> Any:
    """The exact loss: the target against all items that could be chosen.

        ℓ = −log (exp s(u, i) / Σ_k exp s(u, k)),   s(u, k) = p_uᵀ z_k + β_k        (1)

    Args:
        interests: p_u, (N, D).
        target: Item codes of what came next, (N,).
        vectors: z_k of every item, (I, D).
        bias: β_k, (I,).
        available: 1 for the items that could be chosen, else 0, (I,).

    Returns:
        ℓ in nats, (N,).
    """
    # The mask goes into the bias, (I,), so that no pass over the scores, (N, I), is needed for it.
    scores = ops.matmul(interests, ops.transpose(vectors)) + ops.where(available > 0, bias, NEVER)
    return keras.losses.sparse_categorical_crossentropy(target, scores, from_logits=True)


def sampled_softmax(
    interests: Any, target: Any, drawn: Any, vectors: Any, bias: Any, log_q: Any, counted: Any = None
) -> Any:
    """The target against M drawn items, each score less the logarithm of its probability to be drawn.

        s'(u, k) = s(u, k) − log Q_k,   ℓ = −log (exp s'(u, i) / (exp s'(u, i) + Σ_{k drawn} exp s'(u, k)))        (2)

    With Q = 1 for all items nothing is corrected: what is drawn often is then pushed down too often, and the scores
    learn log P(i | u) − log Q_i instead of log P(i | u). The target itself may be among the drawn. It stays there:
    given the M + 1 items alone, the probability that i is the one that was not drawn is in proportion to P(i | u) / Q_i
    for each of them, hits included. Without its hits, a popular item would be pushed down too seldom.

    Args:
        interests: p_u, (N, D).
        target: Item codes of what came next, (N,).
        drawn: Item codes of the negatives, the same for all N, (M,).
        vectors: z_k of every item, (I, D).
        bias: β_k, (I,).
        log_q: log Q_k of every item, up to a constant, (I,).
        counted: 0 for drawn items that must not count, else 1, (M,); all count by default.

    Returns:
        ℓ in nats, (N,).

    References:
        Bengio and Senécal (2008), Adaptive Importance Sampling to Accelerate Training of a Neural Probabilistic
        Language Model, IEEE Transactions on Neural Networks 19(4).
    """
    corrected = bias - log_q
    liked = _pair_scores(interests, target, vectors, corrected)
    others = ops.matmul(interests, ops.transpose(ops.take(vectors, drawn, axis=0))) + ops.take(corrected, drawn)
    if counted is not None:
        others = ops.where(counted > 0, others, NEVER)
    return ops.logsumexp(ops.concatenate([liked[:, None], others], axis=1), axis=1) - liked


def in_batch_softmax(interests: Any, target: Any, vectors: Any, bias: Any, log_q: Any, counted: Any) -> Any:
    """Each target against the targets of the whole batch, which are drawn by popularity at no cost.

        ℓ_n = −log (exp s'(u_n, i_n) / Σ_m exp s'(u_n, i_m)),   s' as in equation (2)        (3)

    Args:
        interests: p_u, (N, D).
        target: Item codes of what came next, (N,).
        vectors: z_k of every item, (I, D).
        bias: β_k, (I,).
        log_q: log Q_k of every item, up to a constant, (I,).
        counted: 0 where the place is padding, else 1, (N,).

    Returns:
        ℓ in nats, (N,); of no meaning where `counted` is 0.

    References:
        Yi et al. (2019), Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations, RecSys.
    """
    scores = ops.matmul(interests, ops.transpose(ops.take(vectors, target, axis=0)))
    scores = scores + ops.take(bias - log_q, target)
    own = _pair_scores(interests, target, vectors, bias - log_q)
    return ops.logsumexp(ops.where(counted > 0, scores, NEVER), axis=1) - own


def one_negative(interests: Any, target: Any, drawn: Any, vectors: Any, bias: Any, counted: Any) -> Any:
    """Binary cross-entropy of the target and one drawn item, the loss of the original SASRec.

        ℓ = −log σ(s(u, i)) − log (1 − σ(s(u, k)))        (4)

    Args:
        interests: p_u, (N, D).
        target: Item codes of what came next, (N,).
        drawn: Item codes of the negatives, (N,).
        vectors: z_k of every item, (I, D).
        bias: β_k, (I,).
        counted: 0 where the drawn item must not count, for instance because the person knows it, else 1, (N,).

    Returns:
        ℓ in nats, (N,).

    References:
        Kang and McAuley (2018), Self-Attentive Sequential Recommendation, ICDM, Eq. 7.
    """
    liked = _pair_scores(interests, target, vectors, bias)
    other = _pair_scores(interests, drawn, vectors, bias)
    return ops.softplus(-liked) + ops.softplus(other) * ops.cast(counted, other.dtype)


def _pair_scores(interests: Any, items: Any, vectors: Any, bias: Any) -> Any:
    return ops.sum(interests * ops.take(vectors, items, axis=0), axis=1) + ops.take(bias, items)


@keras.saving.register_keras_serializable(package="recfuse")
class Negatives(keras.layers.Layer):
    """Draws what has to be drawn and computes one of the four losses.

    `sampled` draws by Q_k, the item's share of the targets, each item counted once more than it occurred; `one` draws
    evenly; `in_batch` draws nothing.

    Args:
        n_items: I.
        kind: One of `KINDS`.
        drawn: M, how many items `sampled` draws at a step.
        corrected: Whether `sampled` and `in_batch` subtract log Q.

    Raises:
        ValueError: There is no such kind.

    Example:
        >>> negatives = Negatives(n_items=3, kind="full")
        >>> interests, vectors = np.zeros((1, 2), "float32"), np.zeros((3, 2), "float32")
        >>> loss = negatives(interests, np.array([1]), vectors, np.zeros(3, "float32"), np.ones(3), np.ones(1))
        >>> bool(np.isclose(loss[0], np.log(3)))
        True
    """

    def __init__(
        self, n_items: int, kind: str = "full", drawn: int = 1024, corrected: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if kind not in KINDS:
            raise ValueError(f"negatives {kind!r} are unknown; choose one of {', '.join(KINDS)}")
        self.n_items, self.kind, self.drawn, self.corrected = n_items, kind, drawn, corrected
        self.random = keras.random.SeedGenerator()
        self.share = self.add_weight(shape=(n_items,), initializer="ones", trainable=False, name="share")
        self.cumulative = self.add_weight(shape=(n_items,), initializer="ones", trainable=False, name="cumulative")
        self.set_counts(np.zeros(n_items))

    def set_counts(self, counts: np.ndarray) -> None:
        """Takes over how often each item is a target, (I,)."""
        share = (np.asarray(counts, "float64") + 1) / (np.sum(counts) + self.n_items)
        self.share.assign(share.astype("float32"))
        self.cumulative.assign(np.cumsum(share).astype("float32"))

    def draw(self) -> Any:
        """M item codes drawn by Q, int32 (M,)."""
        uniform = keras.random.uniform((self.drawn,), seed=self.random)
        found = ops.searchsorted(self.cumulative, uniform)
        return ops.cast(ops.minimum(found, self.n_items - 1), "int32")

    def call(self, interests: Any, target: Any, vectors: Any, bias: Any, available: Any, counted: Any) -> Any:
        """ℓ of each place, (N,); arguments as those of `full_softmax`, and `counted`: 0 where a place is padding."""
        if self.kind == "full":
            return full_softmax(interests, target, vectors, bias, available)
        if self.kind == "one":
            other = keras.random.randint(ops.shape(target), 0, self.n_items, seed=self.random)
            allowed = ops.logical_and(ops.not_equal(other, target), ops.take(available, other) > 0)
            return one_negative(interests, target, other, vectors, bias, allowed)
        log_q = ops.log(self.share) if self.corrected else ops.zeros_like(self.share)
        if self.kind == "in_batch":
            return in_batch_softmax(interests, target, vectors, bias, log_q, counted)
        drawn = self.draw()
        return sampled_softmax(interests, target, drawn, vectors, bias, log_q, ops.take(available, drawn))

    def get_config(self) -> dict[str, Any]:
        own = ("n_items", "kind", "drawn", "corrected")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
