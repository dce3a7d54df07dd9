"""How images become the network's size: as they are, cut out, interpolated, or from a draft."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pretrained_cnn import ImagePolicy, InvalidArgumentError, ResizePolicy
from pretrained_cnn.images.batch import load
from pretrained_cnn.images.resize import AS_IT_IS, policy_for, resize, size_needed, window
from pretrained_cnn.images.sources import single_item

KERAS = ResizePolicy("squash", interpolation="bilinear", antialias=False)
RANDOM = np.random.default_rng(0)
NOISE = RANDOM.integers(0, 256, (24, 36, 3), np.uint8)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    "image",
    [NOISE, NOISE.astype(np.float32), Image.fromarray(NOISE), memoryview(NOISE).tolist()],
    ids=["uint8", "float", "Pillow", "list"],
)
@pytest.mark.parametrize("policy", [ResizePolicy(), ResizePolicy("crop", crop_fraction=0.5), KERAS])
def test_pixels_in_memory_of_the_networks_size_are_taken_as_they_are(image: Any, policy: ResizePolicy) -> None:
    image = np.asarray(image, np.uint8) if isinstance(image, list) else image
    np.testing.assert_array_equal(load(single_item(image), (24, 36), policy, ImagePolicy()), NOISE)


def test_a_file_of_the_networks_size_is_resized_as_every_file_is(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(NOISE))
    with Image.open(tmp_path / "a.png") as opened:
        found = [
            load(single_item(image), (24, 36), ResizePolicy(), ImagePolicy())
            for image in (tmp_path / "a.png", png(NOISE), io.BytesIO(png(NOISE)), opened)
        ]
    assert not np.array_equal(found[0], NOISE)
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def test_pixels_of_another_size_are_resized() -> None:
    assert policy_for(NOISE, (36, 24), (24, 24), ResizePolicy()) == ResizePolicy()
    assert policy_for(NOISE, (36, 24), (36, 24), ResizePolicy()) == ResizePolicy(), "height and width are not the same"
    assert policy_for(NOISE, (36, 24), (24, 36), ResizePolicy()) == AS_IT_IS


@pytest.mark.parametrize("seed", range(20))
def test_what_is_cut_out_lies_within_the_image(seed: int) -> None:
    random = np.random.default_rng(seed)
    for _ in range(1000):
        across, down = (int(side) for side in random.integers(1, 4000, 2))
        size = (int(random.integers(1, 700)), int(random.integers(1, 700)))
        fraction = 1.0 if random.random() < 0.5 else float(random.uniform(0.001, 1))
        left, top, right, bottom = window((across, down), size, ResizePolicy(crop_fraction=fraction))
        found = (across, down, size, fraction)
        assert 0 <= left < right <= across, found
        assert 0 <= top < bottom <= down, found


@pytest.mark.parametrize(
    ("image_size", "side"),
    [
        ((225, 225), 224),
        ((900, 900), 224),
        ((1200, 900), 224),
        ((500, 333), 150),
        ((1024, 768), 331),
        ((500, 500), 240),
    ],
)
def test_sizes_that_rounding_led_out_of(image_size: tuple[int, int], side: int) -> None:
    pixels = resize(Image.new("RGB", image_size, "red"), (side, side), ResizePolicy(crop_fraction=1.0))
    assert (pixels == (255, 0, 0)).all()


@pytest.mark.parametrize("size", [(28, 28), (20, 300), (180, 180), (500, 640)])
@pytest.mark.parametrize("image_size", [(375, 500), (33, 47), (1, 1), (1, 90), (600, 400)])
def test_without_antialiasing_it_is_tensorflows_resize(size: tuple[int, int], image_size: tuple[int, int]) -> None:
    tf = pytest.importorskip("tensorflow")
    for shape in ((*image_size, 3), (*image_size, 1)):
        pixels = RANDOM.integers(0, 256, shape, np.uint8)
        expected = tf.image.resize(pixels, size).numpy()
        image = Image.fromarray(pixels.squeeze(-1) if shape[-1] == 1 else pixels)
        found = resize(image, size, KERAS, shape[-1])
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 0.51


@pytest.mark.parametrize("method", ["crop", "squash", "pad"])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_without_antialiasing_the_same_part_is_shown(method: Any, interpolation: Any) -> None:
    across = np.linspace(0, 255, 64)
    ramp = Image.fromarray(np.broadcast_to(across, (48, 64)).astype(np.uint8)).convert("RGB")
    smooth, rough = (
        resize(ramp, (32, 32), ResizePolicy(method, interpolation="bilinear", antialias=antialias)).astype(int)
        for antialias in (True, False)
    )
    rough = resize(ramp, (32, 32), ResizePolicy(method, interpolation=interpolation, antialias=False)).astype(int)
    assert np.abs(smooth - rough).max() <= 5


def test_gray_is_converted_before_it_is_resized() -> None:
    values = RANDOM.integers(0, 256, (24, 36), np.uint8)
    for image in (values, values[..., np.newaxis], np.stack([values] * 3, axis=-1)):
        found = load(single_item(image), (24, 36), ResizePolicy(), ImagePolicy(), channels=1)
        np.testing.assert_array_equal(found, values[..., np.newaxis])
    found = resize(Image.fromarray(NOISE), (12, 12), ResizePolicy(), 1)
    expected = Image.fromarray(NOISE).convert("L")
    np.testing.assert_array_equal(found, resize(expected, (12, 12), ResizePolicy(), 1))


def test_what_needs_every_pixel_takes_no_draft() -> None:
    assert size_needed((224, 224), KERAS) is None
    assert size_needed((224, 224), ResizePolicy("squash", interpolation="nearest")) is None
    assert size_needed((224, 224), ResizePolicy("squash")) == (640, 640)
    assert size_needed((331, 448), ResizePolicy()) == (1024, 757)
    assert size_needed((28, 28), ResizePolicy()) == (640, 640), "small networks see what they would of the whole image"


def test_a_policy_says_that_it_does_not_antialias() -> None:
    assert "antialias=False" in repr(KERAS)
    assert "antialias=True" in repr(ResizePolicy())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"antialias": 0}, "antialias=0 is neither True nor False"),
        ({"antialias": False}, "antialias=False goes with interpolation='bilinear' or 'nearest', not with 'bicubic'"),
    ],
)
def test_what_a_policy_cannot_be(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=text):
        ResizePolicy("squash", **arguments)


@pytest.mark.slow
@pytest.mark.parametrize("side", [28, 32, 64, 224, 600])
def test_a_path_and_an_opened_image_show_the_network_the_same(labeled: list[tuple[Path, str]], side: int) -> None:
    """So their scores are the same, with networks of every size."""
    for policy in (ResizePolicy(), ResizePolicy("squash")):
        for path, _ in labeled:
            with Image.open(path) as opened:
                found = load(single_item(path), (side, side), policy, ImagePolicy())
                expected = load(single_item(opened), (side, side), policy, ImagePolicy())
                whole = load(single_item(path), (side, side), policy, ImagePolicy(draft=False))
            np.testing.assert_array_equal(found, expected, str(path))
            np.testing.assert_array_equal(found, whole, str(path))
