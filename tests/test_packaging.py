"""The package as its users get it: what the index shows, what an sdist holds, what the workflow runs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.machinery import PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from paths import ROOT

import pretrained_cnn
from pretrained_cnn.errors import install_line

PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]
REPOSITORY = PROJECT["urls"]["Repository"]


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``hatch_build.py``, without Hatchling, which only builds need."""
    monkeypatch.setitem(
        sys.modules, "hatchling.metadata.plugin.interface", SimpleNamespace(MetadataHookInterface=object)
    )
    spec = spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_long_description_has_no_relative_link(hook: ModuleType) -> None:
    maker = hook.LongDescription()
    maker.root = str(ROOT)
    metadata = {"urls": PROJECT["urls"], "version": "1.2.3"}
    maker.update(metadata)
    text = metadata["readme"]["text"]
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    targets = re.findall(r"\]\(\s*([^)\s]+)", prose) + re.findall(r'(?:src|href)="([^"]+)"', prose)
    assert len(targets) > 30
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []
    assert f"{REPOSITORY}/raw/v1.2.3/docs/images/answers.png" in targets
    assert f"{REPOSITORY}/blob/v1.2.3/docs/tutorial.md" in targets
    assert "<!--" not in text


def test_links_of_each_kind(hook: ModuleType) -> None:
    def absolute(text: str) -> str:
        return str(hook.absolute(text, "https://r", "v1"))

    assert absolute("[a](b.md#c)") == "[a](https://r/blob/v1/b.md#c)"
    assert absolute("![a](b.png)") == "![a](https://r/raw/v1/b.png)"
    assert absolute("[`a`](b.py) and [c](https://d)") == "[`a`](https://r/blob/v1/b.py) and [c](https://d)"
    assert absolute("[a](#b) [m](mailto:x)") == "[a](#b) [m](mailto:x)"
    assert absolute('<img width="1" src="b.png">') == '<img width="1" src="https://r/raw/v1/b.png">'


def own_files(folder: Path) -> Iterator[Path]:
    """The text files of the repository: not those of a virtual environment in it, and not what was built."""
    for path in folder.iterdir():
        if path.is_dir():
            if path.name not in {".ci", "build", "dist", "_build", ".git"} and not (path / "pyvenv.cfg").exists():
                yield from own_files(path)
        elif path.suffix in {".py", ".md", ".cff", ".yml", ".toml", ".cfg"}:
            yield path


def test_the_address_of_the_repository_stands_in_one_place() -> None:
    assert len(PROJECT["urls"]) >= 3
    assert all(url.startswith(REPOSITORY) for url in PROJECT["urls"].values())
    naming = [path for path in own_files(ROOT) if REPOSITORY in path.read_text("utf-8")]
    assert naming == [ROOT / "pyproject.toml"]


def test_supported_pythons_are_the_same_everywhere() -> None:
    classifiers = [line.rpartition(" :: ")[2] for line in PROJECT["classifiers"] if ":: 3." in line]
    assert PROJECT["requires-python"] == f">={classifiers[0]}"
    workflow = (ROOT / ".github/workflows/ci.yml").read_text("utf-8")
    matrix = re.search(r"python: \[(.*)\]", workflow)
    assert matrix is not None
    assert re.findall(r'"(.*?)"', matrix[1]) == classifiers
    assert re.search(r"os: \[macos-\w+, ubuntu-\w+, windows-\w+\]", workflow)
    assert "Python 3.11, 3.12 and 3.13" in (ROOT / "SECURITY.md").read_text("utf-8")


def test_the_citation_is_of_this_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {pretrained_cnn.__version__}\n" in citation
    released = re.search(
        rf"^## \[{pretrained_cnn.__version__}\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M
    )
    assert released is None or f"\ndate-released: {released[1]}\n" in citation
    for field in ("cff-version", "message", "title", "authors", "license"):
        assert re.search(rf"^{field}: *\S*", citation, re.MULTILINE), field


def test_ci_finds_the_two_commands_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert len(re.findall(r"^pip install .* && pretrained-cnn classify", readme, re.MULTILINE)) == 1
    assert len(re.findall(r"^pip install .* && pytest$", readme, re.MULTILINE)) == 1


def test_nothing_keeps_a_file_out_of_the_sdist() -> None:
    """Hatch takes all that git does not ignore, so what the tests read is there: a list would miss the next file."""
    targets = PYPROJECT["tool"]["hatch"]["build"]["targets"]
    assert "sdist" not in targets
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "-ci", "--exclude-standard"]
        ignored = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert ignored == "", "tracked, and left out"


def test_a_lean_installation_is_told_plain_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert install_line("ai_edge_litert", "litert") == 'pip install "pretrained-cnn[litert]"'
    monkeypatch.setattr(PathFinder, "find_spec", lambda name: None)
    assert install_line("ai_edge_litert", "litert") == "pip install ai-edge-litert"
