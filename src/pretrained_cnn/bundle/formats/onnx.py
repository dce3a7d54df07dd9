"""ONNX: for ONNX Runtime, and what else reads it."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from pretrained_cnn._compat import mend_tf2onnx, onnx_optimizers
from pretrained_cnn._process import switch_off_telemetry
from pretrained_cnn.bundle.description import in_texts
from pretrained_cnn.bundle.formats.base import SIGNATURE, ConvertedFormat, Dtype

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ONNX"]


class ONNX(ConvertedFormat):
    """``model.onnx``: one file."""

    name = "onnx"
    file = "model.onnx"
    needs = (("tf2onnx", "onnxruntime"), ("onnx", "onnxruntime"))

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
        """Convert the graph. What it says of itself is its ``metadata_props``, an entry a field."""
        model = _converted(saved_model)
        for port in (*model.graph.input, *model.graph.output):
            port.type.tensor_type.shape.dim[0].dim_param = "batch"
        for key, value in in_texts(says).items():
            model.metadata_props.add(key=key, value=value)
        path.write_bytes(model.SerializeToString())

    @override
    def outputs(self, path: Path) -> list[str]:
        """The names of the outputs of the model."""
        import onnx

        return [output.name for output in onnx.load(path, load_external_data=False).graph.output]


def _converted(saved_model: Path) -> Any:
    """What tf2onnx makes of the signature.

    It is given the name of the one input: by itself it takes each constant that the function captures, such as the
    means that ``preprocess_input`` of ResNet subtracts, for another input.
    """
    switch_off_telemetry()  # tf2onnx may import ONNX Runtime
    import tensorflow as tf
    import tf2onnx

    _teach_tf2onnx_erfc()
    mend_tf2onnx()
    loaded = tf.saved_model.load(str(saved_model))  # the function keeps its variables only weakly
    function = loaded.signatures[SIGNATURE]
    inputs = ["images:0"]
    names = dict(zip((tensor.name for tensor in function.outputs), sorted(function.structured_outputs), strict=True))
    frozen = tf2onnx.tf_loader.from_function(function, inputs, list(names))
    with tf.Graph().as_default() as plain:
        tf.import_graph_def(frozen, name="")
        converted = tf2onnx.tfonnx.process_tf_graph(
            plain, input_names=inputs, output_names=list(names), tensors_to_rename={inputs[0]: "images", **names}
        )
    return _optimized(converted).make_model("serving")


@functools.cache
def _teach_tf2onnx_erfc() -> None:
    """Teach tf2onnx an operation that it lacks: ``1 - erf(x)``, with which Keras computes GELU, as in ConvNeXt."""
    import numpy as np
    import tf2onnx  # noqa: F401  # its own operations first
    from tf2onnx.handler import tf_op

    @tf_op("Erfc")
    class Erfc:
        @classmethod
        def version_9(cls, ctx: Any, node: Any, **_: Any) -> None:
            shapes, dtypes = node.output_shapes, node.output_dtypes
            ctx.remove_node(node.name)
            one = ctx.make_const(f"{node.name}_one", np.ones((), np.float32))
            erf = ctx.make_node("Erf", node.input)
            ctx.make_node(
                "Sub", [one.output[0], erf.output[0]], name=node.name, outputs=node.output, shapes=shapes, dtypes=dtypes
            )


def _optimized(graph: Any) -> Any:
    """Run tf2onnx's optimizers over its graph, one after the other.

    Each of two dozen passes leaves a copy of all weights in a reference cycle of so few objects that Python does not
    look for it: 5 GB for ResNet50. Collecting before each pass frees them.
    """
    from tf2onnx import optimizer

    def clean(make: Callable[[], Any]) -> Any:
        gc.collect()
        return make()

    passes = {name: functools.partial(clean, make) for name, make in onnx_optimizers().items()}
    frozen = gc.get_freeze_count()  # the program may have done so, and unfreezing knows no part
    if not frozen:
        gc.freeze()  # objects that exist already need not be looked at again and again
    try:
        return optimizer.optimize_graph(graph, optimizers=passes)
    finally:
        if not frozen:
            gc.unfreeze()
