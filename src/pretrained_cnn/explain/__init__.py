"""Heat maps that show which parts of an image a network uses for a class.

Each of the three methods takes one forward pass and the gradient of the class's logit with respect to the
last feature map. (The gradient of the probability would also depend on the other classes.)

- ``"grad_cam"``: the features, weighted by the mean of their gradient (Selvaraju et al., 2017, arXiv:1610.02391).
- ``"grad_cam++"``: weighted by a mean that weights pixels by their importance. It finds several objects of a class
  better (Chattopadhay et al., 2018, arXiv:1710.11063).
- ``"hires_cam"``: the features times their gradient, pixel by pixel. It shows only places that added to the score
  (Draelos and Carin, 2020, arXiv:2011.08891).

Most networks have a head of one dense layer on pooled features. For these, the first and the last method give the
same map, that of CAM (Zhou et al., 2016, arXiv:1512.04150). Score-CAM is left out: it takes a forward pass for each
channel of the map, 2,048 for Xception.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from typing_extensions import override

from pretrained_cnn.engine import Engine
from pretrained_cnn.errors import ImageError, InvalidArgumentError
from pretrained_cnn.images.decode import decode
from pretrained_cnn.images.resize import policy_for, resize, window
from pretrained_cnn.images.sources import Item
from pretrained_cnn.labels import Prediction, class_indices
from pretrained_cnn.results import drawing
from pretrained_cnn.spec import HeatMapMethod, ModelSpec, ResizePolicy

__all__ = ["Explanation", "explain", "project_to_image"]

BAND = 4_000_000
"""Pixels of a heat map that are made at a time."""
BYTES_A_PIXEL = 8
"""Bytes of memory that an explanation takes for each pixel: the image and its heat map."""

FADE = 12
"""A map that ends within an image fades over this part of its width and height."""

COLORS = ((0, 0, 60), (90, 20, 140), (200, 40, 110), (250, 120, 40), (255, 235, 120))
"""From nothing to most, each brighter than the one before it, so that the order also shows in gray."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """A heat map of the parts of an image that a network uses for a class.

    >>> from pretrained_cnn import Classifier
    >>> explanation = Classifier("EfficientNetLite0").explain("examples/images/clock.png")
    >>> explanation
    Explanation('examples/images/clock.png': analog_clock by grad_cam)
    >>> explanation.heat_map.shape, explanation.overlay().size
    ((360, 480), (480, 360))
    """

    source: str
    """The image's name, as in `Result.source`."""
    prediction: Prediction
    """The class that is explained, and its score."""
    method: HeatMapMethod
    heat_map: NDArray[np.float32] = field(repr=False)
    """``(h, w)``, 0 to 1, over the image at its original size. The maximum is 1, or 0 if no place supports the class.

    Parts that the network does not see, such as the border outside of a center crop, are 0.
    """
    image: Image.Image = field(repr=False)
    """The image, upright, RGB, ``w`` x ``h``."""

    def overlay(self, opacity: float = 0.6) -> Image.Image:
        """The image with the heat map laid over it: RGB, of the image's size.

        ``opacity``, 0 to 1, is that of the hottest place; where the map is 0 the image shows as it is. Where the map
        ends within the image, as at the edge of a center crop, the last pixels fade.
        """
        if not 0 <= opacity <= 1:
            raise InvalidArgumentError(f"opacity={opacity!r} is not a number from 0 to 1")
        levels = np.rint(self.heat_map * 255).astype(np.uint8)
        steps = np.linspace(0, 255, len(COLORS))
        palette = np.stack([np.interp(range(256), steps, channel) for channel in zip(*COLORS, strict=True)], axis=-1)
        colors = Image.fromarray(palette.astype(np.uint8)[levels])
        rows, columns = (_fade(np.asarray(levels.any(axis=axis))) for axis in (1, 0))
        mask = np.rint(levels * opacity * rows[:, np.newaxis] * columns).astype(np.uint8)
        return Image.composite(colors, self.image, Image.fromarray(mask))

    def captioned(self) -> Image.Image:
        """The overlay with a line below it: the class, its score, and the method. RGB, higher than the image.

        >>> from pretrained_cnn import Classifier
        >>> explanation = Classifier("EfficientNetLite0").explain("examples/images/clock.png")
        >>> explanation.captioned().width == explanation.image.width
        True
        """
        label = self.prediction.label.replace("_", " ")
        return drawing.captioned(self.overlay(), f"{label}  {100 * self.prediction.score:.1f} %  {self.method}")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `captioned` to a file, in the format that its suffix names.

        Raises OSError if the file cannot be written, ValueError for a suffix that Pillow does not know.

        >>> import tempfile
        >>> from pretrained_cnn import Classifier
        >>> path = tempfile.mkdtemp() + "/clock.png"
        >>> Classifier("EfficientNetLite0").explain("examples/images/clock.png").save(path)
        """
        self.captioned().save(path)

    def _repr_png_(self) -> bytes:
        """The representation in a notebook."""
        stream = io.BytesIO()
        self.captioned().save(stream, "PNG")
        return stream.getvalue()

    @override
    def __repr__(self) -> str:
        return f"Explanation({self.source!r}: {self.prediction.label} by {self.method})"


def _fade(seen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """A factor for each row or column: 1, but towards an end of the map within the image it falls to 0."""
    places = np.flatnonzero(seen)
    if not len(places):
        return np.ones(len(seen), np.float32)
    first, last = places[0], places[-1]
    width, at = max(1, (last - first) // FADE), np.arange(len(seen), dtype=np.float32)
    factor = np.ones(len(seen), np.float32)
    if first:
        factor = np.minimum(factor, (at - first) / width)
    if last < len(seen) - 1:
        factor = np.minimum(factor, (last - at) / width)
    return np.clip(factor, 0, 1).astype(np.float32)


def explain(
    engine: Engine, item: Item, target: int | str | None = None, method: HeatMapMethod = "grad_cam"
) -> Explanation:
    """Explain a class in one image; the arguments are those of `Classifier.explain`."""
    spec = engine.spec
    if spec.multi_label and target is None:
        raise InvalidArgumentError("an image may have several labels here; name the one to explain: target=...")
    explainer = engine.explainer(method)
    full = decode(item, engine.image_policy)
    takes = BYTES_A_PIXEL * full.width * full.height
    if takes > engine.image_policy.max_memory:
        raise ImageError(
            item.name,
            f"an explanation of its {full.width} x {full.height} pixels takes {takes:,} bytes, more than "
            f"{engine.image_policy.max_memory:,} (ImagePolicy.max_memory); give a smaller copy",
        )
    policy = policy_for(item.image, full.size, spec.input_size, spec.resize)
    pixels = resize(full, spec.input_size, policy, spec.channels)[np.newaxis]
    ((scores,),) = engine.open().run(pixels)
    index = int(scores.argmax()) if target is None else _class_index(target, spec, len(scores))
    (heat_map,) = explainer(pixels, np.array([index]))
    ((prediction,),) = engine.predictions(np.eye(1, len(scores), index, np.float32), top=1)
    return Explanation(
        item.name,
        replace(prediction, score=float(scores[index]), index=index),
        method,
        project_to_image(heat_map, full.size, spec.input_size, policy),
        full,
    )


def _class_index(target: int | str, spec: ModelSpec, width: int) -> int:
    """The column of a class, given as the column, the class's id or its name."""
    if isinstance(target, str) and spec.labels:
        return class_indices([target], spec.labels, "target")[0]
    if not isinstance(target, int | np.integer) or isinstance(target, bool) or not 0 <= target < width:
        raise InvalidArgumentError(f"target={target!r} is neither a class's name nor a number from 0 to {width - 1}")
    return int(target)


def project_to_image(
    heat_map: NDArray[np.float32],
    image_size: tuple[int, int],
    input_size: tuple[int, int],
    resize_policy: ResizePolicy,
) -> NDArray[np.float32]:
    """A heat map over what the network was shown as one over the whole image: float32 ``(h, w)``.

    ``image_size`` is the image's ``(width, height)``, ``input_size`` the network's ``(height, width)``.
    """
    left, top, right, bottom = window(image_size, input_size, resize_policy)
    down, across = heat_map.shape[0] / (bottom - top), heat_map.shape[1] / (right - left)
    # Edges are repeated once, so that the outermost half of a pixel is not faded out.
    wide = Image.fromarray(np.pad(heat_map, 1, mode="edge"))
    width, height = image_size
    heat = np.empty((height, width), np.float32)
    at_once = max(1, BAND // width)
    for row in range(0, height, at_once):  # so that a large image has one map in memory, and no copy of it
        size = width, min(at_once, height - row)
        to_map = (across, 0, 1 - left * across, 0, down, 1 - (top - row) * down)
        placed = wide.transform(size, Image.Transform.AFFINE, to_map, Image.Resampling.BILINEAR)
        heat[row : row + at_once] = np.asarray(placed)
    columns, rows = np.arange(width) + 0.5, np.arange(height) + 0.5
    heat[:, (columns < left) | (columns > right)] = 0
    heat[(rows < top) | (rows > bottom)] = 0
    heat /= heat.max() or 1
    return heat
