"""LiteRT, once called TensorFlow Lite: for phones and small computers, and needs no TensorFlow."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from pretrained_cnn._process import cores, hush


class LiteRTRuntime:
    """Runs ``model.tflite`` on the CPU. Several threads take turns: an interpreter serves one at a time.

    An output is a name of the signature, or its place among the outputs of a file without a signature.
    """

    def __init__(self, path: Path, outputs: Sequence[str | int], *, threads: int | None = None) -> None:
        self._lock = threading.Lock()
        with hush():  # it names its delegate
            self._interpreter: Interpreter | None = Interpreter(str(path), num_threads=threads or cores())
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [_index(self._interpreter, output) for output in outputs]
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


def _index(interpreter: Interpreter, output: str | int) -> int:
    """The index of the tensor that is an output."""
    if isinstance(output, int):
        return int(interpreter.get_output_details()[output]["index"])
    return int(interpreter.get_signature_runner().get_output_details()[output]["index"])
