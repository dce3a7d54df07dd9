"""Audit and choose on every kind of classifier: what is planted is found, or one sentence says what to give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from graph_files import SIZE, write_litert, write_onnx, write_saved_model
from made_files import keras_file, network
from numpy.typing import NDArray

from pretrained_cnn import Classifier, ModelSpec, PretrainedCNNError, audit, choose
from pretrained_cnn.integrations.sklearn import ImageClassifier, ImageEmbedder

LABELS = ["a", "b", "c", "d"]
COLORS = ("red", "green", "blue")
UNIT = {"preprocess": "unit"}


def photo(random: np.random.Generator, color: int) -> NDArray[np.uint8]:
    """Noise, brighter in one color."""
    pixels = random.integers(0, 60, (*SIZE, 3))
    pixels[..., color] += 120
    return pixels.astype(np.uint8)


def photos() -> list[tuple[tuple[str, NDArray[np.uint8]], str]]:
    """Ten images of each color, and a copy of one of them."""
    random = np.random.default_rng(0)
    found = [((f"{name}{i}", photo(random, k)), name) for k, name in enumerate(COLORS) for i in range(10)]
    return [*found, (("copy", found[3][0][1]), "red")]


def keras_classifier(labels: Any = LABELS, multi_label: bool = False, **network_of: Any) -> Classifier:
    how = {"multi_label": True} if multi_label else {}
    return Classifier.from_keras(network(keras, **network_of), labels=labels, preprocess="unit", **how)


def with_decode(_: Path) -> Classifier:
    def decode(scores: Any, top: int = 5) -> list[list[tuple[str, str, float]]]:
        return [[("x", "x", float(row.max()))] for row in scores]

    spec = ModelSpec(
        name="Decoded",
        builder=lambda input_shape: network(keras),
        input_size=SIZE,
        preprocess=lambda pixels: pixels / 255,
        decode=decode,
    )
    return Classifier(spec, weights=None)


def bundle(format: str, *outputs: Any) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        path = folder / f"{format}.bundle"
        keras_classifier().save(path, format=format, **({"output": list(outputs)} if outputs else {}))
        return str(path)

    return write


def file(write: Callable[[Path], Path], name: str = "") -> Callable[[Path], str]:
    return lambda folder: str(write(folder / name))


@dataclass(frozen=True)
class Kind:
    """What stands for a model, and the sentence that refuses it, unless it is taken."""

    make: Callable[[Path], Any]
    sentence: str | None = None
    audited_with: dict[str, Any] = field(default_factory=dict)
    """The arguments of `audit` for a model file; `choose` takes a classifier of the file, and refuses the file."""
    slow: bool = True


ESTIMATOR = r"is an estimator of scikit-learn; give Image\w+\.classifier_ once it is fitted, or Image\w+\.model"
KINDS = {
    "exclusive classes": Kind(lambda _: keras_classifier(), slow=False),
    "one output": Kind(lambda _: keras_classifier(["no", "yes"], classes=1, activation="sigmoid")),
    "several labels": Kind(lambda _: keras_classifier(multi_label=True, activation="sigmoid"), slow=False),
    "one channel": Kind(lambda _: keras_classifier(size=(*SIZE, 1))),
    "a decode function of its own": Kind(with_decode, slow=False),
    "an embedder": Kind(lambda _: ImageEmbedder("Xception"), ESTIMATOR, slow=False),
    "an estimator": Kind(lambda _: ImageClassifier("Xception"), ESTIMATOR, slow=False),
    "a network of Keras": Kind(lambda _: network(keras), r"use Classifier\.from_keras\(model", slow=False),
    "nothing": Kind(lambda _: 7, "an object of type int is not a model; expected a name", slow=False),
    "no bundle": Kind(lambda _: "no.bundle", r"no\.bundle does not exist", slow=False),
    **{
        f"a bundle of {format}": Kind(bundle(format, "scores", "embedding"))
        for format in ("keras", "openvino", "onnx", "litert", "saved_model")
    },
    "a bundle without an embedding": Kind(
        bundle("onnx"), r"onnx\.bundle is of format='onnx' and gives scores only; .*embedding"
    ),
    "a file of Keras 3": Kind(file(keras_file("n.keras", network)), audited_with=UNIT),
    "a file of Keras 2": Kind(file(keras_file("n.h5", network, old=True)), audited_with=UNIT),
    "an ONNX file": Kind(file(write_onnx, "n.onnx"), audited_with=UNIT),
    "a TFLite file": Kind(file(write_litert, "n.tflite"), audited_with=UNIT),
    "a SavedModel": Kind(file(write_saved_model, "saved"), audited_with=UNIT),
}
"""Beside one channel, which sees gray only, each embeds the mean of every channel: so it tells the colors apart."""


@pytest.mark.filterwarnings("ignore::pretrained_cnn.PretrainedCNNWarning")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if kind.slow else []) for name, kind in KINDS.items()]
)
def test_what_is_planted_is_found_or_a_sentence_says_what_to_give(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    model = kind.make(tmp_path)
    if kind.sentence is not None:
        for refuse in (
            lambda: audit(photos(), model),
            lambda: choose(photos(), model),
            lambda: choose(photos(), [model]),
        ):
            with pytest.raises(PretrainedCNNError, match=kind.sentence):
                refuse()
        return
    found = audit(photos(), model, cache=False, **kind.audited_with)
    assert [(each.source, each.other) for each in found.findings if each.kind == "duplicate"] == [("copy", "red3")]
    assert found.counts["label"] == 0 or name == "one channel"
    if kind.audited_with:
        with pytest.raises(
            PretrainedCNNError, match=r"pixel values(.|\n)*give Classifier\.from_file\('n?.*', \.\.\.\)"
        ):
            choose(photos(), model, rounds=1, cache=False)
        model = Classifier.from_file(model, labels=LABELS, **kind.audited_with)
    choice = choose(photos(), model, rounds=1, cache=False)
    assert choice.best.accuracy == 1 or name == "one channel"
    if name != "one channel":
        assert choice.classifier.predict(photos()[15][0][1]).top.label == "green"
