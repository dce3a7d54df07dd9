"""OpenVINO's format: a description in XML, and weights beside it in a file of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from pretrained_cnn.bundle.description import KEY, in_texts
from pretrained_cnn.bundle.formats.base import ConvertedFormat, Dtype

if TYPE_CHECKING:
    import numpy as np
    import openvino
    from numpy.typing import NDArray

__all__ = ["OpenVINO"]


class OpenVINO(ConvertedFormat):
    """``model.xml``, with the weights in ``model.bin``."""

    name = "openvino"
    file = "model.xml"
    dtypes = ("float32", "float16", "int8")
    needs = (("scipy", "openvino"),)
    takes = ("onnx",)

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
        """Read the graph, leave it no output but its own, and store its weights as ``dtype``.

        What it says of itself is its ``rt_info``, under `KEY`, an entry a field.
        """
        ov = _import()
        model = _only(ov.convert_model(saved_model), says["outputs"])
        if images is not None:
            model = _quantized(model, images)
        for key, value in in_texts(says).items():
            model.set_rt_info(value, [KEY, key])
        ov.save_model(model, path, compress_to_fp16=dtype == "float16")

    @override
    def rewrite(self, model: Path, path: Path) -> None:
        """OpenVINO reads ONNX by itself."""
        ov = _import()
        ov.save_model(ov.Core().read_model(model), path, compress_to_fp16=False)

    @override
    def outputs(self, path: Path) -> list[str]:
        """The names of all results of the model."""
        return [_name(output) for output in _import().Core().read_model(path).outputs]


def _import() -> Any:
    from pretrained_cnn.runtimes.openvino import import_openvino

    return import_openvino()


def _only(model: openvino.Model, names: Iterable[str]) -> openvino.Model:
    """The model with the named outputs alone.

    OpenVINO reads the operation with which TensorFlow attaches a gradient to silu, ``IdentityN``, in such a way that
    each activation becomes an output. EfficientNet then has 50 and more outputs, which are not fused or overwritten,
    and are copied to the caller. That made the network two to three times as slow.
    """
    ov = _import()
    found = {_name(output): output for output in model.outputs}
    results = [found[name].get_node() for name in names]
    return ov.Model(results, model.get_parameters(), "serving")


def _name(output: Any) -> str:
    """The name of an output, or of what computes it where it has none."""
    names = sorted(output.get_names())
    return str(names[0] if names else output.get_node().get_friendly_name())


def _quantized(model: openvino.Model, images: NDArray[np.uint8]) -> openvino.Model:
    """The model in 8-bit integers, with the ranges of values that it has for ``images``.

    The mixed preset gives activations with negative values their own zero point, and full bias correction measures the
    mean error of each layer instead of an estimate. Both keep accuracy. They cost time here, and none where the model
    runs. NNCF's default overflow fix stays: it halves the range of the first layers' weights, without which a CPU
    without VNNI instructions would saturate.
    """
    import nncf

    rows = [images[i : i + 1] for i in range(len(images))]
    return nncf.quantize(
        model,
        nncf.Dataset(rows),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(rows),
        fast_bias_correction=False,
    )
