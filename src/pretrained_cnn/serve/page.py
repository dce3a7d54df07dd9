"""The page for trying a service: one file, which loads nothing from other sites."""

from __future__ import annotations

import html
from importlib import resources
from string import Template

from pretrained_cnn._page import common_style, source_hash

__all__ = ["page"]


def page(title: str) -> tuple[str, dict[str, str]]:
    """The page, and the headers that forbid it all that it does not need."""
    style, script, whole = (
        resources.files(__package__).joinpath(name).read_text("utf-8") for name in ("page.css", "page.js", "page.html")
    )
    style = common_style() + style
    policy = (
        f"default-src 'none'; img-src blob: data:; style-src {source_hash(style)}; script-src {source_hash(script)}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    return Template(whole).substitute(title=html.escape(title), style=style, script=script), headers
