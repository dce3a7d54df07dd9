"""Runs the Python of README.md and of the documentation: each page from the repository's root, a namespace a page."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from doctest import ELLIPSIS
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a process for each core runs the tests

import pytest
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser

ROOT = Path(__file__).parent
SLOW = {ROOT / "docs" / "tutorial.md"} | {
    ROOT / "docs/how-to" / f"{page}.md"
    for page in (
        *("coreml", "deploy", "errors", "own-classes", "runtimes-and-bundles", "scikit-learn", "swap-the-backbone"),
        *("use-the-file", "weights", "transfer-learning", "notebooks"),
    )
}
"""Pages that convert a network to every format, train, or build several networks."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path in SLOW:
            item.add_marker("slow")
        if item.path.name == "coreml.md":  # coremltools leaves the removal of its folders to the garbage collector
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))


@pytest.fixture(scope="module")
def a_page_of_its_own() -> Iterator[None]:
    """The repository's root as working directory, and after the page nothing that it registered.

    Conversions run in this process: a child process imports TensorFlow again, which takes seconds.
    """
    from pretrained_cnn.bundle import child
    from pretrained_cnn.registry import MODELS
    from pretrained_cnn.runtimes import RUNTIMES

    with MODELS.temporary(), RUNTIMES.temporary(), contextlib.chdir(ROOT), pytest.MonkeyPatch.context() as patch:
        patch.setattr(child, "allowed", False)
        yield


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(doctest_optionflags=ELLIPSIS)],
    patterns=["README.md", "docs/**/*.md", "docs/*.md"],
    excludes=["docs/_build/**", "docs/_generated/*", "docs/reference/_generated/*"],
    path=str(ROOT),
    fixtures=["a_page_of_its_own"],
).pytest()
