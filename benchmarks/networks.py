"""What several benchmarks share: our networks as bundles, and those of transformers on torch."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from pretrained_cnn import Classifier
from pretrained_cnn.runtimes import Precision, get_runtime

ON_TORCH = ("MobileNetV2", "ResNet50", "ConvNeXtTiny")


def prepare(name: str, runtime: str, folder: Path, photos: Sequence[Path]) -> Path | None:
    """The bundle in ``folder`` of a network with random weights, for a runtime such as ``"openvino:bfloat16"``.

    It is written unless it exists; with the precision ``"int8"``, ``photos`` quantize it. None for the runtime
    ``"keras"``, which needs no bundle.
    """
    kind, _, precision = runtime.partition(":")
    format = get_runtime(kind).format
    if format == "keras":
        return None
    bundle = folder / f"{name} {format}{' int8' if precision == 'int8' else ''}"
    if not bundle.exists():
        clf = Classifier(name, weights=None)
        if precision == "int8":  # random weights agree with nothing, whatever is done to them
            clf.save(bundle, format=format, quantize=photos, min_agreement=0)
        else:
            clf.save(bundle, format=format)
    return bundle


def opened(name: str, runtime: str, folder: Path) -> Classifier:
    """A network with random weights on a runtime such as ``"openvino:bfloat16"``, from the bundle of `prepare`."""
    kind, _, precision = runtime.partition(":")
    bundle = prepare(name, runtime, folder, ())
    if bundle is None:
        return Classifier(name, weights=None, runtime=kind)
    quantized = precision in ("", "int8")  # a quantized bundle has its precision within
    return Classifier.load(bundle, runtime=kind, precision="float32" if quantized else cast(Precision, precision))


def in_transformers(name: str) -> bool:
    """Whether torch and transformers are installed, and have a network of the same architecture."""
    return name in ON_TORCH and all(map(find_spec, ("torch", "transformers")))


def transformers_network(name: str) -> tuple[Any, Any]:
    """The network of the same architecture on torch, with random weights, and its image processor."""
    import transformers as tf

    if name == "MobileNetV2":
        config = tf.MobileNetV2Config(num_labels=1000)
        return tf.MobileNetV2ForImageClassification(config).eval(), tf.MobileNetV2ImageProcessorPil()
    crop = tf.ConvNextImageProcessorPil(size={"shortest_edge": 224}, crop_pct=0.875)
    if name == "ResNet50":
        return tf.ResNetForImageClassification(tf.ResNetConfig(num_labels=1000)).eval(), crop
    return tf.ConvNextForImageClassification(tf.ConvNextConfig(num_labels=1000)).eval(), crop
