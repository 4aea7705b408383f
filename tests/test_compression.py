"""What lesson 12 writes out: int8, static tables, cuts, codes, and the judge of new films."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from course.lessons import definitions
from recfuse_lib.data import movielens, splits
from recfuse_lib.data.splits import Fold
from recfuse_lib.evaluation.metrics import evaluate

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

LESSON = definitions("12_compress")


@pytest.mark.parametrize("axis", [None, 0])
def test_int8_is_off_by_half_a_step_at_most(axis: int | None) -> None:
    matrix = np.random.default_rng(0).normal(size=(30, 5)) * [1, 10, 0.1, 1, 1]
    whole, scale = LESSON.in_int8(matrix, axis)
    assert whole.dtype == np.int8 and np.abs(whole).max() == 127
    assert (np.abs(whole * scale - matrix) <= scale / 2 + 1e-9).all()
    assert scale.shape == ((1, 1) if axis is None else (1, 5))


def test_a_cut_keeps_the_widest_directions_of_the_rows_it_is_fitted_on() -> None:
    vectors = np.random.default_rng(0).normal(size=(200, 4)).astype("float32") * [1, 5, 2, 0.1]
    rows = np.arange(150)
    kept = LESSON.cut(vectors, rows, 2)
    np.testing.assert_allclose(kept[rows].mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(np.abs(np.corrcoef(kept[:, 0], vectors[:, 1])[0, 1]), 1, atol=0.01)
    changed = vectors.copy()
    changed[150:] *= 100
    np.testing.assert_allclose(LESSON.cut(changed, rows, 2)[rows], kept[rows], atol=1e-4)


def test_a_static_vector_is_a_weighted_mean_of_its_pieces() -> None:
    counts = scipy.sparse.csr_array(np.array([[2, 0, 1], [0, 1, 0], [0, 0, 0]], "float32"))
    table, weights = np.eye(3, dtype="float32"), np.array([0.5, 1, 2], "float32")
    vectors = LESSON.static_vectors(counts, table, weights)
    np.testing.assert_allclose(vectors[0], np.array([1, 0, 2]) / np.sqrt(5))
    np.testing.assert_array_equal(vectors[1:], [[0, 1, 0], [0, 0, 0]])


def test_shares_follow_the_rank_and_rare_pieces_weigh_most() -> None:
    shares = LESSON.english_shares(["[PAD]", "[unused0]", ",", "the"])
    np.testing.assert_allclose(shares, np.array([1, 0, 1 / 2, 1 / 3]) / (1 + 1 / 2 + 1 / 3))
    weights = LESSON.rarity(shares)
    assert weights[1] == 1 and (np.diff(weights[[0, 2, 3]]) > 0).all()


def test_codes_say_exactly_what_there_are_enough_centres_for() -> None:
    few = np.random.default_rng(0).normal(size=(256, 8)).astype("float32")
    many = np.repeat(few, 40, axis=0)
    read = LESSON.product_quantised(many, np.arange(len(many)), 4)
    assert np.linalg.norm(read - many) < 0.2 * np.linalg.norm(many)
    assert LESSON.product_quantised(many, np.arange(len(many)), 1).shape == many.shape


def test_neighbours_leave_the_film_itself_out() -> None:
    vectors = np.array([[1, 0], [0.9, 0.1], [0, 1], [-1, 0]], "float32")
    assert LESSON.neighbours(vectors, np.array([0, 3]), k=1).tolist() == [[1], [2]]
    assert LESSON.kept(np.array([[1, 2], [3, 4]]), np.array([[2, 1], [3, 5]])) == 0.75


@pytest.fixture(scope="module")
def fold() -> Fold:
    return splits.cold(movielens.load(), 0).validation.drawn(60, seed=0)


def test_the_judge_of_new_films_agrees_with_the_library(fold: Fold) -> None:
    vectors = np.random.default_rng(0).normal(size=(fold.n_items, 16)).astype("float32")
    model = LESSON.recommender(vectors, fold)
    expected = evaluate(model, fold).per_query["ndcg"].to_numpy()
    np.testing.assert_allclose(LESSON.cold_ndcg(vectors, fold), expected)
    lists = np.full((len(fold.queries), 10), -1)
    assert LESSON.of_lists(lists, fold).max() == 0, "a list that ran out holds no hit"


def test_a_catalogue_of_vectors_alone_hides_nothing(fold: Fold) -> None:
    """Years and genres must not help an encoder that is judged by its vectors."""
    constant = np.random.default_rng(0).normal(size=(fold.n_items, 3)).astype("float32")
    assert LESSON.recommender(constant, fold).vectors.shape == (fold.n_items, 3)


def test_half_of_the_films_are_read_by_each_student(monkeypatch: pytest.MonkeyPatch) -> None:
    import compress

    half = compress.half_of_films()
    assert abs(half.mean() - 0.5) < 0.001 and set(half) == {0, 1}
    vectors = {"student 0": 0.0, "student 1": 1.0}
    monkeypatch.setattr(compress, "student_weights", lambda half: None)
    monkeypatch.setattr(compress, "onnx_folder", lambda name, *_: name)
    monkeypatch.setattr(
        compress,
        "served",
        lambda name, _: compress.Encoder("", lambda fold: np.full((len(half), 1), vectors[name]), len, 0.0),
    )
    monkeypatch.setattr(compress, "folds", lambda part: [None])
    not_read = compress.students(quantised=False).vectors(None)
    np.testing.assert_array_equal(not_read[:, 0], 1 - half)
    np.testing.assert_array_equal(compress.students(quantised=False, read=True).vectors(None)[:, 0], half)


def test_the_tables_say_what_the_lesson_uses() -> None:
    encoders = pd.read_csv(ROOT / "docs/lessons/12_encoders.csv").set_index("encoder")
    teacher = encoders.loc["MiniLM, 6 layers"]
    assert teacher["difference"] == 0 and encoders["ridge"].isin([30, 100, 300]).all()
    assert (encoders["difference_low"] <= encoders["difference"]).all()
