"""What grows with the number of images in a flat folder: the time to the first row, the rate, and the peak memory.

Run: ``python benchmarks/scale.py [--names 1000 10000 100000 1000000] [--rows 900] [--folder /dev/shm] [--on-ray]``. The
images are hard links to small PNG files, and the network is a tiny one for OpenVINO, so that listing and writing are
what is measured. Each size is a process of its own, ``pretrained-cnn classify FOLDER --output r.csv``, which is ended
after a given number of rows. On Ray it is the process that writes, and a cluster of this machine, with files of 500
images.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LINKS = 10_000
"""Names for one file; file systems have a limit."""


def make_bundle(path: Path) -> None:
    """A network of a few weights."""
    import keras

    from pretrained_cnn import Classifier

    layers = [keras.Input((8, 8, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, "softmax")]
    Classifier.from_keras(keras.Sequential(layers), labels=["a", "b", "c"]).save(path, format="openvino")


def make_folder(folder: Path, names: int) -> None:
    """This number of names of small images."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (9, 9)).save(file, "png")
    folder.mkdir()
    for number in range(names):
        path = folder / f"{number:07}.png"
        if number % LINKS == 0:
            original = path
            path.write_bytes(file.getvalue())
        else:
            os.link(original, path)


def written_to(output: Path) -> int:
    """How many rows a file has, or a folder of files."""
    files = sorted(output.glob("0*.csv")) if output.is_dir() else [output] if output.exists() else []
    return sum(file.read_bytes().count(b"\n") - 1 for file in files)


def measure(folder: Path, bundle: Path, rows: int, *, on_ray: bool = False) -> tuple[float, float, float]:
    """Seconds to the first row, rows a second after that, and the peak of memory in MB."""
    output = folder.with_suffix(".csv")
    command = [sys.executable, "-m", "pretrained_cnn", "classify", str(folder), "--model", str(bundle)]
    command += ["--top", "1", *(["--on", "ray", "--shard", "500"] if on_ray else [])]
    start = time.perf_counter()
    running = subprocess.Popen([*command, "--output", str(output)], stderr=subprocess.DEVNULL)
    first, written, begun = 0.0, 0, 0
    while written < rows and running.poll() is None:
        time.sleep(0.005)  # between two looks at the memory
        written = written_to(output)
        if written > 0 and not first:
            first, begun = time.perf_counter(), written
    seconds = time.perf_counter() - first
    (line,) = (
        line for line in Path(f"/proc/{running.pid}/status").read_text().splitlines() if line.startswith("VmHWM:")
    )
    running.send_signal(signal.SIGTERM)
    running.wait()
    return first - start, (written - begun) / seconds, int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--rows", type=int, default=900)
    parser.add_argument("--folder", default=None)
    parser.add_argument("--on-ray", action="store_true")
    options = parser.parse_args()
    print("| names | first row after (s) | rows a second | peak memory (MB) |\n|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        bundle = Path(name, "tiny.bundle")
        make_bundle(bundle)
        for names in options.names:
            folder = Path(name, str(names))
            make_folder(folder, names)
            first, rate, peak = measure(folder, bundle, min(options.rows, names), on_ray=options.on_ray)
            print(f"| {names:,} | {first:.1f} | {rate:,.0f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
