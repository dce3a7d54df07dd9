"""TFLite files (LiteRT): what their graph takes and gives, and what their metadata says.

Runs in a child process: an interpreter may crash on a damaged file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

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

T = TypeVar("T")

MAX_LABELS = 2**20
"""Bytes of a packed file of labels."""

ARITHMETIC = ("MUL", "ADD", "SUB", "DIV")
PASSED = {
    *("QUANTIZE", "DEQUANTIZE", "CAST", "RESHAPE", "TRANSPOSE", "PAD", "PADV2", "MIRROR_PAD"),
    *("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "SQUEEZE", "EXPAND_DIMS"),
}
"""Operations that change no values, or only where they are."""

ENDS = {*PASSED, "SOFTMAX", "LOG_SOFTMAX", "LOGISTIC", "ADD"}
"""What may stand between the last dense layer and the output."""

FUNCTIONS: dict[str, Any] = {"SOFTMAX": "softmax", "LOGISTIC": "sigmoid"}


@faults_named("LiteRT")
def read(
    path: str, name: str, folder: str, layout: str | None = None, input_size: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Describe the graph of the file at ``path``, a `Graph` as plain data, and copy the file to ``folder``."""
    import_package("ai_edge_litert.interpreter", extra="litert", package="ai-edge-litert")
    from ai_edge_litert.interpreter import Interpreter

    copied = Path(folder, "model.tflite")
    shutil.copyfile(path, copied)
    interpreter = Interpreter(str(copied))
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1:
        raise ModelFileError(f"{name} has {len(inputs)} inputs, and a classifier of images has one input")
    given = inputs[0]
    graph = _Schema(copied)
    ports = [
        GraphOutput(
            port["name"], np.dtype(port["dtype"]).name, FUNCTIONS.get(graph.last(place)), _pair(port) is not None
        )
        for place, port in enumerate(outputs)
    ]
    place = scores_among(ports, name)
    source = outputs[place]
    signature = given.get("shape_signature", given["shape"])
    sides = signature if len(signature) == len(given["shape"]) else given["shape"]
    shape = [None if side < 0 else int(side) for side in sides]
    taken = find_input(shape, name, preferred="NHWC", layout=layout, input_size=input_size)
    dtype = np.dtype(given["dtype"]).name

    embedding = graph.embedding(place)
    given_out = [source["index"], *([] if embedding is None else [embedding])]
    if len(outputs) > 1 or embedding is not None:
        graph.write(copied, given_out)
        interpreter = Interpreter(str(copied))

    def run(batch: NDArray[Any]) -> list[NDArray[Any]]:
        interpreter.resize_tensor_input(given["index"], batch.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], batch)
        interpreter.invoke()
        return [interpreter.get_tensor(each) for each in given_out]

    found = probe(run, taken, dtype, name)
    begins, scales = graph.first()
    metadata, labels = _metadata(Path(path), graph.metadata("TFLITE_METADATA"))
    said: dict[str, Any] = {"metadata": metadata, "labels": labels}
    ours = None
    with contextlib.suppress(ValueError, RecursionError):
        ours = json.loads(graph.metadata(KEY) or b"null")
    if isinstance(ours, dict):
        said |= said_by_us(ours, name)
    described = Graph(
        format="litert",
        dtype="int8" if graph.has_integers() else "float32",
        input=Port(shape=taken.shape, dtype=dtype, quantization=_pair(given)),
        output=Port(shape=found.shapes[0], dtype=ports[place].dtype, quantization=_pair(source)),
        batch=found.batch,
        layout=taken.layout,
        flat=taken.flat,
        embedding=None if embedding is None else math.prod(found.shapes[1][1:]),
        embedding_quantization=None if embedding is None else _pair(interpreter.get_output_details()[1]),
        begins=begins,
        scales=scales,
        ends_in=ports[place].function,
        probabilities=found.probabilities,
        **said,
    )
    return dataclasses.asdict(described)


def _pair(details: dict[str, Any]) -> tuple[float, int] | None:
    """The quantization of a tensor, None for one that has none."""
    scale, zero = details["quantization"]
    return (float(scale), int(zero)) if scale else None


class _Schema:
    """The graph as the file describes it."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._names = {value: key for key, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
        self._types = schema.TensorType
        self._model = schema.Model.GetRootAs(path.read_bytes(), 0)
        self._graph = self._model.Subgraphs(0)

    def first(self) -> tuple[str, bool]:
        """The first operation that changes values, and whether it is arithmetic that scales pixel values."""
        tensor = self._graph.Inputs(0)
        steps: list[Step] = []
        for _ in range(self._graph.OperatorsLength()):
            takers = [each for each in self._operators() if tensor in each.InputsAsNumpy().tolist()]
            name = self._name(takers[0]) if len(takers) == 1 else "several operations"
            step = self._step(takers[0], name, tensor) if name in ARITHMETIC else None
            if step is not None:
                steps.append(step)
            elif name not in PASSED:
                return beginning(steps, name)
            tensor = takers[0].Outputs(0)
        return beginning(steps, "nothing")

    def _step(self, operator: Any, name: str, tensor: int) -> Step | None:
        """Arithmetic with a constant; None if the other operand is no constant of float32."""
        inputs = operator.InputsAsNumpy().tolist()
        other = next((index for index in inputs if index != tensor), tensor)
        described = self._graph.Tensors(other)
        buffer = self._model.Buffers(described.Buffer())
        if buffer.DataLength() == 0 or described.Type() != self._types.FLOAT32:
            return None
        return name, buffer.DataAsNumpy().view(np.float32), inputs[0] == other

    def last(self, place: int) -> str:
        """The name of the operation that gives an output."""
        tensor = self._graph.Outputs(place)
        for _ in range(self._graph.OperatorsLength()):
            maker = self._maker(tensor)
            if maker is None:
                break
            name = self._name(maker)
            if name not in PASSED:
                return name
            tensor = maker.Inputs(0)
        return ""

    def embedding(self, place: int) -> int | None:
        """The tensor that the last dense layer before an output takes; None where something else gives the scores."""
        if any(self._model.Buffers(i).Offset() for i in range(self._model.BuffersLength())):
            return None  # such a file keeps weights behind the graph, which is written without them
        tensor = self._graph.Outputs(place)
        for _ in range(self._graph.OperatorsLength()):
            maker = self._maker(tensor)
            if maker is None:
                return None
            inputs, name = [each for each in maker.InputsAsNumpy().tolist() if each >= 0], self._name(maker)
            if name in ("FULLY_CONNECTED", "CONV_2D"):
                found, kernel = inputs[0], self._graph.Tensors(inputs[1]).ShapeAsNumpy().tolist()
                width = math.prod(self._graph.Tensors(found).ShapeAsNumpy().tolist()[1:])
                dense = self._is_constant(inputs[1]) and kernel[1:-1] in ([], [1, 1]) and width == kernel[-1]
                return found if dense and self._maker(found) is not None else None
            rest = [each for each in inputs if not self._is_constant(each)]
            if len(rest) != 1 or name not in ENDS:
                return None
            tensor = rest[0]
        return None

    def _maker(self, tensor: int) -> Any:
        """The operation that gives a tensor; None if none does."""
        return next((each for each in self._operators() if tensor in each.OutputsAsNumpy().tolist()), None)

    def _is_constant(self, tensor: int) -> bool:
        """Whether a tensor is stored, or is one that is and is dequantized."""
        maker = self._maker(tensor)
        if maker is not None:
            return self._name(maker) == "DEQUANTIZE" and self._is_constant(maker.Inputs(0))
        buffer = self._graph.Tensors(tensor).Buffer()
        return bool(self._model.Buffers(buffer).DataLength())

    def write(self, path: Path, outputs: list[int]) -> None:
        """Write the same graph with other outputs, the numbers of tensors."""
        import flatbuffers
        from ai_edge_litert import schema_py_generated as schema

        model = schema.ModelT.InitFromObj(self._model)
        model.subgraphs[0].outputs = outputs
        model.signatureDefs = None  # which name the outputs of before
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))

    def has_integers(self) -> bool:
        """Whether a tensor is of 8-bit integers."""
        kinds = {self._graph.Tensors(i).Type() for i in range(self._graph.TensorsLength())}
        return bool(kinds & {self._types.INT8, self._types.UINT8})

    def metadata(self, name: str) -> bytes | None:
        """The buffer that the metadata calls so."""
        for place in range(self._model.MetadataLength()):
            entry = self._model.Metadata(place)
            if entry.Name() == name.encode():
                buffer = self._model.Buffers(entry.Buffer())
                return buffer.DataAsNumpy().tobytes() if buffer.DataLength() else None
        return None

    def _operators(self) -> Iterator[Any]:
        return (self._graph.Operators(i) for i in range(self._graph.OperatorsLength()))

    def _name(self, operator: Any) -> str:
        code = self._model.OperatorCodes(operator.OpcodeIndex())
        return str(self._names.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "a custom operation"))


def _metadata(path: Path, data: bytes | None) -> tuple[dict[str, Any] | None, list[str] | None]:
    """The normalization and the labels that the metadata gives. What cannot be read says nothing."""
    if data is None:
        return None, None
    numbers: dict[str, Any] | None = None
    files: list[str] = []
    with contextlib.suppress(Exception):  # the buffer may hold anything
        numbers, files = _read_metadata(data)
    labels = None
    with contextlib.suppress(OSError, ValueError, KeyError, zipfile.BadZipFile), zipfile.ZipFile(path) as packed:
        for file in files:
            if packed.getinfo(file).file_size <= MAX_LABELS:
                lines = packed.read(file).decode("utf-8").splitlines()
                labels = [line.strip() for line in lines if line.strip()]
                break
    return numbers, labels


def _read_metadata(data: bytes) -> tuple[dict[str, Any] | None, list[str]]:
    """The numbers of NormalizationOptions, and the names of the packed files of labels."""
    root = _Table.root(data)
    subgraph = root.tables(3)[0]
    numbers = None
    for tensor in subgraph.tables(2)[:1]:
        for unit in tensor.tables(4):
            if unit.byte(0) == 1:
                options = unit.table(1)
                if options is not None:
                    numbers = {"scale": 1.0, "mean": options.floats(0), "std": options.floats(1)}
    files = [
        file.text(0)
        for tensor in subgraph.tables(3)[:1]
        for kind in (2, 3)  # labels of an axis, then of values
        for file in tensor.tables(6)
        if file.byte(2) == kind
    ]
    return numbers, [file for file in files if file]


class _Table:
    """A table of a flatbuffer whose schema is known by the places of its fields."""

    def __init__(self, data: bytes, position: int) -> None:
        from flatbuffers import table

        self._data = data
        self._table = table.Table(bytearray(data), position)

    @classmethod
    def root(cls, data: bytes) -> _Table:
        return cls(data, int.from_bytes(data[:4], "little"))

    def byte(self, field: int) -> int:
        return self._at(field, 0, lambda place: self._data[place])

    def text(self, field: int) -> str:
        return self._at(field, "", lambda place: str(self._table.String(place), "utf-8"))

    def table(self, field: int) -> _Table | None:
        def read(place: int) -> _Table | None:
            return _Table(self._data, self._table.Indirect(place))

        return self._at(field, None, read)

    def tables(self, field: int) -> list[_Table]:
        def read(start: int, count: int) -> list[_Table]:
            return [_Table(self._data, self._table.Indirect(start + 4 * i)) for i in range(count)]

        return self._vector(field, read)

    def floats(self, field: int) -> list[float]:
        def read(start: int, count: int) -> list[float]:
            return [float(value) for value in np.frombuffer(self._data, "<f4", count, start)]

        return self._vector(field, read)

    def _at(self, field: int, default: T, read: Callable[[int], T]) -> T:
        offset = self._table.Offset(4 + 2 * field)
        return default if offset == 0 else read(offset + self._table.Pos)

    def _vector(self, field: int, read: Callable[[int, int], list[T]]) -> list[T]:
        offset = self._table.Offset(4 + 2 * field)
        return [] if offset == 0 else read(self._table.Vector(offset), self._table.VectorLen(offset))
