"""Pictures, sounds and clips of items: files in, arrays out; a bad file is an error that names it, never a zero.

Pictures (by Pillow) are read exactly, 16-bit, palette, 1-bit and CMYK ones too, with their EXIF rotation; transparent
parts are black. Sounds (soundfile) are resampled, two channels averaged, the end cut or padded with silence. Clips
(PyAV) are sampled evenly over time; frames repeat where there are too few. Errors are: a file that is missing, empty,
damaged, truncated or of another type than its name says; a float or 32-bit picture; more than two channels; nothing to
see or hear (one colour throughout, silence). `read_all` turns them into *missing* items where the caller says so.
Taught in notebooks 01 and 06.
"""

import dataclasses
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from recfuse_lib.data.faults import DataError, and_more

SUFFIXES = {
    "image": (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"),
    "sound": (".flac", ".wav", ".ogg", ".mp3"),
    "clip": (".gif", ".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi"),
}
SILENCE = 1e-4  # the loudest sample of a sound that counts as silent: −80 dB

Array = npt.NDArray[np.float32]


class MediaError(DataError):
    """A media file that cannot be used; the message names the file, what is wrong with it and what to do."""


@dataclasses.dataclass(frozen=True)
class Media:
    """Files by modality ("image", "sound", "clip"): one path per item code, None for an item without a file."""

    files: Mapping[str, tuple[Path | None, ...]]

    @classmethod
    def in_folder(cls, folder: str | Path, item_ids: Sequence[Any], modality: str = "image") -> Self:
        """Find the files of a folder that are named by item id, such as 862.jpg; hidden files are ignored.
        Raises `MediaError`: no such folder or modality, no file of any item, a wrong name or suffix, two files of one.
        """
        folder = Path(folder)
        if modality not in SUFFIXES:
            raise MediaError(f"unknown modality {modality!r}; known are {', '.join(SUFFIXES)}")
        if not folder.is_dir():
            raise MediaError(f"{folder}: is not a folder; name the one that holds the {modality} files")
        codes = {str(item_id): code for code, item_id in enumerate(item_ids)}
        paths: list[Path | None] = [None] * len(item_ids)
        problems = []
        for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
            code = codes.get(path.stem)
            if code is None:
                problems.append(f"{path}: {path.stem!r} is no item id; rename it or move it elsewhere")
            elif path.suffix.lower() not in SUFFIXES[modality]:
                problems.append(f"{path}: {path.suffix!r} is no {modality}; known are {', '.join(SUFFIXES[modality])}")
            elif (other := paths[code]) is not None:
                problems.append(f"{path}: item {path.stem} has {other.name} as well; keep one of them")
            else:
                paths[code] = path
        if problems:
            raise MediaError(and_more(problems, len(problems)))
        if not any(paths):
            raise MediaError(f"{folder}: holds no file of any item; name files by item id, such as {item_ids[0]}.png")
        return cls({modality: tuple(paths)})


def read_image(path: str | Path, size: int = 28, channels: int = 1) -> Array:
    """Read a picture as float32 (size, size, channels) in 0–1; its proportions are kept, the rest is black.

    PNG, JPEG, WebP, BMP, TIFF or an animation's first frame. One channel is grey, 0.299 R + 0.587 G + 0.114 B.
    """
    from PIL import Image, ImageOps

    with _decoding(path, "get the file again or save it as PNG"), Image.open(path) as opened:
        opened.load()
        picture: Any = ImageOps.exif_transpose(opened)
    if (mode := picture.mode) in ("I", "F"):
        raise MediaError(f"{path}: has pixels of type {mode!r}, whose range is not known; save it as 8 or 16 bit")
    if mode.startswith("I;16"):
        pixels = np.asarray(picture, np.float32)[..., None] / 65535
    else:
        coloured = np.asarray(picture.convert("RGBA"), np.float32) / 255
        pixels = coloured[..., :3] * coloured[..., 3:]
    return _square(_with_content(pixels.astype(np.float32, copy=False), path), size, channels)


def read_sound(path: str | Path, rate: int = 8000, seconds: float = 1.5) -> Array:
    """Read the beginning of a sound as one channel, float32 (round(rate · seconds),) in −1…1.

    FLAC, WAV, Ogg or MP3 with one or two channels; another rate is resampled by a polyphase filter.
    """
    import soundfile
    from scipy.signal import resample_poly

    with _decoding(path, "save it as FLAC or WAV"), soundfile.SoundFile(path) as file:
        # One second more than is asked for, so that the filter sees no false end.
        wanted = min(file.frames, math.ceil((seconds + 1) * file.samplerate))
        samples, original = file.read(wanted, dtype="float32", always_2d=True), file.samplerate
    if (channels := samples.shape[1]) > 2:
        raise MediaError(f"{path}: has {channels} channels; 1 and 2 are read: mix it down first")
    if len(samples) < wanted or _is_cut_wav(Path(path)):
        raise MediaError(f"{path}: is truncated: it ends before the length that it names; get the file again")
    if not np.isfinite(samples).all():
        raise MediaError(f"{path}: has samples that are no numbers; save it again")
    mono, length = samples.mean(axis=1), round(rate * seconds)
    if original != rate:
        ratio = Fraction(rate, original)
        mono = resample_poly(mono, ratio.numerator, ratio.denominator)
    mono = mono[:length]
    if not len(mono) or np.abs(mono).max() < SILENCE:
        raise MediaError(f"{path}: is silent in its first {seconds:g} seconds; leave it out or cut its beginning")
    return np.pad(np.clip(mono, -1, 1), (0, length - len(mono))).astype(np.float32)


def read_clip(path: str | Path, frames: int = 8, size: int = 28, channels: int = 1) -> Array:
    """Read frames of a clip, each as `read_image` would give it, as float32 (frames, size, size, channels) in 0–1.

    A clip (GIF, MP4, MOV, WebM, MKV or AVI) of length T gives the frames at t_k = (k + ½) T / frames.
    """
    import av

    pictures, starts, end, declared = [], [], 0.0, 0
    with (
        _decoding(path, "save it as GIF or MP4"),
        av.open(str(path), options={"format_whitelist": "gif,mov,mp4,matroska,webm,avi"}) as container,
    ):
        for stream in container.streams.video[:1]:
            declared = stream.frames
            for frame in container.decode(stream):
                pixels = frame.to_ndarray(format="rgb24").astype(np.float32) / 255
                pictures.append(_square(pixels, size, channels))
                starts.append(end if frame.time is None else float(frame.time))
                end = starts[-1] + float((frame.duration or 1) * (frame.time_base or 1))
    if not pictures:
        raise MediaError(f"{path}: has no frames; get the file again or leave it out")
    if len(pictures) < declared or _is_cut_gif(Path(path)):
        raise MediaError(f"{path}: is truncated: {len(pictures)} frames could be read; get the file again")
    middles = starts[0] + (np.arange(frames) + 0.5) * (end - starts[0]) / frames
    shown = np.maximum(np.searchsorted(starts, middles, side="right") - 1, 0)
    return _with_content(np.stack([pictures[index] for index in shown]), path)


def read_all(
    paths: Iterable[str | Path | None], read: Callable[[Path], Array], missing: Literal["error", "mask"] = "error"
) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Read one file per item code, None for no file, as float32 (I, …), and tell which items are present, bool (I,).

    `read` is `read_image`, `read_sound` or `read_clip`, with `functools.partial` for other sizes. With missing="mask",
    items without a readable file are zeros, and a warning names files that cannot be read; "error" refuses both.
    """
    files = [None if path is None else Path(path) for path in paths]
    arrays: dict[int, Array] = {}
    unreadable = []
    for item, path in enumerate(files):
        try:
            arrays |= {} if path is None else {item: read(path)}
        except MediaError as error:
            unreadable.append(str(error))
    if missing == "error" and len(arrays) < len(files):
        way_out = "has no file; give it one, leave the item out or let it be missing"
        absent = [f"item {item} {way_out}" for item, path in enumerate(files) if path is None]
        raise MediaError(and_more(unreadable + absent, len(files) - len(arrays)))
    if not arrays:
        raise MediaError("\n".join([f"none of the {len(files)} items has a file that can be read", *unreadable[:1]]))
    if unreadable:
        warnings.warn(
            f"{len(unreadable)} files count as missing: {and_more(unreadable, len(unreadable))}", stacklevel=2
        )
    present = np.isin(np.arange(len(files)), list(arrays))
    matrix = np.zeros((len(files), *next(iter(arrays.values())).shape), np.float32)
    matrix[present] = list(arrays.values())
    return matrix, present


@contextmanager
def _decoding(path: str | Path, way_out: str) -> Iterator[None]:
    """Refuses what is no file, and names the file that a decoder cannot read."""
    path = Path(path)
    if path.is_dir():
        raise MediaError(f"{path}: is a folder; name a file")
    if not path.is_file():
        raise MediaError(f"{path}: file is missing; restore it or leave it out")
    if not path.stat().st_size:
        raise MediaError(f"{path}: is empty (0 bytes); get the file again")
    try:
        yield
    except Exception as error:  # What decoders raise on a damaged file is not a closed list.
        raise MediaError(f"{path}: cannot be decoded ({error}); {way_out}") from error


def _with_content(pixels: Array, path: str | Path) -> Array:
    if np.ptp(pixels.reshape(-1, pixels.shape[-1]), axis=0).max() == 0:
        raise MediaError(f"{path}: has one colour throughout, so there is nothing to see; leave it out")
    return pixels


def _square(pixels: Array, size: int, channels: int) -> Array:
    """Fits (h, w, 1 or 3) into (size, size, channels), the proportions kept."""
    from PIL import Image

    if channels == 1 and pixels.shape[-1] == 3:
        pixels = pixels @ np.array([[0.299], [0.587], [0.114]], np.float32)
    elif channels > pixels.shape[-1]:
        pixels = np.repeat(pixels, channels, axis=-1)
    if pixels.shape[:2] != (size, size):
        scale = size / max(pixels.shape[:2])
        height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
        square = np.zeros((size, size, channels), np.float32)
        top, left = (size - height) // 2, (size - width) // 2
        for channel in range(channels):
            resized = Image.fromarray(pixels[..., channel]).resize((width, height), Image.Resampling.BILINEAR)
            square[top : top + height, left : left + width, channel] = np.asarray(resized)
        pixels = square
    return np.clip(pixels, 0, 1)


def _is_cut_wav(path: Path) -> bool:
    """Compares a WAV file's length with its header, because libsndfile reads what there is."""
    with path.open("rb") as file:
        head = file.read(8)
    size = int.from_bytes(head[4:], "little")
    return head[:4] == b"RIFF" and size != 0xFFFFFFFF and path.stat().st_size < 8 + size


def _is_cut_gif(path: Path) -> bool:
    """Looks for the semicolon that ends a whole GIF file, because FFmpeg reads what there is."""
    content = path.read_bytes()
    return content.startswith(b"GIF8") and not content.rstrip(b"\0").endswith(b";")
