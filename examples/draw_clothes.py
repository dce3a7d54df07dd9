"""Draws clothes: a small data set to learn training with, the same on every run.

    python examples/draw_clothes.py clothes

writes clothes/train, clothes/validation and clothes/test, each with a folder of images for each class.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw

# Outlines on a square of 100 x 100, one half; the other is its mirror image.
OUTLINES = {
    "dress": [(50, 12), (42, 10), (38, 24), (42, 42), (22, 90), (50, 92)],
    "pants": [(50, 10), (32, 10), (28, 90), (42, 90), (48, 34), (50, 34)],
    "shorts": [(50, 28), (30, 28), (24, 64), (45, 66), (48, 48), (50, 48)],
    "t-shirt": [(50, 18), (40, 14), (16, 28), (24, 44), (33, 38), (33, 86), (50, 86)],
}


def draw(folder: Path, each: int, seed: int) -> Path:
    """``each`` images a class: in any color, turned a little, large or small, on any background."""
    generator = random.Random(seed)
    for name, half in OUTLINES.items():
        (folder / name).mkdir(parents=True)
        for i in range(each):
            light, dark = (tuple(generator.randint(*span) for _ in range(3)) for span in ((170, 250), (20, 150)))
            image = Image.new("RGB", (240, 240), light)
            scale, left, top = generator.uniform(1.6, 2.2), generator.uniform(0, 25), generator.uniform(0, 25)
            points = [(x, y + generator.uniform(-2, 2)) for x, y in half]
            whole = [*points, *((100 - x, y) for x, y in reversed(points))]
            ImageDraw.Draw(image).polygon([(left + x * scale, top + y * scale) for x, y in whole], fill=dark)
            image = image.rotate(generator.uniform(-12, 12), Image.Resampling.BICUBIC, fillcolor=light)
            image.save(folder / name / f"{i:02}.png")
    return folder


def draw_all(folder: Path) -> Path:
    """All three parts: 15 images a class to train with, 8 to choose the settings by, 8 to measure with."""
    for seed, (part, each) in enumerate({"train": 15, "validation": 8, "test": 8}.items()):
        draw(folder / part, each, seed)
    return folder


if __name__ == "__main__":
    draw_all(Path(sys.argv[1]))
