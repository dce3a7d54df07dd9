"""Where the library keeps what it computed once and may need again: converted graphs, embeddings."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["CACHE", "cache_home"]

CACHE = "PRETRAINED_CNN_CACHE"
"""The environment variable that names the folder."""


def cache_home() -> Path:
    """The folder: ``$PRETRAINED_CNN_CACHE``, else ``pretrained_cnn`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Whatever is in it may be deleted at any time. Weights files are not: they are where Keras keeps them
    (`weights.cache_dir`).
    """
    named = os.environ.get(CACHE)
    if named:
        return Path(named)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "pretrained_cnn"
