"""Finds what to ask a new person about: the items whose answers are expected to improve their list most.
Taught in notebook 13.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from recfuse_lib.data.splits import POSITIVE, Queries

PEOPLE, CANDIDATES, ITEMS, LENGTH, L2 = 2_000, 100, 1_000, 10, 100.0
ANSWERS = np.array([[1, 1], [0, 1], [0, 0]], "float32")  # likes it, knows it: like, not for me, don't know


class Questions:
    """Expects what a person likes and would answer, given their answers so far, by a regression on known people.

        ŷ = ȳ + (a − ā) (AᵀA + λI)⁻¹ AᵀY,   G(q) = Σ_c P(c) Σ_k ŷ_(k) / log₂(k + 1)

    a are answers, Y is what people like beside what they answer about: each history is dealt into halves, and each half
    answers once. G(q) is what the list is expected to be worth after question q, over its three answers c.

    References:
        Golbandi, Koren and Lempel (2011), Adaptive Bootstrapping of Recommender Systems Using Decision Trees, WSDM.
    """

    def __init__(self, past: Queries) -> None:
        random = np.random.default_rng(0)
        if len(past) > PEOPLE:
            past = past[np.sort(random.choice(len(past), PEOPLE, replace=False))]
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

    def ask(self, answered: Mapping[int, int], there: np.ndarray, k: int) -> list[tuple[int, float]]:
        """Finds the k best questions, as item codes, and how likely the person is to know each.

        Args:
            answered: Item code → row of `ANSWERS`.
            there: Which items may be asked about or recommended, bool (I,).
        """
        place = {code: number for number, code in enumerate(self.items.tolist())}
        liked, usual, aa, ay = self.mean, self.usual, self.aa, self.ay
        c, eye = np.arange(self.size), L2 * np.eye(2, dtype="float32")
        pairs, said = np.stack([c, c + self.size], axis=1), [code for code in answered if code in place]
        asked = [number for number in map(place.__getitem__, said) if number < self.size]
        for number in asked:
            one = pairs[number]
            weights = np.linalg.inv(aa[np.ix_(one, one)] + eye)
            step, left = (ANSWERS[answered[self.items[number]]] - usual[one]) @ weights, aa[:, one] @ weights
            liked, usual = liked + step @ ay[one], usual + step @ aa[one]
            aa, ay = aa - left @ aa[one], ay - left @ ay[one]
        after = ANSWERS - usual[pairs][:, None, :]
        after = liked + after @ np.linalg.inv(aa[pairs[:, :, None], pairs[:, None, :]] + eye) @ ay[pairs]
        gone = ~there[self.items]
        gone[[place[code] for code in said if ANSWERS[answered[code], 1]]] = True
        after[:, :, gone] = after[c, :2, c] = 0  # what somebody knows is on no list
        length = min(LENGTH, len(self.items))
        best = -np.sort(np.partition(-after, length - 1, axis=2)[:, :, :length], axis=2)
        know = np.clip(usual[self.size :], 0, 1)
        like = np.clip(usual[: self.size], 0, know)
        chance = np.stack([like, know - like, 1 - know], axis=1)
        worth = (best @ (1 / np.log2(np.arange(length) + 2)) * chance).sum(axis=1)
        worth[asked], worth[gone[: self.size]] = -np.inf, -np.inf
        order = np.argsort(-worth, kind="stable")[: min(k, np.isfinite(worth).sum())]
        return [(int(self.items[number]), float(know[number])) for number in order]
