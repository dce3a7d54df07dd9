"""Model files that this library did not write: which can be opened, and the reader of each kind."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pretrained_cnn.errors import InvalidArgumentError
from pretrained_cnn.foreign.description import FileDescription
from pretrained_cnn.foreign.graph_files import READERS, open_graph
from pretrained_cnn.foreign.graph_files import describe as read_graph
from pretrained_cnn.foreign.kinds import KERAS, KERAS_HDF5, SAVED_MODEL, FileKind, kind_of
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.spec import ModelSpec

__all__ = ["ARGUMENTS", "ModelFile", "find_file", "inspect_file", "open_file"]

Open = Callable[..., ModelSpec | Path]
"""What opens a file with the arguments of `Classifier.from_file` that no reader needs: see `open_file`."""

OF_KERAS = ("custom_objects", "trust")
OF_GRAPHS = ("channels", "layout")
OF_READERS = ("layout", "input_size", "signature", *OF_KERAS)
ARGUMENTS = (
    *("labels", "preprocess", "scale", "mean", "std", "resize", "input_size", "from_logits", "multi_label"),
    *OF_KERAS,
    *OF_GRAPHS,
    "signature",
)
"""What can be told of a file."""

KERAS_KINDS = (KERAS, KERAS_HDF5)


class ModelFile(NamedTuple):
    """A file, or the folder of a SavedModel, that can be opened."""

    path: Path
    kind: FileKind


def find_file(path: Path) -> ModelFile | FileKind | None:
    """The model file at ``path``; or what is there instead, or None where that is nothing like a model.

    Raises OSError if it cannot be read.
    """
    kind = kind_of(path)
    return ModelFile(path, kind) if kind in (*KERAS_KINDS, *READERS) else kind


def open_file(file: ModelFile, image_policy: ImagePolicy, **arguments: Any) -> ModelSpec | Path:
    """The spec whose builder gives the model of a Keras file; of any other, the temporary folder of a bundle.

    The arguments are those of `Classifier.from_file`. Raises ModelFileError for a file that
    cannot be opened, InvalidArgumentError for arguments that do not fit it.
    """
    given = _given(file, arguments)
    if file.kind in KERAS_KINDS:
        from pretrained_cnn.foreign.keras_file import open_keras

        return open_keras(file.path, image_policy, **given)
    return open_graph(file.path, file.kind, image_policy, **given)


def inspect_file(
    file: ModelFile, image_policy: ImagePolicy = ImagePolicy(), **arguments: Any
) -> tuple[FileDescription, Open]:
    """What is in a file, and what opens it as `open_file` does, with arguments that may differ from call to call.

    Of ``arguments``, those count that say how a file is read; a Keras file is loaded once. Raises as `open_file` does.
    """
    given = {name: value for name, value in _given(file, arguments).items() if name in OF_READERS}
    if file.kind in KERAS_KINDS:
        from pretrained_cnn.foreign import keras_file
        from pretrained_cnn.foreign.keras_load import Exported, loaded

        size = given.pop("input_size", None)
        with loaded(file.path, **given) as found, tempfile.TemporaryDirectory() as folder:
            if isinstance(found, Exported):
                graph = read_graph(found.path, SAVED_MODEL, Path(folder), input_size=size)
                return graph.describe(), functools.partial(open_file, file, image_policy, input_size=size, **given)
            open_model = functools.partial(keras_file.as_spec, found, file.path.name, input_size=size)
            return keras_file.describe(found, file.path.name), open_model
    with tempfile.TemporaryDirectory() as folder:
        graph = read_graph(file.path, file.kind, Path(folder), **given)
    return graph.describe(), functools.partial(open_graph, file.path, file.kind, image_policy, **given)


def _given(file: ModelFile, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that are given. Raises InvalidArgumentError for those that are not for files of this kind."""
    given = {name: value for name, value in arguments.items() if value is not None and value is not False}
    if "signature" in given and file.kind != SAVED_MODEL:
        raise InvalidArgumentError(f"signature=... is for a SavedModel, and {file.path} is {file.kind.what}")
    is_keras = file.kind in KERAS_KINDS
    for name in OF_GRAPHS if is_keras else OF_KERAS:
        if name in given:
            other = "TFLite, ONNX, OpenVINO and SavedModel" if is_keras else "Keras"
            raise InvalidArgumentError(f"{name}=... is for files of {other}, and {file.path} is {file.kind.what}")
    return given
