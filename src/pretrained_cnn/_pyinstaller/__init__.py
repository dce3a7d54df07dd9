"""Tells PyInstaller about this library, through the entry point ``pyinstaller40``."""

from __future__ import annotations

from pathlib import Path

__all__ = ["get_hook_dirs"]


def get_hook_dirs() -> list[str]:
    """The folder of the hooks. PyInstaller calls it."""
    return [str(Path(__file__).parent)]
