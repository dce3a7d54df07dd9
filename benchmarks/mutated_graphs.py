"""Open model files that were changed at random: each must end as a classifier or as a named error.

    python benchmarks/mutated_graphs.py model.onnx --files 10000

``model`` is a TFLite, ONNX or OpenVINO file, or the folder of a SavedModel, of at most four classes. A few bytes of it
are changed, and of every fifth file the end is cut off. A file fails that raises anything but an error of this library,
which is printed. A file that ends its process, or takes more than ten seconds, is counted: elsewhere each is opened in
a child process, which `Classifier.from_file` turns into an error.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from pretrained_cnn.bundle import child
from pretrained_cnn.errors import PretrainedCNNError
from pretrained_cnn.foreign.graph_files import READERS, open_graph
from pretrained_cnn.foreign.kinds import kind_of

SECONDS = 10
LINE = re.compile(r"^\[(\d+)\]( .*)?$", re.MULTILINE)
"""What is printed of a file, among what runtimes print: its number, and again with what came of it."""


def change(data: bytes, number: int) -> bytes:
    """The ``number``-th change of ``data``, the same each time."""
    draw, changed = random.Random(number), bytearray(data)
    for _ in range(draw.choice([1, 2, 8])):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    if number % 5 == 0:
        del changed[draw.randrange(len(changed)) :]
    return bytes(changed)


def open_all(path: Path, first: int, count: int, folder: Path) -> None:
    """Open the changed files in this process, and print the number of each, and then what came of it."""
    child.allowed = False
    copied = folder / f"changed{path.suffix}"
    if path.is_dir():
        shutil.copytree(path, copied)
    elif path.suffix == ".xml":
        shutil.copyfile(path.with_suffix(".bin"), copied.with_suffix(".bin"))
    file = copied / "saved_model.pb" if path.is_dir() else copied
    data = (path / "saved_model.pb" if path.is_dir() else path).read_bytes()
    kind = kind_of(path)
    assert kind in READERS, f"{path} is not a TFLite, ONNX or OpenVINO file, or a SavedModel"
    shutil.rmtree(open_graph(path, kind, labels=list("abcd"), preprocess="unit"))  # what it imports takes seconds
    for number in range(first, count):
        print(f"\n[{number}]", flush=True)
        signal.alarm(SECONDS)
        file.write_bytes(change(data, number))
        kind = kind_of(copied)
        outcome = "not a model"
        if kind in READERS:
            try:
                shutil.rmtree(open_graph(copied, kind, labels=list("abcd"), preprocess="unit"))
                outcome = "opened"
            except PretrainedCNNError as error:
                outcome = "refused" if len(str(error)) < 3000 else "refused at length"
        print(f"\n[{number}] {outcome}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    parser.add_argument("--files", type=int, default=10_000, help="How many files (default: 10000).")
    parser.add_argument("--first", type=int, help="Only this process, from this file on; what the program calls.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.first is not None:
            open_all(options.model, options.first, options.files, Path(folder))
            return 0
        outcomes: Counter[str] = Counter()
        first, began = 0, time.perf_counter()
        while first < options.files:
            command = [sys.executable, __file__, str(options.model), "--files", str(options.files)]
            done = subprocess.run([*command, "--first", str(first)], capture_output=True, text=True, check=False)
            found = {int(number): what for number, what in LINE.findall(done.stdout)}
            outcomes.update(what.strip() or "ended the process" for what in found.values())
            first = max(found, default=first - 1) + 1
            if done.returncode > 0 or not found:
                print(f"file {first - 1} fails:\n{done.stderr[-2000:]}")
                return 1
    print(f"{options.files} files in {time.perf_counter() - began:.0f} s: ", end="")
    print(", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
