"""What a graph of another framework is, as plain data, and what is decided about it: its adapter and its spec.

A reader, one a format, describes the graph in a child process, so that a file that crashes its reader ends nothing
else. What is decided depends on that description and on the caller's arguments alone.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._check import choice
from pretrained_cnn.bundle.formats import Dtype
from pretrained_cnn.errors import InvalidArgumentError, ModelFileError, PretrainedCNNError
from pretrained_cnn.foreign.description import FileDescription, tensor
from pretrained_cnn.presets import PixelScaling, choose_preprocess, presets_table
from pretrained_cnn.runtimes.adapted import Adapter, Function, Layout, Quantization, Source
from pretrained_cnn.scores import EXACT
from pretrained_cnn.spec import ResizePolicy

__all__ = [
    "RESIZE",
    "Graph",
    "GraphOutput",
    "ImageInput",
    "Port",
    "Probe",
    "Step",
    "adapt",
    "beginning",
    "faults_named",
    "find_input",
    "image_axes",
    "is_vector",
    "probe",
    "scales_pixels",
    "scores_among",
]

RESIZE = ResizePolicy("squash", interpolation="bilinear", antialias=False)
"""How images become the size of a foreign network, unless the caller says otherwise: as Keras's own loaders do it."""

RANGES = ((0, 1), (-1, 1), (0, 255), (-128, 127), (-0.5, 0.5))
"""What an input of integers that takes pixels as they are may stand for."""


@dataclass(frozen=True, kw_only=True)
class Port:
    """An input or an output of a graph."""

    shape: tuple[int | None, ...]
    dtype: str
    quantization: Quantization | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The port that `dataclasses.asdict` described, after JSON."""
        return cls(shape=tuple(data["shape"]), dtype=data["dtype"], quantization=_pair(data["quantization"]))


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A foreign graph, as its reader describes it."""

    format: str
    """The format of the bundle that it is run from."""
    dtype: Dtype
    """What the file stores weights in."""
    input: Port
    """Its shape is that of images, also where the graph takes them as rows."""
    output: Port
    """The scores for one image."""
    batch: int | None
    """How many images it takes at once; None for any number."""
    layout: Layout
    flat: bool = False
    """Whether it takes each image as one row of numbers, whose order is that of ``layout``."""
    embedding: int | None = None
    """The width of the embedding, which is the second output, where it was found."""
    embedding_quantization: Quantization | None = None
    """Where the embedding is of integers."""
    begins: str = "an operation that changes no values"
    """The first operation that changes values, as part of a sentence."""
    scales: bool = False
    """Whether that operation is arithmetic with constants, so that the graph takes 0 to 255."""
    metadata: Mapping[str, Any] | None = None
    """``scale``, ``mean`` and ``std`` that the file's metadata gives."""
    resize: Mapping[str, Any] | None = None
    """The fields of a `ResizePolicy` that the file's metadata gives."""
    labels: Sequence[Any] | None = None
    """That the file's metadata gives: names, or pairs of an id and a name."""
    ends_in: Function | None = None
    """The function that gives the scores, where it is known."""
    probabilities: bool = False
    """Whether the scores of the images that it was tried with are within 0 to 1 and sum to 1."""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The graph that `dataclasses.asdict` described, after JSON."""
        ports = {name: Port.from_dict(data[name]) for name in ("input", "output")}
        return cls(**{**data, **ports, "embedding_quantization": _pair(data["embedding_quantization"])})

    @property
    def size(self) -> tuple[int, int]:
        """``(height, width)`` of the input."""
        height, width = image_axes(self.input.shape, self.layout)[:2]
        return int(height or 0), int(width or 0)

    @property
    def channels(self) -> int:
        """3 for RGB, 1 for gray."""
        return image_axes(self.input.shape, self.layout)[2] or 3

    @property
    def width(self) -> int:
        """The number of scores."""
        return math.prod(int(side or 1) for side in self.output.shape[1:])

    @property
    def takes_pixels(self) -> bool:
        """Whether the input is of 8-bit integers whose whole range stands for the values 0 to 255 of a pixel."""
        if self.input.dtype not in ("uint8", "int8"):
            return False
        if self.input.quantization is None:
            return self.input.dtype == "uint8"
        scale, zero = self.input.quantization
        limits = np.iinfo(self.input.dtype)
        ends = (limits.min - zero) * scale, (limits.max - zero) * scale
        return any(
            all(abs(end - wanted) <= 1.1 * scale for end, wanted in zip(ends, span, strict=True)) for span in RANGES
        )

    def describe(self) -> FileDescription:
        """What the graph takes and gives."""
        said = _said(self)
        return FileDescription(
            input=tensor(self.input.dtype, self.input.shape),
            output=tensor(self.output.dtype, (self.input.shape[0], *self.output.shape[1:])),
            scores=self.width,
            begins=self.begins,
            says_values=None if said is None else said[0],
            labels=self.labels,
        )


def _pair(quantization: Sequence[Any] | None) -> Quantization | None:
    return None if quantization is None else (float(quantization[0]), int(quantization[1]))


def is_vector(shape: Sequence[int]) -> bool:
    """Whether an output for one image has one axis of more than one number, as an embedding has and a map has not.

    >>> is_vector((1, 1280, 1, 1)), is_vector((1, 1280, 7, 7))
    (True, False)
    """
    return math.prod(shape[1:]) == max(shape[1:], default=0)


def image_axes(shape: Sequence[int | None], layout: Layout) -> tuple[int | None, int | None, int | None]:
    """Height, width and channels of an input of that layout, None where they are open."""
    if layout == "NHWC":
        return shape[1], shape[2], shape[3]
    if layout == "NCHW":
        return shape[2], shape[3], shape[1]
    return shape[1], shape[2], 1


class ImageInput(NamedTuple):
    """How a graph takes images."""

    shape: tuple[int | None, ...]
    """Of images in the order of ``layout``; the batch may be open."""
    layout: Layout
    flat: bool = False
    """Whether the graph takes each image as one row of numbers."""

    @property
    def taken(self) -> tuple[int | None, ...]:
        """The shape that the graph takes."""
        return (self.shape[0], math.prod(side or 1 for side in self.shape[1:])) if self.flat else self.shape


def find_input(
    shape: Sequence[int | None],
    name: str,
    *,
    preferred: Layout,
    layout: str | None = None,
    input_size: Sequence[int] | None = None,
) -> ImageInput:
    """How a graph whose input has that shape, None where it is open, takes images.

    ``preferred`` is the layout where both would fit. Raises ModelFileError for an input that is no image, and where its
    size is open or another than the caller's.

    >>> find_input((None, 3, 224, 224), "a.onnx", preferred="NHWC").layout
    'NCHW'
    """
    if layout is not None:
        choice("layout", layout, ("NHWC", "NCHW"))
    if len(shape) == 2:
        return _rows(shape, name, layout, preferred, input_size)
    order = _find_layout(shape, layout, preferred, name)
    return ImageInput(_known_shape(shape, name, order, input_size), order)


def _rows(
    shape: Sequence[int | None], name: str, layout: Any, preferred: Layout, input_size: Sequence[int] | None
) -> ImageInput:
    """The images that are the rows of an input of ``(N, numbers)``."""
    batch, numbers = shape
    if input_size is None or numbers is None:
        raise ModelFileError(
            f"{name} takes rows of {'any number of' if numbers is None else numbers} numbers and no images; if they "
            "are the pixels of an image, give input_size=(height, width)"
        )
    height, width = input_size
    if numbers not in (height * width, 3 * height * width):
        raise ModelFileError(
            f"{name} takes rows of {numbers} numbers, and images of {height} x {width} have {height * width} in gray "
            f"and {3 * height * width} in color; give another input_size=(height, width)"
        )
    if numbers == height * width:
        return ImageInput((batch, height, width), "NHW", flat=True)
    if layout is None:
        raise ModelFileError(
            f"{name} takes rows of {numbers} numbers and does not say their order; give layout='NHWC' if the three "
            "colors of a pixel follow each other, as in Keras, or layout='NCHW' if all of one color come first, as in "
            "PyTorch"
        )
    sides = (height, width, 3) if layout == "NHWC" else (3, height, width)
    return ImageInput((batch, *sides), layout, flat=True)


def _find_layout(shape: Sequence[int | None], layout: str | None, preferred: Layout, name: str) -> Layout:
    if len(shape) == 3:
        return "NHW"
    fitting: list[Layout] = []
    if len(shape) == 4:
        first, other = preferred, "NCHW" if preferred == "NHWC" else "NHWC"
        orders: list[Any] = [first, other] if layout is None else [layout]
        fitting = [order for order in orders if image_axes(shape, order)[2] in (1, 3)]
        fitting = fitting or [order for order in orders if image_axes(shape, order)[2] is None]
    if not fitting:
        shown = ", ".join("?" if side is None else str(side) for side in shape)
        wanted = "(N, height, width, channels) or (N, channels, height, width), with 1 or 3 channels"
        given = "" if layout is None else f"; with layout={layout!r} it has no axis of 1 or 3 channels"
        raise ModelFileError(f"{name} takes an input of ({shown}), which is no image {wanted}{given}")
    return fitting[0]


def _known_shape(
    shape: Sequence[int | None], name: str, order: Layout, input_size: Sequence[int] | None
) -> tuple[int | None, ...]:
    """The shape with ``input_size`` where its height and width are open; its batch may stay open."""
    sides = list(shape)
    first = 2 if order == "NCHW" else 1
    for axis, side in zip((first, first + 1), input_size or (None, None), strict=True):
        sides[axis] = side if sides[axis] is None else sides[axis]
    size = tuple(sides[first : first + 2])
    if None in size:
        raise ModelFileError(f"the input of {name} leaves its size open; give input_size=(height, width)")
    if input_size is not None and size != tuple(input_size):
        raise ModelFileError(
            f"input_size={tuple(input_size)}, and {name} takes images of {size}, which cannot be changed; leave "
            "input_size out"
        )
    return tuple(side if axis == 0 else side or 3 for axis, side in enumerate(sides))


class GraphOutput(NamedTuple):
    """An output of a graph, one of perhaps several."""

    name: str
    dtype: str
    """Empty for what is no tensor."""
    function: Function | None = None
    """That gives it, where it is known."""
    quantized: bool = False
    """Whether its integers stand for numbers."""


def scores_among(outputs: Sequence[GraphOutput], name: str) -> int:
    """Which of the outputs gives the scores: the only one of numbers, or the only one of a softmax or a sigmoid.

    Raises ModelFileError where that is none or several.

    >>> scores_among([GraphOutput("features", "float32"), GraphOutput("probabilities", "float32", "softmax")], "a.onnx")
    1
    """
    numbers = [place for place, each in enumerate(outputs) if "float" in each.dtype or each.quantized]
    shown = ", ".join(f"{each.name!r} ({each.dtype or 'no tensor'})" for each in outputs[:8])
    if not numbers:
        raise ModelFileError(
            f"{name} gives no scores: its output is {shown}; export it with the scores of all classes as its output"
        )
    ends = [place for place in numbers if outputs[place].function is not None]
    found = numbers if len(numbers) == 1 else ends
    if len(found) != 1:
        raise ModelFileError(
            f"{name} has {len(outputs)} outputs, {shown}, and {'several' if ends else 'none'} of them ends in a "
            "softmax or a sigmoid, which would tell the scores; export it with the scores as its only output"
        )
    return found[0]


class Probe(NamedTuple):
    """What a graph gave for noise."""

    shapes: list[tuple[int, ...]]
    """Of each output, for one image."""
    batch: int | None
    """How many images it takes at once; None for any number."""
    probabilities: bool
    """Whether the first output is within 0 to 1 and sums to 1."""


def probe(run: Callable[[NDArray[Any]], Sequence[NDArray[Any]]], given: ImageInput, dtype: str, name: str) -> Probe:
    """Run noise through a graph, which may say that it takes any number of images, and fail with two.

    Raises ModelFileError for outputs that do not tell images apart.
    """
    fixed = given.shape[0]
    count = fixed or 1
    found = list(run(_noise((count, *given.taken[1:]), dtype)))
    if count == 1:  # an output without an axis of images is of the one
        one = [values.shape if values.shape[:1] == (1,) else (1, values.size) for values in found]
    else:
        one = [(1, *values.shape[1:]) for values in found]
        for values in found:
            if values.shape[:1] != (count,):
                raise ModelFileError(f"{name} gives {values.shape} for {count} images, and not one row for each")
    is_whole = _sums_to_one(found[0].reshape(count, -1))
    if fixed is not None:
        return Probe(one, fixed, is_whole)
    try:
        two = [values.shape for values in run(_noise((2, *given.taken[1:]), dtype))]
    except Exception:  # each runtime raises its own
        return Probe(one, 1, is_whole)
    return Probe(one, None if two == [(2, *sides[1:]) for sides in one] else 1, is_whole)


def _sums_to_one(scores: NDArray[Any]) -> bool:
    if scores.dtype.kind != "f" or scores.shape[1] < 2:
        return False
    sums = scores.astype(np.float64).sum(axis=1)
    return bool((scores >= 0).all() and (scores <= 1).all() and (np.abs(sums - 1) <= EXACT).all())


def _noise(shape: Sequence[Any], dtype: str) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, 127, shape).astype(dtype)


Reader = Callable[..., dict[str, Any]]
"""Describes the graph in a file, a `Graph` as plain data, given its ``path``, ``name`` and more by name."""

Step = tuple[str, NDArray[Any], bool]
"""An operation of arithmetic, its constant, and whether the constant is on the left."""


def faults_named(runtime: str) -> Callable[[Reader], Reader]:
    """Make a reader, which gets the ``name`` of a file, raise ModelFileError for whatever ``runtime`` raises."""

    def wrap(read: Reader) -> Reader:
        @functools.wraps(read)
        def read_named(*, name: str, **arguments: Any) -> dict[str, Any]:
            try:
                return read(name=name, **arguments)
            except PretrainedCNNError:
                raise
            except Exception as error:  # each runtime has exceptions of its own
                text = " ".join(str(error).split())[:300]
                raise ModelFileError(f"{name} cannot be run by {runtime}: {text}") from error

        return read_named

    return wrap


def beginning(steps: Sequence[Step], next_operation: str) -> tuple[str, bool]:
    """How a graph begins, as part of a sentence, and whether that is what scales pixel values of 0 to 255."""
    if not steps:
        return next_operation, False
    return " and ".join(f"{name} by constants" for name, _, _ in steps[:3]), scales_pixels(steps)


def scales_pixels(steps: Sequence[Step]) -> bool:
    """Whether arithmetic with constants is what is done to pixel values of 0 to 255, and not to values of 0 to 1.

    >>> scales_pixels([("Div", np.array(127.5), False), ("Sub", np.array(1.0), False)])
    True
    >>> scales_pixels([("Sub", np.array([0.485, 0.456, 0.406]), False), ("Div", np.array(0.229), False)])
    False
    """
    values = np.array([[0.0], [255.0]])
    functions = {"mul": np.multiply, "add": np.add, "sub": np.subtract, "div": np.divide}
    for name, constant, left in steps:
        factor = constant.astype(np.float64).reshape(1, -1)
        if factor.size not in (1, 3) or (left and name.lower() == "div"):
            return False
        pair = (factor, values) if left else (values, factor)
        with np.errstate(all="ignore"):
            values = functions[name.lower()](*pair)
    return bool(steps) and bool(np.abs(values).max() <= 256)


def adapt(
    graph: Graph,
    name: str,
    *,
    preprocess: Any = None,
    scale: Any = None,
    mean: Any = None,
    std: Any = None,
    channels: str | None = None,
    from_logits: bool = False,
    multi_label: bool = False,
) -> Adapter:
    """The adapter of a graph. Raises InvalidArgumentError where neither file nor arguments say the preprocessing."""
    scaling, quantization = _scaling(graph, name, preprocess, (scale, mean, std))
    if channels is not None:
        choice("channels", channels, ("rgb", "bgr"))
        if scaling.bgr and channels == "rgb":
            raise InvalidArgumentError(
                f"channels='rgb' and preprocess={preprocess!r}, which is for BGR, are two orders; give one of them"
            )
        scaling = replace(scaling, bgr=channels == "bgr")
    scaling = scaling.fitting(graph.channels, f"the preprocessing of {name}")
    function: Function | None = None
    if from_logits:
        function = "sigmoid" if multi_label or graph.width == 1 else "softmax"
        if graph.ends_in is not None or graph.probabilities:
            by = "and sum to 1" if graph.ends_in is None else f"by its {graph.ends_in}"
            raise InvalidArgumentError(
                f"from_logits=True, but the outputs of {name} are probabilities already, from 0 to 1, {by}; "
                "leave from_logits out"
            )
    scores = Source(
        place=0,
        quantization=graph.output.quantization,
        function=function,
        binary=graph.width == 1 and not multi_label,
    )
    outputs = {"scores": scores}
    if graph.embedding is not None:
        outputs["embedding"] = Source(place=1, quantization=graph.embedding_quantization)
    return Adapter(
        dtype=graph.input.dtype,
        layout=graph.layout,
        flat=graph.flat,
        outputs=outputs,
        scaling=scaling,
        quantization=quantization,
        batch=graph.batch,
    )


def _scaling(
    graph: Graph, name: str, preprocess: Any, numbers: tuple[Any, Any, Any]
) -> tuple[PixelScaling, Quantization | None]:
    """What is done to pixel values, and the quantization that follows it."""
    chosen = choose_preprocess(preprocess, *numbers)
    if chosen is not None and not isinstance(chosen, PixelScaling):
        raise InvalidArgumentError(
            f"preprocess={preprocess!r} is a function, and the graph of {name} takes numbers only; give scale=..., "
            f"mean=... and std=..., or the name of a preset:\n{presets_table()}"
        )
    if chosen is not None and chosen.by_numbers:
        return chosen, graph.input.quantization
    said = _said(graph)
    if said is not None:
        sentence, scaling = said
        if chosen is not None and chosen not in (PixelScaling(), scaling):
            raise InvalidArgumentError(
                f"preprocess={preprocess!r} would change the pixel values twice or otherwise: {sentence}; leave "
                "preprocess out, or give scale=..., mean=... and std=... to do it anyway"
            )
        if not graph.takes_pixels:
            return scaling, graph.input.quantization
        return PixelScaling(1.0, (128.0,)) if graph.input.dtype == "int8" else PixelScaling(), None
    if chosen is None:
        raise InvalidArgumentError(
            f"{name} does not say which pixel values it was trained with, and wrong ones give wrong answers without "
            "an error; give scale=..., mean=... and std=..., or preprocess=... by the name of one of these:\n"
            f"{presets_table()}\nIts graph takes {graph.input.dtype} and begins with {graph.begins}; "
            "`pretrained-cnn check FILE IMAGE...` prints the best class under each preset"
        )
    return chosen, graph.input.quantization


def _said(graph: Graph) -> tuple[str, PixelScaling] | None:
    """What the file says of its preprocessing, as a sentence and as numbers; None if it says nothing."""
    if graph.takes_pixels:
        return f"the network takes {graph.input.dtype}, and with that pixels as they are", PixelScaling()
    if graph.metadata is not None:
        found = choose_preprocess(None, **graph.metadata)
        assert isinstance(found, PixelScaling)
        scaling = replace(found, by_numbers=False)
        return f"its metadata says scale={scaling.scale:g}, mean={scaling.mean}, std={scaling.std}", scaling
    if graph.scales:
        return f"the network itself begins with {graph.begins}", PixelScaling()
    return None
