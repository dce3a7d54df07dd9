"""Classifiers in files of TFLite, ONNX, OpenVINO and TensorFlow: opened as bundles of ours."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn.bundle import child
from pretrained_cnn.bundle.store import complete
from pretrained_cnn.errors import BundleError, InvalidArgumentError, ModelFileError
from pretrained_cnn.foreign.beside import said_beside
from pretrained_cnn.foreign.graph import RESIZE, Graph, adapt
from pretrained_cnn.foreign.kinds import LITERT, ONNX, OPENVINO, SAVED_MODEL, FileKind
from pretrained_cnn.foreign.labels import choose_labels
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.runtimes import runtime_for
from pretrained_cnn.scores import NOT_FINITE, ROUGH, finite, outside, problem
from pretrained_cnn.spec import ModelSpec, ResizePolicy

__all__ = ["READERS", "open_graph"]

READERS = {
    LITERT: "pretrained_cnn.foreign.litert:read",
    ONNX: "pretrained_cnn.foreign.onnx:read",
    OPENVINO: "pretrained_cnn.foreign.openvino:read",
    SAVED_MODEL: "pretrained_cnn.foreign.saved_model:read",
}
"""What describes a file of each kind, in a child process."""

MAX_SECONDS = 300
"""How long a file may take to open: a damaged one may make a runtime run for ever."""

FORMATS = {LITERT: "litert", ONNX: "onnx", OPENVINO: "openvino", SAVED_MODEL: "saved_model"}


def open_graph(path: Path, kind: FileKind, image_policy: ImagePolicy = ImagePolicy(), **arguments: Any) -> Path:
    """A new temporary folder, a bundle that runs the graph in a file; it is the caller's to remove.

    The arguments are those of `Classifier.from_file`; ``name`` is what the classifier is called, by default as the
    file, and ``reason`` why a graph is run in place of the network in Keras that it was made from.

    Raises ModelFileError for a file that cannot be run or is no classifier of images, InvalidArgumentError for
    arguments that do not fit it.
    """
    runtime_for(FORMATS[kind]).require()
    folder = Path(tempfile.mkdtemp(prefix="pretrained_cnn-"))
    try:
        _write(path, kind, folder, image_policy, **arguments)
    except BaseException:  # Ctrl-C included: nobody else removes the folder
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _write(
    path: Path,
    kind: FileKind,
    folder: Path,
    image_policy: ImagePolicy,
    *,
    labels: Any = None,
    preprocess: Any = None,
    scale: Any = None,
    mean: Any = None,
    std: Any = None,
    channels: str | None = None,
    layout: str | None = None,
    resize: ResizePolicy | None = None,
    input_size: tuple[int, int] | None = None,
    from_logits: bool = False,
    multi_label: bool = False,
    signature: str | None = None,
    name: str | None = None,
    reason: str | None = None,
) -> None:
    name = name or path.name
    more = {"signature": signature} if kind is SAVED_MODEL else {}
    if signature is not None and not more:
        raise InvalidArgumentError(f"signature={signature!r} is for a SavedModel, and {name} is {kind.what}")
    graph = describe(path, kind, folder, name=name, layout=layout, input_size=input_size, **more)
    adapter = adapt(
        graph,
        name,
        preprocess=preprocess,
        scale=scale,
        mean=mean,
        std=std,
        channels=channels,
        from_logits=from_logits,
        multi_label=multi_label,
    )
    adapter = dataclasses.replace(adapter, reason=reason)
    width = graph.width
    given = graph.labels if labels is None else labels
    spec = ModelSpec(
        name=name,
        builder="pretrained_cnn.bundle.store:no_builder",
        input_size=graph.size,
        channels=graph.channels,
        labels=choose_labels(given, 2 if width == 1 and multi_label else width, name),
        multi_label=multi_label,
        resize=resize or (RESIZE if graph.resize is None else ResizePolicy(**graph.resize)),
        embedding_size=graph.embedding,
    )
    outputs = {"scores": 2 if adapter.outputs["scores"].binary else width}
    if graph.embedding is not None:
        outputs["embedding"] = graph.embedding
    try:
        found = complete(
            folder, spec, image_policy, format=graph.format, dtype=graph.dtype, outputs=outputs, adapter=adapter
        )
    except BundleError as error:
        raise ModelFileError(f"{name}: {error}") from error
    _judge(graph, name, found[0], from_logits=from_logits, multi_label=multi_label)


def describe(path: Path, kind: FileKind, folder: Path, **arguments: Any) -> Graph:
    """What a reader says of a file, and the model in ``folder``, by the name that its format gives it."""
    request = {"path": str(path), "name": path.name, "folder": str(folder), **arguments}
    try:
        found = child.call(READERS[kind], request, purpose=f"opening {request['name']}", seconds=MAX_SECONDS)
    except child.NoChildError:
        from pretrained_cnn._lazy import Reference

        found = Reference(READERS[kind])(**request)
    except BundleError as error:  # a signal ended the child
        raise ModelFileError(f"{path.name} is damaged, or too large for the memory: {error}") from error
    beside = {key: value for key, value in said_beside(path).items() if found[key] is None}
    return Graph.from_dict(found | beside)


def _judge(graph: Graph, name: str, scores: NDArray[np.float32], *, from_logits: bool, multi_label: bool) -> None:
    """Raise InvalidArgumentError for scores of test images that are not what the arguments say."""
    if not finite(scores).all():
        raise ModelFileError(f"{name}: {NOT_FINITE}")
    quantization = graph.output.quantization
    if from_logits:
        return
    if quantization is not None:
        limits = np.iinfo(graph.output.dtype)
        low, high = ((limit - quantization[1]) * quantization[0] for limit in (limits.min, limits.max))
        if graph.ends_in is not None:  # the 16 bits of a softmax have room for -1 to 1
            low = max(low, 0.0)
        span = np.array([low, high])
        fault = None if outside(span, quantization[0]) is None else f"the outputs may be {low:.4g} to {high:.4g}"
    else:
        binary = graph.width == 1
        raw = scores[:, 1:] if binary and not multi_label else scores
        fault = problem(raw, multi_label=multi_label or binary, tolerance=ROUGH)
    if fault is not None:
        fault = fault.partition(";")[0].partition(", so ")[0]
        raise InvalidArgumentError(
            f"{name} gives no probabilities: {fault}; give from_logits=True if they are logits or logarithms of "
            "probabilities, and multi_label=True if an image may have several labels"
        )
