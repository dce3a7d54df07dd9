"""Formats: a class for each way to write a serving graph to files.

A format knows the name of its file, the types that it stores weights in, the packages that writing takes, and how to
list the outputs of a model on disk. A runtime says by name which format it runs. Nothing here imports a converter
before it is needed.
"""

from __future__ import annotations

from pretrained_cnn._registry import Registry
from pretrained_cnn.bundle.formats.base import DTYPES, Dtype, Format
from pretrained_cnn.bundle.formats.keras import Keras
from pretrained_cnn.bundle.formats.litert import LiteRT
from pretrained_cnn.bundle.formats.onnx import ONNX
from pretrained_cnn.bundle.formats.openvino import OpenVINO
from pretrained_cnn.bundle.formats.saved_model import SavedModel
from pretrained_cnn.errors import InvalidArgumentError

__all__ = ["DTYPES", "FORMATS", "Dtype", "Format", "get_format", "list_formats", "register_format", "unregister_format"]

FORMATS = Registry(
    "format",
    Format,
    "pretrained_cnn.formats",
    (Keras(), OpenVINO(), ONNX(), LiteRT(), SavedModel()),
    unknown=InvalidArgumentError,
    exists=InvalidArgumentError,
)
"""All formats that are known by a name."""


def list_formats() -> list[str]:
    """The names of all formats. Imports no converter.

    >>> list_formats()
    ['keras', 'openvino', 'onnx', 'litert', 'saved_model']
    """
    return FORMATS.names()


def get_format(name: str) -> Format:
    """The format of that name. Raises InvalidArgumentError, which lists the names, if no format has it.

    >>> get_format("onnx").file
    'model.onnx'
    """
    return FORMATS.get(name)


def register_format(format: Format, *, overwrite: bool = False) -> None:
    """Make a format known by its name, in this process.

    A package offers one by the entry-point group ``pretrained_cnn.formats``. Raises InvalidArgumentError if the name is
    taken, unless ``overwrite=True``, which replaces the old one.

    >>> register_format(get_format("onnx"))
    Traceback (most recent call last):
    ...
    pretrained_cnn.errors.InvalidArgumentError: a format named 'onnx' exists already; choose another name, or pass \
overwrite=True to replace it
    """
    FORMATS.register(format, overwrite=overwrite)


def unregister_format(name: str) -> None:
    """Forget a format that `register_format` made known. Raises InvalidArgumentError for any other name.

    >>> unregister_format("nothing")
    Traceback (most recent call last):
    ...
    pretrained_cnn.errors.InvalidArgumentError: 'nothing' was not registered by this program, \
so it cannot be unregistered
    """
    FORMATS.unregister(name)
