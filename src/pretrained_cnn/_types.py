"""The types of arguments that users pass.

The types document the arguments. A function checks its arguments when it runs, and says what it expects.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ImageLike", "ImagesLike", "LabeledImages", "SupportsArray", "SupportsItems"]


class SupportsArray(Protocol):
    """An array or tensor of NumPy, Keras, TensorFlow, JAX or PyTorch."""

    @property
    def shape(self) -> object:
        """Its shape."""


ImageLike: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | SupportsArray"
)
"""One image: a path, an http(s) address, bytes, a binary file, a Pillow image, or an array or tensor of shape
``(h, w)``, ``(h, w, 1)``, ``(h, w, 3)`` or ``(h, w, 4)``, uint8 or float in 0..255."""

ImagesLike: TypeAlias = "str | os.PathLike[str] | Iterable[ImageLike | tuple[str, ImageLike]] | SupportsArray"
"""Several images: a folder, a glob, a tar or zip archive, a ``.txt`` file of paths, ``"-"`` for paths on standard
input; or an iterable of images or of ``(name, image)`` pairs; or an array of shape ``(N, h, w, c)``."""


class SupportsItems(Protocol):
    """A data set or a table: of PyTorch, Hugging Face, pandas, Polars or Arrow, or a mapping of columns."""

    def __getitem__(self, index: Any, /) -> Any:
        """One image with its label, or a column."""


LabeledImages: TypeAlias = (
    "str | os.PathLike[str] | tuple[ImagesLike, Iterable[Any]] | "
    "Iterable[tuple[ImageLike | tuple[str, ImageLike], Any]] | SupportsItems"
)
"""Labeled images, in any form that `Classifier.train` takes: a folder with a folder of images for each class, or its
archive; a CSV file; a table; ``(X, y)``; a data set; or pairs of an image and a label."""
