"""Writes what the program knows better than an author: the table of backbones, and the command line's help.

The fragments go to ``reference/_generated``, which git ignores; pages of the reference include them.
"""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any
from unittest import mock

from sphinx.application import Sphinx

from pretrained_cnn import ModelSpec
from pretrained_cnn.catalog import CATALOG
from pretrained_cnn.cli import COMMANDS, Status, main

COLUMNS = ("Name", "Input", "Parameters", "Depth", "Embedding", "Top-1 %", "Top-5 %", "Measured at", "Paper")


def backbones() -> str:
    """The catalog as a Markdown table."""
    rows = [COLUMNS, ("---", *["--:"] * 7, "---"), *map(_row, CATALOG)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(spec: ModelSpec) -> tuple[str, ...]:
    published = spec.published
    height, width = spec.input_size
    return (
        f"`{spec.name}`",
        f"{height}&nbsp;x&nbsp;{width}",
        f"{spec.parameters:,}" if spec.parameters else "-",
        f"{spec.depth}" if spec.depth else "-",
        f"{spec.embedding_size:,}" if spec.embedding_size else "-",
        f"{published.top1:g}" if published else "-",
        f"{published.top5:g}" if published and published.top5 else "-",
        str(published.input_size) if published and published.input_size else "-",
        f"[{(spec.source or '').rpartition('/')[2]}]({spec.source})" if spec.source else "-",
    )


def command_line() -> str:
    """What ``--help`` prints, for the program and for each of its commands."""
    commands = [command.name for command in COMMANDS]
    sections = [("pretrained-cnn", _help()), *((f"pretrained-cnn {name}", _help(name)) for name in commands)]
    return "\n".join(f"### `{title}`\n\n```text\n{text}```\n" for title, text in sections)


def exit_statuses() -> str:
    """The exit statuses as a Markdown table."""
    rows = [("Status", "Meaning"), ("--:", "---"), *((str(status.value), status.meaning) for status in Status)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _help(*command: str) -> str:
    out = io.StringIO()
    with (
        mock.patch.dict(os.environ, {"COLUMNS": "80"}),
        contextlib.redirect_stdout(out),
        contextlib.suppress(SystemExit),
    ):
        main([*command, "--help"])
    return out.getvalue()


def write(app: Sphinx) -> None:
    """Write the fragments that changed, so that a second build has nothing to do."""
    folder = Path(app.srcdir, "reference", "_generated")
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"backbones": backbones(), "command-line": command_line(), "exit-statuses": exit_statuses()}
    for name, text in texts.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
