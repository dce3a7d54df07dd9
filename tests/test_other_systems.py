"""What differs on Windows and macOS, by shims: no test here has run on either."""

from __future__ import annotations

import errno
import io
import ntpath
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from paths import ROOT

from pretrained_cnn import BundleError, Classifier, ImageError, Prediction, PretrainedCNNWarning, Result, _process, cli
from pretrained_cnn._cache import cache_home
from pretrained_cnn.bundle import store
from pretrained_cnn.cli import console, progress, shared
from pretrained_cnn.images import inputs, labeled
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.images.sources import iter_items, single_item
from pretrained_cnn.results import sorting
from pretrained_cnn.results.sorting import Sorter, folder_name
from pretrained_cnn.testing import RuntimeConformance

CLOCK = str(ROOT / "examples/images/clock.png")


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths as on Windows, as far as this library splits them."""
    monkeypatch.setattr(os.path, "splitdrive", ntpath.splitdrive)
    monkeypatch.setattr(os, "altsep", "/")
    monkeypatch.setattr(os, "sep", "\\")


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {}, ".cache/pretrained_cnn"),
        ("linux", {"XDG_CACHE_HOME": "~/x"}, "x/pretrained_cnn"),
        ("darwin", {}, "Library/Caches/pretrained_cnn"),
        ("darwin", {"XDG_CACHE_HOME": "~/x"}, "x/pretrained_cnn"),
        ("win32", {"LOCALAPPDATA": "~/Local"}, "Local/pretrained_cnn/Cache"),
        ("win32", {"XDG_CACHE_HOME": "~/x"}, "AppData/Local/pretrained_cnn/Cache"),
    ],
)
def test_where_the_cache_is(
    platform: str, environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PRETRAINED_CNN_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_home() == Path.home() / expected


def test_a_clock_that_stands_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    assert progress.summary("x.csv", 3, 0, 0.0, before=3).endswith("0:00:00, 0.0 a second")
    assert progress.line(64, 0, 0, 128, 0.0) == "64 of 128 images, 4,096.0 a second, 0:00:00 left, 0 failed"
    command = ["classify", "-m", "EfficientNetLite0", CLOCK, "--output", str(tmp_path / "x.csv"), "--resume"]
    assert [cli.main(command), cli.main(command)] == [0, 0]


@pytest.mark.parametrize(
    "name", ["CON", "aux", "nul", "com1", "LPT1.txt", "Prn", "con.tar.gz", "COM\xb9", "CONIN$", "Uncertain", "FAILED"]
)
def test_folders_that_mean_something_else_there(name: str) -> None:
    folder = folder_name(Prediction(name, name, 1.0, 0))
    assert folder != name
    assert not sorting.DEVICES.fullmatch(folder.casefold())
    assert folder.casefold() not in sorting.RESERVED


@pytest.mark.parametrize("name", ["console", "com", "com10", "lpt", "auxiliary", "Egyptian_cat"])
def test_folders_that_do_not(name: str) -> None:
    assert folder_name(Prediction(name, name, 1.0, 0)) == name


@pytest.mark.parametrize(("one", "other"), [("Cat", "cat"), ("caf\xe9", "cafe\u0301"), ("STRASSE", "stra\xdfe")])
@pytest.mark.parametrize("known", [True, False])
def test_classes_that_would_share_a_folder(one: str, other: str, known: bool, tmp_path: Path) -> None:
    sorter = Sorter(str(tmp_path), link=False, labels=[(one, one), (other, other), ("dog", "dog")] if known else ())
    for name in (other, one, "dog", other):
        sorter.put(Result(CLOCK, (Prediction(name, name, 1.0, 0),)))
    folders = sorted(os.listdir(tmp_path))
    assert len(folders) == len({sorting._folded(folder) for folder in folders}) == 3
    assert "dog" in folders
    assert (one in folders or other in folders) != known  # the same folders whichever comes first


@pytest.mark.parametrize(
    ("target", "plain"),
    [("\\\\?\\C:\\a\\b.png", "C:\\a\\b.png"), ("\\\\?\\UNC\\s\\share\\b", "\\\\s\\share\\b"), ("/a", "/a")],
)
def test_what_windows_says_of_a_link(target: str, plain: str) -> None:
    assert sorting._plain(target) == plain


def test_links_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.readlink
    monkeypatch.setattr(os, "readlink", lambda path: "\\\\?\\" + real(path))
    for _ in range(3):
        Sorter(str(tmp_path), link=True).put(Result(CLOCK, (Prediction("a", "a", 1.0, 0),)))
    assert os.listdir(tmp_path / "a") == ["clock.png"]


def test_a_path_that_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = "/".join(["", *["x" * 50] * 6]) + ".png"

    def gone(*arguments: Any, **more: Any) -> Any:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(inputs, "is_too_long", lambda path: len(path) > 259)
    monkeypatch.setattr(sorting, "is_too_long", lambda path: True)
    with pytest.raises(ImageError, match=r"its path has 310 characters, and Windows takes 259"):
        inputs.read_path(single_item(path), path, ImagePolicy())
    monkeypatch.setattr(sorting, "create_part", gone)
    sorter = Sorter(str(tmp_path), link=False)
    with pytest.raises(ImageError, match="its name is too long"):
        sorter.put(Result(CLOCK, (Prediction("a", "a", 1.0, 0),)))
    assert sorter.left_out == 1


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize("name", ["C:/models/none.bundle", "C:\\models\\none", "models/none", "models\\none", "c:none"])
def test_a_model_on_a_drive(name: str) -> None:
    assert store.looks_like_bundle_path(name)
    with pytest.raises(BundleError, match="does not exist"):
        shared.find_model(name)
    with pytest.raises(BundleError, match="does not exist"):
        Classifier(name)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "utf-8"])
def test_lists_of_powershell(encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a.png", "caf\xe9 \u65e5\u672c.png", "c.png"]
    mark = "\ufeff" if encoding.startswith("utf-16-") else ""
    data = (mark + "\r\n".join(names)).encode(encoding)
    (tmp_path / "list.txt").write_bytes(data)
    assert [item.name for item in iter_items(tmp_path / "list.txt")] == names
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    assert [item.name for item in iter_items("-")] == names
    (tmp_path / "list.csv").write_bytes((mark + "path,label\r\na.png,caf\xe9\r\nb.png,dog\r\n").encode(encoding))
    assert labeled.labeled(str(tmp_path / "list.csv")).labels == ["caf\xe9", "dog"]


def test_a_list_in_a_code_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list.txt").write_bytes(b"a.png\ncaf\xe9.png\nb.png\n")
    monkeypatch.setattr(os, "fsdecode", lambda path: path if isinstance(path, str) else path.decode("utf-8"))
    items = list(iter_items(str(tmp_path / "list.txt")))
    assert [item.name for item in items] == ["a.png", r"caf\xe9.png", "b.png"]
    assert "save the list as UTF-8" in str(items[1].image)
    (tmp_path / "list.csv").write_bytes(b"path,label\na.png,caf\xe9\n")
    with pytest.warns(PretrainedCNNWarning, match=r"list\.csv is not UTF-8, and is read as Latin-1"):
        assert labeled.labeled(str(tmp_path / "list.csv")).labels == ["caf\xe9"]


def test_a_reader_that_went_away(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    class Gone(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(Gone(), write_through=True))
    monkeypatch.setattr(console, "_abandon", lambda stream: None)
    assert cli.main(["models"]) == cli.Status.FAILED
    assert capfd.readouterr().err == ""


def test_messages_keep_the_encoding_of_stderr() -> None:
    code = "from pretrained_cnn.cli.console import *\nwith quiet(): complain('caf\\xe9')"
    for encoding in ("utf-8", "cp850"):
        environment = os.environ | {"PYTHONIOENCODING": encoding, "LC_ALL": "C", "PYTHONUTF8": "0"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, check=True, timeout=60
        )
        assert done.stderr.decode(encoding) == "pretrained-cnn: caf\xe9\n"


@pytest.mark.parametrize(
    ("handle", "waited", "error", "running"),
    [(7, 0x102, 0, True), (7, 0, 0, False), (0, 0, 87, False), (0, 0, 5, True)],
)
def test_whether_a_process_runs(
    handle: int, waited: int, error: int, running: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[int] = []
    kernel = SimpleNamespace(
        OpenProcess=lambda right, inherited, process: handle,
        WaitForSingleObject=lambda handle, milliseconds: waited,
        GetLastError=lambda: error,
        CloseHandle=closed.append,
    )
    monkeypatch.setattr(_process.ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    assert _process._is_running_on_windows(12) == running
    assert closed == [handle] * bool(handle)


def test_what_is_mapped_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows removes no file that is mapped, so a converted model without a key outlives its process."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    spec = RuntimeConformance.spec
    remove = store.shutil.rmtree
    with monkeypatch.context() as patch:
        patch.setattr(
            store.shutil,
            "rmtree",
            lambda path, *more, **options: None if Path(path).parent == tmp_path else remove(path, *more, **options),
        )
        Classifier(spec, weights=None, runtime="litert").predict(CLOCK)
    assert len(list(tmp_path.glob(".pretrained_cnn.*"))) == 1
    Classifier(spec, weights=None, runtime="litert").predict(CLOCK)
    assert list(tmp_path.glob(".pretrained_cnn.*")) == []


def test_the_command_line_says_a_warning_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "_run", lambda words: _process.warn("the cache of this test is full") or 0)
    assert [cli.main([]), cli.main([])] == [0, 0]
    assert capsys.readouterr().err == "pretrained-cnn: the cache of this test is full\n"
    with pytest.warns(PretrainedCNNWarning, match="another"):  # the caller's filters are back
        _process.warn("another cause of this test")
