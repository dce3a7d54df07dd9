"""From a serving graph to files that a runtime executes. Keras writes them; here is what each format asks for."""

from __future__ import annotations

import contextlib
import functools
import gc
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import keras
import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._compat import onnx_optimizers
from pretrained_cnn.bundle.manifest import MODEL, Precision
from pretrained_cnn.errors import BundleError, InvalidArgumentError, MissingDependencyError
from pretrained_cnn.runtimes import Format, runtime_for
from pretrained_cnn.spec import ModelSpec, ResizePolicy

PRECISIONS: dict[Format, Sequence[Precision]] = {
    "keras": ("float32",),
    "openvino": ("float32", "float16", "int8"),
    "onnx": ("float32",),
    "litert": ("float32", "float16"),
    "saved_model": ("float32",),
}

NEEDED = {
    "openvino": (("scipy", "openvino"),),
    "onnx": (("tf2onnx", "onnxruntime"), ("onnx", "onnxruntime")),
}
"""``(module, extra)`` that writing a format takes beyond what running it does."""

KERNELS = {"bilinear": "triangle", "bicubic": "keyscubic", "lanczos": "lanczos3"}
"""TensorFlow's names of Pillow's filters. Its box filter falls on other pixels, and it has no Hamming filter."""


def check(format: Format, precision: Precision) -> None:
    """Raise InvalidArgumentError or MissingDependencyError unless ``format`` can be written here with ``precision``."""
    if format not in get_args(Format):
        raise InvalidArgumentError(f"format={format!r} is not known; choose from {', '.join(get_args(Format))}")
    if precision not in get_args(Precision):
        raise InvalidArgumentError(
            f"precision={precision!r} is not known; choose from {', '.join(get_args(Precision))}"
        )
    if precision not in PRECISIONS[format]:
        able = [name for name, precisions in PRECISIONS.items() if precision in precisions]
        raise InvalidArgumentError(f"format={format!r} has no precision={precision!r}; {' and '.join(able)} have it")
    runtime_for(format).require()
    needed = NEEDED.get(format, ()) + ((("nncf", "quantize"),) if precision == "int8" else ())
    for module, extra in needed:
        if find_spec(module) is None:
            raise MissingDependencyError(module, extra=extra)


def export(
    graph: keras.Model,
    folder: Path,
    *,
    format: Format,
    spec: ModelSpec,
    precision: Precision = "float32",
    calibration: NDArray[np.uint8] | None = None,
) -> None:
    """Write ``graph``, RGB uint8 ``(N, H, W, 3)`` to float32 ``(N, C)``, to ``folder`` as `MODEL` names it.

    ``calibration``, RGB uint8 ``(N, H, W, 3)``, is what ``precision="int8"`` takes its ranges from. Raises
    BundleError if the format has no way to say what the graph does.
    """
    path = folder / MODEL[format]
    if format == "openvino":
        import pretrained_cnn.runtimes.openvino  # noqa: F401  # before Keras imports OpenVINO: see there
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):  # results alone go to stdout
            warnings.simplefilter("ignore")  # of deprecations in the converters, which no caller can mend
            if format == "keras":
                graph.save(path)
            elif format == "saved_model":
                _saved_model(graph, path, spec)
            elif format == "litert":
                graph.export(path, format="litert", verbose=False, **_half() if precision == "float16" else {})
            elif format == "onnx" and keras.backend.backend() == "tensorflow":
                _teach_tf2onnx_erfc()
                _onnx(graph, path)
            else:
                graph.export(str(path), format=format, verbose=False)
                if format == "openvino" and precision != "float32":
                    _compress(path, calibration)
    except Exception as error:  # each converter raises its own
        raise BundleError(
            f"{spec.name} cannot be written in format={format!r}: {type(error).__name__}: {str(error)[:500]}"
        ) from error


@functools.cache
def _teach_tf2onnx_erfc() -> None:
    """Tell tf2onnx of an operation that it lacks: ``1 - erf(x)``, by which Keras computes GELU, as in ConvNeXt."""
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


def _onnx(graph: keras.Model, path: Path) -> None:
    """What Keras does for ONNX, without two mistakes on the way.

    tf2onnx is told of the one input: by itself it takes each constant that the function captures, such as the means
    that ``preprocess_input`` of ResNet subtracts, for another. And Keras wraps grouped convolutions, as in ConvNeXt,
    for XLA, which no converter sees through; where functions run eagerly they are traced as they are.
    """
    import tensorflow as tf
    import tf2onnx
    from keras.src.export.tf2onnx_lib import patch_tf2onnx

    patch_tf2onnx()  # for NumPy 2
    signature = tf.TensorSpec((None, *graph.input_shape[1:]), tf.uint8, name="images")
    eagerly, log = tf.config.functions_run_eagerly(), tf.get_logger()
    level = log.level
    tf.config.run_functions_eagerly(True)
    log.setLevel("ERROR")  # it is told to use sessions no more, and only tf2onnx can heed that
    try:
        traced = tf.function(lambda images: graph(images, training=False)).get_concrete_function(signature)
        inputs = ["images:0"]
        named = {name: tensor.name for name, tensor in traced.structured_outputs.items()}
        outputs = list(named.values())
        frozen = tf2onnx.tf_loader.from_function(traced, inputs, outputs)
        names = {inputs[0]: "images", **{tensor: name for name, tensor in named.items()}}
        with tf.Graph().as_default() as plain:
            tf.import_graph_def(frozen, name="")
            converted = tf2onnx.tfonnx.process_tf_graph(
                plain, input_names=inputs, output_names=outputs, tensors_to_rename=names
            )
        model = _optimized(converted).make_model(graph.name)
        path.write_bytes(model.SerializeToString())
    finally:
        log.setLevel(level)
        tf.config.run_functions_eagerly(eagerly)


def _optimized(graph: Any) -> Any:
    """Let tf2onnx's optimizers pass over its graph, one after the other.

    Each of two dozen passes leaves a copy of all weights in a reference cycle, of so few objects that Python would not
    look for it: 5 GB for ResNet50. So it is made to look.
    """
    from tf2onnx import optimizer

    def clean(make: Callable[[], Any]) -> Any:
        gc.collect()
        return make()

    passes = {name: functools.partial(clean, make) for name, make in onnx_optimizers().items()}
    gc.freeze()  # what is there already need not be looked at again and again
    try:
        return optimizer.optimize_graph(graph, optimizers=passes)
    finally:
        gc.unfreeze()


def _half() -> dict[str, Any]:
    """What tells LiteRT's converter to keep weights in 16 bits. It computes in 32 all the same."""
    import tensorflow as tf

    return {"optimizations": [tf.lite.Optimize.DEFAULT], "target_spec": {"supported_types": [tf.float16]}}


def _compress(path: Path, calibration: NDArray[np.uint8] | None) -> None:
    """Rewrite an OpenVINO model: weights in 16 bits or, with images to take ranges from, all of it in 8."""
    from pretrained_cnn.runtimes.openvino import openvino

    model = openvino.Core().read_model(path)
    if calibration is not None:
        import nncf

        images = [calibration[i : i + 1] for i in range(len(calibration))]
        model = nncf.quantize(model, nncf.Dataset(images), subset_size=len(images))
    # Under another name first: the weights are still mapped from the file.
    new = path.with_name("new.xml")
    openvino.save_model(model, new, compress_to_fp16=calibration is None)
    del model
    for suffix in (".xml", ".bin"):
        new.with_suffix(suffix).replace(path.with_suffix(suffix))


def _saved_model(graph: keras.Model, path: Path, spec: ModelSpec) -> None:
    """A SavedModel as TensorFlow Serving takes it: a folder a version, signatures, the labels among its assets.

    ``serving_default`` takes images as the network does; ``jpeg`` takes encoded ones, of any size, where
    TensorFlow has the interpolation of the resize policy.
    """
    if keras.backend.backend() != "tensorflow":
        raise BundleError("Keras runs on another backend; set KERAS_BACKEND=tensorflow")
    import tensorflow as tf

    def outputs(images: Any) -> dict[str, Any]:
        found: dict[str, Any] = graph(images, training=False)
        return found

    def jpeg(image_bytes: Any) -> dict[str, Any]:
        return outputs(tf.map_fn(image, image_bytes, fn_output_signature=tf.uint8))

    archive = keras.export.ExportArchive()
    archive.track(graph)
    size = (*spec.input_size, 3)
    archive.add_endpoint("serving_default", outputs, [tf.TensorSpec((None, *size), tf.uint8, name="images")])
    if spec.resize.interpolation in KERNELS:
        resize = _resize_in_tensorflow(spec.input_size, spec.resize)

        def image(encoded: Any) -> Any:
            pixels = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
            return tf.ensure_shape(resize(pixels), size)

        archive.add_endpoint("jpeg", jpeg, [tf.TensorSpec((None,), tf.string, name="image_bytes")])
    archive.write_out(str(path / "1"), verbose=False)
    labels = path / "1" / "assets" / "labels.txt"
    labels.parent.mkdir(exist_ok=True)
    labels.write_text("".join(f"{label.id}\t{label.name}\n" for label in spec.labels), "utf-8")


def _resize_in_tensorflow(size: tuple[int, int], policy: ResizePolicy) -> Callable[[Any], Any]:
    """`images.resize.resize` in TensorFlow's own operations, for servers that have nothing else.

    It differs by what Pillow rounds between the two directions: by 0.2 of 255 on average for bicubic, and by up to
    17 for single pixels at hard edges.
    """
    import tensorflow as tf

    height, width = size
    goal = tf.constant(size, tf.float32)

    def resize(pixels: Any) -> Any:
        shape = tf.cast(tf.shape(pixels)[:2], tf.float32)
        if policy.method == "squash":
            scale, shift = goal / shape, tf.zeros(2)
        elif policy.method == "crop":
            kept = goal * tf.reduce_min(shape / goal) * policy.crop_fraction
            scale = goal / kept
            shift = (kept - shape) / 2 * scale
        else:
            inner = tf.maximum(1.0, tf.round(shape * tf.reduce_min(goal / shape)))
            scale, shift = inner / shape, tf.floor((goal - inner) / 2)
        resized = tf.raw_ops.ScaleAndTranslate(
            images=tf.cast(pixels, tf.float32)[tf.newaxis],
            size=[height, width],
            scale=scale,
            translation=shift,
            kernel_type=KERNELS[policy.interpolation],
            antialias=policy.antialias,
        )
        return tf.cast(tf.clip_by_value(tf.round(resized[0]), 0, 255), tf.uint8)

    return resize
