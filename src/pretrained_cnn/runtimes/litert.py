"""LiteRT, once called TensorFlow Lite: for telephones and small computers, and needs no TensorFlow."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from pretrained_cnn._process import cores


class LiteRTRuntime:
    """Runs ``model.tflite`` on the CPU. Several threads take turns: an interpreter serves one at a time."""

    def __init__(self, path: Path, outputs: Sequence[str], *, threads: int | None = None) -> None:
        self._lock = threading.Lock()
        self._interpreter: Interpreter | None = Interpreter(str(path), num_threads=threads or cores())
        self._interpreter.allocate_tensors()
        signature = self._interpreter.get_signature_runner()
        self._input = signature.get_input_details()["images"]["index"]
        details = signature.get_output_details()
        self._outputs = [details[name]["index"] for name in outputs]
        self._shape: tuple[int, ...] | None = None

    def run(self, batch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        """From uint8 ``(N, H, W, C)`` to one float32 array ``(N, width)`` per output, in the order asked for."""
        with self._lock:
            if self._interpreter is None:
                raise ValueError("this runtime is closed")
            if batch.shape != self._shape:
                self._interpreter.resize_tensor_input(self._input, batch.shape)
                self._interpreter.allocate_tensors()
                self._shape = batch.shape
            self._interpreter.set_tensor(self._input, batch)
            self._interpreter.invoke()
            return tuple(np.asarray(self._interpreter.get_tensor(i), dtype=np.float32) for i in self._outputs)

    def close(self) -> None:
        """Free the interpreter."""
        with self._lock:
            self._interpreter = None
