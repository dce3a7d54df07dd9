"""The prose linter, `.ci/prose.py`, finds what it is there to find, and nothing in plain sentences."""

from __future__ import annotations

import importlib.util
import sys
import textwrap

import pytest
from paths import ROOT

SPEC = importlib.util.spec_from_file_location("prose", ROOT / ".ci" / "prose.py")
assert SPEC
assert SPEC.loader
prose = importlib.util.module_from_spec(SPEC)
sys.modules["prose"] = prose
SPEC.loader.exec_module(prose)


def found(name: str, text: str) -> list[str]:
    """What is found in a file of that name, with its lines."""
    passages, findings = prose.prose(name, textwrap.dedent(text))
    findings += [finding for passage in passages for finding in prose.check(passage)]
    return [f"{finding.line} {finding.found}" for finding in sorted(findings)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A picture of a cat.", ["'picture'"]),
        ("It works on Windows as well.", ["'as well'"]),
        ("It works on Windows as well as on Linux.", []),
        ("It works on Windows, too.", ["'too'"]),
        ("It is too large.", []),
        ("It is refused all the same.", ["'all the same'"]),
        ("Rows by which it is judged, of which one is wrong.", ["'by which'", "'of which'"]),
        ("Ten files, none of which is read.", []),
        ("The learning rate of the same.", ["'of the same'"]),
        ("Images of the same class.", []),
        ("There is such a file already.", ["'There is such'", "'such a file already'"]),
        ("Go on with it, for it is whole.", ["'Go on'", "'for it'"]),
        ("How is told in the tutorial.", ["'is told'"]),
        ("OpenVINO is to be installed.", ["'is to be'"]),
        ("The colour of a grey, labelled artefact.", ["'artefact'", "'colour'", "'grey'", "'labelled'"]),
        ("Normalise the centre, optimising behaviour.", ["'Normalise'", "'behaviour'", "'centre'", "'optimising'"]),
        ("Normalize the center, then promise otherwise precise advice.", []),
        ("`colour` and ``picture``, [a link](picture.png) and https://grey.org are code.", []),
        ("word " * 51 + ".", ["a sentence of 51 words (word word word word word word ...)"]),
        ("word " * 50 + ". Word " + "word " * 49 + ".", []),
    ],
)
def test_words_and_lengths(text: str, expected: list[str]) -> None:
    assert found("a.md", text) == [f"1 {what}" for what in expected]
    assert found("src/a.py", f'def f():\n    """{text}"""') == [f"2 {what}" for what in expected]
    assert found("tests/a.py", f"x = 1\n# {text}") == [f"2 {what}" for what in expected]


def test_markdown_is_read_without_its_code() -> None:
    page = """
    # A grey heading

    A paragraph that is
    grey.

    ```python
    grey = 1
    ```

    ```{note}
    A grey note.
    ```

    - a grey item

    | a cell | a grey cell |
    |---|---|
    <!-- grey -->
    """
    assert [line.split()[0] for line in found("a.md", page)] == ["2", "4", "12", "15", "17"]


def test_docstrings_are_read_without_their_examples() -> None:
    module = '''
    """A grey module."""

    X = 1
    """A grey attribute."""

    def f(x):
        """Plain.

        Args:
            x: A grey argument.

        >>> print("grey")
        grey

        A grey end::

            grey
        """
    '''
    assert [line.split()[0] for line in found("src/a.py", module)] == ["2", "5", "11", "16"]


def test_messages_are_read_in_the_library_only() -> None:
    module = """
    raise ValueError(f"{x} is a grey image")
    names = ["grey", "grey image"]
    """
    assert found("src/a.py", module) == ["2 'grey'"]
    assert found("tests/a.py", module) == []


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ('option("Learning rate (default: 1e-5).")', []),
        ('option("Learning rate.", default=1e-5)', []),
        ('option("File to write.", required=True)', []),
        ('flag("Replace the file.")', []),
        ('option("Learning rate.")', ["a help text without its default: 'Learning rate.'"]),
        ('option("Learning rate.", default=None)', ["a help text without its default: 'Learning rate.'"]),
        ('flag("replace the file.")', ["a help text that begins with 'replace the file.'"]),
        ('argument("Image to classify")', ["a help text that ends with 'Image to classify'"]),
        ('parser.add_argument("x", help="An image")', ["a help text that ends with 'An image'"]),
    ],
)
def test_help_texts(call: str, expected: list[str]) -> None:
    assert found("src/a.py", call) == [f"1 {what}" for what in expected]


def test_comments_of_scripts_and_settings() -> None:
    assert found("a.js", 'x = "grey";\n// grey\n/* a\n grey */') == ["2 'grey'", "3 'grey'"]
    assert found("a.toml", 'x = "grey"  # grey') == ["1 'grey'"]


def test_all_prose_of_the_repository_is_plain() -> None:
    """What `.ci/run` checks, among the quick tests so that it shows early."""
    lines, _ = prose.report(prose.own_files())
    assert lines == []
