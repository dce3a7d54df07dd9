"""What several tests need: the assets, where there are some, and the example images."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as of a shell in the background, and for all that it starts
    signal.signal(signal.SIGINT, signal.default_int_handler)  # some tests send it to programs that they start

import pytest
from memory import give_back
from paths import ASSETS, EXAMPLES

FAKE_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
"""Chromium's options for a camera that shows a pattern, and whose use is granted."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a test that skips fails the run")
    parser.addoption("--children", action="append", default=[], metavar="NAME=VALUE", help="set for started programs")


def pytest_configure(config: pytest.Config) -> None:
    os.environ.update(setting.split("=", 1) for setting in config.getoption("--children"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("--no-skips") and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line("tests skipped, and --no-skips says that each could have run here", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--no-skips") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of weights and photos; skips where there is none."""
    if not ASSETS.is_dir():
        pytest.skip(f"no assets at {ASSETS}; set PRETRAINED_CNN_TEST_ASSETS")
    return ASSETS


@pytest.fixture
def keras_home(assets: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keras's own folder, with MobileNet's ImageNet weights in it."""
    monkeypatch.setenv("KERAS_HOME", str(assets / "keras_home"))
    return assets / "keras_home"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser; skips where none is installed."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("no Chromium is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", *FAKE_CAMERA])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def labeled(assets: Path) -> list[tuple[Path, str]]:
    """100 photos, each with its wnid."""
    photos = sorted((assets / "imagenet").iterdir())
    assert len(photos) == 100
    return [(photo, photo.name.split("_")[0]) for photo in photos]


@pytest.fixture(scope="session")
def eight_photos() -> list[Path]:
    """Eight different images: photos where there are assets, else those that we drew."""
    if ASSETS.is_dir():
        return sorted((ASSETS / "imagenet").iterdir())[::12][:8]
    drawn = sorted(EXAMPLES.glob("*.png"))
    return (drawn + drawn)[:8]


@pytest.fixture
def clock() -> Path:
    return EXAMPLES / "clock.png"


@pytest.fixture
def clean_registry() -> Iterator[None]:
    """Forget what the test registers."""
    from pretrained_cnn.registry import MODELS
    from pretrained_cnn.runtimes import RUNTIMES

    with MODELS.temporary(), RUNTIMES.temporary():
        yield


@pytest.fixture(autouse=True)
def conversions_in_this_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child process imports TensorFlow again, which takes seconds: only tests marked ``child`` start one."""
    if request.node.get_closest_marker("child") is None:
        from pretrained_cnn.bundle import child

        monkeypatch.setattr(child, "allowed", False)


@pytest.fixture(autouse=True, scope="module")
def memory_is_given_back(request: pytest.FixtureRequest) -> Iterator[None]:
    """Else a worker that runs the slow tests grows to many gigabytes. It takes a second, so the others do without."""
    yield
    if "not slow" not in request.config.getoption("-m"):
        give_back()


@pytest.fixture(autouse=True, scope="session")
def a_cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the tests compute stays out of the user's cache, also in new processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRETRAINED_CNN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
