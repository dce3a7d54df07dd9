"""Sources, decode, resize and batching."""

from __future__ import annotations

import io
import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from servers import Handler, serve

from pretrained_cnn import ImageError, ImagePolicy, InvalidArgumentError, ResizePolicy
from pretrained_cnn.images import batch, sources
from pretrained_cnn.images import decode as decoding
from pretrained_cnn.images.resize import resize

RED, BLUE, WHITE = (200, 30, 40), (20, 40, 220), (255, 255, 255)


def decode(image: Any, **settings: Any) -> np.ndarray:
    decoded = decoding.decode(sources.single_item(image), ImagePolicy(**settings))
    assert decoded.mode == "RGB"
    return np.asarray(decoded)


def png(image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


def halves(mode: str = "RGB") -> Image.Image:
    """Red above blue, 6 x 4."""
    image = Image.new("RGB", (6, 4), RED)
    image.paste(BLUE, (0, 2, 6, 4))
    return image.convert(mode)


# Every form in which an image may come


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "halves.png"
    path.write_bytes(png(halves()))
    return path


def test_forms_of_a_image(file: Path) -> None:
    expected = np.asarray(halves())
    data = file.read_bytes()
    with file.open("rb") as stream:
        forms = [
            str(file),
            np.str_(file),
            file,
            data,
            bytearray(data),
            memoryview(data),
            io.BytesIO(data),
            stream,
            halves(),
            expected,
        ]
        for form in forms:
            np.testing.assert_array_equal(decode(form), expected)


def test_arrays_and_tensors() -> None:
    import keras
    import tensorflow as tf

    expected = np.asarray(halves())
    for form in (
        expected.astype(np.float32),
        expected.astype(np.float64) + 0.3,
        expected[:, ::-1][:, ::-1],  # not contiguous
        np.dstack([expected, np.full((4, 6), 255, np.uint8)]),
        tf.constant(expected),
        tf.constant(expected, tf.float32),
        keras.ops.convert_to_tensor(expected),
    ):
        np.testing.assert_array_equal(decode(form), expected)
    gray = expected[..., 0]
    for form in (gray, gray[..., np.newaxis]):
        np.testing.assert_array_equal(decode(form), np.dstack([gray] * 3))
    alpha = np.zeros((4, 6), np.uint8)
    np.testing.assert_array_equal(decode(np.dstack([expected, alpha])), expected)  # all clear: it says nothing
    alpha[0, 0] = 255
    assert (decode(np.dstack([expected, alpha]))[1:] == 255).all()


def test_an_array_is_never_written_to() -> None:
    array = np.asarray(halves()).astype(np.float32)
    array.setflags(write=False)
    before = array.copy()
    decode(array)
    np.testing.assert_array_equal(array, before)


GOOD = np.zeros((8, 9, 3))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (GOOD + 0.5, "has values from 0.5 to 0.5, all within 0 to 1, where 0 to 255 are expected; multiply it by 255"),
        (GOOD - 1.0, "has values from -1 to -1, where 0 to 255 are expected; give the pixels as they were before any"),
        (GOOD + 256.0, "has values from 256 to 256, where 0 to 255 are expected"),
        (GOOD + 300.0, "has values from 300 to 300, where 0 to 255 are expected; give the pixels as they were before"),
        (GOOD + np.nan, "has values that are NaN or infinite"),
        (GOOD + np.inf, "has values that are NaN or infinite"),
        (np.zeros((3, 8, 9)), "has its channels first; turn it with np.moveaxis(array, 0, -1)"),
        (np.zeros((1, 8, 9)), "has its channels first"),
        (np.zeros((2, 8, 9, 3)), "holds several images; give it to predict_batch, or one of its rows to predict"),
        (np.zeros((8, 9, 2)), "is not (h, w), (h, w, 1), (h, w, 3) or (h, w, 4)"),
        (np.zeros(8), "is not (h, w), (h, w, 1), (h, w, 3) or (h, w, 4)"),
        (np.zeros((0, 9, 3)), "is empty"),
        (GOOD.astype(np.int64), "is neither uint8 nor float; if its values are 0 to 255, use array.astype(np.uint8)"),
        (GOOD.astype(bool), "is of booleans; use array.astype(np.uint8) * 255"),
        (GOOD.astype(np.uint16), "if 0 to 65,535, (array // 257).astype(np.uint8)"),
        (np.ma.masked_equal(GOOD, 0), "is masked in places; say what is there with array.filled(255)"),
        (GOOD + 261.75, "bicubic and Lanczos interpolation overshoot: use np.clip(array, 0, 255)"),
        (
            np.dstack([GOOD + 9, GOOD[..., :1] + 0.5]),
            "has colors of 0 to 255, but an alpha channel within 0 to 1; multiply array[..., 3] by 255",
        ),
        (GOOD.astype(complex), "is neither uint8 nor float"),
    ],
)
def test_an_array_that_cannot_be_a_image_is_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode(array)
    assert str(caught.value).startswith(f"<array 0>: this array of shape {array.shape} and dtype {array.dtype} ")
    assert message in str(caught.value)


def test_a_black_image_is_a_image() -> None:
    assert (decode(GOOD) == 0).all()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "<NoneType 0>: an object of type NoneType is not an image; give a path, an http(s) address, bytes"),
        ([[1, 2], [3, 4]], "<list 0>: an object of type list is not an image"),
        ("no/such.jpg", "no/such.jpg: the file does not exist"),
        (b"", "<bytes 0>: it is empty"),
        (b"hello", "<bytes 0>: this is not an image in a format that can be read; it begins with b'hello'"),
        (io.StringIO("hello"), '<StringIO 0>: the file was opened for text; open it with "rb"'),
        ("a\0b", "a\0b: it cannot be opened: embedded null byte"),
    ],
)
def test_what_is_no_image_is_refused(image: Any, message: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode(image)
    assert str(caught.value).startswith(message)


def test_a_folder_and_a_text_file_named_jpg(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="this is a folder, not an image; give it to stream or predict_batch"):
        decode(tmp_path)
    text = tmp_path / "notes.jpg"
    text.write_text("Dear diary")
    with pytest.raises(ImageError, match=r"notes\.jpg: this is not an image .* it begins with b'Dear diary'"):
        decode(text)


def test_a_truncated_file(file: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    file.write_bytes(png(noise)[:3000])
    with pytest.raises(ImageError, match=r"halves\.png: it cannot be decoded: .*truncated"):
        decode(file)


def test_limits_are_named_with_their_setting(file: Path) -> None:
    for image in (halves(), file, png(halves()), np.asarray(halves())):
        with pytest.raises(ImageError, match=r"6 x 4 pixels are more than 20 \(ImagePolicy\.max_pixels\)"):
            decode(image, max_pixels=20)
    for image in (file, png(halves()), io.BytesIO(png(halves()))):
        with pytest.raises(ImageError, match=r"it has more than 10 bytes \(ImagePolicy\.max_bytes\)"):
            decode(image, max_bytes=10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_pixels": 0}, "max_pixels=0 is not a number above 0"),
        ({"url_seconds": "30"}, "url_seconds='30' is not a number above 0"),
        ({"color_profile": "keep"}, "color_profile='keep' is not known; choose 'convert' or 'ignore'"),
        ({"truncated": True}, "truncated=True is not known; choose 'error' or 'allow'"),
        ({"background": "white"}, "background='white' is not (red, green, blue), each 0 to 255"),
        ({"background": (0, 0, 256)}, "background=(0, 0, 256) is not (red, green, blue)"),
    ],
)
def test_a_policy_that_is_none(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        ImagePolicy(**settings)
    assert str(caught.value).startswith(message)


# What becomes of the modes


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "La", "RGBa"]
)
def test_modes(mode: str) -> None:
    source = (
        halves("LA").convert(mode) if mode == "La" else halves("RGBA").convert(mode) if mode == "RGBa" else halves(mode)
    )
    pixels = decode(source)
    assert pixels.shape == (4, 6, 3)
    expected = np.asarray(halves(mode) if mode in ("RGB", "1") else halves())
    if mode in ("1", "L", "LA", "La"):
        assert (pixels[..., 0] == pixels[..., 1]).all()
    else:
        np.testing.assert_allclose(
            pixels.astype(int), expected.astype(int), atol={"P": 45, "PA": 45, "HSV": 8}.get(mode, 3)
        )


def test_lab() -> None:
    lab = Image.merge("LAB", [Image.new("L", (2, 2), value) for value in (255, 128, 128)])
    np.testing.assert_allclose(decode(lab), 255, atol=3)


def test_sixteen_bits_keep_their_nominal_range() -> None:
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    np.testing.assert_array_equal(decode(Image.fromarray(values))[0, :, 0], [0, 1, 128, 255])
    np.testing.assert_array_equal(decode(png(Image.fromarray(values)))[0, :, 0], [0, 1, 128, 255])


@pytest.mark.parametrize(("mode", "white"), [("I;16", b"\xff\x7f"), ("I;16L", b"\xff\x7f"), ("I;16B", b"\x7f\xff")])
def test_sixteen_bits_in_either_order(mode: str, white: bytes) -> None:
    np.testing.assert_array_equal(decode(Image.frombytes(mode, (2, 1), b"\0\0" + white))[0, :, 0], [0, 127])


def test_wide_integers_and_floats_are_scaled_from_their_own_range() -> None:
    np.testing.assert_array_equal(decode(Image.fromarray(np.array([[-5, 0, 5]], np.int32)))[0, :, 0], [0, 128, 255])
    floats = np.array([[0.0, 0.5, 1.0, np.nan]], np.float32)
    np.testing.assert_array_equal(decode(Image.fromarray(floats))[0, :, 0], [0, 128, 255, 0])
    assert (decode(Image.new("F", (2, 2), 7.0)) == 0).all()
    with pytest.raises(ImageError, match="none of its values is a number"):
        decode(Image.new("F", (2, 2), float("nan")))


def test_transparency_is_laid_on_white() -> None:
    half = Image.new("RGBA", (2, 2), (0, 0, 0, 128))
    np.testing.assert_array_equal(decode(half), 127)
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([10, 20, 30] * 256)
    np.testing.assert_array_equal(decode(png(palette, transparency=0)), 255)
    np.testing.assert_array_equal(decode(png(Image.new("RGB", (2, 2), RED), transparency=RED)), 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    upright = halves()
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # stored turned left, shown turned right
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(turn[orientation]) if orientation in turn else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decode(png(stored, exif=exif)), np.asarray(upright))


def test_an_animation_gives_its_first_frame() -> None:
    stream = io.BytesIO()
    halves().save(stream, "GIF", save_all=True, append_images=[Image.new("RGB", (6, 4))])
    np.testing.assert_allclose(decode(stream.getvalue()).astype(int), np.asarray(halves()).astype(int), atol=3)


# Resizing


@settings(deadline=None)
@given(
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    method=st.sampled_from(["crop", "squash", "pad"]),
)
def test_resize_gives_the_size_asked_for(width: int, height: int, size: tuple[int, int], method: Any) -> None:
    pixels = resize(Image.new("RGB", (width, height), RED), size, ResizePolicy(method))
    assert pixels.shape == (*size, 3)
    assert pixels.dtype == np.uint8
    if method != "pad":
        assert (pixels == RED).all()


def test_crop_is_resizing_the_short_side_and_cutting_the_centre() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (512, 768, 3), np.uint8))
    resized = noise.resize((384, 256), Image.Resampling.BICUBIC)  # 224 / 0.875 = 256
    expected = np.asarray(resized.crop((80, 16, 304, 240)))
    found = resize(noise, (224, 224), ResizePolicy())
    np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=1)


def test_squash_nearest_is_load_img(file: Path) -> None:
    import keras

    Image.fromarray(np.random.default_rng(0).integers(0, 256, (33, 71, 3), np.uint8)).save(file)
    expected = keras.utils.img_to_array(keras.utils.load_img(file, target_size=(20, 30)))
    found = resize(Image.open(file), (20, 30), ResizePolicy("squash", interpolation="nearest"))
    np.testing.assert_array_equal(found, expected)


def test_pad_keeps_the_whole_image_and_the_rest_is_black() -> None:
    pixels = resize(Image.new("RGB", (40, 20), WHITE), (20, 20), ResizePolicy("pad"))
    assert (pixels[5:15] == 255).all()
    assert (pixels[:5] == 0).all()
    assert (pixels[15:] == 0).all()


# Sources


def names(source: Any) -> list[str]:
    return [item.name for item in sources.iter_items(source)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "a.JPG", "notes.txt", "sub/c.webp"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "photos"


def test_folders_globs_and_single_files(folder: Path) -> None:
    assert names(folder) == [str(folder / name) for name in ("a.JPG", "b.png", "sub/c.webp")]
    assert names(f"{folder}/*.png") == [str(folder / "b.png")]
    assert names(f"{folder}/**/*.webp") == [str(folder / "sub/c.webp")]
    assert names(str(folder / "b.png")) == [str(folder / "b.png")]
    assert names("http://example.org/a.jpg?b[1]") == ["http://example.org/a.jpg?b[1]"]
    odd = folder / "odd[1].png"
    odd.touch()
    assert names(odd) == [str(odd)]


def test_a_folder_or_glob_without_images(folder: Path) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(ImageError, match=r"empty: no image is in this folder: no file ends in \.apng, \.avif, \.bmp"):
        names(folder / "empty")
    with pytest.raises(ImageError, match=r"\*\.gif: no file matches this pattern"):
        names(f"{folder}/*.gif")


def test_iterables_of_anything(clock: Path) -> None:
    with clock.open("rb") as stream, Image.open(clock) as image:
        images = [clock, stream, image, halves(), b"", np.zeros((2, 2)), None]
        assert names(images) == [str(clock)] * 3 + ["<image 3>", "<bytes 4>", "<array 5>", "<NoneType 6>"]
    assert names(np.zeros((2, 4, 4, 3))) == ["<array 0>", "<array 1>"]
    assert names(np.array(["a.jpg", "b.jpg"])) == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("image", [b"", halves(), np.zeros((4, 4, 3)), np.zeros((4, 4)), io.BytesIO(), 3])
def test_one_image_where_several_are_expected(image: Any) -> None:
    hint = "; if each row is an image, give array.reshape(-1, h, w)" if np.shape(image) == (4, 4) else ""
    with pytest.raises(ImageError, match="this is one image where several are expected; give a list, or use") as caught:
        names(image)
    assert str(caught.value).endswith(f"use predict for one{hint}")


# Batching


def batches(images: Any, **options: Any) -> Iterator[batch.Batch]:
    return batch.batches(
        sources.iter_items(images), (8, 8), ResizePolicy(), ImagePolicy(), **{"batch_size": 3, **options}
    )


@settings(deadline=None, max_examples=50)
@given(
    broken=st.lists(st.booleans(), max_size=25),
    batch_size=st.integers(1, 7),
    workers=st.integers(1, 5),
    prefetch=st.integers(1, 3),
)
def test_batches_keep_order_and_lose_nothing(broken: list[bool], batch_size: int, workers: int, prefetch: int) -> None:
    images = [None if bad else np.full((4, 4), i, np.uint8) for i, bad in enumerate(broken)]
    seen = list(batches(images, batch_size=batch_size, workers=workers, prefetch=prefetch))
    assert all(len(group.names) == batch_size for group in seen[:-1])
    assert [error is not None for group in seen for error in group.errors] == broken
    values = [int(row[0, 0, 0]) for group in seen for row in group.pixels]
    assert values == [i for i, bad in enumerate(broken) if not bad]


def test_an_endless_source_is_taken_no_faster_than_needed() -> None:
    taken = itertools.count()
    last = 0

    def images() -> Iterator[np.ndarray]:
        nonlocal last
        for last in taken:  # noqa: B007
            yield np.zeros((4, 4), np.uint8)

    stream = batches(images(), batch_size=4, prefetch=3)
    for done in range(1, 6):
        next(stream)
        assert last < 4 * (done + 3)
    stream.close()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("pretrained-cnn")]


def test_closing_early_ends_the_threads() -> None:
    stream = batches(itertools.repeat(np.zeros((4, 4), np.uint8)))
    next(stream)
    assert threads()
    stream.close()
    assert not threads()


def test_an_error_of_the_source_itself_is_raised() -> None:
    def images() -> Iterator[np.ndarray]:
        yield np.zeros((4, 4), np.uint8)
        raise OSError("the camera is gone")

    with pytest.raises(OSError, match="the camera is gone"):
        list(batches(images()))
    assert not threads()


# Addresses


class Halves(Handler):
    def get(self) -> None:
        if self.path == "/slow.png":
            time.sleep(1.5)
        if self.path in ("/halves.png", "/slow.png"):
            self.send(png(halves()))
        else:
            self.send_error(404)


@pytest.fixture
def server() -> Iterator[str]:
    with serve(Halves) as running:
        yield running.url


def test_an_address(server: str) -> None:
    np.testing.assert_array_equal(decode(f"{server}/halves.png"), np.asarray(halves()))


def test_an_address_that_gives_nothing(server: str) -> None:
    with pytest.raises(ImageError, match=r"/no\.png: it cannot be fetched: HTTP Error 404: Not Found"):
        decode(f"{server}/no.png")
    with pytest.raises(ImageError, match=r"it cannot be fetched: .*refused"):
        decode("http://127.0.0.1:9/a.png")
    with pytest.raises(ImageError, match=r"it has more than 10 bytes \(ImagePolicy\.max_url_bytes\)"):
        decode(f"{server}/halves.png", max_url_bytes=10)
    with pytest.raises(ImageError, match=r"it took more than 0\.2 seconds \(ImagePolicy\.url_seconds\)"):
        decode(f"{server}/slow.png", url_seconds=0.2)
