"""The keys of caches: the identity of a network, computed without building it if possible.

Each key covers everything that the cached content depends on: the weights, the builder, the preprocessing, the code of
a user's own functions, the settings, and the versions of the packages that take part. Where something cannot be
described, there is no key, and nothing is cached.
"""

from __future__ import annotations

import contextlib
import dataclasses
import dis
import hashlib
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

import PIL

from pretrained_cnn._files import sha256
from pretrained_cnn._lazy import Reference
from pretrained_cnn.errors import MissingDependencyError
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.presets import PixelScaling
from pretrained_cnn.spec import ModelSpec
from pretrained_cnn.weights import cache_dir, installed_file

if TYPE_CHECKING:
    import keras

PACKAGES = ("pretrained-cnn", "keras", "tensorflow", "openvino", "onnx", "tf2onnx", "nncf")
"""The packages whose version may change what a network computes or how it is converted."""

VERSIONED_MODULES = ("keras", "tensorflow", "numpy", "jax", "torch", "math")
"""Modules that a user's function may use: a module changes only with its version, which is part of the key."""

PLAIN_TYPES = (int, float, complex, str, bytes, bool, type(None))
"""Types whose ``repr`` describes a value completely."""


ID = "shared_object_id"
"""The field in which Keras numbers the objects of a description. The numbers differ in each process."""


def installed_versions() -> dict[str, str]:
    """The versions of those of `PACKAGES` that are installed. Imports none of them."""
    from importlib import metadata

    found = {}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def conversion_key(
    spec: ModelSpec, weights: str | None, options: Mapping[str, Any], output: str, format: str
) -> str | None:
    """The key of a converted graph, found without building the graph or importing Keras; None if that is impossible.

    It is possible where the builder and the preprocess function are Keras's or this library's own, which change only
    with the version, and the weights are a file.
    """
    if not is_built_by_name(spec):
        return None
    try:
        weights_id = weights_identity(spec, weights, options)
    except (OSError, MissingDependencyError):  # building the network reports what is wrong with the file
        return None
    paths = [getattr(function, "path", None) for function in (spec.builder, spec.preprocess) if function is not None]
    facts = [spec.name, paths, spec.input_size, len(spec.labels), weights == "imagenet", weights_id, dict(options)]
    try:
        return None if weights_id is None else _key([facts, output, format])
    except TypeError:  # an option that is not plain data
        return None


def is_built_by_name(spec: ModelSpec) -> bool:
    """Whether another process builds the same network: by functions of Keras or this library, and Keras's defaults."""
    functions = [function for function in (spec.builder, spec.preprocess) if function is not None]
    own = all(isinstance(f, Reference) and f.path.startswith(("keras.", "pretrained_cnn.")) for f in functions)
    return own and not has_dtype_policy()


def conversion_key_of_graph(graph: keras.Model, format: str) -> str | None:
    """The key of a converted graph from the graph and its weights; None if the graph cannot be described."""
    from pretrained_cnn.backbones.build import weights_digest

    described = graph_identity(graph)
    return described and _key([described, weights_digest(graph), format])


def embedding_key(network: list[Any] | None, spec: ModelSpec, image_policy: ImagePolicy, runtime: str) -> str | None:
    """The key of embeddings: everything that they depend on beside the image.

    ``network`` is what `network_by_file` or `network_by_graph` gives. None if the network or the preprocess function
    cannot be described.
    """
    preprocess = function_identity(spec.preprocess)
    if network is None or preprocess is None:
        return None
    facts = {
        "network": network,
        "preprocess": preprocess,
        "input_size": spec.input_size,
        "channels": spec.channels,
        "resize": dataclasses.asdict(spec.resize),
        "image_policy": image_policy.to_dict(),
        "runtime": runtime,
        "versions": [installed_versions(), PIL.__version__, os.environ.get("KERAS_BACKEND")],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def network_by_file(spec: ModelSpec, weights: str | None, options: Mapping[str, Any]) -> list[Any] | None:
    """A network by its builder and its weights file; None if these do not determine it.

    Raises OSError if the weights file does not exist yet.
    """
    builder = function_identity(spec.builder)
    if builder is None or has_dtype_policy():
        return None
    weights_id = weights_identity(spec, weights, options)
    plain_options = sorted((name, repr(value)) for name, value in options.items())
    return None if weights_id is None else [builder, plain_options, len(spec.labels), weights_id]


def network_by_graph(model: keras.Model) -> list[Any] | None:
    """A network by its graph and its weights; None if the graph does not determine what it computes."""
    from pretrained_cnn.backbones.build import weights_digest

    described = graph_identity(model)
    return None if described is None else [described, weights_digest(model)]


def weights_identity(spec: ModelSpec, weights: str | None, options: Mapping[str, Any]) -> str | None:
    """The hash of the weights file. None for random weights, and where no file determines the weights."""
    if weights is None:
        return None
    if weights != "imagenet":
        return sha256(Path(weights))
    if spec.weights_package is not None:
        return sha256(installed_file(spec.weights_package))
    if not spec.weights:
        return None
    file = spec.weights_file(input_size=spec.input_size, options=options)
    return file.hash or sha256(cache_dir() / file.name)


def graph_identity(graph: Any) -> str | None:
    """A hash of a Keras graph's description, without its weights; None if that does not determine what it computes.

    Keras describes a user's own layer or function by its name, and its code may change under that name.
    """
    from pretrained_cnn.backbones.graph import has_foreign_code

    if has_foreign_code(graph):
        return None
    try:
        text = json.dumps(renumbered(json.loads(graph.to_json())))
    except Exception:  # a layer may have no description
        return None
    return hashlib.sha256(text.encode()).hexdigest()


def function_identity(function: Any) -> str | None:
    """A function by its name and, if it is the user's own, its code; None if these do not determine what it does."""
    if function is None:
        return "none"
    if isinstance(function, Reference):
        return function.path
    if isinstance(function, PixelScaling):
        return repr(function)
    if hasattr(function, "to_json"):  # a Keras graph, as a bundle's preprocess is
        return graph_identity(function)
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return None
    cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    used = [function.__globals__[name] for name in sorted(_global_names(code)) if name in function.__globals__]
    held = [*cells, *used, *(getattr(function, "__defaults__", None) or ())]
    if getattr(function, "__kwdefaults__", None) or not all(map(_is_described_by_repr, held)):
        return None
    if not all(name.partition(".")[0] in VERSIONED_MODULES for name in _imported(code)):
        return None
    digest = hashlib.sha256(repr([_describe_code(code), held]).encode()).hexdigest()
    return f"{function.__module__}:{function.__qualname__}:{digest}"


def has_dtype_policy() -> bool:
    """Whether the program has set another dtype policy in Keras, which changes what a builder builds."""
    config = getattr(sys.modules.get("keras"), "config", None)  # None also while another thread is importing Keras
    return config is not None and config.dtype_policy().name != "float32"


def renumbered(description: Any) -> Any:
    """A graph's description with its names renumbered, because Keras continues counting from earlier networks.

    ``conv2d_7`` becomes ``conv2d#0`` where it is the first of its kind. Strings that are not names stay.
    """
    names: dict[str, str] = {}
    counts: Counter[str] = Counter()

    def renumber(node: Any, field: str) -> Any:
        if isinstance(node, dict):
            named = field == "output_layers"  # outputs by name: the values are layers
            return {key: renumber(value, field if named else key) for key, value in node.items() if key != ID}
        if isinstance(node, list):
            return [renumber(value, field) for value in node]
        if isinstance(node, str) and field in ("name", "keras_history", "input_layers", "output_layers"):
            if node not in names:
                base = re.sub(r"_\d+(?=(CLONE)*$)", "", node)
                names[node] = f"{base}#{counts[base]}"
                counts[base] += 1
            return names[node]
        return node

    return renumber(description, "")


def _is_described_by_repr(value: Any) -> bool:
    if isinstance(value, ModuleType):
        return value.__name__.partition(".")[0] in VERSIONED_MODULES
    return isinstance(value, PLAIN_TYPES)


def _global_names(code: CodeType) -> set[str]:
    inner = [_global_names(value) for value in code.co_consts if isinstance(value, CodeType)]
    return set(code.co_names).union(*inner)


def _imported(code: CodeType) -> set[str]:
    """The names of the modules that the code itself imports."""
    own = {str(step.argval) for step in dis.get_instructions(code) if step.opname == "IMPORT_NAME"}
    return own.union(*(_imported(value) for value in code.co_consts if isinstance(value, CodeType)))


def _describe_code(code: CodeType) -> list[Any]:
    constants = [_describe_code(value) if isinstance(value, CodeType) else value for value in code.co_consts]
    return [code.co_code.hex(), constants, code.co_names]


def _key(facts: list[Any]) -> str:
    text = json.dumps([installed_versions(), *facts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
