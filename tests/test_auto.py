"""``runtime="auto"``: the fastest is measured once, remembered, and taken again by a run that continues."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pretrained_cnn import (
    BundleError,
    Classifier,
    InvalidArgumentError,
    OutputError,
    RuntimeSpec,
    list_runtimes,
    write_results,
)
from pretrained_cnn.runtimes import RUNTIMES, auto
from pretrained_cnn.testing import RuntimeConformance

SPEC = RuntimeConformance.spec
IMAGE = np.zeros((40, 24, 3), np.uint8)

opened: list[str] = []
"""The names of the runtimes that were opened."""
seconds = {"tortoise": 0.03, "hare": 0.0}
"""How long each takes longer than Keras."""


class Waiting:
    """Keras, after a pause."""

    name = ""

    def __init__(self, model: Any, outputs: Sequence[str]) -> None:
        from pretrained_cnn.runtimes.keras import KerasRuntime

        opened.append(self.name)
        self._runtime = KerasRuntime(model, outputs)

    def run(self, batch: np.ndarray[Any, Any]) -> Any:
        time.sleep(seconds[self.name])
        return self._runtime.run(batch)

    def close(self) -> None:
        self._runtime.close()


class Tortoise(Waiting):
    name = "tortoise"


class Hare(Waiting):
    name = "hare"


class Broken:
    def __init__(self, model: Any, outputs: Sequence[str]) -> None:
        raise BundleError("this network has an operation that is unknown here")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PRETRAINED_CNN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def two_runtimes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A quick runtime and a slow one, and no others that "auto" knows."""
    if request.node.get_closest_marker("slow"):
        yield
        return
    specs = [RuntimeSpec(name=kind.name, factory=kind, format="keras") for kind in (Tortoise, Hare)]
    for name, value in {"SECONDS": 0.0, "ROUNDS": range(2, 3), "WARM_UP": 1}.items():
        monkeypatch.setattr(auto, name, value)
    monkeypatch.setitem(seconds, "hare", 0.0)
    monkeypatch.setitem(seconds, "tortoise", 0.03)
    with RUNTIMES.temporary():
        for spec in specs:
            RUNTIMES.register(spec)
        monkeypatch.setattr(auto, "_names", lambda: [spec.name for spec in specs])
        opened.clear()
        yield


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("auto") / "tiny.bundle"
    Classifier(SPEC).save(path, format="keras")
    return path


def test_the_quickest_is_measured_when_it_is_needed_and_then_remembered(bundle: Path) -> None:
    clf = Classifier.load(bundle, runtime="auto")
    assert "runtime='auto'" in repr(clf)
    assert opened == []
    expected = Classifier.load(bundle).predict_proba([IMAGE])
    np.testing.assert_allclose(clf.predict_proba([IMAGE]), expected, atol=1e-6)
    assert (clf.runtime, clf.precision) == ("hare", "float32")
    assert opened == ["tortoise", "hare"], "the quickest stays open"

    opened.clear()
    again = Classifier.load(bundle, runtime="auto")
    again.predict(IMAGE)
    assert (again.runtime, opened) == ("hare", ["hare"])


@pytest.mark.parametrize("change", ["version", "machine", "network"])
def test_it_is_measured_anew_where_the_answer_may_be_another(
    change: str, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Classifier.load(bundle, runtime="auto").runtime == "hare"
    opened.clear()
    if change == "version":
        monkeypatch.setattr(metadata, "version", lambda name: "999")
    elif change == "machine":
        monkeypatch.setattr(auto, "cores", lambda: 99)
    else:
        Classifier(SPEC.replace(name="another")).save(bundle := tmp_path / "b", format="keras")
    assert Classifier.load(bundle, runtime="auto").runtime == "hare"
    assert opened == ["tortoise", "hare"]


def test_a_cache_that_takes_no_files_costs_a_measurement(cache: Path, bundle: Path) -> None:
    cache.write_text("a file in its place")
    for _ in range(2):
        opened.clear()
        assert Classifier.load(bundle, runtime="auto").predict(IMAGE)
        assert opened == ["tortoise", "hare"]


def test_a_runtime_that_cannot_open_the_network_is_left_out(bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    RUNTIMES.register(RuntimeSpec(name="hare", factory=Broken, format="keras"), overwrite=True)
    with caplog.at_level("INFO", "pretrained_cnn"):
        assert Classifier.load(bundle, runtime="auto").runtime == "tortoise"
    assert "hare cannot compute Conformance: this network has an operation that is unknown here" in caplog.text
    RUNTIMES.register(RuntimeSpec(name="tortoise", factory=Broken, format="keras"), overwrite=True)
    with pytest.raises(BundleError, match="unknown here"):
        Classifier.load(bundle, runtime="auto").predict(IMAGE)


def test_what_nothing_here_computes_is_refused(bundle: Path) -> None:
    clf = Classifier.load(bundle, runtime="auto", precision="bfloat16")
    with pytest.raises(InvalidArgumentError, match="runtime='auto', precision='bfloat16': nothing that is installed"):
        clf.predict(IMAGE)
    with pytest.raises(InvalidArgumentError, match="threads=2: nothing"):
        Classifier.load(bundle, runtime="auto", threads=2).predict(IMAGE)
    with pytest.raises(InvalidArgumentError, match="precision='half' is not known"):
        Classifier(runtime="auto", precision="half")  # type: ignore[arg-type]


def test_precisions_are_measured_too() -> None:
    def offered() -> dict[str, str | None]:
        return {"bfloat16": None, "float16": "this CPU has no such unit", "int8": None}

    spec = RuntimeSpec(name="hare", factory=Hare, format="keras", precisions=offered)
    RUNTIMES.register(spec, overwrite=True)
    assert list(map(str, auto.candidates("auto", "auto"))) == ["tortoise", "hare", "hare bfloat16"]
    assert list(map(str, auto.candidates("hare", "auto"))) == ["hare", "hare bfloat16"]


def test_a_run_that_goes_on_takes_what_it_took(bundle: Path, cache: Path, tmp_path: Path) -> None:
    images, output = "examples/images", tmp_path / "r.csv"
    with Classifier.load(bundle, runtime="auto") as clf:
        write_results(clf.stream(images, top=1).skip(["examples/images/clock.png"]), output)
    seconds.update(hare=0.03, tortoise=0.0)
    for entry in (cache / "runtimes").iterdir():
        entry.unlink()
    with Classifier.load(bundle, runtime="auto") as clf:
        assert write_results(clf.stream(images, top=1), output, resume=True).failed == 0
        assert clf.runtime == "hare"
    with Classifier.load(bundle, runtime="tortoise") as clf, pytest.raises(OutputError, match="runtime=hare"):
        write_results(clf.stream(images, top=1), output, resume=True)


def test_a_bundle_is_opened_by_what_executes_its_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "_names", lambda: ["hare", "litert"])
    Classifier(SPEC).save(tmp_path / "b", format="litert")
    clf = Classifier.load(tmp_path / "b", runtime="auto")
    assert (clf.predict(IMAGE).top.index, clf.runtime) == (Classifier(SPEC).predict(IMAGE).top.index, "litert")
    assert opened == []


@pytest.mark.slow
def test_all_that_is_installed_is_measured(bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = [info.name for info in list_runtimes() if info.installed]
    clf, expected = Classifier.load(bundle, runtime="auto"), Classifier.load(bundle).predict_proba([IMAGE])
    with caplog.at_level("INFO", "pretrained_cnn"):
        np.testing.assert_allclose(clf.predict_proba([IMAGE]), expected, atol=1e-5)
    assert clf.runtime in names
    assert all(f"ms ({name})" in caplog.text for name in names)
