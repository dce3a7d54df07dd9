"""No link leads nowhere: files, anchors and images that the Markdown pages name, and each page named by another.

Links to other sites are not followed: that takes a network, and would make the tests depend on other people's servers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from paths import ROOT

PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "examples/**/*.md")
    for path in ROOT.glob(pattern)
    if not {"_build", "_generated"} & set(path.parts)
)


class Link(NamedTuple):
    page: Path
    target: str

    @property
    def file(self) -> Path:
        """The file that it leads to: the page itself for a bare anchor."""
        path = self.target.partition("#")[0]
        return (self.page.parent / path).resolve() if path else self.page

    @property
    def anchor(self) -> str:
        return self.target.partition("#")[2]


def without_code(page: Path) -> str:
    """A page without its comments and blocks of code, with what it includes from another page."""
    text = re.sub(r"<!--.*?-->", "", page.read_text("utf-8"), flags=re.DOTALL)
    included = re.findall(r"^```\{include\} (\S+)", text, flags=re.MULTILINE)
    text = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return text + "".join(without_code(page.parent / name) for name in included if "_generated" not in name)


def links(page: Path) -> Iterator[Link]:
    """The page's links and images to other files, or to its own anchors."""
    text = re.sub(r"`[^`\n]*`(?!\])", "", without_code(page))  # where brackets are not links
    found = re.findall(r"\]\(\s*<?([^)\s>]+)", text) + re.findall(r"<(?:img|a)\b[^>]*?(?:src|href)=\"([^\"]+)\"", text)
    for target in found:
        if not re.match(r"[a-z]+:", target):
            yield Link(page, target)


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in addresses, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ +(.+?) *$", without_code(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.casefold()).replace(" ", "-") for heading in headings}


def problem(link: Link) -> str | None:
    """Why a link leads nowhere; None if it leads somewhere."""
    if not link.file.is_relative_to(ROOT):
        return "is outside the repository"
    if "_generated" in link.file.parts:
        return None  # made by the build of the documentation, which fails if it does not
    if not link.file.exists():
        return "is not there"
    in_reference = link.anchor.startswith("pretrained_cnn.") and link.page.is_relative_to(ROOT / "docs")
    if link.anchor and not in_reference and link.anchor not in anchors(link.file):
        return "has no such heading"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    dead = [f"{link.target} {why}" for link in links(page) if (why := problem(link))]
    assert dead == []


def test_dead_links_are_found(tmp_path: Path) -> None:
    page = ROOT / "docs" / "tutorial.md"
    assert problem(Link(page, "how-to/folders.md#resume-a-run")) is None
    assert problem(Link(page, "how-to/nowhere.md")) == "is not there"
    assert problem(Link(page, "how-to/folders.md#going-off")) == "has no such heading"
    assert problem(Link(page, "#the-first-image")) is None
    assert problem(Link(page, "#the-last-image")) == "has no such heading"
    assert problem(Link(page, "../../elsewhere.md")) == "is outside the repository"
    written = tmp_path / "page.md"
    written.write_text(
        '[a](b.md) `[c](d.md)` [`e`](f.md)\n```\n[g](h.md)\n```\n<img src="i.png"> [j](https://k.l)\n', "utf-8"
    )
    assert [link.target for link in links(written)] == ["b.md", "f.md", "i.png"]


def named() -> str:
    """Where a reader may find a name: all pages and their code, without the lists of files that Sphinx keeps."""
    return "\n".join(re.sub(r"```\{toctree\}.*?```", "", page.read_text("utf-8"), flags=re.DOTALL) for page in PAGES)


def test_every_page_is_linked_from_another() -> None:
    targets = {link.file for page in PAGES for link in links(page) if link.file != page}
    included = {ROOT / "benchmarks" / "results.md"}
    entrances = {ROOT / name for name in ("README.md", "CHANGELOG.md")}
    assert [str(page.relative_to(ROOT)) for page in PAGES if page not in targets | included | entrances] == []


def test_every_example_is_named_on_a_page() -> None:
    text = named()
    examples = [path.name for path in (ROOT / "examples").iterdir() if path.suffix == ".py" or path.name == "plugin"]
    assert "plugin" in examples
    assert [name for name in examples if f"examples/{name}" not in text] == []
