"""Fails the build if a public name is not in the reference."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import SphinxError

import pretrained_cnn


def check(app: Sphinx, env: BuildEnvironment) -> None:
    """Every name of ``pretrained_cnn.__all__`` must have been described by some page."""
    described = {entry[0] for entry in env.domains["py"].get_objects()}
    missing = [name for name in pretrained_cnn.__all__ if f"pretrained_cnn.{name}" not in described]
    if missing:
        raise SphinxError(f"not in the reference, add to docs/reference/api.md: {', '.join(missing)}")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("env-check-consistency", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
