"""Files of results: what is in them, and that nothing is lost, doubled or torn, whatever happens to the run."""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import json
import os
import pty
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pretrained_cnn import ImageError, MissingDependencyError, OutputError, Prediction, Result, cli, to_frame
from pretrained_cnn.cli import progress
from pretrained_cnn.images.sources import count
from pretrained_cnn.results.file import ResultsFile
from pretrained_cnn.results.formats import Csv
from pretrained_cnn.results.names import escape
from pretrained_cnn.results.rows import COLUMNS, RESULTS, to_rows
from pretrained_cnn.results.sorting import Sorter, folder_name

FORMATS = ["csv", "jsonl", "parquet"]
HEADER = Csv(RESULTS).header

MODELS = """
import time
import numpy as np
from pretrained_cnn import ModelSpec

NAMES = ["red", "green", "a/b"]

def build(input_shape):
    import keras
    layers = [keras.Input(input_shape), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, "softmax")]
    model = keras.Sequential(layers)
    model.layers[-1].set_weights([np.eye(3) / 64, np.zeros(3)])
    return model

def decode(scores, top=5):
    return [[(NAMES[i], NAMES[i], float(row[i]), int(i)) for i in (-row).argsort()[:top]] for row in scores]

def decode_slowly(scores, top=5):
    time.sleep(0.005 * len(scores))
    return decode(scores, top)

quick = ModelSpec(name="Quick", builder=build, input_size=(8, 8), decode=decode)
slow = ModelSpec(name="Slow", builder=build, input_size=(8, 8), decode=decode_slowly)
"""


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a finished file, with the types that they had."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_bytes().splitlines()]
    if path.suffix == ".parquet":
        import pyarrow.parquet

        found: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
        return found
    types = {"rank": int, "index": int, "score": float}
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return [
            {name: types.get(name, str)(value) if value else None for name, value in row.items()}
            for row in csv.DictReader(file)
        ]


# The schema


CLOCK = Prediction("n02708093", "analog_clock", 0.7, 409)
GOOD = Result("a.png", (CLOCK, Prediction("n04548280", "wall_clock", 0.2, 892)))
BAD = Result("no.png", (), ImageError("no.png", "the file does not exist"))


def test_a_image_is_a_row_for_each_class_or_one_with_its_error() -> None:
    assert [tuple(row.values()) for result in (GOOD, BAD) for row in to_rows(result)] == [
        ("a.png", 1, 409, "n02708093", "analog_clock", 0.7, "ok", None, None),
        ("a.png", 2, 892, "n04548280", "wall_clock", 0.2, "ok", None, None),
        ("no.png", None, None, None, None, None, "failed", None, "the file does not exist"),
    ]
    assert [tuple(row.values()) for row in to_rows(Result("mute.png", ()))] == [
        ("mute.png", *[None] * 5, "ok", None, None)
    ]


def test_to_frame() -> None:
    frame = to_frame([GOOD, BAD])
    assert list(frame.columns) == ["source", "rank", "index", "id", "label", "score", "status", "label_set", "error"]
    assert frame["rank"].tolist() == [1, 2, pandas.NA]
    assert frame["index"].sum() == 409 + 892
    assert frame["score"].max() == 0.7
    assert frame["error"].dropna().tolist() == ["the file does not exist"]
    assert frame.dtypes.equals(to_frame([]).dtypes)


@pytest.mark.parametrize(("name", "extra"), [("pandas", "pandas"), ("pyarrow", "parquet")])
def test_a_package_that_is_not_there(name: str, extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        MissingDependencyError, match=rf'this needs the package {name}: pip install "pretrained-cnn\[{extra}'
    ):
        to_frame([]) if name == "pandas" else ResultsFile(str(tmp_path / "r.parquet"), {"top": 1})
    assert list(tmp_path.iterdir()) == []


# Continuing


NAMES = ["a.png", "b,c.png", 'quo"te.png', "line\nend.png", "car\rriage.png", "caf\udce9.png", "née.png", '"', " s "]

results = st.lists(
    st.builds(
        lambda name, classes, failed: Result(
            name, () if failed else (CLOCK,) * classes, ImageError(name, 'it\nis "bad", really') if failed else None
        ),
        st.sampled_from(NAMES) | st.text(st.characters(codec="utf-8"), max_size=8),
        st.integers(0, 2),
        st.booleans(),
    ),
    max_size=8,
)


def write(path: Path, found: list[Result], *, finish: bool = True, **options: Any) -> ResultsFile:
    with ResultsFile(str(path), {"top": 2}, **options) as output:
        for result in found:
            output.write(result)
        if finish:
            output.finish()
    return output


def left(output: ResultsFile, found: list[Result]) -> list[Result]:
    """The results that have no rows yet."""
    return [result for result in found if not output.done.take(result.source, output.run.folder)]


def left_names(output: ResultsFile, names: list[str]) -> list[str]:
    return [result.source for result in left(output, [Result(name, ()) for name in names])]


def expected_rows(found: list[Result]) -> list[dict[str, Any]]:
    return [row for result in found for row in to_rows(result)]


@settings(deadline=None, max_examples=30)
@given(found=results, suffix=st.sampled_from(FORMATS))
def test_all_three_formats_hold_the_same_rows(found: list[Result], suffix: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, f"r.{suffix}")
        output = write(path, found)
        expected = expected_rows(found)
        if suffix == "csv":  # which has no other way to write an empty name
            expected = [{**row, "source": row["source"] or None} for row in expected]
        assert read(path) == expected
        assert output.images == len(found)
        assert output.failed == sum(result.error is not None for result in found)
        assert sorted(os.listdir(name)) == [f"r.{suffix}", f"r.{suffix}.settings.json"]


@settings(deadline=None, max_examples=100)
@given(found=results, cut=st.floats(0, 1), suffix=st.sampled_from(FORMATS))
def test_a_file_cut_at_any_byte_is_completed(found: list[Result], cut: float, suffix: str) -> None:
    """Whatever a kill left of the rows: in the end each image has its own, once and whole."""
    found = [
        Result(f"{number} {result.source}", result.predictions, result.error) for number, result in enumerate(found)
    ]
    with tempfile.TemporaryDirectory() as name:
        whole, path = Path(name, f"whole.{suffix}"), Path(name, f"r.{suffix}")
        write(whole, found)
        write(path, found, finish=False)
        written = path if suffix != "parquet" else path.with_name(f"{path.name}.unfinished")
        os.truncate(written, round(written.stat().st_size * cut))
        with ResultsFile(str(path), {"top": 2}, resume=True) as output:
            assert written.read_bytes()[-1:] in (b"", b"\n"), "what is torn is cut off before anything is written"
            for result in left(output, found):
                output.write(result)
            output.finish()
        assert read(path) == read(whole)
        assert (output.images, output.failed) == (len(found), sum(result.error is not None for result in found))
        if suffix == "csv":
            assert path.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_source_that_is_given_twice_has_its_rows_twice(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"r.{suffix}"
    write(path, [GOOD, BAD, GOOD], finish=False)
    with ResultsFile(str(path), {"top": 2}, resume=True) as output:
        assert left_names(output, ["a.png", "no.png", "new.png", "a.png", "a.png"]) == ["new.png", "a.png"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_finished_file_can_grow(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"r.{suffix}"
    odd = Result("caf\udce9.png", (CLOCK,))  # fewer classes than --top
    write(path, [GOOD, odd])
    with ResultsFile(str(path), {"top": 2}, resume=True) as output:
        assert output.images == 2
        assert left_names(output, ["a.png", "caf\udce9.png", "no.png"]) == ["no.png"]
        output.write(BAD)
        assert json.loads(Path(f"{path}.settings.json").read_text())["finished"] is False
        output.finish()
    assert [row["source"] for row in read(path)] == [escape(s) for s in ("a.png", "a.png", odd.source, "no.png")]
    assert json.loads(Path(f"{path}.settings.json").read_text())["finished"] is True


@pytest.mark.parametrize("suffix", FORMATS)
def test_names_that_are_not_utf8(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"r.{suffix}"
    write(path, [Result("caf\udce9.png", (CLOCK,)), Result("\ud800.png", (CLOCK,))])
    first, second = (row["source"] for row in read(path))
    assert first == "caf\\xe9.png"
    assert second == "\\xed\\xa0\\x80.png"


def test_rows_are_on_disk_as_soon_as_they_are_known(tmp_path: Path) -> None:
    for suffix, size in (("csv", 3), ("jsonl", 2)):
        path = tmp_path / f"r.{suffix}"
        with ResultsFile(str(path), {"top": 2}) as output:
            output.write(GOOD)
            assert path.read_bytes().count(b"\n") == size


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_output_that_exists(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"r.{suffix}"
    write(path, [GOOD], finish=suffix != "parquet")  # of parquet, the rows of an unfinished run
    with pytest.raises(OutputError) as caught:
        ResultsFile(str(path), {"top": 2})
    assert str(caught.value) == (
        f"{path} already exists; continue it with resume=True, replace it with overwrite=True, or choose another name"
    )
    write(path, [BAD], overwrite=True)
    assert [row["source"] for row in read(path)] == ["no.png"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_other_settings_are_refused_by_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"r.{suffix}"
    write(path, [GOOD])
    before = path.read_bytes()
    with pytest.raises(OutputError) as caught:
        ResultsFile(str(path), {"top": 3, "model": "Xception"}, resume=True)
    assert str(caught.value) == (
        f"{path} was made with top=2, model=None, not top=3, model=Xception: give the same again, "
        "replace the file with overwrite=True, or choose another name"
    )
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"name,label\nx,y\n",
            r"r\.csv: it does not begin with source,rank,index,id,label,score,status,label_set,error: it is not ours",
        ),
        (HEADER + b"a.png,1\n", r"r\.csv: its record 2 is not one of ours"),
        (HEADER + b"a.png,one,1,x,x,0.5,ok,,\n", r"r\.csv: its record 2 is not one of ours"),
        pytest.param(
            HEADER + b'"' + b"x,1\n" * 17_000_000,
            r"r\.csv: it ends in 68,000,000 bytes that are no record of ours",
            marks=pytest.mark.slow,
            id="68 MB",
        ),
    ],
)
def test_a_file_that_is_not_ours_is_left_alone(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "r.csv"
    write(path, [GOOD])
    path.write_bytes(content)
    with pytest.raises(OutputError, match=message):
        ResultsFile(str(path), {"top": 2}, resume=True)
    assert path.read_bytes() == content


def test_resuming_without_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(HEADER)
    for content in (None, b"{", b"[]", b'{"finished": true}'):
        if content is not None:
            (tmp_path / "r.csv.settings.json").write_bytes(content)
        with pytest.raises(OutputError) as caught:
            ResultsFile(str(path), {"top": 2}, resume=True)
        assert str(caught.value) == (
            f"{path}: resume=True cannot tell what the file was made with: {path}.settings.json cannot be read; "
            "replace the file with overwrite=True, or choose another name"
        )


def test_resuming_what_was_never_begun(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    write(path, [GOOD], resume=True)
    path.unlink()  # as if it were killed between noting the settings and making the file
    write(path, [GOOD], resume=True)
    assert len(read(path)) == 2


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    with (
        ResultsFile(str(path), {"top": 2}),
        pytest.raises(OutputError, match=r"r\.csv: another process is writing to it"),
    ):
        ResultsFile(str(path), {"top": 2}, resume=True)
    assert sorted(os.listdir(tmp_path)) == ["r.csv", "r.csv.settings.json"]


def test_a_parquet_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    write(path, [GOOD])
    path.write_bytes(b"PAR1 nonsense")
    with pytest.raises(OutputError, match=r"r\.parquet: it cannot be read: "):
        ResultsFile(str(path), {"top": 2}, resume=True)
    assert sorted(os.listdir(tmp_path)) == ["r.parquet", "r.parquet.settings.json"]


# What cannot be written


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a disk that is full: beyond this, writing to a file fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_disk_that_is_full(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"r.{suffix}"
    many = [Result(f"{number:04}.png", GOOD.predictions) for number in range(200)]
    with pytest.raises(OutputError) as caught, files_of_at_most(10_000):
        write(path, many)
    written = path if suffix != "parquet" else Path(f"{path}.unfinished")
    assert written.stat().st_size == 10_000, "the last row is torn"
    assert str(caught.value) == (
        f"{path}: it cannot be written: File too large; what is in it stays, and resume=True continues from there"
    )
    with ResultsFile(str(path), {"top": 2}, resume=True) as output:
        kept = output.images
        assert kept > 20
        assert left(output, many) == many[kept:]
        for result in many[kept:]:
            output.write(result)
        output.finish()
    assert read(path) == expected_rows(many)


def test_a_disk_that_is_full_only_for_the_parquet_file_itself(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    with ResultsFile(str(path), {"top": 2}) as output:
        output.write(GOOD)
        with (
            pytest.raises(OutputError, match="it cannot be written: File too large; what is in it stays"),
            files_of_at_most(500),
        ):
            output.finish()
    assert sorted(os.listdir(tmp_path)) == ["r.parquet.settings.json", "r.parquet.unfinished"]
    write(path, [], resume=True)
    assert len(read(path)) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no/r.csv", "no/r.csv: the folder no does not exist; make it first"),
        ("file/r.csv", "file/r.csv: the folder file does not exist; make it first"),
        ("/proc/r.csv", "/proc/r.csv: its folder takes no files"),
    ],
)
def test_an_output_that_cannot_be_written(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(OutputError) as caught:
        ResultsFile(name, {"top": 1})
    assert str(caught.value).startswith(message)


def test_an_output_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "r.csv").mkdir()
    with pytest.raises(OutputError, match=r"r\.csv: it cannot be written: Is a directory"):
        ResultsFile(str(tmp_path / "r.csv"), {"top": 1}, overwrite=True)


# The command


RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture
def photos(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A working directory with images and a small network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "models_of_the_test", raising=False)
    Path("models_of_the_test.py").write_text(MODELS)
    for name, color in {"b/1.png": GREEN, "a/1.png": RED, "a/2.png": BLUE, "c/1.png": RED}.items():
        draw(Path("photos", name), color)
    Path("photos/bad.png").write_text("no image")


@pytest.fixture
def main(photos: None, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: str) -> tuple[int, str, str]:
        try:
            code = classify(*arguments)
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def classify(*arguments: str) -> int:
    return cli.main(["classify", "--model", "models_of_the_test:quick", *arguments])


def draw(path: Path, color: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 9), color).save(path)


ORDER = ["photos/bad.png", "photos/a/1.png", "photos/a/2.png", "photos/b/1.png", "photos/c/1.png"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_row_for_each_image(main: Any, suffix: str) -> None:
    code, out, err = main("photos", "--output", f"r.{suffix}")
    assert (code, out) == (1, ""), "one image failed; nothing but results goes to stdout"
    assert re.fullmatch(
        rf"pretrained-cnn: 5 images are in r\.{suffix}: 1 failed; \d:\d\d:\d\d, [\d,.]+ a second\n", err
    )
    found = read(Path(f"r.{suffix}"))
    assert [row["source"] for row in found] == ORDER
    assert [row["label"] for row in found] == [None, "red", "a/b", "green", "red"]
    assert [row["rank"] for row in found] == [None, 1, 1, 1, 1]
    assert [row["index"] for row in found] == [None, 0, 2, 1, 0]
    assert str(found[0]["error"]).startswith("this is not an image in a format that can be read")
    assert {row["error"] for row in found[1:]} == {None}
    assert list(found[0]) == list(COLUMNS)


def test_five_rows_for_each_image(main: Any) -> None:
    assert main("photos/a/1.png", "--output", "r.csv", "--top", "2")[0] == 0
    assert [(row["rank"], row["label"]) for row in read(Path("r.csv"))] == [(1, "red"), (2, "green")]


def test_going_on_when_there_are_new_images(main: Any) -> None:
    main("photos", "--output", "r.csv")
    before = Path("r.csv").read_bytes()
    code, _, err = main("photos", "--output", "r.csv", "--resume")
    assert (code, Path("r.csv").read_bytes()) == (1, before), "one still failed"
    assert err.startswith("pretrained-cnn: 5 images are in r.csv, 5 of them from before: 1 failed; ")
    draw(Path("photos/0.png"), BLUE)
    main("photos", "--output", "r.csv", "--resume")
    assert Path("r.csv").read_bytes().startswith(before)
    assert [row["source"] for row in read(Path("r.csv"))] == [*ORDER, "photos/0.png"]
    assert main("photos", "--output", "r.csv")[0] == 1
    main("photos", "--output", "r.csv", "--overwrite")
    assert [row["source"] for row in read(Path("r.csv"))] == ["photos/0.png", *ORDER]


def test_weights_that_changed_are_other_settings(main: Any) -> None:
    Path("mine.h5").write_bytes(b"1")
    Path("r.csv").touch()
    main("photos", "--output", "r.csv", "--overwrite", "--weights", "mine.h5")
    Path("mine.h5").write_bytes(b"2")
    code, _, err = main("photos", "--output", "r.csv", "--resume", "--weights", "mine.h5")
    assert code == 1
    assert "r.csv was made with --weights file, " in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--resume"], 2, "--resume needs --output FILE"),
        (["--overwrite"], 2, "--overwrite needs --output FILE"),
        (
            ["--output", "r.csv", "--resume", "--overwrite"],
            2,
            "argument --overwrite: not allowed with argument --resume",
        ),
        (
            ["--output", "r.csv", "--json"],
            2,
            "--json is for stdout; with --output the name of the file says the format",
        ),
        (["--output", "r.xlsx"], 2, "r.xlsx: the name of a file of results must end in .csv, .jsonl or .parquet"),
        (["--output", "no/r.csv"], 1, "no/r.csv: the folder no does not exist; make it first"),
        (["--copy-to", "a", "--link-to", "b"], 2, "argument --link-to: not allowed with argument --copy-to"),
        (
            ["--copy-to", "photos/sorted"],
            2,
            "photos/sorted: it lies within photos, so sorted images would be found and",
        ),
        (["--copy-to", "photos/bad.png"], 2, "photos/bad.png: this is a file; give the name of a folder to sort"),
        (["--min-score", "50"], 2, "argument --min-score: '50' is not a number from 0 to 1"),
        (["--min-score", "x"], 2, "argument --min-score: 'x' is not a number from 0 to 1"),
        (["--workers", "0"], 2, "argument --workers: '0' is not a whole number of at least 1"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(main: Any, arguments: list[str], code: int, message: str) -> None:
    found, out, err = main("photos", *arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert not Path("r.csv").exists()


@pytest.mark.parametrize("source", ["photos/**/*.png", "photos/*/*.png", "**", "."])
def test_a_glob_that_would_find_what_was_sorted(main: Any, source: str) -> None:
    assert "it lies within" in main(source, "--copy-to", "photos/sorted")[2]


def test_uncertain_images_are_marked(main: Any) -> None:
    draw(Path("photos/gray.png"), (99, 99, 99))
    code, _, err = main("photos", "--output", "r.csv", "--min-score", "0.5", "--copy-to", "sorted")
    assert ": 1 failed, 1 uncertain; " in err
    (gray,) = [row for row in read(Path("r.csv")) if row["source"] == "photos/gray.png"]
    assert (gray["rank"], gray["status"], gray["error"]) == (1, "uncertain", None)
    assert [path.name for path in Path("sorted/uncertain").iterdir()] == ["gray.png"]
    code, out, err = main("photos/gray.png", "photos/a/1.png", "--min-score", "0.5", "--top", "1")
    assert code == 0, "uncertain is not failed"
    assert err == "pretrained-cnn: photos/gray.png: uncertain: its best score 0.3333 is below 0.5\n"
    assert [line.split("\t")[0] for line in out.splitlines()] == ["photos/gray.png", "photos/a/1.png"]


def test_names_that_are_not_utf8_are_printed(photos: None, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    os.rename("photos/a/1.png", b"photos/caf\xe9.png")
    assert classify(os.fsdecode(b"photos/caf\xe9.png"), "--top", "1") == 0
    assert capfdbinary.readouterr().out.startswith(b"photos/caf\xe9.png\t")


# Sorting


def tree(folder: str) -> dict[str, str]:
    """Each file under the folder, and what it links to or, for a copy, what it is a copy of."""
    originals = {Path(path).read_bytes(): path for path in reversed(ORDER)}
    return {
        os.path.relpath(path, folder): os.path.relpath(path.readlink())
        if path.is_symlink()
        else originals[path.read_bytes()]
        for path in sorted(Path(folder).rglob("*"))
        if not path.is_dir()
    }


@pytest.mark.parametrize("option", ["--copy-to", "--link-to"])
def test_images_are_sorted_by_class(main: Any, option: str) -> None:
    draw(Path("photos/c/1.png"), (254, 0, 0))
    expected = {
        "a_b-c14cddc0/2.png": "photos/a/2.png",
        "green/1.png": "photos/b/1.png",
        "red/1.png": "photos/a/1.png",
        f"red/1-{short_hash('photos/c/1.png')}.png": "photos/c/1.png",
    }
    for _ in range(3):  # sorting again changes nothing
        code, _, err = main("photos", option, "sorted", "--top", "1")
        assert code == 1
        assert err.count("\n") == 1, "the bad image's error"
        assert tree("sorted") == expected
    assert os.path.getmtime("sorted/red/1.png") == os.path.getmtime("photos/a/1.png")


def short_hash(path: str) -> str:
    return hashlib.sha256(os.path.abspath(path).encode()).hexdigest()[:8]


def test_nothing_that_is_there_is_overwritten(main: Any) -> None:
    for name in ("1.png", f"1-{short_hash('photos/b/1.png')}.png"):
        path = Path("sorted/green", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("precious")
    code, _, err = main("photos/b/1.png", "--copy-to", "sorted", "--output", "r.csv")
    assert code == 1
    assert "photos/b/1.png: it cannot be sorted into sorted/green: 1-" in err
    assert {path.read_text() for path in Path("sorted/green").iterdir()} == {"precious"}
    assert read(Path("r.csv")) == [], "no row without its image, so that --resume comes back to it"


def test_what_is_no_file_cannot_be_sorted(main: Any) -> None:
    with zipfile.ZipFile("photos.zip", "w") as archive:
        archive.write("photos/a/1.png", "1.png")
    code, out, err = main("photos.zip", "--copy-to", "sorted", "--output", "r.csv")
    assert (code, out) == (1, "")
    assert "photos.zip/1.png: it is not, or no longer, a file on disk, so it was not put into sorted/red" in err
    assert [row["label"] for row in read(Path("r.csv"))] == ["red"]


def test_a_full_disk_while_sorting_ends_the_run(main: Any) -> None:
    noise = os.urandom(3 * 200 * 200)
    Image.frombytes("RGB", (200, 200), noise).save("photos/a/3.png")
    with files_of_at_most(20_000):
        code, _, err = main("photos/a/3.png", "photos/a/1.png", "--copy-to", "sorted", "--output", "r.csv")
    assert code == 1
    assert re.fullmatch(r"pretrained-cnn: photos/a/3\.png: it cannot be sorted into sorted/\S+: File too large\n", err)
    assert [path for path in Path("sorted").rglob("*") if path.is_file()] == []
    code, *_ = main("photos/a/3.png", "photos/a/1.png", "--copy-to", "sorted", "--output", "r.csv", "--resume")
    assert code == 0
    assert sorted(path.name for path in Path("sorted").rglob("*.png")) == ["1.png", "3.png"]


@pytest.mark.parametrize("option", ["--copy-to", "--link-to"])
def test_names_of_any_length_are_sorted(main: Any, option: str) -> None:
    names = [f"{'x' * length}.png" for length in (236, 237, 241, 245, 246, 250, 251)]
    names += ["é" * 125 + ".png", "e" + "é" * 125 + ".png"]
    for folder, color in (("one", RED), ("two", (254, 0, 0))):
        for name in names:
            draw(Path(folder, name), color)
    for _ in range(2):
        code, _, err = main("one", "two", option, "sorted", "--top", "1")
        assert (code, err) == (0, "")
        found = os.listdir("sorted/red")
        assert len(found) == 2 * len(names)
        assert all(name.endswith(".png") for name in found), "no temporary file is left"


def test_a_name_that_is_too_long_costs_a_line(main: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(source: Any, target: Any, **options: Any) -> None:
        raise OSError(errno.ENAMETOOLONG, "File name too long")

    monkeypatch.setattr(os, "symlink", link)
    code, _, err = main("photos/a", "--link-to", "sorted", "--output", "r.csv")
    assert code == 1
    assert "photos/a/1.png: its name is too long, so it was not put into sorted/red" in err
    assert len(read(Path("r.csv"))) == 2, "the run continues"


@pytest.mark.parametrize("link", [False, True])
def test_an_image_that_another_process_put_there_meanwhile_is_kept(
    photos: None, link: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process puts its image of the same name there between our look and our put."""
    draw(Path("other/1.png"), (254, 0, 0))
    target = Path("sorted/red/1.png")

    def lexists(path: Any) -> bool:
        if Path(path) != target or target.exists():
            return Path(path).exists()
        shutil.copy("other/1.png", target)
        return False

    monkeypatch.setattr(os.path, "lexists", lexists)
    red = Result("photos/a/1.png", (Prediction("red", "red", 1.0, 0),))
    Sorter("sorted", link=link).put(red)
    assert target.read_bytes() == Path("other/1.png").read_bytes()
    (ours,) = set(Path("sorted/red").iterdir()) - {target}
    assert ours.read_bytes() == Path("photos/a/1.png").read_bytes()


def test_a_planted_link_is_not_written_through(photos: None) -> None:
    Path("victim").write_text("precious")
    Path("sorted/red").mkdir(parents=True)
    Path("sorted/red/1.png").symlink_to(Path("victim").resolve())
    Sorter("sorted", link=False).put(Result("photos/a/1.png", (Prediction("red", "red", 1.0, 0),)))
    assert Path("victim").read_text() == "precious"
    assert len(os.listdir("sorted/red")) == 2


@pytest.mark.parametrize(
    ("id_", "label", "folder"),
    [
        ("n02012849", "crane", "n02012849_crane"),
        ("cat", "cat", "cat"),
        ("uncertain", "uncertain", r"uncertain-[0-9a-f]{8}"),
        ("..", "..", r"-[0-9a-f]{8}"),
        ("", "", r"-[0-9a-f]{8}"),
        ("a/b", "a/b", r"a_b-[0-9a-f]{8}"),
        ("a:b", "a:b", r"a_b-[0-9a-f]{8}"),
        ("x\n", "x\n", r"x_-[0-9a-f]{8}"),
        ("\udce9", "\udce9", r"_-[0-9a-f]{8}"),
        ("é" * 80, "é" * 80, r"é{50}-[0-9a-f]{8}"),
    ],
)
def test_names_of_the_folders(id_: str, label: str, folder: str) -> None:
    assert re.fullmatch(folder, folder_name(Prediction(id_, label, 1.0, 0)))


# Progress


def test_lines_every_so_often(main: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0)
    first, *lines, _ = main("photos", "--output", "r.csv")[2].splitlines()
    assert re.fullmatch(r"pretrained-cnn: 1( of 5)? images, [\d,.]+ a second(, \d:\d\d:\d\d left)?, 1 failed", first)
    assert re.match(r"pretrained-cnn: 5( of 5)? images, ", lines[-1])
    assert len(lines) == 4


def test_lines_where_rich_is_not_installed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("rich", "rich.console", "rich.progress"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(progress, "INTERVAL", 0)
    with progress.progress(lambda: 2, 0) as report:
        report(1, 0)
    assert re.match(r"pretrained-cnn: 1( of 2)? images, ", capsys.readouterr().err)


def test_sources_that_vanish_are_no_concern_of_the_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    def total() -> int:
        raise ImageError("photos", "no image is in this folder")

    errors: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", errors.append)
    before = set(threading.enumerate())
    with progress.progress(total, 0) as report:
        assert set(threading.enumerate()) == before, "nothing is counted before the first image"
        report(1, 0)
        for thread in set(threading.enumerate()) - before:
            thread.join()
    assert errors == []


def test_a_bar_on_a_terminal(photos: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    controller, terminal = pty.openpty()
    shown = bytearray()

    def watch() -> None:
        with contextlib.suppress(OSError):  # the other end is closed
            while data := os.read(controller, 4096):
                shown.extend(data)

    thread = threading.Thread(target=watch)
    thread.start()
    with monkeypatch.context() as patch, os.fdopen(terminal, "w") as stderr:
        patch.setattr(sys, "stderr", stderr)
        assert classify("photos", "--output", "r.csv", "--batch-size", "1") == 1
    thread.join()
    os.close(controller)
    text = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", shown.decode())
    assert re.search(r"[1-5] of 5 images, [\d.]+ a second, \d:\d\d:\d\d left, 1 failed", text)
    assert text.rstrip().splitlines()[-1].startswith("pretrained-cnn: 5 images are in r.csv: 1 failed; ")


@pytest.mark.parametrize(
    ("sources", "total"), [(["photos"], 5), (["photos/a/*.png", "x.png"], 3), (["-"], None), (["photos.tar"], None)]
)
def test_how_many_images_there_are(main: Any, sources: list[str], total: int | None) -> None:
    counts = [count(source) for source in sources]
    assert (None if None in counts else sum(filter(None, counts))) == total


# Kills


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pretrained_cnn", "classify", "--model", "models_of_the_test:slow", "photos"]
    return subprocess.Popen([*command, "--batch-size", "4", *arguments], stderr=subprocess.PIPE, text=True)


def many_photos(number: int) -> list[str]:
    names = [f"photos/{i:03}.png" for i in range(number)]
    for i, name in enumerate(names):
        draw(Path(name), (i % 256, 99, 99)) if i % 10 else Path(name).write_text("no image")
    return sorted([*names, *ORDER])


def cut_off(suffix: str, signal_: signal.Signals) -> str:
    """Begin or continue a run, and end it by a signal at a random moment. Returns what it said."""
    growing = Path(f"r.{suffix}.unfinished" if suffix == "parquet" else f"r.{suffix}")
    before = growing.stat().st_size if growing.exists() else 0
    running = start("--output", f"r.{suffix}", "--resume", "--top", "2")
    while running.poll() is None and (not growing.exists() or growing.stat().st_size <= max(before, 100)):
        time.sleep(0.005)
    time.sleep(random.uniform(0, 0.15))
    running.send_signal(signal_)
    said = running.communicate(timeout=60)[1]
    assert running.returncode == (130 if signal_ == signal.SIGINT else -signal_)
    assert json.loads(Path(f"r.{suffix}.settings.json").read_text())["finished"] is False
    return said


def complete(suffix: str, names: list[str]) -> None:
    """Continue the run until it ends, and check that each image has its rows once."""
    running = start("--output", f"r.{suffix}", "--resume", "--top", "2")
    said = running.communicate(timeout=120)[1]
    found = read(Path(f"r.{suffix}"))
    failed = [row["source"] for row in found if row["rank"] is None]
    good = [row["source"] for row in found if row["rank"] == 1]
    assert (running.returncode, f" of them from before: {len(failed)} failed; " in said) == (1, True)
    assert sorted(failed + good) == names
    assert [row["source"] for row in found if row["rank"] == 2] == good
    assert len(found) == len(failed) + 2 * len(good)
    assert sorted(path.name for path in Path().glob("*r.*")) == [f"r.{suffix}", f"r.{suffix}.settings.json"]


@pytest.mark.slow
def test_a_run_that_was_killed_and_interrupted_goes_on(photos: None) -> None:
    names = many_photos(150)
    cut_off("csv", signal.SIGKILL)
    said = cut_off("csv", signal.SIGINT)
    assert re.fullmatch(
        r"pretrained-cnn: interrupted; \d+ images have their rows in r\.csv; continue with --resume\n", said
    )
    complete("csv", names)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_run_that_was_killed_five_times_goes_on(photos: None, suffix: str) -> None:
    names = many_photos(500)
    for _ in range(5):
        cut_off(suffix, signal.SIGKILL)
    complete(suffix, names)
