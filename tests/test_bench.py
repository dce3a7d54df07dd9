"""How long backbones take, which of them are worth it, and how that is printed and drawn."""

from __future__ import annotations

import io
import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paths import EXAMPLES
from patterns import SMALL
from PIL import Image

from pretrained_cnn import ImageError, ModelSpec, Published, cli, get_spec, register
from pretrained_cnn.bench import Timing, frontier, measure, measuring

PUBLISHED = Published(70.0, None, None, "https://example.org/table")


def timing(name: str, milliseconds: float, top1: float | None, runtime: str = "keras") -> Timing:
    return Timing(name, runtime, (224, 224), 1_000_000, top1, milliseconds, (milliseconds,) * 2, 100.0)


def small(name: str, **changes: Any) -> ModelSpec:
    return SMALL.replace(**{"name": name, "published": PUBLISHED, **changes})


# The frontier

NUMBERS = st.integers(1, 6).map(float)  # few, so that there are ties
ROWS = st.lists(
    st.builds(timing, st.text(max_size=3), NUMBERS, st.none() | NUMBERS, st.sampled_from(["keras", "openvino"]))
)


def beats(one: Timing, other: Timing) -> bool:
    """Written down a second time, from its definition in words."""
    if one.runtime != other.runtime or one.top1 is None or other.top1 is None:
        return False
    no_worse = one.milliseconds <= other.milliseconds and one.top1 >= other.top1
    return no_worse and (one.milliseconds < other.milliseconds or one.top1 > other.top1)


@given(ROWS)
def test_on_the_frontier_is_what_no_other_beats(rows: list[Timing]) -> None:
    best = frontier(rows)
    for row in rows:
        assert (row in best) == (row.top1 is not None and not any(beats(other, row) for other in rows))


@given(ROWS)
def test_what_is_off_the_frontier_is_beaten_by_what_is_on_it(rows: list[Timing]) -> None:
    best = frontier(rows)
    for row in rows:
        if row.top1 is not None and row not in best:
            assert any(beats(other, row) for other in best)


@given(ROWS)
def test_along_the_frontier_time_and_accuracy_rise_together(rows: list[Timing]) -> None:
    best = frontier(rows)
    assert [row.milliseconds for row in best] == sorted(row.milliseconds for row in best)
    for runtime in ("keras", "openvino"):
        points = [(row.milliseconds, row.top1) for row in best if row.runtime == runtime]
        distinct = list(dict.fromkeys(points))
        assert all(a[0] < b[0] and a[1] < b[1] for a, b in itertools.pairwise(distinct))


@given(ROWS, st.randoms())
def test_the_order_of_the_rows_does_not_matter(rows: list[Timing], random: Any) -> None:
    shuffled = random.sample(rows, len(rows))
    assert set(frontier(shuffled)) == set(frontier(rows))
    assert set(frontier(frontier(rows))) == set(frontier(rows))


# The measurement


def test_all_take_turns_in_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(measuring, "PAUSE", 0)

    def decoder(name: str) -> Callable[..., Any]:
        def decode(scores: Any, top: int) -> list[Any]:
            calls.append(f"{name}{len(scores)}")
            return [[("a", "a", 1.0)]] * len(scores)

        return decode

    specs = [small(name, decode=decoder(name)) for name in "AB"]
    rows = measure(specs, rounds=3, batch_size=2)
    assert calls == ["A1", "A2"] * measuring.WARM_UP + ["B1", "B2"] * measuring.WARM_UP + ["A1", "A2", "B1", "B2"] * 3
    assert [(row.name, row.runtime, row.top1, row.input_size) for row in rows] == [
        ("A", "keras", 70.0, (32, 32)),
        ("B", "keras", 70.0, (32, 32)),
    ]


def test_a_row_has_the_median_its_quartiles_and_the_rate_of_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.001, 0.4, 0.002, 0.8, 0.004, 0.4, 0.009, 0.1, 0.003, 0.2])  # alone, and together
    monkeypatch.setattr(measuring, "_seconds", lambda work: next(seconds))
    (row,) = measure([small("A")], rounds=5, batch_size=4)
    assert (row.milliseconds, row.spread) == (pytest.approx(3), pytest.approx((2, 4)))
    assert row.per_second == pytest.approx(4 / 0.4)


def test_time_and_accuracy_belong_to_the_same_size() -> None:
    for name, size in {"ResNet50V2": 299, "ResNet50": 224, "ConvNeXtTiny": 224, "Xception": 299}.items():
        assert measuring._as_published(get_spec(name)).input_size == (size, size)
    assert measuring._as_published(SMALL).input_size == SMALL.input_size


def test_each_of_the_default_has_an_accuracy() -> None:
    assert all(get_spec(name).published for name in measuring.NAMES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rounds": 0}, "rounds=0 is not a whole number of at least 1"),
        ({"batch_size": 2.5}, "batch_size=2.5 is not a whole number of at least 1"),
        ({"models": ["Xseption"]}, "unknown model 'Xseption'; did you mean 'Xception'?"),
        ({"runtimes": ["kerras"]}, "unknown runtime 'kerras'; did you mean 'keras'?"),
    ],
)
def test_what_cannot_be_measured(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        measure(**{"models": [SMALL], **arguments})
    assert message in str(caught.value)


def test_a_image_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ImageError, match=r"no\.jpg: the file does not exist"):
        measure([SMALL], image="no.jpg")


# The command


@pytest.fixture
def main(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, clean_registry: None
) -> Callable[..., tuple[int, str, str]]:
    """The command line, with the backbones SmallA and SmallB."""
    monkeypatch.setattr(measuring, "PAUSE", 0)
    register(small("SmallA"))
    register(small("SmallB", published=None, input_size=(48, 48)))

    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(["bench", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_the_table_says_what_was_measured_and_what_was_not(main: Any, caplog: pytest.LogCaptureFixture) -> None:
    code, out, _ = main("small*", "--rounds", "2", "--batch-size", "3")
    assert code == 0
    head, rows = out.split("\n\n")
    assert "MS: median of 2 rounds, one image at a time, pixels in memory, random weights" in head
    assert "IMG/S: images a second, in batches of 3" in head
    assert "TOP-1 %: as published, not measured here" in head
    runtime, header, *lines = rows.splitlines()
    assert runtime == "Runtime: keras"
    assert header.split()[:4] == ["NAME", "INPUT", "PARAMS", "TOP-1"]
    assert max(map(len, (header, *lines))) <= 80, "it fits the usual terminal"
    found = {line.split()[0]: line.split()[1:] for line in lines}
    assert found["SmallA"][:3] == ["32x32", "-", "70.0"]
    assert found["SmallB"][:3] == ["48x48", "-", "-"]
    assert found["SmallA"][-1] == "*"
    assert found["SmallB"][-1] != "*"
    assert "1 of 2: building SmallA for keras" in caplog.messages
    assert caplog.messages[-1] == "round 2 of 2"


def test_json(main: Any) -> None:
    image = str(EXAMPLES / "clock.png")
    arguments = ["--rounds", "1", "--runtime", "keras", "--runtime", "openvino", "--json", "--image", image]
    code, out, _ = main("SmallA", *arguments)
    rows = json.loads(out)
    assert code == 0
    assert [(row["name"], row["runtime"], row["top1"], row["frontier"]) for row in rows] == [
        ("SmallA", "keras", 70.0, True),
        ("SmallA", "openvino", 70.0, True),
    ]
    assert all(0 < row["spread"][0] <= row["milliseconds"] <= row["spread"][1] < 10_000 for row in rows)
    assert all(row["per_second"] > 0.1 for row in rows)


def test_the_plot_is_written(main: Any, tmp_path: Path) -> None:
    path = tmp_path / "frontier.png"
    code, _, err = main("SmallA", "--rounds", "1", "--batch-size", "1", "--plot", str(path))
    assert (code, err) == (0, f"pretrained-cnn: {path} is written\n")
    with Image.open(path) as image:
        assert image.size == (1080, 720)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["Xseption"], 2, "unknown model 'Xseption'; did you mean 'Xception'?"),
        (["SmallA", "--runtime", "kerras"], 2, "unknown runtime 'kerras'; did you mean 'keras'?"),
        (["SmallA", "--plot", "a.gif"], 2, "--plot a.gif: its name ends in none of .png, .svg, .pdf"),
        (["SmallA", "--plot", "no/a.png"], 1, "no/a.png: the folder no does not exist; make it first"),
        (["SmallA", "--image", "no.jpg"], 1, "no.jpg: the file does not exist"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_measured(
    main: Any, caplog: pytest.LogCaptureFixture, arguments: list[str], code: int, message: str
) -> None:
    found, out, err = main(*arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert "round" not in caplog.text


def test_a_plot_that_exists_is_replaced_only_if_asked_for(main: Any, tmp_path: Path) -> None:
    path = tmp_path / "frontier.png"
    path.write_text("mine")
    code, out, err = main("SmallA", "--plot", str(path))
    assert (code, out) == (1, "")
    assert f"{path} already exists; replace it with --overwrite, or choose another name" in err
    assert path.read_text() == "mine"
    assert main("SmallA", "--rounds", "1", "--batch-size", "1", "--plot", str(path), "--overwrite")[0] == 0
    assert path.read_bytes().startswith(b"\x89PNG")
    (tmp_path / "folder.png").mkdir()
    assert main("SmallA", "--plot", str(tmp_path / "folder.png"))[0] == 1


def test_a_plot_that_cannot_be_written(main: Any) -> None:
    code, out, err = main("SmallA", "--rounds", "1", "--batch-size", "1", "--plot", "/proc/frontier.png")
    assert code == 1
    assert "\nSmallA " in out, "the table is not lost"
    assert "--plot /proc/frontier.png: it cannot be written: " in err


def test_without_matplotlib(main: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pretrained_cnn.bench.plot", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    code, out, err = main("SmallA", "--plot", "a.png")
    assert (code, out) == (1, "")
    assert err == 'pretrained-cnn: this needs the package matplotlib: pip install "pretrained-cnn[plot]"\n'


# The drawing


@pytest.mark.parametrize(("format", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_every_format_that_is_taken_can_be_written(format: str, start: bytes) -> None:
    from pretrained_cnn.bench.plot import FORMATS, accuracy_and_time

    file = io.BytesIO()
    rows = [timing("A", 10, 70)]
    accuracy_and_time(rows, rows).savefig(file, format=format)
    assert format in FORMATS
    assert file.getvalue().startswith(start)


def test_names_cover_neither_points_nor_lines_nor_each_other() -> None:
    from matplotlib.text import Text

    from pretrained_cnn.bench.plot import accuracy_and_time

    rows = [
        timing(spec.name, 2.0 + (spec.parameters or 0) / 1e6 * factor, spec.published.top1, runtime)
        for runtime, factor in (("keras", 3.0), ("openvino", 1.0))
        for spec in map(get_spec, measuring.NAMES)
        if spec.published
    ]
    figure = accuracy_and_time(rows, frontier(rows))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert sorted(text.get_text() for text in axes.texts) == sorted([*measuring.NAMES, *measuring.NAMES])
    boxes = [Text.get_window_extent(text) for text in axes.texts]
    points = [axes.transData.transform((row.milliseconds, row.top1)) for row in rows]
    lines = [line.get_path().transformed(line.get_transform()) for line in axes.lines]
    for number, box in enumerate(boxes):
        assert not box.count_overlaps(boxes[number + 1 :])
        assert not any(box.contains(*point) for point in points)
        assert not any(line.intersects_bbox(box, filled=False) for line in lines)
        assert axes.bbox.contains(box.x0, box.y0)
        assert axes.bbox.contains(box.x1, box.y1)


def test_the_frontier_is_a_line_for_each_runtime_and_the_others_are_hollow() -> None:
    from pretrained_cnn.bench.plot import accuracy_and_time

    rows = [
        *(timing("A", 10, 70), timing("B", 20, 80), timing("C", 20, 60), timing("D", 5, None)),
        *(timing("A", 3, 70, "openvino"), timing("$B$", 9, 80, "openvino")),
    ]
    (axes,) = accuracy_and_time(rows, frontier(rows)).axes
    lines = {str(line.get_label()): line.get_xydata().tolist() for line in axes.lines if len(line.get_xydata()) > 1}
    assert lines == {"keras": [[10, 70], [20, 80]], "openvino": [[3, 70], [9, 80]]}
    hollow = [line.get_xydata().tolist() for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert hollow == [[[20, 60]]]
    assert {text.get_text() for text in axes.texts} == {"A", "B", "C", "$B$"}
