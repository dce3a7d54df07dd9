"""ONNX Runtime: runs everywhere, and needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._process import limited_cores, switch_off_telemetry

switch_off_telemetry()

import onnxruntime  # noqa: E402


class ONNXRuntime:
    """Runs ``model.onnx`` on the CPU. An output is a name, or its place among the outputs."""

    def __init__(self, path: Path, outputs: Sequence[str | int], *, threads: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors, which are also raised: its warnings are about how a file is written
        options.intra_op_num_threads = threads or limited_cores() or 0  # 0: as many as it chooses
        options.add_session_config_entry("session.force_spinning_stop", "1")  # idle threads leave the cores to decoders
        self._session: onnxruntime.InferenceSession | None = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        names = [output.name for output in self._session.get_outputs()]
        self._outputs = [names[output] if isinstance(output, int) else output for output in outputs]

    def run(self, batch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        """From uint8 ``(N, H, W, C)`` to one float32 array ``(N, width)`` per output, in the order asked for."""
        if self._session is None:
            raise ValueError("this runtime is closed")
        found = self._session.run(self._outputs, {self._input: batch})
        return tuple(np.asarray(output, dtype=np.float32) for output in found)

    def close(self) -> None:
        """Free the session."""
        self._session = None
