"""The runtimes that execute serving graphs: a `RuntimeSpec` for each, by name.

A runtime is one small class: made from a file (or from the Keras graph itself), then ``run(batch)`` until
``close()``. It knows pixels and scores, and nothing of images, labels or backbones.
"""

from __future__ import annotations

import importlib.util
import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, get_args

from pretrained_cnn._check import MAX_THREADS, choice, listed, whole_number
from pretrained_cnn._lazy import Reference
from pretrained_cnn._registry import Registry, as_function
from pretrained_cnn.errors import InvalidArgumentError, InvalidSpecError, MissingDependencyError, install_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "PRECISIONS",
    "RUNTIMES",
    "Precision",
    "PrecisionInfo",
    "Runtime",
    "RuntimeInfo",
    "RuntimeSpec",
    "get_runtime",
    "list_precisions",
    "list_runtimes",
    "register_runtime",
    "unregister_runtime",
]

Precision = Literal["float32", "bfloat16", "float16", "int8"]
"""The precision of a runtime. ``"int8"`` needs images for quantization; operations without int8 use float32."""

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

TAKE_THREADS = ("openvino", "onnxruntime", "litert")
"""The built-in runtimes that have threads of their own; those of TensorFlow belong to the whole process."""


class Runtime(Protocol):
    """A serving graph, ready to run. Several threads may use it at once."""

    def run(self, batch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        """From uint8 ``(N, H, W, C)``, with any ``N`` of at least 1, to one float32 array ``(N, width)`` per output.

        The arrays come in the order of the output names that the runtime was opened for.
        """

    def close(self) -> None:
        """Free the memory and the threads of the runtime. Closing twice is allowed; running afterwards raises
        ValueError.
        """


@dataclass(frozen=True, init=False)
class RuntimeSpec:
    """Describes a runtime.

    Raises InvalidSpecError for an invalid value.

    >>> get_runtime("openvino").format
    'openvino'
    """

    name: str
    """The name of the runtime; case, ``-`` and ``_`` do not matter."""
    factory: Callable[..., Runtime]
    """``factory(model, outputs)`` gives a `pretrained_cnn.runtimes.Runtime`: a class, a function, or the name of
    either as ``"module:attr"``, which is imported when first called. ``model`` is the path of a model, for the format
    ``"keras"`` the Keras graph; ``outputs`` are names of its outputs, such as ``("scores",)``. A parameter ``threads``,
    if it has one, gets the number of threads to use."""
    format: str
    """The format that it executes: ``"keras"``, ``"openvino"``, ``"onnx"``, ``"litert"``, ``"saved_model"``, or one of
    your own, see `register_format`."""
    reads: tuple[str, ...]
    """Other formats whose files it executes as they are. Nothing is converted to them for it."""
    package: str | None
    """The top-level module that must be installed; None if nothing must be installed."""
    extra: str | None
    """The extra of this library that installs it; None if it is installed by its own name."""
    precisions: Callable[[], Mapping[str, str | None]] | None
    """A function, or its name as ``"module:attr"``, that returns the precisions of the runtime other than float32. It
    maps each to None, or to the reason why this machine does not have it. With `precisions`, the factory needs a
    parameter ``precision``."""

    def __init__(
        self,
        *,
        name: str,
        factory: Callable[..., Runtime] | str,
        format: str,
        reads: Iterable[str] = (),
        package: str | None = None,
        extra: str | None = None,
        precisions: Callable[[], Mapping[str, str | None]] | str | None = None,
    ) -> None:
        factory = as_function(name, "factory", factory)
        precisions = None if precisions is None else as_function(name, "precisions", precisions)
        if not isinstance(format, str):
            raise InvalidSpecError(f"{name}: format={format!r} is not the name of a format")
        fields = {"name": name, "factory": factory, "format": format, "reads": tuple(reads)}
        fields |= {"package": package, "extra": extra}
        for key, value in {**fields, "precisions": precisions}.items():
            object.__setattr__(self, key, value)  # the class is frozen

    @property
    def installed(self) -> bool:
        """Whether its package is there. Imports nothing.

        >>> get_runtime("keras").installed
        True
        """
        return self.package is None or importlib.util.find_spec(self.package) is not None

    def require(self) -> None:
        """Raise MissingDependencyError, which says what to install, unless it is installed.

        >>> get_runtime("keras").require()
        """
        if not self.installed:
            raise MissingDependencyError(str(self.package), extra=self.extra)

    def check_precision(self, precision: str) -> None:
        """Raise InvalidArgumentError, which says why, unless this runtime computes in ``precision`` on this machine.

        >>> get_runtime("keras").check_precision("bfloat16")
        Traceback (most recent call last):
        ...
        pretrained_cnn.errors.InvalidArgumentError: precision='bfloat16': runtime='keras' computes in 'float32'; \
choose runtime='openvino', or leave precision out
        """
        if choice("precision", precision, PRECISIONS) == "float32":
            return
        self.require()
        offered = {} if self.precisions is None else self.precisions()
        if precision not in offered:
            raise InvalidArgumentError(
                f"precision={precision!r}: runtime={self.name!r} computes in {listed(['float32', *offered])}; "
                "choose runtime='openvino', or leave precision out"
            )
        reason = offered[precision]
        if reason is not None:
            raise InvalidArgumentError(f"precision={precision!r}: {reason}; leave precision out")

    def check_threads(self, threads: int | None) -> None:
        """Raise InvalidArgumentError unless the runtime can be told to compute with ``threads`` threads.

        >>> get_runtime("litert").check_threads(2)
        """
        if threads is None:
            return
        whole_number("threads", threads, most=MAX_THREADS)
        factory = self.factory.resolve() if isinstance(self.factory, Reference) else self.factory
        if "threads" not in inspect.signature(factory).parameters:
            raise InvalidArgumentError(
                f"threads={threads}: runtime={self.name!r} cannot be told how many threads it uses; "
                f"choose from {', '.join(TAKE_THREADS)}, or leave threads out"
            )

    def open(
        self, model: Any, outputs: Sequence[str | int], *, precision: str = "float32", threads: int | None = None
    ) -> Runtime:
        """A runtime, made from ``model``: see `factory`. Outputs of a graph of others are given by their places.

        It computes in ``precision``, with ``threads`` threads, or as many as it chooses. Raises InvalidArgumentError
        if it cannot be told so.
        """
        self.check_precision(precision)
        self.check_threads(threads)
        given: dict[str, Any] = {} if precision == "float32" else {"precision": precision}
        return self.factory(model, outputs, **given, **({} if threads is None else {"threads": threads}))


class RuntimeInfo(NamedTuple):
    """A line of `list_runtimes`.

    >>> RuntimeInfo("openvino", False, 'pip install "pretrained-cnn[openvino]"').installed
    False
    """

    name: str
    installed: bool
    install: str | None
    """The line that installs it; None if there is nothing to install."""


class PrecisionInfo(NamedTuple):
    """A line of `list_precisions`.

    >>> PrecisionInfo("float16", "this CPU computes in float16 no faster than in float32").available
    False
    """

    name: str
    reason: str | None
    """Why this machine does not have it; None if it does."""

    @property
    def available(self) -> bool:
        """Whether ``precision=`` takes it here."""
        return self.reason is None


def _builtin(
    name: str,
    attribute: str,
    format: str,
    package: str,
    extra: str | None,
    precisions: str | None = None,
    reads: tuple[str, ...] = (),
) -> RuntimeSpec:
    module = f"pretrained_cnn.runtimes.{name}:"
    return RuntimeSpec(
        name=name,
        factory=module + attribute,
        format=format,
        reads=reads,
        package=package,
        extra=extra,
        precisions=precisions and module + precisions,
    )


RUNTIMES = Registry(
    "runtime",
    RuntimeSpec,
    "pretrained_cnn.runtimes",
    (
        _builtin("keras", "KerasRuntime", "keras", "keras", None),
        _builtin("openvino", "OpenVINORuntime", "openvino", "openvino", "openvino", "precisions", ("onnx",)),
        _builtin("onnxruntime", "ONNXRuntime", "onnx", "onnxruntime", "onnxruntime"),
        _builtin("litert", "LiteRTRuntime", "litert", "ai_edge_litert", "litert"),
        _builtin("tensorflow", "TensorFlowRuntime", "saved_model", "tensorflow", None),
    ),
    unknown=InvalidArgumentError,
    exists=InvalidArgumentError,
)
"""All runtimes that are known by a name."""


def list_runtimes() -> list[RuntimeInfo]:
    """List all runtimes: which are installed, and how to install the others. Imports none of them.

    >>> [info.name for info in list_runtimes()]
    ['keras', 'openvino', 'onnxruntime', 'litert', 'tensorflow']
    """
    rows = []
    for name in RUNTIMES.names():
        spec = RUNTIMES.peek(name)  # None: a plugin, which is installed
        rows.append(RuntimeInfo(name, True, None) if spec is None else _info(spec))
    return rows


def list_precisions(runtime: str = "openvino") -> list[PrecisionInfo]:
    """List the precisions of a runtime, and which ones this machine has. Imports the runtime.

    >>> list_precisions()[0]
    PrecisionInfo(name='float32', reason=None)
    >>> [info.name for info in list_precisions("openvino")]
    ['float32', 'bfloat16', 'float16', 'int8']
    """
    spec = get_runtime(runtime)
    spec.require()
    offered = {} if spec.precisions is None else spec.precisions()
    return [PrecisionInfo("float32", None), *(PrecisionInfo(name, reason) for name, reason in offered.items())]


def get_runtime(name: str) -> RuntimeSpec:
    """The runtime of that name; case, ``-`` and ``_`` do not matter.

    The order of the search: runtimes that the program registered, built-in ones, plugins of the entry-point
    group ``pretrained_cnn.runtimes``. Raises InvalidArgumentError, with similar names, for an unknown name, and
    InvalidSpecError if the plugin of that name is broken.

    >>> get_runtime("ONNXRuntime").name
    'onnxruntime'
    """
    return RUNTIMES.get(name)


def register_runtime(spec: RuntimeSpec, *, overwrite: bool = False) -> None:
    """Register a runtime under its name, in this process.

    Raises InvalidArgumentError if the name is taken, unless ``overwrite=True``, which replaces the old one.
    To test your runtime, use `pretrained_cnn.testing.RuntimeConformance`.

    >>> register_runtime(RuntimeSpec(name="mine", factory="my_package:MyRuntime", format="onnx"))
    >>> get_runtime("mine").format
    'onnx'
    >>> unregister_runtime("mine")
    """
    RUNTIMES.register(spec, overwrite=overwrite)


def unregister_runtime(name: str) -> None:
    """Remove a runtime that `register_runtime` added.

    A built-in runtime of that name is available again. Raises InvalidArgumentError for any other name.

    >>> unregister_runtime("keras")
    Traceback (most recent call last):
    ...
    pretrained_cnn.errors.InvalidArgumentError: 'keras' was not registered by this program, \
so it cannot be unregistered
    """
    RUNTIMES.unregister(name)


def runtime_for(format: str) -> RuntimeSpec:
    """The first runtime that executes a format; the built-in ones come first.

    A plugin is imported only if no other runtime does. Raises InvalidArgumentError if none does.

    >>> runtime_for("onnx").name
    'onnxruntime'
    """
    names = RUNTIMES.names()
    known = filter(None, map(RUNTIMES.peek, names))
    plugins = (RUNTIMES.get(name) for name in names if RUNTIMES.peek(name) is None)
    for spec in itertools.chain(known, plugins):
        if spec.format == format:
            return spec
    raise InvalidArgumentError(f"no runtime executes format={format!r}; register one with register_runtime")


def _info(spec: RuntimeSpec) -> RuntimeInfo:
    install = None if spec.package is None else install_line(spec.package, spec.extra)
    return RuntimeInfo(spec.name, spec.installed, install)
