"""Results as images: contact sheets, and what a `Result` shows of itself.

Names and labels may come from anywhere. In a drawing, and in HTML, they are cut to length, what cannot be printed is
replaced, and HTML is escaped. Images are decoded as everywhere, within the limits of the default `ImagePolicy`.
"""

from __future__ import annotations

import base64
import html as markup
import io
import math
import os
import re
import sys
import textwrap
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from PIL import Image, ImageDraw, ImageFont, ImageShow

from pretrained_cnn._check import whole_number
from pretrained_cnn.errors import ImageError, InvalidArgumentError, OutputError
from pretrained_cnn.images.decode import decode
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.images.resize import fit, size_needed
from pretrained_cnn.images.sources import Item
from pretrained_cnn.labels import Prediction
from pretrained_cnn.spec import ResizePolicy

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

PAPER, INK, FAINT, BACK, BAR = "#ffffff", "#1f2328", "#656d76", "#eef0f2", "#3b7dd8"
UNCERTAIN, FAILED = "#b45f06", "#c0392b"
ERROR = "#d9534f"
"""A red that can be read on white and on black."""
MIN_SIZE = 64
"""Below this side, in pixels, no label is readable under a thumbnail."""
MAX_TEXT = 150
"""Characters of a name or a label that are looked at: more would fit no line."""
THUMBNAIL = 224
"""Side, in pixels, of the image in a notebook."""


class Drawable(Protocol):
    """What is drawn of a `Result`."""

    @property
    def source(self) -> str: ...
    @property
    def predictions(self) -> Sequence[Prediction]: ...
    @property
    def error(self) -> ImageError | None: ...
    @property
    def image(self) -> Any: ...
    @property
    def status(self) -> str: ...


def contact_sheet(
    results: Sequence[Drawable], columns: int | None, size: int, font: str | os.PathLike[str] | None
) -> Image.Image:
    """What `pretrained_cnn.contact_sheet` draws, of results that are known."""
    if not results:
        raise InvalidArgumentError("results=[] has no result to draw")
    if columns is None:
        columns = math.ceil(math.sqrt(1.5 * len(results)))
    columns, size = whole_number("columns", columns), whole_number("size", size, MIN_SIZE)
    return _Sheet(len(results), columns, size, font).draw(results, _thumbnail)


def show(result: Drawable, size: int) -> None:
    """Show a result in the notebook, or open it in the machine's own program.

    Raises ImageError if there is no image to show, OutputError where nothing shows images.
    """
    image = _thumbnail(result, size)
    sheet = _Sheet(1, 1, size, None).draw([result], lambda *_: image)
    if _is_notebook():
        sys.modules["IPython"].display.display(sheet)
    elif not (_has_display() and ImageShow.show(sheet)):
        raise OutputError(
            "no program shows images here; write one with contact_sheet(result).save('result.png'), or call show() in "
            "a notebook"
        )


def _is_notebook() -> bool:
    """Whether this is a kernel of Jupyter, which shows images itself."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def _has_display() -> bool:
    """Whether windows can be opened: Linux without a desktop also runs the viewer, which shows nothing."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def text_html(text: str, cards: Iterable[str] = (), image: bytes | None = None) -> str:
    """A text for a notebook, as it is printed; below it a PNG image, and images with lines of text."""
    drawn = "" if image is None else f'<img src="data:image/png;base64,{base64.b64encode(image).decode()}" alt="">'
    beside = "".join(cards)
    beside = f'<div style="display:flex;flex-wrap:wrap;gap:1em">{beside}</div>' if beside else ""
    return f'<pre style="white-space:pre;overflow-x:auto">{markup.escape(text)}</pre>{drawn}{beside}'


def captioned(image: Image.Image, text: str) -> Image.Image:
    """An image with a line of text below it, which is cut to its width."""
    font = _font(None, max(11, min(28, image.width // 24)))
    line = round(1.6 * _height(font))
    sheet = Image.new("RGB", (image.width, image.height + line), PAPER)
    sheet.paste(image)
    shown = _cut(text, font, image.width - line)
    ImageDraw.Draw(sheet).text((line / 2, image.height + line / 2), shown, INK, font, anchor="lm")
    return sheet


def card(source: str, image: Any, lines: Sequence[str], size: int = 160) -> str:
    """An image for a notebook with lines of text below it, and its name; without the image if it cannot be read."""
    try:
        drawn = "" if image is None else _image_tag(_read(source, image, size))
    except ImageError as error:
        drawn = f'<div style="color:{ERROR};overflow-wrap:anywhere">{_escape(error.reason)}</div>'
    texts = "".join(f'<div style="overflow-wrap:anywhere">{_escape(line)}</div>' for line in lines)
    name = f'<div style="opacity:.7;overflow-wrap:anywhere">{_escape(source, end=True)}</div>'
    return f'<div style="width:{size}px;font-size:.85em">{drawn}{texts}{name}</div>'


def html(result: Drawable) -> str:
    """A result for a notebook, light or dark: a thumbnail, the name, and a bar for each class."""
    try:
        image = _image_tag(_thumbnail(result, THUMBNAIL))
        problem = ""
    except ImageError as error:
        image = ""
        mark, color = ("failed: ", ERROR) if result.error is not None else ("", "inherit")
        problem = f'<div style="color:{color};overflow-wrap:anywhere">{_escape(mark + error.reason)}</div>'
    rows = "".join(
        f'<div style="overflow-wrap:anywhere">{_escape(label)}</div>'
        '<div style="background:rgba(127,127,127,.2);border-radius:3px">'
        f'<div style="background:{BAR};border-radius:3px;height:.7em;width:{100 * _share(score):.1f}%"></div></div>'
        f'<div style="text-align:right;white-space:nowrap">{_percent(score)}</div>'
        for _, label, score in result.predictions
    )
    return (
        '<div style="display:flex;flex-wrap:wrap;gap:1em;align-items:flex-start;color:inherit">'
        f'{image}<div style="flex:1;min-width:16em;max-width:34em">'
        f'<div style="opacity:.7;overflow-wrap:anywhere;margin-bottom:.5em">{_escape(result.source, end=True)}</div>'
        f'{problem}<div style="display:grid;grid-template-columns:fit-content(14em) minmax(5em,1fr) auto;'
        f'gap:.25em .75em;align-items:center">{rows}</div></div></div>'
    )


class _Sheet:
    """Where things are on a contact sheet, and in what type they are set."""

    def __init__(self, count: int, columns: int, size: int, font: str | os.PathLike[str] | None) -> None:
        self.size = size
        self.gap = max(8, size // 12)
        self.font = _font(font, max(11, round(1.15 * math.sqrt(size))))
        self.small = _font(font, max(10, round(0.95 * math.sqrt(size))))
        self.line, self.small_line = (round(1.35 * _height(font)) for font in (self.font, self.small))
        self.columns, rows = min(columns, count), math.ceil(count / columns)
        self.cell = (size + self.gap, size + self.gap + self.line + self.small_line + self.gap // 2)
        width, height = self.gap + self.columns * self.cell[0], self.gap + rows * self.cell[1]
        most = ImagePolicy().max_pixels
        if width * height > most:
            raise InvalidArgumentError(
                f"a sheet of {count:,} images with size={size} would have {width} x {height} pixels, which are more "
                f"than {most:,}; give fewer results, or a smaller size"
            )
        self.image = Image.new("RGB", (width, height), PAPER)
        self.pen = ImageDraw.Draw(self.image)

    def draw(self, results: Sequence[Drawable], thumbnail: Callable[[Drawable, int], Image.Image]) -> Image.Image:
        for index, result in enumerate(results):
            row, column = divmod(index, self.columns)
            self._draw(result, thumbnail, self.gap + column * self.cell[0], self.gap + row * self.cell[1])
        return self.image

    def _draw(self, result: Drawable, thumbnail: Callable[[Drawable, int], Image.Image], left: int, top: int) -> None:
        """One result, its thumbnail's corner at ``(left, top)``."""
        size, failed = self.size, result.error is not None
        best = result.predictions[0] if result.predictions and not failed else None
        color = None if result.status == "ok" else FAILED if failed else UNCERTAIN
        frame = (left, top, left + size - 1, top + size - 1)
        self.pen.rectangle(frame, fill=BACK)
        try:
            image = thumbnail(result, size)
            self.image.paste(image, (left + (size - image.width) // 2, top + (size - image.height) // 2))
        except ImageError as error:
            self._paragraph(error.reason, left, top, below_mark=color is not None)
        if color is not None:
            self.pen.rectangle(frame, outline=color, width=max(3, size // 40))
            self._mark(result.status, left, top, color)
        top += size + self.gap // 4
        score = _percent(best.score) if best else ""
        label = best.label.replace("_", " ") if best else "" if failed else "no class named"
        font = self._fitting(f"{label} {score}")
        if best and font.getlength(f"{label} {score}") > size:  # the name needs the room more than the decimal
            score = f"{100 * best.score:.0f} %"
        room = size - (font.getlength(f" {score}") if score else 0)
        self.pen.text((left, top), _cut(label, font, room), color or INK, font)
        self.pen.text((left + size - font.getlength(score), top), score, color or INK, font)
        name = _cut(_base_name(result.source), self.small, size, end=True)
        self.pen.text((left, top + (self.line if label else 0)), name, FAINT, self.small)

    def _fitting(self, text: str) -> Font:
        """The smaller type for what does not fit into a cell in the larger one."""
        return self.font if self.font.getlength(text) <= self.size else self.small

    def _mark(self, word: str, left: int, top: int, color: str) -> None:
        width = self.small.getlength(word) + self.gap
        self.pen.rectangle((left, top, left + width, top + self.small_line), fill=color)
        self.pen.text((left + self.gap / 2, top + self.small_line / 2), word, PAPER, self.small, anchor="lm")

    def _paragraph(self, text: str, left: int, top: int, *, below_mark: bool) -> None:
        """A text in place of a thumbnail, as much of it as there is room for."""
        margin, width = self.gap // 2, self.size - self.gap
        top += margin + (self.small_line if below_mark else 0)
        letters, lines = (
            int(width / self.small.getlength("n")),
            (self.size - self.gap) // self.small_line - below_mark,
        )
        wrapped = textwrap.wrap(_clean(text[: 4 * MAX_TEXT]), letters, max_lines=lines, placeholder=" …")
        for number, line in enumerate(wrapped):
            place = (left + margin, top + number * self.small_line)
            self.pen.text(place, _cut(line, self.small, width), INK, self.small)


def _thumbnail(result: Drawable, size: int) -> Image.Image:
    """The image of a result, undistorted, as large as it goes into a square. Raises ImageError."""
    if result.error is not None:
        raise result.error
    if result.image is None:
        raise ImageError(
            result.source,
            "it was not kept, so it cannot be shown; predict keeps an image, and so does predict_batch one in a list; "
            "stream keeps paths and addresses only",
        )
    return _read(result.source, result.image, size)


def _read(source: str, image: Any, size: int) -> Image.Image:
    """An image, undistorted, as large as it goes into a square. Raises ImageError."""
    square = (size, size)
    return fit(decode(Item(0, source, image), ImagePolicy(), size_needed(square, ResizePolicy("pad"))), square)


def _image_tag(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img src="data:image/jpeg;base64,{data}" width="{image.width}" height="{image.height}" alt="">'


def _font(path: str | os.PathLike[str] | None, height: int) -> Font:
    if path is None:
        return ImageFont.load_default(height)
    try:
        return ImageFont.truetype(path, height)
    except OSError as error:
        raise InvalidArgumentError(f"font={os.fspath(path)!r} cannot be read as a font: {error}") from error


def _height(font: Font) -> float:
    return font.getbbox("Ag")[3]


def _cut(text: str, font: Font, width: float, *, end: bool = False) -> str:
    """As much of a text as is at most ``width`` pixels wide: its beginning, or its end."""
    text = _clean(text[-MAX_TEXT:] if end else text[:MAX_TEXT])
    if font.getlength(text) <= width:
        return text

    def part(length: int) -> str:
        return f"…{text[len(text) - length :]}" if end else f"{text[:length]}…"

    fitting = bisect_right(range(len(text)), width, key=lambda length: font.getlength(part(length)))
    return part(max(0, fitting - 1))


def _base_name(source: str) -> str:
    """A name without its folders, or the address as it is."""
    return source if "://" in source else re.split(r"[/\\\\]", source.rstrip("/"))[-1] or source


def _clean(text: str) -> str:
    """A text on one line, without what would change how the others are printed."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _escape(text: str, *, end: bool = False) -> str:
    if len(text) > MAX_TEXT:
        text = f"…{text[-MAX_TEXT:]}" if end else f"{text[:MAX_TEXT]}…"
    return markup.escape(_clean(text))


def _percent(score: float) -> str:
    return f"{100 * score:.1f} %"


def _share(score: float) -> float:
    """A score within 0 to 1, whatever a decode function of the user's own gave."""
    return score if 0 <= score <= 1 else float(score > 1)
