"""The backbone: which colour is a picture, on the whole?"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from colour_nets import COLOURS

SHARPNESS = 20.0
"""How sure the network is of the nearest colour."""


def preprocess(pixels: Any) -> Any:
    """From 0..255 to 0..1. Plain arithmetic, so that it becomes a part of the graph."""
    return pixels / 255.0


def build(input_shape: tuple[int, int, int]) -> keras.Model:
    """``(height, width, 3)`` to a network from pixels in 0..1 to a probability for each of `COLOURS`.

    The logit of a colour c is minus the squared distance of the mean colour x to it, ``2 x.c - |c|^2 - |x|^2``. The
    last term is the same for all colours, so the softmax does without it. The rest is a dense layer: nothing to train.
    """
    inputs = keras.Input(input_shape)
    mean = layers.GlobalAveragePooling2D()(inputs)
    last = layers.Dense(len(COLOURS), activation="softmax")
    model = keras.Model(inputs, last(mean), name="mean_colour")
    colours = np.array(list(COLOURS.values()), np.float32) / 255
    last.set_weights([SHARPNESS * 2 * colours.T, -SHARPNESS * (colours**2).sum(axis=1)])
    return model
