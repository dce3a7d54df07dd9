"""What a release promises to open later: ``python tests/release_files.py`` writes ``tests/released/VERSION``.

Run it once for each release. It refuses to replace a folder: the files of a release never change. In the folder are

- ``images/``: five small images and a file that is no image;
- ``bundles/``: a bundle of each format, and one of each kind of classifier, all of a network of a few kilobytes;
- ``results/``: finished files of results and embeddings, and ``partial.*``, what a process leaves that is killed
  after two images;
- ``answers.json``: what the bundles answered when they were written.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pretrained_cnn import Classifier, __version__, write_results
from pretrained_cnn.results.writing import open_results

RELEASED = Path(__file__).parent / "released"
SIZE = 16
LABELS = ("red", "green", "blue")
RESULTS, EMBEDDINGS = ("csv", "jsonl", "parquet"), ("npy", "embeddings.parquet")
BEFORE_THE_KILL = 2
"""Images whose rows are in ``partial.*``."""
FOLDER = "/data"
"""Where the runs began, by their settings files; who resumes one puts another folder in its place."""


def noise(count: int, seed: int) -> list[NDArray[np.uint8]]:
    """Images of noise, in turn a little more red, green and blue: so little that no classifier is sure."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 120, (count, SIZE, SIZE, 3))
    for index, pixels in enumerate(images):
        pixels[..., index % 3] += generator.integers(0, 12)
    return list(images.astype(np.uint8))


def labeled(count: int, seed: int) -> list[tuple[NDArray[np.uint8], str]]:
    """The same with their labels."""
    return [(pixels, LABELS[index % 3]) for index, pixels in enumerate(noise(count, seed))]


def several(count: int, seed: int) -> list[tuple[NDArray[np.uint8], list[str]]]:
    """Images with any number of labels: each color that is bright, and none where all are dark."""
    generator = np.random.default_rng(seed)
    found = []
    for pixels in generator.integers(0, 100, (count, SIZE, SIZE, 3)):
        bright = generator.random(3) < 0.4
        pixels += generator.integers(0, 12, 3) * bright
        labels = [label for label, is_bright in zip(LABELS, bright, strict=True) if is_bright]
        found.append((pixels.astype(np.uint8), labels))
    return found


def network(units: int = 3, activation: str = "softmax", channels: int = 3) -> Any:
    """A network of a few hundred weights, the same in every run."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, channels)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, strides=2, activation="relu", name="conv"),
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(units, activation, kernel_initializer=keras.initializers.Orthogonal(gain=8), name="scores"),
        ],
        name="tiny",
    )


def draw(folder: Path) -> None:
    """The images: two of the size that the network takes, and three that are resized or converted to RGB."""
    folder.mkdir()
    red, green, _ = noise(3, seed=7)
    Image.fromarray(red).save(folder / "exact red.png")
    Image.fromarray(green).save(folder / "exact green.png")
    wide = np.zeros((24, 60, 3), np.uint8)
    wide[:, :, 2] = np.linspace(0, 255, 60)
    Image.fromarray(wide).save(folder / "wide blue.png")
    Image.fromarray(np.arange(20 * 20, dtype=np.uint8).reshape(20, 20)).save(folder / "gray.png")
    Image.fromarray(np.dstack([red, green[..., 0]])).save(folder / "transparent.png")
    (folder / "broken.png").write_bytes(b"no image\n")


def bundles(folder: Path) -> None:
    """A bundle of each format, and of each kind of classifier."""
    clf = Classifier.from_keras(network(), labels=LABELS)
    for format in ("keras", "saved_model", "onnx", "openvino", "litert"):
        clf.save(folder / format, format=format, output=["scores", "embedding"])
    clf.save(folder / "float16", format="litert", dtype="float16")
    clf.save(folder / "int8", format="openvino", quantize=noise(60, seed=1))
    trained = Classifier.train(labeled(60, seed=2), clf, validation=labeled(30, seed=3), cache=False)
    trained.save(folder / "trained", format="openvino", output=["scores", "embedding"])
    trained.calibrate(labeled(60, seed=4), coverage=0.9).save(folder / "calibrated", format="onnx")
    tagged = Classifier.train(several(60, 5), clf, validation=several(30, 6), multi_label=True, cache=False)
    tagged.save(folder / "multi_label", format="onnx")
    binary = Classifier.from_keras(network(1, "sigmoid"), labels=["no", "yes"])
    binary.save(folder / "binary", format="openvino")
    gray = Classifier.from_keras(network(channels=1), labels=LABELS)
    gray.save(folder / "gray", format="onnx")


def answers(bundle: Path, images: list[Path]) -> dict[str, Any]:
    """What a bundle answers now."""
    with Classifier.load(bundle) as clf:
        results = clf.predict_batch(images, top=3)
        found: dict[str, Any] = {
            "runtime": clf.runtime,
            "labels": [label.name for label in clf.labels],
            "thresholds": list(clf.spec.thresholds),
            "scores": clf.predict_proba(images).tolist(),
            "best": [result[0].label for result in results if result.predictions],
            "status": [result.status for result in results],
            "label_sets": [
                None if result.label_set is None else [each.label for each in result.label_set] for result in results
            ],
            "embedding": clf.embed(images).tolist() if "embedding" in clf.engine.bundle.outputs else None,
            "validation_loss": None if clf.report is None else clf.report.metrics["validation_loss"],
        }
    return found


def results(bundle: Path, folder: Path) -> None:
    """Finished and partial files of rows. The working directory holds ``images``."""
    with Classifier.load(bundle) as clf:
        for suffix in RESULTS + EMBEDDINGS:

            def stream(suffix: str = suffix) -> Any:
                return clf.stream("images", top=2) if suffix in RESULTS else clf.embed_stream("images")

            write_results(stream(), folder / f"finished.{suffix}")
            with open_results(stream(), folder / f"partial.{suffix}") as (file, rows), contextlib.closing(rows):
                for result in itertools.islice(rows, BEFORE_THE_KILL):
                    file.write(result)
    for suffix in ("csv", "jsonl"):  # a kill may tear the last row
        with open(folder / f"partial.{suffix}", "ab") as partial:
            partial.write(b'"images/ex')
    for settings in folder.glob("*.settings.json"):
        noted = json.loads(settings.read_text("utf-8"))
        noted["run"]["folder"] = FOLDER
        settings.write_text(json.dumps(noted, indent=2), "utf-8")


def main() -> None:
    """Write the folder of this version."""
    target = RELEASED / __version__
    if target.exists():
        sys.exit(f"{target} already exists, and the files of a release never change; set the next version first")
    with tempfile.TemporaryDirectory() as name:
        made = Path(name)
        draw(made / "images")
        (made / "bundles").mkdir()
        bundles(made / "bundles")
        (made / "results").mkdir()
        with contextlib.chdir(made):
            results(made / "bundles" / "calibrated", made / "results")
        images = sorted(path for path in (made / "images").iterdir() if path.name != "broken.png")
        answered = {bundle.name: answers(bundle, images) for bundle in sorted((made / "bundles").iterdir())}
        text = json.dumps({"images": [path.name for path in images], "bundles": answered}, indent=1)
        (made / "answers.json").write_text(text + "\n", "utf-8")
        shutil.copytree(made, target)
    print(target, sum(path.stat().st_size for path in target.rglob("*") if path.is_file()), "bytes")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
