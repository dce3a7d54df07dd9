"""Private or undocumented parts of other packages that this library needs, each as one function.

``tests/test_compat.py`` checks each against the installed version and says what broke. Nothing is imported from the
other package until a function is called.
"""

from __future__ import annotations

import importlib
import socket
import tarfile
import types
from collections.abc import Callable, Sequence
from typing import Any

__all__ = [
    "connect_through",
    "efficientnet_deviations",
    "flatten_layers",
    "forget_members",
    "last_inputs",
    "mend_tf2onnx",
    "onnx_optimizers",
    "origin",
    "record_call",
    "run_graph",
]


def connect_through(kind: Callable[..., Any], connect: Callable[..., socket.socket]) -> Callable[..., Any]:
    """A maker of ``http.client`` connections of one kind whose sockets ``connect`` makes.

    Stands on ``HTTPConnection._create_connection``: without it, nothing can be checked between the look-up of a name
    and the connection to its address.
    """

    def make(*args: Any, **kwargs: Any) -> Any:
        connection = kind(*args, **kwargs)
        if not hasattr(connection, "_create_connection"):
            raise NotImplementedError("this Python's http.client has no _create_connection, so no address is checked")
        connection._create_connection = connect
        return connection

    return make


def flatten_layers(model: Any) -> list[Any]:
    """All layers of a Keras model, those within layers included, the outer ones before the inner ones.

    Stands on ``Layer._flatten_layers``: ``Model.layers`` does not look into layers that are no models.
    """
    return list(model._flatten_layers(include_self=False, recursive=True))


def run_graph(model: Any, inputs: Any, call: Callable[..., Any]) -> Any:
    """Run a functional Keras model with ``call(operation, *args, **kwargs)`` in place of each of its operations.

    Stands on ``Function._run_through_graph``: Keras has no public way to see or change what passes within a graph.
    """
    return model._run_through_graph(inputs, call_fn=call)


def last_inputs(layer: Any) -> list[Any]:
    """The symbolic tensors that a Keras layer was called with last.

    Stands on ``Operation._inbound_nodes``: ``Layer.input`` fails for a layer that was called more than once.
    """
    return list(_calls_of(layer)[-1].input_tensors)


def origin(tensor: Any) -> tuple[Any, list[Any], list[Any]]:
    """The Keras operation that gives a symbolic tensor, with the tensors that this very call takes and gives.

    Stands on ``KerasTensor._keras_history``: a layer's own ``input`` and ``output`` may be those of another model.
    """
    operation, index, _ = tensor._keras_history
    call = _calls_of(operation)[index]
    return operation, list(call.input_tensors), list(call.outputs)


def _calls_of(operation: Any) -> list[Any]:
    return list(operation._inbound_nodes)


def record_call(operation: Any, outputs: Sequence[Any]) -> None:
    """Let Keras, which rebuilds a functional model from its description, take ``outputs`` for the next call's.

    Stands on ``Operation._inbound_nodes``: Keras looks up there what later calls take.
    """
    operation._inbound_nodes.append(types.SimpleNamespace(output_tensors=list(outputs)))


def onnx_optimizers() -> dict[str, Callable[[], Any]]:
    """The optimizers of tf2onnx by name, in the order in which they run.

    Stands on ``tf2onnx.optimizer._get_optimizers``: ``optimize_graph`` takes them, and nothing public gives them.
    """
    from tf2onnx import optimizer

    return dict(optimizer._get_optimizers())


def mend_tf2onnx() -> None:
    """Let tf2onnx run with NumPy 2. Stands on ``patch_tf2onnx`` of ``keras.src``, which Keras's own export calls."""
    importlib.import_module("keras.src.export.tf2onnx_lib").patch_tf2onnx()


def efficientnet_deviations(builder: Any) -> list[float] | None:
    """The standard deviations that EfficientNet v1 divides by, if ``builder`` is one of Keras's; else None.

    Stands on the module ``keras.src.applications.efficientnet`` and its ``IMAGENET_STDDEV_RGB``.
    """
    if getattr(builder, "__module__", None) != "keras.src.applications.efficientnet":
        return None
    return list(importlib.import_module(builder.__module__).IMAGENET_STDDEV_RGB)


def forget_members(archive: tarfile.TarFile) -> None:
    """Let an archive forget the members that it has read: it keeps all of them, gigabytes for millions.

    Stands on ``TarFile.members`` being a list that ``TarFile.next`` only appends to.
    """
    archive.members = []  # type: ignore[attr-defined]  # not in the stub
