"""CONTRIBUTING.md says what is true: where rooms lie, and which files a change touches.

``python tests/test_contributing.py`` writes the table of rooms again.
"""

from __future__ import annotations

import ast
import dataclasses
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import ROOT

PAGE = ROOT / "CONTRIBUTING.md"
SOURCES = ROOT / "src" / "pretrained_cnn"
KINDS = [
    "A backbone",
    "A runtime",
    "A bundle format",
    "A format of result files",
    "A resize method",
    "A command",
    "An explanation method",
]


def layers() -> list[list[str]]:
    """The rooms of each layer, from the top, as the import linter has them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [layer.split(" | ") for layer in layers]


def rooms() -> str:
    """A Markdown table of the rooms, each with the first sentence of its docstring."""
    found = layers()
    lines = ["| layer | module | contents |", "|--:|---|---|"]
    for floor, names in zip(range(len(found) - 1, -1, -1), found, strict=True):
        lines += [f"| {floor} | {_link(name)} | {_summary(name)} |" for name in names]
    return "".join(f"{line}\n" for line in lines)


def _path(name: str) -> Path:
    return SOURCES / name / "__init__.py" if (SOURCES / name).is_dir() else SOURCES / f"{name}.py"


def _link(name: str) -> str:
    return f"`{name}/`" if (SOURCES / name).is_dir() else f"`{name}`"


def _summary(name: str) -> str:
    documentation = ast.get_docstring(ast.parse(_path(name).read_text("utf-8"))) or ""
    first = " ".join(documentation.split("\n\n")[0].split())
    return re.split(r"(?<=[.]) ", first)[0].replace("``", "`").replace("|", "\\|").removesuffix(".")


def written(page: str) -> str:
    """The page with its table as it should be."""
    return re.sub(r"(<!-- rooms.*? -->\n).*?(<!-- /rooms -->)", rf"\1\n{_escaped(rooms())}\n\2", page, flags=re.DOTALL)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\")


def test_the_table_of_rooms_is_that_of_the_import_linter() -> None:
    """What a room is said to be may be in other words than its docstring's for a while; where it lies may not."""
    page = PAGE.read_text("utf-8")
    assert _places(page) == _places(written(page)), "run: python tests/test_contributing.py"


def _places(page: str) -> list[str]:
    """The floor and the room of each row."""
    return re.findall(r"^(\| \d+ \| `[^`]+` \|)", page, re.MULTILINE)


def test_each_room_says_what_is_in_it() -> None:
    for layer in layers():
        for name in layer:
            assert _summary(name), f"{name} has no docstring"


def checklists() -> dict[str, str]:
    page = PAGE.read_text("utf-8")
    return {title.strip(): text for title, text in re.findall(r"^### (.+)\n((?:(?!^##).*\n)*)", page, re.MULTILINE)}


def test_there_is_a_checklist_for_each_kind_of_change() -> None:
    assert list(checklists()) == KINDS


def named_files() -> Iterator[tuple[str, str]]:
    for kind, text in checklists().items():
        for name in re.findall(r"`([\w./-]+(?:\.\w+|/))`", text):
            if "/" in name or name.endswith((".toml", ".md")):
                yield kind, name


@pytest.mark.parametrize(("kind", "name"), list(named_files()))
def test_the_files_of_a_checklist_exist(kind: str, name: str) -> None:
    assert (ROOT / name).exists() or (SOURCES / name).exists(), f"{kind}: {name}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_checklist_names_its_tests_or_where_they_are_shipped(kind: str) -> None:
    assert re.search(r"`tests/\w+\.py`|docs/reference", checklists()[kind])


@pytest.mark.slow  # it needs Sphinx, which is not among the packages of the quick tests
def test_a_command_is_known_by_one_entry(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_ext"))
    import generated_pages

    from pretrained_cnn import cli
    from pretrained_cnn.cli.options import Command, option

    @dataclasses.dataclass(frozen=True)
    class Options:
        word: str = option("Word to say.", default="hello")

    def run(options: Options) -> int:
        print(options.word)
        return 0

    commands = [*cli.COMMANDS, Command("say-it", "Say a word.", Options, run)]
    monkeypatch.setattr(cli, "COMMANDS", commands)
    monkeypatch.setattr(generated_pages, "COMMANDS", commands)
    assert cli.main(["say-it", "--word", "hi"]) == 0
    assert capsys.readouterr().out == "hi\n"
    page = generated_pages.command_line()
    assert "### `pretrained-cnn say-it`" in page
    assert "--word WORD  Word to say (default: hello)." in page


@pytest.mark.slow
def test_a_format_of_result_files_is_known_by_one_entry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`classify --output` takes it, and resumes it, without a line elsewhere."""
    from pretrained_cnn import cli
    from pretrained_cnn.results import formats

    class Toy(formats.JsonLines):
        SUFFIX = ".toy"

        def encode(self, row: formats.Row) -> bytes:
            return b"toy " + super().encode(row)

        def decode(self, record: bytes) -> formats.Row:
            return super().decode(record.removeprefix(b"toy "))

    images = sorted((ROOT / "examples" / "images").glob("c*.png"))
    output = tmp_path / "rows.toy"

    def classify(*words: object) -> int:
        return cli.main(["classify", "-m", "EfficientNetLite0", "-o", str(output), *map(str, words)])

    assert classify(images[0]) == cli.Status.USAGE
    monkeypatch.setitem(formats.FORMATS, Toy.SUFFIX, Toy)
    assert classify(images[0]) == cli.Status.OK
    assert classify(images[0], images[1], "--resume") == cli.Status.OK
    lines = output.read_bytes().splitlines()
    assert len(lines) == 2
    assert all(line.startswith(b"toy {") for line in lines)


if __name__ == "__main__":
    if str(ROOT / "tests") not in sys.path:
        sys.path.append(str(ROOT / "tests"))
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
