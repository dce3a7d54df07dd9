"""The packages in examples/plugin and examples/plugin-kerashub, as users have them: installed in a new environment."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest
from environments import Environment
from paths import EXAMPLES, ROOT

pytestmark = pytest.mark.slow

PLUGIN = ROOT / "examples" / "plugin"
KERAS_HUB = ROOT / "examples" / "plugin-kerashub"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return install(PLUGIN, tmp_path_factory.mktemp("plugin"))


def install(plugin: Path, folder: Path) -> Environment:
    """The library and a plugin, installed; what these need comes from where the tests run."""
    environment = Environment(folder / "venv", str(plugin))
    site = environment.run("python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    theirs = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    Path(site, "theirs.pth").write_text("".join(f"{path}\n" for path in theirs), "utf-8")
    return environment


def test_models_lists_it(installed: Environment) -> None:
    lines = installed.run("pretrained-cnn", "models").splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("MeanColor")] == [["MeanColor", "32x32"]]


def test_runtimes_lists_it(installed: Environment) -> None:
    assert "eager" in [line.split()[0] for line in installed.run("pretrained-cnn", "runtimes").splitlines()]


def test_classify_uses_it(installed: Environment) -> None:
    images = [str(EXAMPLES / f"{name}.png") for name in ("candle", "clock")]
    command = ["pretrained-cnn", "classify", "--model", "mean-color", "--runtime", "eager", "--top", "1", *images]
    rows = [line.split("\t") for line in installed.run(*command).splitlines()]
    assert [(source, label) for source, _, label, _ in rows] == [(images[0], "brown"), (images[1], "sky blue")]


def test_the_how_to_page_shows_what_is_printed(installed: Environment) -> None:
    command = ["pretrained-cnn", "classify", "candle.png", "--model", "MeanColor", "--top", "1"]
    page = (ROOT / "docs" / "how-to" / "plugin.md").read_text("utf-8")
    assert f"$ {' '.join(command)}\n{installed.run(*command, cwd=EXAMPLES)}" in page


def test_its_own_tests_pass(installed: Environment) -> None:
    printed = installed.run("python", "-m", "pytest", "-p", "no:cacheprovider", str(PLUGIN), cwd=PLUGIN)
    assert " passed" in printed
    assert "skipped" not in printed


def test_models_of_keras_hub(tmp_path: Path) -> None:
    pytest.importorskip("keras_hub")  # of the dependency group "slow"
    printed = install(KERAS_HUB, tmp_path).run(
        "python", "-m", "pytest", "-p", "no:cacheprovider", str(KERAS_HUB), cwd=KERAS_HUB
    )
    assert " passed" in printed
    assert "skipped" not in printed
