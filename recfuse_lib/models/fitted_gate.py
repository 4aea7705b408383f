"""A trained gate as arrays: scoring needs NumPy alone. Taught in notebook 07."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.special import erf


class FittedGate(NamedTuple):
    """What a `gates.EvidenceGate` has learned; see there for the formula.

    `bias` is a, (D,); `of_user` U, (width of f_u, D); `of_item` V, (width of f_i, D); `level` v, (width of f_i,);
    `network` kernel and bias of m's hidden layer, then of its output, empty where there is no m.
    """

    bias: np.ndarray
    of_user: np.ndarray
    of_item: np.ndarray
    level: np.ndarray
    network: tuple[np.ndarray, ...] = ()

    def gates(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Compute g, (B, S, D), from f_u, (B, ·), and f_i, (B, S, ·)."""
        return np.asarray(self.bias + (user @ self.of_user)[:, None] + item @ self.of_item)

    def gated(self, scores: np.ndarray, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Compute s without m of all items for one query, (I,), from z, (D, I), f_u, (·,), and f_i, (I, ·)."""
        mixed = np.vstack([self.bias + user @ self.of_user, self.of_item]) @ scores
        return np.asarray(mixed[0] + np.einsum("if,fi->i", item, mixed[1:]) + item @ self.level)

    def beyond(self, scores: np.ndarray, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Compute m, (B, S), from z, (B, S, D), and the evidence; zeros where there is no network."""
        if not self.network:
            return np.zeros(scores.shape[:2], "float32")
        kernel, bias, outer, last = self.network
        of_scores, of_user, of_item = np.split(kernel, [scores.shape[-1], scores.shape[-1] + user.shape[-1]])
        inner = scores @ of_scores + item @ of_item + (user @ of_user + bias)[:, None]
        inner *= (1 + erf(inner / np.float32(np.sqrt(2)))) / 2  # GELU
        return np.asarray((inner @ outer)[..., 0] + last)

    def __call__(self, scores: np.ndarray, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Compute s, (B, S)."""
        gated = (self.gates(user, item) * scores).sum(axis=-1) + item @ self.level
        return np.asarray(gated + self.beyond(scores, user, item))


def away(gate: Any, rating_gate: Any, inputs: Mapping[str, Any], xp: Any) -> Any:
    """Compute what the rating gate adds to the expected stars, (N, 1), from two views of a rating and the fused score.

    `inputs`, arrays (N, 1, ·), are the "rated" z, the "views" and the evidence for each; `xp` is `numpy`, or
    `keras.ops` in training.
    """
    choice = gate(inputs["rated"], inputs["rated_user"][:, 0], inputs["rated_item"])
    # The score of the first task is about ten times as wide as a view in stars.
    views = xp.concatenate([inputs["views"], xp.expand_dims(choice, -1) / 10], axis=-1)
    return rating_gate(views, inputs["habit"][:, 0], inputs["standing"])
