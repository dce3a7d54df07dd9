"""The report in a real Chromium: it can be used by mouse and keyboard, and runs nothing of what it shows.

Every test of this module also fails if the page logs an error, opens an alert, or asks for anything but itself.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_report import HOSTILE, LABELS, small_network

from pretrained_cnn import Classifier, Prediction
from pretrained_cnn.report import Report, write_report
from pretrained_cnn.report.page import Page

pytestmark = pytest.mark.slow

BROKEN = [
    "broken.png",
    "crash-1152ec2d1a1a71395b6f2ce6721c38924d025bf3.tif",
    "crash-1185209cf7655b5aed8ae5e77784dfdd18ab59e9.tif",
    "crash-63b1dffefc8c075ddc606c0a2f5fdc15ece78863.tif",
    "crash-ccca68ff40171fdae983d924e127a721cab2bd50.j2k",
    "decompression_bomb.gif",
    "l2rgb_read.bmp",
    "oom-225817ca0f8c663be7ab4b9e717b02c661e66834.tif",
    "seek_too_large.tif",
]

Open = Callable[..., Any]


@pytest.fixture
def open_report(chromium: Any) -> Iterator[Open]:
    """Opens a report in a window of its own, and in the end sees to it that nothing happened that may not."""
    pages, found = [], []

    def open_(path: Path, *, width: int = 1400, height: int = 900, scheme: str = "light", hash_: str = "") -> Any:
        context = chromium.new_context(
            offline=True, viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
        )
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: found.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: found.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (found.append(f"dialog: {dialog.message}"), dialog.dismiss()))

        def ask(route: Any) -> None:
            if route.request.url.split("#")[0] == path.as_uri() or route.request.url.startswith("data:"):
                route.continue_()
            else:
                found.append(f"request: {route.request.url}")
                route.abort()

        page.route("**/*", ask)
        page.goto(path.as_uri() + hash_)
        page.wait_for_selector("#content:not([hidden])")
        pages.append(page)
        return page

    yield open_
    found += ["a name or a label was run" for page in pages if page.evaluate("'hacked' in window")]
    for page in pages:
        page.context.close()
    assert found == []


@pytest.fixture(scope="module")
def photos(labeled: Any, assets: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    """100 photos, five more with odd names, and 20 broken files, all with a wnid in their names."""
    folder = tmp_path_factory.mktemp("photos")
    for photo, _ in labeled:
        shutil.copy(photo, folder)
    tench = labeled[0][0]
    for name in [*HOSTILE, os.fsdecode(b"caf\xe9.jpg")]:
        shutil.copy(tench, folder / f"n01440764_{name}")
    for name in BROKEN:
        shutil.copy(assets / "awkward" / "pillow" / name, folder / f"n01440764_{name}")
    for number, (photo, _) in enumerate(labeled[:11]):
        (folder / f"n01440764_cut_{number}.jpg").write_bytes(photo.read_bytes()[: 100 * number])
    path = folder / "report.html"
    report = write_report(Classifier("EfficientNetLite0"), folder, path, labeled=True, min_score=0.3)
    assert (report.images, len(report.failed)) == (125, 20)
    return path, report


def shown(page: Any) -> int:
    return int(page.locator("#count b").inner_text().replace(",", ""))


def names(page: Any) -> list[str]:
    """The names on the cards, in the order that they are read in."""
    return [text.strip() for text in page.locator("#cards .card small").all_inner_texts()]


def focused(page: Any) -> str:
    return str(page.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.id"))


def test_search_and_filters(photos: tuple[Path, Report], open_report: Open) -> None:
    path, report = photos
    assert report.evaluation is not None
    page = open_report(path)
    assert shown(page) == 105
    assert (
        page.locator("#cards .card img").first.evaluate("image => image.decode().then(() => image.naturalWidth)") == 224
    )

    page.fill("#search", "black  GROUSE")
    assert names(page) == ["n01795545_black_grouse.JPEG"]
    page.fill("#search", "<img src=x")
    assert names(page) == [f"n01440764_{HOSTILE[0]}"]
    page.fill("#search", "nothing is named so")
    assert page.locator("#none").inner_text().startswith("No matching images.")
    page.get_by_role("button", name="Clear search and filters").click()
    assert (shown(page), focused(page)) == (105, "Search names and classes")

    for width, columns in {700: 3, 1400: 5}.items():
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function(
            "n => new Set([...document.querySelectorAll('#cards .card')].map((card) => card.offsetLeft + "
            "new DOMMatrix(getComputedStyle(card).transform).e)).size === n",
            arg=columns,
        )

    page.get_by_role("radio", name="Wrong").check()
    wrong = int((report.evaluation.predicted != report.evaluation.targets).sum())
    assert shown(page) == page.locator("#cards .wrong").count() == wrong
    page.get_by_role("radio", name="Uncertain").check()
    assert shown(page) == report.uncertain
    page.get_by_role("button", name="Remove the filter: Uncertain").click()
    page.get_by_role("checkbox", name="tench").check()
    assert shown(page) == (report.evaluation.predicted == 0).sum()
    assert page.get_by_role("button", name="Remove the filter: predicted tench").is_visible()
    page.get_by_role("checkbox", name="tench").uncheck()
    page.fill("#find-class", "zebr")
    assert page.locator("#classes .choice:visible").all_inner_texts() == ["zebra\n1"]

    page.locator("#from").evaluate("slider => { slider.value = 90; slider.dispatchEvent(new Event('input')) }")
    assert shown(page) == (np.round(report.evaluation.scores.max(axis=1), 4) >= np.float32(0.9)).sum()


def test_sorting(photos: tuple[Path, Report], open_report: Open) -> None:
    path, report = photos
    assert report.evaluation is not None
    page = open_report(path, height=6000)
    scores = report.evaluation.scores.max(axis=1)
    given = [Path(source).name for source in report.evaluation.sources]
    page.select_option("#sort", "best")
    assert names(page)[0] == given[scores.argmax()]
    page.select_option("#sort", "least")
    assert names(page)[0] == given[scores.argmin()]
    page.select_option("#sort", "wrong")
    assert names(page)[:3] == [Path(mistake.source).name for mistake in report.evaluation.mistakes(3)]
    page.select_option("#sort", "class")
    labels = page.locator("#cards .card b").all_inner_texts()
    assert labels == sorted(labels, key=str.lower)


def test_the_keyboard(photos: tuple[Path, Report], open_report: Open) -> None:
    path, report = photos
    assert report.evaluation is not None
    page = open_report(path)
    press = page.keyboard.press
    given = report.evaluation.sources
    press("/")
    assert focused(page) == "Search names and classes"
    page.keyboard.type("/?hH")
    assert page.input_value("#search") == "/?hH", "keys are letters where one types"
    press("Escape")
    press("ArrowDown")
    assert focused(page).startswith(given[0])
    columns = page.evaluate("getComputedStyle(document.querySelector('#cards')).width").removesuffix("px")
    card = page.locator("#cards .card").first.bounding_box()["width"]
    columns = int(float(columns) // card)
    press("ArrowRight")
    press("ArrowDown")
    assert focused(page).startswith(given[1 + columns])
    assert page.locator("#cards .open[tabindex='0']").count() == 1, "one stop for Tab among the images"

    press("h")
    assert page.locator("#cards .heat").count() == 1
    press("Enter")
    assert page.locator("#detail").evaluate("dialog => dialog.open")
    assert page.locator("#detail-path").inner_text() == given[1 + columns]
    assert page.locator("#detail .heat").count() == 1
    assert page.locator("#bars li").count() == 5
    press("h")
    assert page.locator("#detail .heat").count() == 0
    press("ArrowRight")
    assert page.locator("#detail-path").inner_text() == given[2 + columns]
    assert page.locator("#detail-place").inner_text() == f"{3 + columns} of 105"
    press("Escape")
    back = "name => document.activeElement.ariaLabel?.startsWith(name)"
    page.wait_for_function(back, arg=given[2 + columns])  # to where the arrows led
    press("End")
    assert focused(page).startswith(given[-1])
    assert page.locator(":focus").bounding_box()["y"] < 900
    press("Shift+H")
    assert page.locator("#cards .heat").count() == page.locator("#cards .card").count()
    press("Shift+H")
    press("?")
    assert page.locator("#keys").evaluate("dialog => dialog.open")
    press("Escape")

    page.locator("#tab-images").focus()
    press("ArrowRight")
    assert page.get_by_role("tab", selected=True).inner_text() == "Evaluation"
    press("ArrowLeft")
    press("ArrowLeft")
    assert page.get_by_role("tab", selected=True).inner_text() == "About"


def test_errors_evaluation_and_what_made_it(photos: tuple[Path, Report], open_report: Open) -> None:
    path, report = photos
    assert report.evaluation is not None
    page = open_report(path)
    page.get_by_role("tab", name="Errors").click()
    assert page.locator(".failures li").count() == 20
    first = page.locator(".failures li").first.locator("b, span")
    assert first.all_text_contents() == [report.failed[0].source, report.failed[0].reason]
    page.get_by_role("tab", name="About").click()
    assert "EfficientNetLite0" in page.locator("#about").inner_text()
    page.get_by_role("tab", name="Evaluation").click()
    low, high = report.evaluation.top1_interval
    assert page.locator(".tile").first.locator("b, p").all_inner_texts() == [
        f"{100 * report.evaluation.top1:.1f} %",
        f"95 %: {100 * low:.1f} to {100 * high:.1f} %",
    ]
    worst = report.evaluation.mistakes(1)[0]
    assert page.locator(".mistakes .open").first.get_attribute("title") == worst.source
    page.locator(".mistakes .open").first.click()
    assert page.locator("#detail-path").inner_text() == worst.source
    assert page.locator("#detail-truth").inner_text().startswith("Wrong; true class: ")
    page.keyboard.press("Escape")
    page.locator(".pairs button").first.click()
    assert page.get_by_role("tab", selected=True).inner_text().startswith("Images")
    assert page.locator("#cards .wrong").count() == shown(page) >= 1


def test_the_address_holds_the_state(photos: tuple[Path, Report], open_report: Open) -> None:
    page = open_report(photos[0], hash_="#q=n0&sort=name&show=right&from=50")
    assert page.input_value("#search") == "n0"
    assert page.locator("#sort").input_value() == "name"
    assert 0 < shown(page) < 105
    page.fill("#search", "tench")
    page.wait_for_url("**#q=tench&sort=name&show=right&from=50")
    broken = open_report(photos[0], hash_="#sort=__proto__&show=toString&classes=-1,x,99999&from=1e9&truth=x&view=<b>")
    assert shown(broken) == 105


CONTRAST = """element => {
  const numbers = (color) => {
    const context = new OffscreenCanvas(1, 1).getContext("2d");
    context.fillStyle = color;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const light = (color) => numbers(color).slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  let behind = element;
  while (numbers(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
  const [low, high] = [light(getComputedStyle(element).color), light(getComputedStyle(behind).backgroundColor)].sort();
  return (Math.max(low, high) + 0.05) / (Math.min(low, high) + 0.05);
}"""
"""The contrast of text and what is behind it, as WCAG 2.2 defines it; 4.5 is what its level AA asks for."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 400])
def test_light_and_dark_wide_and_narrow(
    photos: tuple[Path, Report], open_report: Open, scheme: str, width: int
) -> None:
    page = open_report(photos[0], scheme=scheme, width=width)
    background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    dark = int(background.split("(")[1].split(",")[0]) < 128
    assert dark == (scheme == "dark")
    page.locator("#heat-all").click()
    for view in ("images", "evaluation", "errors", "about"):
        page.locator(f"#tab-{view}").click()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{view} is wider than the window"
        texts = page.locator(
            ":is(h1, h2, h3, p, b, small, legend, dt, dd, td, th, button, select, .badge):visible"
        ).all()
        assert len(texts) > 15
        for text in texts[:80]:
            assert text.evaluate(CONTRAST) >= 4.5, text.evaluate("element => element.outerHTML.slice(0, 300)")
    page.locator("#theme").click()
    page.locator("#theme").click()
    assert "dark" in page.locator("#theme").get_attribute("aria-label")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(18, 19, 21)"


def test_on_paper(photos: tuple[Path, Report], open_report: Open) -> None:
    page = open_report(photos[0], scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#cards .card").count() == 105
    page.emulate_media(media="print")
    assert not page.locator("#search").is_visible()
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    boxes = [card.bounding_box() for card in page.locator("#cards .card").all()]
    assert boxes[5]["y"] > boxes[0]["y"] + boxes[0]["height"], "rows do not overlap"
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("#cards .card").count() < 105


def test_hostile_labels_and_a_matrix(tmp_path: Path, eight_photos: list[Path], open_report: Open) -> None:
    """Labels are in the cards, the filters, the matrix and the dialog."""
    clf = Classifier.from_keras(small_network(), labels=LABELS)
    pairs = [(str(photo), LABELS[number % 3]) for number, photo in enumerate(eight_photos)]
    report = write_report(
        clf, pairs, tmp_path / "report.html", labeled=True, title="<img src=x onerror=window.hacked=1>"
    )
    assert report.evaluation is not None
    page = open_report(tmp_path / "report.html")
    assert page.title() == page.locator("h1").inner_text() == "<img src=x onerror=window.hacked=1>"
    page.locator("#cards .open").first.click()
    assert {*page.locator("#bars .cut").all_inner_texts()} == {*LABELS}
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Evaluation").click()
    met = report.evaluation._met()
    cells = [text or "0" for text in page.locator(".confusion td").all_inner_texts()]
    order = sorted(met, key=lambda index: LABELS[index])
    assert sorted(cells) == sorted(str(count) for count in report.evaluation.confusion[np.ix_(order, order)].flat)
    right = [text or "0" for text in page.locator(".confusion td.right").all_inner_texts()]
    assert sum(map(int, right)) == round(report.evaluation.top1 * 8)
    page.locator(".confusion td:not(.right) button").first.click()
    assert page.locator("#cards .wrong").count() == shown(page) >= 1


def test_the_policy_bites(tmp_path: Path, clock: Path, chromium: Any) -> None:
    """Even a mistake in our own script could not run what it shows, or send it anywhere."""
    from playwright.sync_api import Error

    write_report(Classifier.from_keras(small_network(), labels=LABELS), [clock], tmp_path / "report.html")
    page = chromium.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    for attempt, reason in {
        "document.body.innerHTML = '<img src=x onerror=window.hacked=1>'": "requires 'TrustedHTML'",
        "document.createElement('script').text = 'window.hacked=1'": "requires 'TrustedScript'",
        "fetch('http://localhost:9')": "Failed to fetch|violates",
    }.items():
        with pytest.raises(Error, match=reason):
            page.evaluate(attempt)
    assert not page.evaluate("'hacked' in window")
    page.close()


def test_nothing_but_errors(tmp_path: Path, open_report: Open) -> None:
    clf = Classifier.from_keras(small_network(), labels=LABELS)
    write_report(clf, [("<b>no</b>.jpg", "a_hat")], tmp_path / "report.html", labeled=True)
    page = open_report(tmp_path / "report.html")
    assert page.locator("#none").inner_text() == "None of the images could be read. The reasons are under Errors."
    for key in ("/", "ArrowDown", "Enter", "Escape", "h", "Shift+H"):
        page.keyboard.press(key)
    page.get_by_role("tab", name="Evaluation").click()
    assert "there is nothing to evaluate" in page.locator("#evaluation").inner_text()
    page.get_by_role("tab", name="Errors").click()
    assert page.locator(".failures b").text_content() == "<b>no</b>.jpg"


def test_what_is_unknown_is_marked_and_has_a_filter(tmp_path: Path, open_report: Open) -> None:
    path = tmp_path / "report.html"
    with contextlib.closing(Page(path, "Unknown")) as page:
        best = [[Prediction(name, name, 0.9, 0)] for name in ("shoes", "hat", "skirt")]
        pixels = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), np.uint8)
        page.add(["car.jpg", "hat.jpg", "blur.jpg"], best, pixels, doubts=["unknown", "", "uncertain"])
        facts = dict.fromkeys(("evaluation", "heat_maps"), None) | {"about": [], "errors": [], "labeled": False}
        facts |= {"coverage": 0.95, "min_score": 0.5, "date": "1 May 2026", "model": "none", "size": [32, 32]}
        page.finish(facts)
    window = open_report(path)
    assert window.locator("#cards .badge").all_inner_texts() == ["unknown", "uncertain"]
    window.get_by_role("radio", name="Unknown").check()
    assert shown(window) == 1
    card = window.locator("#cards .card button.open")
    assert card.get_attribute("aria-label") == "car.jpg, shoes, 90.0 %, unknown"
    card.click()
    assert window.locator("#detail-truth").inner_text() == "Unknown"


def test_ten_thousand_images(tmp_path: Path, open_report: Open) -> None:
    """However many there are, the page holds the cards near the window, and no more."""
    path = tmp_path / "report.html"
    random = np.random.default_rng(0)
    with contextlib.closing(Page(path, "Ten thousand")) as page:
        for begin in range(0, 10_000, 16):
            best = [
                [Prediction(f"c{at % 300}", f"class {at % 300}", random.random(), at % 300)]
                for at in range(begin, begin + 16)
            ]
            pixels = np.broadcast_to(random.integers(0, 255, (16, 1, 1, 3), np.uint8), (16, 32, 32, 3))
            page.add(
                [f"{at:05}.jpg" for at in range(begin, begin + 16)], best, pixels, heat_maps=random.random((16, 7, 7))
            )
        colors = [[0, 0, 60], [255, 235, 120]]
        page.finish(
            {
                "about": [],
                "coverage": None,
                "date": "1 May 2026",
                "errors": [[f"{at}.jpg", "the file does not exist"] for at in range(1000)],
                "evaluation": None,
                "heat_maps": {"size": [7, 7], "colors": colors},
                "labeled": False,
                "min_score": None,
                "model": "none",
                "size": [32, 32],
            }
        )
    window = open_report(path)
    cards = window.locator("#cards .card")
    assert (shown(window), window.locator("#tab-errors span").inner_text()) == (10_000, "1,000")
    assert cards.count() < 60
    window.keyboard.press("Shift+H")
    window.keyboard.press("/")
    window.keyboard.press("Enter")
    window.keyboard.press("End")
    assert focused(window).startswith("09999.jpg")
    assert cards.count() < 60
    assert window.locator("#cards .heat").count() == cards.count()
    window.fill("#search", "class 77")
    expected = [at for at in range(10_000) if "77" in f"{at:05}.jpg c{at % 300}"]
    assert shown(window) == len(expected) > 100
    assert names(window)[0] == f"{expected[0]:05}.jpg", "the list begins again, and the window with it"
    assert window.locator("#cards .card").first.bounding_box()["y"] > 0
    window.fill("#search", "")
    window.select_option("#sort", "best")
    scores = [float(text.removesuffix(" %")) for text in window.locator("#cards .line > span").all_inner_texts()]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == 100
