"""ONNX Runtime: runs everywhere, and needs no TensorFlow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray


class ONNXRuntime:
    """Runs ``model.onnx`` on the CPU."""

    def __init__(self, path: Path) -> None:
        self._session: onnxruntime.InferenceSession | None = onnxruntime.InferenceSession(
            path, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """From RGB uint8 ``(N, H, W, 3)`` to float32 ``(N, C)``."""
        if self._session is None:
            raise ValueError("this runtime is closed")
        return np.asarray(self._session.run(None, {self._input: batch})[0], dtype=np.float32)

    def close(self) -> None:
        """Free the session."""
        self._session = None
