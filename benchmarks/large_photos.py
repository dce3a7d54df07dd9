"""What drafts and color profiles cost and gain, on labeled photos enlarged to 12 megapixels.

Run: ``python benchmarks/large_photos.py FOLDER`` with a folder of photos whose names begin with the wnid of what they
show. The 12-megapixel copies are written to a temporary folder. Prints, for the network given, how many photos are
classified correctly and how long decoding and resizing takes, with and without drafts; then what color profiles change.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from PIL import Image

from pretrained_cnn import Classifier, ImagePolicy
from pretrained_cnn.images.batch import load
from pretrained_cnn.images.sources import single_item

MEGAPIXELS = 12e6


def enlarge(photo: Path, folder: Path) -> Path:
    """A copy of 12 megapixels, as a camera's JPEG."""
    with Image.open(photo) as image:
        factor = (MEGAPIXELS / (image.width * image.height)) ** 0.5
        size = round(image.width * factor), round(image.height * factor)
        large = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        copy = folder / f"{photo.stem}.jpg"
        large.save(copy, quality=92, icc_profile=image.info.get("icc_profile"))
    return copy


def decoding(clf: Classifier, photos: list[Path], policy: ImagePolicy) -> float:
    """Median milliseconds to decode and resize one photo, in one thread."""
    times = []
    for photo in photos:
        start = time.perf_counter()
        load(single_item(photo), clf.spec.input_size, clf.spec.resize, policy)
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


def main() -> None:
    """Print two tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="EfficientNetLite0")
    options = parser.parse_args()
    originals = sorted(path for path in options.folder.iterdir() if path.is_file())
    with tempfile.TemporaryDirectory() as name:
        large = [enlarge(photo, Path(name)) for photo in originals]
        cases = {
            "12 megapixels, in full": (large, ImagePolicy(draft=False)),
            "12 megapixels, drafts (the default)": (large, ImagePolicy()),
            "as they are, profiles ignored": (originals, ImagePolicy(color_profile="ignore")),
            "as they are, profiles converted (the default)": (originals, ImagePolicy()),
        }
        print(f"| {len(originals)} photos, {options.model} | classified correctly | decode and resize one (ms) |")
        print("|---|---|---|")
        tops: dict[str, list[str]] = {}
        for case, (photos, policy) in cases.items():
            clf = Classifier(options.model, image_policy=policy)
            tops[case] = [result.top.id for result in clf.stream(photos, errors="raise")]
            right = sum(photo.name.startswith(top) for photo, top in zip(photos, tops[case], strict=True))
            print(f"| {case} | {right} | {decoding(clf, photos, policy):.1f} |", flush=True)
    full, draft, ignored, converted = tops.values()
    print(f"\nDrafts change the best class of {_differing(full, draft)} photos, ", end="")
    print(f"profiles that of {_differing(ignored, converted)}.")


def _differing(one: list[str], other: list[str]) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


if __name__ == "__main__":
    main()
