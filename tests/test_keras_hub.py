"""KerasHub's image classifiers through `Classifier.from_keras`; it is in the dependency group `slow`."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from pretrained_cnn import Classifier


@pytest.mark.slow
def test_an_image_classifier_of_keras_hub_works() -> None:
    keras_hub = pytest.importorskip("keras_hub")

    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(32, 32, 3),
    )
    model = keras_hub.models.ImageClassifier(backbone=backbone, num_classes=3)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    clf = Classifier.from_keras(model, labels=["a", "b", "c"], preprocess=lambda x: x / 127.5 - 1, from_logits=True)
    expected = keras.ops.softmax(model(images / np.float32(127.5) - 1))
    np.testing.assert_allclose(clf.predict_proba(images), expected, atol=1e-5)
    assert clf.embed(images).shape == (2, 64)
    assert clf.explain(images[0]).heat_map.max() == 1
