"""The equations of `recfuse_lib.models` on arrays, without Keras, also for items that the model never met.

Taught in notebook 18.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from recfuse_lib.serving.bundle import Bundle


class Towers:
    """Both towers and the ranking task of a bundle; tests compare them with Keras."""

    def __init__(self, bundle: Bundle) -> None:
        self.weights, schema = bundle.weights(), bundle.schema
        self.dimensions: dict[str, int] = schema["dimensions"]
        self.history_length: int = schema["history_length"]
        self._scale, self._mean_rating = np.float32(schema["encoding_scale"]), np.float32(schema["mean_rating"])

    def item_parts(self, encodings: Mapping[str, np.ndarray], present: np.ndarray) -> np.ndarray:
        """Computes what each dimension adds to z_i, equation (1), and zeros for a correction: (N, dimensions + 1, D).
        Takes centred encodings, dimension → (N, width), and which dimensions an item has, (N, dimensions).
        """
        present = np.asarray(present, "float32")
        scaled = {name: self._scale * encodings[name] for name in self.dimensions}
        logits = (
            np.stack([scaled[name] @ self.weights[f"gate_{name}"] for name in scaled], 1) + self.weights["gate_bias"]
        )
        logits = np.where(present > 0, logits, np.float32(-1e9))
        powers = present * np.exp(logits - logits.max(1, keepdims=True))
        gates = powers / np.maximum(powers.sum(1, keepdims=True), 1)
        counted = np.sqrt(present.sum(1, keepdims=True)) * gates
        parts = [counted[:, [d]] * (scaled[name] @ self.weights[f"kernel_{name}"]) for d, name in enumerate(scaled)]
        return np.stack([*parts, np.zeros_like(parts[0])], axis=1)

    def user_sources(self, past: np.ndarray, stars: np.ndarray, person: int) -> np.ndarray:
        """Computes what each past item and, last, the person add to p_u, equations (2) and (3), (H + 1, D). Takes z of
        at most L past items, oldest first, (H, D), their stars, and the person's code, the last one for a stranger.
        """
        recency, levels = self.weights["recency"], np.rint(2 * stars).astype("int64")
        floor, half_life = 1 / (1 + np.exp(-recency[1])), np.exp(recency[0])
        steps_back = np.arange(len(past) - 1, -1, -1, dtype="float32")
        weights = self.weights["rating_weight"][levels] * (levels > 0)
        weights = weights * (floor + (1 - floor) * np.power(np.float32(2), -steps_back / half_life))
        weights = weights / np.sqrt(1 + np.sum(weights * weights))
        lifted = weights[:, None].astype("float32") * (past @ self.weights["transform"])
        return np.concatenate([lifted, self.weights["users"][person][None]])

    def deviations(self, interest: np.ndarray, vectors: np.ndarray, person: int, item_bias: np.ndarray) -> np.ndarray:
        """Computes ŷ − μ in stars, equation (6), (N,), for an interest (D,), item vectors (N, D) and biases (N,)."""
        wide = np.broadcast_to(interest, vectors.shape)
        features = np.concatenate([wide, vectors, wide * vectors], axis=1)
        hidden = np.maximum(features @ self.weights["hidden_kernel"] + self.weights["hidden_bias"], 0)
        answer = hidden @ self.weights["last_kernel"] + self.weights["last_bias"]
        return np.asarray(self.weights["user_bias"][person] + item_bias + answer[:, 0])

    def stars(self, deviations: np.ndarray) -> np.ndarray:
        """Computes ŷ, clipped to the range of stars."""
        return np.clip(self._mean_rating + deviations, 0.5, 5)
