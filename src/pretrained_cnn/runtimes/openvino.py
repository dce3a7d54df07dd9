"""OpenVINO: the fastest of the runtimes on most CPUs, and needs no TensorFlow."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._process import limited_cores

if TYPE_CHECKING:
    import openvino

__all__ = ["OpenVINORuntime", "import_openvino"]

OPTIONS = {
    "INFERENCE_PRECISION_HINT": "f32",  # where the CPU is quicker at bfloat16, OpenVINO would take that
    "PERFORMANCE_HINT": "LATENCY",
}


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


class OpenVINORuntime:
    """Runs ``model.xml`` with its ``model.bin`` on the CPU, in float32.

    The model is compiled for one image at a time, which then takes up to a fifth less, and for any number when
    several come for the first time.
    """

    def __init__(self, path: Path, outputs: Sequence[str], *, threads: int | None = None) -> None:
        threads = threads or limited_cores()
        self._options = OPTIONS if threads is None else {**OPTIONS, "INFERENCE_NUM_THREADS": threads}
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

    def __init__(self, compiled: openvino.CompiledModel, outputs: Sequence[str]) -> None:
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
