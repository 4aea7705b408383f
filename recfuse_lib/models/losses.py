"""What the next item is compared with: the whole catalogue, or a drawn part of it.

Taught in notebook 05.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

NEVER = -1e9
"""A score so low that its exponential is 0."""


def full_softmax(interests: Any, target: Any, vectors: Any, bias: Any, available: Any) -> Any:
    """Computes the exact loss in nats, (N,): the target against all items that could be chosen.

        ℓ = −log (exp s(u, i) / Σ_k exp s(u, k)),   s(u, k) = p_uᵀ z_k + β_k        (1)

    Args:
        interests: p_u, (N, D).
        target: Item codes of what came next, (N,).
        vectors: z_k of every item, (I, D).
        bias: β_k, (I,).
        available: 1 for the items that could be chosen, else 0, (I,).
    """
    # The mask goes into the bias, (I,), so that no pass over the scores, (N, I), is needed for it.
    scores = ops.matmul(interests, ops.transpose(vectors)) + ops.where(available > 0, bias, NEVER)
    return keras.losses.sparse_categorical_crossentropy(target, scores, from_logits=True)


def sampled_softmax(
    interests: Any, target: Any, drawn: Any, vectors: Any, bias: Any, log_q: Any, available: Any
) -> Any:
    """Computes the loss against M drawn items, (N,): each score minus the log-probability to be drawn.

        s'(u, k) = s(u, k) − log Q_k,   ℓ = −log (exp s'(u, i) / (exp s'(u, i) + Σ_{k drawn} exp s'(u, k)))        (2)

    A drawn copy of the target counts: given the M + 1 items, the probability that i is the one that was not drawn is in
    proportion to P(i | u) / Q_i for each of them, copies included. Without them a popular item is pushed down too
    seldom.

    Args:
        interests, target, vectors, bias, available: See `full_softmax`.
        drawn: Item codes of the negatives, the same for all N, (M,).
        log_q: log Q_k of every item, up to a constant, (I,); all 0 corrects nothing.

    References:
        Bengio and Senécal (2008), Adaptive Importance Sampling to Accelerate Training of a Neural Probabilistic
        Language Model, IEEE Transactions on Neural Networks 19(4).
    """
    corrected = bias - log_q
    liked = pair_scores(interests, target, vectors, corrected)
    others = ops.matmul(interests, ops.transpose(ops.take(vectors, drawn, axis=0))) + ops.take(corrected, drawn)
    others = ops.where(ops.take(available, drawn) > 0, others, NEVER)
    return ops.logsumexp(ops.concatenate([liked[:, None], others], axis=1), axis=1) - liked


def pair_scores(interests: Any, items: Any, vectors: Any, bias: Any) -> Any:
    """Computes s(u, i) of one item for each interest, (N,)."""
    return ops.sum(interests * ops.take(vectors, items, axis=0), axis=1) + ops.take(bias, items)
