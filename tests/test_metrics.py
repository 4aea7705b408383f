"""Metrics against a loop, keras-rs and scikit-learn; masking, ties and bad scores."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import Fold, Queries
from recfuse_lib.evaluation import metrics

quick = settings(deadline=None, max_examples=40, derandomize=True)


@dataclasses.dataclass
class Fixed:
    """Gives each person the row of scores that is written down for them."""

    scores: np.ndarray

    def score(self, queries: Queries) -> np.ndarray:
        return self.scores[queries.user]


def random_fold(seed: int, n_users: int = 7, n_items: int = 15) -> tuple[Fold, np.ndarray]:
    """A fold with at least one target a person, and scores with many ties."""
    generator = np.random.default_rng(seed)
    kind = generator.choice(3, size=(n_users, n_items), p=[0.5, 0.3, 0.2])  # neither, history, target
    kind[np.arange(n_users), generator.integers(0, n_items, n_users)] = 2
    user, item = np.nonzero(kind == 1)
    history = pd.DataFrame({"user": user, "item": item, "rating": 4.0, "timestamp": generator.permutation(len(user))})
    candidates = (generator.random(n_items) < 0.8) | (kind == 2).any(0)
    targets = scipy.sparse.csr_array(kind == 2)
    fold = Fold(
        history, Queries.of(history, np.arange(n_users), n_items), targets, candidates, n_users, Items.unnamed(n_items)
    )
    return fold, generator.integers(0, 6, size=(n_users, n_items)).astype("float32")


def ranked_by_a_loop(fold: Fold, scores: np.ndarray, k: int) -> list[list[int]]:
    lists = []
    for query in range(len(fold.queries)):
        part = slice(fold.queries.indptr[query], fold.queries.indptr[query + 1])
        allowed = [i for i in range(fold.n_items) if fold.candidates[i] and i not in fold.queries.item[part]]
        lists.append(sorted(allowed, key=lambda i: (-scores[query, i], i))[:k])
    return lists


@quick
@given(st.integers(0, 10_000), st.integers(1, 20))
def test_evaluate_agrees_with_a_loop(seed: int, k: int) -> None:
    fold, scores = random_fold(seed)
    ranking = metrics.evaluate(Fixed(scores), fold, k)
    for query, best in enumerate(ranked_by_a_loop(fold, scores, k)):
        relevant = set(fold.targets[[query]].indices.tolist())
        hits = [place for place, item in enumerate(best, start=1) if item in relevant]
        ideal = sum(1 / np.log2(place + 1) for place in range(1, min(len(relevant), k) + 1))
        row = ranking.per_query.iloc[query]
        assert ranking.items[query].tolist() == best + [-1] * (k - len(best))
        assert row["recall"] == pytest.approx(len(hits) / len(relevant))
        assert row["ndcg"] == pytest.approx(sum(1 / np.log2(place + 1) for place in hits) / ideal)
        assert row["mrr"] == pytest.approx(1 / hits[0] if hits else 0)
    recommended = {item for best in ranked_by_a_loop(fold, scores, k) for item in best}
    assert ranking.coverage == pytest.approx(len(recommended) / fold.candidates.sum())


def plain(seed: int, n_lists: int = 30, n_items: int = 40) -> tuple[Fold, np.ndarray]:
    """Lists without history, every item a candidate, no two scores alike: where all libraries mean the same."""
    generator = np.random.default_rng(seed)
    scores = np.stack([generator.permutation(n_items) for _ in range(n_lists)]).astype("float32")
    labels = generator.random((n_lists, n_items)) < 0.15
    labels[:, 0] = True
    nothing = pd.DataFrame({"user": [], "item": [], "rating": [], "timestamp": []})
    queries = Queries.of(nothing, np.arange(n_lists), n_items)
    return Fold(
        nothing, queries, scipy.sparse.csr_array(labels), np.ones(n_items, bool), n_lists, Items.unnamed(n_items)
    ), scores


@pytest.mark.parametrize("k", [1, 3, 10])
def test_ranking_metrics_equal_those_of_keras_rs(k: int) -> None:
    from recfuse_lib.teaching.environment import quiet_import

    theirs = quiet_import("keras_rs").metrics
    fold, scores = plain(k)
    ours = metrics.evaluate(Fixed(scores), fold, k).per_query
    labels = fold.targets.toarray().astype("float32")
    pairs = {"ndcg": theirs.NDCG, "recall": theirs.RecallAtK, "mrr": theirs.MeanReciprocalRank}
    for name, metric in pairs.items():
        for query in (0, 7, 19):
            one = metric(k=k)(labels[[query]], scores[[query]])
            assert ours[name][query] == pytest.approx(float(one), abs=1e-6), name
        # Every list has the same weight when each has a target.
        assert ours[name].mean() == pytest.approx(float(metric(k=k)(labels, scores)), abs=1e-6), name


@pytest.mark.parametrize("k", [1, 3, 10, 40])
def test_ndcg_equals_scikit_learns(k: int) -> None:
    from sklearn.metrics import ndcg_score

    fold, scores = plain(100 + k)
    ours = metrics.evaluate(Fixed(scores), fold, k).per_query["ndcg"].mean()
    assert ours == pytest.approx(ndcg_score(fold.targets.toarray(), scores, k=k))


def test_a_perfect_and_a_hopeless_ranking() -> None:
    fold, _ = plain(0)
    relevant = fold.targets.toarray().astype("float32")
    best = metrics.evaluate(Fixed(relevant), fold, k=40).summary()
    worst = metrics.evaluate(Fixed(-relevant), fold, k=5).summary()
    assert [best["ndcg@40"], best["recall@40"], best["mrr@40"]] == pytest.approx([1, 1, 1])
    assert worst["ndcg@5"] == worst["recall@5"] == worst["mrr@5"] == 0


def test_of_equal_scores_the_lower_item_code_wins() -> None:
    assert metrics.top_k(np.zeros((1, 300)), k=4).tolist() == [[0, 1, 2, 3]]
    assert metrics.top_k(np.array([[1, 2, 1, 2, 3.0]]), k=4).tolist() == [[4, 1, 3, 0]]


def test_a_list_may_be_shorter_than_k() -> None:
    scores = np.array([[0.5, -np.inf, 0.7], [-np.inf, -np.inf, -np.inf]])
    assert metrics.top_k(scores, k=5).tolist() == [[2, 0, -1, -1, -1], [-1] * 5]


def test_history_and_what_is_no_candidate_are_never_recommended() -> None:
    fold, scores = random_fold(3)
    seen = fold.queries.matrix().toarray() > 0
    everything_wrong = np.where(seen | ~fold.candidates, 1e9, scores).astype("float32")
    ranking = metrics.evaluate(Fixed(everything_wrong), fold, k=15)
    for query, best in enumerate(ranking.items):
        assert not seen[query, best[best >= 0]].any() and fold.candidates[best[best >= 0]].all()


def test_evaluating_in_batches_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    fold, scores = random_fold(5)
    whole = metrics.evaluate(Fixed(scores), fold)
    monkeypatch.setattr(metrics, "_BATCH", 2)
    parts = metrics.evaluate(Fixed(scores), fold)
    pd.testing.assert_frame_equal(whole.per_query, parts.per_query)
    assert np.array_equal(whole.items, parts.items) and whole.coverage == parts.coverage


def test_the_scores_given_are_not_changed() -> None:
    fold, scores = random_fold(6)
    before = scores.copy()
    metrics.evaluate(Fixed(scores), fold)
    np.testing.assert_array_equal(scores, before)


def test_a_score_that_is_not_a_number_is_refused() -> None:
    fold, scores = random_fold(7)
    scores[2, 4] = np.nan
    fold.candidates[4] = True
    with pytest.raises(ValueError, match=r"1 of 105 scores are NaN"):
        metrics.evaluate(Fixed(scores), dataclasses.replace(fold, queries=_without_history(fold)))


def _without_history(fold: Fold) -> Queries:
    return Queries.of(fold.history.iloc[:0], fold.queries.user, fold.n_items)


@pytest.mark.parametrize("wrong", ["items", "queries", "flat"])
def test_scores_of_the_wrong_shape_are_refused(wrong: str) -> None:
    fold, scores = random_fold(8)

    class Wrong:
        def score(self, queries: Queries) -> np.ndarray:
            return {"items": scores[:, 1:], "queries": scores[1:], "flat": scores[0]}[wrong]

    with pytest.raises(ValueError, match=r"shape .* expected \(7, 15\): queries × items"):
        metrics.evaluate(Wrong(), fold)


@quick
@given(
    st.lists(st.tuples(st.sampled_from(np.arange(0.5, 5.5, 0.5).tolist()), st.floats(0, 6)), min_size=1, max_size=30)
)
def test_the_error_of_ratings_equals_scikit_learns(pairs: list[tuple[float, float]]) -> None:
    from sklearn.metrics import root_mean_squared_error

    ratings, predictions = np.array(pairs).T
    assert metrics.rmse(ratings, predictions) == pytest.approx(root_mean_squared_error(ratings, predictions))
