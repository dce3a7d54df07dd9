"""Sources of labeled images: what is understood, and what is refused with the way out."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas
import PIL.Image
import pyarrow
import pytest
from warned import messages

from pretrained_cnn import DataError
from pretrained_cnn.evaluate.targets import columns_of, label_sets
from pretrained_cnn.images.labeled import dataset_parts, labeled, labeled_sets
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.images.sources import Item
from pretrained_cnn.images.tables import Columns
from pretrained_cnn.labels import as_labels
from pretrained_cnn.transfer.data import Images, find_classes, find_digests, find_groups, find_labels


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
        (("train/0.png", "test/0.png"), None),  # images of trains, and of tests
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
        ("a.csv", "path, label\r\n0.png, red\r\n\r\n1.png, blue\r\n"),
        ("a.csv", "Filename,CLASS\n0.png,red\n1.png,blue\n"),
        ("a.csv", "sep=;\npath;label\n0.png;red\n1.png;blue\n"),
        ("a.csv", ",path,label,class\n0,0.png,red,7\n1,1.png,blue,8\n"),
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
        ("path,label\n0.png,\n", "line 2 has an empty label; give it one, or leave it out"),
        ("path,label\n,a\n", "line 2 lacks its path"),
        ("path,label\n0.png\n", "line 2 has an empty label; give it one, or leave it out"),
        (
            "path,label\n0.png,NaN\n",
            "line 2 has the label 'NaN', which stands for a missing one; give it one, or leave",
        ),
        (
            "0.png,a\n1.png,b\n",
            "no column is named path; its columns are '0.png', 'a': choose one by path_column=...; th",
        ),
        ("file,image,label\n0.png,a,b\n", "'file', 'image' may all be the path; choose one by path_column=..."),
        ("path,label,label\n0.png,a,b\n", "several columns are named 'label'; give each a name of its own"),
        (
            'path,label\n0.png,"a\n1.png,b\n',
            "the row that begins in line 2 cannot be read: unexpected end of data; loo",
        ),
        ("path,label\n\0.png,a\n", "line 2 holds a NUL, as no text does"),
        ("path,label\nC:\\me\\0.png,a\n", r"line 2 has the path 'C:\\me\\0.png' of a Windows computer; make the paths"),
        ("path,label,weight\n0.png,a,\n", "line 2 has the weight '', which is not a number"),
        ("path,label,weight,Weight\n0.png,a,1,2\n", "'weight', 'Weight' may all be the weight; remove all but one"),
        ("path,label\nC:/me/0.png,a\n", "line 2 has the path 'C:/me/0.png' of a Windows computer; make the paths"),
        ("\n", "this file is empty; its first line must name the columns, such as path,label"),
    ],
)
def test_tables_that_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text, newline="")
    with pytest.raises(DataError) as caught:
        labeled(tmp_path / "a.csv")
    assert str(caught.value).startswith(f"{tmp_path}/a.csv: {message}")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path;label\n0.png;caf\u00e9\n1.png;th\u00e9\n", encoding=encoding)
    with messages() as warned:
        assert labeled(tmp_path / "a.csv").labels == ["caf\u00e9", "th\u00e9"]
    assert len(warned) == (encoding in ("latin-1", "cp1252"))
    assert all("is not UTF-8, and is read as Latin-1; if its letters come out wrong" in each for each in warned)


def test_paths_of_windows(tmp_path: Path) -> None:
    touch(tmp_path, "red/0.png", "back\\slash.png")
    (tmp_path / "a.csv").write_text("path,label\nred\\0.png,red\nback\\slash.png,blue\n")
    assert labeled(tmp_path / "a.csv").images == [str(tmp_path / "red/0.png"), str(tmp_path / "back\\slash.png")]


FRAME = {"photo": ["0.png", "1.png", "2.png"], "kind": [10, 9, 10], "label": list("abc"), "weight": [1, 2, 0.5]}


@pytest.mark.parametrize(
    "make", [dict, pandas.DataFrame, pyarrow.table, lambda data: pandas.DataFrame(data).iloc[::-1]]
)
def test_frames(make: Any) -> None:
    frame = make(FRAME)
    data = labeled(frame, Columns("photo", "kind", "label"))
    assert sorted(zip(data.images, data.labels, data.weights, data.groups, strict=True)) == [
        ("0.png", "10", 1, "a"), ("1.png", "9", 2, "b"), ("2.png", "10", 0.5, "c")
    ]  # fmt: skip
    assert data.classes == ("9", "10")
    with pytest.raises(DataError, match=r"it has no column 'photos'; its columns are 'photo', 'kind', 'label', 'weigh"):
        labeled(frame, Columns("photos"))


@pytest.mark.parametrize("label", ["", "  ", None, float("nan"), np.float32("nan"), pandas.NA, pandas.NaT])
def test_an_empty_label(label: Any) -> None:
    message = (
        r"number 1 has an empty label; give it one, or leave it out|row 1 has an empty label|label 1 has an empty l"
    )
    for source in (
        [("a.png", "a"), ("b.png", label)],
        (["a.png", "b.png"], ["a", label]),
        {"path": ["a.png", "b.png"], "label": ["a", label]},
    ):
        with pytest.raises(DataError, match=message):
            labeled(source)


PIXELS = np.zeros((3, 8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("y", "classes", "labels"),
    [
        (["b", "a", "b"], ("a", "b"), ["b", "a", "b"]),
        ([10, 9, 10], ("9", "10"), ["10", "9", "10"]),
        (np.array([[10], [9], [10]]), ("9", "10"), ["10", "9", "10"]),
        (np.array([1.0, 0.0, 1.0], np.float32), ("0", "1"), ["1", "0", "1"]),
        (np.array([[0, 1], [1, 0], [0, 1]]), ("0", "1"), ["1", "0", "1"]),
        (np.array([True, False, True]), ("False", "True"), ["True", "False", "True"]),
        (np.array([b"x", b"y", b"x"]), ("x", "y"), ["x", "y", "x"]),
        (pandas.Series(["b", "a", "b"], index=[5, 6, 7], dtype="category"), ("a", "b"), ["b", "a", "b"]),
    ],
)  # fmt: skip
def test_arrays(y: Any, classes: tuple[str, ...], labels: list[str]) -> None:
    for x in (PIXELS, PIXELS[..., 0], list(PIXELS), ["0.png", "1.png", "2.png"], np.array([["0"], ["1"], ["2"]])):
        data = labeled((x, y))
        assert (data.classes, data.labels, len(data.images)) == (classes, labels, 3)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ((PIXELS, [0, 1]), "(X, y): 3 images do not fit 2 labels"),
        (
            (PIXELS, [0.5, 1, 2]),
            "(X, y): label 0 has the label 0.5, which is no class; expected text or a whole number",
        ),
        (
            (PIXELS, np.array([[0, 1], [1, 1], [1, 0]])),
            "(X, y): the labels have the shape (3, 2), and row 1 is not one",
        ),
        ((PIXELS.reshape(3, -1), [0, 1, 2]), "(X, y): X has the shape (3, 192), and images have (N, h, w) or (N, h, w"),
        (("a.png", "cat"), "(X, y): one pair of an image and a label is no data; give a list of pairs, or (X, y)"),
        (
            (("a.png", "cat"), ("b.png", "dog")),
            "(X, y): two tuples of two are pairs, or images and labels, or parts of",
        ),
        (
            {"train": [("a.png", "a")], "test": [("a.png", "a")]},
            "<dict>: this holds the parts of a data set, 'test' and",
        ),
    ],
)
def test_arrays_that_are_refused(source: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        labeled(source)
    assert str(caught.value).startswith(message)


def images_and_labels(source: Any) -> list[tuple[Any, str]]:
    data = labeled(source)
    return list(zip(data.images, data.labels, strict=True))


class ImageFolder:
    """As torchvision's."""

    classes: ClassVar = ["cat", "dog"]
    samples: ClassVar = [("0.png", 1), ("1.png", 0), ("2.png", 1)]
    transform = print
    target_transform = None

    def __len__(self) -> int:
        return 3

    def __getitem__(self, i: int) -> Any:
        raise AssertionError("the images are read without their transform")


class Subset:
    def __init__(self, dataset: Any, indices: Any) -> None:
        self.dataset, self.indices = dataset, indices


class ConcatDataset:
    def __init__(self, datasets: Any) -> None:
        self.datasets, self.cumulative_sizes = datasets, []


class Own:
    """A data set of somebody's own, which only knows its numbers."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, i: int) -> Any:
        return f"{i}.png", np.int64(i)  # and never an IndexError


def test_data_sets_of_pytorch() -> None:
    folder = ImageFolder()
    assert images_and_labels(folder) == [("0.png", "dog"), ("1.png", "cat"), ("2.png", "dog")]
    assert images_and_labels(Subset(Subset(folder, [2, 1]), np.array([1, 0]))) == [("1.png", "cat"), ("2.png", "dog")]
    assert len(images_and_labels(ConcatDataset([folder, Subset(folder, [0])]))) == 4
    assert images_and_labels(Own()) == [("0.png", "0"), ("1.png", "1")]
    folder.target_transform = lambda label: 1 - label
    assert labeled(folder).labels == ["0", "1", "0"]
    folder.target_transform, folder.samples = None, [("0.png", -1)]
    with pytest.raises(
        DataError, match=r"<ImageFolder>: number 0 has the label -1 of 2 classes, which stands for no la"
    ):
        labeled(folder)


def test_a_data_set_with_arrays() -> None:
    class MNIST:
        data, targets, classes = PIXELS[..., 0], [1, 0, 1], ("0 - zero", "1 - one")

    data = labeled(MNIST())
    assert (data.labels, data.images[0].shape) == (["1 - one", "0 - zero", "1 - one"], (8, 8))


def test_data_sets_of_tensorflow() -> None:
    import tensorflow as tf

    pixels, labels = tf.zeros((3, 8, 8, 3)), [1, 0, 1]
    data = tf.data.Dataset.from_tensor_slices((pixels, labels))
    for each in (data, data.batch(2), data.map(lambda x, y: (x, tf.one_hot(y, 2))).batch(2)):
        found = labeled(each)
        assert (found.labels, found.images[2].shape) == (["1", "0", "1"], (8, 8, 3))
    weighted = tf.data.Dataset.from_tensor_slices((["a.png", "b.png"], ["x", "y"], [1.0, 2.0]))
    found = labeled(weighted.batch(2))
    assert (found.images, found.labels, found.weights) == (["a.png", "b.png"], ["x", "y"], [1, 2])
    named = data.batch(2)
    named.class_names = ["cat", "dog"]  # as image_dataset_from_directory does
    assert labeled(named).labels == ["dog", "cat", "dog"]
    with pytest.raises(
        DataError, match=r"it is endless, as repeat\(\) makes it; give it without repeat\(\), or as take"
    ):
        labeled(data.repeat())


class Image:
    pass


class ClassLabel:
    names: ClassVar = ["cat", "dog"]


class HuggingFace:
    """As a ``datasets.Dataset``."""

    features: ClassVar = {"id": None, "photo": Image(), "kind": ClassLabel()}
    column_names: ClassVar = ["id", "photo", "kind"]
    records: ClassVar = [
        {"bytes": b"\0", "path": "0.png"},
        {"bytes": None, "path": "1.png"},
        {"bytes": b"\0", "path": None},
    ]

    def with_format(self, name: str) -> Any:
        assert name == "arrow"
        return self

    def iter(self, batch_size: int) -> Any:
        yield pyarrow.table({"id": [1, 2, 3], "photo": self.records, "kind": [1, 0, 1]})


def test_data_sets_of_hugging_face() -> None:
    expected = [(("0.png", b"\0"), "dog"), ("1.png", "cat"), (b"\0", "dog")]
    assert images_and_labels(HuggingFace()) == expected
    assert dataset_parts({"train": 1, "validation": 2, "test": 3}) == {"train": 1, "validation": 2, "test": 3}
    assert labeled(HuggingFace(), Columns(label="id")).labels == ["1", "2", "3"]


def pack(path: Path, names: list[str]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, name)
    else:
        with tarfile.open(path, "w:gz") as archive:
            for name in names:
                header = tarfile.TarInfo(name)
                header.size = len(name)
                archive.addfile(header, io.BytesIO(name.encode()))
    return path


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
@pytest.mark.parametrize("outer", ["", "./clothes/", "x\\"])
def test_archives(name: str, outer: str, tmp_path: Path) -> None:
    names = ["red/1.png", "red/0.png", "blue/more/2.png", "blue/3.png", "__MACOSX/red/._0.png", "red/note.txt"]
    path = pack(tmp_path / name, [outer + name for name in names])
    data = labeled(path)
    assert data.labels == ["blue", "blue", "red", "red"]
    assert [image for image, _ in data.images] == [f"{path}/{outer}{names[i]}" for i in (3, 2, 1, 0)]
    assert data.images[0][1] == (outer + names[3]).encode()


def test_the_parts_of_a_data_set_in_an_archive(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", [f"d/{part}/{name}/0.png" for part in ("train", "val") for name in ("red", "blue")])
    assert dataset_parts(path) == {"train": f"{path}/d/train", "validation": f"{path}/d/val"}
    assert labeled(f"{path}/d/val").labels == ["blue", "red"]
    with pytest.raises(
        DataError, match=r"its folders are the parts of a data set, and no classes; give .*/d/train or "
    ):
        labeled(path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["0.png", "a/1.png"], "/a.zip: 0.png is in no folder of a class; move it into one, or elsewhere"),
        (["a/b/0.png", "c/0.png"], "/a.zip/a: the folder of a class has images, but this one has only folders; give"),
        (["a/0.txt"], "/a.zip: no image is in its folders, one for each class"),
        (None, "/a.zip: this archive cannot be read: File is not a zip file"),
    ],
)
def test_archives_that_are_refused(names: list[str] | None, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.zip").touch() if names is None else pack(tmp_path / "a.zip", names)
    with pytest.raises(DataError) as caught:
        labeled(tmp_path / "a.zip")
    assert str(caught.value).startswith(f"{tmp_path}{message}")


@pytest.mark.parametrize("pair", [("re d", "re  d"), ("Red", "red"), ("caf\u00e9", "cafe\u0301"), ("red", "red\u200b")])
def test_classes_that_look_alike_are_warned_of(pair: Any) -> None:
    data = labeled([("a.png", pair[0]), ("b.png", pair[1]), ("c.png", "blue")])
    with messages() as warned:
        assert len(find_classes(data)) == 3
    names = " and ".join(ascii(name) for name in sorted(pair))
    assert warned == [
        f"<pairs>: the classes {names} differ only by blanks, case or Unicode form; if they are one, rename it"
    ]


def test_the_bytes_of_a_file_are_one_image() -> None:
    assert labeled([(memoryview(b"a"), "red"), (memoryview(b"b"), "blue")]).labels == ["red", "blue"]


def test_blanks_around_labels_do_not_count() -> None:
    with messages() as warned:
        data = labeled([("a.png", "red"), ("b.png", "red "), ("c.png", "\tblue")])
    assert (data.labels, data.classes) == (["red", "red", "blue"], ("blue", "red"))
    assert warned == ["<pairs>: blanks around labels do not count, so 'red ' and 'red' are one class"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("1", "1.0", "2"), "'1' and '1.0' are the same number; if they are one, rename it"),
        (("7", "007", "2"), "'007' and '7' are the same number; if they are one, rename it"),
        (("NA", "a", "b"), "'NA' often stands for a missing label; if it does here, leave these images out"),
        (("None", "a", "b"), "'None' often stands for a missing label; if it does here, leave these images out"),
    ],
)
def test_labels_that_may_be_a_fault_are_warned_of(labels: tuple[str, ...], message: str) -> None:
    data = labeled([(f"{i}.png", label) for i, label in enumerate(labels)])
    with messages() as warned:
        find_classes(data)
    assert len(warned) == 1
    assert warned[0].endswith(message)


@pytest.mark.parametrize(
    ("text", "sets"),
    [
        ('path,label\n0.png,"a, b"\n1.png,b\n2.png,\n', [("a", "b"), ("b",), ()]),
        ("path,Labels\n0.png,a|b\n1.png,b\n2.png,\n", [("a", "b"), ("b",), ()]),
        ('path,tags\n0.png,"a; b"\n1.png,b;\n2.png,\n', [("a", "b"), ("b",), ()]),
        ("path,a,b,sample_weight\n0.png,yes,TRUE,1\n1.png,No,1.00,2\n2.png,0,0.0,1\n", [("a", "b"), ("b",), ()]),
    ],
)
def test_sets_of_labels_in_tables(text: str, sets: list[tuple[str, ...]], tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text)
    assert labeled_sets(tmp_path / "a.csv").labels == sets


PATHS = ["0.png", "1.png", "2.png"]
SETS = [("a", "b"), ("b",), ()]
HAS = np.array([[1, 1], [0, 1], [0, 0]])


@pytest.mark.parametrize(
    "source",
    [
        pandas.DataFrame({"path": PATHS, "label": [["a", "b"], ["b"], []]}),
        pandas.DataFrame({"path": PATHS, "label": [np.array(["a", "b"]), np.array(["b"]), None]}),
        pandas.DataFrame({"path": PATHS, "a": [True, False, False], "b": [1.0, 1.0, 0.0]}),
        (PATHS, [["a", "b"], {"b"}, ()]),
        (PATHS, pandas.DataFrame(HAS, columns=["a", "b"])),
        [("0.png", np.array(["a", "b"])), ("1.png", "b"), ("2.png", [])],
    ],
    ids=["lists", "arrays", "columns", "(X, sets)", "(X, frame)", "pairs"],
)
def test_sets_of_labels_in_memory(source: Any) -> None:
    assert labeled_sets(source).labels == SETS


def test_the_columns_of_a_one_hot_frame_are_its_classes() -> None:
    one_hot = pandas.get_dummies(pandas.Series(["red", "blue", "red"]))[["red", "blue"]]
    assert labeled((PATHS, one_hot)).labels == ["red", "blue", "red"]
    numbers = pandas.get_dummies(pandas.Series([7, 5, 7]))
    assert labeled((PATHS, numbers)).labels == ["7", "5", "7"]
    assert columns_of(numbers, as_labels(["5", "7"])).tolist() == [1, 0, 1]
    table = as_labels(["blue", "red"])
    assert columns_of(one_hot, table).tolist() == [1, 0, 1]
    assert label_sets(one_hot, table).tolist() == [[False, True], [True, False], [False, True]]
    with pytest.raises(DataError, match="labels: 'rose' is not one of the 2 classes"):
        columns_of(one_hot.rename(columns={"red": "rose"}), table)


def test_validation_without_labels_cannot_choose() -> None:
    train = labeled_sets([("0.png", ["a"]), ("1.png", [])])
    with pytest.raises(DataError, match="<pairs>: no image has a label, so the settings cannot be chosen by these ima"):
        find_labels(train, labeled_sets([("2.png", []), ("3.png", [])]))


def test_labels_by_number() -> None:
    found = labeled_sets((PATHS, HAS))
    assert (found.labels, found.columns) == ([("0", "1"), ("1",), ()], ["0", "1"])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ((PATHS, HAS * 2), r"\(X, y\): Y of shape \(3, 2\) has other values than 0 and 1"),
        ((PATHS, HAS[1:]), r"\(X, y\): 3 images do not fit 2 sets of labels"),
        ((PATHS[:2], [[0, 1], [1]]), r"\(X, y\): number 0: \[0, 1\] is neither a label, which is a str, nor a coll"),
        ([("0.png", {"a": 0}), ("1.png", "b")], r"<pairs>: number 0: {'a': 0} is neither a label, which is a str"),
        ([("0.png", ["nan"]), ("1.png", "b")], r"<pairs>: number 0 has the label 'nan', which stands for a missing"),
        (
            pandas.DataFrame({"path": PATHS, "label": ["['a']", "b", ""]}),
            r"row 0 has the labels \"\['a'\]\", which are",
        ),
        (["0.png"], r"<list>: these are no pairs of an image and its labels; .* give a table, \(X, Y\), or pairs"),
        (pandas.DataFrame({"path": PATHS, "a": [1, 0, 2]}), "row 2 has 2 in the column 'a'; .* remove columns that ar"),
    ],
)
def test_sets_of_labels_that_are_refused(source: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        labeled_sets(source)


def test_a_label_that_no_image_has_cannot_be_learned() -> None:
    with pytest.raises(DataError, match="no image has the label 'never'; add images that have it, or remove its colu"):
        find_labels(labeled_sets(pandas.DataFrame({"path": PATHS, "a": [1, 0, 1], "never": [0, 0, 0]})))


def test_labels_between_blanks_are_warned_of() -> None:
    with messages() as warned:
        find_labels(labeled_sets([("0.png", "haze primary"), ("1.png", "clear")]))
    assert warned == ["<pairs>: 'haze primary' is one label; if it is several, write them between commas: a,b"]


def test_one_content_is_known_in_every_form(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    with PIL.Image.open(tmp_path / "a.png") as opened:
        files = [tmp_path / "a.png", data, io.BytesIO(data), opened]
        in_memory = [pixels, pixels.astype(np.float64), PIL.Image.fromarray(pixels)]
        items = [Item(i, str(i), image) for i, image in enumerate([*files, *in_memory])]
        digests = find_digests(items, ImagePolicy())
    assert None not in digests
    assert len(set(digests[:4])) == len(set(digests[4:])) == 1


def test_contents_and_things_connect_images() -> None:
    digests = [b"1", b"2", b"1", b"3", None, None]
    items = [Item(i, f"{i}.png", None) for i in range(6)]
    things = ["a", "b", "c", "c", "d", "d"]  # the first and the fourth image meet by the third
    images = Images("images", items, np.zeros(6, np.intp), digests, np.ones(6), things)
    assert find_groups(images).tolist() == [0, 1, 0, 0, 2, 2]
    images.things = None
    assert find_groups(images).tolist() == [0, 1, 0, 2, 3, 4]
