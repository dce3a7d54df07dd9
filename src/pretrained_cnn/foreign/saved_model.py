"""SavedModel folders: judged by their operations before TensorFlow loads them, and written again with one signature.

Runs in a child process: TensorFlow may crash on a damaged file.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn.errors import InvalidArgumentError, ModelFileError, import_package
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

__all__ = ["ALLOWED", "SAVING", "check_operations", "read"]

_COMPUTING = """
DecodeImage DecodeJpeg DecodePng
Abs Acos Acosh Add AddN AddV2 All Any ArgMax ArgMin Asin Asinh Assert Assign AssignAddVariableOp AssignSubVariableOp
AssignVariableOp Atan Atan2 Atanh AvgPool AvgPool3D BatchMatMul BatchMatMulV2 BatchMatMulV3 BatchToSpace
BatchToSpaceND BiasAdd BiasAddV1 Bitcast BroadcastArgs BroadcastTo Bucketize Case Cast Ceil CheckNumerics
ClipByValue Complex Concat ConcatOffset ConcatV2 Const Conv2D Conv2DBackpropInput Conv3D Cos Cosh CropAndResize
Cumprod Cumsum DepthToSpace DepthwiseConv2dNative Dequantize DestroyResourceOp Diag DiagPart Dilation2D
DisableCopyOnRead Div DivNoNan Einsum Elu Empty EnsureShape Enter Equal Erf Erfc Exit Exp ExpandDims Expm1
ExtractImagePatches FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel Fill Floor
FloorDiv FloorMod FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 Gather GatherNd GatherV2 Greater GreaterEqual
Identity IdentityN If ImageProjectiveTransformV2 ImageProjectiveTransformV3 InTopK Inv Invert IsFinite IsInf IsNan
IsVariableInitialized L2Loss LRN LeakyRelu Less LessEqual LinSpace Log Log1p LogSoftmax LogicalAnd LogicalNot
LogicalOr LogicalXor LoopCond MatMul MatrixBandPart MatrixDiag MatrixDiagPart Max MaxPool MaxPool3D MaxPoolV2
MaxPoolWithArgmax Maximum Mean Merge Min Minimum MirrorPad Mod Mul MulNoNan Multinomial Neg NextIteration NoOp
NonMaxSuppressionV3 NotEqual OneHot OnesLike Pack Pad PadV2 ParallelConcat PartitionedCall Placeholder
PlaceholderWithDefault Pow PreventGradient Prod QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeV2
QuantizedConv2D RandomStandardNormal RandomUniform RandomUniformInt Range Rank ReadVariableOp RealDiv Reciprocal
Relu Relu6 Reshape ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor ResourceGather Reverse ReverseV2
RightShift Rint Roll Round Rsqrt ScaleAndTranslate Select SelectV2 Selu Shape ShapeN Sigmoid Sign Sin Sinh Size
Slice Snapshot Softmax Softplus Softsign SpaceToBatch SpaceToBatchND SpaceToDepth Split SplitV Sqrt Square
SquaredDifference Squeeze StatefulPartitionedCall StatelessCase StatelessIf StatelessRandomGetKeyCounter
StatelessRandomNormalV2 StatelessRandomUniform StatelessRandomUniformV2 StatelessWhile StopGradient StridedSlice
StringJoin Sub Sum Switch Tan Tanh TensorListFromTensor TensorListGetItem TensorListReserve TensorListSetItem
TensorListStack Tile TopK TopKV2 Transpose TruncateDiv TruncateMod TruncatedNormal Unpack VarHandleOp
VarIsInitializedOp Variable VariableShape VariableV2 Where While Xdivy Xlogy ZerosLike _Arg _Retval
AdjustContrastv2 AdjustHue AdjustSaturation HSVToRGB RGBToHSV RngReadAndSkip RngSkip StatefulStandardNormalV2
StatefulUniform StatefulUniformInt StatelessRandomGetAlg StatelessRandomGetKeyCounterAlg StatelessRandomNormal
StatelessRandomUniformFullInt StatelessRandomUniformFullIntV2 StatelessRandomUniformInt StatelessRandomUniformIntV2
StatelessShuffle StatelessTruncatedNormal StatelessTruncatedNormalV2 RandomShuffle
"""

ALLOWED = frozenset(_COMPUTING.split())
"""Operations that compute, and reach neither files, nor the network, nor code of Python."""

WRITING = frozenset(["SaveV2", "Save", "SaveSlices", "MergeV2Checkpoints"])

SAVING = WRITING | {
    "RestoreV2",
    "Restore",
    "RestoreSlice",
    "ShardedFilename",
    "ShardedFilespec",
    "StaticRegexFullMatch",
}
"""Operations that write and read the weights: only for the saver, which nothing else calls."""

ARITHMETIC = {"Mul": "Mul", "Add": "Add", "AddV2": "Add", "Sub": "Sub", "RealDiv": "Div", "Div": "Div"}
PASSED = {"Cast", "Transpose", "Pad", "PadV2", "MirrorPad", "Reshape", "Squeeze", "ExpandDims", "Identity"}
PASSED |= {"ResizeBilinear", "ResizeBicubic", "ResizeNearestNeighbor", "ResizeArea", "StopGradient", "EnsureShape"}
ENDS = {*PASSED, "Softmax", "LogSoftmax", "Sigmoid", "BiasAdd", "Add", "AddV2"}
"""What may stand between the last dense layer and the output."""

DENSE = {"MatMul", "Conv2D"}
FUNCTIONS: dict[str, Any] = {"Softmax": "softmax", "Sigmoid": "sigmoid"}


@faults_named("TensorFlow")
def read(
    path: str,
    name: str,
    folder: str,
    layout: str | None = None,
    input_size: Sequence[int] | None = None,
    signature: str | None = None,
) -> dict[str, Any]:
    """Describe the graph of a signature, a `Graph` as plain data, and write it to ``folder`` as the only signature."""
    tf = import_package("tensorflow", extra=None)
    check_operations(Path(path), name)
    loaded = tf.saved_model.load(path)
    function = _choose(loaded.signatures, name, signature)
    (given,) = function.structured_input_signature[1].values()
    dtype = np.dtype(given.dtype.as_numpy_dtype).name
    taken = find_input(given.shape.as_list(), name, preferred="NHWC", layout=layout, input_size=input_size)
    frozen = _Frozen(function)
    keys = sorted(function.structured_outputs)
    kinds = [function.structured_outputs[each].dtype.name for each in keys]
    outputs = [
        GraphOutput(key, kind, frozen.last(place)) for place, (key, kind) in enumerate(zip(keys, kinds, strict=True))
    ]
    place = scores_among(outputs, name)

    spec = tf.TensorSpec(taken.taken, given.dtype, name="images")
    embedding = frozen.embedding(place)

    def run(batch: NDArray[Any]) -> list[NDArray[Any]]:
        results = serving_default(tf.constant(batch))
        return [results[key].numpy() for key in sorted(results)]

    serving_default = frozen.function(spec, place, embedding)
    found = probe(run, taken, dtype, name)
    if embedding is not None and not is_vector(found.shapes[1]):
        embedding = None
        serving_default = frozen.function(spec, place)
    begins, scales = frozen.first()
    tf.saved_model.save(tf.Module(), str(Path(folder, "model", "1")), signatures=serving_default)
    described = Graph(
        format="saved_model",
        dtype="float32",
        input=Port(shape=taken.shape, dtype=dtype),
        output=Port(shape=found.shapes[0], dtype=kinds[place]),
        batch=found.batch,
        layout=taken.layout,
        flat=taken.flat,
        embedding=math.prod(found.shapes[1][1:]) if embedding is not None else None,
        begins=begins,
        scales=scales,
        ends_in=outputs[place].function,
        probabilities=found.probabilities,
    )
    return dataclasses.asdict(described)


def check_operations(path: Path, name: str) -> None:
    """Raise ModelFileError for a SavedModel with an operation that is not allowed, or allowed to its saver alone.

    Nothing is loaded: the description is read as data.
    """
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    try:
        model = SavedModel.FromString((path / "saved_model.pb").read_bytes())
    except Exception as error:  # protobuf's DecodeError, which has no public name
        raise ModelFileError(f"{name} is damaged: its saved_model.pb cannot be read") from error
    for graph in model.meta_graphs:
        functions = {function.signature.name: function.node_def for function in graph.graph_def.library.function}
        for node in (*graph.graph_def.node, *(node for body in functions.values() for node in body)):
            if node.op not in ALLOWED and node.op not in SAVING and node.op not in functions:
                raise ModelFileError(
                    f"{name} has the operation {node.op}, which is not one of those that only compute; export the "
                    "model without it"
                )
        _check_saving(graph, functions, name)


def _check_saving(graph: Any, functions: dict[str, Any], name: str) -> None:
    """Refuse weights that are saved or restored where anything but the saver asks for it.

    Loading runs what restores, and a signature what it gives.
    """
    outputs = {port.name for each in graph.signature_def.values() for port in each.outputs.values()}
    outputs |= {value for each in graph.collection_def.values() for value in each.node_list.value}
    roots = set(graph.object_graph_def.concrete_functions)
    roots |= {each for start in roots for each in _reached(functions.get(start, ()), functions)}
    called = [node for start in roots for node in functions.get(start, ())]
    for names, forbidden, more in ((outputs, SAVING, called), ({graph.saver_def.restore_op_name}, WRITING, [])):
        nodes = _upstream(graph.graph_def.node, names)
        bodies = [node for function in _reached(nodes, functions) for node in functions[function]]
        for node in (*nodes, *bodies, *more):
            if node.op in forbidden:
                raise ModelFileError(
                    f"{name} has the operation {node.op} outside of what saves and restores its weights; it is not "
                    "loaded"
                )


def _upstream(nodes: Iterable[Any], ports: Iterable[str]) -> list[Any]:
    """The nodes of a graph that ``ports`` depend on."""
    by_name = {node.name: node for node in nodes}
    found: dict[str, Any] = {}
    waiting = [_source(port) for port in ports]
    while waiting:
        name = waiting.pop()
        if name in by_name and name not in found:
            found[name] = by_name[name]
            waiting += [_source(port) for port in by_name[name].input]
    return list(found.values())


def _reached(nodes: Iterable[Any], functions: dict[str, Any]) -> set[str]:
    """The names of the functions that nodes call, and of those that these call."""
    found: set[str] = set()
    waiting = list(_called(nodes))
    while waiting:
        name = waiting.pop()
        if name in functions and name not in found:
            found.add(name)
            waiting += _called(functions[name])
    return found


def _called(nodes: Iterable[Any]) -> Iterator[str]:
    for node in nodes:
        yield node.op
        for value in node.attr.values():
            yield from (value.func.name, *(each.name for each in value.list.func))


def _choose(signatures: Any, name: str, wanted: str | None) -> Any:
    """The signature that takes one image. Raises for none, and for several."""
    fitting = [key for key, function in signatures.items() if _fits(function)]
    names = ", ".join(f"{key!r} of {_inputs(function)}" for key, function in signatures.items()) or "none"
    if wanted is not None:
        if wanted not in fitting:
            raise InvalidArgumentError(
                f"signature={wanted!r} does not take one image, or does not exist; the signatures of {name} are {names}"
            )
        return signatures[wanted]
    if "serving_default" in fitting or len(fitting) == 1:
        return signatures["serving_default" if "serving_default" in fitting else fitting[0]]
    if fitting:
        raise InvalidArgumentError(f"{name} has several signatures; give signature=..., one of {', '.join(fitting)}")
    raise ModelFileError(
        f"{name} has no signature that takes one image as numbers; its signatures are {names}; export it again with a "
        "signature of float32 (N, height, width, channels)"
    )


def _fits(function: Any) -> bool:
    inputs = list(function.structured_input_signature[1].values())
    return (
        len(inputs) == 1
        and inputs[0].dtype.name in ("float16", "float32", "float64", "uint8", "int8", "int32")
        and inputs[0].shape.rank in (2, 3, 4)
    )


def _inputs(function: Any) -> str:
    """What a signature takes, as part of a sentence."""
    inputs = function.structured_input_signature[1].values()
    return " and ".join(f"{each.dtype.name} {each.shape}" for each in inputs) or "no inputs"


class _Frozen:
    """The graph of a signature, with its variables as constants."""

    def __init__(self, function: Any) -> None:
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        frozen = convert_variables_to_constants_v2(function)
        self._graph = frozen.graph.as_graph_def()
        self._nodes = {node.name: node for node in self._graph.node}
        self._input = frozen.inputs[0].op.name
        self._outputs = [port.name for port in frozen.outputs]

    def function(self, spec: Any, place: int, embedding: str | None = None) -> Any:
        """The function of TensorFlow that gives an output, and the embedding if it has a name."""
        import tensorflow as tf

        wanted = [self._outputs[place], *([embedding] if embedding else [])]

        def give(images: Any) -> dict[str, Any]:
            given = {f"{self._input}:0": images}
            found = tf.graph_util.import_graph_def(self._graph, given, return_elements=wanted, name="")
            return {f"output_{number}": values for number, values in enumerate(found)}

        return tf.function(give, input_signature=[spec], autograph=False)

    def embedding(self, place: int) -> str | None:
        """What the last dense layer before an output takes; None where something else gives the scores."""
        port = self._outputs[place]
        for _ in self._nodes:
            node = self._nodes[_source(port)]
            inputs = [each for each in node.input if not each.startswith("^")]
            constants = [self._constant(each) for each in inputs]
            if node.op in DENSE:
                transposed = "transpose_a" in node.attr and node.attr["transpose_a"].b
                plain = not transposed and _source(inputs[0]) != self._input
                found = constants[0] is None and constants[1] is not None and plain
                found = found and (node.op == "MatMul" or _is_pixel(constants[1]))
                return (inputs[0] if ":" in inputs[0] else f"{inputs[0]}:0") if found else None
            rest = [each for each, constant in zip(inputs, constants, strict=True) if constant is None]
            if len(rest) != 1 or node.op not in ENDS:
                return None
            port = rest[0]
        return None

    def _constant(self, port: str) -> Any:
        """The node that holds a constant; None for what is none."""
        node = self._nodes[_source(port)]
        while node.op in ("Identity", "Cast", "Transpose"):
            node = self._nodes[_source(node.input[0])]
        return node if node.op == "Const" else None

    def first(self) -> tuple[str, bool]:
        """The first operation that changes values, and whether it is arithmetic that scales pixel values."""
        tensor, steps = self._input, list[Step]()
        while True:
            takers = [
                node
                for node in self._nodes.values()
                if node.op != "Shape" and tensor in [_source(port) for port in node.input if not port.startswith("^")]
            ]
            operation = takers[0].op if len(takers) == 1 else "several operations"
            step = _step(takers[0], tensor, self._nodes) if operation in ARITHMETIC else None
            if step is not None:
                steps.append(step)
            elif operation not in PASSED:
                return beginning(steps, operation if takers else "nothing")
            tensor = takers[0].name

    def last(self, place: int) -> Any:
        """The function that gives an output, one of those in the order of their names, where it is known."""
        name = _source(self._outputs[place])
        while self._nodes[name].op in PASSED:
            name = _source(self._nodes[name].input[0])
        return FUNCTIONS.get(self._nodes[name].op)


def _step(node: Any, tensor: str, nodes: dict[str, Any]) -> Step | None:
    from tensorflow.python.framework.tensor_util import MakeNdarray

    left = _source(node.input[0]) != tensor
    other = nodes[_source(node.input[0 if left else 1])]
    while other.op == "Identity":
        other = nodes[_source(other.input[0])]
    return (ARITHMETIC[node.op], MakeNdarray(other.attr["value"].tensor), left) if other.op == "Const" else None


def _is_pixel(kernel: Any) -> bool:
    """Whether a convolution looks at one pixel, so that of a map of one pixel it is a dense layer."""
    return [side.size for side in kernel.attr["value"].tensor.tensor_shape.dim][:2] == [1, 1]


def _source(port: str) -> str:
    return port.lstrip("^").partition(":")[0]
