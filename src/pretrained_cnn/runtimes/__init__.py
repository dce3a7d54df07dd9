"""What executes a serving graph: `RuntimeSpec`, a row each, by name.

A runtime is one small class: made from a file (or from the Keras graph itself), then ``run(batch)`` until
``close()``. It knows pixels and scores, and nothing of images, labels or backbones.
"""

from __future__ import annotations

import functools
import importlib.util
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, get_args

from pretrained_cnn import _names
from pretrained_cnn._lazy import Reference
from pretrained_cnn.errors import InvalidSpecError, MissingDependencyError, install_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Format", "Runtime", "RuntimeInfo", "RuntimeSpec", "get_runtime", "list_runtimes", "register_runtime"]

Format = Literal["keras", "openvino", "onnx", "litert", "saved_model"]

GROUP = "pretrained_cnn.runtimes"
"""The entry-point group in which other packages offer their runtimes."""


class Runtime(Protocol):
    """A serving graph, ready to run. Several threads may use it at once."""

    def run(self, batch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        """From uint8 ``(N, H, W, C)``, with any ``N`` of at least 1, to one float32 array ``(N, width)`` per output.

        The arrays come in the order of the output names that the runtime was opened for.
        """

    def close(self) -> None:
        """Free what the runtime holds. Closing twice is fine; running afterwards is a ValueError."""


@dataclass(frozen=True, init=False)
class RuntimeSpec:
    """What the library must know of a runtime.

    Raises InvalidSpecError for anything that cannot be right.

    >>> get_runtime("openvino").format
    'openvino'
    """

    name: str
    """What it is asked for by; case, ``-`` and ``_`` do not matter."""
    factory: Callable[..., Runtime]
    """``factory(model, outputs)`` gives a `pretrained_cnn.runtimes.Runtime`: a class, a function, or the name of
    either as ``"module:attr"``, which is imported when first called. ``model`` is the path of a model, for the format
    ``"keras"`` the Keras graph; ``outputs`` are names of its outputs, such as ``("scores",)``."""
    format: Format
    """What it executes: ``"keras"``, ``"openvino"``, ``"onnx"``, ``"litert"`` or ``"saved_model"``."""
    package: str | None
    """The top-level module that must be there; None if there is nothing to install."""
    extra: str | None
    """The extra of this library that brings it; None if it is installed by its own name."""

    def __init__(
        self,
        *,
        name: str,
        factory: Callable[..., Runtime] | str,
        format: Format,
        package: str | None = None,
        extra: str | None = None,
    ) -> None:
        if isinstance(factory, str):
            try:
                factory = Reference(factory)
            except ValueError as error:
                raise InvalidSpecError(f"{name}: factory={error}") from None
        if not callable(factory):
            raise InvalidSpecError(f'{name}: factory={factory!r} is neither a function nor "module:attr"')
        if format not in get_args(Format):
            raise InvalidSpecError(f"{name}: format={format!r} is not known; choose from {', '.join(get_args(Format))}")
        fields = {"name": name, "factory": factory, "format": format, "package": package, "extra": extra}
        for key, value in fields.items():
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


class RuntimeInfo(NamedTuple):
    """A line of `list_runtimes`.

    >>> RuntimeInfo("openvino", False, 'pip install "pretrained-cnn[openvino]"').installed
    False
    """

    name: str
    installed: bool
    install: str | None
    """The line that installs it; None if there is nothing to install."""


def _builtin(name: str, attribute: str, format: Format, package: str, extra: str | None) -> RuntimeSpec:
    factory = f"pretrained_cnn.runtimes.{name}:{attribute}"
    return RuntimeSpec(name=name, factory=factory, format=format, package=package, extra=extra)


_BUILTIN = {
    spec.name: spec
    for spec in (
        _builtin("keras", "KerasRuntime", "keras", "keras", None),
        _builtin("openvino", "OpenVINORuntime", "openvino", "openvino", "openvino"),
        _builtin("onnxruntime", "ONNXRuntime", "onnx", "onnxruntime", "onnxruntime"),
        _builtin("litert", "LiteRTRuntime", "litert", "ai_edge_litert", "litert"),
        _builtin("tensorflow", "TensorFlowRuntime", "saved_model", "tensorflow", None),
    )
}
_registered: dict[str, RuntimeSpec] = {}
_lock = threading.RLock()


def list_runtimes() -> list[RuntimeInfo]:
    """All runtimes, with whether each is installed and what installs it. Imports none of them.

    >>> [info.name for info in list_runtimes()]
    ['keras', 'openvino', 'onnxruntime', 'litert', 'tensorflow']
    """
    with _lock:
        known = [*_BUILTIN.values(), *_registered.values()]
    rows = [RuntimeInfo(spec.name, spec.installed, _install_line(spec)) for spec in known]
    names = {_names.key(spec.name) for spec in known}
    return rows + [RuntimeInfo(points[0].name, True, None) for key, points in _plugins().items() if key not in names]


def get_runtime(name: str) -> RuntimeSpec:
    """The runtime of that name; case, ``-`` and ``_`` do not matter.

    Raises InvalidSpecError, with the nearest names, if there is none, or if the plugin that offers it is broken.

    >>> get_runtime("ONNXRuntime").name
    'onnxruntime'
    """
    key = _names.key(str(name))
    with _lock:
        spec = _BUILTIN.get(key) or _registered.get(key)
    if spec is not None:
        return spec
    points = _plugins().get(key)
    if points is None:
        names = [info.name for info in list_runtimes()]
        hint = _names.nearest(str(name), names) or f"choose from {', '.join(names)}"
        raise InvalidSpecError(f"runtime={name!r} is not known; {hint.rstrip()}")
    return _names.load_plugin(points, RuntimeSpec)


def register_runtime(spec: RuntimeSpec) -> None:
    """Make a runtime known by its name, in this process. The built-in ones keep their names.

    Raises InvalidSpecError if the name is taken. `pretrained_cnn.testing.RuntimeConformance` tests whether a
    runtime does what is expected of it.

    >>> register_runtime(RuntimeSpec(name="mine", factory="my_package:MyRuntime", format="onnx"))
    >>> get_runtime("mine").format
    'onnx'
    >>> unregister_runtime("mine")
    """
    if not isinstance(spec, RuntimeSpec):
        raise InvalidSpecError(f"register_runtime takes a RuntimeSpec, not {type(spec).__name__}: {spec!r}")
    key = _names.key(spec.name)
    with _lock:
        if key in _BUILTIN or key in _registered or key in _plugins():
            raise InvalidSpecError(f"a runtime named {spec.name!r} exists already; choose another name")
        _registered[key] = spec


def unregister_runtime(name: str) -> None:
    """Forget a runtime that `register_runtime` made known. Raises InvalidSpecError for any other name."""
    with _lock:
        if _registered.pop(_names.key(name), None) is None:
            raise InvalidSpecError(f"{name!r} was not registered by this program, so it cannot be unregistered")


def runtime_for(format: str) -> RuntimeSpec:
    """The built-in runtime that executes a format."""
    return next(spec for spec in _BUILTIN.values() if spec.format == format)


@functools.cache
def _plugins() -> dict[str, list[EntryPoint]]:
    """The entry points by name; those named like a built-in are left out: none can shadow one."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        if _names.key(point.name) not in _BUILTIN:
            found.setdefault(_names.key(point.name), []).append(point)
    return found


def _install_line(spec: RuntimeSpec) -> str | None:
    return None if spec.package is None else install_line(spec.package, spec.extra)
