"""The common parts of all HTML pages: colors, light and dark, and a policy that blocks all external content."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from pretrained_cnn._check import check_free
from pretrained_cnn._files import atomic_write
from pretrained_cnn.errors import OutputError

__all__ = ["common_style", "head", "source_hash", "write"]


def common_style() -> str:
    """The style that each page's own one follows: the colors, as variables."""
    return resources.files(__package__).joinpath("_page.css").read_text("utf-8")


def source_hash(text: str) -> str:
    """How a page's Content-Security-Policy names the one style or script that it allows.

    >>> source_hash("")
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
    """
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def head(title: str, style: str, script: str = "") -> str:
    """The beginning of a page in one file, which loads nothing; ``script`` is the one that it has further below.

    >>> "<title>a &amp; b</title>" in head("a & b", "")
    True
    """
    style = common_style() + style
    scripts = f"script-src {source_hash(script)}; " if script else ""
    policy = (
        f"default-src 'none'; img-src data:; style-src {source_hash(style)}; {scripts}base-uri 'none'; "
        "form-action 'none'"
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{html.escape(title)}</title>
<style>{style}</style>
</head>"""


def write(path: Path, parts: Iterable[str], *, overwrite: bool) -> None:
    """Write a page to ``path``, where it appears when it is whole.

    Raises OutputError if the file exists, unless ``overwrite`` says to replace it, or cannot be written.
    """
    check_free(path, overwrite=overwrite)
    page = "\n".join(parts)
    try:
        with atomic_write(path) as stream:
            stream.write(page.encode("utf-8", "replace"))
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
