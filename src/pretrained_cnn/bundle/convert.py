"""Conversions of a serving graph: in a child process if possible, else in this process, one at a time.

- `pretrained_cnn.bundle.rebuild`: the child builds the network itself, from the catalog's names and a file of weights.
  The program that asks imports neither Keras nor a converter.
- `convert`: the network exists here only. It goes over as a SavedModel, which holds operations and weights and no code,
  and the converted files come back. Keras on torch or jax writes no SavedModel: there it goes over as a ``.keras``
  file, which TensorFlow can read if each layer and function is Keras's.
- Where no process can be started, and to a format that the program registered, the graph is converted here, while other
  conversions wait; whatever a converter changes is restored.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretrained_cnn._process import random_kept
from pretrained_cnn.bundle import child
from pretrained_cnn.bundle.description import describe
from pretrained_cnn.bundle.formats import FORMATS, Dtype, Format, get_format
from pretrained_cnn.bundle.formats.base import SIGNATURE, ConvertedFormat
from pretrained_cnn.errors import BundleError
from pretrained_cnn.spec import ModelSpec

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["convert", "convert_here", "use_defaults_of_keras"]

log = logging.getLogger(__name__)

_one_at_a_time = threading.RLock()


def convert(
    graph: keras.Model,
    folder: Path,
    *,
    format: Format,
    spec: ModelSpec,
    dtype: Dtype,
    images: NDArray[np.uint8] | None,
) -> list[str]:
    """Write a serving graph to ``folder``, under the name that ``format`` gives it, and list the outputs of the model.

    Raises BundleError if the format cannot express the graph.
    """
    if not isinstance(format, ConvertedFormat):
        with _failures_named(spec.name, format.name):
            format.write(graph, folder / format.file, spec, dtype=dtype, images=images)
            return format.outputs(folder / format.file)
    import numpy as np

    with tempfile.TemporaryDirectory(prefix="pretrained_cnn-", ignore_cleanup_errors=True) as scratch:
        with _failures_named(spec.name, format.name), _logging_kept(), random_kept():
            source = _hand_over(graph, Path(scratch))
        given = None
        if images is not None:
            given = str(Path(scratch, "images.npy"))
            np.save(given, images)
        arguments: dict[str, Any] = {
            "source": str(source),
            "folder": str(folder),
            "name": spec.name,
            "format": format.name,
            "dtype": dtype,
            "images": given,
            "says": describe(spec, {name: output.shape[1] for name, output in graph.output.items()}),
        }
        try:
            if FORMATS.origin(format.name) is None:
                raise child.NoChildError(f"format={format.name!r} is known in this process only")
            found: list[str] = child.call(
                f"{__name__}:convert_here", arguments, purpose=f"converting {spec.name} to {format.name}"
            )
        except child.NoChildError:
            with _undone():
                return convert_here(**arguments)
        return found


def convert_here(
    source: str,
    folder: str,
    name: str,
    format: str,
    dtype: Dtype,
    images: str | None,
    says: dict[str, Any],
) -> list[str]:
    """The child's side of `convert`."""
    import numpy as np

    kind = get_format(format)
    assert isinstance(kind, ConvertedFormat)
    path = Path(folder, kind.file)
    with _failures_named(name, format):
        given = None if images is None else np.load(images)
        kind.convert(_saved_model(Path(source)), path, dtype=dtype, images=given, says=says)
        return kind.outputs(path)


def _hand_over(graph: keras.Model, scratch: Path) -> Path:
    """The graph in a form that another process can read."""
    import keras

    from pretrained_cnn.backbones.graph import has_foreign_code

    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _write_saved_model(graph, scratch / "saved_model")
    if has_foreign_code(graph):
        raise BundleError(
            "it has layers or functions of its own, which only TensorFlow can hand to the converter, and Keras runs on "
            f"{backend}; set KERAS_BACKEND=tensorflow"
        )
    file = scratch / "graph.keras"
    graph.save(file)
    return file


def _saved_model(source: Path) -> Path:
    """What `_hand_over` gave, as a SavedModel in any case."""
    if source.suffix != ".keras":
        return source
    use_defaults_of_keras()
    import keras

    if keras.backend.backend() != "tensorflow":
        raise BundleError(
            "the converter needs TensorFlow in a process of its own, none can be started here, and Keras runs on "
            f"{keras.backend.backend()}; set KERAS_BACKEND=tensorflow"
        )
    graph = keras.saving.load_model(source, compile=False, safe_mode=True)
    return _write_saved_model(graph, source.with_name("saved_model"))


def _write_saved_model(graph: keras.Model, folder: Path) -> Path:
    """Write the graph with its one signature: a converter needs the operations and the weights, and no layers.

    So the network is traced once; `keras.export.ExportArchive` traces it for each of its layers' ways to be called.
    Keras compiles grouped convolutions, as in ConvNeXt, by XLA, and no converter sees through that: such functions are
    made ordinary ones.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    images = tf.TensorSpec((None, *graph.input_shape[1:]), tf.uint8, name="images")
    serve = tf.function(lambda images: graph(images, training=False), input_signature=[images], autograph=False)
    module = tf.Module()
    module.kept = [variable.value for variable in graph.variables]
    tf.saved_model.save(module, str(folder), signatures={SIGNATURE: serve})
    file = folder / "saved_model.pb"
    model = SavedModel.FromString(file.read_bytes())
    for meta in model.meta_graphs:
        functions = meta.graph_def.library.function
        for part in (*functions, *(node for function in functions for node in function.node_def)):
            for mark in ("_XlaMustCompile", "_noinline"):
                part.attr.pop(mark, None)
    file.write_bytes(model.SerializeToString())
    return folder


@contextlib.contextmanager
def _failures_named(name: str, format: str) -> Iterator[None]:
    """Raise BundleError that names network and format, whatever a converter raises: each has its own exceptions."""
    try:
        yield
    except Exception as error:  # each converter raises its own
        kind = "" if isinstance(error, BundleError) else f"{type(error).__name__}: "
        raise BundleError(f"{name} cannot be written in format={format!r}: {kind}{str(error)[:500]}") from error


def use_defaults_of_keras() -> None:
    """The user's ``keras.json`` may say otherwise, and a graph says by itself what it computes in."""
    import keras

    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")


@contextlib.contextmanager
def _logging_kept() -> Iterator[None]:
    """Leave the root logger and absl's as they are: where the root has no handler, a message by absl gives it one."""
    root, absl, handler = logging.getLogger(), logging.getLogger("absl"), logging.NullHandler()
    with _one_at_a_time:
        level = absl.level
        root.addHandler(handler)
        try:
            yield
        finally:
            root.removeHandler(handler)
            absl.setLevel(level)


@contextlib.contextmanager
def _undone() -> Iterator[None]:
    """Convert in this process: nobody else does so meanwhile, and what converters change is as it was afterwards."""
    with (
        _logging_kept(),
        random_kept(),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(sys.stderr),
    ):
        warnings.simplefilter("ignore")  # deprecations in the converters, which no caller can mend
        yield
