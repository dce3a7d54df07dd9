"""Draws the example images: six things that an ImageNet classifier knows by name.

    python examples/draw.py            # writes examples/images/*.png
    python examples/draw.py elsewhere  # writes elsewhere/*.png

The images need nothing but Pillow, and come out the same to the byte on every run. One function below draws each
of them, on a canvas four times as large as the image: scaling it down at the end is what makes the edges smooth.
The networks look only at a square in the middle, seven eighths of the short side, so that is where the things are.
"""

import argparse
import math
import random
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise, permutations
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageFont

Point = tuple[float, float]
Vector = tuple[float, float, float]
Fill = str | tuple[str, str]  # one color, or two that fade from the top of a shape to its bottom

SCALE = 4  # the canvas is this many times as large as the image
INK: Fill = ("#3b424d", "#20242b")
PAPER: Fill = ("#ffffff", "#ece8de")
WOOD: Fill = ("#9b6632", "#64401c")
RED: Fill = ("#e5493b", "#b0261c")
DARK_RED: Fill = ("#cf3529", "#8f180f")


# --- the canvas ------------------------------------------------------------------------------------------------------


class Canvas:
    """An image in the making. All lengths are in pixels of the finished image."""

    def __init__(self, width: int, height: int, background: Fill) -> None:
        self.width, self.height = width, height
        self.image = paint(background, width * SCALE, height * SCALE)

    def polygon(self, points: Iterable[Point], fill: Fill, shadow: float = 0) -> None:
        corners = [(x * SCALE, y * SCALE) for x, y in points]
        self._fill(lambda pen: pen.polygon(corners, fill=255), fill, shadow)

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Fill, shadow: float = 0) -> None:
        box = ((x - rx) * SCALE, (y - ry) * SCALE, (x + rx) * SCALE, (y + ry) * SCALE)
        self._fill(lambda pen: pen.ellipse(box, fill=255), fill, shadow)

    def disc(self, x: float, y: float, radius: float, fill: Fill, shadow: float = 0) -> None:
        self.ellipse(x, y, radius, radius, fill, shadow)

    def box(self, x: float, y: float, w: float, h: float, fill: Fill, shadow: float = 0, corner: float = 0) -> None:
        box = (x * SCALE, y * SCALE, (x + w) * SCALE - 1, (y + h) * SCALE - 1)
        self._fill(lambda pen: pen.rounded_rectangle(box, corner * SCALE, fill=255), fill, shadow)

    def line(self, points: Iterable[Point], width: float, fill: Fill, shadow: float = 0) -> None:
        """A line through the points, with round joints and ends."""
        path = [(x * SCALE, y * SCALE) for x, y in points]

        def draw(pen: ImageDraw.ImageDraw) -> None:
            pen.line(path, fill=255, width=round(width * SCALE))
            for point in path:
                pen.circle(point, width * SCALE / 2, fill=255)

        self._fill(draw, fill, shadow)

    def text(self, x: float, y: float, text: str, size: float, fill: Fill) -> None:
        """A text with its middle at x, y."""
        font = ImageFont.load_default(size * SCALE)
        self._fill(lambda pen: pen.text((x * SCALE, y * SCALE), text, fill=255, font=font, anchor="mm"), fill)

    def glow(self, x: float, y: float, rx: float, ry: float, color: str, strength: float) -> None:
        """A light that fades from its middle to its rim; with a dark color, a soft shadow."""
        falloff = [round(255 * strength * max(0.0, 1 - distance / 180) ** 2) for distance in range(256)]
        mask = Image.radial_gradient("L").resize((round(2 * rx * SCALE), round(2 * ry * SCALE))).point(falloff)
        self.image.paste(color, (round((x - rx) * SCALE), round((y - ry) * SCALE)), mask)

    def finish(self) -> Image.Image:
        return self.image.resize((self.width, self.height), Image.Resampling.HAMMING)

    def _fill(self, draw: Callable[[ImageDraw.ImageDraw], object], fill: Fill, shadow: float = 0) -> None:
        """Fill the shape that `draw` leaves in white, after dropping a shadow ``shadow`` pixels wide."""
        mask = Image.new("L", self.image.size)
        draw(ImageDraw.Draw(mask))
        if shadow:
            blurred = mask.resize((self.width, self.height)).filter(ImageFilter.GaussianBlur(shadow))
            faint = blurred.point([level * 2 // 5 for level in range(256)]).resize(self.image.size)
            self.image.paste("#101820", (round(shadow * SCALE / 2), round(shadow * SCALE)), faint)
        if bounds := mask.getbbox():
            left, top, right, bottom = bounds
            self.image.paste(paint(fill, right - left, bottom - top), (left, top), mask.crop(bounds))


def paint(fill: Fill, width: int, height: int) -> Image.Image:
    """A rectangle of one color, or of two that fade into each other."""
    if isinstance(fill, str):
        return Image.new("RGB", (width, height), fill)
    top, bottom = (Image.new("RGB", (width, height), color) for color in fill)
    return Image.composite(bottom, top, Image.linear_gradient("L").resize((width, height)))


# --- curves ----------------------------------------------------------------------------------------------------------


def steps(start: float, stop: float, count: int = 40) -> list[float]:
    """Numbers from start to stop, both included, evenly spaced."""
    return [start + (stop - start) * i / count for i in range(count + 1)]


def polar(x: float, y: float, radius: float, turn: float) -> Point:
    """The point at a distance from x, y, where a clock's hand points: 0 turns is up, 0.25 is right."""
    return x + radius * math.sin(math.tau * turn), y - radius * math.cos(math.tau * turn)


def drop(x: float, y: float, width: float, height: float, tip: float = 0) -> list[Point]:
    """One side of a drop, from the middle of its round end at x, y to its tip (cut off a little, if so told)."""
    return [
        (x + width * 1.3 * math.sin(a) * math.sin(a / 2), y + height * (1 + math.cos(a)) / 2)
        for a in steps(math.pi, tip)
    ]


def mirrored(side: Sequence[Point], x: float) -> list[Point]:
    """The closed outline: `side` is one half and its reflection about the vertical at x the other."""
    return [*side, *((2 * x - px, py) for px, py in reversed(side))]


# --- the images ----------------------------------------------------------------------------------------------------


def clock() -> Canvas:
    """A clock on a wall, at eight minutes past ten."""
    canvas = Canvas(480, 360, ("#b9d3d6", "#93b5ba"))
    x, y = 240, 180
    canvas.disc(x, y, 150, INK, shadow=10)
    canvas.disc(x, y, 136, PAPER)
    for minute in range(60):
        start, width = (122, 1.5) if minute % 5 else (116, 3.5)
        canvas.line([polar(x, y, start, minute / 60), polar(x, y, 127, minute / 60)], width, INK)
    for hour in range(1, 13):
        canvas.text(*polar(x, y, 97, hour / 12), str(hour), 27, INK)
    for turn, tail, length, width, fill in (
        ((10 + 8 / 60) / 12, 0, 66, 8, INK),
        (8 / 60, 0, 102, 6, INK),
        (33 / 60, 26, 110, 2.5, RED),
    ):
        canvas.line([polar(x, y, -tail, turn), polar(x, y, length, turn)], width, fill, shadow=2)
    canvas.disc(x, y, 8, RED)
    return canvas


def balloon() -> Canvas:
    """Two hot-air balloons over the hills."""
    canvas = Canvas(360, 450, ("#4a97d6", "#eaf4f6"))
    for x, y, size in ((62, 108, 1.0), (318, 250, 0.8), (40, 300, 0.6)):
        for dx, dy, radius in ((-30, 4, 14), (-10, -4, 20), (14, 0, 17), (34, 6, 11)):
            canvas.ellipse(x + dx * size, y + dy * size, radius * 1.3 * size, radius * 0.8 * size, "#d3e7f3")
    for base, height, hue in ((400, 12, ("#9cc3a0", "#86b18c")), (420, 9, ("#6fa56f", "#4f8752"))):
        ridge = [(px, base + height * math.sin(px / 45 + base)) for px in steps(0, 360)]
        canvas.polygon([*ridge, (360, 450), (0, 450)], hue)
    fly(canvas, 312, 326, 0.16)
    fly(canvas, 180, 76, 1)
    return canvas


def fly(canvas: Canvas, x: float, y: float, size: float) -> None:
    """A balloon with its crown at x, y."""
    stripes: tuple[Fill, ...] = (RED, ("#f8cb52", "#dc9f22"), ("#fbf6ea", "#d8d0bb"), ("#3a7cc4", "#1f4d85"))
    seams = [drop(x, y, 118 * size * math.sin(math.pi * k), 250 * size, tip=0.5) for k in steps(-0.5, 0.5, 8)]
    for gore, (left, right) in enumerate(pairwise(seams)):
        canvas.polygon([*left, *reversed(right)], stripes[gore % 4])
    for side in (-1, -0.4, 0.4, 1):
        canvas.line([(x + 17 * size * side, y + 234 * size), (x + 14 * size * side, y + 274 * size)], 1.3 * size, INK)
    canvas.box(x - 17 * size, y + 272 * size, 34 * size, 27 * size, WOOD, corner=5 * size)


def candle() -> Canvas:
    """A candle in the dark."""
    canvas = Canvas(360, 450, ("#17121e", "#2a1c1c"))
    x = 180
    canvas.glow(x, 150, 250, 250, "#d9822b", 0.8)
    canvas.ellipse(x, 362, 92, 17, ("#b98a4d", "#4a3519"))
    canvas.ellipse(x, 359, 80, 12, ("#5b3f1d", "#83602f"))
    canvas.ellipse(x, 356, 40, 9, "#a97d46")
    canvas.box(x - 40, 205, 80, 151, ("#fce9bd", "#a97d46"))
    canvas.ellipse(x, 205, 40, 9, ("#fff6da", "#ffdf9a"))
    canvas.line([(x, 205), (x + 1, 188)], 3, INK)
    canvas.polygon(mirrored(drop(x, 200, 20, -110), x), ("#ffb347", "#ffe08a"))
    canvas.polygon(mirrored(drop(x, 197, 12, -68), x), ("#fff6d0", "#fffdf0"))
    canvas.glow(x, 160, 75, 75, "#ffe9b0", 0.6)
    return canvas


def hourglass() -> Canvas:
    """An hourglass, half run down."""
    canvas = Canvas(360, 450, ("#ebe0cd", "#c9b698"))
    x, y, height = 180, 225, 125
    sand: Fill = ("#e6b055", "#c4862c")

    def bulb(start: float, stop: float, inset: float = 0) -> list[Point]:
        """The right-hand wall between two heights: the neck is at 0, the ends at -1 and 1."""
        wall = [(12 + 60 * math.sin(math.pi / 2 * abs(t)) ** 1.2, t) for t in steps(start, stop)]
        return [(x + width - inset, y + height * t) for width, t in wall]

    for side in (-1, 1):
        canvas.line([(x + 92 * side, y - height), (x + 92 * side, y + height)], 11, WOOD, shadow=5)
    canvas.polygon(mirrored(bulb(-1, 1), x), ("#f7fafa", "#d9e5e8"), shadow=5)
    canvas.polygon(mirrored(bulb(-0.5, 0, inset=7), x), sand)
    canvas.line([(x, y), (x, y + height)], 3.5, sand)
    dune = [(x + 62 * k, y + height * (0.6 - 0.14 * math.cos(math.pi * k))) for k in steps(0, 1)]
    canvas.polygon(mirrored([*dune, *bulb(0.74, 1, inset=7)], x), sand)
    canvas.line([(2 * x - px, py) for px, py in bulb(-0.92, -0.6, inset=10)], 4, "#ffffff")
    for top in (y - height - 22, y + height - 4):
        canvas.box(x - 112, top, 224, 26, WOOD, shadow=5, corner=8)
    return canvas


def umbrella() -> Canvas:
    """A red umbrella in the rain."""
    canvas = Canvas(480, 360, ("#dfe7ec", "#b4c4cf"))
    x, y, width, height = 240, 192, 150, 130
    rain = random.Random(4)
    for _ in range(90):
        px, py = rain.uniform(0, 480), rain.uniform(-20, 360)
        canvas.line([(px, py), (px - 4, py + 16)], 1.2, "#bccbd6")

    def rib(side: float) -> list[Point]:
        return [(x + side * width * math.sin(a), y - height * math.cos(a)) for a in steps(0, math.pi / 2)]

    hook = [polar(x + 18, 300, 18, turn) for turn in steps(0.75, 0.27)]
    canvas.line([(x, y), *hook], 6, WOOD, shadow=3)
    canvas.line([(x, y - height - 9), (x, y - height)], 5, INK)
    ribs = [rib(math.sin(math.pi * k)) for k in steps(-0.5, 0.5, 6)]
    for panel, (left, right) in enumerate(pairwise(ribs)):
        start, span = left[-1][0], right[-1][0] - left[-1][0]
        hem = [(start + span * k, y - span * 0.2 * math.sin(math.pi * k)) for k in steps(0, 1)]
        canvas.polygon([*left, *hem, *reversed(right)], RED if panel % 2 else DARK_RED)
    return canvas


def soccer_ball() -> Canvas:
    """A football on the lawn."""
    canvas = Canvas(400, 400, ("#8fc7e8", "#e3f2f7"))
    canvas.box(0, 240, 400, 160, ("#7fbb5b", "#3f8238"))
    x, y, radius = 200, 195, 140
    canvas.glow(x + 12, 328, 170, 48, "#0c240b", 0.95)
    canvas.disc(x, y, radius, ("#ffffff", "#c3c8ce"))

    def project(point: Vector) -> Point:
        """Where a point of the ball shows; one on the far side, at the rim."""
        px, py, pz = point
        reach = (radius - 2) / (math.hypot(px, py) if pz < 0 else 1)
        return x + reach * px, y + reach * py

    corners = icosahedron()
    edges = [(a, b) for a, b in permutations(corners, 2) if math.dist(a, b) < 1.1]
    for a, b in edges:
        seam = [between(a, b, share) for share in steps(1 / 3, 2 / 3)]
        canvas.line([project(point) for point in seam if point[2] > 0], 3, "#6b7078")
    for corner in corners:
        if corner[2] > -0.3:
            patch = around([between(a, b, 1 / 3) for a, b in edges if a == corner])
            rim = [between(a, b, share) for a, b in pairwise([*patch, patch[0]]) for share in steps(0, 1)]
            canvas.polygon([project(point) for point in rim], INK)
    canvas.glow(x - 36, y - 48, 115, 115, "#ffffff", 0.4)
    return canvas


def icosahedron() -> list[Vector]:
    """The middles of a football's twelve black patches, on a ball of radius 1 that is turned a little."""
    ring = [(math.cos(a), math.sin(a)) for a in steps(0, math.tau, 5)[:5]]
    flat, high = 2 / math.sqrt(5), 1 / math.sqrt(5)
    upright = [(0.0, 0.0, 1.0), *((flat * px, flat * py, high) for px, py in ring)]
    return [tilt((s * px, s * py, s * pz)) for s in (1, -1) for px, py, pz in upright]


def tilt(point: Vector, right: float = 0.2, down: float = -0.3) -> Vector:
    """A point of the ball after turning that by so much, in radians, about its upright and its level axis."""
    x, y, z = point
    x, z = x * math.cos(right) + z * math.sin(right), z * math.cos(right) - x * math.sin(right)
    y, z = y * math.cos(down) + z * math.sin(down), z * math.cos(down) - y * math.sin(down)
    return x, y, z


def between(a: Vector, b: Vector, share: float) -> Vector:
    """The point on the ball that lies so far on the way from a to b."""
    x, y, z = (p + (q - p) * share for p, q in zip(a, b, strict=True))
    length = math.hypot(x, y, z)
    return x / length, y / length, z / length


def around(points: Sequence[Vector]) -> list[Vector]:
    """The corners of a patch, in the order in which its rim passes them."""
    x, y = (sum(axis) / len(points) for axis in list(zip(*points, strict=True))[:2])
    return sorted(points, key=lambda point: math.atan2(point[1] - y, point[0] - x))


# --- the program -----------------------------------------------------------------------------------------------------

IMAGES = (balloon, candle, clock, hourglass, soccer_ball, umbrella)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the example images.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).with_name("images"))
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for image in IMAGES:
        path = folder / f"{image.__name__}.png"
        image().finish().save(path, optimize=True)
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
