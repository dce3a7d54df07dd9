"""From a preset to a network that takes pixel values 0 to 255 and gives probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

EXPECTED = {"interpolation": "bilinear", "antialias": False, "crop_to_aspect_ratio": True, "pad_to_aspect_ratio": False}
"""How the spec says that images are resized."""


def build(preset: str, input_shape: tuple[int, int, int]) -> keras.Model:
    """The network of a preset, with its weights, which KerasHub downloads once.

    The numbers that the preset's image converter applies to pixel values become the first layer. Raises ValueError for
    a preset that resizes in another way than `EXPECTED`, or has no image converter.
    """
    import keras
    import keras_hub

    task = keras_hub.models.ImageClassifier.from_preset(preset)
    converter = getattr(task.preprocessor, "image_converter", None)
    if converter is None:
        raise ValueError(f"{preset} does not say how pixel values are scaled")
    config = converter.get_config()
    differing = {key: config[key] for key, value in EXPECTED.items() if config[key] != value}
    if differing:
        raise ValueError(f"{preset} resizes images by {differing}; this package is written for {EXPECTED}")

    pixels = keras.Input(input_shape)
    scale = 1.0 if config["scale"] is None else config["scale"]
    offset = 0.0 if config["offset"] is None else config["offset"]
    outputs = task(keras.layers.Rescaling(scale, offset)(pixels))
    if task.get_config()["activation"] in (None, "linear"):
        outputs = keras.layers.Softmax()(outputs)
    return keras.Model(pixels, outputs)
