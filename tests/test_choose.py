"""Which backbone to take: what is quick enough, what chance explains, and what stops early."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patterns import CLASSES, SMALL, draw
from scipy.stats import binomtest
from servers import Handler, serve
from warned import messages

from pretrained_cnn import (
    Candidate,
    Choice,
    Classifier,
    DataError,
    InvalidArgumentError,
    PretrainedCNNWarning,
    UnknownModelError,
    WeightsError,
    choose,
    cli,
    register,
)
from pretrained_cnn.selection import choosing
from pretrained_cnn.selection.candidate import judge, surely_worse
from pretrained_cnn.transfer.embeddings import embed
from pretrained_cnn.transfer.folds import deal_folds, fit_folds
from pretrained_cnn.transfer.heads import HeadData

# The verdicts


def timed(*names: str) -> list[Candidate]:
    return [Candidate(name, "keras", 10.0 + i, (9.0, 11.0)) for i, name in enumerate(names)]


ANSWERS = st.integers(2, 4).flatmap(
    lambda k: st.lists(st.tuples(*[st.booleans()] * k), min_size=5, max_size=60).map(lambda rows: np.array(rows).T)
)


@given(ANSWERS)
@settings(max_examples=60, deadline=None)
def test_a_candidate_is_worse_if_chance_does_not_explain_it(answers: Any) -> None:
    names = "ABCD"[: len(answers)]
    found = {each.name: each for each in judge(timed(*names), dict(zip(names, answers, strict=True)), {})}
    counts = answers.sum(axis=1)
    (best,) = (each for each in found.values() if each.verdict == "chosen")
    assert best.name == names[int(counts.argmax())]  # of equally accurate ones the fastest, which comes first
    theirs = answers[names.index(best.name)]
    for name, right in zip(names, answers, strict=True):
        each = found[name]
        assert (each.right, each.judged) == (right.sum(), len(right))
        if each is not best:
            differ = theirs != right
            p = binomtest(int((theirs & differ).sum()), int(differ.sum())).pvalue if differ.any() else 1.0
            assert each.p_value == pytest.approx(min(1, (len(names) - 1) * p))
            assert each.verdict == ("worse" if each.p_value < 0.05 else "not told apart")


@given(ANSWERS, st.integers(0, 60))
@settings(max_examples=200, deadline=None)
def test_who_is_stopped_would_have_been_told_apart_as_worse(answers: Any, count: int) -> None:
    leader, right = answers[:2]
    seen = np.arange(len(leader)) < count
    if surely_worse(right & seen, seen, leader, len(answers)):
        (found,) = judge(timed("L", "C"), {"L": leader, "C": right}, {})[1:]
        assert (len(answers) - 1) * found.p_value < 0.05
        assert right.sum() < leader.sum()


def test_the_rule_stops_those_who_cannot_win() -> None:
    leader, seen = np.ones(100, bool), np.arange(100) < 20
    assert surely_worse(np.zeros(100, bool), seen, leader, 2)
    assert not surely_worse(np.zeros(100, bool), np.arange(100) < 5, leader, 2)
    assert not surely_worse(np.zeros(100, bool), np.arange(100) < 7, leader, 20)  # one of twenty is so bad by chance


def test_the_truly_best_one_is_rarely_called_worse() -> None:
    random = np.random.default_rng(0)
    names, lost = "ABCDE", 0
    for _ in range(400):
        hard = random.random((1, 150)) * 0.4
        answers = random.random((5, 150)) > hard  # equally good: any may be called the best
        found = judge(timed(*names), dict(zip(names, answers, strict=True)), {})
        lost += next(each for each in found if each.name == "C").verdict == "worse"
    assert lost / 400 <= 0.05


# The cross-validation


def test_no_head_is_judged_by_what_it_has_seen() -> None:
    random = np.random.default_rng(0)
    vectors = np.repeat(random.normal(size=(45, 6)), 2, axis=0).astype(np.float32)  # each image twice, noise all of it
    targets, groups = np.repeat(np.arange(45) % 3, 2), np.repeat(np.arange(45), 2)
    folds = deal_folds(targets, groups, seed=0)
    assert all(len(set(folds[groups == group])) == 1 for group in range(45))
    right = np.full(90, 2)
    for fold in fit_folds(HeadData(vectors, targets, np.ones(90)), groups, folds, 3, seed=0):
        assert set(right[fold.held]) == {2}
        right[fold.held] = fold.scores.argmax(axis=1) == targets[fold.held]
    assert right.max() == 1  # each image once
    assert right.mean() < 0.6
    with pytest.raises(DataError, match="too few images to judge a head by images that it has not seen; give at least"):
        deal_folds(np.array([0, 0, 1, 1]), np.arange(4), seed=0)
    with pytest.raises(DataError, match="too few images"):
        deal_folds(np.array([0, 1]), np.arange(2), seed=0)


# The choice


def blind(input_shape: tuple[int, int, int]) -> keras.Model:
    """A network that sees nothing but the mean color, which says nothing of stripes."""
    inputs = keras.Input(input_shape)
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))


LEFT_OUT = pytest.mark.filterwarnings("ignore:images that cannot be read are left out")
TIMES = {"Blind": 5.0, "Small": 10.0, "Slow": 100.0}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = draw(tmp_path_factory.mktemp("choose") / "photos", 12)
    (folder / CLASSES[0] / "broken.png").write_bytes((folder / CLASSES[0] / "000.png").read_bytes()[:300])
    return folder


@pytest.fixture
def networks(clean_registry: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Three backbones, whose times are known, and no published weights."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    for name in TIMES:
        register(SMALL.replace(name=name, **({"builder": blind, "preprocess": None} if name == "Blind" else {})))
    monkeypatch.setattr(
        choosing, "in_turns", lambda works, rounds: [[TIMES[work.args[0].spec.name] / 1000] * rounds for work in works]
    )


@LEFT_OUT
@pytest.mark.usefixtures("networks")
def test_the_most_accurate_within_the_budget_is_chosen(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded: list[str] = []

    def embed_and_note(engine: Any, *more: Any) -> Any:
        embedded.append(engine.spec.name)
        return embed(engine, *more)

    monkeypatch.setattr(choosing, "embed", embed_and_note)
    choice = choose(photos, list(TIMES), budget_ms=20, rounds=2)
    assert embedded == ["Small", "Blind"]  # what is over the budget embeds nothing
    blind, small, slow = choice.candidates
    assert (small.name, small.verdict, small.judged, small.milliseconds) == ("Small", "chosen", 36, 10.0)
    assert small.right > 0.6 * 36
    assert (blind.verdict, blind.beaten_by, blind.p_value) == ("worse", "Small", None)
    assert 0 < blind.judged < 36
    assert (slow.verdict, slow.accuracy, slow.interval) == ("over budget", None, None)
    assert choice.best is small
    assert [Path(error.source).name for error in choice.failed] == ["broken.png"]
    found = choice.classifier.evaluate([(file, file.parent.name) for file in photos.glob("*/0*.png")])
    assert found.top1 > 0.8
    text = str(choice)
    assert "36 images of 3 classes, each judged by a head that has not seen it" in text
    assert f"worse than Small whatever comes, stopped after {blind.judged} images" in text
    assert "Small is most often right within 20 ms" in text
    assert choice.to_frame()["verdict"].tolist() == ["worse", "chosen", "over budget"]
    assert json.loads(json.dumps(choice.to_dict()))["chosen"] == "Small"
    figure = choice.plot()
    assert {text.get_text() for text in figure.axes[0].texts} == set(TIMES)


def test_columns_and_weights_of_a_table_are_kept(photos: Path, tmp_path: Path) -> None:
    import pandas as pd

    from pretrained_cnn.images.policy import ImagePolicy
    from pretrained_cnn.images.tables import Columns

    paths = sorted(photos.glob("*/0*.png"))
    weights = [float(1 + i % 3) for i in range(len(paths))]
    labels = [path.parent.name for path in paths]
    table = pd.DataFrame({"where": list(map(str, paths)), "what": labels, "weight": weights})
    table.to_csv(tmp_path / "table.csv", index=False)
    for source in (table, tmp_path / "table.csv"):
        found = choosing._read(source, Columns("where", "what"), ImagePolicy(), seed=0)
        assert found.readable.weights.tolist() == weights
        expected = (weights, Columns()) if source is table else (None, Columns("where", "what"))
        assert (found.weights, found.columns) == expected


@pytest.mark.slow
@LEFT_OUT
@pytest.mark.usefixtures("networks")
def test_the_same_network_is_not_told_apart_from_itself(photos: Path) -> None:
    choice = choose(photos, ["Slow", "Small", Classifier("Small")], rounds=1, cache=False)
    assert [(each.name, each.verdict, each.p_value) for each in choice.candidates] == [
        ("Small", "chosen", None),
        ("Small (2)", "not told apart", 1.0),
        ("Slow", "not told apart", 1.0),
    ]


@LEFT_OUT
@pytest.mark.usefixtures("networks")
def test_what_cannot_be_chosen_from(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        DataError,
        match=r"no candidate takes at most 1 ms for one of these images; the fastest, Blind, "
        r"takes 5\.0 ms with keras: allow more, or try runtime='auto' or other models",
    ):
        choose(photos, ["Small", "Blind"], budget_ms=1, rounds=1)
    with pytest.raises(
        WeightsError,
        match=r"the weights of ResNet50 are not on this machine; download them with "
        "download=True, or leave ResNet50 out",
    ):
        choose(photos, ["Small", "ResNet50"])
    with pytest.raises(UnknownModelError, match="did you mean 'Small'"):
        choose(photos, ["Smal"])
    with pytest.raises(InvalidArgumentError, match=r"models=\[\] names no candidate"):
        choose(photos, [])
    with pytest.raises(InvalidArgumentError, match="budget_ms=0 is not a number above 0"):
        choose(photos, "Small", budget_ms=0)
    with pytest.raises(InvalidArgumentError, match="image_policy=5 is not an ImagePolicy"):
        choose(photos, "Small", image_policy=5)  # type: ignore[arg-type]
    paths = sorted(photos.glob("*/0*.png"))
    alone = [(path, path.parent.name) for path in paths[1:]] + [(paths[0], "alone")]
    with pytest.raises(PretrainedCNNWarning, match="<pairs>: no image of 'alone' is judged, because all images"):
        choose(alone, "Small")
    few = [(path, path.parent.name) for path in photos.glob("*/00[01].png")]
    with pytest.raises(DataError, match="<pairs>: these are too few images to judge a head by"):
        choose(few, "Small")
    file = io.BytesIO((photos / CLASSES[0] / "000.png").read_bytes())
    pairs = [(path, path.parent.name) for path in photos.glob("*/0*.png")]
    with pytest.raises(DataError, match="each candidate reads each image; give paths or bytes in place of open files"):
        choose([*pairs, (file, CLASSES[0])], "Small")
    monkeypatch.setattr(choosing, "list_models", lambda **limits: [])
    with pytest.raises(WeightsError, match="no backbone has its ImageNet weights on this machine; install those of"):
        choose(photos)


@LEFT_OUT
@pytest.mark.usefixtures("networks")
@pytest.mark.slow
def test_of_those_at_hand_a_broken_one_is_left_out(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(SMALL.replace(name="Broken", builder="no_such_module:build"))
    monkeypatch.setattr(choosing, "list_models", lambda **limits: ["Broken", "Small"] if limits["offline"] else [])
    with messages() as warned:
        assert choose(photos, rounds=1).best.name == "Small"
    assert "Broken is left out: " in warned[0]


class Publisher(Handler):
    def get(self) -> None:
        self.server.requests.append(self.path)  # type: ignore[attr-defined]
        file = self.server.folder / self.path.rpartition("/")[2]  # type: ignore[attr-defined]
        self.send(file.read_bytes()) if file.is_file() else self.send(status=404)


@pytest.mark.slow
@LEFT_OUT
def test_weights_are_downloaded_if_that_is_said(
    photos: Path, assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(choosing, "NAMES", ("MobileNet", "ResNet50"))
    monkeypatch.setattr(choosing, "list_models", lambda *_, **limits: [])  # nothing is available
    with serve(Publisher, requests=[], folder=assets / "keras_home/models") as server:
        monkeypatch.setenv("PRETRAINED_CNN_MIRROR", server.url)
        with messages() as warned:  # of ten small ones, those that cannot be had are left out
            choice = choose(photos, download=True, rounds=1)
        assert [each.name for each in choice.candidates] == ["MobileNet"]
        assert any("ResNet50 is left out" in each and "404" in each for each in warned)
        (asked,) = [path for path in server.requests if "mobilenet" in path]
        assert (tmp_path / "keras/models" / asked.rpartition("/")[2]).is_file()
        server.requests.clear()
        assert cli.main(["choose", str(photos), "-m", "MobileNet", "--rounds", "1"]) == cli.Status.FAILED
        assert "MobileNet is most often right" not in capsys.readouterr().out  # the only candidate
        assert server.requests == []  # it is there
        with pytest.raises(WeightsError, match=r"resnet50.*cannot be downloaded \(.*404"):
            choose(photos, "ResNet50", download=True)


@pytest.mark.slow
@LEFT_OUT
@pytest.mark.usefixtures("networks")
def test_the_command(photos: Path, tmp_path: Path, capsys: Any) -> None:
    bundle, plot = tmp_path / "chosen.bundle", tmp_path / "choice.png"
    words = ["choose", str(photos), "-m", "Sm*", "-m", "Blind", "--rounds", "1"]
    code = cli.main([*words, "--budget", "20ms", "-o", str(bundle), "--plot", str(plot)])
    captured = capsys.readouterr()
    assert code == cli.Status.FAILED  # one image cannot be read
    assert "Small is most often right within 20 ms" in captured.out
    assert "broken.png" in captured.out
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert [label.id for label in Classifier.load(bundle).labels] == list(CLASSES)
    assert cli.main([*words, "--budget", ".001s"]) == cli.Status.FAILED
    assert "allow more, or try --runtime auto or other models" in capsys.readouterr().err
    assert cli.main(["choose", str(photos), "-m", "ResNet50"]) == cli.Status.FAILED
    assert "download them with --download, or leave ResNet50 out" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main([*words, "--budget", "soon"])
    assert "'soon' is not a time; expected one such as 20ms or 0.5s" in capsys.readouterr().err


def test_a_choice_without_a_budget_is_told_in_a_sentence() -> None:
    a, b = timed("A", "B")
    choice = Choice(judge([a, b], {"A": np.array([True] * 4), "B": np.array([True] * 4)}, {}), 4, ("x", "y"), None)  # type: ignore[arg-type]
    assert choice.sentence() == "A is most often right; B is not told apart from it"
    alone = Choice(judge([a, b], {"A": np.array([True] * 4)}, {}), 4, ("x", "y"), None, 10.5)  # type: ignore[arg-type]
    assert alone.sentence() == "A is the only candidate within 10.5 ms"
