"""A comparison as one HTML page, with the images that exactly one of the two classifies correctly.

The page holds everything and needs no network; its policy allows no script, and nothing from elsewhere. What comes from
a user, such as names and labels, is escaped.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from pretrained_cnn._page import head, write
from pretrained_cnn._statistics import format_p_value
from pretrained_cnn.errors import ImageError
from pretrained_cnn.images.decode import decode
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.images.resize import fit, size_needed
from pretrained_cnn.images.sources import Item
from pretrained_cnn.labels import imagenet_labels
from pretrained_cnn.spec import ResizePolicy

__all__ = ["MOST", "ClassCounts", "Shown", "thumbnail", "write_page"]

MOST = 500
"""The number of images that are shown for each of the two, so that the page stays below 10 MB."""

SIDE, QUALITY = 224, 65
"""The longer side of a thumbnail in pixels, and its quality as WebP."""


class ClassCounts(NamedTuple):
    """How many images of a class there are, and which of the two names how many of them correctly."""

    label: str
    images: int
    a: int
    b: int
    only_a: int
    only_b: int


class Shown(NamedTuple):
    """An image that exactly one of the two classifies correctly."""

    source: str
    label: str
    wrong: str
    """What the other one names it."""
    image: Any
    """What shows it again: a path, bytes, an array."""


def write_page(
    path: Path,
    facts: Mapping[str, Any],
    sentence: str,
    classes: Sequence[ClassCounts],
    gained: Sequence[Shown],
    lost: Sequence[Shown],
    *,
    overwrite: bool,
) -> None:
    """Write the page.

    Args:
        path: The file. It appears when it is whole.
        facts: What `Comparison.to_dict` gives.
        sentence: What `Comparison.sentence` gives.
        classes: A row for each class.
        gained: The images that B alone classifies correctly; the first `MOST` are shown.
        lost: The images that A alone classifies correctly.
        overwrite: Replace a file that is there already.

    Raises OutputError if the file cannot be written.
    """
    write(path, _page(facts, sentence, classes, gained, lost), overwrite=overwrite)


def _page(
    facts: Mapping[str, Any],
    sentence: str,
    classes: Sequence[ClassCounts],
    gained: Sequence[Shown],
    lost: Sequence[Shown],
) -> Iterator[str]:
    a, b = (_text(facts[side]["name"]) for side in "ab")
    style = resources.files(__package__).joinpath("comparison.css").read_text("utf-8")
    yield head(f"{facts['a']['name']} against {facts['b']['name']}", style)
    yield f"""<body>
<h1>{a} against {b}</h1>
<p class="verdict">{_text(sentence)}</p>"""
    yield from _accuracies(facts)
    yield from _figures(facts, a, b)
    yield from _table(classes, a, b)
    yield from _cards(f"Right only in {b}", f"What is gained by taking {b}.", a, gained)
    yield from _cards(f"Right only in {a}", f"What is lost by taking {b}.", b, lost)
    if facts["failed"]:
        yield f'<h2>Could not be read: {len(facts["failed"]):,}</h2>\n<ul class="failed">'
        yield from (f"<li>{_text(each)}</li>" for each in facts["failed"])
        yield "</ul>"
    yield "</body>\n</html>"


def _accuracies(facts: Mapping[str, Any]) -> Iterator[str]:
    """Both accuracies with their intervals, on one scale."""
    ends = [end for side in "ab" for end in facts[side]["interval"]]
    low, high = int(min(ends) * 20) / 20, min(1.0, int(max(ends) * 20 + 1) / 20)

    def place(share: float) -> float:
        return round(1000 * (share - low) / (high - low), 1)

    yield '<section class="box">'
    for side in "ab":
        share, (left, right) = facts[side]["accuracy"], facts[side]["interval"]
        yield f"""<div class="side {side}">
<div class="line"><b>{_text(facts[side]["name"])}</b><span>{_percent(share)} <small>95 %: {100 * left:.1f} to \
{100 * right:.1f}</small></span></div>
<svg viewBox="0 0 1000 16" preserveAspectRatio="none" aria-hidden="true">
<rect x="{place(left)}" width="{round(place(right) - place(left), 1)}" height="16"/>
<line x1="{place(share)}" x2="{place(share)}" y2="16" stroke-width="5"/></svg>
</div>"""
    yield f'<div class="ends soft"><span>{100 * low:.0f} %</span><span>{100 * high:.0f} %</span></div>\n</section>'


def _figures(facts: Mapping[str, Any], a: str, b: str) -> Iterator[str]:
    needed = facts["images_needed"]
    rows = {
        "Images": f"{facts['images']:,}",
        f"Right only in {a}": f"{facts['only_a']:,}",
        f"Right only in {b}": f"{facts['only_b']:,}",
        "p-value (McNemar, exact)": html.escape(format_p_value(facts["p_value"])),
        "Least difference that they show": f"{100 * facts['detectable']:.1f} points",
        "Images needed to tell": "not known" if needed is None else f"about {needed:,}",
    }
    yield "<dl>"
    yield from (f"<div><dt>{term}</dt><dd>{value}</dd></div>" for term, value in rows.items())
    yield "</dl>"


def _table(classes: Sequence[ClassCounts], a: str, b: str) -> Iterator[str]:
    yield f"""<h2>Classes</h2>
<p class="soft">Where the two differ most comes first. Few images of a class tell little.</p>
<div class="scroll"><table><thead><tr><th>class</th><th>images</th><th class="a">{a} %</th><th class="b">{b} %</th>\
<th>only {a}</th><th>only {b}</th></tr></thead><tbody>"""
    for each in sorted(classes, key=lambda row: (-abs(row.only_a - row.only_b), row.label)):
        shares = "".join(f"<td>{100 * right / each.images:.1f}</td>" for right in (each.a, each.b))
        yield (
            f"<tr><td>{_class(each.label)}</td><td>{each.images:,}</td>{shares}"
            f"<td>{each.only_a:,}</td><td>{each.only_b:,}</td></tr>"
        )
    yield "</tbody></table></div>"


def _cards(title: str, meaning: str, other: str, images: Sequence[Shown]) -> Iterator[str]:
    """The images that one of the two alone classifies correctly, with what the ``other`` one names them."""
    yield f'<h2>{title}: {len(images):,}</h2>\n<p class="soft">{meaning}</p>'
    if len(images) > MOST:
        yield f'<p class="soft">The first {MOST:,} are shown.</p>'
    yield '<ul class="cards">'
    for each in images[:MOST]:
        yield (
            f'<li><div class="image">{thumbnail(each)}</div><b>{_class(each.label)}</b>'
            f'<p>{other}: <span class="wrong">{_class(each.wrong)}</span></p>'
            f'<small title="{html.escape(each.source)}">{_text("/".join(Path(each.source).parts[-2:]))}</small></li>'
        )
    yield "</ul>"


def thumbnail(shown: Shown) -> str:
    """The image, or why there is none."""
    try:
        if shown.image is None or hasattr(shown.image, "read"):
            raise ImageError(shown.source, "it could be read only once")
        square = (SIDE, SIDE)
        item = Item(0, shown.source, shown.image)
        image = fit(decode(item, ImagePolicy(), size_needed(square, ResizePolicy("pad"))), square)
    except ImageError as error:
        return f"<span>not shown: {_text(error.reason)}</span>"
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=QUALITY)
    return f'<img alt="" src="data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}">'


def _class(ids: str) -> str:
    """A class, with its name if it is ImageNet's; or several between commas, or none."""
    name = dict(imagenet_labels()).get(ids)
    return _text(f"{name} ({ids})" if name else ids or "no label")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _text(text: str) -> str:
    """A text of the user's, which may run in either direction and change nothing around it."""
    return f"<bdi>{html.escape(text)}</bdi>"
