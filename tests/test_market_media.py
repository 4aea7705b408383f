"""Jingles and clips tell the mood and the motion that they were made from; files are exact, and whole or not there."""

import hashlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_predict
from sklearn.preprocessing import StandardScaler

from recfuse_lib.data.market import media, photographs
from recfuse_lib.data.market.products import Products
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
    pixels, _ = photographs.load()
    pixels = pixels[random.permutation(len(pixels))[:n]]
    mood, motion = random.uniform(-media.EXTREME, media.EXTREME, (2, n, 2))
    return pixels, mood, motion


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes the files of some products into a cache of this test."""
    monkeypatch.setenv("RECFUSE_CACHE", str(tmp_path))

    def write(seed: int = 0, n: int = N):
        return media.write(some(n, seed), seed)

    return write


def some(n: int, seed: int) -> Products:
    """As far as files depend on them."""
    pixels, mood, motion = products(n, seed)
    return Products(pixels, pixels[:, 0, 0], *[np.zeros(n)] * 4, mood, motion, *[np.zeros(n)] * 5)


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


def test_files_hold_exactly_what_was_made(written):
    pixels, mood, motion = products(N, 0)
    files = written().files
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


def folder_of(files) -> Path:
    return files.files["image"][0].parents[1]


def test_a_folder_is_written_once_and_other_products_have_their_own(written):
    folder = folder_of(written())
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    whole = contents(folder)
    assert folder_of(written()) == folder and times == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    other = folder_of(written(seed=1))
    assert other != folder and contents(other) != whole
    shutil.rmtree(folder)
    assert contents(folder_of(written())) == whole


def test_a_run_that_fails_leaves_nothing_that_looks_whole(written, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="disk full"):
        patched.setattr("soundfile.write", full)
        written()
    partial = [path for path in (tmp_path / "market").iterdir() if path.is_dir()]
    assert [path.suffix for path in partial] == [".partial"]
    assert len(contents(folder_of(written()))) == 3 * N and not partial[0].exists()


def test_two_writers_at_once_do_not_disturb_each_other(written):
    with ThreadPoolExecutor(3) as pool:
        (folder,) = {folder_of(files) for files in pool.map(lambda _: written(), range(3))}
    assert len(contents(folder)) == 3 * N
