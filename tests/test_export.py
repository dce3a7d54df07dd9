"""What the converters do wrong by themselves, and is put right."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from pretrained_cnn import Classifier
from pretrained_cnn.testing import RuntimeConformance


@pytest.mark.parametrize("family", ["resnet", "densenet"])
def test_constants_of_a_preprocess_function_are_no_inputs_of_an_onnx_model(family: str, tmp_path: Path) -> None:
    """Both subtract means, which tf2onnx took for a second input."""
    clf = Classifier(RuntimeConformance.spec.replace(preprocess=f"keras.applications.{family}:preprocess_input"))
    assert clf.save(tmp_path / "bundle", format="onnx").largest_difference < 1e-4
    model = onnx.load(tmp_path / "bundle" / "model.onnx")
    assert [tensor.name for tensor in model.graph.input] == ["pictures"]
