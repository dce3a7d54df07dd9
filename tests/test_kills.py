"""SIGKILL at random moments, a hundred times: no row of results or embeddings is lost, doubled or torn."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pretrained_cnn import Classifier

pytestmark = pytest.mark.slow

IMAGES = 1500
KILLS = 17

MODEL = ["--batch-size", "1", "--model"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, some of them broken, with the same names in two folders; and bundles that start quickly."""
    import keras

    folder = tmp_path_factory.mktemp("kills")
    layers = [keras.Input((8, 8, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, "softmax")]
    model = keras.Sequential(layers)
    model.layers[-1].set_weights([np.eye(3) / 64, np.zeros(3)])
    clf = Classifier.from_keras(model, labels=["red", "green", "blue"])
    clf.save(folder / "scores.bundle", format="openvino")
    clf.save(folder / "embedding.bundle", format="openvino", output="embedding")
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir()
        for number in range(IMAGES):
            path = folder / name / f"{number:04}.png"
            if number % 50 == 7:
                path.write_text("no image")
            else:
                Image.fromarray(generator.integers(0, 256, (9, 9, 3)).astype(np.uint8)).save(path)
    return folder


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pretrained_cnn", *arguments]
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)


def kill(folder: Path, output: str, *arguments: str) -> None:
    """Begin the run or continue it, and kill it at a random moment after it has opened its file."""
    lock = folder / f".{output}.lock"
    running = start(folder, *arguments, "--resume")
    while running.poll() is None and not lock.exists():
        time.sleep(0.002)
    time.sleep(random.uniform(0, 0.25))
    running.send_signal(signal.SIGKILL)
    running.communicate(timeout=60)
    lock.unlink(missing_ok=True)  # so that the next one can be seen


def whole(folder: Path, *arguments: str) -> str:
    running = start(folder, *arguments)
    said = running.communicate(timeout=120)[1]
    assert running.returncode == 1, said
    return said


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("classify", "r.csv"),
        ("classify", "r.jsonl"),
        ("classify", "r.parquet"),
        ("embed", "e.npy"),
        ("embed", "e.parquet"),
    ],
)
def test_a_run_that_is_killed_again_and_again_gives_the_bytes_of_one_that_is_not(
    command: str, output: str, folder: Path
) -> None:
    bundle = "scores.bundle" if command == "classify" else "embedding.bundle"
    call = [command, "a", *MODEL, bundle, "--output"]
    whole(folder, *call, f"whole-{output}")
    for _ in range(KILLS):
        kill(folder, output, *call, output)
    said = whole(folder, *call, output, "--resume")
    assert f"{IMAGES:,} images are in {output}" in said
    for end in ("", ".sources.csv"):
        if (folder / f"whole-{output}{end}").exists():
            assert (folder / f"{output}{end}").read_bytes() == (folder / f"whole-{output}{end}").read_bytes()
    assert json.loads((folder / f"{output}.settings.json").read_text())["finished"]
    assert not (folder / f"{output}.unfinished").exists()


def test_two_processes_that_sort_into_one_folder_and_are_killed_lose_no_image(folder: Path) -> None:
    shutil.rmtree(folder / "sorted", ignore_errors=True)
    calls = {
        output: ["classify", name, *MODEL, "scores.bundle", "--output", output, "--copy-to", "sorted"]
        for name, output in (("a", "a.csv"), ("b", "b.csv"))
    }
    for _ in range(KILLS):
        begun = [start(folder, *call, "--resume") for call in calls.values()]
        time.sleep(random.uniform(1.5, 2.5))
        for running in begun:
            running.send_signal(signal.SIGKILL)
            running.communicate(timeout=60)
    ended = [start(folder, *call, "--resume") for call in calls.values()]
    for running in ended:
        said = running.communicate(timeout=120)[1]
        assert running.returncode == 1
        assert f"{IMAGES:,} images are in" in said
    originals = sorted(
        path.read_bytes() for name in "ab" for path in (folder / name).iterdir() if path.stat().st_size > 8
    )
    copies = sorted(path.read_bytes() for path in (folder / "sorted").rglob("*.png") if path.suffix == ".png")
    assert copies == originals
    assert not [name for name in os.listdir(folder) if name.endswith(".lock")]


SHARDS = """
import os, random, signal, sys, time
from pretrained_cnn import ImageError, Prediction, Result
from pretrained_cnn.images.sources import Item
from pretrained_cnn.results.shards import Shards
from pretrained_cnn.results.stream import Found

NAMES = [f"bad {number}.png" if number % 9 == 4 else f"good {number}, caf\\udce9.png" for number in range(300)]

def write(path, pause):
    listed = (Found(Item(0, name, name), True) for name in NAMES)
    with Shards(path, {"top": 2}, listed, size=7, resume=True) as shards:
        for entry in shards.entries():
            time.sleep(pause)
            error = ImageError(entry.name, "it is bad") if entry.name.startswith("bad") else None
            named = (Prediction("n1", "a, b", 0.7, 1), Prediction("n2", entry.name[:8], 0.1, 2))
            shards.write(Result(entry.name, () if error else named, error), listed=entry.listed)
        shards.finish()
        return shards.images, shards.failed

path, kills = sys.argv[1], int(sys.argv[2])
assert write(f"whole-{path}", 0) == (300, 33)
print(sum(1 for _ in os.scandir(f"whole-{path}")))
for _ in range(kills):
    child = os.fork()
    if not child:
        write(path, 0.0005)
        os._exit(0)
    time.sleep(random.uniform(0, 0.03))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print(sum(1 for _ in os.scandir(path)) if os.path.exists(path) else 0)
assert write(path, 0) == (300, 33)
"""


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_the_files_of_a_cluster_are_whole_however_often_its_driver_is_killed(suffix: str, tmp_path: Path) -> None:
    """What the driver writes. The cluster itself loses workers and nodes in ``test_ray.py``."""
    done = subprocess.run(
        [sys.executable, "-c", SHARDS, f"r.{suffix}", "40"], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    files, *progress = map(int, done.stdout.split())
    assert len({count for count in progress if count < files}) > 2, "it was killed in between, at several moments"
    whole, broken = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in (f"whole-r.{suffix}", f"r.{suffix}")
    )
    assert {name for name in broken if not name.endswith(".part")} == set(whole)
    for name, content in whole.items():
        assert broken[name] == content, name
