"""What is wrong with labeled images: planted, and found by the audit."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from paths import ROOT
from PIL import Image, ImageFilter

from pretrained_cnn import (
    Audit,
    DataError,
    Finding,
    ImageError,
    InvalidArgumentError,
    OutputError,
    PretrainedCNNWarning,
    audit,
    cli,
)
from pretrained_cnn.images.labeled import labeled
from pretrained_cnn.images.sources import Item
from pretrained_cnn.transfer.data import Images
from pretrained_cnn.trust import auditing
from pretrained_cnn.trust.confident import find_wrong_labels, wrong_labels
from pretrained_cnn.trust.copies import find_copies, nearest
from pretrained_cnn.trust.findings import KINDS
from pretrained_cnn.trust.looks import SIDE

COLUMNS = ["source", "kind", "class", "suggested", "score", "other", "reason"]


def scene(seed: int, tint: int = 0) -> Image.Image:
    """An image that no other seed gives, of 96 x 80 pixels: the finer its details, the fainter, as in a photo."""
    random = np.random.default_rng(seed)
    pixels = np.zeros((80, 96, 3))
    for cells in (3, 6, 12, 24, 48):
        grid = Image.fromarray(random.integers(0, 256, (cells, cells, 3), np.uint8))
        pixels += np.asarray(grid.resize((96, 80), Image.Resampling.BICUBIC), float) * 1.6 / cells**0.7
    pixels = (pixels - pixels.mean()) * 1.3 + 127 + random.normal(0, 8, (80, 96, 3))
    pixels[..., tint] = pixels[..., tint] / 2 + 127
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``train`` with a fault of each kind, and ``test``, which has a copy of one of its images."""
    root = tmp_path_factory.mktemp("clothes")
    for part, first, count in (("train", 0, 14), ("test", 500, 3)):
        for number, name in enumerate(("hat", "shoe")):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                scene(first + 100 * number + i, number).save(root / part / name / f"{i:02}.png")
    train, test = root / "train", root / "test"
    shutil.copy(train / "hat/00.png", train / "shoe/copy.png")  # in two classes
    Image.open(train / "hat/01.png").save(train / "hat/again.jpg", quality=40)
    Image.open(train / "hat/02.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(test / "hat/leak.png")
    (train / "hat/broken.jpg").write_bytes(b"no image")
    Image.open(train / "hat/03.png").resize((400, 320)).filter(ImageFilter.GaussianBlur(12)).save(
        train / "hat/blurred.png"
    )
    scene(900).point(lambda value: value // 12).save(train / "shoe/dark.png")
    scene(901, 1).resize((12, 10)).save(train / "shoe/tiny.png")
    (train / "scarf").mkdir()
    scene(902, 2).save(train / "scarf/one.png")
    return root


@pytest.fixture(scope="module")
def found(planted: Path) -> Audit:
    from patterns import SMALL

    return audit(planted / "train", SMALL, against=planted / "test", weights=None)


def sources(found: Audit, kind: str) -> list[str]:
    return ["/".join(Path(each.source).parts[-2:]) for each in found.findings if each.kind == kind and each.source]


def test_each_planted_fault_is_found(found: Audit, planted: Path) -> None:
    assert {"shoe/copy.png", "hat/00.png", "hat/again.jpg"} <= set(sources(found, "duplicate"))
    assert "hat/01.png" not in sources(found, "duplicate"), "of copies in one class the first stays"
    assert sources(found, "leak") == ["hat/02.png"]
    assert sources(found, "broken") == ["hat/broken.jpg"]
    assert sources(found, "dark") == ["shoe/dark.png"]
    assert "hat/blurred.png" in sources(found, "blurred")
    assert sources(found, "tiny") == ["shoe/tiny.png"]
    assert [each.label for each in found.findings if each.kind == "small_class"] == ["scarf"]
    (contradiction,) = (
        each
        for each in found.findings
        if each.kind == "duplicate" and each.source == str(planted / "train/shoe/copy.png")
    )
    assert (contradiction.label, contradiction.suggested) == ("shoe", "hat")
    assert contradiction.other == str(planted / "train/hat/00.png")
    assert contradiction.score == 1
    (leak,) = (each for each in found.findings if each.kind == "leak")
    assert leak.other == str(planted / "test/hat/leak.png")


def test_the_table(found: Audit, planted: Path) -> None:
    frame = found.to_frame()
    assert frame.columns.tolist() == COLUMNS
    assert frame["kind"].tolist() == sorted(frame["kind"], key=KINDS.index)
    for _, rows in frame.groupby("kind"):
        assert rows["score"].is_monotonic_decreasing
    assert frame["score"].between(0, 1).all()
    assert frame["source"].dropna().str.startswith(str(planted / "train")).all()
    assert found.counts == {kind: int((frame["kind"] == kind).sum()) for kind in KINDS}
    assert json.loads(json.dumps(found.to_dict()))["findings"][0]["kind"] == frame["kind"][0]


def test_what_is_left_is_read_as_it_was(found: Audit, planted: Path, tmp_path: Path) -> None:
    count = found.write_csv(planted / "train/clean.csv", kinds=("duplicate", "leak", "broken"))
    read = labeled(str(planted / "train/clean.csv"))
    (planted / "train/clean.csv").unlink()
    left = {(str(Path(path).resolve()), label) for path, label in zip(read.images, read.labels, strict=True)}
    every = {(str(Path(name).resolve()), label) for name, label in zip(found.sources, found.labels, strict=True)}
    gone = {"shoe/copy.png", "hat/00.png", "hat/again.jpg", "hat/02.png", "hat/broken.jpg"}
    assert left < every
    assert len(left) == count
    assert gone <= {"/".join(Path(name).parts[-2:]) for name, _ in every - left}
    found.write_csv(tmp_path / "all.csv", kinds=())
    with pytest.raises(OutputError, match="already exists"):
        found.write_csv(tmp_path / "all.csv")
    with pytest.raises(InvalidArgumentError, match="kinds='ugly' is not known"):
        found.write_csv(tmp_path / "x.csv", kinds=("ugly",))  # type: ignore[arg-type]


NAMES = ["a,b.png", 'q"u.png', "n\nl.png", "re\rturn.png", "=cmd.png", " s.png", "#h.png", "a;b\t.png", "é%41.png"]


def test_a_csv_file_keeps_every_name_class_and_weight(tmp_path: Path) -> None:
    classes = ["a,b", '"q"', "n\rl", "1", "NA", "=1+1", "true", "007", "é"]
    paths, weights = [str(tmp_path / "photos" / name) for name in NAMES], [0.1 * i for i in range(9)]
    every = Audit("x", paths, classes, [], weights=weights)
    for folder in (tmp_path / "photos", tmp_path):
        folder.mkdir(exist_ok=True)
        assert every.write_csv(folder / "clean.csv") == 9
        read = labeled(str(folder / "clean.csv"))
        assert ([str(path) for path in read.images], read.labels, read.weights) == (paths, classes, weights)
    every.write_html(tmp_path / "page.html")
    data = json.loads((tmp_path / "page.html").read_text("utf-8").partition('id="data">')[2].partition("</script>")[0])
    assert list(map(float, data["weights"])) == weights


def test_columns_and_weights_of_a_table(tmp_path: Path) -> None:
    import pandas as pd
    from patterns import SMALL

    from pretrained_cnn import Classifier

    table = pd.DataFrame({"where": ["no.png", "none.png"], "what": ["hat", "shoe"], "weight": [1.0, 2.0]})
    found = audit(table, Classifier(SMALL, weights=None), path_column="where", label_column="what", cache=False)
    assert (found.counts["broken"], found.labels, found.weights) == (2, ["hat", "shoe"], [1.0, 2.0])


def test_the_page_holds_the_findings_as_data_only(found: Audit, tmp_path: Path) -> None:
    hostile = Finding("</script><b>.png", "dark", "<i>hat</i>", None, 0.9, None, "<u>dark</u>", 0)
    Audit("<x>", ["</script><b>.png"], ["<i>hat</i>"], [hostile]).write_html(tmp_path / "hostile.html")
    text = (tmp_path / "hostile.html").read_text("utf-8")
    assert text.count("</script>") == 2
    assert not any(tag in text for tag in ("<i>", "<u>", "<x>", "<b>.png"))
    found.write_html(tmp_path / "audit.html")
    text = (tmp_path / "audit.html").read_text("utf-8")
    assert text.count("<li data-place=") == sum(each.place is not None for each in found.findings)
    assert text.count("data:image/webp") >= 8
    assert "http" not in text.replace("http-equiv", "")
    assert text.count(" data-suggested=") == sum(each.suggested is not None for each in found.findings)
    data = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    assert [label for _, label in data["images"]] == list(found.labels)


def test_what_no_csv_file_can_hold(tmp_path: Path) -> None:
    dark = [Finding("a.png", "dark", "hat", None, 0.9, None, "dark", 0)]
    with pytest.raises(DataError, match="all 1 images are marked"):
        Audit("x", ["a.png"], ["hat"], dark).write_csv(tmp_path / "x.csv")
    with pytest.warns(PretrainedCNNWarning, match="all images of 'hat' are marked"):
        Audit("x", ["a.png", "b.png"], ["hat", "shoe"], dark).write_csv(tmp_path / "x.csv")
    with pytest.raises(DataError, match=r"caf\\xe9\.\.\.: a CSV file holds no name that is not UTF-8"):
        Audit("x", ["caf\udce9.png"], ["hat"], []).write_csv(tmp_path / "y.csv")
    with pytest.raises(DataError, match="the class ' hat' begins or ends with a space, which a CSV file does not keep"):
        Audit("x", ["a.png"], [" hat"], []).write_csv(tmp_path / "y.csv")
    assert not (tmp_path / "y.csv").exists()
    Audit("x", ["caf\udce9.png"], ["hat"], []).write_html(tmp_path / "y.html")
    assert '"images":[[null,"hat"]]' in (tmp_path / "y.html").read_text("utf-8")  # the page disables its button then


def test_labels_that_are_no_single_class_are_refused() -> None:
    with pytest.raises(DataError, match=r"the labels \['cat', 'dog'\]; audit judges images of one class each"):
        audit([("a.png", ["cat", "dog"])])  # type: ignore[list-item]


def test_a_classifier_has_its_arguments(planted: Path) -> None:
    from patterns import SMALL

    from pretrained_cnn import Classifier

    with pytest.raises(InvalidArgumentError, match=r"runtime=\.\.\. cannot be given with a Classifier"):
        audit(planted, Classifier(SMALL, weights=None), runtime="openvino")
    again = audit(planted, Classifier(SMALL, weights=None), cache=False)
    assert sources(again, "leak") == ["hat/02.png"], "the other parts of a data set are what it is audited against"


def test_the_command(planted: Path, capsys: Any, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    clean = tmp_path / "clean.csv"
    words = ["audit", str(planted), "-m", "patterns:SMALL", "-o", str(clean), "--json"]
    assert cli.main(words) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["counts"]["leak"] == 1
    assert len(clean.read_text().splitlines()) > 10
    assert cli.main([*words[:5], "x.txt"]) == 2
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))  # no weights: what is wrong with the images is said before
    capsys.readouterr()
    assert cli.main(["audit", str(tmp_path / "nowhere")]) == 1
    assert "nowhere: it does not exist; give a folder" in capsys.readouterr().err


@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(8, 60))
@settings(max_examples=30, deadline=None)
def test_confident_learning_by_its_definition(seed: int, classes: int, count: int) -> None:
    random = np.random.default_rng(seed)
    targets, scores = random.integers(0, classes, count), random.dirichlet(np.ones(classes), count)
    found = wrong_labels(scores, targets)
    assert (np.diff(found.suspicion) <= 0).all()
    means = {c: scores[targets == c, c].mean() for c in set(targets.tolist())}
    expected = {}
    for i, row in enumerate(scores):
        sure = [c for c, mean in means.items() if row[c] >= mean]
        best = max(sure, key=lambda c: row[c], default=targets[i])
        if best != targets[i]:
            expected[i] = best
    assert dict(zip(found.images.tolist(), found.suggested.tolist(), strict=True)) == expected


@pytest.mark.slow
def test_confident_learning_as_cleanlab_has_it() -> None:
    from cleanlab.filter import find_label_issues

    for seed in range(10):
        random = np.random.default_rng(seed)
        truth = random.integers(0, 5, 500)
        scores = random.dirichlet(np.ones(5), 500) + 2 * np.eye(5)[truth]
        scores /= scores.sum(axis=1, keepdims=True)
        targets = np.where(random.random(500) < 0.1, random.integers(0, 5, 500), truth)
        theirs = find_label_issues(targets, scores, filter_by="confident_learning", n_jobs=1)
        assert sorted(wrong_labels(scores, targets).images.tolist()) == np.flatnonzero(theirs).tolist()


def test_flipped_labels_are_found_though_copies_have_them_too() -> None:
    random = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 40)
    vectors = (5 * np.eye(4)[truth] + random.normal(size=(160, 4))).astype(np.float32)
    flipped = random.choice(160, 8, replace=False)
    targets = truth.copy()
    targets[flipped] = (truth[flipped] + random.integers(1, 4, 8)) % 4
    every = np.concatenate([np.arange(160), flipped])  # each flipped image is there twice
    found = find_wrong_labels(vectors[every], targets[every], every, 4, 0)
    assert len(set(every[found.images].tolist()) & set(flipped.tolist())) >= 7
    none = find_wrong_labels(vectors, np.zeros(160, np.intp), np.arange(160), 1, 0)
    assert len(none.images) == 0


@pytest.mark.parametrize("change", ["jpeg", "half", "flip", "crop", "gray"])
def test_copies_are_found_and_others_are_not(change: str) -> None:
    images = [scene(seed, seed % 3) for seed in range(40)]

    def changed(image: Image.Image) -> Image.Image:
        if change == "jpeg":
            image.save(stream := io.BytesIO(), "JPEG", quality=30)
            return Image.open(stream).convert("RGB")
        return {
            "half": lambda: image.resize((48, 40)),
            "flip": lambda: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
            "crop": lambda: image.crop((5, 3, 93, 78)),
            "gray": lambda: image.convert("L").convert("RGB"),
        }[change]()

    every = [*images, *map(changed, images[:20])]
    thumbnails = np.stack(
        [np.asarray(each.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)) for each in every]
    )
    # Embeddings as of a network that sees what an image shows: near for copies, and anything for others.
    random = np.random.default_rng(0)
    units = random.normal(size=(40, 64)).astype(np.float32)
    units = np.concatenate([units, units[:20] + random.normal(0, 0.2, (20, 64)).astype(np.float32)])
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    found = find_copies(units, thumbnails)
    assert {tuple(pair) for pair in found.pairs.tolist()} == {(i, 40 + i) for i in range(20)}
    assert (found.similarity > 0.8).all()


@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_the_nearest_in_blocks_are_the_nearest(seed: int, count: int, k: int) -> None:
    from pretrained_cnn.trust import copies

    vectors = np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copies, "BLOCK", 7)
        blocks = list(nearest(vectors, vectors, k, same=True))
    values = np.concatenate([values for _, values in blocks])
    products = vectors @ vectors.T
    np.fill_diagonal(products, -np.inf)
    np.testing.assert_allclose(values, -np.sort(-products, axis=1)[:, : min(k, count - 1)], rtol=1e-4, atol=1e-5)


def test_the_components_fit_the_images_of_both_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).normal(size=(102, auditing.WIDTH + 88)).astype(np.float32)
    items = [Item(i, str(i), i) for i in range(len(vectors))]
    parts = [
        Images("", some, np.zeros(len(some), np.intp), [None] * len(some), np.ones(len(some)))
        for some in (items[:2], items[2:])
    ]

    def embed(_: Any, images: Images, __: Any) -> tuple[NDArray[np.float32], list[bool], list[ImageError]]:
        return vectors[[item.image for item in images.items]], [True] * len(images.items), []

    monkeypatch.setattr(auditing, "embed", embed)
    units = np.concatenate(auditing._embed(cast(Any, None), parts, None, ("",))[1])
    cosines = vectors @ vectors.T / np.outer(*2 * [np.linalg.norm(vectors, axis=1)])
    np.testing.assert_allclose(units @ units.T, cosines, atol=1e-5)


@pytest.mark.slow
def test_what_is_marked_in_the_browser_is_saved(planted: Path, found: Audit, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    found.write_html(tmp_path / "audit.html")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page()
        faults: list[str] = []
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto((tmp_path / "audit.html").as_uri())
        relabeled = page.locator('li[data-source$="shoe/copy.png"] select').first
        relabeled.focus()  # as a pointer or the keyboard does; then the classes are listed
        relabeled.select_option("is hat")
        page.locator('li[data-source$="hat/again.jpg"] select').first.select_option("drop")
        assert page.locator("#status").inner_text() == "1 dropped, 1 with another class"
        page.select_option("#order", "label")
        with page.expect_download() as download:
            page.click("#save")
        download.value.save_as(tmp_path / "clean.csv")
        assert faults == []
        browser.close()
    read = labeled(str(tmp_path / "clean.csv"))
    saved = dict(zip(map(str, read.images), read.labels, strict=True))
    expected = dict(zip(found.sources, found.labels, strict=True)) | {str(planted / "train/shoe/copy.png"): "hat"}
    del expected[str(planted / "train/hat/again.jpg")]
    assert saved == expected
