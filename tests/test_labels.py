from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pretrained_cnn import get_spec
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
