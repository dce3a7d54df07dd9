"""The shape of a result: what its status is, how it iterates, and what is plain data of it."""

from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_classifier import RED, spec

from pretrained_cnn import Classifier, ImageError, InvalidArgumentError, Prediction, Result
from pretrained_cnn.results.names import escape, unescape
from pretrained_cnn.results.rows import to_result, to_rows

CAT, DOG = Prediction("n1", "cat", 0.7, 4), Prediction("n2", "dog", 0.2, 5)


def test_a_prediction_is_three_values_with_the_index_beside() -> None:
    wnid, label, score = CAT
    assert (wnid, label, score) == ("n1", "cat", 0.7) == (CAT[0], CAT[1], CAT[2]) == tuple(CAT)
    assert (CAT.index, len(CAT), CAT[-1]) == (4, 3, 0.7)
    assert CAT.to_dict() == {"id": "n1", "label": "cat", "score": 0.7, "index": 4}
    assert pickle.loads(pickle.dumps(CAT)) == CAT


def test_a_result_is_its_predictions() -> None:
    result = Result("a.png", (CAT, DOG))
    assert (result.label, result.score, result[0], result[-1], len(result)) == ("cat", 0.7, CAT, DOG, 2)
    assert result[:1] == result.above() == result.above(0.3) == (CAT,)
    assert result.above(0.2) == (CAT, DOG)
    assert [(wnid, label, score) for wnid, label, score in result] == [tuple(CAT), tuple(DOG)]
    failed = Result("a.png", (), ImageError("a.png", "it is bad"))
    assert (failed.status, len(failed), failed.above(0)) == ("failed", 0, ())
    with pytest.raises(ImageError, match="it is bad"):
        _ = failed.label


def test_min_score_makes_results_uncertain_wherever_they_are_made() -> None:
    clf = Classifier(spec())
    best = clf(RED).score
    for result in (
        clf.predict(RED, min_score=best),
        clf(RED, min_score=0),
        *clf.predict_batch([RED]),
    ):
        assert (result.status, result.error) == ("ok", None)
    for result in (
        clf.predict(RED, min_score=1.0),
        clf(RED, min_score=1.0),
        *clf.predict_batch([RED], min_score=np.float32(1)),
        *clf.stream([RED], min_score=1),
    ):
        assert (result.status, result.error, result.label) == ("uncertain", None, "red")
        assert repr(result).endswith(", uncertain)")
    for wrong in (2, -0.1, "0.5", float("nan"), True):
        with pytest.raises(InvalidArgumentError, match=r"min_score=.* is not a number of at least 0 and of at most 1"):
            clf.stream([RED], min_score=wrong)  # type: ignore[arg-type]
    assert [label.name for label in clf.labels] == [label.name for label in clf.spec.labels]


def test_plain_data_is_valid_json_and_unicode() -> None:
    result = Result(
        "caf\udce9.png", (Prediction("a", "a", float("nan"), 0),), label_set=(Prediction("a", "A", 0.5, 0),)
    )
    text = json.dumps(result.to_dict(), allow_nan=False, ensure_ascii=False).encode()
    assert json.loads(text) == {
        "source": "caf\\xe9.png",
        "predictions": [{"id": "a", "label": "a", "score": None, "index": 0}],
        "status": "ok",
        "label_set": [{"id": "a", "label": "A", "score": 0.5, "index": 0}],
        "error": None,
    }


@given(st.binary(max_size=12) | st.text("\\xx45e9é", max_size=12).map(str.encode))
def test_an_escaped_name_reads_back_to_the_same_bytes(name: bytes) -> None:
    decoded = os.fsdecode(name)
    written = escape(decoded)
    assert written.encode().decode() == written
    assert os.fsencode(unescape(written)) == name


@given(st.text(), st.lists(st.builds(Prediction, st.text(), st.text(), st.floats(0, 1), st.integers(0, 9)), max_size=3))
def test_rows_read_back_to_the_result(source: str, predictions: list[Prediction]) -> None:
    result = Result(source, tuple(predictions), status="uncertain", label_set=tuple(predictions[:2]) or None)
    assert to_result(to_rows(result)) == result
    failed = Result(source, (), ImageError(source, "it is\nbad"))
    assert to_result(to_rows(failed)).to_dict() == failed.to_dict()
