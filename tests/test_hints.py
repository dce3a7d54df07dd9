"""Calls that a newcomer guesses: a right answer, or a hint with the way out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pretrained_cnn
from pretrained_cnn import Classifier, Prediction, Result, contact_sheet
from pretrained_cnn.errors import PretrainedCNNError

CLF = Classifier("MobileNet")
RESULT = Result("a.png", (Prediction("cat", "cat", 0.7, 0),))


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (lambda: CLF.predict(["a.png", "b.png"]), "give several images to predict_batch"),
        (lambda: CLF.predict(name for name in ("a.png",)), "give several images to predict_batch"),
        (lambda: CLF.predict("photos/*.png"), "give a pattern to predict_batch or stream"),
        (lambda: CLF.predict("a.png", top_k=3), r"did you mean top=\.\.\.\?"),
        (lambda: CLF.predict("a.png", threshold=0.5), r"did you mean min_score=\.\.\.\?"),
        (lambda: CLF.predict("a.png", colour="red"), "it takes image, top, min_score"),
        (lambda: CLF.predict("a.png", 3), r"predict\(image\) takes 1 arguments? by place, not 2; .*top=\.\.\."),
        (lambda: CLF.evaluate("clothes", label="x"), r"did you mean labels=\.\.\.\?"),
        (lambda: Classifier("MobileNet", "imagenet"), r"weights=\.\.\."),
        (lambda: Classifier("MobileNet", weight="imagenet"), r"did you mean weights=\.\.\.\?"),
        (lambda: Classifier("MobileNet", device="cuda"), r"did you mean runtime=\.\.\.\?"),
        (lambda: Classifier.train("clothes", "MobileNet", epoch=3), r"did you mean epochs=\.\.\.\?"),
        (lambda: Classifier.train("clothes", "validation/"), "write validation='validation/'"),
        (lambda: Classifier.train("clothes", "examples/images"), "write validation='examples/images'"),
        (lambda: CLF.classes, "did you mean 'labels'?"),
        (lambda: CLF.predict_bach, "did you mean 'predict_batch'"),
        (lambda: RESULT.lable, "did you mean 'label'"),
        (lambda: pretrained_cnn.Classifer, "did you mean 'Classifier'"),
        (lambda: contact_sheet([RESULT.top]), "Prediction is not a Result; give what predict_batch or stream returns"),
        (lambda: contact_sheet("a.png"), "str is not a Result"),  # type: ignore[arg-type]
    ],
)
def test_a_guess_that_is_wrong_says_what_to_write(call: Callable[[], Any], hint: str) -> None:
    with pytest.raises((TypeError, AttributeError, PretrainedCNNError), match=hint):
        call()


def test_guesses_that_work(tmp_path: Path) -> None:
    assert CLF.labels[0].name == "tench"
    assert RESULT[0].label == "cat"
    assert contact_sheet(RESULT).height > 64  # one result, not in a list
    assert not hasattr(CLF, "_repr_pretty_")  # as notebooks ask
    assert Classifier("MobileNet", alpha=0.25, classes=10, weights=None) is not None  # options of the builder stay
