"""Presets of KerasHub as specs, by the names in `SIZES`. Importing this imports neither Keras nor KerasHub."""

from functools import partial
from typing import Literal

from kerashub_models.network import build
from pretrained_cnn import ModelSpec, ResizePolicy

__all__ = ["SIZES", "spec"]

SIZES = {
    "darknet_53_imagenet": 256,
    "densenet_121_imagenet": 224,
    "densenet_169_imagenet": 224,
    "densenet_201_imagenet": 224,
    "mobilenet_v3_large_100_imagenet": 224,
    "mobilenet_v3_small_050_imagenet": 224,
    "mobilenet_v3_small_100_imagenet": 224,
    "resnet_18_imagenet": 224,
    "resnet_50_imagenet": 224,
    "resnet_101_imagenet": 224,
    "resnet_152_imagenet": 224,
    "resnet_v2_50_imagenet": 224,
    "resnet_v2_101_imagenet": 224,
    "resnet_vd_18_imagenet": 224,
    "resnet_vd_50_imagenet": 224,
    "vgg_16_imagenet": 224,
}
"""The side of the images, in pixels, that KerasHub's descriptions of its presets give (``ImageClassifier.presets``)."""

RESIZE = ResizePolicy("crop", crop_fraction=1.0, interpolation="bilinear", antialias=False)
"""What KerasHub's image converters do unless a preset says otherwise, which `build` refuses."""


def spec(
    preset: str, size: int, *, name: str | None = None, labels: list[str] | Literal["imagenet"] = "imagenet"
) -> ModelSpec:
    """The spec of any preset of an image classifier.

    ``preset`` is a name, a folder, or a handle such as ``"hf://timm/resnet18.a1_in1k"``, which KerasHub converts from
    timm. Register what this gives with `pretrained_cnn.register_model`, or hand it to `pretrained_cnn.Classifier`.
    """
    return ModelSpec(
        name=name or f"kerashub:{preset}",
        builder=partial(build, preset),
        input_size=(size, size),
        preprocess=None,  # the preset's numbers are in the network
        labels=labels,
        resize=RESIZE,
    )


def __getattr__(name: str) -> ModelSpec:
    if name in SIZES:
        return spec(name, SIZES[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
