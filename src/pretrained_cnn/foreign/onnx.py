"""ONNX files: what their graph takes and gives, what it begins with, and what their metadata says.

Runs in a child process: a runtime may crash on a damaged file.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn.errors import ModelFileError, import_package
from pretrained_cnn.foreign.beside import said_by_timm, said_by_us
from pretrained_cnn.foreign.graph import (
    Graph,
    GraphOutput,
    Port,
    Step,
    beginning,
    faults_named,
    find_input,
    is_vector,
    probe,
    scores_among,
)

__all__ = ["read"]

DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
"""Whose operators ONNX Runtime has itself."""

OLDEST = 9
"""The oldest version of the operators that is read."""

MAX_BYTES = 2**31 - 1
"""Of a message of protobuf."""

ARITHMETIC = ("Mul", "Add", "Sub", "Div")
PASSED = {"Cast", "Transpose", "Pad", "Resize", "Upsample", "Reshape", "Identity", "Squeeze", "Unsqueeze", "Flatten"}
PASSED |= {"Dropout"}
"""Operators that change no values, or only where they are."""

ENDS = {*PASSED, "Softmax", "LogSoftmax", "Sigmoid"}
"""What may stand between the last dense layer and the output."""

FUNCTIONS: dict[str, Any] = {"Softmax": "softmax", "Sigmoid": "sigmoid"}


@faults_named("ONNX Runtime")
def read(
    path: str, name: str, folder: str, layout: str | None = None, input_size: Sequence[int] | None = None
) -> dict[str, Any]:
    """Describe the graph of the file at ``path``, a `Graph` as plain data, and write the file to ``folder``.

    What was in other files is in the file that is written, and the embedding is an output where it was found.
    """
    onnx = import_package("onnx", extra="onnxruntime")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's DecodeError, which has no public name
        raise ModelFileError(f"{name} is damaged or no ONNX file: {' '.join(str(error).split())[:200]}") from error
    _check_operators(model, name)
    _inline(model, Path(path).parent, name)
    graph = _Graph(model.graph)
    given = [port for port in model.graph.input if port.name not in graph.constants]
    if len(given) != 1:
        raise ModelFileError(f"{name} has {len(given)} inputs, and a classifier of images has one input")
    sides, dtype = _port(given[0], name)
    taken = find_input(sides, name, preferred="NCHW", layout=layout, input_size=input_size)
    source, sink = given[0].name, _keep_scores(model.graph, graph, name)
    embedding = graph.embedding(sink)
    if embedding is not None:
        model.graph.output.append(onnx.ValueInfoProto(name=embedding))
    copied = Path(folder, "model.onnx")
    try:
        copied.write_bytes(model.SerializeToString())
    except ValueError as error:  # protobuf's limit
        raise ModelFileError(f"{name} is larger than the 2 GB that one ONNX file can hold") from error
    session = _session(copied)
    kinds: list[str] = []

    def run(batch: NDArray[Any]) -> list[NDArray[Any]]:
        found = list(session.run(None, {source: batch}))
        kinds[:] = [values.dtype.name for values in found]
        return found

    found = probe(run, taken, dtype, name)
    begins, scales = graph.first(source)
    if embedding is not None and not is_vector(found.shapes[1]):  # of each token, or a map
        del model.graph.output[1]
        copied.write_bytes(model.SerializeToString())
        embedding = None
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    described = Graph(
        format="onnx",
        dtype="int8" if graph.has_integers() else "float32",
        input=Port(shape=taken.shape, dtype=dtype, quantization=graph.quantization_of_input(source)),
        output=Port(shape=found.shapes[0], dtype=kinds[0], quantization=graph.quantization_of_output(sink)),
        batch=found.batch,
        layout=taken.layout,
        flat=taken.flat,
        embedding=math.prod(found.shapes[1][1:]) if embedding is not None else None,
        begins=begins,
        scales=scales,
        ends_in=graph.last(sink),
        probabilities=found.probabilities,
        **said_by(metadata, name),
    )
    return dataclasses.asdict(described)


def _keep_scores(proto: Any, graph: _Graph, name: str) -> str:
    """Leave the scores as the only output of a graph, and give its name."""
    outputs = [
        GraphOutput(
            port.name,
            _dtype(port.type) if port.HasField("type") else "float32",
            graph.last(port.name),
            graph.quantization_of_output(port.name) is not None,
        )
        for port in proto.output
    ]
    kept = proto.output[scores_among(outputs, name)]
    del proto.output[:]
    proto.output.append(kept)
    return str(kept.name)


def _session(path: Path) -> Any:
    from pretrained_cnn._process import switch_off_telemetry

    switch_off_telemetry()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _check_operators(model: Any, name: str) -> None:
    """Refuse operators that ONNX Runtime does not have itself, and versions before the oldest that is read."""
    versions = {entry.domain: entry.version for entry in model.opset_import}
    version = versions.get("", versions.get("ai.onnx", 0))
    if version < OLDEST:
        raise ModelFileError(
            f"{name} has operators of version {version}; export it with opset_version={OLDEST} or later, or convert "
            "it with onnx.version_converter"
        )
    own = {(function.domain, function.name) for function in model.functions}
    bodies = [model.graph.node, *(function.node for function in model.functions)]
    for node in (node for body in bodies for node in _nodes(body)):
        if node.domain not in DOMAINS and (node.domain, node.op_type) not in own:
            raise ModelFileError(
                f"{name} has the custom operator {node.domain}:{node.op_type}, which takes code that the file does not "
                "hold; export the model with standard operators"
            )


def _nodes(nodes: Any) -> Iterator[Any]:
    """All nodes, those of branches and loops included."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _nodes(graph.node)


def _tensors(model: Any) -> Iterator[Any]:
    """All tensors that a file may keep elsewhere."""
    graphs = [model.graph]
    bodies = [model.graph.node, *(function.node for function in model.functions)]
    for node in (node for body in bodies for node in _nodes(body)):
        for attribute in node.attribute:
            graphs += [attribute.g, *attribute.graphs]
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
    for graph in graphs:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)


def _inline(model: Any, folder: Path, name: str) -> None:
    """Read what tensors keep in files beside the model, and nowhere else."""
    total = 0
    for tensor in _tensors(model):
        if tensor.data_location != tensor.EXTERNAL:
            continue
        facts = {entry.key: entry.value for entry in tensor.external_data}
        location = facts.get("location", "")
        file = (folder / location).resolve()
        if not location or not file.is_relative_to(folder.resolve()):
            raise ModelFileError(f"{name} keeps weights in {location!r}, outside of its folder; they are not read")
        try:
            offset, size = int(facts.get("offset", 0)), file.stat().st_size
            length = int(facts.get("length", size - offset))
            total += length
            if offset < 0 or length < 0 or offset + length > size or total > MAX_BYTES:
                raise ValueError(f"{location} has {size:,} bytes")
            with file.open("rb") as stream:
                stream.seek(offset)
                tensor.raw_data = stream.read(length)
        except FileNotFoundError:
            raise ModelFileError(
                f"{name} keeps weights in {location!r}, which is not beside it; copy that file into the same folder"
            ) from None
        except (OSError, ValueError) as error:
            raise ModelFileError(
                f"{name} keeps weights in {location!r}, which is damaged or cut off: {error}"
            ) from None
        del tensor.external_data[:]
        tensor.data_location = tensor.DEFAULT


def _port(port: Any, name: str) -> tuple[list[int | None], str]:
    """The shape of an input, None where it is open, and its type."""
    kind, dtype = port.type.tensor_type, _dtype(port.type)
    if dtype not in ("float16", "float32", "float64", "uint8", "int8", "int32", "int64"):
        raise ModelFileError(f"{name} takes an input that is no tensor of numbers, and a classifier takes an image")
    if not kind.HasField("shape"):
        raise ModelFileError(f"the input of {name} leaves its number of axes open; export it with a shape")
    return [side.dim_value if side.dim_value > 0 else None for side in kind.shape.dim], dtype


def _dtype(kind: Any) -> str:
    """The type of a tensor's numbers, as NumPy names it; empty for what is no tensor."""
    from onnx.helper import tensor_dtype_to_np_dtype

    try:
        return str(np.dtype(tensor_dtype_to_np_dtype(kind.tensor_type.elem_type)).name)
    except (KeyError, ValueError):
        return ""


class _Graph:
    """The operators of a graph and its constants."""

    def __init__(self, graph: Any) -> None:
        self._nodes = list(graph.node)
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        for node in self._nodes:
            if node.op_type == "Constant":
                values = [each.t for each in node.attribute if each.name == "value"]
                self.constants |= dict(zip(node.output, values, strict=False))
        self._makers = {output: node for node in self._nodes for output in node.output}

    def first(self, tensor: str) -> tuple[str, bool]:
        """The first operator that changes values, and whether it is arithmetic that scales pixel values."""
        steps: list[Step] = []
        for _ in self._nodes:
            takers = [node for node in self._nodes if tensor in node.input and node.op_type not in ("Shape", "Size")]
            name = takers[0].op_type if len(takers) == 1 else "several operations"
            step = self._step(takers[0], tensor) if name in ARITHMETIC else None
            if step is not None:
                steps.append(step)
            elif name not in (*PASSED, "QuantizeLinear", "DequantizeLinear"):
                return beginning(steps, name)
            tensor = takers[0].output[0]
        return beginning(steps, "nothing")

    def last(self, tensor: str) -> Any:
        """The function that gives the output, where it is known."""
        for _ in self._nodes:
            node = self._makers.get(tensor)
            if node is None or node.op_type not in (*PASSED, "QuantizeLinear"):
                return None if node is None else FUNCTIONS.get(node.op_type)
            tensor = node.input[0]
        return None

    def embedding(self, output: str) -> str | None:
        """The input of the last dense layer; None where something else gives the scores."""
        tensor = output
        for _ in self._nodes:
            node = self._makers.get(tensor)
            if node is None:
                return None
            if node.op_type in ("MatMul", "Gemm"):
                found = str(node.input[0])
                dense = self._is_constant(node.input[1]) and not self._is_constant(found)
                transposed = any(each.name == "transA" and each.i for each in node.attribute)
                return found if dense and not transposed and found in self._makers else None
            if node.op_type == "Conv":
                return str(node.input[0]) if self._is_dense(node) else None
            rest = [name for name in node.input if name and not self._is_constant(name)]
            if len(rest) != 1 or node.op_type not in {*ENDS, "Add"}:
                return None
            tensor = rest[0]
        return None

    def _is_dense(self, node: Any) -> bool:
        """Whether a convolution looks at one pixel, so that of a map of one pixel it is a dense layer."""
        sides = self._sides(node.input[1])
        groups = [each.i for each in node.attribute if each.name == "group"]
        return node.input[0] in self._makers and sides[2:] == [1, 1] and groups in ([], [1])

    def _sides(self, name: str) -> list[int]:
        """The shape of a constant, also of a quantized one; empty for anything else."""
        node = self._makers.get(name)
        if name not in self.constants and node is not None and node.op_type == "DequantizeLinear":
            name = node.input[0]
        return list(self.constants[name].dims) if name in self.constants else []

    def quantization_of_input(self, tensor: str) -> tuple[float, int] | None:
        """By the operator that makes numbers of the integers."""
        takers = [node for node in self._nodes if tensor in node.input]
        return self._quantization(takers[0]) if len(takers) == 1 and takers[0].op_type == "DequantizeLinear" else None

    def quantization_of_output(self, tensor: str) -> tuple[float, int] | None:
        """By the operator that makes integers of the numbers."""
        node = self._makers.get(tensor)
        return self._quantization(node) if node is not None and node.op_type == "QuantizeLinear" else None

    def has_integers(self) -> bool:
        """Whether operators compute with 8-bit integers."""
        return any("Quantize" in node.op_type or node.op_type.endswith("Integer") for node in self._nodes)

    def _quantization(self, node: Any) -> tuple[float, int] | None:
        scale = self._value(node.input[1])
        zero = self._value(node.input[2]) if len(node.input) > 2 else np.zeros(1)
        return None if scale is None or zero is None or scale.size != 1 else (float(scale.item()), int(zero.item()))

    def _step(self, node: Any, tensor: str) -> Step | None:
        left = node.input[0] != tensor
        value = self._value(node.input[0] if left else node.input[1])
        return None if value is None else (node.op_type, value, left)

    def _value(self, name: str) -> NDArray[Any] | None:
        from onnx.numpy_helper import to_array

        found = self.constants.get(name)
        with contextlib.suppress(Exception):  # a tensor may be damaged
            return None if found is None else np.asarray(to_array(found))
        return None

    def _is_constant(self, name: str) -> bool:
        node = self._makers.get(name)
        if name in self.constants or node is None:
            return name in self.constants
        changes = node.op_type in ("DequantizeLinear", "Transpose", "Cast", "Identity", "QuantizeLinear")
        return changes and node.input[0] in self.constants


def said_by(metadata: dict[str, str], name: str) -> dict[str, Any]:
    """The preprocessing, the resize and the labels that the metadata of ultralytics, of timm or of a bundle gives."""
    if metadata.get("library", "").startswith("pretrained-cnn "):
        return said_by_us(metadata, name)
    found: dict[str, Any] = {}
    if metadata.get("task") == "classify" and "names" in metadata:  # ultralytics
        found["metadata"] = {"scale": 1 / 255, "mean": 0.0, "std": 1.0}
        found["resize"] = {"method": "crop", "crop_fraction": 1.0, "interpolation": "bilinear"}
        names = _literal(metadata["names"])
        if isinstance(names, dict) and sorted(names) == list(range(len(names))):
            found["labels"] = [str(names[index]) for index in range(len(names))]
        return found
    config = _literal(metadata.get("pretrained_cfg", "")) or {
        key: value if key == "interpolation" else _literal(value) for key, value in metadata.items()
    }
    return found | said_by_timm(config if isinstance(config, dict) else {})


def _literal(text: str) -> Any:
    """A value of Python or of JSON; None for anything else."""
    if len(text) > 2**22:
        return None
    for parse in (json.loads, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            return parse(text)
    return None
