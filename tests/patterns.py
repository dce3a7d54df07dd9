"""Images with classes, drawn: stripes that run one way or the other, and squares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

from pretrained_cnn import ModelSpec

SIZE = (32, 32)
CLASSES = ("across", "down", "squares")


def draw(folder: Path, each: int, *, seed: int = 0, classes: tuple[str, ...] = CLASSES) -> Path:
    """A folder of class folders with ``each`` noisy images a class, of any colors, widths and phases."""
    generator = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(each):
            y, x = np.mgrid[:40, :40] + generator.integers(0, 40, (2, 1, 1))
            width = generator.integers(3, 6)
            across, down = y // width % 2, x // width % 2
            mask = {"across": across, "down": down, "squares": across ^ down}[name][..., np.newaxis]
            dark, light = generator.uniform(0, 100, 3), generator.uniform(155, 255, 3)
            pixels = np.where(mask, dark, light) + generator.normal(0, 40, (40, 40, 3))
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / name / f"{i:03}.png")
    return folder


def small(input_shape: tuple[int, int, int]) -> keras.Model:
    """A network with BatchNormalization, the same random weights each time, and statistics that are not the first."""
    inputs = x = keras.Input(input_shape)
    for i, filters in enumerate((8, 12, 16)):
        initial = keras.initializers.HeNormal(seed=i)
        x = keras.layers.Conv2D(filters, 3, strides=2, kernel_initializer=initial, name=f"conv{i}")(x)
        x = keras.layers.BatchNormalization(
            moving_mean_initializer=keras.initializers.RandomNormal(stddev=0.2, seed=i), name=f"bn{i}"
        )(x)
        x = keras.layers.ReLU(name=f"relu{i}")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dense(2, activation="softmax", kernel_initializer=keras.initializers.Zeros())(x)
    return keras.Model(inputs, x, name="small")


def scale(pixels: Any) -> Any:
    """From 0..255 to -1..1."""
    return pixels / 127.5 - 1.0


SMALL = ModelSpec(name="Small", builder=small, input_size=SIZE, preprocess=scale, labels=["a", "b"])
