"""Lesson 22: spellings are unique, the search stays in the trie and agrees with exact probabilities, and it is saved."""

from pathlib import Path

import keras
import numpy as np
import pytest

from course.lessons import definitions

lesson = definitions("22_generate_items")

N_ITEMS = 60


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """Items around eight centres: some of them are alike."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(8, 6))
    return (centres[generator.integers(0, 8, N_ITEMS)] + 0.1 * generator.normal(size=(N_ITEMS, 6))).astype("float32")


@pytest.fixture(scope="module")
def codes(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(lesson.with_uniqueness(lesson.residual_codes(vectors, levels=3, k=4)[0]))


@pytest.fixture(scope="module")
def writer(codes: np.ndarray) -> keras.Model:
    keras.utils.set_random_seed(0)
    return lesson.Writer(codes, dimension=8, length=6)


INTERESTS = np.random.default_rng(1).normal(size=(5, 8)).astype("float32")


def test_codes_and_what_is_left_give_the_vector_back(vectors: np.ndarray) -> None:
    codes, rest = lesson.residual_codes(vectors, levels=2, k=4)
    explained = vectors - rest
    for spelling in np.unique(codes, axis=0):
        same = (codes == spelling).all(axis=1)
        assert np.ptp(explained[same], axis=0) == pytest.approx(0, abs=1e-5), "one spelling stands for one vector"
    assert (rest**2).sum() < (vectors**2).sum()


def test_every_item_has_a_spelling_of_its_own_and_no_number_is_left_out(codes: np.ndarray) -> None:
    assert len(np.unique(codes, axis=0)) == N_ITEMS
    for triple in np.unique(codes[:, :3], axis=0):
        numbers = codes[(codes[:, :3] == triple).all(axis=1), 3]
        assert sorted(numbers) == list(range(len(numbers)))


def test_perplexity_counts_even_use() -> None:
    assert lesson.perplexity(np.array([0, 1, 5, 9])) == pytest.approx(4)
    assert lesson.perplexity(np.zeros(9, int)) == pytest.approx(1)


def test_a_beam_as_wide_as_the_catalogue_finds_every_item_with_its_exact_probability(
    writer: keras.Model, codes: np.ndarray
) -> None:
    beams, scores = lesson.beam_search(writer, INTERESTS, 300, lesson.trie_of(codes))
    exact = lesson.log_likelihood(writer, INTERESTS, np.arange(N_ITEMS), 4)
    film = {tuple(spelling): number for number, spelling in enumerate(codes.tolist())}
    for person in range(len(INTERESTS)):
        reached = np.isfinite(scores[person])
        found = [film[tuple(way)] for way in beams[person][reached].tolist()]
        assert sorted(found) == list(range(N_ITEMS))
        np.testing.assert_allclose(scores[person][reached], exact[person, found], atol=1e-4)
        assert (np.diff(scores[person][reached]) <= 0).all()


@pytest.mark.parametrize("width", [1, 3, 10])
def test_the_trie_keeps_a_narrow_beam_among_items(writer: keras.Model, codes: np.ndarray, width: int) -> None:
    beams, scores = lesson.beam_search(writer, INTERESTS, width, lesson.trie_of(codes))
    assert np.isfinite(scores).all() and beams.shape == (5, width, 4)
    assert set(map(tuple, beams.reshape(-1, 4).tolist())) <= set(map(tuple, codes.tolist()))
    free, _ = lesson.beam_search(writer, INTERESTS, width)
    assert width == 1 or not set(map(tuple, free.reshape(-1, 4).tolist())) <= set(map(tuple, codes.tolist()))


def test_the_loss_is_minus_the_log_likelihood(writer: keras.Model) -> None:
    target = np.array([0, 7, 7, 30, 59])
    losses = np.asarray(writer.losses_of(INTERESTS, target))
    exact = lesson.log_likelihood(writer, INTERESTS, target, 4)
    np.testing.assert_allclose(losses, -np.diag(exact), rtol=1e-4)


def test_far_away_centres_die_and_split_ones_do_not() -> None:
    rows = np.random.default_rng(0).normal(size=(600, 40)).astype("float32")
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    used = {
        start.__name__: lesson.perplexity(lesson.residual_codes(rows, levels=1, k=32, start=start)[0][:, 0])
        for start in (lesson.some_rows, lesson.far_away, lesson.splitting)
    }
    assert used["far_away"] < 0.7 * used["some_rows"] < used["splitting"]


@pytest.mark.parametrize("kind", ["Writer", "Scorer"])
def test_a_model_is_saved_and_loaded(kind: str, codes: np.ndarray, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    network = getattr(lesson, kind)(codes if kind == "Writer" else np.arange(N_ITEMS), dimension=8, length=6)
    history = np.arange(12).reshape(2, 6)
    x = {"history": history, "history_rating": np.full((2, 6), 4.0), "history_time": history}
    before = np.asarray(network(x))
    network.save(tmp_path / "model.keras")
    np.testing.assert_allclose(np.asarray(keras.saving.load_model(tmp_path / "model.keras")(x)), before, atol=1e-6)
