"""A report is one page that holds everything, runs nothing of what it shows, and can be used in a real browser."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import EXAMPLES, ROOT
from PIL import Image

from pretrained_cnn import Classifier, DataError, ImageError, InvalidArgumentError, OutputError, Prediction, cli
from pretrained_cnn.report import write_report
from pretrained_cnn.report.page import SCRIPTS, Page, join

HOSTILE = [
    "<img src=x onerror=window.hacked=1>.png",
    "'\"><svg onload=window.hacked=1>.png",
    "<!--<script>window.hacked=1<!--.png",
    "&lt;b&gt;\u2028${window.hacked=1}\u202egnp.png",
]
LABELS = ["</script><script>window.hacked=1</script>", "<iframe srcdoc='<script>parent.hacked=1</script>'>", "a_hat"]


def small_network(bias: tuple[float, ...] = (0.0, 0.0, 0.0)) -> Any:
    import keras

    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((48, 32, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(8, 3, strides=8, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, activation="softmax", bias_initializer=keras.initializers.Constant(bias)),
        ]
    )


@pytest.fixture(scope="module")
def small() -> Classifier:
    """Random weights, an input that is higher than wide, and labels of somebody who wishes us ill."""
    return Classifier.from_keras(small_network(), labels=LABELS)


def blocks(path: Path, attribute: str) -> list[Any]:
    """What stands in the page's blocks of data."""
    found = re.findall(
        rf'<script type="application/json" {attribute}>(.*?)</script>', path.read_text("utf-8"), re.DOTALL
    )
    return [json.loads(text) for text in found]


def rows(path: Path) -> list[Any]:
    return [row for block in blocks(path, 'class="rows"') for row in block]


def facts(path: Path) -> Any:
    (found,) = blocks(path, 'id="facts"')
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six drawn images, four with hostile names, one whose name is not UTF-8, and a text."""
    folder = tmp_path / "images"
    shutil.copytree(EXAMPLES, folder)
    for name in HOSTILE:
        shutil.copy(EXAMPLES / "clock.png", folder / name)
    shutil.copy(EXAMPLES / "clock.png", os.fsencode(folder) + b"/caf\xe9.png")
    (folder / "text.jpg").write_text("<script>window.hacked=1</script>")
    return folder


def test_everything_is_in_the_page_and_only_as_data(small: Classifier, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    done: list[tuple[int, int]] = []
    report = write_report(
        small, folder, path, min_score=1.0, title="caf\udce9", progress=lambda *counts: done.append(counts)
    )
    expected = list(small.stream(folder))
    assert (report.images, [error.source for error in report.failed]) == (12, [str(folder / "text.jpg")])
    assert (report.uncertain, report.evaluation, done[-1]) == (11, None, (12, 1))

    assert all(row["doubt"] == "uncertain" for row in rows(path))

    known = facts(path)
    assert [row["name"] for row in rows(path)] == [result.source for result in expected if result.error is None]
    assert os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png") in [row["name"] for row in rows(path)]
    assert {*map(tuple, known["classes"])} == {(label, label) for label in LABELS}
    for row, result in zip(rows(path), filter(len, expected), strict=True):
        assert [known["classes"][index][1] for index, _ in row["best"]] == [each.label for each in result]
        assert [score for _, score in row["best"]] == pytest.approx([each.score for each in result], abs=6e-5)
    assert known["errors"] == [[error.source, error.reason] for error in report.failed]
    about = dict(known["about"])
    assert about["Images"] == "12; 1 could not be read"
    assert about["Input"] == "32 x 48 pixels, squashed to it, bilinear"
    assert "tensorflow 2." in about["Versions"]

    text = path.read_text("utf-8")
    assert "<title>caf?</title>" in text
    assert not re.search(r"(src|href)\s*=\s*[\"']?(http|//|file)", text)
    assert text.count("<script") == text.count("</script") == 2 * len(blocks(path, 'class="rows"')) + 2
    outside = re.sub(r'<script type="application/json".*?</script>', "", text, flags=re.DOTALL)
    assert "hacked" not in outside
    assert "hacked" in text


def test_thumbnails_and_heat_maps_are_of_what_the_network_saw(small: Classifier, clock: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(small, [clock], path)
    (images,) = blocks(path, 'class="images"')
    with Image.open(io.BytesIO(base64.b64decode(images["thumbnails"][0]))) as thumbnail:
        assert (thumbnail.format, thumbnail.size) == ("WEBP", (32, 48))
        seen = small.engine.pixels([clock])[0].astype(float)
        assert np.abs(np.asarray(thumbnail, float) - seen).mean() < 12
    height, width = facts(path)["heat_maps"]["size"]
    heat = np.frombuffer(base64.b64decode(images["maps"][0]), np.uint8)
    assert (height, width) == (6, 4)
    assert len(heat) == 24
    assert heat.max() in (0, 255), "scaled to its maximum, or nothing speaks for the class"
    assert dict(facts(path)["about"])["Heat maps"] == "grad_cam, for the best class of each image"


def test_the_policy_names_the_one_script_and_the_one_style(small: Classifier, clock: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(small, [clock], path, heat_maps=None)
    text = path.read_text("utf-8")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    assert policy.startswith("default-src 'none'; img-src data:;")
    for name, element in {"style-src": "style", "script-src": "script"}.items():
        (content,) = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{name} 'sha256-{digest}'" in policy
    assert "maps" not in blocks(path, 'class="images"')[0]
    assert facts(path)["heat_maps"] is None


def test_labeled_images_are_evaluated(small: Classifier, tmp_path: Path) -> None:
    pairs = [(str(image), LABELS[number % 2]) for number, image in enumerate(sorted(EXAMPLES.glob("*.png")))]
    path = tmp_path / "report.html"
    report = write_report(small, [*pairs[:2], ("no.png", "a_hat"), *pairs[2:]], path, labeled=True)
    assert report.evaluation is not None
    assert report.evaluation.to_dict() == small.evaluate([*pairs, ("no.png", "a_hat")]).to_dict()
    known = facts(path)
    assert [known["classes"][row["truth"]][1] for row in rows(path)] == [label for _, label in pairs]
    assert known["evaluation"] == {
        "top1": report.evaluation.top1,
        "top1_interval": list(report.evaluation.top1_interval),
        "top5": report.evaluation.top5,
        "top5_interval": list(report.evaluation.top5_interval),
        "ece": report.evaluation.ece,
    }


def test_a_label_that_is_not_the_networks(small: Classifier, clock: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'hat' is not one of the 3 classes; did you mean 'a_hat'"):
        write_report(small, [(str(clock), "hat")], tmp_path / "report.html", labeled=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("labeled", [False, True])
def test_no_image_can_be_read(small: Classifier, tmp_path: Path, labeled: bool) -> None:
    path = tmp_path / "report.html"
    report = write_report(small, [("no.jpg", "a_hat")] if labeled else ["no.jpg"], path, labeled=labeled)
    assert (report.images, len(report.failed), report.evaluation) == (1, 1, None)
    assert rows(path) == []
    assert facts(path)["errors"] == [["no.jpg", "the file does not exist"]]
    assert (facts(path)["heat_maps"], facts(path)["evaluation"]) == (None, None)


def test_what_cannot_be_written_leaves_nothing_behind(small: Classifier, clock: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(OutputError, match=r"report\.html already exists; replace it with overwrite=True, or"):
        write_report(small, [clock], path)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ImageError, match="empty"):
        write_report(small, empty, path, overwrite=True)
    assert path.read_text() == "old"
    write_report(small, [clock], path, heat_maps=None, overwrite=True)
    assert path.read_text().startswith("<!doctype html>")
    with pytest.raises(OutputError, match=f"{tmp_path}: this is a folder; give the name of a file"):
        write_report(small, [clock], tmp_path, overwrite=True)
    with pytest.raises(OutputError, match=r"the folder .*/no does not exist; make it first"):
        write_report(small, [clock], tmp_path / "no" / "report.html")
    assert sorted(tmp_path.iterdir()) == [empty, path]


def test_a_full_disk(small: Classifier, clock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> Any:
        part = path.with_name(".report.part")
        part.touch()
        return open("/dev/full", "r+b", buffering=0), part

    monkeypatch.setattr("pretrained_cnn.report.page.create_part", full)
    with pytest.raises(OutputError, match=r"report\.html cannot be written: No space left on device"):
        write_report(small, [clock], tmp_path / "report.html", heat_maps=None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"top": 0}, "top=0 is not a whole number of at least 1"),
        ({"min_score": 2}, "min_score=2 is not a number of at least 0 and of at most 1"),
        ({"heat_maps": "lime"}, r"heat_maps='lime' is not known; choose 'grad_cam', 'grad_cam\+\+' or 'hires_cam'"),
    ],
)
def test_arguments_that_cannot_be_right(small: Classifier, tmp_path: Path, arguments: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        write_report(small, [], tmp_path / "report.html", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_without_its_network_gives_no_heat_maps(
    small: Classifier, clock: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small.save(tmp_path / "small.bundle", format="openvino")
    path = tmp_path / "report.html"
    report = write_report(Classifier.load(tmp_path / "small.bundle"), [clock], path)
    assert report.images == 1
    (record,) = [record for record in caplog.records if record.name == "pretrained_cnn.report"]
    assert re.match("there are no heat maps: .*small.bundle is of format='openvino'", record.getMessage())
    assert dict(facts(path)["about"])["Heat maps"].startswith("none: ")
    assert facts(path)["heat_maps"] is None


def test_a_network_without_a_map_of_features_gives_no_heat_maps(
    clock: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import keras

    flat = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")])
    write_report(Classifier.from_keras(flat, labels=["cat", "dog"]), [clock], tmp_path / "report.html")
    assert "there are no heat maps: sequential" in caplog.text
    assert dict(facts(tmp_path / "report.html")["about"])["Heat maps"].startswith("none: sequential")


def test_scores_that_are_no_numbers_do_not_break_the_page(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    with contextlib.closing(Page(path, "x")) as page:
        page.add(["a.png"], [[Prediction("a", "a", float("nan"), 0)]], np.zeros((1, 8, 8, 3), np.uint8))
        page.finish({})
    assert rows(path) == [{"name": "a.png", "best": [[0, None]]}]


# The command


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(ROOT)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(["report", "--model", "EfficientNetLite0", *arguments])
        return code, *capsys.readouterr()

    return call


@pytest.mark.slow
def test_the_command(command: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.mp4").touch()
    sources = ["examples/images", "no.jpg", str(tmp_path / "empty")]
    code, out, err = command(*sources, "-o", str(path), "--no-heat-maps", "--min-score", "0.5", "--top", "2")
    assert (code, out) == (1, "")
    assert re.fullmatch(
        rf"pretrained-cnn: 8 images are in {path}: 2 failed, \d uncertain, 1 file skipped; 0:00:\d\d, [\d.]+ a second\n"
        r"pretrained-cnn: no\.jpg: the file does not exist; 1 more under Errors in the page\n",
        err,
    )
    assert {len(row["best"]) for row in rows(path)} == {2}
    assert "<title>Images</title>" in path.read_text()
    code, out, err = command("no.jpg", "README.md", "-o", str(path), "--overwrite")
    assert (code, out) == (1, "")
    assert err.endswith("pretrained-cnn: no.jpg: the file does not exist; 1 more under Errors in the page\n")
    code, out, err = command("no.jpg", "-o", str(path), "--no-heat-maps", "--overwrite")
    assert err.startswith(f"pretrained-cnn: 1 image is in {path}: 1 failed; ")
    code, out, err = command("examples/images", "-o", str(path), "--no-heat-maps", "--overwrite", "--title", "A & <b>")
    assert (code, out) == (0, "")
    assert "<title>A &amp; &lt;b&gt;</title>" in path.read_text()


def test_what_the_command_refuses(command: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.touch()
    code, out, err = command("examples/images", "--output", str(path), "--weights", "no.h5")
    assert (code, out) == (1, ""), "before the weights are looked at"
    assert err.startswith(f"pretrained-cnn: {path} already exists; replace it with --overwrite")
    code, out, err = command("a", "b", "--labeled", "-o", "x.html")
    assert (code, out, err) == (2, "", "pretrained-cnn: --labeled takes one source, not 2\n")


def test_the_script_is_whole_and_imports_nothing() -> None:
    """Its modules become one script; a browser and a linter see to the rest."""
    folder = ROOT / "src" / "pretrained_cnn" / "report" / "script"
    assert sorted(path.stem for path in folder.iterdir()) == sorted(SCRIPTS)
    imports = {
        path.stem: re.findall(r'^import .* from "\./(\w+)\.js";$', path.read_text(), re.M) for path in folder.iterdir()
    }
    for place, name in enumerate(SCRIPTS):
        assert set(imports[name]) <= set(SCRIPTS[:place]), f"{name} imports what comes after it"
    script = join(SCRIPTS)
    assert not re.search(r"^(import|export)\b", script, re.M)
    declared = re.findall(r"^(?:async )?(?:const|let|function|class) ([$\w]+)", script, re.M)
    assert sorted(declared) == sorted(set(declared)), "modules share one scope"
