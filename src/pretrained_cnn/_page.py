"""What all pages have in common: colors, light and dark, and a policy that allows nothing but what is in the page."""

from __future__ import annotations

import base64
import hashlib
import html
from importlib import resources

__all__ = ["common_style", "head", "source_hash"]


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
