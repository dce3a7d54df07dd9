"""Add a backbone of your own, give it to people by name, and use it.

The network here has two classes and was never trained, so what it answers means nothing; the way it is
added is the same for one that was. Run: ``python examples/own_backbone.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from pretrained_cnn import Classifier, ModelSpec, ResizePolicy, register

CLOCK = Path(__file__).parent / "images" / "clock.png"


def build(input_shape: tuple[int, int, int]) -> keras.Model:
    """A small network: pixels as `preprocess` makes them -> probabilities of two classes."""
    return keras.Sequential(
        [
            keras.Input(input_shape),
            keras.layers.Conv2D(16, 3, strides=2, activation="relu"),
            keras.layers.SeparableConv2D(32, 3, strides=2, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )


def preprocess(pixels: Any) -> Any:
    """From RGB in 0..255 to -1..1. Plain arithmetic, so that it becomes a part of the graph."""
    return pixels / 127.5 - 1.0


register(
    ModelSpec(
        name="TinyNet",
        builder=build,
        input_size=(96, 128),  # height, width
        preprocess=preprocess,
        labels=["round", "square"],
        resize=ResizePolicy("pad"),
    )
)

clf = Classifier("tiny-net")
print(clf.predict(CLOCK))
print("embedding:", clf.embed([CLOCK]).shape)
