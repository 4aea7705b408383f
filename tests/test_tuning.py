"""Random search: the same number of trials for everybody, on the validation fold, repeatable."""

import numpy as np
import pandas as pd
import pytest

from course.lessons import definitions
from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import Fold, Queries

search = definitions("04_collaborative_filtering").search


class Constant:
    """Puts `item` first for everybody."""

    def __init__(self, item: int, noise: str = "") -> None:
        self.item = item

    def score(self, queries: Queries) -> np.ndarray:
        scores = np.zeros((len(queries), queries.n_items), "float32")
        scores[:, self.item] = 1
        return scores


@pytest.fixture
def fold() -> Fold:
    import scipy.sparse

    history = pd.DataFrame({"user": [0, 1], "item": [0, 0], "rating": 5.0, "timestamp": 1})
    targets = scipy.sparse.csr_array(np.eye(8, dtype=bool)[[3, 3]])
    return Fold(
        history, Queries.of(history, np.array([0, 1]), 8), targets, np.ones(8, bool), n_users=2, items=Items.unnamed(8)
    )


def test_the_best_point_of_the_whole_grid_is_found(fold: Fold) -> None:
    trials = search(Constant, {"item": [1, 2, 3, 4]}, fold, budget=10)
    assert len(trials) == 4
    assert trials["item"][0] == 3 and trials["ndcg"][0] == 1
    assert (trials["ndcg"][1:] < 1).all()


def test_the_budget_is_kept_and_no_point_is_tried_twice(fold: Fold) -> None:
    space = {"item": list(range(8)), "noise": ["a", "b", "c"]}
    one, again, other = (search(Constant, space, fold, budget=9, seed=seed) for seed in (1, 1, 2))
    assert len(one) == 9
    assert not one[["item", "noise"]].duplicated().any()
    pd.testing.assert_frame_equal(one, again)
    points = [set(map(tuple, trials[["item", "noise"]].to_numpy())) for trials in (one, other)]
    assert points[0] != points[1]
