"""The examples run as they are, and say what they should."""

from __future__ import annotations

import subprocess
import sys

import pytest
from paths import ROOT

EXPECTED = {
    "own_backbone.py": ["Result('", "round", "square", "embedding: (1, 32)"],
    "similar.py": ["clock.png            is most like ", "umbrella.png         is most like "],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_runs(name: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name], capture_output=True, text=True, check=True, timeout=120
    )
    assert [part for part in EXPECTED[name] if part not in done.stdout] == []


def test_every_example_is_tested() -> None:
    elsewhere = {"draw.py", "serve_fastapi.py"}  # by test_golden.py and test_serve_fastapi.py
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == elsewhere | set(EXPECTED)
