"""The package in examples/plugin, as its users have it: installed in a new virtual environment."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from paths import EXAMPLES, ROOT

pytestmark = pytest.mark.slow

PLUGIN = ROOT / "examples" / "plugin"


class Environment:
    """A virtual environment with this library and the plugin; what they need comes from the one that runs the tests."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=300)
        self.scripts = folder / ("Scripts" if os.name == "nt" else "bin")
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        self.run("python", "-m", "pip", "install", "--no-deps", "--disable-pip-version-check", str(ROOT), str(PLUGIN))
        where = "import sysconfig; print(sysconfig.get_path('purelib'))"
        ours = self.run("python", "-c", where).strip()
        theirs = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        Path(ours, "theirs.pth").write_text("".join(f"{path}\n" for path in sorted(theirs)), "utf-8")

    def run(self, *command: str, cwd: Path | None = None) -> str:
        """What a command of the environment prints."""
        done = subprocess.run(
            [self.scripts / command[0], *command[1:]],
            cwd=cwd or self.scripts,  # far from the sources
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("plugin") / "venv")


def test_models_lists_it(installed: Environment) -> None:
    lines = installed.run("pretrained-cnn", "models").splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("MeanColour")] == [["MeanColour", "32x32"]]


def test_runtimes_lists_it(installed: Environment) -> None:
    assert "eager" in [line.split()[0] for line in installed.run("pretrained-cnn", "runtimes").splitlines()]


def test_classify_uses_it(installed: Environment) -> None:
    pictures = [str(EXAMPLES / f"{name}.png") for name in ("candle", "clock")]
    command = ["pretrained-cnn", "classify", "--model", "mean-colour", "--runtime", "eager", "--top", "1", *pictures]
    rows = [line.split("\t") for line in installed.run(*command).splitlines()]
    assert [(source, label) for source, _, label, _ in rows] == [(pictures[0], "brown"), (pictures[1], "sky blue")]


def test_the_how_to_page_shows_what_is_printed(installed: Environment) -> None:
    command = ["pretrained-cnn", "classify", "candle.png", "--model", "MeanColour", "--top", "1"]
    page = (ROOT / "docs" / "how-to" / "plugin.md").read_text("utf-8")
    assert f"$ {' '.join(command)}\n{installed.run(*command, cwd=EXAMPLES)}" in page


def test_its_own_tests_pass(installed: Environment) -> None:
    printed = installed.run("python", "-m", "pytest", "-p", "no:cacheprovider", str(PLUGIN), cwd=PLUGIN)
    assert " passed" in printed
    assert "skipped" not in printed
