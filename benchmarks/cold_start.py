"""From nothing to the first label: a new process with a bundle against the Keras script that people write.

Run: ``python benchmarks/cold_start.py [--rounds 7] [--runtimes openvino,onnxruntime,litert]``. MobileNet with random
weights; each side begins with a file that holds them. The sides take turns; the first round fills the disk cache,
compiles the library's modules to bytecode, as an installation does, and does not count.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

from pretrained_cnn import Classifier, imagenet_labels
from pretrained_cnn.runtimes import get_runtime

RUNTIMES = ["openvino", "onnxruntime", "litert"]
PHOTO = Path(__file__).parent.parent / "examples" / "images" / "clock.png"

BY_HAND = """
import sys

import keras
import numpy as np
from keras.applications.mobilenet import preprocess_input

model = keras.saving.load_model(sys.argv[1], compile=False)
image = keras.utils.img_to_array(keras.utils.load_img(sys.argv[2], target_size=(224, 224)))
scores = model.predict(preprocess_input(image[np.newaxis]), verbose=0)[0]
labels = open(sys.argv[3]).read().splitlines()
print(labels[scores.argmax()])
"""

OURS = """
import sys

from pretrained_cnn import Classifier

print(Classifier.load(sys.argv[1]).predict(sys.argv[2]).top.label)
"""


def seconds(program: str, *arguments: object) -> float:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--runtimes", type=lambda names: names.split(","), default=RUNTIMES)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = keras.applications.MobileNet(weights=None)
        model.save(folder / "mobilenet.keras")
        model.save_weights(folder / "mobilenet.weights.h5")
        (folder / "labels.txt").write_text("\n".join(label.name for label in imagenet_labels()))
        clf = Classifier("MobileNet", weights=folder / "mobilenet.weights.h5")
        sides: dict[str, tuple[str, *tuple[Path, ...]]] = {
            "a Keras script": (BY_HAND, folder / "mobilenet.keras", PHOTO, folder / "labels.txt")
        }
        for runtime in options.runtimes:
            clf.save(folder / runtime, format=get_runtime(runtime).format)
            sides[f"ours, a bundle for `{runtime}`"] = (OURS, folder / runtime, PHOTO)
        rounds = [[seconds(*side) for side in sides.values()] for _ in range(options.rounds + 1)][1:]
    hand, *_ = medians = [statistics.median(times) for times in zip(*rounds, strict=True)]
    print("| a new process, to the first label | seconds | times as fast |")
    print("|---|---|---|")
    for side, median in zip(sides, medians, strict=True):
        print(f"| {side} | {median:.2f} | {hand / median:.1f} |")


if __name__ == "__main__":
    main()
