"""`Format`, the base class of all formats."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pretrained_cnn._check import choice, listed
from pretrained_cnn.errors import InvalidArgumentError, MissingDependencyError

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

    from pretrained_cnn.spec import ModelSpec

__all__ = ["DTYPES", "SIGNATURE", "ConvertedFormat", "Dtype", "Format"]

Dtype = Literal["float32", "float16", "int8"]
"""The type of the weights in a saved file. ``"int8"`` needs images for quantization."""

SIGNATURE = "serving_default"
"""The signature of a SavedModel with the outputs of the serving graph."""

DTYPES: tuple[Dtype, ...] = ("float32", "float16", "int8")


class Format:
    """A format that serving graphs are written in.

    A subclass sets `name`, `file`, and, if they differ from the defaults, `dtypes` and `needs`. It defines
    `write` and `outputs`, and `rewrite` if it sets `takes`. Register an instance with `register_format`.

    >>> from pretrained_cnn.bundle.formats.onnx import ONNX
    >>> ONNX().file, ONNX().dtypes
    ('model.onnx', ('float32',))
    """

    name: ClassVar[str]
    """The name of the format, as in ``format="..."``."""
    file: ClassVar[str]
    """The name of the file or folder of the model in a bundle."""
    dtypes: ClassVar[tuple[Dtype, ...]] = ("float32",)
    """The types in which it can store weights."""
    needs: ClassVar[tuple[tuple[str, str | None], ...]] = ()
    """Modules that writing needs, each with the extra of this library that installs it, or None."""
    takes: ClassVar[tuple[str, ...]] = ()
    """Other formats whose files `rewrite` takes."""

    def write(
        self, graph: keras.Model, path: Path, spec: ModelSpec, *, dtype: Dtype, images: NDArray[np.uint8] | None
    ) -> None:
        """Write a serving graph to ``path``, a new file or folder.

        The input of ``graph`` is named ``images``, uint8 ``(N, H, W, C)``; its outputs are a dictionary of float32
        arrays, and the model must have exactly those, by the same names. ``images``, uint8 ``(N, H, W, C)``, are the
        images for quantization with ``dtype="int8"``. Any exception means that the format cannot express the graph.
        """
        raise NotImplementedError

    def rewrite(self, model: Path, path: Path) -> None:
        """Write the model in the file ``model``, of a format in `takes`, to ``path``: same input, outputs and order."""
        raise NotImplementedError

    def outputs(self, path: Path) -> list[str]:
        """The names of all outputs of the model at ``path``, also of those that were not requested."""
        raise NotImplementedError

    def require(self, dtype: Dtype = "float32") -> None:
        """Raise unless this format stores ``dtype`` (InvalidArgumentError) and can be written here.

        Raises MissingDependencyError, which says what to install, for a missing package.

        >>> from pretrained_cnn.bundle.formats.keras import Keras
        >>> Keras().require("float32")
        """
        choice("dtype", dtype, DTYPES)
        if dtype not in self.dtypes:
            raise InvalidArgumentError(
                f"format={self.name!r} does not store dtype={dtype!r}; it stores {listed(self.dtypes)}"
            )
        for module, extra in (*self.needs, *((("nncf", "quantize"),) if dtype == "int8" else ())):
            if find_spec(module) is None:
                raise MissingDependencyError(module, extra=extra)


class ConvertedFormat(Format):
    """A format of ours that a converter writes, from a SavedModel and in a process of its own."""

    def convert(
        self,
        saved_model: Path,
        path: Path,
        *,
        dtype: Dtype,
        images: NDArray[np.uint8] | None,
        says: Mapping[str, Any],
    ) -> None:
        """Write the graph in the folder ``saved_model`` to ``path``.

        The signature `SIGNATURE` takes ``images``, uint8 ``(N, H, W, C)``, and gives ``says["outputs"]``. ``says`` is
        the description that the file keeps, as ``labels.json`` does. The other arguments are those of `Format.write`.
        """
        raise NotImplementedError
