"""Finds what to ask a new person about: items whose answers should improve their list most. Taught in notebook 13."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from recfuse_lib.data.splits import POSITIVE, Queries
from recfuse_lib.serving.catalogue import Catalogue

PEOPLE, CANDIDATES, ITEMS, LENGTH, L2 = 2_000, 100, 1_000, 10, 100.0
ANSWERS = np.array([[1, 1], [0, 1], [0, 0]], "float32")  # likes it, knows it: like, not for me, don't know
WHY = "Tells much; {} in 10 like you know it."


class Questions:
    """Expects what a person likes and would answer, given their answers so far, by a regression on known people.

        ŷ = ȳ + (a − ā) (AᵀA + λI)⁻¹ AᵀY,   G(q) = Σ_c P(c) Σ_k ŷ_(k) / log₂(k + 1)

    a are answers, Y is what people like beside what they answer about: each history is dealt into halves, and each half
    answers once. G(q) is what the list is expected to be worth after question q, over its three answers c.
    """

    def __init__(self, past: Queries) -> None:
        random = np.random.default_rng(0)
        past = past[np.sort(random.permutation(len(past))[:PEOPLE])]
        count = np.bincount(past.item, minlength=past.n_items)
        self.items = np.argsort(-count, kind="stable")[: min(ITEMS, np.count_nonzero(count))]
        self.size = min(CANDIDATES, len(self.items))
        weights = np.ones(len(past.item)), past.rating >= POSITIVE
        knows, likes = (past.matrix(one)[:, self.items].toarray() > 0 for one in weights)
        half = random.random(knows.shape) < 0.5
        both = [(part & one)[:, : self.size] for part in (likes, knows) for one in (half, ~half)]
        answers = np.block([both[::2], both[1::2]]).astype("float32")
        liked = np.concatenate([likes & ~half, likes & half]).astype("float32")
        self.usual, self.mean = answers.mean(axis=0), liked.mean(axis=0)
        answers -= self.usual
        self.aa, self.ay = answers.T @ answers, answers.T @ (liked - self.mean)

    def ask(self, catalogue: Catalogue, k: int, *answers: Sequence[str]) -> list[dict[str, Any]]:
        """Finds the k best questions, given the ids of what somebody likes, does not like, and does not know."""
        codes = {catalogue.ids[code]: number for number, code in enumerate(self.items)}
        said = {codes[one]: what for what, ids in zip(ANSWERS, answers, strict=True) for one in ids if one in codes}
        liked, usual, aa, ay, c = self.mean, self.usual, self.aa, self.ay, np.arange(self.size)
        pairs, noise = np.stack([c, c + self.size], axis=1), L2 * np.eye(2, dtype="float32")
        for number, one in ((one, pairs[one]) for one in said if one < self.size):
            weights = np.linalg.inv(aa[np.ix_(one, one)] + noise)
            step, left = (said[number] - usual[one]) @ weights, aa[:, one] @ weights
            liked, usual = liked + step @ ay[one], usual + step @ aa[one]
            aa, ay = aa - left @ aa[one], ay - left @ ay[one]
        change = (ANSWERS - usual[pairs][:, None]) @ np.linalg.inv(aa[pairs[:, :, None], pairs[:, None]] + noise)
        after, gone = liked + change @ ay[pairs], catalogue.removed[self.items]
        gone[[number for number, answer in said.items() if answer[1]]] = True
        after[:, :, gone] = after[c, :2, c] = 0  # what somebody knows is on no list
        best = -np.sort(-after, axis=2)[:, :, :LENGTH]
        know = np.clip(usual[self.size :], 0, 1)
        like = np.clip(usual[: self.size], 0, know)
        value, chance = best @ (1 / np.log2(np.arange(best.shape[2]) + 2)), np.stack([like, know - like, 1 - know], 1)
        gone[list(said)] = True  # nor is anything asked twice
        worth = np.where(gone[: self.size], -np.inf, (value * chance).sum(axis=1))
        order = np.argsort(-worth, kind="stable")[: min(k, np.isfinite(worth).sum())]
        # Half of what people know was dealt to the half that answered.
        asked = [(catalogue.shown(self.items[number]), min(2 * float(know[number]), 1.0)) for number in order]
        return [{**one, "known": known, "reason": WHY.format(max(1, round(10 * known)))} for one, known in asked]
