"""OpenVINO: the fastest of the runtimes on most CPUs, and needs no TensorFlow."""

from __future__ import annotations

import queue
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# openvino_telemetry reports to Intel that OpenVINO was imported, and what was converted, without being asked. OpenVINO
# does without it where it cannot be imported, and so it shall not be, unless the program has already done so.
modules: dict[str, Any] = sys.modules
modules.setdefault("openvino_telemetry", None)

import openvino  # noqa: E402

__all__ = ["OpenVINORuntime", "openvino"]


class OpenVINORuntime:
    """Runs ``model.xml`` with its ``model.bin`` on the CPU, in float32.

    OpenVINO would compute in bfloat16 where the CPU is quicker at it, which changes scores in the third digit.
    """

    def __init__(self, path: Path) -> None:
        options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        self._compiled: openvino.CompiledModel | None = openvino.Core().compile_model(path, "CPU", options)
        # A request serves one thread at a time. Those at rest wait here; more are made as threads ask.
        self._idle: queue.SimpleQueue[openvino.InferRequest] = queue.SimpleQueue()

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """From RGB uint8 ``(N, H, W, 3)`` to float32 ``(N, C)``."""
        if self._compiled is None:
            raise ValueError("this runtime is closed")
        try:
            request = self._idle.get_nowait()
        except queue.Empty:
            request = self._compiled.create_infer_request()
        scores = np.array(request.infer([batch], share_inputs=True)[0], dtype=np.float32)  # not the request's own
        self._idle.put(request)
        return scores

    def close(self) -> None:
        """Free the compiled model and its requests."""
        self._compiled, self._idle = None, queue.SimpleQueue()
