"""Whether one classifier is better than another: the test is SciPy's; networks and files are compared alike."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import ROOT
from scipy.stats import binomtest, multinomial

from pretrained_cnn import Comparison, DataError, Prediction, Result, cli, write_results
from pretrained_cnn._statistics import exact_mcnemar, wilson


def comparison(both: int, only_a: int, only_b: int, neither: int) -> Comparison:
    """One with this number of images of each kind."""
    a = ["cat"] * (both + only_a) + ["dog"] * (only_b + neither)
    b = ["cat"] * both + ["dog"] * only_a + ["cat"] * only_b + ["dog"] * neither
    return Comparison([f"{i}.jpg" for i in range(len(a))], ["cat"] * len(a), a, b)


counts = st.integers(0, 400)


@given(counts, counts)
@settings(deadline=None)
def test_the_p_value_is_scipys(only_a: int, only_b: int) -> None:
    expected = binomtest(only_a, only_a + only_b, 0.5).pvalue if only_a + only_b else 1.0
    assert exact_mcnemar(only_a, only_b) == pytest.approx(expected, rel=1e-9)


@given(counts.filter(bool), st.floats(0, 1))
@settings(deadline=None)
def test_the_interval_is_scipys(count: int, share: float) -> None:
    for right in (0, round(share * count), count):
        expected = binomtest(right, count).proportion_ci(method="wilson")
        assert wilson(right, count) == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-12)
    assert (wilson(0, count)[0], wilson(count, count)[1]) == (0.0, 1.0)


def test_the_p_value_of_many_images() -> None:
    assert exact_mcnemar(24_700, 25_300) == pytest.approx(binomtest(24_700, 50_000, 0.5).pvalue, rel=1e-8)
    assert exact_mcnemar(0, 5_000) == 0


@given(counts, st.integers(0, 40), st.integers(0, 40), counts)
@settings(max_examples=50, deadline=None)
def test_counts_accuracies_and_verdict(both: int, only_a: int, only_b: int, neither: int) -> None:
    count = both + only_a + only_b + neither
    if not count:
        return
    result = comparison(both, only_a, only_b, neither)
    assert (result.count, result.only_a, result.only_b) == (count, only_a, only_b)
    assert result.a_accuracy == pytest.approx((both + only_a) / count)
    assert result.b_interval == wilson(both + only_b, count)
    assert result.difference == pytest.approx(result.b_accuracy - result.a_accuracy)
    assert (len(result.right_only_in_a()), len(result.right_only_in_b())) == (only_a, only_b)
    told = result.p_value < 0.05
    assert result.verdict == (("better" if only_b > only_a else "worse") if told else "not told apart")
    json.dumps(result.to_dict())


def power(images: int, only_a: float, only_b: float, seed: int = 0) -> float:
    """How often this number of images tells classifiers apart that differ with these probabilities."""
    draws = multinomial.rvs(images, [only_a, only_b, 1 - only_a - only_b], size=2_000, random_state=seed)
    return float(np.mean([exact_mcnemar(int(x), int(y)) < 0.05 for x, y, _ in draws]))


@pytest.mark.parametrize(("only_a", "only_b"), [(30, 60), (4, 14), (100, 130)])
def test_so_many_images_tell_in_four_of_five_tries(only_a: int, only_b: int) -> None:
    result = comparison(700, only_a, only_b, 1000 - 700 - only_a - only_b)
    assert result.images_needed is not None
    assert 0.7 < power(result.images_needed, only_a / 1000, only_b / 1000) < 0.87


def test_chance_is_rarely_taken_for_a_difference() -> None:
    assert power(372, 0.05, 0.05) <= 0.05


def test_what_is_detectable_needs_as_many_images_as_there_are() -> None:
    result = comparison(300, 17, 8, 47)
    gap, either = result.detectable, 25 / 372
    only_b = (either + gap) / 2
    again = comparison(0, round(1e6 * (either - only_b)), round(1e6 * only_b), round(1e6 * (1 - either)))
    assert again.images_needed == pytest.approx(372, abs=2)
    assert comparison(5, 0, 0, 5).detectable == 0
    assert comparison(5, 1, 1, 0).images_needed is None


def test_the_text_says_what_is_needed_to_decide() -> None:
    text = str(comparison(300, 17, 8, 47))
    assert "17 right only in A, 8 only in B, p = 0.108: A and B are not told apart" in text
    assert "372 images show differences from about" in text
    assert "it takes about" in text
    assert "right only in A\ncat: cat | dog  300.jpg" in text
    assert "and 7 more" in text
    assert "B is worse than A" in repr(comparison(300, 30, 8, 47))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([], [], [], []), "no image could be read by both"),
        ((["a.jpg"], ["cat"], ["cat"], []), r"\[1, 1, 1, 0\] entries; expected one for each image"),
    ],
)
def test_columns_that_do_not_fit_are_refused(columns: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Comparison(*columns)


PHOTOS = [f"{name}.jpg" for name in "abcdefgh"]


def results(path: Path, given: dict[str, str | None]) -> Path:
    """A file of results with a best class for each image, or None for one that failed."""
    from pretrained_cnn import ImageError

    write_results(
        [
            Result(name, (), ImageError(name, "broken"))
            if label is None
            else Result(name, (Prediction(label, f"the {label}", 0.9, 0), Prediction("emu", "the emu", 0.1, 1)))
            for name, label in given.items()
        ],
        path,
    )
    return path


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Path]:
    """Two files of results and a CSV file of the true classes: A is right about all, B about two."""
    monkeypatch.chdir(tmp_path)
    a = results(tmp_path / "a.csv", dict.fromkeys(PHOTOS, "cat"))
    b = results(tmp_path / "b.jsonl", dict.fromkeys(PHOTOS, "dog") | dict.fromkeys(PHOTOS[:2], "cat"))
    truth = tmp_path / "truth.csv"
    truth.write_text("path,label\n" + "".join(f"{name},cat\n" for name in PHOTOS), "utf-8")
    return a, b, truth


def test_files_of_results_are_compared_without_a_network(files: tuple[Path, Path, Path]) -> None:
    a, b, truth = files
    result = Comparison.from_results(a, b, truth)
    assert (result.a_accuracy, result.b_accuracy, result.only_a) == (1.0, 0.25, 6)
    assert result.p_value == pytest.approx(2 / 64)
    assert result.verdict == "worse"


def test_a_class_may_be_given_by_its_name(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    a, b, _ = files
    pairs = [(name, "the cat") for name in PHOTOS]
    assert Comparison.from_results(a, b, pairs).only_a == 6
    dogs = [*[(name, "the cat") for name in PHOTOS[:-1]], (PHOTOS[-1], "the dog")]
    c = results(tmp_path / "c.csv", dict.fromkeys(PHOTOS, "cat") | {PHOTOS[-1]: "dog"})
    assert Comparison.from_results(c, b, dogs).only_a == 5


def test_the_images_of_a_file_are_found_from_another_folder(
    files: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, truth = files
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert Comparison.from_results(a, b, truth).only_a == 6


def test_a_failed_image_counts_for_neither(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    a, _, truth = files
    c = results(tmp_path / "c.csv", dict.fromkeys(PHOTOS, "cat") | {PHOTOS[0]: None})
    result = Comparison.from_results(a, c, truth)
    assert (result.count, len(result.failed)) == (7, 1)
    assert "broken" in str(result)


def test_files_that_do_not_fit_are_refused(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    a, b, truth = files
    with pytest.raises(DataError, match=r"a\.csv: it has no row for new\.jpg; classify all images of <pairs> into it"):
        Comparison.from_results(a, b, [(PHOTOS[0], "cat"), ("new.jpg", "cat")])
    with pytest.raises(DataError, match="none of the classes of <pairs>, such as 'zebra', was given to any image"):
        Comparison.from_results(a, b, [(PHOTOS[0], "zebra")])
    others = results(tmp_path / "others.csv", dict.fromkeys(PHOTOS, "animal"))
    for pair in ((a, others), (others, a)):  # all of its answers would count as wrong
        with pytest.raises(DataError, match=r"others\.csv: none of the classes of .*, such as 'cat', was given"):
            Comparison.from_results(*pair, truth)
    with pytest.raises(DataError, match=r"no\.csv does not exist; write it with"):
        Comparison.from_results(a, tmp_path / "no.csv", truth)


def changed(path: Path, change: Any) -> Path:
    """A CSV file of results whose rows are changed by a function of the list of lines."""
    header, *rows = path.read_text("utf-8").splitlines()
    path.write_text("\n".join([header, *change(rows)]) + "\n", "utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [*rows, rows[0].replace("cat", "dog")], "a.jpg has two answers, 'cat' and 'dog'; classify each"),
        (lambda rows: [row.replace(",ok,", ",fine,") for row in rows], "the status of a.jpg is 'fine', which is not"),
        (lambda rows: [row[:10] for row in rows], "its row 1 is not one of ours; write it again with `pretrained-cnn"),
        (lambda rows: rows[2:], "it has no row for .*a.jpg; classify all images of .*truth.csv into it"),
    ],
)
def test_rows_that_were_changed_are_refused(files: tuple[Path, Path, Path], change: Any, message: str) -> None:
    a, b, truth = files
    with pytest.raises(DataError, match=rf"a\.csv: {message}"):
        Comparison.from_results(b, changed(a, change), truth)


def test_rows_that_stand_there_twice_count_once(files: tuple[Path, Path, Path]) -> None:
    a, b, truth = files
    assert Comparison.from_results(changed(a, lambda rows: [*rows, *rows]), b, truth).only_a == 6


def settings_of(path: Path, **said: Any) -> None:
    """Write the settings of a file of results."""
    path.with_name(f"{path.name}.settings.json").write_text(json.dumps({"run": {}, "settings": said}), "utf-8")


def test_classes_that_the_classifier_of_a_file_lacks_do_not_count_as_wrong(files: tuple[Path, Path, Path]) -> None:
    from warned import messages

    from pretrained_cnn import InvalidArgumentError, Label
    from pretrained_cnn.results.settings import labels_setting

    a, b, _ = files
    pairs = [*[(name, "cat") for name in PHOTOS[:-1]], (PHOTOS[-1], "emu2")]
    with messages() as said:
        Comparison.from_results(a, b, pairs)
    assert f"{a}: no image there was given 'emu2'; if its classifier does not know these classes, compare" in said[0]
    table = [Label(name, f"the {name}") for name in ("cat", "emu")]
    settings_of(a, labels=labels_setting(table))
    with pytest.raises(DataError, match=r"a\.csv: its classifier has 2 classes, and 'emu2' of <pairs> is none of them"):
        Comparison.from_results(a, b, pairs)
    settings_of(a, labels=labels_setting(table), multi_label=True)
    with pytest.raises(InvalidArgumentError, match="a file of results does not say which labels"):
        Comparison.from_results(a, b, [(name, "cat") for name in PHOTOS])


def test_a_name_of_several_classes_is_refused_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cranes = [Result("a.jpg", (Prediction("n1", "crane", 0.9, 0), Prediction("n2", "crane", 0.1, 1)))]
    write_results(cranes, tmp_path / "a.csv")
    with pytest.raises(DataError, match="<pairs>: 2 classes are named 'crane'; use their ids, n1 and n2"):
        Comparison.from_results("a.csv", "a.csv", [("a.jpg", "crane"), ("a.jpg", "n1")])


@pytest.fixture
def main(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: Any) -> tuple[int, str, str]:
        code = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_the_command_fails_only_if_it_is_told_to(files: tuple[Path, Path, Path], main: Any) -> None:
    a, b, truth = files
    code, out, err = main("compare", a, b, truth)
    assert (code, err) == (0, "")
    assert "b.jsonl is worse than a.csv" in out
    page = a.with_name("page.html")
    code, _, err = main("compare", a, b, truth, "-o", page)
    assert (code, err) == (0, f"pretrained-cnn: {page} is written\n")
    assert page.read_text("utf-8").count("<li>") == Comparison.from_results(a, b, truth).only_a
    assert main("compare", a, b, truth, "-o", page)[2].startswith(f"pretrained-cnn: {page} already exists; replace it")
    assert main("compare", a, b, truth, "--fail-if-worse")[0] == cli.Status.CHECK
    assert main("compare", b, a, truth, "--fail-if-worse")[0] == 0
    code, out, _ = main("compare", a, a, truth, "--json", "--fail-if-worse")
    assert code == 0
    assert json.loads(out)["verdict"] == "not told apart"
    assert math.isclose(json.loads(out)["a"]["accuracy"], 1.0)


def test_networks_bundles_and_files_are_compared_alike(tmp_path: Path, main: Any, monkeypatch: Any) -> None:
    from patterns import CLASSES, SMALL, draw

    from pretrained_cnn import Classifier, InvalidArgumentError

    data = draw(tmp_path / "data", 4)
    monkeypatch.chdir(ROOT)
    a = Classifier(SMALL.replace(labels=["across", "down"]))
    network = a.keras_model
    head = network.layers[-1]
    head.set_weights([np.zeros_like(head.get_weights()[0]), np.array([5.0, 0.0], np.float32)])
    b = Classifier.from_keras(network, labels=["down", "across"], scale=1 / 127.5, mean=1.0)  # always the other one
    pairs = [(path, path.parent.name) for path in sorted(data.glob("*/*.png")) if path.parent.name != CLASSES[2]]
    result = a.compare(b, pairs)
    assert (result.only_a, result.only_b, result.a_accuracy) == (4, 4, 0.5)
    b.save(tmp_path / "b.bundle")
    write_results(b.stream(data), tmp_path / "b.csv")
    for other in (tmp_path / "b.bundle", tmp_path / "b.csv"):
        again = a.compare(other, iter(pairs))
        assert (list(again.sources), list(again.b)) == (list(result.sources), list(result.b))
        again = a.compare(other, [path for path, _ in pairs], labels=(label for _, label in pairs))
        assert (list(again.truth), list(again.b)) == (list(result.truth), list(result.b))
    with pytest.raises(DataError, match="labels: number 0 is 0; a file of results has no indices, so give ids or"):
        a.compare(tmp_path / "b.csv", [path for path, _ in pairs], labels=[0] * len(pairs))
    with pytest.raises(InvalidArgumentError, match="type NoneType cannot be compared with; give a Classifier, the fol"):
        a.compare(None, pairs)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="only classifiers of the same kind of classes"):
        a.compare(Classifier.from_keras(network, labels=["down", "across"], multi_label=True), pairs)
    truth = tmp_path / "truth.csv"
    truth.write_text("path,label\n" + "".join(f"{path},{label}\n" for path, label in pairs), "utf-8")
    code, out, err = main("compare", tmp_path / "b.bundle", tmp_path / "b.csv", truth)
    assert (code, err) == (0, "")
    assert "0 right only in b.bundle, 0 only in b.csv" in out


def test_several_labels_count_as_right_if_they_are_exactly_those(tmp_path: Path) -> None:
    import keras

    from pretrained_cnn import Classifier

    pixels = keras.Input((8, 8, 3))
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(pixels))
    model = keras.Model(pixels, keras.layers.Dense(3, activation="sigmoid")(features))
    model.layers[-1].set_weights([np.eye(3, dtype=np.float32) * 8, np.full(3, -4, np.float32)])
    clf = Classifier.from_keras(model, labels=["red", "green", "blue"], multi_label=True)
    image = np.zeros((8, 8, 3), np.uint8)
    image[..., :2] = 255
    result = clf.compare(clf, [(image, ["red", "green"]), (image, ["red"])])
    assert (result.truth, result.a, result.a_accuracy) == (["red,green", "red"], ["red,green"] * 2, 0.5)


def test_the_page_shows_what_each_names_rightly_alone(tmp_path: Path) -> None:
    from paths import EXAMPLES

    from pretrained_cnn import OutputError

    hostile = '<script>hacked</script>&\udcff".png'
    images = [str(EXAMPLES / "clock.png"), np.zeros((20, 30, 3), np.uint8), None, "gone.png"]
    result = Comparison(
        [images[0], "<array 1>", hostile, "gone.png"],
        ["clock", "black", "<b>", "n02123045"],
        a=["clock", "white", "<i>", "dog"],
        b=["candle", "black", "<b>", "n02123045"],
        names=("old & sound", "new"),
        images=images,
    )
    path = tmp_path / "compare.html"
    result.write_html(path)
    text = path.read_text("utf-8")
    assert "<script" not in text
    assert "default-src 'none'" in text
    assert "style=" not in text.replace("style-src", "")  # the policy allows none
    assert "&lt;script&gt;hacked&lt;/script&gt;&amp;" in text
    gained, lost = (
        text.index("Right only in <bdi>new</bdi>: 3"),
        text.index("Right only in <bdi>old &amp; sound</bdi>: 1"),
    )
    assert gained < text.index("<bdi>black</bdi></b>") < lost < text.index("<bdi>clock</bdi></b>")
    assert text.count("data:image/webp;base64,") == 2
    assert "not shown: <bdi>it could be read only once</bdi>" in text
    assert "not shown: <bdi>the file does not exist</bdi>" in text
    assert "<bdi>tabby (n02123045)</bdi>" in text
    with pytest.raises(OutputError, match="already exists; replace it with overwrite=True"):
        result.write_html(path)
    result.write_html(path, overwrite=True)


@pytest.mark.slow
def test_the_page_in_a_browser(tmp_path: Path, chromium: Any) -> None:
    count = 40
    names, truth = (
        [f"{'long' * 20}/{i}.png" for i in range(count)],
        [f"class {i % 7} of a long name" for i in range(count)],
    )
    image = np.full((40, 60, 3), 128, np.uint8)
    result = Comparison(names, truth, ["no"] * count, truth, names=("o" * 60, "new"), images=[image] * count)
    result.write_html(tmp_path / "compare.html")
    for width, scheme in ((1400, "light"), (390, "dark")):
        context = chromium.new_context(offline=True, viewport={"width": width, "height": 900}, color_scheme=scheme)
        page, said = context.new_page(), []
        page.on("console", lambda message, said=said: said.append(message.text))
        page.goto((tmp_path / "compare.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("[...document.images].every(each => each.complete && each.naturalWidth == 224)")
        dark = page.evaluate("getComputedStyle(document.documentElement).backgroundColor").startswith("rgb(18")
        assert dark == (scheme == "dark")
        assert said == []
        context.close()
