"""A bundle of a network that a child process builds from names and a file of weights."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pretrained_cnn.bundle import child
from pretrained_cnn.bundle.convert import use_defaults_of_keras
from pretrained_cnn.bundle.formats import get_format
from pretrained_cnn.bundle.store import write_converted
from pretrained_cnn.errors import MissingDependencyError
from pretrained_cnn.spec import ModelSpec, Output

__all__ = ["build_and_write", "build_and_write_here"]


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
    get_format(format).require()
    described = spec if spec.labels else spec.replace(decode="builtins:print")  # nothing is decoded there
    arguments = {
        "path": str(path),
        "spec": described.to_dict(),
        "weights": weights,
        "options": dict(options),
        "outputs": list(outputs),
        "layer": layer,
        "format": format,
    }
    child.call(f"{__name__}:build_and_write_here", arguments, purpose=f"converting {spec.name} to {format}")


def build_and_write_here(
    path: str,
    spec: dict[str, Any],
    weights: str,
    options: dict[str, Any],
    outputs: list[Output],
    layer: str | None,
    format: str,
) -> None:
    """The child's side of `build_and_write`."""
    use_defaults_of_keras()
    from pretrained_cnn.backbones.build import build
    from pretrained_cnn.backbones.serving import serving_graph

    read = ModelSpec.from_dict(spec)
    backbone = build(read, weights=weights, options=options)
    write_converted(Path(path), serving_graph(backbone, outputs, layer), read, format)
