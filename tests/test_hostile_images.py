"""Whatever a file is, it ends as an image or as an ImageError that names it, soon and in little memory."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutated_files import mutate
from paths import EXAMPLES, ROOT
from PIL import Image, ImageCms, ImageFile
from servers import Handler, serve

from pretrained_cnn import Classifier, ImageError, ImagePolicy
from pretrained_cnn.images import fetch as fetching
from pretrained_cnn.images.batch import load
from pretrained_cnn.images.decode import decode as decode_item
from pretrained_cnn.images.resize import resize
from pretrained_cnn.images.sources import single_item
from pretrained_cnn.spec import ResizePolicy


def decode(image: Any, **options: Any) -> np.ndarray:
    return np.asarray(decode_item(single_item(image), ImagePolicy(**options)))


def encode(image: Image.Image, format_: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format_, **options)
    return stream.getvalue()


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))
PHOTO = Image.open(EXAMPLES / "balloon.png").convert("RGB").resize((96, 120))


# Files of others: odd, broken, hostile

PROGRAM = """
import json, sys, time
from processes import peak_bytes
from pretrained_cnn import ImageError, ImagePolicy
from pretrained_cnn.images.decode import decode
from pretrained_cnn.images.sources import single_item
for path in sys.stdin.read().splitlines():
    start = time.monotonic()
    try:
        image = decode(single_item(path), ImagePolicy())
        outcome = [image.mode, *image.size]
    except ImageError as error:
        outcome = str(error)
    print(json.dumps([path, outcome, time.monotonic() - start, peak_bytes()]), flush=True)
"""
BY_PILLOW = """
import json, sys, warnings
from PIL import Image, ImageOps
warnings.simplefilter("ignore")
for path in sys.stdin.read().splitlines():
    try:
        with Image.open(path) as image:
            expected = ["RGB", *ImageOps.exif_transpose(image).convert("RGB").size]
    except Exception:  # Pillow's own conversion fails too
        expected = None
    print(json.dumps([path, expected]))
"""


@pytest.fixture(scope="module")
def outcomes(assets: Path) -> dict[str, Any]:
    """What became of each awkward file, decoded by one process: a mode and a size, or a message."""
    paths = [str(path) for path in sorted((assets / "awkward").rglob("*")) if path.is_file()]
    assert len(paths) > 150
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        input="\n".join(paths),
        capture_output=True,
        text=True,
        timeout=300,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == paths, f"another exception, or a crash: {done.stderr[-2000:]}"
    assert max(seconds for *_, seconds, _ in rows) < 10
    assert max(peak for *_, peak in rows) < 1.5e9
    return {path: outcome for path, outcome, *_ in rows}


def test_each_awkward_file_is_a_image_or_a_named_error(outcomes: dict[str, Any]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BY_PILLOW], input="\n".join(outcomes), capture_output=True, text=True, check=True
    )
    by_pillow = dict(json.loads(line) for line in done.stdout.splitlines())
    right = wrong = 0
    for path, outcome in outcomes.items():
        expected = by_pillow[path]
        if isinstance(outcome, str):
            assert outcome.startswith(f"{path}: ")
            wrong += 1
            refused = "ImagePolicy" in outcome or "PostScript" in outcome or "none of its values" in outcome
            assert expected is None or refused, f"Pillow can: {outcome}"
        else:
            assert outcome == (expected or outcome)
            right += 1
    assert right > 100
    assert wrong > 20


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Landscape", "Portrait"])
def test_exif_photos_give_the_same_class_in_all_orientations(assets: Path, kind: str) -> None:
    """One image stored in five orientations, except the digit in its middle, which is covered here."""
    paths = sorted((assets / "awkward" / "exif").glob(f"{kind}_*.jpg"))
    upright: list[Image.Image] = []
    stored = set()
    for path in paths:
        with Image.open(path) as image:
            stored.add(image.size)
        image = decode_item(single_item(path), ImagePolicy())
        width, height = image.size
        image.paste((128, 128, 128), (width * 5 // 12, height * 3 // 8, width * 7 // 12, height * 5 // 8))
        upright.append(image)
    assert len(stored) == 2, "some are stored lying on their side"
    assert len({image.size for image in upright}) == 1
    for image in upright:
        assert np.abs(np.asarray(image, int) - np.asarray(upright[0], int)).mean() < 5, "what JPEG may change"
    results = Classifier("EfficientNetLite0").predict_batch(upright)
    assert len(results) == 5
    assert len({result.top.id for result in results}) == 1


# Fuzzing

FORMATS: dict[str, bytes] = {
    "JPEG": encode(
        PHOTO, "JPEG", quality=80, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    ),
    "PNG": encode(PHOTO.convert("RGBA"), "PNG"),
    "GIF": encode(PHOTO, "GIF", save_all=True, append_images=[NOISE.resize(PHOTO.size)]),
    "WEBP": encode(PHOTO, "WEBP", quality=70),
    "TIFF": encode(PHOTO, "TIFF", compression="tiff_lzw"),
    "BMP": encode(PHOTO.resize((32, 40)), "BMP"),
}


def survives(data: bytes) -> bool:
    """Whether decoding gives an image; else it must be an ImageError. Anything else is a failure."""
    start = time.monotonic()
    try:
        image = decode_item(single_item(data), ImagePolicy(max_pixels=4_000_000))
        assert image.mode == "RGB"
        return True
    except ImageError as error:
        named = str(error).startswith("<bytes 0>: ")
    finally:
        assert time.monotonic() - start < 10
    assert named
    return False


def fuzz(format_: str, examples: int) -> tuple[int, int]:
    decoded = [0, 0]

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(seed=st.integers(0, 2**64))
    def run(seed: int) -> None:
        decoded[survives(mutate(FORMATS[format_], random.Random(seed)))] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run()
    return decoded[0], decoded[1]


@pytest.mark.parametrize("format_", FORMATS)
def test_mutated_files(format_: str) -> None:
    broken, _ = fuzz(format_, 150)
    assert broken, "no mutation did any harm: the test is too weak"


@pytest.mark.slow
def test_thousands_of_mutated_files() -> None:
    """In processes of their own, with bounds on the time and the memory of each file; the benchmark does many more."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "benchmarks" / "mutated_files.py"), "--files", "20000"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    rows = [line.rsplit(None, 4) for line in done.stdout.splitlines()[1:]]
    assert len(rows) >= 10
    assert sum(int(number.replace(",", "")) for row in rows for number in row[1:3]) >= 20_000


# Shapes that nobody takes photos of


@pytest.mark.parametrize("method", ["crop", "squash", "pad"])
def test_a_image_of_one_very_long_row(method: Any) -> None:
    pixels = resize(Image.new("L", (80_000_000, 1), 200), (32, 32), ResizePolicy(method), channels=1)
    assert (pixels[15] == 200).all()  # padded, it is the one row that is not black


def test_a_long_row_keeps_its_order() -> None:
    row = np.repeat(np.arange(32, dtype=np.uint8) * 8, 40_000)[np.newaxis]
    gray = Image.fromarray(row).convert("RGB")
    pixels = resize(gray, (32, 32), ResizePolicy("squash", interpolation="box"))
    np.testing.assert_allclose(pixels[0, :, 0].astype(int), np.arange(32) * 8, atol=2)
    exact = resize(gray, (32, 32), ResizePolicy("squash", interpolation="nearest"))
    np.testing.assert_array_equal(exact[0, :, 0], np.arange(32) * 8)


def test_what_cannot_be_resized_is_one_images_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from pretrained_cnn.images import batch

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(batch, "resize", fail)
    with pytest.raises(ImageError, match="<bytes 0>: its 96 x 120 pixels cannot be resized: MemoryError"):
        load(single_item(FORMATS["PNG"]), (32, 32), ResizePolicy(), ImagePolicy())


# A run with every tenth image broken


def bomb(side: int) -> bytes:
    """A header that promises many pixels."""
    header = bytearray(encode(Image.new("L", (1, 1)), "BMP"))
    header[18:26] = side.to_bytes(4, "little") * 2
    return bytes(header)


def broken_in_ways(tmp_path: Path) -> list[Callable[[int], Any]]:
    text = tmp_path / "text.jpg"
    text.write_text("hello")
    return [
        lambda i: f"no-such-{i}.jpg",
        lambda i: text,
        lambda i: b"",
        lambda i: None,
        lambda i: FORMATS["JPEG"][:500],
        lambda i: np.zeros((3, 40, 40)),
        lambda i: np.full((8, 8, 3), np.nan),
        lambda i: bomb(20_000),
        lambda i: tmp_path,
        lambda i: "http://127.0.0.1:9/none.jpg",
    ]


@pytest.mark.slow
def test_a_thousand_items_with_every_tenth_broken(tmp_path: Path) -> None:
    ways = broken_in_ways(tmp_path)
    good = EXAMPLES / "clock.png"
    clf = Classifier("MobileNet", weights=None, alpha=0.25, input_size=(32, 32))
    images = [ways[i // 10 % len(ways)](i) if i % 10 == 3 else good for i in range(1000)]
    results = list(clf.stream(images))
    assert len(results) == 1000
    for i, (image, result) in enumerate(zip(images, results, strict=True)):
        assert result.source == single_item(image).name.replace(" 0>", f" {i}>")
        assert (result.error is not None) == (i % 10 == 3)
        assert result.error is None or str(result.error).startswith(f"{result.source}: ")
    assert len({result.error.reason for result in results if result.error}) == len(ways)


# Color profiles


def description(photo: Path) -> str:
    with Image.open(photo) as image:
        profile = image.info.get("icc_profile")
    return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))) if profile else ""


def profile_of_another_kind() -> bytes:
    """One of LAB colors, which does not fit an image in RGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def test_an_srgb_profile_changes_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(decode(encode(NOISE, "PNG", icc_profile=profile)), np.asarray(NOISE))


def test_a_profile_is_converted_or_ignored(assets: Path) -> None:
    photos = [photo for photo in sorted((assets / "imagenet").iterdir()) if "Adobe RGB" in description(photo)]
    with Image.open(photos[0]) as image:
        plain = np.asarray(image.convert("RGB"))
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        expected = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    np.testing.assert_array_equal(decode(photos[0], color_profile="ignore"), plain)
    np.testing.assert_array_equal(decode(photos[0]), np.asarray(expected))
    assert (np.asarray(expected) != plain).any()


@pytest.mark.parametrize("profile", [b"", b"nonsense", b"\0" * 200, profile_of_another_kind()])
def test_a_profile_that_does_not_fit_counts_as_none(profile: bytes) -> None:
    np.testing.assert_array_equal(decode(encode(NOISE, "PNG", icc_profile=profile)), np.asarray(NOISE))


# Settings


def test_what_shows_through() -> None:
    clear = Image.new("RGBA", (2, 2), (9, 9, 9, 0))
    assert (decode(clear) == 9).all(), "an alpha channel that is zero everywhere says nothing"
    clear.putpixel((0, 0), (9, 9, 9, 255))
    assert (decode(clear)[1] == 255).all()
    assert (decode(clear, background=(1, 2, 3))[1] == (1, 2, 3)).all()


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "BMP"])
def test_truncated_files_on_demand(format_: str) -> None:
    whole = encode(NOISE, format_)
    cut = whole[: len(whole) * 3 // 5]
    with pytest.raises(ImageError):
        decode(cut)
    pixels, expected = decode(cut, truncated="allow"), decode(whole)
    if format_ == "BMP":  # which begins with the last row
        pixels, expected = pixels[::-1], expected[::-1]
    assert pixels.shape == expected.shape
    assert (pixels[:8] == expected[:8]).all()
    assert (pixels[-4:] != expected[-4:]).any()


def test_a_truncated_file_without_a_header_is_an_error_all_the_same() -> None:
    with pytest.raises(ImageError):
        decode(FORMATS["JPEG"][:20], truncated="allow")


def test_postscript_is_not_run() -> None:
    with pytest.raises(ImageError, match="PostScript is a program, not an image"):
        decode(encode(NOISE, "EPS"))


@pytest.mark.parametrize("format_", ["JPEG", "MPO"])
def test_drafts(format_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import JpegImagePlugin

    asked: list[Any] = []
    original = JpegImagePlugin.JpegImageFile.draft
    monkeypatch.setattr(
        JpegImagePlugin.JpegImageFile,
        "draft",
        lambda self, mode, size: asked.append((size, original(self, mode, size))),
    )
    large = encode(PHOTO.resize((3000, 4000)), format_, **({"save_all": True} if format_ == "MPO" else {}))
    crop, nearest = ResizePolicy(), ResizePolicy("squash", interpolation="nearest")
    small = load(single_item(large), (224, 224), crop, ImagePolicy())
    assert asked[0][0] == (640, 640)
    full = load(single_item(large), (224, 224), crop, ImagePolicy(draft=False))
    load(single_item(large), (224, 224), nearest, ImagePolicy())
    assert len(asked) == 1
    assert np.abs(small.astype(int) - full.astype(int)).mean() < 1
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(PHOTO.resize((4000, 1000)), "JPEG", exif=exif)
    assert load(single_item(turned), (100, 400), ResizePolicy("squash"), ImagePolicy()).shape == (100, 400, 3)
    assert asked[1][0] == (640, 800), "as it is stored, not as it is shown"


@pytest.mark.slow
def test_drafts_change_no_best_class(keras_home: Path, labeled: list[tuple[Path, str]], tmp_path: Path) -> None:
    """And no score by more than 0.1; a path and an opened image take the same draft."""
    photos = []
    for photo, _ in labeled[::2]:
        with Image.open(photo) as image:
            factor = (12e6 / (image.width * image.height)) ** 0.5
            size = round(image.width * factor), round(image.height * factor)
            photos.append(tmp_path / f"{photo.stem}.jpg")
            image.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(photos[-1], quality=92)
    clf = Classifier("MobileNet")
    full = Classifier("MobileNet", image_policy=ImagePolicy(draft=False)).predict_proba(photos)
    drafts = clf.predict_proba(photos)
    np.testing.assert_array_equal(drafts.argmax(axis=1), full.argmax(axis=1))
    assert np.abs(drafts - full).max() < 0.1
    for photo, scores in zip(photos[:5], drafts, strict=False):
        with Image.open(photo) as opened:
            np.testing.assert_allclose(clf.predict_proba([opened])[0], scores, atol=1e-5)


# The host's Pillow and the host's warnings


def test_warnings_are_no_errors_and_globals_stay(assets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = assets / "awkward" / "pillow" / "hopper_naxis_zero.fits"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)  # a host's own limit, above which Pillow warns
    globals_before = [Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES]
    large = encode(Image.new("1", (40, 30)), "PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filters = list(warnings.filters)
        assert decode(large).shape == (30, 40, 3)
        with pytest.raises(ImageError):
            decode(noisy, truncated="allow")
        assert warnings.filters == filters
    globals_after = [Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES]
    assert globals_after == globals_before


def test_pillows_own_limit_is_not_met() -> None:
    with pytest.raises(ImageError, match=r"60000 x 60000 pixels are more than 89,478,485 \(ImagePolicy\.max_pixels\)"):
        decode(bomb(60_000))


# Addresses


class Hostile(Handler):
    def get(self) -> None:
        routes: dict[str, Callable[[], None]] = {
            "/good.png": lambda: self.send(FORMATS["PNG"]),
            "/cut.png": lambda: self.send(FORMATS["PNG"][:99], **{"Content-Length": str(len(FORMATS["PNG"]))}),
            "/endless.png": self._endless,
            "/trickle.png": self._trickle,
            "/header.png": self._trickle_header,
            "/silent.png": lambda: self.server.released.wait(20),  # type: ignore[attr-defined]
            "/to-file": lambda: self.send(status=302, Location="file:///etc/hostname"),
            "/to-ftp": lambda: self.send(status=302, Location="ftp://127.0.0.1/a.png"),
            "/to-good": lambda: self.send(status=302, Location="/good.png"),
            "/to-itself": lambda: self.send(status=302, Location="/to-itself"),
            "/to-private": lambda: self.send(status=302, Location=f"{self.server.url}/good.png"),
        }
        with contextlib.suppress(OSError):  # the client had enough
            routes.get(self.path, lambda: self.send_error(404))()

    def _endless(self) -> None:
        self.send_response(200)
        self.end_headers()
        while True:
            self.wfile.write(b"\0" * 65536)

    def _trickle(self) -> None:
        self.send_response(200)
        self.end_headers()
        while not self.server.released.wait(0.05):  # type: ignore[attr-defined]
            self.wfile.write(b"\0")
            self.wfile.flush()

    def _trickle_header(self) -> None:
        self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
        while not self.server.released.wait(0.05):  # type: ignore[attr-defined]
            self.wfile.write(b"z")
            self.wfile.flush()


@pytest.fixture
def server() -> Iterator[str]:
    released = threading.Event()
    with serve(Hostile, released=released) as running:
        yield running.url
        released.set()


@pytest.mark.parametrize("path", ["/good.png", "/to-good"])
def test_an_address_and_a_redirect(server: str, path: str) -> None:
    assert decode(server + path).shape == (120, 96, 3)


@pytest.mark.parametrize(
    ("path", "options", "reason"),
    [
        ("/none.png", {}, r"it cannot be fetched: HTTP Error 404: Not Found"),
        ("/cut.png", {}, r"it cannot be fetched: the connection was cut after 99 of [\d,]+ bytes"),
        ("/endless.png", {"max_url_bytes": 100_000}, r"it has more than 100,000 bytes \(ImagePolicy\.max_url_bytes\)"),
        ("/trickle.png", {"url_seconds": 0.5}, r"it took more than 0\.5 seconds \(ImagePolicy\.url_seconds\)"),
        ("/header.png", {"url_seconds": 0.5}, r"it took more than 0\.5 seconds \(ImagePolicy\.url_seconds\)"),
        ("/silent.png", {"url_seconds": 0.5}, r"it took more than 0\.5 seconds \(ImagePolicy\.url_seconds\)"),
        ("/to-file", {}, r"it cannot be fetched: HTTP Error 302: .* to url 'file:///etc/hostname' is not allowed"),
        ("/to-ftp", {}, r"it cannot be fetched: HTTP Error 302: .* to url 'ftp://.*' is not allowed"),
        ("/to-itself", {}, r"it cannot be fetched: HTTP Error 302: .*infinite loop"),
        ("/good.png", {"allow_private": False}, r"127\.0\.0\.1 is at 127\.0\.0\.1, which is not a public address"),
    ],
)
def test_an_address_that_misbehaves(server: str, path: str, options: dict[str, Any], reason: str) -> None:
    start = time.monotonic()
    with pytest.raises(ImageError, match=reason) as caught:
        decode(server + path, **options)
    assert caught.value.source == server + path
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "127.0.0.1", "169.254.169.254", "192.168.1.1", "::1", "fe80::1%1", "::ffff:10.0.0.1", "0.0.0.0"],
)
def test_no_private_address_is_connected_to(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the name looks like, its address is what counts; nothing is connected to."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(family, socket.SOCK_STREAM, 6, "", (address, 80))])
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it connected"))
    for scheme in ("http", "https"):
        with pytest.raises(
            ImageError, match=r"example\.org is at .*, which is not a public address \(ImagePolicy\.allow"
        ):
            decode(f"{scheme}://example.org/a.png", allow_private=False)


def test_a_redirect_to_a_private_address(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    port = int(server.rpartition(":")[2])
    original = fetching.connect_public

    def connect(address: tuple[str, int], *arguments: Any, **options: Any) -> socket.socket:
        if address[0] == "public.example":  # as if a public server answered
            return socket.create_connection(("127.0.0.1", port))
        return original(address, *arguments, **options)

    monkeypatch.setattr(fetching, "connect_public", connect)
    assert decode("http://public.example/good.png", allow_private=False).shape == (120, 96, 3)
    with pytest.raises(ImageError, match=r"127\.0\.0\.1 is at 127\.0\.0\.1, which is not a public address"):
        decode("http://public.example/to-private", allow_private=False)
