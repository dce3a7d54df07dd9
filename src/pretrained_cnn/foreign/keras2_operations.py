"""Operations of TensorFlow within networks of Keras 2, done again with ``keras.ops`` while a network is rebuilt.

Keras 2 keeps each as a layer, ``TFOpLambda`` or ``SlicingOpLambda``, with the name of the function and its arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from typing_extensions import override

from pretrained_cnn._compat import record_call
from pretrained_cnn.errors import ModelFileError

__all__ = ["FUNCTIONS", "OPERATIONS", "REPLAYED", "check_functions", "is_tensor", "replayed"]

OPERATIONS = ("TFOpLambda", "SlicingOpLambda")
CONSTANT = "_CONSTANT_VALUE"
PLACE = "pretrained_cnn>place"
"""The key of what stands for a tensor among the arguments of an operation: the number of that tensor."""


def is_tensor(value: Any) -> bool:
    """Whether a value in a description by Keras 2 is the place of a tensor: a layer, its call, and an output."""
    return isinstance(value, list) and len(value) == 3 and isinstance(value[0], str)


def _number(value: Any, like: Any) -> Any:
    """A constant as TensorFlow converts it: to the type of the tensor that it meets."""
    if isinstance(value, list | int | float) and hasattr(like, "dtype"):
        return np.asarray(value, like.dtype)
    return value


def _binary(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def call(x: Any, y: Any) -> Any:
        return function(_number(x, y), _number(y, x))

    return call


def _reduced(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(input_tensor: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return function(input_tensor, axis=tuple(axis) if isinstance(axis, list) else axis, keepdims=bool(keepdims))

    return call


def _cast(x: Any, dtype: Any) -> Any:
    return ops.cast(x, str(dtype).removeprefix("<dtype: '").removesuffix("'>"))


def _getitem(tensor: Any, slice_spec: Any) -> Any:
    return tensor[tuple(map(_index, slice_spec)) if isinstance(slice_spec, list) else _index(slice_spec)]


def _index(described: Any) -> Any:
    if not isinstance(described, dict):
        return described
    if described.get("class_name") == "__ellipsis__":
        return Ellipsis
    return slice(described.get("start"), described.get("stop"), described.get("step"))


def _pad(tensor: Any, paddings: Any, mode: str = "CONSTANT", constant_values: float = 0) -> Any:
    values = {"constant_values": constant_values} if mode.upper() == "CONSTANT" else {}
    return ops.pad(tensor, paddings, mode.lower(), **values)


def _split(value: Any, num_or_size_splits: Any, axis: int = 0) -> Any:
    sizes = num_or_size_splits
    return ops.split(value, np.cumsum(sizes)[:-1].tolist() if isinstance(sizes, list) else sizes, axis=axis)


def _matmul(a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False) -> Any:
    a, b = _number(a, b), _number(b, a)
    a = ops.swapaxes(a, -1, -2) if transpose_a else a
    return ops.matmul(a, ops.swapaxes(b, -1, -2) if transpose_b else b)


def _l2_normalize(x: Any, axis: Any = None, epsilon: float = 1e-12) -> Any:
    axes = tuple(axis) if isinstance(axis, list) else axis
    return x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis=axes, keepdims=True), epsilon))


def _resize(
    images: Any, size: Any, method: str = "bilinear", preserve_aspect_ratio: bool = False, antialias: bool = False
) -> Any:
    if preserve_aspect_ratio:
        raise ModelFileError("the operation 'image.resize' with preserve_aspect_ratio is not known")
    return ops.image.resize(images, tuple(size), interpolation=method, antialias=bool(antialias))


def _standardized(image: Any) -> Any:
    count = float(np.prod(image.shape[-3:]))
    mean, deviation = (each(image, axis=(-3, -2, -1), keepdims=True) for each in (ops.mean, ops.std))
    return (image - mean) / ops.maximum(deviation, 1 / np.sqrt(count))


def _pool(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(input: Any, ksize: Any, strides: Any, padding: str, data_format: str | None = None) -> Any:
        if data_format not in (None, "NHWC"):
            raise ModelFileError(f"pooling of {data_format} is not known")
        return function(input, _sides(ksize), _sides(strides), padding.lower(), data_format="channels_last")

    return call


def _sides(size: Any) -> tuple[int, int]:
    given = size if isinstance(size, list) else [size]
    height, width = given[1:3] if len(given) == 4 else (given[0], given[-1])
    return int(height), int(width)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "__operators__.getitem": _getitem,
    "cast": _cast,
    "reshape": lambda tensor, shape: ops.reshape(tensor, tuple(shape)),
    "expand_dims": lambda input, axis: ops.expand_dims(input, axis),
    "squeeze": lambda input, axis=None: ops.squeeze(input, tuple(axis) if isinstance(axis, list) else axis),
    "transpose": lambda a, perm=None, conjugate=False: ops.transpose(a, perm),
    "concat": lambda values, axis: ops.concatenate(values, axis),
    "stack": lambda values, axis=0: ops.stack(values, axis),
    "unstack": lambda value, num=None, axis=0: ops.unstack(value, num, axis),
    "split": _split,
    "tile": lambda input, multiples: ops.tile(input, multiples),
    "reverse": lambda tensor, axis: ops.flip(tensor, tuple(axis) if isinstance(axis, list) else axis),
    "pad": _pad,
    "identity": lambda input: input,
    "stop_gradient": ops.stop_gradient,
    "clip_by_value": lambda t, clip_value_min, clip_value_max: ops.clip(t, clip_value_min, clip_value_max),
    "where": lambda condition, x, y: ops.where(condition, _number(x, y), _number(y, x)),
    "linalg.matmul": _matmul,
    "linalg.l2_normalize": _l2_normalize,
    "math.l2_normalize": _l2_normalize,
    "nn.l2_normalize": _l2_normalize,
    "image.resize": _resize,
    "image.per_image_standardization": _standardized,
    "image.rgb_to_grayscale": lambda images: ops.matmul(images, np.array([[0.2989], [0.587], [0.114]], np.float32)),
    "image.grayscale_to_rgb": lambda images: ops.concatenate([images] * 3, -1),
    "math.scalar_mul": lambda scalar, x: _number(scalar, x) * x,
    "nn.avg_pool": _pool(ops.average_pool),
    "nn.avg_pool2d": _pool(ops.average_pool),
    "nn.max_pool": _pool(ops.max_pool),
    "nn.max_pool2d": _pool(ops.max_pool),
    "nn.bias_add": lambda value, bias, data_format=None: _binary(ops.add)(value, bias),
    "nn.elu": ops.elu,
    "nn.gelu": lambda features, approximate=False: ops.gelu(features, bool(approximate)),
    "nn.leaky_relu": lambda features, alpha=0.2: ops.leaky_relu(features, alpha),
    "nn.log_softmax": lambda logits, axis=-1: ops.log_softmax(logits, -1 if axis is None else axis),
    "nn.relu": ops.relu,
    "nn.relu6": ops.relu6,
    "nn.selu": ops.selu,
    "nn.silu": lambda features, beta=1.0: features * ops.sigmoid(beta * features),
    "nn.softmax": lambda logits, axis=-1: ops.softmax(logits, -1 if axis is None else axis),
    **{f"math.reduce_{name}": _reduced(getattr(ops, name)) for name in ("max", "mean", "min", "prod", "sum", "std")},
    "math.reduce_variance": _reduced(ops.var),
    **{
        f"math.{name}": getattr(ops, name)
        for name in (
            *("abs", "ceil", "cos", "erf", "exp", "expm1", "floor", "log", "log1p", "negative", "reciprocal", "round"),
            *("rsqrt", "sigmoid", "sign", "sin", "softplus", "sqrt", "square", "tanh"),
        )
    },
    "nn.sigmoid": ops.sigmoid,
    "nn.tanh": ops.tanh,
    "nn.softplus": ops.softplus,
    "math.softplus": ops.softplus,
    **{
        f"math.{name}": _binary(function)
        for name, function in {
            "add": ops.add,
            "subtract": ops.subtract,
            "multiply": ops.multiply,
            "truediv": ops.true_divide,
            "divide": ops.true_divide,
            "pow": ops.power,
            "maximum": ops.maximum,
            "minimum": ops.minimum,
            "greater": ops.greater,
            "greater_equal": ops.greater_equal,
            "less": ops.less,
            "equal": ops.equal,
            "less_equal": ops.less_equal,
            "floordiv": ops.floor_divide,
            "floormod": ops.mod,
            "squared_difference": lambda x, y: ops.square(x - y),
        }.items()
    },
    "__operators__.add": _binary(ops.add),
}
"""What does the same as a function of TensorFlow, by its name, with arguments of the same names."""


class Replayed(keras.Operation):  # type: ignore[misc]  # Keras has no types
    """Stands for an operation of TensorFlow while Keras rebuilds a network; each of its calls is one of ``keras.ops``.

    The network that is rebuilt holds those only.
    """

    def __init__(self, function: str, calls: Sequence[Mapping[str, Any]], name: str) -> None:
        super().__init__(name=name)
        self._function = function
        self._calls = list(calls)
        self._done = 0

    @override
    def __call__(self, tensors: Any = ()) -> Any:
        """Do the next of the calls with its tensors."""
        call = self._calls[self._done]
        given = tensors if isinstance(tensors, list | tuple) else [tensors]
        first, arguments = _filled(call["first"], given), _filled(call["arguments"], given)
        found = FUNCTIONS[self._function](first, **arguments)
        self._done += 1
        record_call(self, found if isinstance(found, list | tuple) else [found])
        return found

    @override
    def get_config(self) -> dict[str, Any]:
        """Its arguments."""
        return {"function": self._function, "calls": self._calls, "name": self.name}


REPLAYED = {"Replayed": Replayed}
"""The classes that a description made by `replayed` names."""


COMPUTE = ("math.", "nn.", "linalg.", "signal.", "image.", "bitwise.")
"""How the names of functions begin that only compute."""

ALSO_COMPUTE = {
    *(
        "argsort",
        "boolean_mask",
        "broadcast_to",
        "einsum",
        "eye",
        "fill",
        "gather",
        "gather_nd",
        "linspace",
        "meshgrid",
    ),
    *("norm", "one_hot", "ones", "ones_like", "range", "rank", "repeat", "roll", "searchsorted", "sequence_mask"),
    *("shape", "size", "slice", "sort", "space_to_batch", "strided_slice", "tensordot", "zeros", "zeros_like"),
    *("space_to_depth", "depth_to_space", "unique", "cumsum", "saturate_cast"),
}


def check_functions(config: Any) -> None:
    """Raise ModelFileError if a description by Keras 2 names a function of TensorFlow that may do more than compute.

    >>> check_functions({"class_name": "TFOpLambda", "config": {"function": "io.write_file"}})
    Traceback (most recent call last):
    ...
    pretrained_cnn.errors.ModelFileError: the function 'io.write_file' of TensorFlow may do more than compute
    """
    pending = [config]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        elif isinstance(node, dict):
            pending += node.values()
            if node.get("class_name") in OPERATIONS:
                name = str(node["config"].get("function"))
                short = name.removeprefix("compat.v1.")
                if short not in FUNCTIONS and short not in ALSO_COMPUTE and not short.startswith(COMPUTE):
                    raise ModelFileError(f"the function {name!r} of TensorFlow may do more than compute")


def replayed(node: Mapping[str, Any]) -> dict[str, Any]:
    """The description of a `Replayed`, for that of a layer which is an operation of TensorFlow.

    Raises ModelFileError for an operation that is not known.
    """
    name = node["config"]["function"]
    function = name.removeprefix("compat.v1.")
    if function not in FUNCTIONS:
        raise ModelFileError(f"the operation {name!r} of TensorFlow is not known")
    calls, places = [], []
    for call in node["inbound_nodes"]:
        tensors: list[Any] = []
        firsts = [call] if isinstance(call[0], str) else call
        first = [_emptied(each[2] if each[0] == CONSTANT else each[:3], tensors) for each in firsts]
        arguments = {key: _emptied(value, tensors) for key, value in firsts[0][3].items() if key != "name"}
        calls.append({"first": first if len(first) > 1 else first[0], "arguments": arguments})
        places.append([[*place, {}] for place in tensors])
    return {
        "class_name": "Replayed",
        "config": {"function": function, "calls": calls, "name": node["config"]["name"].replace(".", "_")},
        "name": node["name"],
        "inbound_nodes": places,
    }


def _emptied(value: Any, tensors: list[Any]) -> Any:
    """A value with numbers in place of tensors, whose places are added to ``tensors``."""
    if is_tensor(value):
        tensors.append(value)
        return {PLACE: len(tensors) - 1}
    if isinstance(value, list):
        return [_emptied(each, tensors) for each in value]
    return value


def _filled(value: Any, tensors: Sequence[Any]) -> Any:
    if isinstance(value, dict):
        return tensors[value[PLACE]] if PLACE in value else {k: _filled(each, tensors) for k, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, tensors) for each in value]
    return value
