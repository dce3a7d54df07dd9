"""What drafts, averages, decoders and color profiles cost and gain, on labeled photos made large.

Run: ``python benchmarks/large_photos.py FOLDER [--part margins,formats,decoders,profiles] [--model MobileNet]`` with
a folder of photos whose names begin with the wnid of what they show. Large copies have the noise of a camera. All
times are those of the processor, in one thread.

- ``margins``: a photo is decoded at a half or a quarter by the JPEG decoder (a draft), or averaged to that after it was
  decoded, so that ``ratio`` times the pixels of the network's input are left, each way. Prints how far its scores are
  from those of the photo in full (total variation), and how many photos are classified correctly.
- ``formats``: decoding and resizing one photo of 4032 x 3024, in full and by the library's rules.
- ``decoders``: Pillow's JPEG decoder against those of simplejpeg and pyvips, as far as they are installed.
- ``profiles``: what color profiles change, on the photos as they are.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import io
import os
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pretrained_cnn import Classifier, ImagePolicy, get_spec
from pretrained_cnn.images.batch import load
from pretrained_cnn.images.resize import resize
from pretrained_cnn.images.sources import single_item
from pretrained_cnn.spec import ResizePolicy

MODELS = ["MobileNet", "EfficientNetLite0"]
MEGAPIXELS = 12e6
PHONE = (4032, 3024)
RATIOS = (1.5, 2.0, 2.5, 2.95)
TIMES = (2, 4)
POLICY, SIZE = ResizePolicy(), (224, 224)
GIVEN = 256
"""Pixels of the shorter side of a photo that is resized to `SIZE` by `POLICY`."""
FORMATS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 90},
    "PNG": {"compress_level": 3},
    "WEBP": {"quality": 85, "method": 2},
    "TIFF": {"compression": "tiff_lzw"},
    "BMP": {},
}

Pixels = NDArray[np.uint8]


@functools.cache
def noise(size: tuple[int, int]) -> NDArray[np.int16]:
    return np.random.default_rng(0).integers(-12, 13, (size[1], size[0], 3), np.int16)


def enlarged(photo: Path, size: tuple[int, int]) -> Image.Image:
    """The photo in another size, with the noise that a camera would add."""
    with Image.open(photo) as image:
        pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC), np.int16)
    return Image.fromarray((pixels + noise(size)).clip(0, 255).astype(np.uint8))


def scaled(photo: Path, factor: Callable[[int, int], float]) -> Image.Image:
    """The photo enlarged by what ``factor`` gives for its width and height."""
    with Image.open(photo) as image:
        times = factor(*image.size)
        size = round(image.width * times), round(image.height * times)
    return enlarged(photo, size)


def enlarge(photo: Path, folder: Path) -> Path:
    """A copy of 12 megapixels, as a camera's JPEG."""
    copy = folder / f"{photo.stem}.jpg"
    scaled(photo, lambda width, height: (MEGAPIXELS / (width * height)) ** 0.5).save(copy, quality=90)
    return copy


def encoded(image: Image.Image, format: str) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **FORMATS[format])
    return file.getvalue()


def milliseconds(work: Callable[[], object], rounds: int = 3) -> float:
    """The least processor time of some rounds."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return 1000 * min(times)


def load_all(photos: list[Path], policy: ImagePolicy) -> None:
    for photo in photos:
        load(single_item(photo), SIZE, POLICY, policy)


def table(*columns: str) -> str:
    return f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|"


def ways(photo: Path, ratio: float, times: int) -> dict[str, Pixels]:
    """One large photo as the network gets it: in full, from a draft, from averages, and by another interpolation."""
    data = encoded(scaled(photo, lambda width, height: times * ratio * GIVEN / min(width, height)), "JPEG")
    with Image.open(io.BytesIO(data)) as whole:
        whole.load()
    with Image.open(io.BytesIO(data)) as draft:
        draft.draft(None, (whole.width // times, whole.height // times))
        draft.load()
    return {
        "in full": resize(whole, SIZE, POLICY),
        "draft": resize(draft, SIZE, POLICY),
        "averages": resize(whole.reduce(times), SIZE, POLICY),
        "bilinear, in full": resize(whole, SIZE, ResizePolicy(interpolation="bilinear")),
    }


def margins(models: list[str], photos: list[Path]) -> Iterator[str]:
    networks = {model: Classifier(model, runtime="openvino") for model in models}
    ids = {model: [label.id for label in clf.spec.labels] for model, clf in networks.items()}
    for model in models:
        assert (get_spec(model).input_size, get_spec(model).resize) == (SIZE, POLICY)
    columns = [f"{model}: {what}" for model in models for what in ("distance", "largest", "best changed", "right")]
    yield table(f"{len(photos)} photos, ratio", "size", "how", *columns)
    for times in TIMES:
        for ratio in RATIOS:
            found = [ways(photo, ratio, times) for photo in photos]
            scores = {
                (model, how): clf.predict_proba([each[how] for each in found])
                for model, clf in networks.items()
                for how in found[0]
            }
            for how in found[0]:
                cells = []
                for model in models:
                    given, full = scores[model, how], scores[model, "in full"]
                    apart = np.abs(given - full).sum(axis=1) / 2
                    changed = int((given.argmax(axis=1) != full.argmax(axis=1)).sum())
                    named = [ids[model][index] for index in given.argmax(axis=1)]
                    right = sum(photo.name.startswith(name) for photo, name in zip(photos, named, strict=True))
                    cells += [f"{apart.mean():.4f}", f"{apart.max():.3f}", f"{changed}", f"{right}"]
                yield f"| {ratio} | 1/{times} | {how} | {' | '.join(cells)} |"


def formats(models: list[str], photos: list[Path]) -> Iterator[str]:
    def milliseconds_of(data: bytes, **settings: Any) -> float:
        return milliseconds(lambda: load(single_item(data), SIZE, POLICY, ImagePolicy(**settings)))

    yield table(f"{PHONE[0]} x {PHONE[1]}", "in full (ms)", "by the library's rules (ms)")
    for format in FORMATS:
        data = encoded(enlarged(photos[0], PHONE), format)
        yield f"| {format} | {milliseconds_of(data, draft=False):.0f} | {milliseconds_of(data):.0f} |"


def decoders(models: list[str], photos: list[Path]) -> Iterator[str]:
    def by_pillow(data: bytes, times: int) -> Any:
        with Image.open(io.BytesIO(data)) as image:
            image.draft(None, (image.width // times, image.height // times))
            return np.asarray(image)

    def by_simplejpeg(data: bytes, times: int) -> Any:
        with Image.open(io.BytesIO(data)) as image:
            least = {"min_width": image.width // times, "min_height": image.height // times}
        return importlib.import_module("simplejpeg").decode_jpeg(data, min_factor=times, **least)

    def by_pyvips(data: bytes, times: int) -> Any:
        return importlib.import_module("pyvips").Image.jpegload_buffer(data, shrink=times).numpy()

    sides = {"PIL": by_pillow, "simplejpeg": by_simplejpeg, "pyvips": by_pyvips}
    sides = {name: side for name, side in sides.items() if find_spec(name) is not None}
    yield table("JPEG", *(f"{name} (ms)" for name in sides), "equal to Pillow's pixels")
    color = [photo.read_bytes() for photo in photos if Image.open(photo).mode == "RGB"][:20]
    large = [encoded(enlarged(photo, PHONE), "JPEG") for photo in photos[:3]]
    for title, files, times in (
        ("some 500 x 375", color, 1),
        ("4032 x 3024, in full", large, 1),
        ("4032 x 3024, at a half", large, 2),
        ("4032 x 3024, at a quarter", large, 4),
    ):
        cells = [
            f"{np.mean([milliseconds(functools.partial(side, data, times)) for data in files]):.1f}"
            for side in sides.values()
        ]
        same = [
            name
            for name, side in sides.items()
            if name != "PIL" and all(np.array_equal(side(data, times), by_pillow(data, times)) for data in files)
        ]
        yield f"| {title} | {' | '.join(cells)} | {', '.join(same)} |"


def profiles(models: list[str], photos: list[Path]) -> Iterator[str]:
    yield table(f"{len(photos)} photos as they are", "profiles", "classified correctly", "decode and resize one (ms)")
    for model in models:
        for policy in (ImagePolicy(color_profile="ignore"), ImagePolicy()):
            clf = Classifier(model, runtime="openvino", image_policy=policy)
            tops = [result.top.id for result in clf.stream(photos, errors="raise")]
            right = sum(photo.name.startswith(top) for photo, top in zip(photos, tops, strict=True))
            taken = milliseconds(functools.partial(load_all, photos, policy))
            yield f"| {model} | {policy.color_profile} | {right} | {taken / len(photos):.1f} |"


PARTS = {"margins": margins, "formats": formats, "decoders": decoders, "profiles": profiles}


def main() -> None:
    """Print a table for each part as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--part", type=lambda names: names.split(","), default=list(PARTS))
    parser.add_argument("--model", type=lambda names: names.split(","), default=MODELS)
    options = parser.parse_args()
    photos = sorted(path for path in options.folder.iterdir() if path.is_file())
    for part in options.part:
        for line in PARTS[part](options.model, photos):
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
