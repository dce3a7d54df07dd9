"""The page that a report is: written from its head to its end, a batch of images at a time.

What comes from a user, such as names and labels, stands in the page as data only, in blocks of JSON that browsers do
not run. The page's policy allows no network, and no script but that of this package, by its hash.
"""

from __future__ import annotations

import base64
import contextlib
import html
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pretrained_cnn._files import create_part
from pretrained_cnn._page import common_style, source_hash
from pretrained_cnn.errors import OutputError
from pretrained_cnn.labels import Prediction

__all__ = ["Page"]

SHARP, PLAIN = (224, 65), (160, 50)
"""The longer side of a thumbnail in pixels, and its quality as WebP. For 100 photos of ImageNet they took 7.2 kB and
3.5 kB on average, and a third more in base64."""

SCRIPTS = ("dom", "data", "heat", "state", "grid", "filters", "detail", "evaluation", "tabs", "main")
"""The modules of the page's script in ``script/``; each imports only from those before it."""

MANY = 500
"""How many images get sharp thumbnails. So 10,000 stay near 50 MB, and the usual report can be looked at closely."""


class Page:
    """Writes a page: its head, then what is added, then what closes it.

    Until it is finished it is in a file beside ``path``, which `close` removes. Raises OutputError if it cannot be
    written.
    """

    def __init__(self, path: Path, title: str) -> None:
        self._path = path
        self._classes: dict[tuple[str, str], int] = {}
        self._images = 0
        style, self._script = common_style() + _resource("page.css"), join(SCRIPTS)
        head, self._tail = _resource("page.html").split("<!-- data -->")
        policy = (
            f"default-src 'none'; img-src data:; style-src {source_hash(style)}; "
            f"script-src {source_hash(self._script)}; base-uri 'none'; form-action 'none'; "
            "require-trusted-types-for 'script'"
        )
        with self._explained():
            file, self._part = create_part(path)
        self._file = io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="\n")
        self._head = Template(head).substitute(title=html.escape(title), policy=policy, style=style)

    def add(
        self,
        names: Sequence[str],
        predictions: Sequence[Sequence[Prediction]],
        pixels: NDArray[np.uint8],
        *,
        truths: Sequence[tuple[str, str]] | None = None,
        doubts: Sequence[str] = (),
        heat_maps: NDArray[np.float32] | None = None,
    ) -> None:
        """Add images with their predictions; RGB ``(n, H, W, 3)``, and maps ``(n, h, w)``, 0 to 1, over all of them.

        ``truths`` are the id and the label of the class of each, ``doubts`` the status of each
        that is not to be trusted, else an empty text.
        """
        rows: list[dict[str, Any]] = [
            {"name": name, "best": [[self._class(id_, label), _number(score)] for id_, label, score in best]}
            for name, best in zip(names, predictions, strict=True)
        ]
        for row, truth in zip(rows, truths or (), strict=truths is not None):
            row["truth"] = self._class(*truth)
        for row, doubt in zip(rows, doubts, strict=bool(doubts)):
            if doubt:
                row["doubt"] = doubt
        self._block(rows, 'class="rows"')
        images = {"thumbnails": [self._thumbnail(each) for each in pixels]}
        if heat_maps is not None:
            images["maps"] = [_base64(each.tobytes()) for each in np.rint(heat_maps * 255).astype(np.uint8)]
        self._block(images, 'class="images"')

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Add what is known in the end, and put the page where it belongs."""
        self._block({**facts, "classes": list(self._classes)}, 'id="facts"')
        with self._explained():
            self._file.write(self._tail.replace("<!-- script -->", f"<script>{self._script}</script>"))
            self._file.close()
            os.replace(self._part, self._path)

    def close(self) -> None:
        """Let go of the file, and remove it if it is not finished."""
        with contextlib.suppress(OSError):  # of what could not be written, which was said
            self._file.close()
        self._part.unlink(missing_ok=True)

    def _class(self, id_: str, label: str) -> int:
        """The place of a class among those that were met."""
        return self._classes.setdefault((str(id_), str(label)), len(self._classes))

    def _thumbnail(self, pixels: NDArray[np.uint8]) -> str:
        self._images += 1
        size, quality = SHARP if self._images <= MANY else PLAIN
        image = Image.fromarray(pixels)
        image.thumbnail((size, size), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        image.save(stream, "WEBP", quality=quality)
        return _base64(stream.getvalue())

    def _block(self, data: Any, attribute: str) -> None:
        with self._explained():
            self._file.write(f'{self._head}<script type="application/json" {attribute}>{to_json(data)}</script>\n')
        self._head = ""

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written: {error.strerror or error}") from error


def join(names: Sequence[str]) -> str:
    """One script of JavaScript modules. A page without a network cannot import, so they share one scope instead."""
    modules = "\n".join(_resource(f"script/{name}.js") for name in names)
    code = re.sub(r"^(import\b[^;]*;\n|export )", "", modules, flags=re.MULTILINE)
    return f'"use strict";\n(() => {{\n{code}}})();\n'


def to_json(data: Any) -> str:
    r"""JSON that may stand in HTML: ASCII, and without a character that could end the element.

    >>> to_json("</script>&\u2028")
    '"\\u003c/script\\u003e\\u0026\\u2028"'
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def _number(score: float) -> float | None:
    """A score in as many digits as are shown; JSON has no word for NaN, which a broken network gives."""
    return round(score, 4) if np.isfinite(score) else None


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")
