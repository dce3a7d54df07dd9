"""A preset with random weights, made here, and the names."""

from pathlib import Path

import keras
import keras_hub
import kerashub_models
import numpy as np
import pytest

from pretrained_cnn import Classifier, InvalidSpecError, get_spec, list_models

LABELS = ["a", "b", "c"]


def save_preset(folder: Path, activation: str | None = None, **converter: object) -> str:
    """An image classifier of three classes."""
    keras.utils.set_random_seed(0)
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(32, 32, 3),
    )
    images = keras_hub.layers.ResNetImageConverter(image_size=(32, 32), **converter)
    preprocessor = keras_hub.models.ResNetImageClassifierPreprocessor(image_converter=images)
    keras_hub.models.ResNetImageClassifier(
        backbone=backbone, num_classes=3, preprocessor=preprocessor, activation=activation
    ).save_to_preset(str(folder))
    return str(folder)


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_it_answers_as_kerashub(activation: str | None, tmp_path: Path) -> None:
    numbers = {"scale": [1 / 50, 1 / 60, 1 / 70], "offset": [-2.0, -1.8, -1.5]}
    preset = save_preset(tmp_path / "preset", activation, **numbers)
    task = keras_hub.models.ImageClassifier.from_preset(preset)
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    expected = task.predict(images.astype(np.float32), verbose=0)
    if activation is None:
        expected = np.asarray(keras.ops.softmax(expected))
    assert np.ptp(expected, axis=0).max() > 1e-3, "the network is mute, and the test proves nothing"

    clf = Classifier(kerashub_models.spec(preset, 32, name="kerashub:mine", labels=LABELS))
    np.testing.assert_allclose(clf.predict_proba(images), expected, atol=1e-5)
    assert clf.embed(images).shape == (4, 64)
    assert clf.explain(images[0]).heat_map.max() == 1
    clf.save(tmp_path / "bundle", format="onnx")
    np.testing.assert_allclose(Classifier.load(tmp_path / "bundle").predict_proba(images), expected, atol=1e-5)


def test_another_resize_is_refused(tmp_path: Path) -> None:
    preset = save_preset(tmp_path / "preset", interpolation="bicubic")
    with pytest.raises(InvalidSpecError) as caught:
        Classifier(kerashub_models.spec(preset, 32, labels=LABELS)).predict(np.zeros((32, 32, 3), np.uint8))
    assert "{'interpolation': 'bicubic'}" in f"{caught.value} {caught.value.__cause__}"


def test_each_name_is_a_preset_of_its_size() -> None:
    described = keras_hub.models.ImageClassifier.presets
    for name, size in kerashub_models.SIZES.items():
        text = described[name]["metadata"]["description"]
        assert f"{size}x{size}" in text.replace(" ", "") or "resolution" not in text, (name, text)
        assert get_spec(f"kerashub:{name}").input_size == (size, size)
    assert set(list_models("kerashub:*")) == {f"kerashub:{name}" for name in kerashub_models.SIZES}
