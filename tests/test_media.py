"""Files that an item may have: what is read exactly, what is converted, and what is refused by name."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from recfuse_lib.data.media import Media, MediaError, read_all, read_clip, read_image, read_sound

RAMP = np.arange(28 * 28, dtype="uint16").reshape(28, 28)
GREY = (RAMP % 256).astype("uint8")
COLOURED = np.stack([GREY, GREY.T, 255 - GREY], axis=-1)


def tone(rate=8000, seconds=1.5, hertz=440.0):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def moving_bar(frames=8, size=28):
    """A bright bar that moves one step to the right with every frame."""
    clip = np.zeros((frames, size, size), "uint8")
    for frame in range(frames):
        clip[frame, :, 2 * frame : 2 * frame + 4] = 250
    return clip


def write_gif(path, clip, milliseconds=100):
    first, *others = (Image.fromarray(frame) for frame in clip)
    first.save(path, save_all=True, append_images=others, duration=milliseconds, loop=0)
    return path


def write_mp4(path, clip, rate=10):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(rate))
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 2_000_000
        for pixels in clip:
            frame = av.VideoFrame.from_ndarray(np.repeat(pixels[..., None], 3, axis=-1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def save(path, array, **how):
    Image.fromarray(array).save(path, **how)
    return path


# ---- pictures


def test_grey_png_is_read_exactly(tmp_path):
    pixels = read_image(save(tmp_path / "a.png", GREY))
    assert pixels.shape == (28, 28, 1) and pixels.dtype == np.float32
    np.testing.assert_array_equal(np.round(255 * pixels[..., 0].astype("float64"), 4), GREY)


def test_coloured_png_is_read_exactly(tmp_path):
    pixels = read_image(save(tmp_path / "a.png", COLOURED), channels=3)
    np.testing.assert_allclose(pixels, COLOURED / 255, atol=1e-6)


def test_jpeg_differs_by_compression_alone(tmp_path):
    smooth = np.add.outer(np.arange(28), np.arange(28)).astype("uint8") * 4
    pixels = read_image(save(tmp_path / "a.jpg", smooth, quality=95))
    np.testing.assert_allclose(pixels[..., 0], smooth / 255, atol=0.03)


def test_sixteen_bits_keep_their_range(tmp_path):
    deep = RAMP * 83
    pixels = read_image(save(tmp_path / "a.png", deep))
    np.testing.assert_allclose(pixels[..., 0], deep / 65535, atol=1e-7)
    assert pixels.max() > 0.98


def test_a_palette_is_looked_up(tmp_path):
    palette = Image.fromarray(COLOURED).quantize(64)
    palette.save(tmp_path / "a.png")
    expected = np.asarray(palette.convert("RGB")) / 255
    np.testing.assert_allclose(read_image(tmp_path / "a.png", channels=3), expected, atol=1e-6)


def test_transparent_parts_are_black(tmp_path):
    alpha = np.zeros((28, 28), "uint8")
    alpha[:, :14], alpha[:, 14:20] = 255, 51
    pixels = read_image(save(tmp_path / "a.png", np.dstack([COLOURED, alpha])), channels=3)
    np.testing.assert_allclose(pixels, COLOURED / 255 * (alpha / 255)[..., None], atol=1e-6)


def test_one_bit_and_cmyk_are_converted(tmp_path):
    Image.fromarray(GREY > 100).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[..., 0], GREY > 100)
    Image.fromarray(COLOURED).convert("CMYK").save(tmp_path / "b.tif")
    np.testing.assert_allclose(read_image(tmp_path / "b.tif", channels=3), COLOURED / 255, atol=0.01)


def test_a_rotated_photograph_stands_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the picture must be turned clockwise
    save(tmp_path / "a.png", GREY, exif=exif)
    np.testing.assert_allclose(read_image(tmp_path / "a.png")[..., 0], np.rot90(GREY, -1) / 255, atol=1e-6)


def test_proportions_stay(tmp_path):
    poster = read_image(
        save(tmp_path / "a.png", np.random.default_rng(0).integers(99, 255, (60, 40, 3), "uint8")), 30, 3
    )
    filled = poster.sum(axis=-1) > 0
    assert filled.all(axis=0).sum() == 20 and not filled[:, :5].any() and not filled[:, 25:].any()


def test_a_truncated_jpeg_is_an_error(tmp_path):
    whole = save(tmp_path / "a.jpg", COLOURED).read_bytes()
    (tmp_path / "b.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(MediaError, match=r"b\.jpg.*truncated"):
        read_image(tmp_path / "b.jpg")


def test_float_pixels_have_no_known_range(tmp_path):
    with pytest.raises(MediaError, match="type 'F'"):
        read_image(save(tmp_path / "a.tif", GREY.astype("float32")))


@pytest.mark.parametrize("read", [read_image, read_sound, read_clip])
def test_what_is_no_such_file_is_named(read, tmp_path):
    suffix = {read_image: "png", read_sound: "wav", read_clip: "mp4"}[read]
    (tmp_path / f"text.{suffix}").write_text("These are words, whatever the name says.\n" * 20)
    (tmp_path / f"empty.{suffix}").touch()
    (tmp_path / f"folder.{suffix}").mkdir()
    for name, what in {
        "text": "cannot be decoded|no picture",
        "empty": "0 bytes",
        "folder": "folder",
        "gone": "missing",
    }.items():
        with pytest.raises(MediaError, match=rf"{name}\.{suffix}.*({what})"):
            read(tmp_path / f"{name}.{suffix}")


def test_one_colour_is_nothing_to_see(tmp_path):
    with pytest.raises(MediaError, match="one colour"):
        read_image(save(tmp_path / "a.png", np.zeros((28, 28), "uint8")))
    with pytest.raises(MediaError, match="one colour"):
        read_clip(write_mp4(tmp_path / "a.mp4", np.zeros((8, 32, 32), "uint8")))


# ---- sounds


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_sound_comes_back(suffix, tmp_path):
    soundfile.write(tmp_path / f"a.{suffix}", tone(), 8000)
    samples = read_sound(tmp_path / f"a.{suffix}")
    assert samples.shape == (12000,) and samples.dtype == np.float32
    np.testing.assert_allclose(samples, tone(), atol=1 / 32768)


def test_another_rate_is_resampled_not_relabelled(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(44100), 44100, subtype="FLOAT")
    samples = read_sound(tmp_path / "a.wav")
    np.testing.assert_allclose(samples[100:-100], tone()[100:-100], atol=2e-3)


def test_resampling_does_not_fold_high_tones(tmp_path):
    high = tone(44100, hertz=7000.0)  # above what 8,000 samples a second can hold
    soundfile.write(tmp_path / "a.wav", high + tone(44100, hertz=440.0), 44100, subtype="FLOAT")
    spectrum = np.abs(np.fft.rfft(read_sound(tmp_path / "a.wav")))
    folded = spectrum[round(1000 * 1.5)]
    assert folded < 0.01 * spectrum.max() and spectrum.argmax() == round(440 * 1.5)


def test_two_channels_become_their_mean(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([tone(), 0 * tone()], axis=1), 8000, subtype="FLOAT")
    np.testing.assert_allclose(read_sound(tmp_path / "a.wav"), tone() / 2, atol=1e-6)


def test_five_channels_are_refused_with_the_counts_that_are_read(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([tone()] * 5, axis=1), 8000)
    with pytest.raises(MediaError, match=r"5 channels; 1 and 2 are read"):
        read_sound(tmp_path / "a.wav")


def test_short_and_long_sounds(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(seconds=0.5), 8000, subtype="FLOAT")
    samples = read_sound(tmp_path / "a.wav")
    np.testing.assert_allclose(samples[:4000], tone(seconds=0.5), atol=1e-6)
    assert not samples[4000:].any()
    soundfile.write(tmp_path / "b.wav", tone(seconds=4), 8000, subtype="FLOAT")
    np.testing.assert_allclose(read_sound(tmp_path / "b.wav"), tone(), atol=1e-6)


def test_silence_has_no_content(tmp_path):
    soundfile.write(tmp_path / "a.flac", np.zeros(12000), 8000)
    soundfile.write(tmp_path / "b.wav", np.zeros(0), 8000)
    for name in ("a.flac", "b.wav"):
        with pytest.raises(MediaError, match="silent"):
            read_sound(tmp_path / name)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_truncated_sound_is_an_error(suffix, tmp_path):
    soundfile.write(tmp_path / f"a.{suffix}", tone(), 8000)
    whole = (tmp_path / f"a.{suffix}").read_bytes()
    (tmp_path / f"b.{suffix}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MediaError, match=r"b\.\w+: (is truncated|cannot be decoded)"):
        read_sound(tmp_path / f"b.{suffix}")


def test_samples_that_are_no_numbers_are_an_error(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.where(np.arange(12000) == 9, np.nan, tone()), 8000, subtype="FLOAT")
    with pytest.raises(MediaError, match="no numbers"):
        read_sound(tmp_path / "a.wav")


# ---- clips


def test_a_gif_comes_back_exactly(tmp_path):
    clip = read_clip(write_gif(tmp_path / "a.gif", moving_bar()))
    assert clip.shape == (8, 28, 28, 1) and clip.dtype == np.float32
    np.testing.assert_allclose(clip[..., 0], moving_bar() / 255, atol=1e-6)


def test_an_mp4_differs_by_compression_alone(tmp_path):
    bars = moving_bar(size=32)
    clip = read_clip(write_mp4(tmp_path / "a.mp4", bars), size=32, channels=3)
    assert clip.shape == (8, 32, 32, 3)
    assert np.abs(clip.mean(axis=-1) - bars / 255).mean() < 0.02


@pytest.mark.parametrize("suffix", ["gif", "mp4"])
@pytest.mark.parametrize(
    ("there", "shown"), [(16, [1, 3, 5, 7, 9, 11, 13, 15]), (4, [0, 0, 1, 1, 2, 2, 3, 3]), (1, [0] * 8)]
)
def test_frames_are_even_in_time(suffix, there, shown, tmp_path):
    bars = moving_bar(16, 48)[:there]
    path = (write_gif if suffix == "gif" else write_mp4)(tmp_path / f"a.{suffix}", bars)
    left = read_clip(path, size=48)[..., 24, :, 0].argmax(axis=1)
    assert np.abs(left - 2 * np.array(shown)).max() <= 3 - 3 * (suffix == "gif")


def test_a_frame_that_stands_longer_is_shown_longer(tmp_path):
    path = write_gif(tmp_path / "a.gif", moving_bar(3), milliseconds=[100, 100, 600])
    left = read_clip(path)[..., 14, :, 0].argmax(axis=1)
    np.testing.assert_array_equal(left, [0, 2, 4, 4, 4, 4, 4, 4])


def test_a_clip_without_frames_is_an_error(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height = stream.width = 32
        stream.pix_fmt = "yuv420p"
        container.start_encoding()
    (tmp_path / "b.gif").write_bytes(b"GIF89a\x1c\x00\x1c\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff;")
    for name in ("a.mp4", "b.gif"):
        with pytest.raises(MediaError, match=rf"{name[0]}\.{name[2:]}: (has no frames|cannot be decoded)"):
            read_clip(tmp_path / name)


def test_a_sound_alone_is_no_clip(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone().astype("float32")[None], format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(MediaError, match="no frames"):
        read_clip(tmp_path / "a.mp4")


@pytest.mark.parametrize("suffix", ["gif", "mp4"])
def test_a_truncated_clip_is_an_error(suffix, tmp_path):
    whole = (write_gif if suffix == "gif" else write_mp4)(tmp_path / f"a.{suffix}", moving_bar(size=32)).read_bytes()
    (tmp_path / f"b.{suffix}").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(MediaError, match=r"b\.\w+: (is truncated|cannot be decoded)"):
        read_clip(tmp_path / f"b.{suffix}")


# ---- any bytes


def whole_files():
    with_suffix = {}
    for suffix in ("png", "jpeg"):
        Image.fromarray(COLOURED).save(buffer := io.BytesIO(), suffix)
        with_suffix[suffix] = (read_image, buffer.getvalue(), (28, 28, 1))
    for suffix in ("wav", "flac"):
        soundfile.write(buffer := io.BytesIO(), tone(), 8000, format=suffix.upper())
        with_suffix[suffix] = (read_sound, buffer.getvalue(), (12000,))
    return with_suffix


WHOLE = whole_files()


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from([*WHOLE, "gif", "mp4"]), cut=st.floats(0, 1), at=st.floats(0, 0.999), byte=st.integers(0, 255)
)
def test_damage_gives_a_proper_array_or_a_media_error(kind, cut, at, byte, tmp_path):
    if kind not in WHOLE:
        path = (write_gif if kind == "gif" else write_mp4)(tmp_path / f"w.{kind}", moving_bar(size=32))
        WHOLE[kind] = (read_clip, path.read_bytes(), (8, 28, 28, 1))
    read, content, shape = WHOLE[kind]
    damaged = bytearray(content[: 1 + int(cut * len(content))])
    damaged[int(at * len(damaged))] = byte
    path = tmp_path / f"damaged.{kind}"
    path.write_bytes(damaged)
    try:
        array = read(path)
    except MediaError as error:
        assert str(path) in str(error)
    else:
        assert array.shape == shape and np.isfinite(array).all() and np.ptp(array) > 0
        assert array.min() >= -1 and array.max() <= 1


# ---- all items


@pytest.fixture
def some_files(tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    return [save(tmp_path / "a.png", GREY), None, bad, save(tmp_path / "b.png", GREY.T.copy())]


def test_missing_is_an_error_unless_the_caller_says_otherwise(some_files):
    with pytest.raises(MediaError) as caught:
        read_all(some_files, read_image)
    assert "bad.png" in str(caught.value) and "item 1 has no file" in str(caught.value)


def test_missing_by_choice_is_a_mask_and_bad_files_are_named(some_files):
    with pytest.warns(UserWarning, match=r"1 files count as missing: .*bad\.png"):
        pictures, present = read_all(some_files, read_image, missing="mask")
    np.testing.assert_array_equal(present, [True, False, False, True])
    assert not pictures[1:3].any()
    # A processor may round the last pixels of a row otherwise than those in the middle.
    np.testing.assert_allclose(pictures[3], pictures[0].swapaxes(0, 1), atol=1e-6)


def test_nothing_to_read_is_an_error_even_by_choice(some_files):
    with pytest.raises(MediaError, match=r"none of the 2 items.*\n.*bad\.png"):
        read_all(some_files[1:3], read_image, missing="mask")


# ---- folders


def test_posters_are_found_by_movie_id(tmp_path):
    jpg, png = save(tmp_path / "862.jpg", GREY), save(tmp_path / "1029.PNG", GREY, format="png")
    (tmp_path / ".hidden").touch()
    media = Media.in_folder(tmp_path, [1029, 7, 862])
    assert media.files == {"image": (png, None, jpg)}


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["7.png", "Heat.png"], "'Heat' is no item id"),
        (["7.png", "7.jpg"], r"7\.png: item 7 has 7\.jpg as well"),
        (["7.txt"], "'.txt' is no image"),
        ([], "no file of any item"),
    ],
)
def test_a_folder_that_is_not_in_order_is_refused(names, what, tmp_path):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(MediaError, match=what):
        Media.in_folder(tmp_path, ["7", "8"])


def test_no_folder_is_an_error(tmp_path):
    with pytest.raises(MediaError, match="is not a folder"):
        Media.in_folder(tmp_path / "gone", ["7"])
    with pytest.raises(MediaError, match="smell"):
        Media.in_folder(tmp_path, ["7"], "smell")
