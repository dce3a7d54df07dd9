"""`write_results`: the same bytes as the command line, and no row for a failure that may pass."""

from __future__ import annotations

import contextlib
import csv
import errno
import http.client
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from paths import ROOT
from PIL import Image
from servers import Handler, serve
from test_classifier import spec
from test_output import MODELS, draw, read
from warned import messages

from pretrained_cnn import (
    Classifier,
    EmbeddingResult,
    ImageError,
    InvalidArgumentError,
    MissingDependencyError,
    OutputError,
    Prediction,
    Result,
    cli,
    write_results,
)
from pretrained_cnn.images import batch
from pretrained_cnn.results.failures import may_pass
from pretrained_cnn.results.names import escape

RESULT_FORMATS = ["csv", "jsonl", "parquet"]
EMBEDDING_FORMATS = ["parquet", "npy"]

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture
def photos(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A working directory with 20 images, one of them broken, and a module with a small network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "models_of_the_test", raising=False)
    Path("models_of_the_test.py").write_text(MODELS)
    for number in range(20):
        draw(Path(f"photos/{number % 3}/{number:02}.png"), (10 * number, 0, 90))
    Path("photos/1/07.png").write_text("no image")
    return tmp_path


@pytest.fixture(scope="module")
def clf() -> Classifier:
    return Classifier(spec())


def names(path: str | Path) -> list[str]:
    """The name of each image, in the order of the rows."""
    rows = read_embeddings(Path(path)) if str(path).endswith("npy") else read(Path(path))
    return [row["source"] for row in rows if row.get("rank") in (None, 1)]


def read_embeddings(path: Path) -> list[dict[str, Any]]:
    """The rows of a finished file of embeddings."""
    if path.suffix == ".parquet":
        return read(path)
    sources = read_csv(path.with_name(f"{path.name}.sources.csv"))
    vectors = np.load(path)
    assert len(sources) == len(vectors)
    return [
        {"source": row["source"], "embedding": None if row["error"] else vector.tolist(), "error": row["error"] or None}
        for row, vector in zip(sources, vectors, strict=True)
    ]


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


LISTED = sorted(f"photos/{number % 3}/{number:02}.png" for number in range(20))


# From Python


@pytest.mark.parametrize("suffix", RESULT_FORMATS)
def test_python_and_the_command_line_write_the_same_bytes(photos: Path, suffix: str) -> None:
    from models_of_the_test import quick  # type: ignore[import-not-found]

    written = write_results(Classifier(quick).stream("photos", top=2, min_score=0.5), f"p.{suffix}", resume=True)
    assert (written.images, written.failed, written.before, written.path) == (20, 1, 0, Path(f"p.{suffix}"))
    call = ["classify", "photos", "--model", "models_of_the_test:quick", "--top", "2", "--min-score", "0.5"]
    assert cli.main([*call, "-o", f"c.{suffix}"]) == 1
    assert Path(f"p.{suffix}").read_bytes() == Path(f"c.{suffix}").read_bytes()
    noted = [json.loads(Path(f"{name}.{suffix}.settings.json").read_text()) for name in "pc"]
    assert noted[0] == noted[1]
    assert cli.main([*call, "-o", f"p.{suffix}", "--resume"]) == 1, "either continues the other's file"
    assert Path(f"p.{suffix}").read_bytes() == Path(f"c.{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", RESULT_FORMATS)
def test_what_is_done_is_not_done_again(photos: Path, clf: Classifier, suffix: str) -> None:
    path = f"r.{suffix}"
    stream = clf.stream("photos", top=1, batch_size=2)
    with pytest.raises(RuntimeError, match="stop"):
        write_results(stop_after(stream, 9), path, settings=stream.settings)
    seen: list[str] = []

    def noting() -> Iterator[Any]:
        for name in LISTED:
            seen.append(name)
            yield name

    with pytest.raises(OutputError, match="already exists; continue it with resume=True"):
        write_results(clf.stream("photos", top=1), path)
    written = write_results(clf.stream("photos", top=1), path, resume=True)
    assert (written.images, written.before) == (20, 9)
    assert sorted(names(path)) == LISTED
    before = Path(path).read_bytes()
    again = write_results(clf.stream(noting(), top=1), path, resume=True)
    assert (again.images, again.before, Path(path).read_bytes(), len(seen)) == (20, 20, before, 20)


def stop_after(results: Any, count: int) -> Iterator[Any]:
    yield from itertools.islice(results, count)
    raise RuntimeError("stop")


def test_a_stream_has_done_nothing_yet(photos: Path) -> None:
    unbuilt = Classifier(spec(builder=lambda input_shape: pytest.fail("it was built")))
    stream = unbuilt.stream(["no.jpg", "photos"])
    assert list(stream.skip(["./no.jpg", str(photos / "photos")])) == [], "no image, no network"
    with pytest.raises(InvalidArgumentError, match="the stream has begun; call skip before"):
        stream.skip(["x"])


def test_names_are_skipped_as_often_as_they_are_named(clf: Classifier) -> None:
    found = clf.stream(["a", "b", "a", "a", ("x", b"")]).skip(["a", "./a", "x", "other"])
    assert [result.source for result in found] == ["b", "a"]


def test_a_plain_iterable_needs_settings_to_be_resumed(tmp_path: Path) -> None:
    results = [Result(name, (Prediction("cat", "cat", 0.5, 0),)) for name in ("a", "b", "c")]
    path = tmp_path / "r.csv"
    with pytest.raises(InvalidArgumentError, match=r"resume=True needs settings=\{...\}"):
        write_results(results, path, resume=True)
    assert not path.exists()
    settings = {"model": "mine", "top": 1}
    write_results(results[:2], path, resume=True, settings=settings)
    assert write_results(iter(results), path, resume=True, settings=settings).before == 2
    assert names(path) == ["a", "b", "c"]
    with pytest.raises(OutputError, match="was made with model=mine, not model=other"):
        write_results(results, path, resume=True, settings={**settings, "model": "other"})
    assert write_results(results[:1], path, overwrite=True).images == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resume": True, "overwrite": True}, "resume=True and overwrite=True do not go together"),
        ({"retry_failed": True}, "retry_failed=True needs resume=True"),
        ({"path": "r.npy"}, r"r\.npy: the name of a file of results must end in \.csv, \.jsonl or \.parquet"),
        ({"path": "r"}, "r: the name of a file of results must end in"),
    ],
)
def test_arguments_that_do_not_go_together(photos: Path, clf: Classifier, options: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        write_results(clf.stream("photos"), **{"path": "r.csv", **options})
    with pytest.raises(InvalidArgumentError, match=r"a file of embeddings must end in \.parquet or \.npy"):
        write_results(clf.embed_stream("photos"), "r.csv")
    assert not list(photos.glob("r*"))


def test_without_filelock_one_sentence_and_no_file(
    photos: Path, clf: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "filelock", None)
    with pytest.raises(MissingDependencyError, match="this needs the package filelock: pip install filelock"):
        write_results(clf.stream("photos"), "r.csv")
    assert not list(photos.glob("*r.csv*"))


# Embeddings


def test_failed_rows_are_nan(clf: Classifier) -> None:
    images = [np.full((8, 8, 3), 200, np.uint8), "no.jpg", b"", np.zeros((8, 8, 3), np.uint8)]
    for give, width in ((clf.embed, 4), (clf.predict_proba, 3)):
        found = give(images, errors="return", batch_size=3)
        assert (found.shape, found.dtype) == ((4, width), np.float32)
        assert np.isnan(found).all(axis=1).tolist() == [False, True, True, False]
        np.testing.assert_allclose(found[[0, 3]], give([images[0], images[3]]), rtol=1e-6)
        with pytest.raises(ImageError, match=r"no\.jpg: the file does not exist"):
            give(images)
        with pytest.raises(InvalidArgumentError, match="errors='ignore' is not known"):
            give(images, errors="ignore")


def test_a_stream_of_embeddings(clf: Classifier) -> None:
    images = [np.full((8, 8, 3), 200, np.uint8), "no.jpg"]
    first, second = clf.embed_stream(images)
    assert isinstance(first, EmbeddingResult)
    assert (first.source, first.error, first.status) == ("<array 0>", None, "ok")
    assert first.embedding is not None
    np.testing.assert_allclose(first.embedding[np.newaxis], clf.embed(images[:1]))
    assert (second.source, second.embedding, second.status) == ("no.jpg", None, "failed")
    with pytest.raises(ImageError, match=r"no\.jpg"):
        list(clf.embed_stream(images, errors="raise"))


@pytest.mark.parametrize("suffix", EMBEDDING_FORMATS)
def test_embeddings_are_written_and_resumed(photos: Path, clf: Classifier, suffix: str) -> None:
    path = Path(f"e.{suffix}")
    os.rename("photos/2/02.png", b"photos/2/caf\xe9.png")
    listed = sorted(map(os.fsdecode, Path("photos").rglob("*.png")))
    good = [name for name in listed if "07" not in name]
    expected = dict(zip(map(escape, good), clf.embed(good).tolist(), strict=True))
    stream = clf.embed_stream("photos")
    with pytest.raises(RuntimeError, match="stop"):
        write_results(stop_after(stream, 5), path, settings=stream.settings)
    assert not path.exists(), "it appears when it is whole"
    written = write_results(clf.embed_stream("photos"), path, resume=True)
    assert (written.images, written.failed, written.before) == (20, 1, 5)
    rows = read_embeddings(path)
    assert [row["source"] for row in rows] == list(map(escape, listed))
    for row in rows:
        if row["source"] == "photos/1/07.png":
            assert row["embedding"] is None
            assert row["error"].startswith("this is not an image")
        else:
            np.testing.assert_allclose(row["embedding"], expected[row["source"]], rtol=1e-6)
    draw(Path("photos/9.png"), RED)
    assert write_results(clf.embed_stream("photos"), path, resume=True).before == 20
    assert len(read_embeddings(path)) == 21
    assert not path.with_name(f"{path.name}.unfinished").exists()
    if suffix == "parquet":
        import pyarrow as pa
        import pyarrow.parquet

        assert pyarrow.parquet.read_schema(path).field("embedding").type == pa.list_(pa.float32(), 4)
    else:
        assert np.load(path).dtype == np.float32
        assert np.isnan(np.load(path)).all(axis=1).sum() == 1


@pytest.mark.parametrize("suffix", EMBEDDING_FORMATS)
def test_only_failures_make_a_file_too(tmp_path: Path, clf: Classifier, suffix: str) -> None:
    path = tmp_path / f"e.{suffix}"
    write_results(clf.embed_stream(["no.jpg", "nor.jpg"]), path)
    assert [row["source"] for row in read_embeddings(path)] == ["no.jpg", "nor.jpg"]
    assert write_results(clf.embed_stream(["no.jpg", "nor.jpg"]), path, resume=True).before == 2


def test_files_that_are_no_embeddings_of_ours(photos: Path, clf: Classifier) -> None:
    for content in (b"", b"nonsense", npy(np.zeros((2, 2))), npy(np.zeros((2, 2, 2), np.float32))):
        write_results(clf.embed_stream("photos"), "e.npy", overwrite=True)
        Path("e.npy").write_bytes(content)
        with pytest.raises(OutputError, match=r"e\.npy: it is not a float32 array of ours"):
            write_results(clf.embed_stream("photos"), "e.npy", resume=True)
    Path("e.npy").write_bytes(npy(np.zeros((19, 4), np.float32)))
    with pytest.raises(OutputError, match=r"e\.npy: it has 19 rows, and e\.npy\.sources\.csv has another number"):
        write_results(clf.embed_stream("photos"), "e.npy", resume=True)


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


BROKEN: list[Any] = [
    lambda path: path.write_bytes(b""),
    lambda path: path.write_text("no image"),
    lambda path: path.write_bytes(png()[:45]),
    lambda path: path.mkdir(),
    lambda path: path.symlink_to("nowhere.png"),
    lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
    lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50)),
    lambda path: path.write_bytes(b"\xff\xd8\xff\xe0" + bytes(20)),
    lambda path: path.write_bytes(png()[:-40] + bytes(40)),
    lambda path: path.write_bytes(b"GIF89a\x00\x00\x00\x00"),
]


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (9, 9), BLUE).save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize("suffix", EMBEDDING_FORMATS)
def test_ten_ways_of_being_broken_are_rows(photos: Path, suffix: str) -> None:
    paths = [f"mixed/{number:03}.png" for number in range(1000)]
    Path("mixed").mkdir()
    for number, name in enumerate(paths):
        if number % 10 == 3:
            BROKEN[number // 10 % len(BROKEN)](Path(name))
        else:
            Path(name).write_bytes(png())
    Path("list.txt").write_text("\n".join(paths))
    call = ["embed", "list.txt", "--model", "models_of_the_test:quick", "-o", f"e.{suffix}"]
    assert cli.main(call) == 1
    rows = read_embeddings(Path(f"e.{suffix}"))
    assert [row["source"] for row in rows] == paths
    assert [row["error"] is not None for row in rows] == [number % 10 == 3 for number in range(1000)]


# Trying again


@pytest.mark.parametrize("suffix", RESULT_FORMATS)
def test_failed_images_are_tried_again_in_their_places(photos: Path, clf: Classifier, suffix: str) -> None:
    path = f"r.{suffix}"
    Path("photos/0/00.png").write_text("no image")
    write_results(clf.stream("photos", top=2), path)
    before = read(Path(path))
    draw(Path("photos/1/07.png"), RED)
    draw(Path("photos/new.png"), RED)
    assert write_results(clf.stream("photos", top=2), path, resume=True).failed == 2, "they have their rows"
    written = write_results(clf.stream("photos", top=2), path, resume=True, retry_failed=True)
    assert (written.images, written.failed) == (21, 1)
    assert names(path) == [*LISTED, "photos/new.png"]
    after = read(Path(path))
    assert [row for row in after if "07" not in row["source"] and "new" not in row["source"]] == [
        row for row in before if "07" not in row["source"]
    ]
    assert [row["status"] for row in after if row["source"] == "photos/1/07.png"] == ["ok", "ok"]


@pytest.mark.parametrize("suffix", EMBEDDING_FORMATS)
def test_failed_embeddings_are_tried_again_in_their_places(photos: Path, clf: Classifier, suffix: str) -> None:
    path = f"e.{suffix}"
    write_results(clf.embed_stream("photos"), path)
    draw(Path("photos/1/07.png"), RED)
    assert write_results(clf.embed_stream("photos"), path, resume=True, retry_failed=True).failed == 0
    rows = read_embeddings(Path(path))
    assert [row["source"] for row in rows] == LISTED
    np.testing.assert_allclose([row["embedding"] for row in rows], clf.embed(LISTED), rtol=1e-6)


# Failures that may pass


def test_which_failures_may_pass() -> None:
    for cause in (
        MemoryError(),
        TimeoutError(),
        *(OSError(number, "") for number in (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE)),
        OSError(errno.ENOTCONN, ""),
        *(http_error(code) for code in (408, 425, 429, 500, 503)),
        ConnectionResetError(),
        http.client.RemoteDisconnected("Remote end closed connection without response"),
        http.client.IncompleteRead(b""),
        *(OSError(getattr(errno, name), "") for name in ("EBUSY", "EAGAIN", "EKEYEXPIRED") if hasattr(errno, name)),
    ):
        assert may_pass(caused(cause)), cause
    for cause in (ValueError(), OSError(errno.EACCES, ""), FileNotFoundError(errno.ENOENT, ""), http_error(404)):
        assert not may_pass(caused(cause)), cause
    missing = caused(FileNotFoundError(errno.ENOENT, ""))
    assert may_pass(missing, listed=True)
    assert not may_pass(None)
    assert may_pass(ImageError("a", "it cannot be opened: Input/output error")), "as it comes from another process"
    assert may_pass(ImageError("a", "it cannot be decoded: MemoryError"))
    assert may_pass(ImageError("a", "it cannot be fetched: the connection was cut after 3 of 9 bytes"))
    assert may_pass(ImageError("a", "it cannot be fetched: Remote end closed connection without response"))
    assert not may_pass(ImageError("a", "it cannot be opened: Permission denied"))


class Statuses(Handler):
    """Answers with the status that the path names, or cuts the connection before or within its answer."""

    def get(self) -> None:
        if self.path == "/gone.png":
            return
        if self.path == "/cut.png":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nimage")
            return
        self.send(status=int(self.path[1:4]))


def test_which_answers_of_a_server_may_pass(tmp_path: Path, clf: Classifier) -> None:
    with serve(Statuses) as server:
        addresses = [f"{server.url}/{code}.png" for code in (404, 429, 500, 503, "gone", "cut")]
        found = [may_pass(result.error) for result in clf.stream(addresses)]
    assert found == [False, True, True, True, True, True]
    (refused,) = clf.stream(addresses[:1])
    assert may_pass(refused.error)


def http_error(code: int) -> Exception:
    import urllib.error
    from email.message import Message

    return urllib.error.HTTPError("http://x", code, "", Message(), None)


def caused(cause: BaseException) -> ImageError:
    try:
        try:
            raise cause
        except BaseException:
            raise ImageError("a.jpg", "it cannot be opened") from None
    except ImageError as error:
        return error


def failing(monkeypatch: pytest.MonkeyPatch, fails: Any) -> None:
    """Have the images for whose path ``fails(path)`` gives an error meet it when they are read."""
    original = batch.decode

    def decode(item: Any, *arguments: Any) -> Any:
        if (error := fails(str(item.image))) is not None:
            raise ImageError(item.name, f"it cannot be opened: {error}") from error
        return original(item, *arguments)

    monkeypatch.setattr(batch, "decode", decode)


@pytest.mark.parametrize("suffix", RESULT_FORMATS)
def test_eight_in_a_row_end_the_run_and_resume_alone_goes_on(
    photos: Path, clf: Classifier, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"r.{suffix}"
    whole = write_results(clf.stream("photos", top=1), f"whole.{suffix}")
    with monkeypatch.context() as patch:
        failing(patch, lambda name: OSError(errno.EIO, "Input/output error") if name > LISTED[9] else None)
        with pytest.raises(OutputError) as caught:
            write_results(clf.stream("photos", top=1), path)
    assert "8 images could not be read for a temporary reason" in str(caught.value)
    assert "10 images have their rows; solve the problem, then continue with resume=True" in str(caught.value)
    assert write_results(clf.stream("photos", top=1), path, resume=True).before == 10
    assert Path(path).read_bytes() == Path(whole.path).read_bytes()


def test_a_failure_that_passed_at_once_is_tried_again(
    photos: Path, clf: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_results(clf.stream("photos", top=1), "whole.csv")
    left = {LISTED[3], LISTED[4], LISTED[11], LISTED[19]}

    def fails(name: str) -> Exception | None:
        if name in left:
            left.remove(name)
            return MemoryError()
        return None

    failing(monkeypatch, fails)
    assert write_results(clf.stream("photos", top=1), "r.csv").images == 20
    assert Path("r.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_what_fails_alone_again_and_again_is_the_images_own_error(
    photos: Path, clf: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, lambda name: MemoryError() if name == LISTED[5] else None)
    assert write_results(clf.stream("photos", top=1), "r.csv").failed == 2
    assert names("r.csv") == LISTED


def test_what_fails_at_the_end_has_no_row(photos: Path, clf: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        failing(patch, lambda name: OSError(errno.ESTALE, "Stale file handle") if name in LISTED[18:] else None)
        with pytest.raises(OutputError, match=r"2 images could not be read .*Stale file handle.* 18 images have their"):
            write_results(clf.stream("photos", top=1), "r.csv")
    assert names("r.csv") == LISTED[:18]
    write_results(clf.stream("photos", top=1), "r.csv", resume=True)
    assert names("r.csv") == LISTED


@pytest.mark.parametrize(("suffix", "source"), [("csv", "many"), ("parquet", "many"), ("csv", "many.txt")])
def test_a_folder_that_is_away_for_a_while(photos: Path, clf: Classifier, suffix: str, source: str) -> None:
    """Whatever is away, and however long: after resuming every row is right."""
    many = [f"many/{number:03}.png" for number in range(200)]
    for name in many:
        draw(Path(name), RED)
    Path("many.txt").write_text("\n".join(many))
    write_results(clf.stream(source, top=1), f"whole.{suffix}")
    for away in (1, 3, 20, 150) if source == "many" else (20, 150):
        path = f"r.{suffix}"

        stream = clf.stream(source, top=1, batch_size=1, prefetch=1)
        original, taken = stream.next_with_origin, itertools.count()

        def taking(original: Any = original, taken: Any = taken, away: int = away) -> Any:
            number = next(taken)
            if number == 20:
                os.rename("many", "gone")
            if number == 20 + away and Path("gone").exists():
                os.rename("gone", "many")
            return original()

        stream.next_with_origin = taking  # type: ignore[method-assign]
        with contextlib.suppress(OutputError):
            write_results(stream, path, overwrite=True)
        if Path("gone").exists():
            if source == "many":
                with pytest.raises(OutputError, match=r"many: this source of .* is gone"):
                    write_results(clf.stream(source, top=1), path, resume=True)
            os.rename("gone", "many")
        write_results(clf.stream(source, top=1), path, resume=True)
        assert sorted(map(str, read(Path(path)))) == sorted(map(str, read(Path(f"whole.{suffix}"))))


def test_a_path_that_somebody_wrote_has_a_row(photos: Path, clf: Classifier) -> None:
    Path("list.txt").write_text("\n".join([*LISTED[:2], *(f"no/{number}.png" for number in range(20))]))
    assert write_results(clf.stream("list.txt", top=1), "r.csv").failed == 20
    Path("photos/1/01.png").unlink()
    assert write_results(clf.stream("photos", top=1), "s.csv").images == 19


# Names


def test_one_image_however_its_folder_is_spelled(
    photos: Path, clf: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_results(clf.stream("photos", top=1), "r.csv")
    before = Path("r.csv").read_bytes()
    for folder in ("./photos", "photos/", str(photos / "photos"), "photos/../photos", "photos/*/*.png"):
        write_results(clf.stream(folder, top=1), "r.csv", resume=True)
        assert Path("r.csv").read_bytes() == before
    (photos / "elsewhere").mkdir()
    monkeypatch.chdir(photos / "elsewhere")
    draw(photos / "photos/0/new.png", RED)
    write_results(clf.stream("../photos", top=1), "../r.csv", resume=True)
    assert names("../r.csv") == [*LISTED, "photos/0/new.png"], "as the first run wrote it"
    draw(photos / "elsewhere/other.png", RED)
    with messages() as warned:
        write_results(clf.stream(".", top=1), "../r.csv", resume=True)
    assert names("../r.csv")[-1] == "elsewhere/other.png"
    assert warned == [".: none of its 1 images was in ../r.csv before; if some were expected, compare the names"]


def test_names_of_pairs_stay_as_they_are(photos: Path, clf: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [("first", png()), ("second", png())]
    write_results(clf.stream(pairs, top=1), photos / "r.csv")
    monkeypatch.chdir("photos")
    assert write_results(clf.stream([*pairs, ("third", png())], top=1), photos / "r.csv", resume=True).before == 2
    assert names(photos / "r.csv") == ["first", "second", "third"]


@pytest.mark.parametrize(
    "what", ["labels", "input_size", "resize.method", "weights", "image_policy.background", "top", "min_score"]
)
def test_settings_are_compared_by_content(photos: Path, what: str) -> None:
    from pretrained_cnn import ImagePolicy, ResizePolicy

    changes: dict[str, Any] = {
        "labels": (spec(labels=["a", "b", "c"]), {}, {}),
        "input_size": (spec(), {"input_size": (9, 9)}, {}),
        "resize.method": (spec(), {"resize": ResizePolicy("pad")}, {}),
        "image_policy.background": (spec(), {"image_policy": ImagePolicy(background=(0, 0, 0))}, {}),
        "weights": (spec(builder=other_builder), {}, {}),
        "top": (spec(), {}, {"top": 2}),
        "min_score": (spec(), {}, {"min_score": 0.5}),
    }
    write_results(Classifier(spec()).stream("photos", top=1), "r.csv")
    assert write_results(Classifier(spec()).stream("photos", top=1), "r.csv", resume=True).before == 20, "built again"
    model, arguments, asked = changes[what]
    with pytest.raises(OutputError, match=rf"r\.csv was made with [^:]*\b{re.escape(what)}=.*give the same again"):
        write_results(Classifier(model, **arguments).stream("photos", **{"top": 1, **asked}), "r.csv", resume=True)


def other_builder(input_shape: Any) -> Any:
    model = spec().builder(input_shape)
    model.layers[-1].set_weights([weight * 2 for weight in model.layers[-1].get_weights()])
    return model


def test_another_version_is_a_warning(photos: Path, clf: Classifier) -> None:
    write_results(clf.stream("photos", top=1), "r.csv")
    noted = Path("r.csv.settings.json")
    noted.write_text(noted.read_text().replace('"version": "', '"version": "9'))
    with messages() as warned:
        write_results(clf.stream("photos", top=1), "r.csv", resume=True)
    assert warned[0].startswith("r.csv was begun by version 9")


# Several sources


def test_one_broken_source_among_many_costs_a_row(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b", "c"):
        with zipfile.ZipFile(f"{name}.zip", "w") as archive:
            archive.write("photos/0/00.png", f"{name}.png")
    Path("b.zip").write_bytes(Path("b.zip").read_bytes()[:50])
    Path("empty").mkdir()
    with tarfile.open("d.tar", "w") as tar:
        tar.add("photos/0/00.png", "d.png")
    call = ["classify", "--model", "models_of_the_test:quick", "-o", "r.csv"]
    assert cli.main([*call, "empty", "a.zip", "b.zip", "c.zip", "d.tar"]) == 1
    assert names("r.csv") == ["empty", "a.zip/a.png", "b.zip", "c.zip/c.png", "d.tar/d.png"]
    errors = [row["error"] for row in read(Path("r.csv")) if row["error"]]
    assert errors[0].startswith("no image is in this folder")
    assert errors[1].startswith("this archive cannot be read")
    capsys.readouterr()
    assert cli.main([*call, "--overwrite", "empty", "b.zip"]) == 1, "no source has an image"
    assert "empty: no image is in this folder" in capsys.readouterr().err


@pytest.mark.slow
def test_sorted_images_are_left_out(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    find = "find . -name '*.png' | sort | {} -m pretrained_cnn classify - --model models_of_the_test:quick -o r.csv"
    command = f"{find} --link-to sorted --resume".format(sys.executable)
    for _ in range(3):
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1, done.stderr
        assert len(names("r.csv")) == 20
    assert "19 images in sorted were left out" in done.stderr


def test_rows_from_before_are_sorted(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["classify", "photos", "--model", "models_of_the_test:quick", "-o", "r.csv"]
    assert cli.main(call) == 1
    assert cli.main([*call, "--resume", "--copy-to", "sorted"]) == 1
    assert len([path for path in Path("sorted").rglob("*") if path.is_file()]) == 19


# Odd contents


@pytest.mark.parametrize("suffix", RESULT_FORMATS)
def test_names_beyond_the_limit_of_the_csv_module(photos: Path, clf: Classifier, suffix: str) -> None:
    long = ["z" * 200_000, 'quo"te,' * 30_000]
    write_results(clf.stream([LISTED[0], *long, LISTED[1]], top=1), f"r.{suffix}")
    written = write_results(clf.stream([LISTED[0], *long, LISTED[1], LISTED[2]], top=1), f"r.{suffix}", resume=True)
    assert (written.images, written.before) == (5, 4)


def test_a_file_that_a_spreadsheet_saved_is_told_so(photos: Path, clf: Classifier) -> None:
    write_results(clf.stream("photos", top=1), "r.csv")
    Path("r.csv").write_bytes(b"\xef\xbb\xbf" + Path("r.csv").read_bytes().replace(b"\n", b"\r\n"))
    with pytest.raises(OutputError, match="another program has saved it with other line ends or a byte order mark"):
        write_results(clf.stream("photos", top=1), "r.csv", resume=True)


def test_json_is_valid_whatever_the_scores_and_names(tmp_path: Path) -> None:
    odd = Result("caf\udce9\ud800\x00.png", (Prediction("\ud800", "\udfff", float("nan"), None),))
    write_results([odd, Result("b", (Prediction("x", "x", float("inf"), 0),))], tmp_path / "r.jsonl")
    write_results([odd], tmp_path / "r.csv")

    def refuse(name: str) -> None:
        raise ValueError(name)

    for line in (tmp_path / "r.jsonl").read_bytes().splitlines():
        row = json.loads(line.decode("utf-8", "strict"), parse_constant=refuse)
        json.dumps(row, ensure_ascii=False).encode("utf-8", "strict")
        assert row["score"] is None
    (tmp_path / "r.csv").read_bytes().decode("utf-8", "strict")


def test_others_read_the_files(photos: Path, clf: Classifier) -> None:
    """The lines of the page on folders, for the packages that are installed."""
    import pandas
    import pyarrow.parquet

    os.rename("photos/2/02.png", b"photos/2/caf\xe9.png")
    for suffix in RESULT_FORMATS:
        write_results(clf.stream("photos", top=2), f"r.{suffix}")
    frames = [
        pandas.read_csv("r.csv", dtype_backend="numpy_nullable"),
        pandas.read_json("r.jsonl", lines=True, dtype_backend="numpy_nullable"),
        pandas.read_parquet("r.parquet", dtype_backend="numpy_nullable"),
    ]
    for frame in frames[1:]:
        assert frame["source"].tolist() == frames[0]["source"].tolist()
        assert frame["status"].tolist() == frames[0]["status"].tolist()
    assert "photos/2/caf\\xe9.png" in frames[0]["source"].tolist()
    assert pyarrow.parquet.read_table("r.parquet").num_rows == len(frames[0])


EMBEDDING = """
import json, sys
from processes import peak_bytes
from pretrained_cnn import Classifier, write_results
written = write_results(Classifier.load(sys.argv[1]).embed_stream(sys.argv[2]), sys.argv[3])
print(json.dumps([written.images, peak_bytes()]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", EMBEDDING_FORMATS)
def test_embedding_twenty_thousand_images_takes_no_more_memory_than_five_hundred(tmp_path: Path, suffix: str) -> None:
    import keras

    layers: list[Any] = [keras.Input((8, 8, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1024)]
    model = keras.Sequential([*layers, keras.layers.Dense(2, "softmax")])
    Classifier.from_keras(model, labels=["a", "b"]).save(tmp_path / "e.bundle", format="openvino", output="embedding")
    (tmp_path / "photo.png").write_bytes(png())
    peaks = {}
    for number in (500, 20_000):
        folder = tmp_path / str(number)
        for i in range(number):
            path = folder / f"{i // 1000}" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(tmp_path / "photo.png")
        program = [sys.executable, "-c", EMBEDDING, str(tmp_path / "e.bundle"), str(folder), f"{folder}.{suffix}"]
        done = subprocess.run(program, capture_output=True, check=True, timeout=300, cwd=Path(__file__).parent)
        count, peaks[number] = json.loads(done.stdout.splitlines()[-1])
        assert count == number
    assert peaks[20_000] <= 1.1 * peaks[500], f"bytes: {peaks}"


# Listing


def test_a_flat_folder_is_listed_once(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree("photos/0", "flat")
    listed: list[str] = []
    original = os.scandir

    def scandir(path: Any = ".") -> Any:
        if str(path).startswith(("flat", "photos")):
            listed.append(str(path))
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr("pretrained_cnn.cli.progress.INTERVAL", 0)
    call = ["classify", "flat", "--model", "models_of_the_test:quick", "-o"]
    assert cli.main([*call, "r.csv"]) == 0
    assert listed == ["flat"]
    assert cli.main(["classify", "photos", *call[2:], "s.csv"]) == 1
    assert [listed.count(f"photos/{number}") for number in range(3)] == [2, 2, 2], "once more, to count them"


def test_a_folder_1500_levels_deep(photos: Path, clf: Classifier) -> None:
    draw(Path("deep/first.png"), RED)
    os.chdir("deep")
    for _ in range(1500):
        os.mkdir("d")
        os.chdir("d")
    draw(Path("deep.png"), RED)
    try:
        os.chdir(photos)
        for source in ("deep", "deep/**/*.png"):
            assert [result.status for result in clf.stream(source, top=1)] == ["ok", "ok"]
    finally:  # what removes folders recursively could not remove these
        os.chdir("deep/" + "d/" * 1500)
        os.unlink("deep.png")
        for _ in range(1500):
            os.chdir("..")
            os.rmdir("d")
        os.chdir(photos)


@pytest.mark.slow
def test_the_lines_of_the_docs_read_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line for another program, as the page gives it, on names and labels that are easily taken for others."""
    duckdb, polars = pytest.importorskip("duckdb"), pytest.importorskip("polars")
    import pandas

    odd = [
        "None",
        "NaN",
        "007",
        "1e5",
        "true",
        "null",
        "=1+1",
        " lead",
        'comma, quote"',
        "line\nend",
        "\u2028",
        "2024-01-01",
    ]
    names = ["caf\udce9.png", "bad.png", "\r\n.png", *odd, *(f"{number}.png" for number in range(150))]
    results = [
        Result(name, (), ImageError(name, 'it is "bad"'))
        if name in ("bad.png", "149.png")
        else Result(name, (Prediction(f"{i:03}", odd[-i % len(odd)], 0.1 + i / 700, i), Prediction("009", "c", 0.1, 2)))
        for i, name in enumerate(names)
    ]
    monkeypatch.chdir(tmp_path)
    for suffix in ("csv", "jsonl", "parquet"):
        write_results(results, f"results.{suffix}")
    known = pa.parquet.read_table("results.parquet").to_pylist()
    assert [(row["id"], row["label"]) for row in known if row["rank"] == 1][7:9] == [("008", odd[-8]), ("009", odd[-9])]
    page = ROOT.joinpath("docs", "how-to", "folders.md").read_text("utf-8")
    lines = re.findall(r"`((?:pandas|polars)\.read_\w+\(.*?\)|SELECT .*?)`", page)
    assert len(lines) == 9
    for line in lines:
        if line.startswith("SELECT"):
            found = duckdb.sql(line)
            rows = [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]
        else:
            table = eval(line, {"pandas": pandas, "polars": polars})
            rows = table.to_dicts() if line.startswith("polars") else table.to_dict("records")
        rows = [{key: None if value != value else value for key, value in row.items()} for row in rows]
        assert rows == known, line
    # Excel is not available. Its import takes the file origin that the page names, and csv's dialect of that name.
    assert "Data > From Text/CSV, with the file origin 65001 (UTF-8)" in page
    text = Path("results.csv").read_bytes().decode("utf-8")
    columns, *cells = csv.reader(io.StringIO(text, newline=""), dialect="excel")
    assert columns == list(known[0])
    assert cells == [["" if value is None else str(value) for value in row.values()] for row in known]
