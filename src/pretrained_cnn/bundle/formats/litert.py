"""LiteRT, once called TensorFlow Lite: for phones and embedded devices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretrained_cnn.bundle.formats.base import Dtype, Format

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

    from pretrained_cnn.spec import ModelSpec

__all__ = ["LiteRT"]


class LiteRT(Format):
    """``model.tflite``: one file, with one signature."""

    name = "litert"
    file = "model.tflite"
    converts = True
    dtypes = ("float32", "float16")

    def write(
        self, graph: keras.Model, path: Path, spec: ModelSpec, *, dtype: Dtype, images: NDArray[np.uint8] | None
    ) -> None:
        """Convert the graph. Weights in float16 halve the file; the computation is in float32."""
        graph.export(path, format="litert", verbose=False, **(_half() if dtype == "float16" else {}))

    def outputs(self, path: Path) -> list[str]:
        """The names of the signature, and those of tensors that are outputs without being in it."""
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(path))
        named = interpreter.get_signature_runner().get_output_details()
        indices = {details["index"] for details in named.values()}
        others = [details["name"] for details in interpreter.get_output_details() if details["index"] not in indices]
        return [*named, *others]


def _half() -> dict[str, Any]:
    """The settings by which LiteRT's converter stores weights in 16 bits."""
    import tensorflow as tf

    return {"optimizations": [tf.lite.Optimize.DEFAULT], "target_spec": {"supported_types": [tf.float16]}}
