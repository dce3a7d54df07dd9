"""OpenVINO: the fastest of the runtimes on most CPUs, and needs no TensorFlow."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._process import limited_cores

if TYPE_CHECKING:
    import openvino

__all__ = ["OpenVINORuntime", "import_openvino", "precisions"]

OPTIONS = {"PERFORMANCE_HINT": "LATENCY"}

HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16", "int8": "f32"}
"""OpenVINO's names of precisions. It is always told one: by itself it takes bfloat16 where the CPU is faster at that.
A quantized model has its int8 within; what is not quantized of it stays in float32."""

UNITS = {"bfloat16": ("BF16", "AVX512-BF16 or AMX-BF16"), "float16": ("FP16", "AVX512-FP16 or AMX-FP16")}
"""What OpenVINO calls the capability of a CPU, and the instructions that give it."""


def import_openvino() -> Any:
    """The module ``openvino``, imported without its telemetry.

    ``openvino_telemetry`` reports to Intel that OpenVINO was imported, and what was converted, without asking. OpenVINO
    works without that package where it cannot be imported; so this function makes it one that cannot be imported in
    this process, unless the program has imported it before.
    """
    modules: dict[str, Any] = sys.modules
    modules.setdefault("openvino_telemetry", None)
    import openvino

    return openvino


def capabilities() -> list[str]:
    """What OpenVINO says that this CPU computes in by instructions of its own, such as ``"BF16"``."""
    return list(import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def precisions(query: Callable[[], Collection[str]] = capabilities) -> dict[str, str | None]:
    """What OpenVINO computes in beside float32, with the reason why this machine does not have it, or None.

    ``query`` gives the capabilities of the CPU; a test may pass another.
    """
    has = query()
    reasons = {
        name: None
        if unit in has
        else f"this CPU has no {name} instructions ({instructions}), without which {name} is not faster than float32"
        for name, (unit, instructions) in UNITS.items()
    }
    return {**reasons, "int8": None}


class OpenVINORuntime:
    """Runs ``model.xml`` with its ``model.bin`` on the CPU, in ``precision``.

    The model is compiled for one image at a time, which then takes up to a fifth less, and for any number when
    several come for the first time. An output is a name, or its place among the outputs.
    """

    def __init__(
        self, path: Path, outputs: Sequence[str | int], *, precision: str = "float32", threads: int | None = None
    ) -> None:
        threads = threads or limited_cores()
        self._options: dict[str, Any] = {**OPTIONS, "INFERENCE_PRECISION_HINT": HINTS[precision]}
        if threads is not None:
            self._options["INFERENCE_NUM_THREADS"] = threads
        self._lock = threading.Lock()
        self._outputs = tuple(outputs)
        self._core = import_openvino().Core()
        self._model: openvino.Model | None = self._core.read_model(path)
        self._requests: dict[bool, _Requests] = {}
        self._get_requests(single=True)

    def run(self, batch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        """From uint8 ``(N, H, W, C)`` to one float32 array ``(N, width)`` per output, in the order asked for."""
        return self._get_requests(single=len(batch) == 1).run(batch)

    def close(self) -> None:
        """Free the compiled models and their requests."""
        with self._lock:
            self._model = None
            self._requests.clear()

    def _get_requests(self, *, single: bool) -> _Requests:
        with self._lock:
            if self._model is None:
                raise ValueError("this runtime is closed")
            if single not in self._requests:
                model = self._model
                if single:
                    model = model.clone()
                    model.reshape([1, *model.input().get_partial_shape()[1:]])
                self._requests[single] = _Requests(self._core.compile_model(model, "CPU", self._options), self._outputs)
            return self._requests[single]


class _Requests:
    """A compiled model's requests. One serves one thread at a time; more are made as threads ask."""

    def __init__(self, compiled: openvino.CompiledModel, outputs: Sequence[str | int]) -> None:
        self._compiled = compiled
        self._outputs = [compiled.output(name) for name in outputs]
        self._idle: queue.SimpleQueue[openvino.InferRequest] = queue.SimpleQueue()

    def run(self, batch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        try:
            request = self._idle.get_nowait()
        except queue.Empty:
            request = self._compiled.create_infer_request()
        found = request.infer([batch], share_inputs=True)
        copies = tuple(np.array(found[output], dtype=np.float32) for output in self._outputs)  # not the request's own
        self._idle.put(request)
        return copies
