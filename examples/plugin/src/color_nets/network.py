"""The backbone: which color is an image, on the whole?"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from color_nets import COLORS

SHARPNESS = 20.0
"""How sure the network is of the nearest color."""


def preprocess(pixels: Any) -> Any:
    """From 0..255 to 0..1. Plain arithmetic, so that it becomes a part of the graph."""
    return pixels / 255.0


def build(input_shape: tuple[int, int, int]) -> keras.Model:
    """``(height, width, 3)`` to a network from pixels in 0..1 to a probability for each of `COLORS`.

    The logit of a color c is minus the squared distance of the mean color x to it, ``2 x.c - |c|^2 - |x|^2``. The
    last term is the same for all colors, so the softmax does without it. The rest is a dense layer: nothing to train.
    """
    inputs = keras.Input(input_shape)
    mean = layers.GlobalAveragePooling2D()(inputs)
    last = layers.Dense(len(COLORS), activation="softmax")
    model = keras.Model(inputs, last(mean), name="mean_color")
    colors = np.array(list(COLORS.values()), np.float32) / 255
    last.set_weights([SHARPNESS * 2 * colors.T, -SHARPNESS * (colors**2).sum(axis=1)])
    return model
