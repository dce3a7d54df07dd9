"""Archives, lists of paths, globs, pairs, and sources that change under the run."""

from __future__ import annotations

import gc
import io
import os
import shutil
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pretrained_cnn import ImageError, ImagePolicy, ResizePolicy
from pretrained_cnn.images import batch, decode, sources
from pretrained_cnn.images.skipping import Skipped


def png(gray: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (6, 4), (gray, gray, gray)).save(stream, "PNG")
    return stream.getvalue()


def read(source: Any, **settings: Any) -> list[tuple[str, int | str]]:
    """Each image's name, and its gray value or what is wrong with it."""
    found: list[tuple[str, int | str]] = []
    policy = ImagePolicy(**settings)
    for item in sources.iter_items(source, policy):
        try:
            found.append((item.name, np.asarray(decode.decode(item, policy))[0, 0, 0]))
        except ImageError as error:
            found.append((error.source, error.reason))
    return found


MEMBERS = {"b/2.PNG": png(2), "notes.txt": b"hello", "a/1.png": png(1), "broken.jpg": b"no image"}
READ = [("b/2.PNG", 2), ("a/1.png", 1), ("broken.jpg", "this is not an image in a format that can be read; ")]


@pytest.fixture
def pack(tmp_path: Path) -> Any:
    def pack(name: str, members: dict[str, bytes] = MEMBERS) -> Path:
        path = tmp_path / name
        if name.endswith(".zip"):
            with zipfile.ZipFile(path, "w") as archive:
                for member, data in members.items():
                    archive.writestr(member, data)
        else:
            with tarfile.open(path, f"w:{name.rpartition('.')[2].replace('tar', '').replace('tgz', 'gz')}") as tar:
                folder = tarfile.TarInfo("folder.png")
                folder.type = tarfile.DIRTYPE
                tar.addfile(folder)
                for member, data in members.items():
                    info = tarfile.TarInfo(member)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        return path

    return pack


# Archives


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip"])
def test_an_archive_gives_its_images_in_its_order(pack: Any, suffix: str) -> None:
    path = pack(f"photos{suffix}")
    found = read(path)
    assert [name for name, _ in found] == [f"{path}/{name}" for name, _ in READ]
    assert [value for _, value in found[:2]] == [2, 1]
    assert str(found[2][1]).startswith(str(READ[2][1]))


def test_a_glob_opens_archives(pack: Any, tmp_path: Path) -> None:
    for number in (2, 1):
        pack(f"{number}.tar", {"x.png": png(number)})
    assert read(f"{tmp_path}/*.tar") == [(f"{tmp_path}/1.tar/x.png", 1), (f"{tmp_path}/2.tar/x.png", 2)]


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".zip"])
def test_an_archive_is_read_one_member_after_the_other_and_closed(pack: Any, suffix: str) -> None:
    path = pack(f"many{suffix}", {f"{i}.png": png(i) for i in range(50)})
    items = sources.iter_items(path)
    next(items)
    opened = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _exists(fd)]
    assert opened.count(str(path)) == 1
    items.close()
    opened = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _exists(fd)]
    assert str(path) not in opened


def _exists(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_a_member_that_is_too_large_is_one_row(pack: Any, suffix: str) -> None:
    path = pack(f"photos{suffix}", {"large.png": png(1) + bytes(10_000), "small.png": png(2)})
    assert read(path, max_bytes=1000) == [
        (f"{path}/large.png", "it has more than 1,000 bytes (ImagePolicy.max_bytes)"),
        (f"{path}/small.png", 2),
    ]
    found = [item.image for item in sources.iter_items(path, ImagePolicy(max_bytes=1000))]
    sizes = [len(image) for image in found if isinstance(image, bytes)]
    assert sizes == [len(png(2))], "the large one was not read"


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_an_archive_without_a_image(pack: Any, suffix: str) -> None:
    with pytest.raises(ImageError, match=r"photos\.\w+: no image is in this archive: no member ends in \.apng, \.avif"):
        read(pack(f"photos{suffix}", {"notes.txt": b"hello"}))


@pytest.mark.parametrize(
    ("suffix", "reason"),
    [
        (".tar", "this archive cannot be read: file could not be opened successfully"),
        (".tar.gz", "this archive cannot be read: "),
        (".zip", "this archive cannot be read: File is not a zip file"),
    ],
)
def test_what_is_no_archive_is_said_at_once(tmp_path: Path, suffix: str, reason: str) -> None:
    path = tmp_path / f"photos{suffix}"
    path.write_bytes(b"<!DOCTYPE html>" * 100)
    with pytest.raises(ImageError) as caught:
        sources.iter_items(path)
    assert str(caught.value).startswith(f"{path}: {reason}")


@pytest.mark.parametrize(("suffix", "cut"), [(".tar", 5000), (".tar", 4096), (".tar.gz", 3000), (".tar.xz", 2500)])
def test_an_archive_that_was_cut_gives_what_there_is_and_says_so(pack: Any, suffix: str, cut: int) -> None:
    noise = np.random.default_rng(0)
    files = {f"{i}.png": png(i) + noise.bytes(900) for i in range(10)}
    path = pack(f"photos{suffix}", files)
    path.write_bytes(path.read_bytes()[:cut])
    *good, (name, reason) = read(path)
    assert good == [(f"{path}/{i}.png", i) for i in range(len(good))]
    assert good
    assert name == str(path)
    assert str(reason).startswith("the rest of this archive cannot be read: ")


def test_a_tar_that_ends_between_two_members(pack: Any) -> None:
    path = pack("photos.tar", {f"{i}.png": png(i) for i in range(3)})
    path.write_bytes(path.read_bytes()[: 512 + 2 * 1024])
    reason = "the rest of this archive cannot be read: it ends without the mark of its end, so something may be missing"
    assert read(path) == [(f"{path}/0.png", 0), (f"{path}/1.png", 1), (str(path), reason)]


def test_a_tar_with_a_broken_header_in_the_middle(pack: Any) -> None:
    path = pack("photos.tar", {f"{i}.png": png(i) for i in range(3)})
    data = bytearray(path.read_bytes())
    data[512 + 1024 : 512 + 1024 + 20] = b"\xff" * 20
    path.write_bytes(data)
    assert read(path) == [
        (f"{path}/0.png", 0),
        (str(path), "the rest of this archive cannot be read: bad header"),
    ]


def test_links_and_devices_in_a_tar(tmp_path: Path) -> None:
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in {
            "soft.png": tarfile.SYMTYPE,
            "hard.png": tarfile.LNKTYPE,
            "fifo.png": tarfile.FIFOTYPE,
        }.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    reason = "it is a link or a device; only files are read from an archive"
    assert read(path) == [(f"{path}/{name}", reason) for name in ("soft.png", "hard.png", "fifo.png")]


def test_a_tar_with_an_endless_header(tmp_path: Path) -> None:
    path = tmp_path / "hostile.tar"
    info = tarfile.TarInfo("x.png")
    info.type, info.size = tarfile.XHDTYPE, 2**32
    path.write_bytes(info.tobuf() + bytes(20_000))
    with pytest.raises(ImageError, match=r"this archive cannot be read: a header of 4,294,967,296 bytes"):
        read(path)


def test_members_of_a_zip_that_cannot_be_read(pack: Any) -> None:
    path = pack("photos.zip", {"0.png": png(0), "1.png": png(1), "2.png": png(2)})
    data = bytearray(path.read_bytes())
    start = data.index(png(0))
    data[start : start + 8] = b"XXXXXXXX"  # stored: its checksum is wrong now
    second = [i for i in range(len(data)) if data[i : i + 4] == b"PK\1\2"][1]
    data[second + 8] |= 1  # encrypted, says the directory
    path.write_bytes(data)
    assert read(path) == [
        (f"{path}/0.png", "it cannot be read from the archive: Bad CRC-32 for file '0.png'"),
        (f"{path}/1.png", "it is encrypted; unpack the archive first"),
        (f"{path}/2.png", 2),
    ]


# Lists of paths


def test_a_text_file_of_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / " spaced .png").write_bytes(png(1))
    odd = os.fsdecode(b"caf\xe9.png")
    (tmp_path / odd).write_bytes(png(2))
    lines = b"\xef\xbb\xbf spaced .png\r\n\r\n" + os.fsencode(odd) + b"\nno.png\nhttp://127.0.0.1:9/a.png"
    (tmp_path / "list.txt").write_bytes(lines)
    found = read("list.txt")
    assert found[:3] == [(" spaced .png", 1), (odd, 2), ("no.png", "the file does not exist")]
    assert found[3][0] == "http://127.0.0.1:9/a.png"
    assert "it cannot be fetched" in str(found[3][1])


def test_a_text_file_without_a_path(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\n\n")
    with pytest.raises(ImageError, match=r"list\.txt: no path is in this file; give it one in each line"):
        read(tmp_path / "list.txt")


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(png(7))
    stdin = SimpleNamespace(buffer=io.BytesIO(f"{tmp_path}/a.png\n".encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert read("-") == [(f"{tmp_path}/a.png", 7)]


# Pairs


def test_names_of_ones_own(tmp_path: Path) -> None:
    pairs = [("cat", png(3)), (Path("dog"), Image.new("L", (2, 2), 4)), (5, png(5)), ("a", "b", "c")]
    found = read(pairs)
    assert found[:2] == [("cat", 3), ("dog", 4)]
    assert [name for name, _ in found[2:]] == ["<tuple 2>", "<tuple 3>"]
    assert "an object of type tuple is not an image" in str(found[2][1])
    assert read({"x": png(1), "y": b""}.items()) == [("x", 1), ("y", "it is empty")]


# Folders and globs


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("c/2.png", "c/1.png", "a.png", "b/x/3.png", "b/.hidden/4.png", "d.png/5.png", ".6.png"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(1))
    return tmp_path / "tree"


@pytest.mark.parametrize(
    "pattern", ["*.png", "**/*.png", "*/*.png", "**", "**/x/*", "[bc]/**/*.png", "*/**", "nothing/**"]
)
@pytest.mark.parametrize("relative", [False, True])
def test_a_glob_finds_what_pythons_own_finds(
    tree: Path, pattern: str, relative: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import glob

    monkeypatch.chdir(tree)
    pattern = pattern if relative else os.path.join(tree, pattern)
    expected = sorted(path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path))
    assert sorted(sources._match(pattern, Skipped(), ImagePolicy())) == expected


def test_a_glob_goes_folder_by_folder_in_order(tree: Path) -> None:
    found = [os.path.relpath(path, tree) for path in sources._match(f"{tree}/**/*.png", Skipped(), ImagePolicy())]
    assert found == ["a.png", "b/x/3.png", "c/1.png", "c/2.png", "d.png/5.png"]


def test_folders_are_listed_one_at_a_time(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))
    found = sources.walk(str(tree), Skipped())
    next(found)
    assert listed == [str(tree)]


def test_a_source_that_changes_under_the_run(tree: Path) -> None:
    items = sources.iter_items(tree)
    names = [next(items).name]
    assert names == [f"{tree}/a.png"]
    shutil.rmtree(tree / "b")
    (tree / "c" / "0.png").write_bytes(png(9))
    rest = {item.name: item.image for item in items}
    assert list(rest) == [f"{tree}/{name}" for name in ("b", "c/0.png", "c/1.png", "c/2.png", "d.png/5.png")]
    assert str(rest[f"{tree}/b"]) == f"{tree}/b: this folder cannot be listed: No such file or directory"


def test_a_image_that_vanished_is_its_own_error(tree: Path) -> None:
    items = list(sources.iter_items(tree / "c"))
    (tree / "c" / "1.png").unlink()
    with pytest.raises(ImageError, match=r"c/1\.png: the file does not exist"):
        decode.decode(items[0], ImagePolicy())


# The pipeline


def batches(images: Any, **options: Any) -> Iterator[batch.Batch]:
    return batch.batches(sources.iter_items(images), (8, 8), ResizePolicy(), ImagePolicy(), **options)


def test_decoding_goes_on_while_the_consumer_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    done = threading.Event()

    def load(item: sources.Item, *_: Any) -> np.ndarray:
        decoded.append(item.index)
        if len(decoded) == 12:
            done.set()
        return np.zeros((8, 8, 3), np.uint8)

    monkeypatch.setattr(batch, "load", load)
    stream = batches(iter(lambda: png(0), None), batch_size=4, workers=2, prefetch=3)
    next(stream)
    assert done.wait(10), "the two batches behind the one available were decoded without being asked for"
    stream.close()
    assert sorted(decoded) == list(range(12)), "and no more than these"


def test_a_failed_image_is_not_kept_by_its_error() -> None:
    class Image(bytes):
        pass

    stream = batches((image for image in [Image(b"no image"), png(1)]), batch_size=2)
    errors = [error for group in stream for error in group.errors if error]
    assert str(errors[0]).startswith("<bytes 0>: this is not an image in a format that can be read")
    assert errors[0].__traceback__ is not None
    gc.collect()
    assert not [thing for thing in gc.get_objects() if isinstance(thing, Image)]
