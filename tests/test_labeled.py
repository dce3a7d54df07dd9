"""Sources of labeled images: what is understood, and what is refused with the way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from warned import messages

from pretrained_cnn import DataError
from pretrained_cnn.images.labeled import dataset_parts, labeled
from pretrained_cnn.transfer.data import find_classes


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (("train/a/0.png", "val/a/0.png", "README.md"), {"train": "train", "validation": "val"}),
        (("Training/a/0.png", "valid/b/0.png"), {"train": "Training", "validation": "valid"}),
        (("train/a/0.png", "test/a/0.png", ".cache/a/0.png"), {"train": "train", "test": "test"}),
        (("train/a/0.png",), None),
        (("train/0.png", "test/0.png"), None),  # pictures of trains, and of tests
        (("train/a/0.png", "test/a/0.png", "bus/a/0.png"), None),
        (("train/a/0.png", "val/a/0.png", "valid/a/0.png"), None),
    ],
)  # fmt: skip
def test_the_parts_of_a_data_set(names: tuple[str, ...], parts: dict[str, str] | None, tmp_path: Path) -> None:
    found = dataset_parts(touch(tmp_path, *names))
    assert found == (parts and {part: str(tmp_path / name) for part, name in parts.items()})


def test_parts_of_a_data_set_are_no_classes(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/0.png", "test/a/0.png")
    with pytest.raises(DataError) as caught:
        labeled(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: its folders are the parts of a data set, and no classes; give {tmp_path}/test or {tmp_path}/train"
    )


def test_a_folder_of_folders_is_no_class(tmp_path: Path) -> None:
    touch(tmp_path, "animals/cat/0.png", "animals/dog/0.png", "plants/0.png")
    with pytest.raises(DataError, match=r"animals: the folder of a class has images, but .* give .*animals if"):
        labeled(tmp_path)
    assert labeled(touch(tmp_path / "animals", "cat/more/1.png")).labels == ["cat", "cat", "dog"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "path,label\n0.png,red\n1.png,blue\n"),
        ("a.csv", "path;label\n0.png;red\n1.png;blue\n"),
        ("a.tsv", "label\tpath\nred\t0.png\nblue\t1.png\n"),
        ("a.csv", 'path;label;note\n0.png;red;"a, b"\n1.png;blue;\n'),
    ],
)
def test_tables(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    data = labeled(tmp_path / name)
    assert (data.images, data.labels) == ([str(tmp_path / "0.png"), str(tmp_path / "1.png")], ["red", "blue"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\n0.png,t-shirt, long\n", "line 2 has more cells than the first line; put what holds ',' between"),
        ("path;label\n0.png;a;b\n", "line 2 has more cells than the first line; put what holds ';' between double"),
        ("path,label\n0.png,\n", "line 2 lacks its path or its label"),
        ("file,class\n0.png,a\n", "its first line names the columns file, class; path and label are needed"),
    ],
)
def test_tables_that_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        labeled(tmp_path / "a.csv")
    assert str(caught.value).startswith(f"{tmp_path}/a.csv: {message}")


@pytest.mark.parametrize("label", ["", "  "])
def test_an_empty_label(label: str) -> None:
    with pytest.raises(DataError, match="<pairs>: number 1 has an empty label; give it one, or leave it out"):
        labeled([("a.png", "a"), ("b.png", label)])


@pytest.mark.parametrize("pair", [("red", "red "), ("Red", "red"), ("caf\u00e9", "cafe\u0301")])
def test_classes_that_look_alike_are_warned_of(pair: Any) -> None:
    data = labeled([("a.png", pair[0]), ("b.png", pair[1]), ("c.png", "blue")])
    with messages() as warned:
        assert len(find_classes(data)) == 3
    names = " and ".join(ascii(name) for name in sorted(pair))
    assert warned == [
        f"<pairs>: the classes {names} differ only by blanks, case or Unicode form; if they are one, rename it"
    ]
