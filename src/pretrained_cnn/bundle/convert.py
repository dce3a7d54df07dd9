"""Where conversions happen: in a child process wherever that is possible, else here, one at a time.

- `pretrained_cnn.bundle.rebuild`: the child builds the network itself, from the catalog's names and a file of weights.
  The program that asks imports neither Keras nor a converter.
- `convert`: the network exists here only. It goes over as a ``.keras`` file, and the converted files come back.
- A network with layers or functions of its own cannot be read by another process, and where no process can be started
  nothing can. Such a graph is converted here, while other conversions wait; whatever a converter changes is restored.
"""

from __future__ import annotations

import contextlib
import json
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
from pretrained_cnn.bundle.formats import Dtype, Format, get_format
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
    if format.converts and child.allowed and _is_of_keras_alone(graph):
        with contextlib.suppress(child.NoChildError):
            return _convert_in_child(graph, folder, format, spec.name, dtype, images)
    with _undone():
        return _write(graph, folder, format, spec, dtype, images)


def _convert_in_child(
    graph: keras.Model, folder: Path, format: Format, name: str, dtype: Dtype, images: NDArray[np.uint8] | None
) -> list[str]:
    import numpy as np

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        source, given = Path(scratch, "graph.keras"), None
        graph.save(source)
        if images is not None:
            given = str(Path(scratch, "images.npy"))
            np.save(given, images)
        arguments = {"source": str(source), "folder": str(folder), "name": name, "format": format.name, "dtype": dtype}
        outputs: list[str] = child.call(
            f"{__name__}:convert_here", {**arguments, "images": given}, purpose=f"converting {name} to {format.name}"
        )
        return outputs


def convert_here(source: str, folder: str, name: str, format: str, dtype: Dtype, images: str | None) -> list[str]:
    """The child's side of `convert`."""
    use_defaults_of_keras()
    import keras
    import numpy as np

    graph = keras.saving.load_model(source, compile=False, safe_mode=True)
    spec = ModelSpec(name=name, builder="keras:Model", input_size=graph.input_shape[1:3], labels=["all of them"])
    return _write(graph, Path(folder), get_format(format), spec, dtype, None if images is None else np.load(images))


def _write(
    graph: keras.Model, folder: Path, format: Format, spec: ModelSpec, dtype: Dtype, images: NDArray[np.uint8] | None
) -> list[str]:
    path = folder / format.file
    try:
        format.write(graph, path, spec, dtype=dtype, images=images)
        return format.outputs(path)
    except Exception as error:  # each converter raises its own
        raise BundleError(
            f"{spec.name} cannot be written in format={format.name!r}: {type(error).__name__}: {str(error)[:500]}"
        ) from error


def use_defaults_of_keras() -> None:
    """The user's ``keras.json`` may say otherwise, and a graph says by itself what it computes in."""
    import keras

    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")


def _is_of_keras_alone(graph: keras.Model) -> bool:
    """Whether another process can make the graph from its description: each layer and function in it is Keras's."""
    try:
        description = json.loads(graph.to_json())
    except Exception:  # a layer that cannot be described
        return False
    return all(
        str(node.get("module")).partition(".")[0] == "keras"
        for node in _nodes(description)
        if node.get("class_name") not in ("__keras_tensor__", "__tuple__", "__slice__", "__tensor__", "__numpy__")
    )


def _nodes(description: Any) -> Iterator[dict[str, Any]]:
    """Every part of a Keras description that names a class."""
    if isinstance(description, dict):
        if "class_name" in description:
            yield description
        for value in description.values():
            yield from _nodes(value)
    elif isinstance(description, list):
        for value in description:
            yield from _nodes(value)


@contextlib.contextmanager
def _undone() -> Iterator[None]:
    """Convert in this process: nobody else does so meanwhile, and what converters change is as it was afterwards."""
    absl = logging.getLogger("absl")
    with _one_at_a_time, random_kept(), warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        level = absl.level
        warnings.simplefilter("ignore")  # deprecations in the converters, which no caller can mend
        try:
            yield
        finally:
            absl.setLevel(level)
