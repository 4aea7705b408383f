"""What the encoders of pictures, sounds and clips learn, keep and refuse."""

from pathlib import Path

import keras
import numpy as np
import pytest
from eager import eagerly
from PIL import Image

from course.lessons import definitions
from recfuse_lib.data.market import media, photographs
from recfuse_lib.data.media import MediaError
from recfuse_lib.encoders.audio import SoundEncoder
from recfuse_lib.encoders.contrastive import fit_by_contrast, info_nce
from recfuse_lib.encoders.image import ImageEncoder, PretrainedImageEncoder, encode_images
from recfuse_lib.encoders.video import ClipEncoder, OverTime
from recfuse_lib.pretrained import PretrainedError

N_ITEMS = 400


@pytest.fixture(scope="module")
def pictures():
    return photographs.load()[0][:N_ITEMS, ..., None].astype("float32") / 255


@pytest.fixture(scope="module")
def taste():
    return np.random.default_rng(0).uniform(-1.7, 1.7, (N_ITEMS, 2))


@pytest.fixture(scope="module")
def sounds(taste):
    jingles = [media.jingle(mood, np.random.default_rng(item)) for item, mood in enumerate(taste)]
    return np.stack(jingles).astype("float32") / 32768


@pytest.fixture(scope="module")
def clips(taste):
    pixels = photographs.load()[0]
    made = [media.turntable(pixels[item], motion, np.random.default_rng(item)) for item, motion in enumerate(taste)]
    return np.stack(made)[..., None].astype("float32") / 255


@pytest.fixture(scope="module")
def learned(pictures):
    return ImageEncoder().learn(pictures, epochs=2)


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
    assert float(info_nce(left.astype("float32"), right.astype("float32"), 7.0)) == pytest.approx(by_hand, rel=1e-5)


# ---- learning by two views


def test_a_picture_keeps_what_taste_depends_on(pictures, learned):
    properties = photographs.visual_properties(photographs.load()[0][:N_ITEMS], np.zeros(N_ITEMS, int))
    assert (explained(learned.encode(pictures), properties) > 0.8).all()


@pytest.mark.slow
def test_a_sound_keeps_its_mood(sounds, taste):
    assert (explained(SoundEncoder().learn(sounds, epochs=1).encode(sounds), taste) > [0.5, 0.9]).all()


@pytest.mark.slow
def test_a_clip_keeps_its_motion(clips, taste):
    assert (explained(ClipEncoder().learn(clips, epochs=3).encode(clips), taste) > [0.4, 0.4]).all()


def test_the_widest_directions_are_equally_wide(pictures, learned):
    encodings = learned.encode(pictures)
    np.testing.assert_allclose(encodings.mean(axis=0), 0, atol=1e-3)
    widths = np.sort(encodings.std(axis=0))
    assert widths[-1] < 1.01 and widths[-6] > 0.9


def test_the_same_seed_gives_the_same_encodings_whatever_ran_before(pictures):
    some = pictures[:50]

    def encoded():
        with eagerly():
            return ImageEncoder().learn(some, epochs=2).encode(some)

    before = encoded()
    keras.utils.set_random_seed(99)
    np.testing.assert_array_equal(encoded(), before)
    first, second = (ImageEncoder(seed=seed).encode(pictures) for seed in (0, 1))
    assert np.abs(first - second).max() > 0.1


def test_held_out_items_have_no_say(pictures):
    some = pictures[:60]
    seen = np.arange(60) % 4 > 0
    changed = some.copy()
    changed[~seen] = 1 - changed[~seen]
    with eagerly():
        one, other, of_all = (
            ImageEncoder().learn(inputs, rows, epochs=2).encode(some)
            for inputs, rows in ((some, seen), (changed, seen), (some, None))
        )
    np.testing.assert_array_equal(one, other)
    assert np.abs(one - of_all).max() > 0.01


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    ("encoder", "shape"),
    [
        (ImageEncoder(size=32, channels=3, dimensions=8, seed=3), (2, 32, 32, 3)),
        (SoundEncoder(rate=4000, seconds=1.0, dimensions=8, seed=3), (2, 4000)),
        (ClipEncoder(frames=4, size=16, channels=3, dimensions=8, seed=3), (2, 4, 16, 16, 3)),
    ],
)
def test_an_encoder_is_saved_and_loaded(encoder, shape, tmp_path):
    inputs = np.random.default_rng(0).random(shape, "float32")
    before = encoder.learn(inputs, epochs=1).encode(inputs)
    assert before.shape == (2, 8)
    encoder.save(tmp_path / "encoder.keras")
    after = keras.models.load_model(tmp_path / "encoder.keras")
    np.testing.assert_allclose(after.encode(inputs), before, atol=1e-5)


def test_a_clip_that_moves_farther_has_more_spread_and_faster_ones_longer_steps():
    time = np.arange(8) / 8
    waves = np.stack([amplitude * np.sin(2 * np.pi * turns * time) for amplitude, turns in ((1, 1), (2, 1), (1, 3))])
    moments = keras.ops.convert_to_numpy(OverTime()(waves[..., None].astype("float32")))
    np.testing.assert_allclose(moments[:, 0], 0, atol=1e-6)
    np.testing.assert_allclose(moments[:, 1] - moments[0, 1], [0, np.log(2), 0], atol=1e-3)
    assert moments[1, 2] - moments[0, 2] == pytest.approx(np.log(2), abs=1e-3) and moments[2, 2] > moments[0, 2] + 0.5


def test_what_does_not_fit_is_refused(pictures):
    with pytest.raises(ValueError, match=r"\(400, 28, 28, 1\); this encoder takes \(I, 32, 32, 3\)"):
        ImageEncoder(size=32, channels=3).encode(pictures)
    with pytest.raises(ValueError, match="at least two items; 1 of 400"):
        ImageEncoder().learn(pictures, seen=np.arange(N_ITEMS) == 7)


# ---- alignment


def aligned(image, text, epochs):
    alignment = definitions("06_multimodal_tower").Alignment({"image": image.shape[1], "text": text.shape[1]}, 16)
    for side, encodings in (("image", image), ("text", text)):
        alignment.standardise[side].adapt(encodings)
    fit_by_contrast(alignment, {"image": image, "text": text}, epochs, seed=0)
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
        return definitions("06_multimodal_tower").finds(wanted, items, np.flatnonzero(~seen), k=10).mean()

    assert recall(aligned(image[seen], text[seen], epochs=20)) > 0.5 > 20 * 10 / 600
    assert recall(aligned(image[seen], random.permutation(text)[seen], epochs=20)) < 0.2


def test_ties_count_against_the_query():
    finds = definitions("06_multimodal_tower").finds
    assert not finds(np.ones((1, 2)), np.ones((3, 2)), np.array([0]), k=2).any()
    assert finds(np.ones((1, 2)), np.ones((3, 2)), np.array([0]), k=3).all()


# ---- files


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("RECFUSE_CACHE", str(tmp_path / "cache"))
    paths: list[Path | None] = []
    for item, pixels in enumerate(photographs.load()[0][:20]):
        paths.append(tmp_path / f"{item}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def test_files_are_encoded_once(files, monkeypatch):
    encodings, present = encode_images(files)
    assert encodings.shape == (20, 64) and encodings.dtype == np.float32 and present.all()
    moved = [path.rename(path.with_stem(f"moved{path.stem}")) for path in files]

    def refuse(*_, **__):
        raise AssertionError("learned again")

    monkeypatch.setattr(ImageEncoder, "learn", refuse)
    np.testing.assert_array_equal(encode_images(moved)[0], encodings)
    for change in ({"seed": 1}, {"size": 32}, {"epochs": 5}, {"seen": np.arange(20) < 9}):
        with pytest.raises(AssertionError, match="learned again"):
            encode_images(moved, **change)
    Image.fromarray(photographs.load()[0][99]).save(moved[3])
    with pytest.raises(AssertionError, match="learned again"):
        encode_images(moved)


def test_missing_files_are_masked_by_choice_alone_also_from_the_cache(files):
    files[1] = None
    files[2].write_text("no picture")
    for _ in range(2):
        with pytest.warns(UserWarning, match="1 files count as missing"):
            encodings, present = encode_images(files, missing="mask")
        np.testing.assert_array_equal(np.flatnonzero(~present), [1, 2])
        assert not encodings[1:3].any() and encodings[present].any(axis=1).all()
        with pytest.raises(MediaError, match=r"2\.png"):
            encode_images(files)


def test_the_mask_of_seen_items_has_one_value_an_item(files):
    with pytest.raises(ValueError, match="20 items"):
        encode_images(files, seen=np.ones(3, bool))


# ---- pretrained


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory):
    import keras_hub

    folder = tmp_path_factory.mktemp("clip")
    vision = keras_hub.models.CLIPVisionEncoder(
        patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, intermediate_dim=32, image_shape=(32, 32, 3)
    )
    text = keras_hub.models.CLIPTextEncoder(
        vocabulary_size=50, embedding_dim=16, hidden_dim=16, num_layers=2, num_heads=2, intermediate_dim=32
    )
    keras_hub.models.CLIPBackbone(vision, text, projection_dim=12).save_to_preset(str(folder))
    converter = keras_hub.layers.CLIPImageConverter(image_size=(32, 32), scale=1 / 127.5, offset=-1.0)
    converter.save_to_preset(str(folder))
    return folder


def test_a_clip_model_is_loaded_from_a_folder(tiny_clip):
    import keras_hub

    pictures = np.random.default_rng(0).random((3, 32, 32, 3), "float32")
    encoder = PretrainedImageEncoder.from_pretrained(tiny_clip)
    encodings = encoder.encode(pictures)
    assert (encoder.size, encoder.dimensions, encodings.shape) == (32, 12, (3, 12))
    backbone = keras_hub.models.CLIPBackbone.from_preset(str(tiny_clip))
    direct = keras.ops.convert_to_numpy(backbone.get_vision_embeddings(2 * pictures - 1))
    np.testing.assert_allclose(encodings, direct / np.linalg.norm(direct, axis=1, keepdims=True), atol=1e-5)
    with pytest.raises(ValueError, match=r"takes \(I, 32, 32, 3\)"):
        encoder.encode(pictures[..., :1])


def test_weights_that_cannot_be_had_are_explained(monkeypatch, tmp_path):
    import keras_hub

    def no_network(*_, **__):
        raise ConnectionError("name resolution failed")

    monkeypatch.setattr(keras_hub.models.CLIPBackbone, "from_preset", no_network)
    with pytest.raises(
        PretrainedError, match=r"(?s)name resolution failed.*clip_vit_base_patch32.*folder.*ImageEncoder"
    ):
        PretrainedImageEncoder.from_pretrained("clip_vit_base_patch32")
    monkeypatch.undo()
    with pytest.raises(PretrainedError, match="cannot be had"):
        PretrainedImageEncoder.from_pretrained(tmp_path)
