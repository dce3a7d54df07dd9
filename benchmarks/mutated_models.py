"""Open thousands of Keras files that were changed at random: each is opened, or is an error that says why not.

``python benchmarks/mutated_models.py`` opens 10,000. A process opens them one after the other, in place of the child
process that tries a file. A file that ends it by a signal, or takes more than a minute, is counted. A new process opens
the next one. The exit status is 1 if a file raises anything but an error of the library, or if a look at its first
bytes, which is no child's, ends the process. ``--only KIND NUMBER`` opens one file again.
"""

from __future__ import annotations

import argparse
import importlib
import random
import signal
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from mutated_files import mutate

KINDS = ("keras2.h5", "keras2.keras", "keras3.h5", "keras3.keras")
MOST_SECONDS = 60


def write(kind: str, folder: Path) -> Path:
    """A small file of a kind. Keras 3 cannot load those of Keras 2 itself."""
    keras: Any = importlib.import_module("tf_keras" if kind.startswith("keras2") else "keras")
    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    found = layers.BatchNormalization()(layers.DepthwiseConv2D(3)(inputs))
    found = layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(found))
    path = folder / f"model.{kind.rpartition('.')[2]}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # HDF5 is legacy, Keras says
        keras.Model(inputs, found).save(path)
    return path


def change(data: bytes, number: int) -> bytes:
    """Half of the changes are anywhere, half in the description of the network, where a file says what it is."""
    generator = random.Random(number)
    start, end = data.find(b'{"class_name"'), data.rfind(b"}") + 1
    if number % 2 or not 0 <= start < end:
        return mutate(data, generator)
    text = bytearray(data[start:end])
    for _ in range(generator.randint(1, 3)):
        place = generator.randrange(len(text))
        text[place] = generator.choice(b'0123456789"[]{},:- aelnrstuABD')
    return data[:start] + bytes(text) + data[end:]


def open_changed(source: Path, number: int) -> str:
    """What became of a file: ``opened``, ``error``, or what else was raised."""
    from pretrained_cnn import Classifier, PretrainedCNNError
    from pretrained_cnn.foreign.files import find_file

    path = source.with_name(f"changed{source.suffix}")
    path.write_bytes(change(source.read_bytes(), number))
    print(number, "found", flush=True)
    find_file(path)
    print(number, "opening", flush=True)
    try:
        Classifier.from_file(path, labels="numbers", preprocess="none", input_size=None)
    except PretrainedCNNError as error:
        return "error" if len(str(error)) < 3000 else f"an error of {len(str(error))} characters"
    except BaseException as error:  # whatever it is, it is the finding
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return "opened"


def open_some(source: Path, first: int, end: int) -> None:
    """Open the files of these numbers, in this process; a line says what became of each."""
    from pretrained_cnn.bundle import child

    child.allowed = False
    for number in range(first, end):
        if hasattr(signal, "alarm"):
            signal.alarm(MOST_SECONDS)
        print(number, "=", open_changed(source, number), flush=True)


def survive(kind: str, count: int, first: int = 0) -> tuple[Counter[str], list[str]]:
    """What became of files, by kinds of end, and what must not be."""
    ends: Counter[str] = Counter()
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        source = write(kind, Path(folder))
        end = first + count
        while first < end:
            command = [sys.executable, __file__, "--worker", str(source), str(first), str(end)]
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
            lines = [line.split(" ", 2) for line in done.stdout.splitlines() if line[:1].isdigit()]
            for number, mark, *rest in lines:
                if mark == "=":
                    ends[rest[0] if rest[0] in ("opened", "error") else "failed"] += 1
                    if rest[0] not in ("opened", "error"):
                        failures.append(f"{kind} {number}: {rest[0]}")
            if not lines:
                raise RuntimeError(done.stderr[-2000:])
            number, mark, *_ = lines[-1]
            if mark != "=":
                ends["ended the process"] += 1
                if mark == "found" or done.returncode >= 0:
                    failures.append(f"{kind} {number}: status {done.returncode} at {mark!r}: {done.stderr[-300:]}")
            first = int(number) + 1
    return ends, failures


def main() -> int:
    parser = argparse.ArgumentParser(description="Open Keras files that were changed at random.")
    parser.add_argument("--files", type=int, default=10_000, help="Number of files (default: 10000).")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="Kinds of files (default: all).")
    parser.add_argument("--only", nargs=2, metavar=("KIND", "NUMBER"), help="Open one file.")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        source, first, end = options.worker
        open_some(Path(source), int(first), int(end))
        return 0
    if options.only:
        print(survive(options.only[0], 1, int(options.only[1])))
        return 0
    failed: list[str] = []
    print(f"{'kind':14} {'opened':>8} {'errors':>8} {'ended the process':>18}")
    for kind in options.kinds:
        ends, failures = survive(kind, -(-options.files // len(options.kinds)))
        print(f"{kind:14} {ends['opened']:8,} {ends['error']:8,} {ends['ended the process']:18,}", flush=True)
        failed += failures
    for failure in failed:
        print(f"FAILED {failure}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
