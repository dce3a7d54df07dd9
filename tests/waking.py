"""Give a freshly initialized network something to say.

MobileNet, Xception and EfficientNet answer 0.001 for every class before they are trained, whatever comes
in, so that two pipelines would agree on them even if one were wrong. A woken network tells images apart.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pretrained_cnn.backbones.graph import before, find_head

FAMILIES = [
    "Xception",
    "VGG16",
    "ResNet50",
    "ResNet50V2",
    "InceptionV3",
    "InceptionResNetV2",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "DenseNet121",
    "NASNetMobile",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "ConvNeXtTiny",
]
"""The smallest of each family."""


def layers_of(model: keras.Model) -> list[Any]:
    """All layers, those of models within the model included."""
    return list(model._flatten_layers(include_self=False, recursive=True))


def wake(model: keras.Model, inputs: np.ndarray) -> None:
    """Set ``model``'s weights so that its classes depend on the image.

    BatchNorm takes its statistics from ``inputs`` ``(N, H, W, 3)``, preprocessed; ConvNeXt's LayerScale
    becomes 0.3; the head is scaled until the logits deviate by 2, and its bias removes each class's mean.
    Dropout is switched off permanently, so that one pass gives both the statistics and the features that follow from
    them.
    """
    for layer in layers_of(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
        elif isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
        elif type(layer).__name__ == "StochasticDepth":
            layer.drop_path_rate = 0.0
        elif type(layer).__name__ == "LayerScale":
            layer.set_weights([np.full_like(weight, 0.3) for weight in layer.get_weights()])
    found = find_head(model)
    assert found is not None
    trunk = keras.Model(model.inputs[0], before(model, found))
    # As a traced function, which frees each layer's outputs; called eagerly, Keras keeps all of them to the end.
    features = tf.function(lambda: trunk(inputs, training=True))().numpy()
    head = found.call.operation
    kernel, bias = head.get_weights()
    logits = features.reshape(len(inputs), -1) @ kernel.reshape(-1, kernel.shape[-1])
    scale = 2.0 / logits.std()
    head.set_weights([kernel * scale, np.reshape(-logits.mean(axis=0) * scale, bias.shape)])
