"""Tiny classifiers as files of other frameworks, whose answers are known by construction.

Each takes the mean of every channel of what it is given, and a dense layer `KERNEL`, `BIAS` of that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZE = (6, 4)
BIAS = np.array([0.5, -0.25, 0.0, 0.125], np.float32)
KERNEL = np.array([[1.5, -1.0, 0.5, 0.75], [0.25, 1.0, -1.25, 0.5], [-0.5, 0.75, 1.0, -1.5]], np.float32)
"""Of three channels; of gray, the first row."""

Quantization = tuple[float, int]


def logits(x: NDArray[Any]) -> NDArray[np.float64]:
    """What the dense layer gives for ``(N, H, W, C)``, already preprocessed."""
    kernel = KERNEL[: x.shape[-1]].astype(np.float64)
    return np.asarray(x.astype(np.float64).mean(axis=(1, 2)) @ kernel + BIAS)


def softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def images(channels: int = 3, count: int = 5) -> NDArray[np.uint8]:
    """Images of the network's size: noise around a level of their own."""
    random = np.random.default_rng(0)
    levels = random.integers(0, 205, (count, 1, 1, channels))
    return (levels + random.integers(0, 50, (count, *SIZE, channels))).astype(np.uint8)


def write_litert(
    path: Path,
    *,
    layout: str = "NHWC",
    channels: int = 3,
    input_dtype: str = "float32",
    input_quantization: Quantization | None = None,
    output_dtype: str = "float32",
    output_quantization: Quantization | None = None,
    first: str | None = None,
    factor: float = 1.0,
    last: str | None = "SOFTMAX",
    shape_of_output: tuple[int, ...] | None = None,
    any_batch: bool = False,
    custom: bool = False,
) -> Path:
    """A TFLite file, made of its schema. ``first`` is an operation with the constant ``factor`` at the beginning."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    types = {"float32": schema.TensorType.FLOAT32, "uint8": schema.TensorType.UINT8, "int8": schema.TensorType.INT8}
    types |= {"int32": schema.TensorType.INT32}
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, model.operatorCodes = 3, [schema.BufferT()], []
    model.subgraphs = [graph]
    graph.tensors, graph.operators = [], []

    def tensor(shape: Any, dtype: str = "float32", value: Any = None, quantization: Quantization | None = None) -> int:
        made = schema.TensorT()
        made.shape, made.type, made.name = list(shape), types[dtype], f"tensor{len(graph.tensors)}"
        if value is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(value, dtype).tobytes(), np.uint8)
            model.buffers.append(buffer)
            made.buffer = len(model.buffers) - 1
        if quantization is not None:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [quantization[0]], [quantization[1]]
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def operation(name: str, inputs: list[int], output: int, options: Any = None) -> int:
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = 1
        code.customCode = "Mine" if name == "CUSTOM" else None
        model.operatorCodes.append(code)
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = len(model.operatorCodes) - 1, inputs, [output]
        if options is not None:
            made.builtinOptions = options
            made.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        graph.operators.append(made)
        return output

    shape = {"NHWC": (1, *SIZE, channels), "NCHW": (1, channels, *SIZE), "NHW": (1, *SIZE)}[layout]
    x = tensor(shape, input_dtype, quantization=input_quantization)
    if any_batch:
        graph.tensors[x].shapeSignature = [-1, *shape[1:]]
    graph.inputs = [x]
    if input_dtype != "float32":
        x = operation("DEQUANTIZE", [x], tensor(shape))
    if first is not None:
        options = getattr(schema, f"{first.capitalize()}OptionsT")()
        x = operation(first, [x, tensor((), value=factor)], tensor(shape), options)
    if custom:
        x = operation("CUSTOM", [x], tensor(shape))
    axes = (2, 3) if layout == "NCHW" else (1, 2)
    options = schema.ReducerOptionsT()
    options.keepDims = layout == "NHW"
    mean = (1, 1, 1) if layout == "NHW" else (1, channels)
    x = operation("MEAN", [x, tensor((2,), "int32", axes)], tensor(mean), options)
    kernel, count = KERNEL[:channels].T, len(BIAS)
    options = schema.FullyConnectedOptionsT()
    x = operation(
        "FULLY_CONNECTED",
        [x, tensor(kernel.shape, value=kernel), tensor((count,), value=BIAS)],
        tensor((1, count)),
        options,
    )
    if last == "SOFTMAX":
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        x = operation("SOFTMAX", [x], tensor((1, count)), options)
    elif last is not None:
        x = operation(last, [x], tensor((1, count)))
    if output_dtype != "float32":
        x = operation("QUANTIZE", [x], tensor((1, count), output_dtype, quantization=output_quantization))
    if shape_of_output is not None:
        new = tensor((len(shape_of_output),), "int32", shape_of_output)
        x = operation("RESHAPE", [x, new], tensor(shape_of_output, output_dtype, quantization=output_quantization))
    graph.outputs = [x]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def write_onnx(
    path: Path,
    *,
    layout: str = "NCHW",
    channels: int = 3,
    classes: int = 4,
    batch: int | str = "N",
    size: tuple[Any, Any] = SIZE,
    dtype: str = "float32",
    input_quantization: Quantization | None = None,
    output_quantization: Quantization | None = None,
    first: Sequence[tuple[str, Any]] = (),
    dense: str = "Gemm",
    last: str | None = "Softmax",
    shape_of_output: tuple[int, ...] | None = None,
    opset: int = 13,
    domain: str = "",
    metadata: dict[str, str] | None = None,
    external: str | None = None,
) -> Path:
    """An ONNX file. ``first`` are operators, each with its constant, at the beginning."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(value: Any, kind: str = "float32") -> str:
        constants.append(numpy_helper.from_array(np.asarray(value, kind), f"constant{len(constants)}"))
        return str(constants[-1].name)

    def add(operator: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, list(inputs), [f"tensor{len(nodes)}"], **attributes))
        return str(nodes[-1].output[0])

    x = "pixels"
    if input_quantization is not None:
        x = add("DequantizeLinear", x, constant(input_quantization[0]), constant(input_quantization[1], dtype))
    elif dtype != "float32":
        x = add("Cast", x, to=TensorProto.FLOAT)
    for operator, value in first:
        x = add(operator, x, constant(np.reshape(value, (1, -1, 1, 1)) if layout == "NCHW" else value))
    if domain:
        x = add("Mine", x, domain=domain)
    axes = [2, 3] if layout == "NCHW" else [1, 2]
    x = add("ReduceMean", x, axes=axes, keepdims=int(layout == "NHW"))
    if layout == "NHW":
        x = add("Flatten", x)
    kernel = constant(KERNEL[:channels, :classes])
    if dense == "Gemm":
        x = add("Gemm", x, kernel, constant(BIAS[:classes]))
    elif dense == "MatMul":
        x = add("Add", add("MatMul", x, kernel), constant(BIAS))
    else:  # a convolution of one pixel, as Keras's MobileNet ends in
        x = add("Unsqueeze", add("Unsqueeze", x, constant([2], "int64")), constant([3], "int64"))
        x = add("Conv", x, constant(KERNEL[:channels].T[..., None, None]), constant(BIAS))
        x = add("Flatten", x)
    if last is not None:
        x = add(last, x, **({} if last == "Sigmoid" else {"axis": 1}))
    if output_quantization is not None:
        x = add("QuantizeLinear", x, constant(output_quantization[0]), constant(output_quantization[1], "uint8"))
    if shape_of_output is not None:
        x = add("Reshape", x, constant(shape_of_output, "int64"))
    shape = {"NHWC": (batch, *size, channels), "NCHW": (batch, channels, *size), "NHW": (batch, *size)}[layout]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    gives = TensorProto.FLOAT if output_quantization is None else TensorProto.UINT8
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("pixels", kind, shape)],
        [helper.make_tensor_value_info(x, gives, None)],
        constants,
    )
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    helper.set_model_props(model, metadata or {})
    if external is None:
        onnx.save(model, path)
    else:
        onnx.save(model, path, save_as_external_data=True, location=external, size_threshold=0)
    return path


def write_saved_model(
    path: Path,
    *,
    first: Callable[[Any], Any] | None = None,
    batch: int | None = None,
    signatures: Sequence[str] = ("serving_default",),
) -> Path:
    """A SavedModel, of a function and a variable. ``first`` is what is done to the pixels at the beginning."""
    import tensorflow as tf

    module = tf.Module()
    module.kernel = tf.Variable(KERNEL)

    def give(pixels: Any) -> dict[str, Any]:
        pixels = pixels if first is None else first(pixels)
        return {"y": tf.nn.softmax(tf.reduce_mean(pixels, (1, 2)) @ module.kernel + BIAS)}

    module.give = tf.function(give, input_signature=[tf.TensorSpec((batch, *SIZE, 3), name="x")], autograph=False)
    tf.saved_model.save(module, str(path), signatures=dict.fromkeys(signatures, module.give))
    return path
