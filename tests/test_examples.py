"""The examples run as they are, and say what they should."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT
from PIL import Image

EXPECTED = {
    "clothes.py": ["classes: dress, pants, shorts, t-shirt", "32 images, 4 classes", "dress is taken for dress"],
    "lesson.py": [
        "8.5 a head on a frozen network: ",
        "8.9 dropout 0.5: ",
        "8.10 augmentation: ",
        "dress is taken for dress",
    ],
    "own_backbone.py": ["Result('", "round", "square", "embedding: (1, 32)"],
    "similar.py": ["clock.png            is most like ", "umbrella.png         is most like "],
}


SLOW = {"similar.py", "clothes.py", "lesson.py"}
SHOWN = {"answers.py"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in EXPECTED]
)
def test_an_example_runs(name: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name], capture_output=True, text=True, check=True, timeout=300
    )
    assert [part for part in EXPECTED[name] if part not in done.stdout] == []


@pytest.mark.slow
def test_clothes_on_photos(assets: Path) -> None:
    command = [sys.executable, ROOT / "examples" / "clothes.py", assets / "clothing"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert "images: 600 to train, 186 more" in done.stdout
    (share,) = re.findall(r"^top-1 +([\d.]+) %", done.stdout, flags=re.MULTILINE)
    assert float(share) > 75


@pytest.mark.slow
def test_the_readme_shows_what_is_answered(tmp_path: Path) -> None:
    new = tmp_path / "answers.png"
    subprocess.run([sys.executable, ROOT / "examples" / "answers.py", new], check=True, timeout=300)
    with Image.open(new) as now, Image.open(ROOT / "docs" / "images" / "answers.png") as shown:
        assert now.size == shown.size
        # Not to the bit: a score that is rounded otherwise on another machine may change a letter.
        assert np.abs(np.asarray(now.convert("RGB"), float) - np.asarray(shown.convert("RGB"), float)).mean() < 1


def test_every_example_is_tested() -> None:
    elsewhere = {"draw.py"}  # by test_golden.py
    used = {"draw_clothes.py"}  # by clothes.py and lesson.py
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == elsewhere | used | SHOWN | set(EXPECTED)
