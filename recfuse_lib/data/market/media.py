"""A jingle and a turntable clip for each product of the simulated shop, made from its hidden properties, as real files.

Samples and pixels are the same on every platform: they come from integers and from single additions, multiplications
and divisions, which IEEE 754 rounds in one way only. Sines and pitches, which libraries may round differently, come
from two integer tables; a test checks that no entry is near a rounding boundary. Taught in notebook 01.
"""

import math
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from filelock import FileLock

from recfuse_lib.data.market.products import Products
from recfuse_lib.data.media import Media
from recfuse_lib.pretrained import cache_dir, store

RATE, SECONDS = 8000, 1.5
FRAMES, SIZE = 8, 28
EXTREME = math.sqrt(3)  # mood and motion lie in −√3…√3, where a uniform variable has variance 1

_SAMPLES = round(RATE * SECONDS)
_TURN = 4096  # a full turn, of a phase or of the card
_FRACTION = 4096  # phases are counted in 1/4096 of a table step
_SINE_UNIT = 32767
_SINE = np.array([round(_SINE_UNIT * math.sin(2 * math.pi * step / _TURN)) for step in range(_TURN)])
_SEMITONE = 10  # pitches are counted in tenths of a semitone above LOWEST
_LOWEST_HERTZ = 110
_PHASE_STEP = np.array(
    [round(2 ** (pitch / (12 * _SEMITONE)) * _LOWEST_HERTZ * _TURN * _FRACTION / RATE) for pitch in range(480)]
)
_DEGREES = np.array([0, 2, 5, 7])  # semitones above the root; no third, so that the melody is neither major nor minor
_LOUDNESS_STEP = 64  # 10 bits of loudness: enough to hear, and FLAC stores no more than it must

_EXPOSURES = 4  # a frame shows the mean of so many moments, as a shutter does: what is fast is blurred
_NARROWEST = 0.08  # the card's edge, as a share of its width
_PIXEL = 256  # positions are counted in 1/256 pixel

_MODALITIES = {"image": ("images", "png"), "sound": ("sounds", "flac"), "clip": ("clips", "gif")}


def jingle(mood: Sequence[float] | np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Make a short tune whose character is the mood, 1.5 s at 8 kHz, int16 (12000,); notes and root are random.

    `mood` is valence and arousal, each clipped to −√3…√3. Valence raises the pitch and brightens the chords: each note
    sounds with its fifth and both thirds, the major one with weight v, the minor one with 1 − v, where v is the valence
    scaled to 0…1. Arousal makes it faster (2 to 9 notes a second), sharper (each harmonic is 0.15 to 0.75 of the one
    below) and somewhat louder.
    """
    valence, arousal = (_share(value) for value in mood)
    length = int(RATE / (2 + 7 * arousal))
    n_notes = -(-_SAMPLES // length)
    register = 12 * _SEMITONE + int(valence * 11 * _SEMITONE)
    root = register + generator.integers(-2 * _SEMITONE, 2 * _SEMITONE + 1)
    notes = root + _SEMITONE * _DEGREES[generator.integers(0, len(_DEGREES), n_notes)]

    fall, weight, total = 0.15 + 0.6 * arousal, 1.0, 0.0
    wave = np.zeros(_TURN)
    for harmonic in range(1, 6):
        wave += weight * _SINE[harmonic * np.arange(_TURN) % _TURN]
        total += weight
        weight *= fall

    moments = np.arange(length)
    chord = np.zeros((n_notes, length))
    for interval, part in ((0, 0.4), (7, 0.2), (4, 0.4 * valence), (3, 0.4 * (1 - valence))):
        phase = _PHASE_STEP[notes + interval * _SEMITONE, None] * moments
        chord += part * wave[phase // _FRACTION % _TURN]
    envelope = np.minimum(moments / 80, 1.0) * (1 - moments / length)
    loudness = (0.45 + 0.35 * arousal) / total
    samples = (loudness * envelope * chord).ravel()[:_SAMPLES]
    return (np.floor(samples / _LOUDNESS_STEP + 0.5) * _LOUDNESS_STEP).astype(np.int16)


def turntable(
    photograph: np.ndarray, motion: Sequence[float] | np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Film the photograph, (28, 28), as a card that turns to and fro once from a random start, uint8 (8, 28, 28).

    At angle θ the card has |cos θ| of its full width, mirrored when its back is seen. `motion` is speed and sway, each
    clipped to −√3…√3: how far, and so how fast, it turns (0.04 to 0.3 of a full turn to either side), and how far it
    moves up and down and away from the camera.
    """
    speed, sway = (_share(value) for value in motion)
    moments = np.arange(FRAMES * _EXPOSURES)
    turning, swaying = generator.integers(0, _TURN, (2, 1)) + _TURN * moments // len(moments)
    angle = int(_TURN * (0.04 + 0.26 * speed)) * _cosine(turning) // _SINE_UNIT

    # Sizes in units of _SINE_UNIT: 0.85 of the picture, up to 0.4 less where it is farthest away.
    away = (_SINE_UNIT + _cosine(swaying)) // 2
    height = int(0.85 * _SINE_UNIT) - int(0.4 * _PIXEL * sway) * away // _PIXEL
    width = _cosine(angle) * height // _SINE_UNIT
    narrowest = int(_NARROWEST * _SINE_UNIT)
    width = np.where(width < 0, np.minimum(width, -narrowest), np.maximum(width, narrowest))
    lift = int(4 * _PIXEL * sway) * _cosine(swaying - _TURN // 4) // _SINE_UNIT

    columns = _resampled(np.broadcast_to(photograph.T.astype(np.int64), (len(moments), SIZE, SIZE)), width, 0 * lift)
    cards = _resampled(columns.swapaxes(1, 2), height, lift)
    parts = cards.reshape(FRAMES, _EXPOSURES, SIZE, SIZE).sum(axis=1)
    full = _EXPOSURES * _PIXEL * _PIXEL
    return np.asarray((parts + full // 2) // full, np.uint8)


def write(products: Products, seed: int) -> Media:
    """Write images/<item_id>.png, sounds/<item_id>.flac and clips/<item_id>.gif without loss, unless they exist.

    The cache folder is named by a checksum of all that the files depend on, and appears whole or not at all.
    """
    key = store.sha256(Path(__file__), str(seed), products.pixels, products.mood, products.motion)
    folder = cache_dir() / "market" / key[:16]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            _write_files(partial, products, seed)
            partial.rename(folder)
    return Media({modality: tuple(_paths(folder, modality, len(products))) for modality in _MODALITIES})


def _paths(folder: Path, modality: str, n_items: int) -> list[Path]:
    part, suffix = _MODALITIES[modality]
    return [folder / part / f"{item_id}.{suffix}" for item_id in range(1, n_items + 1)]


def _write_files(folder: Path, products: Products, seed: int) -> None:
    import soundfile
    from PIL import Image

    images, sounds, clips = (_paths(folder, modality, len(products)) for modality in _MODALITIES)

    def one(code: int) -> None:
        photograph, generator = products.pixels[code], np.random.default_rng([seed, code])
        Image.fromarray(photograph).save(images[code])
        soundfile.write(sounds[code], jingle(products.mood[code], generator), RATE, subtype="PCM_16")
        first, *others = map(Image.fromarray, turntable(photograph, products.motion[code], generator))
        # Pillow's optimisation would give each frame a palette of its own: twice the bytes.
        first.save(clips[code], save_all=True, append_images=others, duration=100, loop=0, optimize=False)

    for part, _ in _MODALITIES.values():
        (folder / part).mkdir(parents=True)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, range(len(products))))


def _share(value: float) -> float:
    """−√3…√3 to 0…1."""
    return min(max((float(value) / EXTREME + 1) / 2, 0.0), 1.0)


def _cosine(angle: np.ndarray) -> np.ndarray:
    return np.asarray(_SINE[(angle + _TURN // 4) % _TURN])


def _resampled(pictures: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Pictures (T, n, m) · 256, stretched along axis 1 by scale / `_SINE_UNIT` and shifted by shift / 256 pixels."""
    middle = (SIZE - 1) * _PIXEL // 2
    offset = np.arange(SIZE) * _PIXEL - middle - shift[:, None]
    position = middle + offset * _SINE_UNIT // scale[:, None]
    before = np.clip(position // _PIXEL, -2, SIZE)
    fraction = (position % _PIXEL)[:, :, None]
    padded = np.pad(pictures, ((0, 0), (2, 2), (0, 0)))
    moments = np.arange(len(pictures))[:, None]
    left, right = padded[moments, before + 2], padded[moments, before + 3]
    return np.asarray(left * (_PIXEL - fraction) + right * fraction)
