"""Files that earlier releases wrote: each opens, answers as it did then, and is continued. See `release_files`."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import ROOT
from release_files import BEFORE_THE_KILL, EMBEDDINGS, RELEASED, RESULTS
from warned import messages

from pretrained_cnn import BundleError, Classifier, OutputError, __version__, write_results
from pretrained_cnn.results.formats import find_format
from pretrained_cnn.results.rows import EMBEDDINGS as EMBEDDING_ROWS
from pretrained_cnn.results.rows import RESULTS as RESULT_ROWS

VERSIONS = sorted(path.name for path in RELEASED.iterdir())
BUNDLES = [(version, path.name) for version in VERSIONS for path in sorted((RELEASED / version / "bundles").iterdir())]
FILES = [(version, suffix) for version in VERSIONS for suffix in RESULTS + EMBEDDINGS]

TOLERANCE = {"int8": 0.02}
"""Of scores and embeddings; 1e-5 for all others. Processors differ in how they multiply 8-bit integers."""


def content(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture(autouse=True, scope="module")
def nothing_is_changed() -> Iterator[None]:
    before = content(RELEASED)
    yield
    assert content(RELEASED) == before


def recorded(version: str) -> Any:
    return json.loads((RELEASED / version / "answers.json").read_text("utf-8"))


def test_each_release_of_the_changelog_has_its_files() -> None:
    headings = re.findall(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert set(headings) <= set(VERSIONS), "python tests/release_files.py writes them"
    assert sum(path.stat().st_size for path in RELEASED.rglob("*") if path.is_file()) < len(VERSIONS) * 1_000_000


@pytest.mark.parametrize(("version", "name"), BUNDLES)
def test_a_bundle_answers_as_it_did(version: str, name: str) -> None:
    then, tolerance = recorded(version), TOLERANCE.get(name, 1e-5)
    images = [RELEASED / version / "images" / image for image in then["images"]]
    expected = then["bundles"][name]
    with Classifier.load(RELEASED / version / "bundles" / name) as clf:
        results = clf.predict_batch(images, top=3)
        np.testing.assert_allclose(clf.predict_proba(images), expected["scores"], atol=tolerance, rtol=0)
        if expected["embedding"] is not None:
            np.testing.assert_allclose(clf.embed(images), expected["embedding"], atol=tolerance, rtol=0)
        assert clf.runtime == expected["runtime"]
        assert [label.name for label in clf.labels] == expected["labels"]
        assert list(clf.spec.thresholds) == pytest.approx(expected["thresholds"])
        assert [result[0].label for result in results if result.predictions] == expected["best"]
        assert [result.status for result in results] == expected["status"]
        sets = [each and [label.label for label in each] for each in (result.label_set for result in results)]
        assert sets == expected["label_sets"]
        assert (clf.report and clf.report.metrics["validation_loss"]) == expected["validation_loss"]


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A copy of a release's images and results, as if they had been made here. Returns the release."""
    version: str = request.param
    for name in ("images", "results"):
        shutil.copytree(RELEASED / version / name, tmp_path / name)
    for path in tmp_path.glob("results/*.settings.json"):
        noted = json.loads(path.read_text("utf-8"))
        noted["run"]["folder"] = str(tmp_path)
        path.write_text(json.dumps(noted), "utf-8")
    monkeypatch.chdir(tmp_path)
    return version


@pytest.mark.parametrize(("run", "suffix"), FILES, indirect=["run"])
def test_a_file_of_rows_is_read_and_continued(run: str, suffix: str) -> None:
    finished, partial = Path(f"results/finished.{suffix}"), Path(f"results/partial.{suffix}")
    schema = RESULT_ROWS if suffix in RESULTS else EMBEDDING_ROWS
    expected = list(find_format(finished, schema).read(finished))
    with Classifier.load(RELEASED / run / "bundles" / "calibrated") as clf, messages() as warned:

        def stream(top: int = 2) -> Any:
            return clf.stream("images", top=top) if suffix in RESULTS else clf.embed_stream("images")

        written = write_results(stream(), partial, resume=True)
        assert (written.images, written.failed, written.before) == (6, 1, BEFORE_THE_KILL)
        before = finished.read_bytes()
        assert write_results(stream(), finished, resume=True).before == 6
        assert finished.read_bytes() == before
        if suffix in RESULTS:
            with pytest.raises(OutputError, match=r"was made with top=2, not top=3: give the same again"):
                write_results(stream(top=3), partial, resume=True)
    assert bool(warned) == (run != __version__)
    assert {row["source"] for row in expected} == {path.as_posix() for path in Path("images").iterdir()}
    for row, then in zip(find_format(partial, schema).read(partial), expected, strict=True):
        exact = then.keys() - {"score", "embedding", "label_set"}
        assert {key: row[key] for key in exact} == {key: then[key] for key in exact}
        assert row.get("score") == (then.get("score") and pytest.approx(then["score"], abs=1e-5))
        if then.get("embedding") is not None:
            np.testing.assert_allclose(row["embedding"], then["embedding"], atol=1e-5)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_bundle_of_a_later_release_is_refused(version: str, tmp_path: Path) -> None:
    shutil.copytree(RELEASED / version / "bundles" / "onnx", tmp_path / "later")
    manifest = json.loads((tmp_path / "later" / "manifest.json").read_text("utf-8"))
    manifest |= {"format_version": 1_000, "library": "99.0.0", "news": [1]}
    (tmp_path / "later" / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(BundleError, match=r"version 1000 of a later release.*pip install --upgrade pretrained-cnn"):
        Classifier.load(tmp_path / "later")
