"""What a model's file says of itself, and programs that use it without this library."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from own_models import net
from paths import ASSETS, ROOT
from PIL import Image

from pretrained_cnn import (
    BundleError,
    Classifier,
    ImagePolicy,
    ModelFileError,
    ResizePolicy,
    RuntimeSpec,
    register_runtime,
)
from pretrained_cnn.runtimes import RUNTIMES
from pretrained_cnn.runtimes.openvino import OpenVINORuntime, import_openvino

LABELS = [("id-a", "Äpfel, rot"), ("id-b", 'a "b" <c>'), ("id-c", "c")]


@pytest.fixture(scope="module")
def clf() -> Classifier:
    resize = ResizePolicy("crop", crop_fraction=0.8, interpolation="hamming")
    return Classifier.from_keras(net(), labels=LABELS, resize=resize)


def in_onnx(path: Path) -> dict[str, Any]:
    model = onnx.load(path)
    axes = [port.type.tensor_type.shape.dim[0].dim_param for port in (*model.graph.input, *model.graph.output)]
    assert axes == ["batch"] * 2, "one name for one axis"
    return {entry.key: entry.value for entry in model.metadata_props}


def in_openvino(path: Path) -> dict[str, Any]:
    model = import_openvino().Core().read_model(path)
    kept = [["pretrained_cnn", key] for key in json.loads(path.with_name("labels.json").read_text("utf-8"))]
    return {place[-1]: model.get_rt_info(place).astype(str) for place in kept if model.has_rt_info(place)}


def in_litert(path: Path) -> dict[str, Any]:
    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    entries = {model.Metadata(i).Name(): model.Metadata(i).Buffer() for i in range(model.MetadataLength())}
    found: dict[str, Any] = json.loads(model.Buffers(entries[b"pretrained_cnn"]).DataAsNumpy().tobytes())
    return found


FILES = [("onnx", "model.onnx", in_onnx), ("openvino", "model.xml", in_openvino), ("litert", "model.tflite", in_litert)]


@pytest.mark.parametrize(("format", "file", "read"), FILES)
def test_a_file_says_what_it_is(
    format: str, file: str, read: Callable[[Path], dict[str, Any]], clf: Classifier, tmp_path: Path
) -> None:
    clf.save(tmp_path / "bundle", format=format)
    says = json.loads((tmp_path / "bundle/labels.json").read_text("utf-8"))
    assert [tuple(label) for label in says["labels"]] == LABELS
    height, width = clf.spec.input_size
    assert says["input"] == {
        "name": "images",
        "dtype": "uint8",
        "layout": "NHWC",
        "shape": [None, height, width, 3],
        "channels": "RGB",
    }
    assert says["resize"] == {"method": "crop", "crop_fraction": 0.8, "interpolation": "hamming", "antialias": True}
    assert (says["model"], says["outputs"]) == (clf.spec.name, {"scores": [None, 3]})
    assert "0 to 255" in says["preprocessing"]
    itself = read(tmp_path / "bundle" / file)
    texts = {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in says.items()
        if value is not None
    }
    assert itself == (says if format == "litert" else texts)

    moved = tmp_path / "moved"
    moved.mkdir()
    for path in (tmp_path / "bundle").glob("model.*"):
        shutil.copy(path, moved / path.name)
    image = Image.effect_noise((90, 70), 80).convert("RGB")
    again = Classifier.from_file(moved / file)
    assert again.labels == clf.labels
    np.testing.assert_allclose(again.predict_proba([image]), clf.predict_proba([image]), atol=1e-5)


def test_the_labels_beside_a_file_are_read(clf: Classifier, tmp_path: Path) -> None:
    clf.save(tmp_path / "bundle", format="onnx")
    for file in ("model.onnx", "labels.json"):
        shutil.copy(tmp_path / "bundle" / file, tmp_path / file)
    model = onnx.load(tmp_path / "model.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "model.onnx")
    again = Classifier.from_file(tmp_path / "model.onnx")
    assert (again.labels, again.spec.resize) == (clf.labels, clf.spec.resize)


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> tuple[Classifier, Path]:
    clf, bundle = Classifier("EfficientNetLite0"), tmp_path_factory.mktemp("lite") / "onnx.bundle"
    clf.save(bundle, format="onnx")
    return Classifier.load(bundle, image_policy=ImagePolicy(color_profile="ignore", draft=False)), bundle


def photos() -> list[Path]:
    """A hundred photos, where there are assets."""
    return sorted((ASSETS / "imagenet").glob("*.JPEG"))


@pytest.mark.slow
def test_the_page_gives_the_pixels(lite: tuple[Classifier, Path], tmp_path: Path) -> None:
    """For photos, a large JPEG, and one that is turned."""
    clf, bundle = lite
    text = (ROOT / "docs/how-to/use-the-file.md").read_text("utf-8")
    program = text.partition("```python\n")[2].partition("```")[0]
    assert program.count("onnx.bundle") == program.count("photo.png") == 1
    noise = Image.effect_noise((80, 60), 90).convert("RGB")
    noise.resize((2400, 1800), Image.Resampling.BICUBIC).save(tmp_path / "large.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    noise.resize((500, 333)).save(tmp_path / "turned.jpg", exif=exif)
    for image in (tmp_path / "large.jpg", tmp_path / "turned.jpg", *photos()):
        says: dict[str, Any] = {}
        exec(program.replace("onnx.bundle", str(bundle)).replace("photo.png", str(image)), says)
        np.testing.assert_array_equal(says["pixels"], clf.engine.pixels([image]), err_msg=str(image))


@pytest.mark.slow
def test_javascript_gives_the_scores(lite: tuple[Classifier, Path], tmp_path: Path) -> None:
    """By packages of npm, and a resize that is written in JavaScript."""
    clf, bundle = lite
    program = tmp_path / "javascript"
    shutil.copytree(ROOT / "examples/javascript", program)
    npm = shutil.which("npm")
    assert npm is not None, "install Node.js, which brings npm"
    subprocess.run([npm, "install", "--silent", "--no-fund", "--no-audit"], cwd=program, check=True)
    photo = tmp_path / "photo.png"
    Image.effect_noise((60, 45), 90).convert("RGB").resize((631, 411), Image.Resampling.BICUBIC).save(photo)
    small = tmp_path / "small.png"
    Image.open(photo).resize((100, 131)).save(small)
    images = [ROOT / "examples/images/clock.png", photo, small]
    for path in photos():
        images.append(tmp_path / f"{path.stem}.png")
        Image.open(path).convert("RGB").save(images[-1], compress_level=1, icc_profile=None)
    ran = subprocess.run(
        ["node", "classify.mjs", bundle, *images],
        cwd=program,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
        env=dict(os.environ),
    )
    printed = [line.split("\t") for line in ran.stdout.splitlines()]
    expected = [(str(image), *row[1:]) for image in images for row in clf.predict(image)]
    assert [(file, label) for file, label, _ in printed] == [(file, label) for file, label, _ in expected]
    np.testing.assert_allclose([float(score) for *_, score in printed], [score for *_, score in expected], atol=1e-5)


def test_openvino_reads_onnx_as_it_is(clf: Classifier, tmp_path: Path) -> None:
    file = "model.onnx"
    clf.save(tmp_path / "bundle", format="onnx")
    image = Image.effect_noise((90, 70), 80).convert("RGB")
    expected = clf.predict_proba([image])
    bundle = Classifier.load(tmp_path / "bundle", runtime="openvino")
    foreign = Classifier.from_file(tmp_path / "bundle" / file)
    in_openvino = Classifier.from_file(tmp_path / "bundle" / file, runtime="openvino")
    for number, read in enumerate((bundle, in_openvino, foreign, Classifier.load(tmp_path / "bundle"))):
        read.save(tmp_path / str(number), format="openvino")
        saved = Classifier.load(tmp_path / str(number))
        assert saved.runtime == "openvino"
        assert saved.labels == clf.labels
        for each in (read, saved):
            np.testing.assert_allclose(each.predict_proba([image]), expected, atol=1e-5)
    with pytest.raises(BundleError, match=r"without format=\.\.\."):
        foreign.save(tmp_path / "keras", format="keras")


@pytest.mark.parametrize(("format", "file"), [(case[0], case[1]) for case in FILES])
def test_embeddings_are_no_scores(format: str, file: str, clf: Classifier, tmp_path: Path) -> None:
    clf.save(tmp_path / "bundle", format=format, output="embedding")
    (tmp_path / "bundle/labels.json").unlink()
    with pytest.raises(ModelFileError, match=rf"{file} gives no scores but embedding; .* output=\"scores\""):
        Classifier.from_file(tmp_path / "bundle" / file, from_logits=True)


class Wrong(OpenVINORuntime):
    def run(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(output[:, ::-1] for output in super().run(batch))


def test_a_runtime_that_reads_a_format_wrongly_is_refused(clf: Classifier, tmp_path: Path) -> None:
    clf.save(tmp_path / "bundle", format="onnx")
    with RUNTIMES.temporary():
        register_runtime(RuntimeSpec(name="wrong", factory=Wrong, format="its own", reads=["onnx"]))
        with pytest.raises(BundleError, match=r"runtime='wrong' gives other answers than .* leave runtime out"):
            Classifier.load(tmp_path / "bundle", runtime="wrong")
