"""Makes the gallery's images and tables: the drawn examples, as EfficientNetLite0 sees and names them.

All goes to ``_generated``, which git ignores; ``gallery.md`` includes it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from sphinx.application import Sphinx

from pretrained_cnn import Classifier, ImagePolicy, ResizePolicy, Result, contact_sheet
from pretrained_cnn.cli.console import quiet
from pretrained_cnn.images.batch import load
from pretrained_cnn.images.sources import single_item

IMAGES = Path(__file__).parents[2] / "examples" / "images"
NAMES = sorted(path.stem for path in IMAGES.glob("*.png"))
HEIGHT = 150

POLICIES = {"crop": ResizePolicy(), "squash": ResizePolicy("squash"), "pad": ResizePolicy("pad")}


class Gallery:
    """Images and Markdown in a folder, about what one classifier answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Squashing leaves an image of the network's size as it is, so that one network serves all policies.
        self.clf = Classifier("EfficientNetLite0", resize=POLICIES["squash"])

    def show(self, name: str, image: Image.Image) -> str:
        """Save an image, ``HEIGHT`` pixels high; the Markdown that shows it, from a page in the folder above."""
        width = round(image.width * HEIGHT / image.height)
        image.resize((width, HEIGHT), Image.Resampling.LANCZOS).save(self.folder / f"{name}.png", optimize=True)
        return f"![{name.replace('-', ' ')}]({self.folder.name}/{name}.png)"

    def see(self, image: Any, policy: ResizePolicy = POLICIES["crop"]) -> np.ndarray:
        """What reaches the network: RGB uint8 ``(224, 224, 3)``."""
        return load(single_item(image), self.clf.spec.input_size, policy, ImagePolicy())

    def answer(self, pixels: np.ndarray, top: int = 1) -> str:
        """Names and scores, a line each."""
        return "<br>".join(
            f"{label} {score:.1%}".replace("%", "&nbsp;%") for _, label, score in self.clf.predict(pixels, top=top)
        )

    def write(self, name: str, rows: Iterable[Iterable[str]]) -> None:
        """A Markdown table, whose first row is its head."""
        head, *body = ([*row] for row in rows)
        lines = [head, ["---"] * len(head), *body]
        (self.folder / f"{name}.md").write_text("".join(f"| {' | '.join(line)} |\n" for line in lines), "utf-8")


def answers(gallery: Gallery) -> None:
    """Each drawn image with its three best classes."""
    rows = [["the image", "what the network sees", "its answer"]]
    for name in NAMES:
        with Image.open(IMAGES / f"{name}.png") as image:
            pixels = gallery.see(image)
            seen = gallery.show(f"{name}-seen", Image.fromarray(pixels))
            rows.append([gallery.show(name, image), seen, gallery.answer(pixels, top=3)])
    gallery.write("answers", rows)


def resizing(gallery: Gallery) -> None:
    """Three images under three resize policies: as drawn, and with more wall beside them."""
    with Image.open(IMAGES / "balloon.png") as balloon, Image.open(IMAGES / "clock.png") as clock:
        images = {
            "balloon": balloon,
            "wide": _on_a_wall(clock, 960, 360, left=240),
            "at-the-margin": _on_a_wall(clock, 1200, 360, left=0),
        }
        rows = [["", *(f"`{method}`" for method in POLICIES)]]
        for name, image in images.items():
            cells = []
            for method, policy in POLICIES.items():
                pixels = gallery.see(image, policy)
                shown = gallery.show(f"{name}-{method}", Image.fromarray(pixels))
                cells.append(f"{shown}<br>{gallery.answer(pixels)}")
            rows.append([gallery.show(name, image), *cells])
    gallery.write("resizing", rows)


def _on_a_wall(image: Image.Image, width: int, height: int, left: int) -> Image.Image:
    """The image as a part of a larger one, whose sides continue like its own."""
    larger = image.crop((0, 0, 1, image.height)).resize((width, height))
    larger.paste(image, (left, 0))
    return larger


def contact_sheets(gallery: Gallery) -> None:
    """All of them on one sheet, with a broken file among them, as `contact_sheet` draws it."""
    images: list[Any] = [(f"{name}.png", gallery.see(IMAGES / f"{name}.png")) for name in NAMES]
    images.insert(3, ("half.png", (IMAGES / "clock.png").read_bytes()[:9000]))
    results = gallery.clf.predict_batch(images, top=1, min_score=0.6, errors="return")
    contact_sheet(results, columns=4).save(gallery.folder / "contact-sheet.png", optimize=True)


def heat_maps(gallery: Gallery) -> None:
    """Each drawn image with the places that spoke for its class, and for the next best one."""
    rows = [["what the network sees", "its best class", "the second"]]
    for name in NAMES:
        pixels = gallery.see(IMAGES / f"{name}.png")
        cells = [gallery.show(f"{name}-seen", Image.fromarray(pixels))]
        for rank, (wnid, label, *_) in enumerate(gallery.clf.predict(pixels, top=2), 1):
            overlay = gallery.clf.explain(pixels, wnid).overlay()
            cells.append(f"{gallery.show(f'{name}-heat-{rank}', overlay)}<br>{label}")
        rows.append(cells)
    gallery.write("heat_maps", rows)


def awkward(gallery: Gallery) -> None:
    """Files that are easy to read wrongly: as ``Image.open(...).convert("RGB")`` gives them, and as we read them."""
    rows = [["a file", "opened carelessly", "as it is read here", "the answer"]]
    for title, make in AWKWARD.items():
        data = make()
        with Image.open(io.BytesIO(data)) as image:
            careless = np.asarray(image.convert("RGB"))
        name = "-".join(title.replace(",", "").split())
        seen = Image.fromarray(gallery.see(data))
        shown = gallery.show(f"{name}-careless", Image.fromarray(careless)), gallery.show(name, seen)
        rows.append(
            [
                title,
                f"{shown[0]}<br>{gallery.answer(gallery.see(careless))}",
                shown[1],
                gallery.answer(np.asarray(seen)),
            ]
        )
    gallery.write("awkward", rows)


def _turned() -> bytes:
    with Image.open(IMAGES / "hourglass.png") as image:
        exif = image.getexif()
        exif[0x0112] = 6  # what the camera held on its side
        return _saved(image.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif)


def _transparent() -> bytes:
    with Image.open(IMAGES / "soccer_ball.png") as image:
        mask = Image.new("L", image.size)
        ImageDraw.Draw(mask).ellipse((60, 55, 340, 335), fill=255)
        noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*image.size[::-1], 3), dtype=np.uint8))
        noise.paste(image, mask=mask)
        noise.putalpha(mask)
        return _saved(noise, "PNG")


def _sixteen_bits() -> bytes:
    with Image.open(IMAGES / "umbrella.png") as image:
        return _saved(Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257), "PNG")


AWKWARD: dict[str, Callable[[], bytes]] = {
    "turned, as EXIF says": _turned,
    "transparent, noise behind": _transparent,
    "gray of 16 bits": _sixteen_bits,
}


def _saved(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def refused(gallery: Gallery) -> None:
    """What is no image, and what is said of it."""
    clock = (IMAGES / "clock.png").read_bytes()
    images = {
        "half.png": clock[: len(clock) // 2],
        "page.jpg": b"<!DOCTYPE html><title>404</title>",
        "empty.jpg": b"",
        "huge.png": Image.new("1", (20_000, 20_000)),
        "floats from 0 to 1": np.full((64, 64, 3), 0.5),
    }
    results: list[Result] = gallery.clf.predict_batch(list(images.items()), errors="return")
    rows = [["you pass", "it answers"]]
    rows += [[f"`{result.source}`", f"`{result.error.reason}`"] for result in results if result.error]
    assert len(rows) == len(images) + 1
    gallery.write("refused", rows)


def write(app: Sphinx) -> None:
    """Make all of it again: the answers are those of the code as it is now."""
    folder = Path(app.srcdir, "_generated")
    folder.mkdir(exist_ok=True)
    with quiet():
        gallery = Gallery(folder)
        for section in (answers, contact_sheets, heat_maps, resizing, awkward, refused):
            section(gallery)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
