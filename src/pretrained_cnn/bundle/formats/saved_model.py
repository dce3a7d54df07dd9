"""TensorFlow's SavedModel, as TensorFlow Serving takes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from pretrained_cnn.bundle.formats.base import Dtype, Format
from pretrained_cnn.errors import BundleError

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

    from pretrained_cnn.spec import ModelSpec, ResizePolicy

__all__ = ["SavedModel"]

VERSION = "1"
"""The folder of the one version. TensorFlow Serving looks for folders that are numbers."""

KERNELS = {"bilinear": "triangle", "bicubic": "keyscubic", "lanczos": "lanczos3"}
"""TensorFlow's names of Pillow's filters. Its box filter falls on other pixels, and it has no Hamming filter."""


class SavedModel(Format):
    """``model``: a folder a version, with signatures, and the labels among its assets.

    ``serving_default`` takes images as the network does; ``jpeg`` takes encoded ones, of any size, where TensorFlow has
    the interpolation of the resize policy.
    """

    name = "saved_model"
    file = "model"

    @override
    def write(
        self, graph: keras.Model, path: Path, spec: ModelSpec, *, dtype: Dtype, images: NDArray[np.uint8] | None
    ) -> None:
        """Write the signatures, the weights and the labels. Raises BundleError on another backend than TensorFlow."""
        import keras

        if keras.backend.backend() != "tensorflow":
            raise BundleError("Keras runs on another backend; set KERAS_BACKEND=tensorflow")
        import tensorflow as tf

        def serving_default(pixels: Any) -> dict[str, Any]:
            found: dict[str, Any] = graph(pixels, training=False)
            return found

        archive = keras.export.ExportArchive()
        archive.track(graph)
        size = graph.input_shape[1:]
        archive.add_endpoint(
            "serving_default", serving_default, [tf.TensorSpec((None, *size), tf.uint8, name="images")]
        )
        if spec.resize.interpolation in KERNELS:
            resize = _resize_in_tensorflow(spec.input_size, spec.resize)

            def image(encoded: Any) -> Any:
                pixels = tf.io.decode_jpeg(encoded, channels=size[-1], dct_method="INTEGER_ACCURATE")
                return tf.ensure_shape(resize(pixels), size)

            def jpeg(image_bytes: Any) -> dict[str, Any]:
                return serving_default(tf.map_fn(image, image_bytes, fn_output_signature=tf.uint8))

            archive.add_endpoint("jpeg", jpeg, [tf.TensorSpec((None,), tf.string, name="image_bytes")])
        archive.write_out(str(path / VERSION), verbose=False)
        labels = path / VERSION / "assets" / "labels.txt"
        labels.parent.mkdir(exist_ok=True)
        labels.write_text("".join(f"{label.id}\t{label.name}\n" for label in spec.labels), "utf-8")

    @override
    def outputs(self, path: Path) -> list[str]:
        """The names that the signatures give, each once."""
        import tensorflow as tf

        signatures = tf.saved_model.load(str(path / VERSION)).signatures.values()
        return list(dict.fromkeys(name for signature in signatures for name in signature.structured_outputs))


def _resize_in_tensorflow(size: tuple[int, int], policy: ResizePolicy) -> Callable[[Any], Any]:
    """`images.resize.resize` in TensorFlow's own operations, for servers that have nothing else.

    The two differ by what Pillow rounds between the two directions: by 0.2 of 255 on average for bicubic, and by up to
    17 for single pixels at hard edges.
    """
    import tensorflow as tf

    height, width = size
    goal = tf.constant(size, tf.float32)

    def squash(shape: Any) -> tuple[Any, Any]:
        return goal / shape, tf.zeros(2)

    def crop(shape: Any) -> tuple[Any, Any]:
        kept = goal * tf.reduce_min(shape / goal) * policy.crop_fraction
        scale = goal / kept
        return scale, (kept - shape) / 2 * scale

    def pad(shape: Any) -> tuple[Any, Any]:
        inner = tf.maximum(1.0, tf.round(shape * tf.reduce_min(goal / shape)))
        return inner / shape, tf.floor((goal - inner) / 2)

    place = policy.pick("TensorFlow Serving", squash=squash, crop=crop, pad=pad)

    def resize(pixels: Any) -> Any:
        scale, shift = place(tf.cast(tf.shape(pixels)[:2], tf.float32))
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
