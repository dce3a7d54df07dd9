"""LiteRT, once called TensorFlow Lite: for phones and embedded devices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from pretrained_cnn.bundle.formats.base import SIGNATURE, ConvertedFormat, Dtype

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LiteRT"]


class LiteRT(ConvertedFormat):
    """``model.tflite``: one file, with one signature."""

    name = "litert"
    file = "model.tflite"
    dtypes = ("float32", "float16")

    @override
    def convert(
        self, saved_model: Path, path: Path, *, outputs: Sequence[str], dtype: Dtype, images: NDArray[np.uint8] | None
    ) -> None:
        """Convert the graph. Weights in float16 halve the file; the computation is in float32."""
        import tensorflow as tf

        converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=[SIGNATURE])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
        converter.experimental_enable_resource_variables = True
        if dtype == "float16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        path.write_bytes(converter.convert())

    @override
    def outputs(self, path: Path) -> list[str]:
        """The names of the signature, and those of tensors that are outputs without being in it."""
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(path))
        named = interpreter.get_signature_runner().get_output_details()
        indices = {details["index"] for details in named.values()}
        others = [details["name"] for details in interpreter.get_output_details() if details["index"] not in indices]
        return [*named, *others]
