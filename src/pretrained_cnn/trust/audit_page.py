"""An audit as one HTML page, in which a person marks what to drop and what to relabel, and saves the rest as CSV.

The page holds everything and needs no network; its policy allows no script but its own. What comes from a user, such as
names and labels, is escaped.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pretrained_cnn._page import head, write
from pretrained_cnn.trust.comparison_page import MOST, Shown, thumbnail

__all__ = ["write_page"]

TITLES = {
    "label": "Wrong labels",
    "duplicate": "Duplicates",
    "leak": "Leaks",
    "outlier": "Outliers",
    "dark": "Dark",
    "blurred": "Blurred",
    "tiny": "Tiny",
    "broken": "Broken",
    "small_class": "Small classes",
}


def write_page(
    path: Path,
    facts: Mapping[str, Any],
    images: Sequence[tuple[str | None, str]],
    weights: Sequence[str] | None,
    findings: Sequence[tuple[Mapping[str, Any], int | None, Any, Any]],
    *,
    overwrite: bool,
) -> None:
    """Write the page.

    Args:
        path: The file. It appears when it is whole.
        facts: What `Audit.to_dict` gives.
        images: For each image its path, or None if it is in no file, and its class.
        weights: The weight of each image, for the CSV file; None for no such column.
        findings: For each finding its row, the place of its image, and what shows that image and the other one.
        overwrite: Replace a file that is there already.

    Raises OutputError if the file cannot be written.
    """
    write(path, _page(facts, images, weights, findings), overwrite=overwrite)


def _page(
    facts: Mapping[str, Any],
    images: Sequence[tuple[str | None, str]],
    weights: Sequence[str] | None,
    findings: Sequence[tuple[Mapping[str, Any], int | None, Any, Any]],
) -> Iterator[str]:
    style, script = _resource("comparison.css") + _resource("audit.css"), _resource("audit.js")
    title = f"Audit of {facts['name']}"
    yield head(title, style, script)
    yield f"""<body>
<h1>{_text(title)}</h1>
<p class="verdict">{facts["images"]:,} images of {len(facts["classes"]):,} classes. What is listed are suspicions: \
look before you drop or relabel an image.</p>
<div class="bar">
<label>Sort <select id="order"><option value="score">most suspicious first</option>\
<option value="label">by class</option><option value="source">by name</option></select></label>
<button id="save" type="button" title="All images but the dropped ones">Save CSV</button>
<span id="status" class="soft" role="status"></span>
</div>"""
    for kind, name in TITLES.items():
        found = [each for each in findings if each[0]["kind"] == kind]
        if found:
            yield f"<h2>{name}: {len(found):,}</h2>"
            if len(found) > MOST:
                yield f'<p class="soft">The {MOST:,} most suspicious ones are shown.</p>'
            yield '<ul class="cards">'
            yield from map(_card, found[:MOST])
            yield "</ul>"
    content = {"images": images, "classes": list(facts["classes"]), "weights": weights}
    data = json.dumps(content, separators=(",", ":"))
    yield f'<script type="application/json" id="data">{_in_html(data)}</script>'
    yield f"<script>{script}</script>\n</body>\n</html>"


def _card(found: tuple[Mapping[str, Any], int | None, Any, Any]) -> str:
    row, place, image, other = found
    source = row["source"] or row["class"]
    attributes = "" if place is None else f' data-place="{place}"'
    attributes += "".join(
        f' data-{name}="{html.escape(str(value))}"'
        for name, value in (("score", row["score"]), ("label", row["class"]), ("source", source))
    )
    if row["suggested"] is not None:
        attributes += f' data-suggested="{html.escape(row["suggested"])}"'
    pictures = ""
    if image is not None and row["kind"] != "broken":
        pictures += f'<div class="image">{thumbnail(Shown(source, row["class"], "", image))}</div>'
    if other is not None:
        pictures += f'<div class="image">{thumbnail(Shown(row["other"], row["class"], "", other))}</div>'
    suggested = "" if row["suggested"] is None else f' <span class="wrong">{_text(row["suggested"])}?</span>'
    names = "".join(
        f'<small title="{html.escape(each)}">{before}{_text("/".join(Path(each).parts[-2:]))}</small>'
        for before, each in (("", row["source"]), ("copy of ", row["other"]))
        if each is not None
    )
    return f"<li{attributes}>{pictures}<b>{_text(row['class'])}</b>{suggested}<p>{_text(row['reason'])}</p>{names}</li>"


def _in_html(data: str) -> str:
    """JSON without a character that could end the element."""
    return data.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _text(text: str) -> str:
    """A text of the user's, which may run in either direction and change nothing around it."""
    return f"<bdi>{html.escape(text)}</bdi>"
