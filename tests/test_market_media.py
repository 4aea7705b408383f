"""Jingles and clips tell the mood and the motion that they were made from; files are exact, and whole or not there."""

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_predict
from sklearn.preprocessing import StandardScaler

from recfuse_lib.data.faults import DataError
from recfuse_lib.data.market import media, photographs
from recfuse_lib.data.media import read_clip, read_image, read_sound

quick = settings(deadline=None, max_examples=40, derandomize=True)
PROPERTY = st.floats(-2.5, 2.5)
SEED = st.integers(0, 2**32)
N = 6
# Of the first jingles and clips of seed 0, on every platform.
GOLDEN = "825ec46a4c1fbd2ef6f8a10d8eb88029c69cbf3760ccd0dda548b4298ed65f56"


def products(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Real photographs with random moods and motions."""
    random = np.random.default_rng(seed)
    pixels = photographs.load().pixels
    pixels = pixels[random.permutation(len(pixels))[:n]]
    mood, motion = random.uniform(-media.EXTREME, media.EXTREME, (2, n, 2))
    return pixels, mood, motion


def written(folder: Path, seed: int = 0, n: int = N):
    return media.write(folder, np.arange(1, n + 1), *products(n, seed), seed=seed, progress=False)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def fingerprint() -> str:
    """A sha256 of some jingles and clips; made from whole numbers alone, so that nothing else can differ."""
    generator = np.random.default_rng(0)
    digest = hashlib.sha256()
    for _ in range(100):
        mood, motion = generator.uniform(-media.EXTREME, media.EXTREME, (2, 2))
        photograph = generator.integers(0, 256, (28, 28)).astype(np.uint8)
        digest.update(media.jingle(mood, generator).astype("<i2").tobytes())
        digest.update(media.turntable(photograph, motion, generator).tobytes())
    return digest.hexdigest()


def explained(features: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """R² of each column of the truth, by ridge regression on five folds."""
    guess = cross_val_predict(Ridge(10.0), StandardScaler().fit_transform(features), truth, cv=5)
    return 1 - ((truth - guess) ** 2).sum(axis=0) / ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)


def log_mel(samples: np.ndarray) -> np.ndarray:
    """Sounds as log-mel spectrograms, (N, time, 32)."""
    windows = np.lib.stride_tricks.sliding_window_view(samples / 32768, 256, axis=1)[:, ::128] * np.hanning(256)
    power = np.abs(np.fft.rfft(windows, axis=-1)) ** 2
    edges = 700 * (np.exp(np.linspace(np.log1p(50 / 700), np.log1p(4000 / 700), 34)) - 1)
    hertz = np.fft.rfftfreq(256, 1 / media.RATE)[:, None]
    rising, falling = (hertz - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - hertz) / np.diff(edges)[1:]
    return np.log(power @ np.clip(np.minimum(rising, falling), 0, None) + 1e-6)


def pooled(sequence: np.ndarray) -> np.ndarray:
    """Mean, spread and steps over time, (N, 3 · features)."""
    return np.concatenate(
        [sequence.mean(axis=1), sequence.std(axis=1), np.abs(np.diff(sequence, axis=1)).mean(axis=1)], axis=1
    )


def test_a_jingle_tells_its_mood():
    _, mood, _ = products(600, 1)
    sounds = np.stack([media.jingle(row, np.random.default_rng(code)) for code, row in enumerate(mood)])
    assert (explained(pooled(log_mel(sounds)), mood) > 0.8).all()


def test_a_clip_tells_its_motion_and_the_photograph_does_not():
    pixels, _, motion = products(1000, 2)
    clips = [media.turntable(pixels[code], row, np.random.default_rng(code)) for code, row in enumerate(motion)]
    frames = np.stack(clips) / 255
    profiles = np.concatenate([frames.mean(axis=2), frames.mean(axis=3)], axis=2)
    edges = np.abs(np.diff(frames, axis=3)).mean(axis=(2, 3))[:, :, None]
    assert (explained(pooled(np.concatenate([profiles, edges], axis=2)), motion) > 0.75).all()
    still = np.concatenate([pixels.mean(axis=1), pixels.mean(axis=2)], axis=1)
    assert (explained(still, motion) < 0.1).all()


@quick
@given(mood=st.tuples(PROPERTY, PROPERTY), seed=SEED)
def test_every_jingle_is_heard_and_none_is_clipped(mood, seed):
    samples = media.jingle(mood, np.random.default_rng(seed))
    assert samples.shape == (12000,) and samples.dtype == np.int16
    assert 3000 < np.abs(samples.astype(int)).max() < 32767
    assert abs(samples.mean()) < 300


@quick
@given(motion=st.tuples(PROPERTY, PROPERTY), seed=SEED)
def test_a_card_never_shines_brighter_than_its_photograph_and_its_frame_stays_black(motion, seed):
    photograph = np.full((28, 28), 200, np.uint8)
    clip = media.turntable(photograph, motion, np.random.default_rng(seed))
    assert clip.shape == (8, 28, 28) and clip.dtype == np.uint8
    assert clip.max() <= 200 and (clip[:, :, [0, -1]] == 0).all()
    assert (clip.max(axis=(1, 2)) > 0).all()


def test_a_still_card_is_the_photograph_a_little_smaller_and_its_back_is_mirrored():
    photograph = np.zeros((28, 28), np.uint8)
    photograph[:, :14] = 250  # the left half
    slow = media.turntable(photograph, (-2, -2), np.random.default_rng(0))
    assert (slow[:, :, :13].sum(axis=(1, 2)) > 20 * slow[:, :, 15:].sum(axis=(1, 2))).all()
    assert (slow[:, 3:25, 5:12].mean(axis=(1, 2)) > 240).all() and (slow[:, [0, 27]] == 0).all()
    fast = [media.turntable(photograph, (2, -2), np.random.default_rng(seed)) for seed in range(20)]
    right_is_brighter = [(clip[:, :, 15:].sum(axis=(1, 2)) > clip[:, :, :13].sum(axis=(1, 2))).any() for clip in fast]
    assert all(right_is_brighter)  # 0.3 of a turn shows the back


def test_sway_alone_moves_the_card_up_and_down():
    photograph = np.full((28, 28), 200, np.uint8)

    def travel(sway: float) -> float:
        rows = media.turntable(photograph, (-2, sway), np.random.default_rng(0)).sum(axis=2)
        return float(np.ptp((rows * np.arange(28)).sum(axis=1) / rows.sum(axis=1)))

    assert travel(-2) < 0.01 < 1 < travel(0) < travel(2)


def test_no_sine_or_pitch_lies_near_a_boundary_of_rounding():
    sines = 32767 * np.sin(2 * np.pi * np.arange(4096) / 4096)
    steps = 2 ** (np.arange(480) / 120) * 110 * 4096 * 4096 / 8000
    for exact, table in ((sines, media._SINE), (steps, media._PHASE_STEP)):
        np.testing.assert_array_equal(np.round(exact), table)
        assert np.abs(np.abs(exact - np.round(exact)) - 0.5).min() > 1e-5


def test_samples_and_pixels_are_the_same_without_the_processors_extensions():
    from numpy._core import _multiarray_umath as numpy_core

    there = [name for name in numpy_core.__cpu_dispatch__ if numpy_core.__cpu_features__[name]]
    program = "import test_market_media as test; print(test.fingerprint())"
    plain = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(there)},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert plain.stdout.strip() == fingerprint() == GOLDEN


def test_files_hold_exactly_what_was_made(tmp_path):
    pixels, mood, motion = products(N, 0)
    files = written(tmp_path / "media").files
    assert {modality: [path.name for path in paths] for modality, paths in files.items()} == {
        "image": [f"{item_id}.png" for item_id in range(1, N + 1)],
        "sound": [f"{item_id}.flac" for item_id in range(1, N + 1)],
        "clip": [f"{item_id}.gif" for item_id in range(1, N + 1)],
    }
    for code in range(N):
        generator = np.random.default_rng([0, code])
        samples = media.jingle(mood[code], generator)
        frames = media.turntable(pixels[code], motion[code], generator)
        np.testing.assert_allclose(read_image(files["image"][code])[..., 0], pixels[code] / 255, atol=1e-6)
        np.testing.assert_array_equal(read_sound(files["sound"][code]), samples / np.float32(32768))
        np.testing.assert_allclose(read_clip(files["clip"][code])[..., 0], frames / 255, atol=1e-6)
        with Image.open(files["clip"][code]) as clip:
            shown = [np.asarray(frame.convert("L")) for frame in ImageSequence.Iterator(clip)]
        np.testing.assert_array_equal(shown, frames)


def test_two_writes_from_one_seed_are_byte_identical_and_another_seed_differs(tmp_path):
    written(tmp_path / "one")
    written(tmp_path / "two")
    written(tmp_path / "three", seed=1)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert contents(tmp_path / "one") != contents(tmp_path / "three")


def test_a_complete_folder_is_not_written_again(tmp_path):
    written(tmp_path / "media")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "media").rglob("*")}
    written(tmp_path / "media")
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "media").rglob("*")}


@pytest.mark.parametrize("harm", ["missing", "cut", "changed", "one more", "other marker"])
def test_a_damaged_folder_is_written_anew(tmp_path, harm):
    folder = tmp_path / "media"
    written(folder)
    whole = contents(folder)
    sound = folder / "sounds" / "3.flac"
    if harm == "missing":
        sound.unlink()
    elif harm == "cut":
        sound.write_bytes(sound.read_bytes()[:-10])
    elif harm == "changed":
        sound.write_bytes((folder / "sounds" / "4.flac").read_bytes())
    elif harm == "one more":
        (folder / "sounds" / "99.flac").write_bytes(sound.read_bytes())
    else:
        (folder / "complete.txt").write_bytes(b"\xff\xfe")
    written(folder)
    assert contents(folder) == whole


def test_other_products_replace_the_folder(tmp_path):
    written(tmp_path / "media")
    written(tmp_path / "media", seed=1, n=2)
    assert len(contents(tmp_path / "media")) == 3 * 2 + 1


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.png").write_text("mine")
    with pytest.raises(DataError, match="name another folder"):
        written(tmp_path)
    assert contents(tmp_path) == {"images/1.png": b"mine"}


def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch):
    written(tmp_path / "media")
    before = contents(tmp_path / "media")

    def full(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("soundfile.write", full)
    with pytest.raises(OSError, match="disk full"):
        written(tmp_path / "media", seed=1)
    assert contents(tmp_path / "media") == before
    assert not list(tmp_path.glob("*.partial")) + list(tmp_path.glob(".*.partial"))


def test_what_a_killed_run_left_behind_is_cleared_away(tmp_path):
    leftover = tmp_path / ".media.abc.partial"
    (leftover / "new" / "images").mkdir(parents=True)
    written(tmp_path / "media")
    assert not leftover.exists()


def test_two_writers_at_once_do_not_disturb_each_other(tmp_path):
    failures: list[BaseException] = []

    def work() -> None:
        try:
            written(tmp_path / "media")
        except BaseException as error:
            failures.append(error)

    writers = [threading.Thread(target=work) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert not failures
    written(tmp_path / "alone")
    assert contents(tmp_path / "media") == contents(tmp_path / "alone")


def test_without_a_folder_it_is_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RECFUSE_CACHE", str(tmp_path))
    files = media.write(None, np.arange(1, 3), *products(2, 0), seed=0, progress=False).files
    assert files["image"][0].is_relative_to(tmp_path / "market") and files["image"][0].is_file()


def test_bad_arguments_are_named(tmp_path):
    pixels, mood, motion = products(2, 0)
    for item_ids in ([1, 1], ["a", "A"], ["a/b", "c"], ["..", "c"], ["", "c"]):
        with pytest.raises(DataError, match="item ids become file names"):
            media.write(tmp_path / "media", item_ids, pixels, mood, motion, seed=0)
    with pytest.raises(DataError, match="3 products need photographs"):
        media.write(tmp_path / "media", [1, 2, 3], pixels, mood, motion, seed=0)
    assert not list(tmp_path.iterdir())


def test_a_long_write_says_how_far_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(media, "_SECONDS_BETWEEN_REPORTS", 0.0)
    media.write(tmp_path / "media", np.arange(1, 3), *products(2, 0), seed=0)
    assert "of 2 products" in capsys.readouterr().out
    media.write(tmp_path / "quiet", np.arange(1, 3), *products(2, 0), seed=0, progress=False)
    assert not capsys.readouterr().out
