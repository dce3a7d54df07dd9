"""Draws what a network answers: each example image, where the network looks, and its three best classes.

    python examples/answers.py            # writes docs/images/answers.png, the image of the README
    python examples/answers.py other.png

The scores and the heat maps are those of EfficientNetLite0 with its ImageNet weights.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from pretrained_cnn import Classifier, Result

IMAGES = Path(__file__).parent / "images"
TARGET = Path(__file__).parents[1] / "docs" / "images" / "answers.png"

SIDE, GAP, LINE, COLUMNS = 150, 20, 22, 3  # pixels
CARD = (2 * SIDE + GAP, SIDE + 3 * LINE + 2 * GAP)
BAR = (120, 250)  # where the bar of a score of 100 % begins and ends
INK, FAINT, BLUE = "#1f2328", "#e4e8ec", "#3b7dd8"


def thumbnail(image: Image.Image) -> Image.Image:
    """The middle of an image, square: about what the network is shown."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return square.resize((2 * SIDE, 2 * SIDE), Image.Resampling.LANCZOS)


def card(image: Image.Image, overlay: Image.Image, result: Result) -> Image.Image:
    """An image, its heat map, and below them a bar for each class. Drawn at twice its size, for smooth letters."""
    canvas = Image.new("RGB", (2 * CARD[0], 2 * CARD[1]), "white")
    canvas.paste(thumbnail(image), (0, 0))
    canvas.paste(thumbnail(overlay), (2 * (SIDE + GAP // 4), 0))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(28)
    for number, (_, label, score) in enumerate(result):
        middle = 2 * (SIDE + GAP // 2 + LINE * number + LINE // 2)
        start, end = 2 * BAR[0], 2 * BAR[1]
        pen.text((0, middle), label.replace("_", " "), INK, font, anchor="lm")
        for stop, color in ((end, FAINT), (start + round((end - start) * score), BLUE)):
            pen.rectangle((start, middle - 10, stop, middle + 10), fill=color)
        pen.text((2 * (2 * SIDE + GAP // 4), middle), f"{score:.1%}", INK, font, anchor="rm")
    return canvas.resize(CARD, Image.Resampling.LANCZOS)


def main(target: Path) -> None:
    clf = Classifier("EfficientNetLite0")
    paths = sorted(IMAGES.glob("*.png"))
    rows = -(-len(paths) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (CARD[0] + GAP) + GAP, rows * CARD[1] + GAP), "white")
    for number, path in enumerate(paths):
        row, column = divmod(number, COLUMNS)
        with Image.open(path) as image:
            drawn = card(image, clf.explain(path).overlay(), clf.predict(path, top=3))
        sheet.paste(drawn, (GAP + column * (CARD[0] + GAP), GAP + row * CARD[1]))
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(256).save(target, optimize=True)
    print(f"{target}  {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)
