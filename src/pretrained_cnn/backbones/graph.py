"""Reads and changes the graph of a Keras model: its calls, its head, and how to cut and rewire it.

A layer may be a part of several models, and a model a layer of another. So everything here follows the tensors of one
model, from its outputs to its inputs, and never a layer's own ``input`` or ``output``, which may be of another model.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from pretrained_cnn._compat import origin

Tensor = Any
"""A symbolic tensor of Keras."""


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer, an operation or a model within a model's graph."""

    operation: Any
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]


@dataclass(frozen=True, eq=False)
class Head:
    """The last dense layer of a model, or the last convolution where that serves as one."""

    call: Call
    within: Sequence[Call]
    """The calls of models that it lies in, the outermost first."""


def is_graph(model: Any) -> bool:
    """Whether a model computes what its graph says: Functional or Sequential, without a ``call`` of its own."""
    if not isinstance(model, keras.Model) or not getattr(model, "built", False):
        return False
    own = type(model).call
    return own in (keras.Sequential.call, _functional().call) and bool(getattr(model, "inputs", None))


def calls(model: keras.Model) -> list[Call]:
    """The calls that lead from the model's inputs to its outputs, each behind those that it takes from."""
    known = {id(tensor) for tensor in model.inputs}
    found: list[Call] = []
    pending = [(tensor, False) for tensor in reversed(model.outputs)]
    while pending:  # depth first, without recursion: networks have a thousand layers
        tensor, done = pending.pop()
        if id(tensor) in known:
            continue
        call = Call(*origin(tensor))
        if done:
            known.update(map(id, call.outputs))
            found.append(call)
        else:
            pending.append((tensor, True))
            pending += [(source, False) for source in call.inputs if id(source) not in known]
    return found


def find_head(model: keras.Model) -> Head | None:
    """The last layer with weights, if it is a dense layer or a convolution, and everything passes through it."""
    if not is_graph(model):
        return None
    last = next((call for call in reversed(calls(model)) if getattr(call.operation, "weights", ())), None)
    if last is None or len(last.outputs) != 1 or not _all_passes(model, last.outputs[0]):
        return None
    if isinstance(last.operation, keras.layers.Dense | keras.layers.Conv2D):
        return Head(last, [])
    if isinstance(last.operation, keras.Model) and len(last.inputs) == 1:
        inner = find_head(last.operation)
        return inner and Head(inner.call, [last, *inner.within])
    return None


def before(model: keras.Model, head: Head) -> Tensor:
    """The input of the head as a tensor of ``model``'s graph."""
    if not head.within:
        return head.call.inputs[0]
    outer = head.within[0]
    inner = outer.operation
    cut = before(inner, Head(head.call, head.within[1:]))
    if cut is inner.inputs[0]:
        return outer.inputs[0]
    taken = [call.operation.name for call in calls(model)]
    return keras.Model(inner.inputs[0], cut, name=free_name(f"{inner.name}_trunk", taken))(outer.inputs[0])


def apply(model: keras.Model, tensor: Tensor) -> Tensor:
    """What ``model`` gives for ``tensor``: through its own layers where it is a graph, so that these stay in reach."""
    single = simple(model)
    return single.call(tensor) if is_graph(single) else single(tensor)


def simple(model: keras.Model) -> keras.Model:
    """The model with its one input and its one output bare, without a list or dictionary around them."""
    if not is_graph(model):
        return model
    given = model.compute_output_spec(model.inputs[0]) if isinstance(model, keras.Sequential) else model.output
    taken = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    if not any(isinstance(tensors, list | tuple | dict) for tensors in (given, taken)):
        return model
    return keras.Model(model.inputs[0], model.outputs[0], name=model.name)


def layer_names(model: keras.Model) -> list[str]:
    """The names of a model's own layers and operations."""
    return [operation.name for operation in getattr(model, "operations", None) or model.layers]


def free_name(name: str, taken: Iterable[str]) -> str:
    """``name``, or ``name_1``, ``name_2`` and so on, which no layer has: Keras asks for different names.

    >>> free_name("dense", ["dense", "dense_1"])
    'dense_2'
    """
    used = set(taken)
    candidates = (name if number == 0 else f"{name}_{number}" for number in range(len(used) + 1))
    return next(candidate for candidate in candidates if candidate not in used)


def pooled(tensor: Tensor, taken: Iterable[str], *, channels_first: bool = False) -> Tensor:
    """``(N, D)`` of a vector, of tokens ``(N, T, D)`` or of a map ``(N, h, w, D)`` as the mean over its places."""
    data_format = "channels_first" if channels_first else "channels_last"
    if len(tensor.shape) == 4:
        name = free_name("pooled", taken)
        return keras.layers.GlobalAveragePooling2D(data_format=data_format, name=name, dtype="float32")(tensor)
    if len(tensor.shape) == 3:
        name = free_name("pooled", taken)
        return keras.layers.GlobalAveragePooling1D(data_format="channels_last", name=name, dtype="float32")(tensor)
    return tensor


def is_channels_first(operation: Any) -> bool:
    """Whether a layer's maps have their channels in front of their rows."""
    return getattr(operation, "data_format", None) == "channels_first"


def leaves(model: keras.Model) -> Iterator[Any]:
    """All layers and operations of a model, in place of a model within it that your own."""
    for operation in getattr(model, "operations", None) or model.layers:
        if isinstance(operation, keras.Model):
            yield from leaves(operation)
        else:
            yield operation


VERSIONED = ("keras", "pretrained_cnn", "tensorflow", "jax", "torch", "numpy")
"""Packages whose code changes with their version only."""

OPAQUE = ("Lambda", "TFSMLayer", "JaxLayer", "FlaxLayer", "TorchModuleWrapper")
"""Layers of Keras whose description does not hold what they compute."""

TRAINING_ONLY = ("_initializer", "_regularizer", "_constraint")
"""How the names of a layer's attributes end that say nothing of what it computes once it is trained."""


def has_foreign_code(model: keras.Model) -> bool:
    """Whether a layer, or a function that one calls, is the user's own: its code may change, and its name stay."""
    seen: set[int] = set()

    def is_foreign(value: Any) -> bool:
        if id(value) in seen:
            return False
        seen.add(id(value))
        if isinstance(value, keras.Model):
            return not _is_versioned(type(value)) or any(map(is_foreign, getattr(value, "operations", value.layers)))
        if isinstance(value, keras.Operation):
            if not _is_versioned(type(value)) or type(value).__name__ in OPAQUE:
                return True
            return any(is_foreign(held) for name, held in vars(value).items() if not name.endswith(TRAINING_ONLY))
        if isinstance(value, dict):
            return any(map(is_foreign, value.values()))
        if isinstance(value, list | tuple):
            return any(map(is_foreign, value))
        if isinstance(value, functools.partial):
            return is_foreign(value.func) or is_foreign(value.args) or is_foreign(value.keywords)
        if isinstance(value, type) or not callable(value):
            return False
        named = isinstance(value, types.FunctionType | types.BuiltinFunctionType | types.MethodType)
        return not _is_versioned(value if named else type(value))

    return is_foreign(model)


def _is_versioned(value: Any) -> bool:
    module = getattr(value, "__module__", None)
    return module is None or module.partition(".")[0] in (*VERSIONED, "builtins")


def _all_passes(model: keras.Model, tensor: Tensor) -> bool:
    """Whether each way from the model's inputs to its outputs leads through ``tensor``."""
    inputs = {id(source) for source in model.inputs}
    seen = {id(tensor)}
    pending = list(model.outputs)
    while pending:
        current = pending.pop()
        if id(current) in seen:
            continue
        if id(current) in inputs:
            return False
        seen.add(id(current))
        pending += origin(current)[1]
    return True


def _functional() -> Any:
    from keras.src.models.functional import Functional

    return Functional
