"""Results as images: contact sheets, and what a result shows of itself, whatever its names and its image are."""

from __future__ import annotations

import base64
import io
import pickle
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import EXAMPLES
from patterns import SMALL
from PIL import Image, ImageColor, ImageShow

from pretrained_cnn import Classifier, ImageError, InvalidArgumentError, Prediction, Result, contact_sheet
from pretrained_cnn.errors import OutputError
from pretrained_cnn.results import drawing

CLOCK = EXAMPLES / "clock.png"
NOT_KEPT = "it was not kept, so it cannot be shown; predict keeps an image, and so does predict_batch one in a list"


def result(label: str = "clock", score: float = 0.7, source: str = "a.png", **changes: Any) -> Result:
    return Result(source, (Prediction(label, label, score, 0),), **{"image": str(CLOCK), **changes})


def failed(reason: str = "it is empty") -> Result:
    return Result("a.png", (), ImageError("a.png", reason), str(CLOCK))


@pytest.fixture(scope="module")
def clf() -> Classifier:
    return Classifier(SMALL)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Image.Image]:
    """The images that were opened in a program."""
    images: list[Image.Image] = []
    monkeypatch.setattr(ImageShow, "show", lambda image: images.append(image) or True)
    return images


def colors(image: Image.Image) -> set[tuple[int, int, int]]:
    return set(map(tuple, np.asarray(image).reshape(-1, 3).tolist()))


# What a result keeps


def test_predict_and_a_list_keep_what_was_handed_over(clf: Classifier) -> None:
    pixels = np.zeros((9, 9, 3), np.uint8)
    assert clf.predict(pixels).image is pixels
    results = clf.predict_batch([pixels, CLOCK, ("named", pixels), b"no image"], errors="return")
    assert [found.image for found in results] == [pixels, str(CLOCK), pixels, b"no image"]
    assert [found.source for found in results] == ["<array 0>", str(CLOCK), "named", "<bytes 3>"]
    (first, second) = clf.predict_batch(np.stack([pixels, pixels + 1]))
    assert (first.image, second.image) == (pytest.approx(pixels), pytest.approx(pixels + 1))


def test_a_stream_keeps_paths_only(clf: Classifier) -> None:
    pixels = np.zeros((9, 9, 3), np.uint8)
    images = [CLOCK, ("named", str(CLOCK)), pixels, CLOCK.read_bytes(), "no.jpg"]
    kept = [str(CLOCK), str(CLOCK), None, None, "no.jpg"]
    assert [found.image for found in clf.stream(images)] == kept
    assert [found.image for found in clf.predict_batch(iter(images), errors="return")] == kept
    assert {found.image for found in clf.predict_batch(str(EXAMPLES))} == set(map(str, EXAMPLES.glob("*.png")))


def test_an_open_file_is_not_kept(clf: Classifier) -> None:
    with CLOCK.open("rb") as file:
        assert clf.predict(file).image is None


def test_the_image_is_neither_compared_nor_printed_nor_pickled() -> None:
    pixels = np.zeros((1000, 1000, 3), np.uint8)
    found = result(image=pixels)
    assert (found, hash(found), repr(found)) == (result(), hash(result()), repr(result()))
    assert len(pickle.dumps(found)) < 500
    for before, image in ((found, None), (result(), str(CLOCK)), (failed(), str(CLOCK))):
        after = pickle.loads(pickle.dumps(before))
        assert (after.source, after.predictions, str(after.error)) == (
            before.source,
            before.predictions,
            str(before.error),
        )
        assert after.image == image


# Contact sheets


@pytest.mark.parametrize(
    ("count", "columns", "grid"),
    [(1, None, (1, 1)), (6, None, (3, 2)), (6, 2, (2, 3)), (3, 50, (3, 1)), (7, 1, (1, 7))],
)
def test_a_sheet_has_rows_and_columns(count: int, columns: int | None, grid: tuple[int, int]) -> None:
    sheet = contact_sheet([result() for _ in range(count)], columns=columns, size=100)
    one = contact_sheet([result()], size=100)
    gap = 8
    assert sheet.mode == "RGB"
    assert tuple((side - gap) / (cell - gap) for side, cell in zip(sheet.size, one.size, strict=True)) == grid


def test_each_image_is_in_its_place_whole_and_undistorted() -> None:
    red, green = np.full((50, 100, 3), (200, 0, 0), np.uint8), np.full((100, 50, 3), (0, 200, 0), np.uint8)
    sheet = contact_sheet([result(image=red), result(image=green)], size=100)
    pixels = np.asarray(sheet)
    for color, (top, left, bottom, right) in {(200, 0, 0): (33, 8, 83, 108), (0, 200, 0): (8, 141, 108, 191)}.items():
        rows, across = np.nonzero((pixels == color).all(axis=2))
        assert (rows.min(), across.min(), rows.max() + 1, across.max() + 1) == (top, left, bottom, right)


def test_what_is_uncertain_and_what_failed_is_marked() -> None:
    uncertain, bad = (ImageColor.getrgb(name) for name in (drawing.UNCERTAIN, drawing.FAILED))
    gray = np.full((64, 64, 3), 100, np.uint8)
    marks = {
        "certain": contact_sheet([result(score=0.5, image=gray)]),
        "uncertain": contact_sheet([result(score=0.4, image=gray, status="uncertain")]),
        "unknown": contact_sheet([result(score=0.9, image=gray, status="unknown")]),
        "not asked for": contact_sheet([result(score=0.4, image=gray)]),
        "failed": contact_sheet([failed()]),
    }
    found = {name: [color in colors(sheet) for color in (uncertain, bad)] for name, sheet in marks.items()}
    assert found == {
        "certain": [False, False],
        "uncertain": [True, False],
        "unknown": [True, False],
        "not asked for": [False, False],
        "failed": [False, True],
    }


def test_the_label_the_score_the_name_and_the_reason_are_drawn() -> None:
    sheets = [
        contact_sheet([found], size=100)
        for found in (
            result(),
            result("cat"),
            result(score=0.71),
            result(source="b.png"),
            failed(),
            failed("it is a folder"),
            Result("a.png", ()),
            Result("a.png", (), image=str(CLOCK)),
        )
    ]
    assert len({sheet.tobytes() for sheet in sheets}) == len(sheets)


def test_a_list_of_results_shows_itself_in_a_notebook(clf: Classifier) -> None:
    results = clf.predict_batch([Image.new("RGB", (40, 30), "red")] * 30 + [b"no image"], errors="return")
    with Image.open(io.BytesIO(results._repr_png_())) as shown:
        assert np.array_equal(np.asarray(shown), np.asarray(contact_sheet(results[:24])))
    assert clf.predict_batch([])._repr_png_() is None


def test_one_result_is_drawn_too() -> None:
    assert contact_sheet(result()).size == contact_sheet([result()]).size


def test_a_failed_image_is_not_read_again() -> None:
    class Never:
        def __array__(self) -> None:
            raise AssertionError

    contact_sheet([Result("a", (), ImageError("a", "it is empty"), Never())])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"results": []}, "results=[] has no result to draw"),
        ({"columns": 0}, "columns=0 is not a whole number of at least 1"),
        ({"size": 63}, "size=63 is not a whole number of at least 64"),
        ({"size": 99.5}, "size=99.5 is not a whole number of at least 64"),
        ({"font": "no.ttf"}, "font='no.ttf' cannot be read as a font: cannot open resource"),
        (
            {"results": [result()] * 9000, "size": 100},
            "a sheet of 9,000 images with size=100 would have 12644 x 11",
        ),
    ],
)
def test_what_cannot_be_drawn(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        contact_sheet(**{"results": [result()], **arguments})
    assert message in str(caught.value)


def test_a_font_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "font.ttf"
    path.write_bytes(drawing._font(None, 12).font_bytes)
    cat, cot = (contact_sheet([result(label)], font=path) for label in ("cat", "cot"))
    assert cat.size == cot.size == contact_sheet([result()]).size
    assert cat.tobytes() != cot.tobytes()


TEXT = st.text(st.characters(), max_size=400) | st.sampled_from(
    ["a" * 5000, "\n" * 50, "</div><script>", "caf\udce9", ""]
)


@given(TEXT, TEXT, st.floats(), st.tuples(st.integers(1, 300), st.integers(1, 300)), st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_name_label_score_and_image_is_drawn(
    source: str, label: str, score: float, shape: tuple[int, int], good: bool
) -> None:
    image = np.zeros(shape, np.uint8)
    found = result(label, score, source, image=image) if good else Result(source, (), ImageError(source, label), image)
    expected = contact_sheet([result()], size=64).size
    assert contact_sheet([found], size=64).size == expected
    check_html(found)


@pytest.mark.parametrize("shape", [(1, 1), (1, 1000), (1000, 1), (3000, 2000)])
def test_images_of_any_shape_stay_within_their_square(shape: tuple[int, int]) -> None:
    sheet = contact_sheet([result(image=np.full((*shape, 3), (0, 0, 250), np.uint8))], size=64)
    rows, across = np.nonzero((np.asarray(sheet) == (0, 0, 250)).all(axis=2))
    assert 8 <= rows.min() <= rows.max() < 72
    assert 8 <= across.min() <= across.max() < 72


def test_a_long_text_is_cut_where_it_ends() -> None:
    font = drawing._font(None, 14)
    assert drawing._cut("short", font, 100) == "short"
    for end in (False, True):
        cut = drawing._cut("0123456789" * 100, font, 100, end=end)
        assert 90 < font.getlength(cut) <= 100
        assert cut[0 if end else -1] == "…"
        assert cut.endswith("6789") == end
    assert drawing._cut("anything", font, 0) == "…"


# In a notebook


class Tags(HTMLParser):
    """The tags and the text of a document."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def check_html(found: Result) -> Tags:
    """Only our own tags, with our own attributes, in UTF-8, all of them closed."""
    document = found._repr_html_()
    document.encode()
    tags = Tags(document)
    assert tags.open == []
    assert {tag for tag, _ in tags.tags} <= {"div", "img"}
    for tag, attributes in tags.tags:
        assert set(attributes) == ({"src", "width", "height", "alt"} if tag == "img" else {"style"})
    return tags


def test_a_notebook_gets_a_thumbnail_the_name_and_a_bar_for_each_class() -> None:
    found = Result("a&b.png", (Prediction("a", "<b>", 0.75, 0), Prediction("b", "two", 0.25, 1)), image=CLOCK)
    tags = check_html(found)
    assert tags.text == ["a&b.png", "<b>", "75.0 %", "two", "25.0 %"]
    widths = re.findall(r"width:([\d.]+)%", found._repr_html_())
    assert widths == ["75.0", "25.0"]
    (attributes,) = (attributes for tag, attributes in tags.tags if tag == "img")
    kind, _, data = str(attributes["src"]).partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert [str(side) for side in image.size] == [attributes["width"], attributes["height"]]
        assert max(image.size) == drawing.THUMBNAIL


def test_a_notebook_is_told_what_failed_and_what_was_not_kept() -> None:
    assert check_html(failed("<it> is empty")).text == ["a.png", "failed: <it> is empty"]
    name, reason, *scores = check_html(result(image=None)).text
    assert (name, scores) == ("a.png", ["clock", "70.0 %"])
    assert reason.startswith(NOT_KEPT)
    assert check_html(result(image="gone.png")).text[1] == "there is no file 'gone.png'"


# In a program


def test_show_opens_the_sheet_of_one_image(shown: list[Image.Image], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    result().show(size=100)
    assert [image.tobytes() for image in shown] == [contact_sheet([result()], size=100).tobytes()]


def test_show_without_a_desktop_says_what_to_do(shown: list[Image.Image], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(OutputError, match=r"contact_sheet\(result\)\.save\('result\.png'\)"):
        result().show()
    assert not shown


def test_show_in_a_notebook_shows_the_image_below_the_cell(
    shown: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    displayed: list[Image.Image] = []
    notebook = SimpleNamespace(
        get_ipython=lambda: SimpleNamespace(kernel=object()), display=SimpleNamespace(display=displayed.append)
    )
    monkeypatch.setitem(sys.modules, "IPython", notebook)  # type: ignore[arg-type]
    result().show(size=100)
    assert [image.size for image in displayed] == [contact_sheet([result()], size=100).size]
    assert not shown


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (failed(), "a.png: it is empty"),
        (result(image=None), f"a.png: {NOT_KEPT}"),
        (result(image="gone.png"), "a.png: there is no file 'gone.png'"),
    ],
)
def test_show_raises_for_what_cannot_be_shown(found: Result, message: str, shown: list[Image.Image]) -> None:
    with pytest.raises(ImageError) as caught:
        found.show()
    assert str(caught.value).startswith(message)
    assert shown == []


def test_a_stream_can_be_drawn_while_it_runs(clf: Classifier) -> None:
    def images() -> Iterator[Path]:
        yield from sorted(EXAMPLES.glob("*.png"))

    sheet = contact_sheet(clf.stream(images()), columns=6, size=64)
    assert sheet.width == 8 + 6 * 72
