"""Shares of a weighted pair are chosen on one half of the people and judged on the other."""

from types import SimpleNamespace

import ensembles
import numpy as np
import pandas as pd
import pytest


def test_a_share_is_judged_by_whom_it_was_not_chosen_on(monkeypatch: pytest.MonkeyPatch) -> None:
    people = np.arange(40)
    half = np.random.default_rng(0).permutation(40) < 20
    small, large = ensembles.SHARES[1], ensembles.SHARES[-1]

    def evaluate(model, fold):
        """One half is served well by a small share and the other by a large one, and by no other."""
        share = float(model.scores)
        ndcg = np.where(half, share == small, share == large).astype("float64")
        return SimpleNamespace(per_query=pd.DataFrame({"ndcg": ndcg}))

    monkeypatch.setattr(ensembles, "fold", lambda: SimpleNamespace(queries=SimpleNamespace(user=people)))
    monkeypatch.setattr(ensembles, "ranks", lambda name: float(name == "second"))
    monkeypatch.setattr(ensembles, "z", lambda name: np.arange(6.0).reshape(2, 3))
    monkeypatch.setattr(ensembles, "Given", lambda scores: SimpleNamespace(scores=scores))
    monkeypatch.setattr(ensembles, "evaluate", evaluate)
    line = ensembles.weighted_row("first", "second", {"first": np.zeros(40)})
    # Each half gets the share of the other, which serves it badly: swapped, ndcg would be 1.
    assert line["shares"] == f"{large} {small}" and line["ndcg"] == 0 == line["gain"]
