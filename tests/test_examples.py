"""The examples run as they are, and say what they should."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

EXPECTED = {
    "clothes.py": ["classes: dress, pants, shorts, t-shirt", "32 pictures, 4 classes", "dress is taken for dress"],
    "own_backbone.py": ["Result('", "round", "square", "embedding: (1, 32)"],
    "similar.py": ["clock.png            is most like ", "umbrella.png         is most like "],
}


SLOW = {"clothes.py"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in EXPECTED]
)
def test_an_example_runs(name: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name], capture_output=True, text=True, check=True, timeout=120
    )
    assert [part for part in EXPECTED[name] if part not in done.stdout] == []


@pytest.mark.slow
def test_clothes_on_photos(assets: Path) -> None:
    command = [sys.executable, ROOT / "examples" / "clothes.py", assets / "clothing"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert "pictures: 600 to train, 186 more" in done.stdout
    (share,) = re.findall(r"^top-1 +([\d.]+) %", done.stdout, flags=re.MULTILINE)
    assert float(share) > 75


def test_every_example_is_tested() -> None:
    elsewhere = {
        "draw.py",
        "draw_clothes.py",
        "serve_fastapi.py",
    }  # by test_golden.py, clothes.py, test_serve_fastapi.py
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == elsewhere | set(EXPECTED)
