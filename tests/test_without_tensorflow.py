"""Bundles where there is neither TensorFlow nor Keras: a second virtual environment, and the same answers."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from environments import Environment
from paths import ASSETS, EXAMPLES, ROOT
from serving import FORM, Service, form

from pretrained_cnn import Classifier
from pretrained_cnn.testing import RuntimeConformance

pytestmark = pytest.mark.slow

PACKAGES = ["numpy", "pillow", "typing-extensions", "openvino", "onnxruntime", "ai-edge-litert"]
FORMATS = ["openvino", "onnx", "litert"]


class Lean(Environment):
    """An environment with `PACKAGES` alone, in the versions that the tests run with."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, *(f"{package}=={version(package)}" for package in PACKAGES))

    def python(self, program: str, *arguments: str) -> Any:
        """The JSON that a program prints last."""
        return json.loads(self.run("python", "-c", program, *arguments).splitlines()[-1])


class Case(NamedTuple):
    """A backbone as bundles, images, and what the runtime ``"keras"`` says of them."""

    bundles: dict[str, Path]
    images: Sequence[Path]
    scores: np.ndarray


@pytest.fixture(scope="module")
def lean(tmp_path_factory: pytest.TempPathFactory) -> Lean:
    return Lean(tmp_path_factory.mktemp("lean") / "venv")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """MobileNet and 100 photos where there are assets, else EfficientNetLite0 and the images that we drew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_HOME", str(ASSETS / "keras_home"))
        real = ASSETS.is_dir()
        clf = Classifier("MobileNet" if real else "EfficientNetLite0")
        images = sorted((ASSETS / "imagenet").iterdir() if real else EXAMPLES.glob("*.png"))
        assert len(images) == (100 if real else 6)
        folder = tmp_path_factory.mktemp("bundles")
        for format in [*FORMATS, "saved_model", "keras"]:
            clf.save(folder / format, format=format, output=["scores", "embedding"])
        bundles = {path.name: path for path in folder.iterdir()}
        return Case(bundles, images, clf.predict_proba(images))


def test_nothing_else_is_installed(lean: Lean) -> None:
    program = "import json, importlib.metadata as m; print(json.dumps([d.name.lower() for d in m.distributions()]))"
    installed = {name.replace("_", "-") for name in lean.python(program)} - {"pip", "setuptools"}
    assert installed == {"pretrained-cnn", *PACKAGES}
    for module in ("tensorflow", "keras"):
        lean.run("python", "-c", f"import {module}", code=1)


CLASSIFY = """
import json, sys
import numpy as np
from pretrained_cnn import Classifier

bundle, out, *images = sys.argv[1:]
clf = Classifier.load(bundle)
np.save(out, clf.predict_proba(images))
results = [result.to_dict() for result in clf.stream(images, top=1, errors="raise")]
print(json.dumps([(result["source"], *result["predictions"][0].values()) for result in results]))
"""


@pytest.mark.parametrize("format", FORMATS)
def test_a_bundle_gives_the_same_answers(lean: Lean, case: Case, format: str, tmp_path: Path) -> None:
    images = [str(image) for image in case.images]
    rows = lean.python(CLASSIFY, str(case.bundles[format]), str(tmp_path / "scores.npy"), *images)
    scores = np.load(tmp_path / "scores.npy")
    best = case.scores.argmax(axis=1)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, case.scores, atol=1e-4, rtol=0)
    np.testing.assert_array_equal(scores.argmax(axis=1), best)
    labels = Classifier("MobileNet").spec.labels
    assert [row[:3] for row in rows] == [
        [image, labels[i].id, labels[i].name] for image, i in zip(images, best, strict=True)
    ]
    assert len(set(best)) > len(images) / 2, "the images show different things, and the network sees it"


PROGRAM = """
import sys
from pretrained_cnn import Classifier
print(Classifier.load(sys.argv[1]).predict(sys.argv[2]).top.index)
"""


def test_a_program_of_pyinstaller(lean: Lean, case: Case, tmp_path: Path) -> None:
    """Built in the lean installation, by the hook that is in the package, with no option that names this library."""
    tools = ("pyinstaller", "pyinstaller-hooks-contrib", "altgraph", "packaging", "setuptools", "typing-extensions")
    lean.run("python", "-m", "pip", "install", "--disable-pip-version-check", "--no-deps", *tools)
    (tmp_path / "see.py").write_text(PROGRAM)
    lean.run("pyinstaller", "--log-level=ERROR", "see.py", cwd=tmp_path)
    image = str(case.images[0])
    for format in FORMATS:
        command = [tmp_path / "dist/see/see", case.bundles[format], image]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={"PATH": ""})
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) == case.scores[0].argmax()


def refused(lean: Lean, expression: str) -> str:
    """The message of the MissingDependencyError that an expression raises there."""
    program = f"""
import json
from pretrained_cnn import Classifier, MissingDependencyError
try:
    {expression}
except MissingDependencyError as error:
    print(json.dumps(str(error)))
"""
    message = lean.python(program)
    assert isinstance(message, str)
    return message


def test_what_needs_keras_says_so(lean: Lean, case: Case) -> None:
    image = str(EXAMPLES / "clock.png")
    keras = "this needs the package keras: pip install keras"
    assert refused(lean, 'Classifier("MobileNet")') == keras
    assert refused(lean, f'Classifier("MobileNet", runtime="openvino").predict({image!r})') == keras
    assert refused(lean, 'Classifier("MobileNet", runtime="onnxruntime").save("copy.bundle")') == keras
    bundle = str(case.bundles["keras"])
    assert refused(lean, f"Classifier.load({bundle!r})") == keras
    assert refused(lean, f"Classifier.load({bundle!r}, runtime='openvino')") == keras
    tensorflow = "this needs the package tensorflow: pip install tensorflow"
    assert refused(lean, f"Classifier.load({str(case.bundles['saved_model'])!r})") == tensorflow


def test_a_bundle_is_saved_as_it_is(lean: Lean, case: Case, tmp_path: Path) -> None:
    program = """
import json, sys
from pretrained_cnn import BundleError, Classifier
clf = Classifier.load(sys.argv[1])
clf.save(sys.argv[2])
try:
    clf.save(sys.argv[2] + "-2", format="keras")
except BundleError as error:
    print(json.dumps(str(error)))
"""
    path, copy = str(case.bundles["onnx"]), str(tmp_path / "copy.bundle")
    assert lean.python(program, path, copy) == (
        f"{path} is of format='onnx' with dtype='float32' and gives scores and embedding only, so it can be saved as "
        'it is, without format=...; what else is in the network is in a bundle of format="keras"'
    )
    assert "4 images\tsame best class 100%" in lean.run("pretrained-cnn", "check", copy)


@pytest.mark.parametrize("format", FORMATS)
def test_the_command_line_gives_the_same_answers(lean: Lean, case: Case, format: str) -> None:
    bundle, images = str(case.bundles[format]), [str(image) for image in case.images]
    printed = lean.run("pretrained-cnn", "classify", "--model", bundle, "--top", "1", "--json", *images)
    rows = [json.loads(line) for line in printed.splitlines()]
    assert [row["source"] for row in rows] == images
    best = [row["predictions"][0] for row in rows]
    assert [row["index"] for row in best] == case.scores.argmax(axis=1).tolist()
    np.testing.assert_allclose([row["score"] for row in best], case.scores.max(axis=1), atol=1e-4, rtol=0)
    assert "4 images\tsame best class 100%" in lean.run("pretrained-cnn", "check", bundle)


def test_the_command_line_says_what_is_missing(lean: Lean) -> None:
    lean.run("pretrained-cnn", "models")
    command = [lean.scripts / "pretrained-cnn", "classify", "--model", "MobileNet", EXAMPLES / "clock.png"]
    done = subprocess.run(command, cwd=lean.scripts, env=lean.environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "pretrained-cnn: this needs the package keras: pip install keras\n"


def lean_lines() -> list[str]:
    """The lines of docs/how-to/deploy.md that install without TensorFlow, as they stand there."""
    page = (ROOT / "docs" / "how-to" / "deploy.md").read_text("utf-8")
    return re.findall(r"^\$ (pip install --no-deps pretrained-cnn && pip install .* filelock .*)$", page, re.MULTILINE)


@pytest.mark.skipif(os.name == "nt", reason="a shell and a pseudo-terminal")
def test_the_first_line_of_the_page_is_enough(case: Case, tmp_path: Path) -> None:
    """Everything that needs no Keras works, also on a terminal; everything else says what to install."""
    assert [line.split()[-1] for line in lean_lines()] == ["openvino", "onnxruntime", "ai-edge-litert"]
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True, timeout=300)
    programs = tmp_path / "venv" / "bin"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PYTEST"))}
    environment |= {"PATH": f"{programs}{os.pathsep}{environment['PATH']}", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    line = lean_lines()[0].replace("pretrained-cnn", shlex.quote(str(ROOT)), 1)
    subprocess.run(["bash", "-c", line], env=environment, check=True, timeout=600)

    def run(command: str) -> tuple[int, str]:
        """The status of a command on a pseudo-terminal, and all that it printed there."""
        done = subprocess.run(
            [sys.executable, "-c", "import pty, sys, os; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))",
             "bash", "-c", command],
            cwd=tmp_path, env=environment, capture_output=True, stdin=subprocess.DEVNULL, text=True, timeout=300,
        )  # fmt: skip
        return done.returncode, done.stdout

    bundle, image = shlex.quote(str(case.bundles["openvino"])), shlex.quote(str(EXAMPLES / "clock.png"))
    folder = shlex.quote(str(EXAMPLES))
    (tmp_path / "labels.csv").write_text(f"path,label\n{EXAMPLES / 'clock.png'},analog_clock\n")
    for command in (
        f"classify {image} --model {bundle}",
        f"classify {folder} --model {bundle} --output rows.csv",
        f"classify {folder} --model {bundle} --output rows.csv --resume",
        f"report {folder} --model {bundle} --output page.html",
        f"embed {folder} --model {bundle} --output rows.npy",
        f"evaluate labels.csv --model {bundle}",
        f"check {bundle}",
        "cache",
        "models",
        "runtimes",
    ):
        status, printed = run(f"pretrained-cnn {command}")
        assert (status, "Traceback" in printed) == (0, False), (command, printed)
    for command, package in (
        (f"classify {image} --model MobileNet", "keras"),
        (f"classify {image} --model EfficientNetLite0 --runtime openvino", "keras"),
        (f"classify {image} --model {bundle} --output rows.parquet", "pyarrow"),
        ("export --output copy.bundle --model EfficientNetLite0", "keras"),
    ):
        status, printed = run(f"pretrained-cnn {command}")
        assert status == 1, (command, printed)
        assert f"this needs the package {package}: pip install" in printed, (command, printed)
        assert "Traceback" not in printed, (command, printed)


CONTAINER = """
mount --bind "$1" /mnt && mount -o remount,bind,ro / && mount -o remount,bind,ro /mnt && shift
mount -t tmpfs -o ro none /tmp && mount -t tmpfs -o ro none /dev/shm && cd /
exec setpriv --reuid 65532 --regid 65532 --clear-groups --bounding-set -all --inh-caps -all --no-new-privs "$@"
"""
"""What a container engine does for a service: no user of the system, no capability, and nothing that it could write."""


def test_a_service_as_in_a_container(lean: Lean, clock: Path) -> None:
    """With the packages of the Dockerfile; where this is not Linux, or we are not root, as the user that we are."""
    root = lean.scripts.parent
    Classifier(RuntimeConformance.spec).save(root / "served.bundle", format="openvino")
    served = [f"{package}=={version(package)}" for package in ("fastapi", "uvicorn", "python-multipart")]
    lean.run("python", "-m", "pip", "install", "-q", "--target", str(root / "served"), *served)
    contained = ["unshare", "-m", "sh", "-ec", CONTAINER, "sh", str(root)]
    can = shutil.which("setpriv") and shutil.which("unshare")
    if can and subprocess.run([*contained, "true"], capture_output=True).returncode == 0:
        python, place = [*contained, "/mnt/bin/python"], Path("/mnt")
    else:
        python, place = [str(lean.scripts / "python")], root
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(place / "served"), "HOME": "/nonexistent"}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
    with Service(place / "served.bundle", python=python, environment=environment) as service:
        if place == Path("/mnt"):
            status = dict(
                line.split(":\t", 1) for line in Path(f"/proc/{service.process.pid}/status").read_text().splitlines()
            )
            assert status["Uid"].split() == ["65532"] * 4
            assert int(status["CapEff"], 16) == 0
        answer = service.post("/predict", clock.read_bytes())[1]
        expected = Classifier.load(root / "served.bundle").predict(clock).to_dict()
        assert [each["label"] for each in answer["predictions"]] == [each["label"] for each in expected["predictions"]]
        large = b"P6 1700 1700 255 " + bytes(3 * 1700**2)  # more than what servers often put on the disk
        assert service.post("/predict", form(("large.ppm", large)), FORM)[0] == 200
        assert service.end() == 0
        assert not [line for line in service.lines if "Warning" in line or "Error" in line or "cannot" in line]
