"""Lesson 13: halves that keep apart what is to be found, the model of the answers, lists, the tree, views, guesses."""

import numpy as np
import pandas as pd
import pytest

from course.lessons import definitions
from recfuse_lib.data.items import Items
from recfuse_lib.data.splits import Fold, Queries

LESSON = definitions("13_learn_without_labels")
N_PEOPLE, N_ITEMS = 120, 260


@pytest.fixture(scope="module")
def people() -> tuple[np.ndarray, np.ndarray]:
    """Two groups who know the same films and like different ones."""
    random = np.random.default_rng(0)
    rated = random.random((N_PEOPLE, N_ITEMS)) < np.linspace(0.8, 0.02, N_ITEMS)
    alike = np.arange(N_PEOPLE)[:, None] % 2 == np.arange(N_ITEMS) % 2
    return rated, rated & (alike ^ (random.random(rated.shape) < 0.1))


@pytest.fixture(scope="module")
def taught(people: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return LESSON.both_ways(*people, seed=0)


@pytest.fixture(scope="module")
def model(taught: tuple[np.ndarray, ...]):
    lists = LESSON.fixed_lists(*taught[:2])
    return LESSON.AnswerModel(*taught, LESSON.pool_of(taught[0], lists), l2=10.0)


def test_halves_keep_apart_what_may_be_said_and_what_is_to_be_found(people) -> None:
    rated, liked = people
    knows, likes, later = LESSON.halves(rated, liked, seed=3)
    assert not (knows & later).any() and not (likes & ~knows).any()
    assert np.array_equal(likes | later, liked) and 0.45 < knows.sum() / rated.sum() < 0.55
    both = LESSON.both_ways(rated, liked, seed=3)
    assert np.array_equal(both[0][:N_PEOPLE] | both[0][N_PEOPLE:], rated) and np.array_equal(both[2][N_PEOPLE:], likes)


def test_entropy_counts_in_bits_and_knows_the_third_class() -> None:
    two, three = np.array([[60.0], [20.0]]), np.array([[60.0], [20.0], [120.0]])
    assert LESSON.entropy(two) == pytest.approx(0.8113, abs=1e-4)
    assert LESSON.entropy(three) == pytest.approx(1.2955, abs=1e-4)
    assert LESSON.entropy(np.zeros((2, 1))) == pytest.approx(0, abs=1e-6)


def test_answers_are_read_as_a_ridge_regression(taught, model) -> None:
    knows, likes, later = taught
    films = model.pool[[2, 9]]
    answers = np.concatenate([likes[:, films], knows[:, films]], axis=1).astype("float64")
    centred, targets = answers - answers.mean(axis=0), later - later.mean(axis=0)
    weights = np.linalg.solve(centred.T @ centred + 10 * np.eye(4), centred.T @ targets)
    expected = later.mean(axis=0) + centred[:5] @ weights
    found = model.scores(np.tile([2, 9], (5, 1)), knows[:5], likes[:5])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    nothing = model.scores(np.zeros((5, 0), int), knows[:5], likes[:5])
    np.testing.assert_allclose(nothing, np.tile(later.mean(axis=0), (5, 1)), atol=1e-6)


def test_what_is_known_is_crossed_off_and_what_is_not_stays() -> None:
    scores = np.tile(np.arange(12.0)[::-1], (2, 1))
    knows, later = np.zeros((2, 12), bool), np.zeros((2, 12), bool)
    knows[0, 0], later[:, 10] = True, True
    found = LESSON.ndcg_after(scores, np.array([[0], [0]]), knows, later)
    assert found[1] == 0, "film 10 is the eleventh of who does not know film 0"
    assert found[0] == pytest.approx(1 / np.log2(11)), "and the tenth of who does"
    assert np.isfinite(scores).all(), "the scores that were given stay as they are"


def test_expected_gain_beats_chance_where_there_is_something_to_learn(taught, model) -> None:
    random = np.random.default_rng(1)
    rated = random.random((40, N_ITEMS)) < np.linspace(0.8, 0.02, N_ITEMS)
    liked = rated & (np.arange(40)[:, None] % 2 == np.arange(N_ITEMS) % 2)
    knows, likes, later = LESSON.halves(rated, liked, seed=1)
    items = np.argsort(-model.mean, kind="stable")[:200]
    asked = LESSON.ask_for_gain(model, knows, likes, items)
    assert all(len(set(row)) == LESSON.QUESTIONS for row in asked.tolist()), "nothing is asked twice"

    def after(questions: np.ndarray) -> float:
        scores = model.scores(questions, knows, likes)
        return LESSON.ndcg_after(scores, model.pool[questions], knows, later).mean()

    by_chance = np.tile(random.permutation(len(model.pool))[: LESSON.QUESTIONS], (40, 1))
    assert after(asked) > after(by_chance) + 0.05 and after(asked) > after(asked[:, :0]) + 0.1


def test_the_tree_asks_what_splits_and_a_walk_fills_up(taught, model) -> None:
    pool = model.pool[: LESSON.CANDIDATES]
    tree = LESSON.grow(taught[0][:, pool], taught[1][:, pool], taught[2].astype("float32"), model.mean)
    assert "question" in tree and sum(child["people"] for child in tree["next"]) == tree["people"] == 2 * N_PEOPLE
    liked, disliked, _ = (child["mean"] for child in tree["next"])
    side = pool[tree["question"]] % 2
    assert (liked - disliked)[side::2][:20].mean() > 0.05 > -0.05 > (liked - disliked)[1 - side :: 2][:20].mean()
    asked, leaves = LESSON.walk(tree, taught[0][:30], taught[1][:30], model.pool)
    assert all(len(set(row)) == LESSON.QUESTIONS for row in asked.tolist()) and len(leaves) == 30
    assert (asked[:, 0] == tree["question"]).all()


@pytest.mark.parametrize("length", [1, 2, 7, 16])
def test_views_are_parts_of_a_history(length: int) -> None:
    random, events = np.random.default_rng(0), np.arange(length)
    for _ in range(20):
        cropped, masked, shuffled = (change(events, random) for change in (LESSON.crop, LESSON.mask, LESSON.reorder))
        assert len(cropped) >= 1 and (np.diff(cropped) == 1).all()
        assert len(masked) >= 1 and (np.diff(masked) > 0).all()
        assert sorted(shuffled) == events.tolist()
    assert events.tolist() == list(range(length)), "the history itself stays"


def test_a_view_is_padded_on_the_left() -> None:
    rows = {"history": np.array([[0, 5, 6]]), "history_rating": np.array([[0, 4, 4]])}
    made = LESSON.view(rows, lambda events, generator: events[-1:], None)
    assert made["history"].tolist() == [[0, 0, 6]] and made["history_rating"].tolist() == [[0, 0, 4]]


def test_few_clicks_are_the_last_ones() -> None:
    log = pd.DataFrame({"user": [0, 0, 0, 1], "item": [3, 4, 5, 6], "rating": 4.0, "timestamp": [1, 2, 3, 1]})
    queries = LESSON.few_clicks(Queries.of(log, np.array([0, 1]), 8), 2)
    assert queries.item.tolist() == [4, 5, 6] and queries.indptr.tolist() == [0, 2, 3]


def test_guesses_are_the_surest_and_never_what_is_known() -> None:
    scores, known = np.array([[0.9, 0.5], [0.8, 0.7]]), np.array([[True, False], [False, False]])
    rows, items = LESSON.surest(scores, known, 2)
    assert sorted(zip(rows.tolist(), items.tolist(), strict=True)) == [(1, 0), (1, 1)]


def test_self_training_adds_to_what_is_learned_and_not_to_what_is_asked() -> None:
    random = np.random.default_rng(0)
    user, item = np.nonzero(random.random((20, 30)) < 0.3)
    history = pd.DataFrame({"user": user, "item": item, "rating": np.float32(5), "timestamp": np.arange(len(user))})
    queries = Queries.of(history, np.arange(20), 30)
    fold = Fold(history, queries, queries.matrix() > 0, np.ones(30, bool), 20, Items.unnamed(30))
    added: list[int] = []

    def choose(scores: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        added.append(int(known.sum()))
        return LESSON.surest(scores, known, 7)

    models = list(LESSON.self_training(history, fold, choose, rounds=3))
    assert len(models) == 4 and added == [len(history), len(history) + 7, len(history) + 14]
    assert len(history) == len(user)
