from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pretrained_cnn import InvalidSpecError, ModelSpec, get_spec
from pretrained_cnn.labels import LabelDecoder, as_labels, imagenet_labels

KERAS_CLASS_INDEX_MD5 = "c2c37ea517e94d9795004a39431a14cb"


def test_the_shipped_labels_are_those_of_keras(assets: Path) -> None:
    path = assets / "labels" / "imagenet_class_index.json"
    assert hashlib.md5(path.read_bytes()).hexdigest() == KERAS_CLASS_INDEX_MD5
    index = json.loads(path.read_text())
    assert [list(label) for label in imagenet_labels()] == [index[str(i)] for i in range(1000)]


def test_a_name_is_not_a_key_and_the_id_is() -> None:
    labels = imagenet_labels()
    assert labels[134].name == labels[517].name == "crane"
    assert len({label.id for label in labels}) == 1000


@given(
    scores=arrays(np.float32, st.tuples(st.integers(1, 4), st.just(7)), elements=st.floats(0, 1, width=32)),
    top=st.integers(1, 10),
)
def test_decoding_is_sorting(scores: np.ndarray, top: int) -> None:
    decoded = LabelDecoder(as_labels("abcdefg"))(scores, top=top)
    assert len(decoded) == len(scores)
    for row, predictions in zip(scores, decoded, strict=True):
        assert len(predictions) == min(top, 7)
        assert [p.score for p in predictions] == sorted(map(float, row), reverse=True)[:top]
        assert all(p.label == "abcdefg"[p.index or 0] and p.score == float(row[p.index or 0]) for p in predictions)


def test_scores_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"scores of shape \(1, 10\) do not fit 1000 labels"):
        get_spec("Xception").decode(np.zeros((1, 10)))


@pytest.mark.parametrize(
    "labels",
    [
        {"blue": 2, "green": 1, "red": 0},
        {2: "blue", 0: "red", 1: "green"},
        {"1": "green", "0": "red", "2": "blue"},
        {np.int64(2): "blue", np.int64(1): "green", np.int64(0): "red"},
        ["red\n", "green\r\n", " blue "],
        ("red", ("green", "green"), ["blue", "blue"]),
        {0: ("red", "red"), 1: "green", 2: "blue"},
    ],
)
def test_labels_are_in_the_order_of_the_outputs(labels: Any) -> None:
    assert [label.name for label in as_labels(labels)] == ["red", "green", "blue"]


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ({"red", "green"}, "a set has no order; give a list in the order of the network's outputs"),
        (frozenset({"red"}), "a set has no order"),
        ([b"red", b"green"], r"b'red' is neither a name nor an \(id, name\) pair; decode it first: label.decode\(\)"),
        (["red", ""], "'' is an empty name"),
        (["red", "\n"], "is an empty name"),
        ([("n1", "")], "is an empty name"),
        ([0, 1], "0 is neither a name"),
        ({"red": 0, "green": 2}, "the indices of the mapping must be 0 to 1, each once"),
        ({"red": 0, "green": 0}, "must be 0 to 1, each once"),
        ({"red": 0.0, "green": 1.0}, "a mapping must be name -> index or index -> name"),
        ({True: "red", False: "green"}, "a mapping must be name -> index or index -> name"),
    ],
)
def test_labels_without_an_order_or_without_a_name_are_refused(labels: Any, text: str) -> None:
    with pytest.raises(InvalidSpecError, match=f"mine: labels=.*{text}"):
        ModelSpec(name="mine", builder=print, input_size=(8, 8), labels=labels)
