"""LiteRT, once called TensorFlow Lite: for phones and embedded devices."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from pretrained_cnn.bundle.description import KEY
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
        self,
        saved_model: Path,
        path: Path,
        *,
        dtype: Dtype,
        images: NDArray[np.uint8] | None,
        says: Mapping[str, Any],
    ) -> None:
        """Convert the graph. Weights in float16 halve the file; the computation is in float32.

        What it says of itself is the metadata buffer of the name `KEY`, JSON.
        """
        import tensorflow as tf

        converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=[SIGNATURE])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
        converter.experimental_enable_resource_variables = True
        if dtype == "float16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        path.write_bytes(_with_metadata(converter.convert(), json.dumps(says, ensure_ascii=False).encode()))

    @override
    def outputs(self, path: Path) -> list[str]:
        """The names of the signature, and those of tensors that are outputs without being in it."""
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(path))
        named = interpreter.get_signature_runner().get_output_details()
        indices = {details["index"] for details in named.values()}
        others = [details["name"] for details in interpreter.get_output_details() if details["index"] not in indices]
        return [*named, *others]


def _with_metadata(model: bytes, text: bytes) -> bytes:
    """The model with one buffer more, which its metadata calls `KEY`."""
    import numpy as np
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    graph = flatbuffer_utils.convert_bytearray_to_object(bytearray(model))
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(text, np.uint8)
    entry.name, entry.buffer = KEY, len(graph.buffers)
    graph.buffers.append(buffer)
    graph.metadata = [*(graph.metadata or []), entry]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(graph))
