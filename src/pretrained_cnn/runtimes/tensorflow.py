"""TensorFlow on a SavedModel, as TensorFlow Serving runs it; Keras is not needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._process import import_tensorflow, need_unforked


class TensorFlowRuntime:
    """Runs the signature ``serving_default`` of the SavedModel in ``path/1``, on the device that TensorFlow chooses.

    An output is a name, or its place among the sorted names.
    """

    def __init__(self, path: Path, outputs: Sequence[str | int]) -> None:
        need_unforked()
        self._tensorflow = tf = import_tensorflow()
        self._model: Any = tf.saved_model.load(str(path / "1"))  # a signature keeps its variables only weakly
        self._call: Any = self._model.signatures["serving_default"]
        names = sorted(self._call.structured_outputs)
        self._outputs = [names[output] if isinstance(output, int) else output for output in outputs]

    def run(self, batch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        """From uint8 ``(N, H, W, C)`` to one float32 array ``(N, width)`` per output, in the order asked for."""
        if self._call is None:
            raise ValueError("this runtime is closed")
        need_unforked()
        found = self._call(images=self._tensorflow.constant(batch))
        return tuple(np.asarray(found[name].numpy(), dtype=np.float32) for name in self._outputs)

    def close(self) -> None:
        """Let go of the model."""
        self._call = self._model = None
