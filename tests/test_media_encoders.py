"""What the encoders of lesson 06 learn from pictures, sounds and clips, and keep."""

import keras
import numpy as np
import pytest
from eager import eagerly

from course.lessons import definitions
from recfuse_lib.data.market import media, photographs

LESSON = definitions("06_multimodal_tower")
N_ITEMS = 400


@pytest.fixture(scope="module")
def pictures():
    return photographs.load()[0][:N_ITEMS, ..., None].astype("float32") / 255


@pytest.fixture(scope="module")
def taste():
    return np.random.default_rng(0).uniform(-1.7, 1.7, (N_ITEMS, 2))


@pytest.fixture(scope="module")
def learned(pictures):
    return of_pictures(pictures, pictures)


def of_pictures(seen, pictures, epochs=2, seed=0):
    return LESSON.encode(LESSON.picture_network(seed=seed), LESSON.jittered, seen, pictures, epochs, seed)


def explained(encodings, properties):
    """R² of a ridge regression, learned from one half of the items, on the other half; one value a property."""
    half = len(encodings) // 2
    inputs = np.hstack([encodings, np.ones((len(encodings), 1))])
    left, right = inputs[:half], inputs[half:]
    weights = np.linalg.solve(left.T @ left + 10 * np.eye(left.shape[1]), left.T @ properties[:half])
    errors = ((right @ weights - properties[half:]) ** 2).mean(axis=0)
    return 1 - errors / properties[half:].var(axis=0)


# ---- the loss


def test_info_nce_is_cross_entropy_in_both_directions():
    random = np.random.default_rng(0)
    left, right = (keras.ops.convert_to_numpy(keras.utils.normalize(random.normal(size=(6, 4)))) for _ in range(2))
    logits = 7.0 * left @ right.T
    by_hand = 0.0
    for matrix in (logits, logits.T):
        shares = np.exp(matrix) / np.exp(matrix).sum(axis=1, keepdims=True)
        by_hand -= np.log(np.diag(shares)).mean() / 2
    assert float(LESSON.info_nce(left.astype("float32"), right.astype("float32"), 7.0)) == pytest.approx(
        by_hand, rel=1e-5
    )


# ---- learning by two views


def test_a_picture_keeps_what_taste_depends_on(learned):
    properties = photographs.visual_properties(photographs.load()[0][:N_ITEMS], np.zeros(N_ITEMS, int))
    assert (explained(learned, properties) > 0.8).all()


@pytest.mark.slow
def test_a_sound_keeps_its_mood(taste):
    jingles = [media.jingle(mood, np.random.default_rng(item)) for item, mood in enumerate(taste)]
    spectra = LESSON.spectrograms(np.stack(jingles).astype("float32") / 32768)
    encodings = LESSON.encode(LESSON.sound_network(), LESSON.shifted, spectra, spectra, epochs=1)
    assert (explained(encodings, taste) > [0.5, 0.9]).all()


@pytest.mark.slow
def test_a_clip_keeps_its_motion(taste):
    pixels = photographs.load()[0]
    made = [media.turntable(pixels[item], motion, np.random.default_rng(item)) for item, motion in enumerate(taste)]
    clips = np.stack(made)[..., None].astype("float32") / 255
    encodings = LESSON.encode(LESSON.clip_network(), LESSON.jittered, clips, clips, epochs=3)
    assert (explained(encodings, taste) > [0.4, 0.4]).all()


def test_the_widest_directions_are_equally_wide(learned):
    np.testing.assert_allclose(learned.mean(axis=0), 0, atol=1e-3)
    widths = np.sort(learned.std(axis=0))
    assert widths[-1] < 1.01 and widths[-6] > 0.9


def test_the_same_seed_gives_the_same_encodings_whatever_ran_before(pictures):
    some = pictures[:50]
    with eagerly():
        before = of_pictures(some, some)
        keras.utils.set_random_seed(99)
        np.testing.assert_array_equal(of_pictures(some, some), before)
        assert np.abs(of_pictures(some, some, seed=1) - before).max() > 0.1


def test_other_sizes_fit():
    pictures = np.random.default_rng(0).random((4, 56, 56, 3), "float32")
    with eagerly():
        network = LESSON.picture_network(56, 3, dimensions=8)
        assert LESSON.encode(network, LESSON.jittered, pictures[:3], pictures, 1).shape == (4, 8)


def test_a_clip_that_moves_farther_has_more_spread_and_faster_ones_longer_steps():
    time = np.arange(8) / 8
    waves = np.stack([amplitude * np.sin(2 * np.pi * turns * time) for amplitude, turns in ((1, 1), (2, 1), (1, 3))])
    moments = keras.ops.convert_to_numpy(LESSON.OverTime()(waves[..., None].astype("float32")))
    np.testing.assert_allclose(moments[:, 0], 0, atol=1e-6)
    np.testing.assert_allclose(moments[:, 1] - moments[0, 1], [0, np.log(2), 0], atol=1e-3)
    assert moments[1, 2] - moments[0, 2] == pytest.approx(np.log(2), abs=1e-3) and moments[2, 2] > moments[0, 2] + 0.5


# ---- alignment


def aligned(image, text, epochs):
    alignment = LESSON.Alignment({"image": image.shape[1], "text": text.shape[1]}, 16)
    for side, encodings in (("image", image), ("text", text)):
        alignment.standardise[side].adapt(encodings)
    LESSON.fit_by_contrast(alignment, {"image": image, "text": text}, epochs, seed=0)
    return alignment


def test_alignment_finds_held_out_partners():
    random = np.random.default_rng(0)
    shared = random.normal(size=(600, 6))
    image = (shared @ random.normal(size=(6, 20)) + 0.1 * random.normal(size=(600, 20))).astype("float32")
    text = (shared @ random.normal(size=(6, 30)) + 0.1 * random.normal(size=(600, 30))).astype("float32")
    seen = np.arange(600) < 500

    def recall(alignment):
        items, wanted = alignment.project("image", image), alignment.project("text", text[~seen])
        np.testing.assert_allclose(np.linalg.norm(items, axis=1), 1, atol=1e-5)
        return LESSON.finds(wanted, items, np.flatnonzero(~seen), k=10).mean()

    assert recall(aligned(image[seen], text[seen], epochs=20)) > 0.5 > 20 * 10 / 600
    assert recall(aligned(image[seen], random.permutation(text)[seen], epochs=20)) < 0.2


def test_ties_count_against_the_query():
    finds = LESSON.finds
    assert not finds(np.ones((1, 2)), np.ones((3, 2)), np.array([0]), k=2).any()
    assert finds(np.ones((1, 2)), np.ones((3, 2)), np.array([0]), k=3).all()
