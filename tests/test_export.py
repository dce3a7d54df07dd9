"""What the converters do wrong by themselves, and is put right."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
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
    assert [[tensor.name for tensor in ends] for ends in (model.graph.input, model.graph.output)] == [
        ["images"],
        ["scores"],
    ]


def build(input_shape: tuple[int, int, int]) -> keras.Model:
    """What ConvNeXt is made of: constants in a normalization, grouped convolutions, GELU."""
    inputs = keras.Input(input_shape)
    x = keras.layers.Normalization(mean=[100.0, 110.0, 120.0], variance=[2500.0] * 3)(inputs)
    x = keras.layers.Conv2D(8, 4, strides=4)(x)
    x = keras.layers.Conv2D(8, 7, padding="same", groups=8)(x)
    x = keras.layers.Dense(16, activation="gelu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(7, activation="softmax")(x))


def test_grouped_convolutions_are_written_as_onnx(tmp_path: Path, clock: Path) -> None:
    keras.utils.set_random_seed(0)
    clf = Classifier(RuntimeConformance.spec.replace(builder=build, preprocess=None))
    clf.save(tmp_path / "bundle", format="onnx")
    expected = clf.predict_proba([clock])
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(Classifier.load(tmp_path / "bundle").predict_proba([clock]), expected, atol=1e-5)
