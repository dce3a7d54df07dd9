"""What the package offers, as data. Importing this imports neither Keras nor what it computes with."""

from pretrained_cnn import ModelSpec, ResizePolicy, RuntimeSpec

__all__ = ["COLORS", "EAGER", "MEAN_COLOR"]

COLORS = {
    "black": (0, 0, 0),
    "blue": (0, 0, 255),
    "brown": (139, 69, 19),
    "green": (0, 128, 0),
    "gray": (128, 128, 128),
    "red": (255, 0, 0),
    "sky blue": (135, 206, 235),
    "tan": (210, 180, 140),
    "white": (255, 255, 255),
    "yellow": (255, 255, 0),
}
"""Names of colors and their RGB, as CSS has them (https://www.w3.org/TR/css-color-4/#named-colors)."""

MEAN_COLOR = ModelSpec(
    name="MeanColor",
    builder="color_nets.network:build",
    input_size=(32, 32),
    preprocess="color_nets.network:preprocess",
    labels=list(COLORS),
    resize=ResizePolicy("squash"),  # every part of the image counts
    embedding_size=3,
    license="MIT",
)

EAGER = RuntimeSpec(name="eager", factory="color_nets.eager:Eager", format="keras")
