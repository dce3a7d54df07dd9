"""Decode files that were changed at random: each must end as an image or as a named error, in bounded time and memory.

    python benchmarks/mutated_files.py --files 200000

Small files of ten formats are changed in a few places each. A file fails that raises anything but an ImageError that
names it, takes more than 20 seconds of CPU, or more than 600 MB of memory beside what the process has. What is printed
for a failure repeats it: ``--only FORMAT SEED``.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from pretrained_cnn import ImageError, ImagePolicy, ResizePolicy
from pretrained_cnn.images.batch import load
from pretrained_cnn.images.sources import single_item

MOST_SECONDS, MOST_BYTES = 20.0, 600_000_000
CHUNK = 500
"""Files for which a process is asked at once."""


def encode(image: Image.Image, format: str, **options: object) -> bytes:
    """A file's bytes."""
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def samples() -> dict[str, bytes]:
    """A small file of each format."""
    drawing = Path(__file__).parent.parent / "examples" / "images" / "balloon.png"
    with Image.open(drawing) as opened:
        image = opened.convert("RGB").resize((48, 60))
    gray = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "AVIF": encode(image, "AVIF", quality=60),
        "BMP": encode(image, "BMP"),
        "GIF": encode(image, "GIF", save_all=True, append_images=[image.rotate(90)]),
        "JPEG": encode(image, "JPEG", exif=exif),
        "JPEG, progressive": encode(image, "JPEG", progressive=True),
        "JPEG 2000": encode(image, "JPEG2000"),
        "PNG": encode(image.convert("RGBA"), "PNG", exif=exif),
        "PPM": encode(gray, "PPM"),
        "TIFF": encode(image, "TIFF", compression="tiff_lzw"),
        "TIFF, 16 bits": encode(gray, "TIFF", compression="tiff_adobe_deflate"),
        "WebP": encode(image, "WEBP", exif=exif),
    }


def mutate(data: bytes, generator: random.Random) -> bytes:
    """A few changes as a bad disk, a bad line or a bad person makes them."""
    mutated = bytearray(data)
    for _ in range(generator.randint(1, 6)):
        # Half of the changes hit the first bytes, where headers say sizes and kinds.
        place = generator.randrange(min(len(mutated), 200 if generator.random() < 0.5 else len(mutated)) or 1)
        kind = generator.randrange(5)
        if kind == 0 and mutated:
            mutated[place] = generator.randrange(256)
        elif kind == 1 and mutated:
            mutated[place] = generator.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif kind == 2:
            del mutated[place : place + generator.randint(1, 64)]
        elif kind == 3:
            mutated[place:place] = generator.randbytes(generator.randint(1, 16))
        elif generator.random() < 0.3:
            del mutated[place:]
    return bytes(mutated)


def peak_bytes(*, reset: bool = False) -> int:
    """The most memory that this process has had since it was reset; 0 where the system does not tell."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in status if line.startswith("VmHWM:")).split()[1]) * 1024
    except OSError:
        return 0


def decode_one(format: str, seed: int) -> tuple[str, float, int]:
    """What became of a file: ``image``, ``error``, or what is wrong; the seconds and the bytes that it took."""
    data = mutate(samples_here()[format], random.Random(seed))
    before, start = peak_bytes(reset=True), time.process_time()
    try:
        load(single_item(data), (64, 64), ResizePolicy(), ImagePolicy(truncated="allow" if seed % 4 == 0 else "error"))
        outcome = "image"
    except ImageError as error:
        outcome = "error" if str(error).startswith("<bytes 0>: ") else f"an error without the name: {error}"
    except BaseException as error:  # whatever it is, it is the finding
        outcome = f"{type(error).__name__}: {error}"
    seconds, memory = time.process_time() - start, peak_bytes() - before
    if seconds > MOST_SECONDS:
        outcome = f"{seconds:.1f} seconds"
    if memory > MOST_BYTES:
        outcome = f"{memory / 1e6:.0f} MB"
    return outcome, seconds, memory


_samples: dict[str, bytes] = {}


def samples_here() -> dict[str, bytes]:
    """The files, made once a process."""
    if not _samples:
        _samples.update(samples())
    return _samples


def decode_some(format: str, seeds: range) -> list[tuple[int, str, float, int]]:
    """`decode_one` for each seed."""
    return [(seed, *decode_one(format, seed)) for seed in seeds]


def main() -> int:
    parser = argparse.ArgumentParser(description="Decode files that were changed at random.")
    parser.add_argument("--files", type=int, default=200_000, help="Number of files (default: 200000).")
    parser.add_argument("--processes", type=int, default=2, help="Number of processes (default: 2).")
    parser.add_argument("--only", nargs=2, metavar=("FORMAT", "SEED"), help="Decode one file.")
    options = parser.parse_args()
    if options.only:
        print(decode_one(options.only[0], int(options.only[1])))
        return 0
    names = list(samples())
    each = -(-options.files // len(names))
    failed = 0
    print(f"{'format':20} {'images':>8} {'errors':>8} {'most seconds':>13} {'most MB':>8}")
    with ProcessPoolExecutor(options.processes) as pool:
        for name in names:
            jobs = [
                pool.submit(decode_some, name, range(start, min(start + CHUNK, each)))
                for start in range(0, each, CHUNK)
            ]
            found = [row for job in jobs for row in job.result()]
            outcomes = Counter(outcome for _, outcome, _, _ in found)
            print(
                f"{name:20} {outcomes['image']:8,} {outcomes['error']:8,} {max(row[2] for row in found):13.2f} "
                f"{max(row[3] for row in found) / 1e6:8.0f}",
                flush=True,
            )
            for seed, outcome, _, _ in found:
                if outcome not in ("image", "error"):
                    failed += 1
                    print(f"FAILED {name!r} {seed}: {outcome}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
