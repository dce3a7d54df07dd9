"""Where conversions happen: in a child process wherever that is possible, else here, one at a time.

- `build_and_write`: the child builds the network itself, from the catalog's names and a file of weights. The program that
  asks imports neither Keras nor a converter.
- `convert`: the network exists here only. It goes over as a ``.keras`` file, and the converted files come back.
- A network with layers or functions of its own cannot be read by another process, and where no process can be started
  nothing can. Such a graph is converted here, while other conversions wait; whatever a converter changes is restored.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretrained_cnn._process import random_kept
from pretrained_cnn.bundle import child
from pretrained_cnn.bundle.formats import Dtype, Format, get_format
from pretrained_cnn.errors import MissingDependencyError
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.spec import ModelSpec, Output

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["build_and_write", "convert"]

log = logging.getLogger(__name__)

_one_at_a_time = threading.RLock()


def build_and_write(
    path: Path,
    spec: ModelSpec,
    *,
    weights: str,
    options: Mapping[str, Any],
    outputs: Sequence[Output],
    layer: str | None,
    format: str,
) -> None:
    """Build the network of ``spec`` in a child process, and write its serving graph as a bundle to ``path``.

    Builder and preprocess function are known by name, options are plain data, and ``weights`` is ``"imagenet"`` or a
    path. Raises NoChildError where no child can be started, and whatever building and writing raise.
    """
    for module in ("keras", "tensorflow"):
        if importlib.util.find_spec(module) is None:
            raise MissingDependencyError(module, extra=None)
    arguments = {
        "path": str(path),
        "spec": spec.to_dict(),
        "weights": weights,
        "options": dict(options),
        "outputs": list(outputs),
        "layer": layer,
        "format": format,
    }
    child.call("pretrained_cnn.bundle.convert:_build_and_write", arguments)


def _build_and_write(
    path: str,
    spec: dict[str, Any],
    weights: str,
    options: dict[str, Any],
    outputs: list[Output],
    layer: str | None,
    format: str,
) -> None:
    """What the child does."""
    _use_defaults_of_keras()
    from pretrained_cnn.backbones.build import build
    from pretrained_cnn.backbones.serving import serving_graph
    from pretrained_cnn.bundle.store import write_bundle, with_labels

    read = ModelSpec.from_dict(spec)
    graph = serving_graph(build(read, weights=weights, options=options), outputs, layer)
    write_bundle(Path(path), graph, with_labels(read, graph), ImagePolicy(), format=format)


def convert(
    graph: keras.Model,
    folder: Path,
    *,
    format: Format,
    spec: ModelSpec,
    dtype: Dtype,
    images: NDArray[np.uint8] | None,
) -> list[str]:
    """Write a serving graph to ``folder``, under the name that ``format`` gives it. Returns the names of its outputs."""
    if format.converts and not child.inside() and _is_of_keras_alone(graph):
        with contextlib.suppress(child.NoChildError):
            return _convert_in_child(graph, folder, format, dtype, images)
    with _undone():
        path = folder / format.file
        format.write(graph, path, spec, dtype=dtype, images=images)
        return format.outputs(path)


def _convert_in_child(
    graph: keras.Model, folder: Path, format: Format, dtype: Dtype, images: NDArray[np.uint8] | None
) -> list[str]:
    import numpy as np

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        source, given = Path(scratch, "graph.keras"), None
        graph.save(source)
        if images is not None:
            given = str(Path(scratch, "images.npy"))
            np.save(given, images)
        arguments = {"source": str(source), "folder": str(folder), "format": format.name, "dtype": dtype}
        outputs: list[str] = child.call("pretrained_cnn.bundle.convert:_convert", {**arguments, "images": given})
        return outputs


def _convert(source: str, folder: str, format: str, dtype: Dtype, images: str | None) -> list[str]:
    """What the child does."""
    _use_defaults_of_keras()
    import keras
    import numpy as np

    graph = keras.saving.load_model(source, compile=False, safe_mode=True)
    writer = get_format(format)
    path = Path(folder, writer.file)
    spec = ModelSpec(name=graph.name, builder="builtins:NotImplemented", input_size=graph.input_shape[1:3], labels=["-"])
    writer.write(graph, path, spec, dtype=dtype, images=None if images is None else np.load(images))
    return writer.outputs(path)


def _use_defaults_of_keras() -> None:
    """The user's ``keras.json`` may say otherwise, and a graph says by itself what it computes in."""
    import keras

    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")


def _is_of_keras_alone(graph: keras.Model) -> bool:
    """Whether another process can make the graph from its description: no layer, function or lambda is anybody's own."""
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
