"""OpenVINO's files: what their graph takes and gives, and what it begins with.

Runs in a child process: a runtime may crash on a damaged file.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn.bundle.description import KEY
from pretrained_cnn.errors import ModelFileError, import_package
from pretrained_cnn.foreign.beside import said_by_us
from pretrained_cnn.foreign.graph import (
    Graph,
    GraphOutput,
    Port,
    Step,
    beginning,
    faults_named,
    find_input,
    probe,
    scores_among,
)

__all__ = ["read"]

ARITHMETIC = {"Multiply": "Mul", "Add": "Add", "Subtract": "Sub", "Divide": "Div"}
PASSED = {"Convert", "Transpose", "Pad", "Reshape", "Squeeze", "Unsqueeze", "Interpolate", "FakeQuantize"}
"""Operations that change no values, or only where they are."""

ENDS = {*PASSED, "Softmax", "LogSoftmax", "Sigmoid", "Add"}
"""What may stand between the last dense layer and the output."""

FUNCTIONS: dict[str, Any] = {"Softmax": "softmax", "Sigmoid": "sigmoid"}

TYPES = {"f32": "float32", "f16": "float16", "f64": "float64", "u8": "uint8", "i8": "int8"}
TYPES |= {"i32": "int32", "i64": "int64"}


@faults_named("OpenVINO")
def read(
    path: str, name: str, folder: str, layout: str | None = None, input_size: Sequence[int] | None = None
) -> dict[str, Any]:
    """Describe the graph of the file at ``path``, a `Graph` as plain data, and write it to ``folder``.

    The embedding is an output of what is written where it was found.
    """
    import_package("openvino", extra="openvino")
    from pretrained_cnn.runtimes.openvino import import_openvino

    ov = import_openvino()
    if not Path(path).with_suffix(".bin").is_file():
        raise ModelFileError(
            f"{name} has no weights: {Path(path).with_suffix('.bin').name} is not beside it; copy that file into the "
            "same folder"
        )
    model = ov.Core().read_model(path)
    if len(model.inputs) != 1:
        raise ModelFileError(f"{name} has {len(model.inputs)} inputs, and a classifier of images has one input")
    outputs = [
        GraphOutput(port.any_name if port.names else str(place), _dtype(port), _last(port.get_node().input_value(0)))
        for place, port in enumerate(model.outputs)
    ]
    kept = scores_among(outputs, name)
    keys = [key for key in ("library", "labels", "resize", "outputs") if model.has_rt_info([KEY, key])]
    said = said_by_us({key: model.get_rt_info([KEY, key]).astype(str) for key in keys}, name)
    if len(outputs) > 1:
        model = ov.Model([model.outputs[kept].get_node()], model.get_sinks(), model.get_parameters())
    source, sink = model.input(), model.output()
    dtype = _dtype(source)
    if not dtype:
        raise ModelFileError(f"{name} takes an input that is no tensor of numbers, and a classifier takes an image")
    if source.get_partial_shape().rank.is_dynamic:
        raise ModelFileError(f"the input of {name} leaves its number of axes open; export it with a shape")
    sides = [side.get_length() if side.is_static else None for side in source.get_partial_shape()]
    taken = find_input(sides, name, preferred="NCHW", layout=layout, input_size=input_size)
    begins, scales = _first(source)
    ends_in = _last(sink.get_node().input_value(0))
    embedding = _embedding(sink.get_node().input_value(0))
    if None in sides[1:]:
        model.reshape([-1 if side is None else side for side in taken.taken])
    if embedding is not None:
        model.add_outputs(embedding)
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(batch: NDArray[Any]) -> list[NDArray[Any]]:
        results = compiled(batch)
        return [np.array(results[place]) for place in range(len(compiled.outputs))]

    found = probe(run, taken, dtype, name)
    ov.save_model(model, Path(folder, "model.xml"), compress_to_fp16=False)
    described = Graph(
        format="openvino",
        dtype="int8" if any(node.get_type_name() == "FakeQuantize" for node in model.get_ops()) else "float32",
        input=Port(shape=taken.shape, dtype=dtype),
        output=Port(shape=found.shapes[0], dtype=outputs[kept].dtype),
        batch=found.batch,
        layout=taken.layout,
        flat=taken.flat,
        embedding=math.prod(found.shapes[1][1:]) if embedding is not None else None,
        begins=begins,
        scales=scales,
        ends_in=ends_in,
        probabilities=found.probabilities,
        **said,
    )
    return dataclasses.asdict(described)


def _dtype(port: Any) -> str:
    """The type of a tensor's numbers, as NumPy names it; empty for any other."""
    return TYPES.get(port.get_element_type().get_type_name(), "")


def _first(port: Any) -> tuple[str, bool]:
    """The first operation that changes values, and whether it is arithmetic that scales pixel values."""
    steps: list[Step] = []
    while True:
        takers = [each.get_node() for each in port.get_target_inputs()]
        takers = [node for node in takers if node.get_type_name() not in ("ShapeOf", "Result")]
        name = takers[0].get_type_name() if len(takers) == 1 else "several operations"
        step = _step(takers[0], ARITHMETIC[name], port) if name in ARITHMETIC else None
        if step is not None:
            steps.append(step)
        elif name not in PASSED:
            return beginning(steps, name if takers else "nothing")
        port = takers[0].output(0)


def _step(node: Any, operator: str, port: Any) -> Step | None:
    left = node.input_value(0).get_node().get_friendly_name() != port.get_node().get_friendly_name()
    value = _value(node.input_value(0 if left else 1).get_node())
    return None if value is None else (operator, value, left)


def _value(node: Any) -> NDArray[Any] | None:
    """The constant that a node is; None if it is none."""
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return np.asarray(node.get_data(), np.float64) if node.get_type_name() == "Constant" else None


def _last(port: Any) -> Any:
    """The function that gives the output, where it is known."""
    while port.get_node().get_type_name() in PASSED:
        port = port.get_node().input_value(0)
    return FUNCTIONS.get(port.get_node().get_type_name())


def _embedding(port: Any) -> Any:
    """What the last dense layer takes; None where something else gives the scores."""
    while True:
        node = port.get_node()
        inputs = [node.input_value(place) for place in range(len(node.inputs()))]
        rest = [each for each in inputs if not _is_constant(each.get_node())]
        if len(rest) != 1:
            return None
        if node.get_type_name() == "Convolution":  # of one pixel: a dense layer
            pixel = all(shape.rank.is_static and list(shape)[2:] == [1, 1] for shape in _shapes(inputs))
            return rest[0] if pixel and inputs[0] == rest[0] else None
        if node.get_type_name() == "MatMul":
            found = rest[0]
            shape = found.get_partial_shape()
            plain = not node.get_attributes()["transpose_a"] and shape.rank.is_static and len(shape) == 2
            made = found.get_node().get_type_name() != "Parameter"
            return found if plain and made and inputs[0] == found else None
        if node.get_type_name() not in ENDS:
            return None
        port = rest[0]


def _shapes(ports: Sequence[Any]) -> list[Any]:
    return [port.get_partial_shape() for port in ports]


def _is_constant(node: Any) -> bool:
    while node.get_type_name() in ("Convert", "FakeQuantize", "Reshape", "Transpose", "Multiply", "Subtract"):
        node = node.input_value(0).get_node()
    return bool(node.get_type_name() == "Constant")
