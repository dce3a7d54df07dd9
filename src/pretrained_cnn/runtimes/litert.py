"""LiteRT, once called TensorFlow Lite: for telephones and small computers, and needs no TensorFlow."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray


class LiteRTRuntime:
    """Runs ``model.tflite`` on the CPU. Several threads take turns: an interpreter serves one at a time."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._interpreter: Interpreter | None = Interpreter(str(path), num_threads=os.cpu_count())
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._shape: tuple[int, ...] | None = None

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """From RGB uint8 ``(N, H, W, 3)`` to float32 ``(N, C)``."""
        with self._lock:
            if self._interpreter is None:
                raise ValueError("this runtime is closed")
            if batch.shape != self._shape:
                self._interpreter.resize_tensor_input(self._input, batch.shape)
                self._interpreter.allocate_tensors()
                self._shape = batch.shape
            self._interpreter.set_tensor(self._input, batch)
            self._interpreter.invoke()
            return np.asarray(self._interpreter.get_tensor(self._output), dtype=np.float32)

    def close(self) -> None:
        """Free the interpreter."""
        with self._lock:
            self._interpreter = None
