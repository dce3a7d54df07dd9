"""The description inside a model file, for programs without this library."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from pretrained_cnn._version import __version__
from pretrained_cnn.runtimes.adapted import Adapter
from pretrained_cnn.spec import ModelSpec

__all__ = ["KEY", "describe", "in_texts"]

KEY = "pretrained_cnn"
"""Where OpenVINO's and LiteRT's files keep the description."""


def describe(spec: ModelSpec, outputs: Mapping[str, int], adapter: Adapter | None = None) -> dict[str, Any]:
    """The description of a model with outputs of these widths, by name, as plain data.

    ``adapter`` is what lies between pixels and a graph that this library did not write: with it, the input and the
    preprocessing are those that the graph needs.

    >>> from pretrained_cnn import get_spec
    >>> found = describe(get_spec("MobileNet"), {"scores": 1000})
    >>> found["input"]["shape"], found["labels"][409], found["resize"]["interpolation"]
    ([None, 224, 224, 3], ['n02708093', 'analog_clock'], 'bicubic')
    """
    size: list[int | None] = [*spec.input_size, spec.channels]
    taken: dict[str, Any] = {"name": "images", "dtype": "uint8", "layout": "NHWC", "shape": [None, *size]}
    done: Any = "in the graph; give the values 0 to 255 as they are"
    if adapter is not None:
        taken = {"dtype": adapter.dtype, "layout": adapter.layout, "size": size}
        done = {"scaling": adapter.to_dict()["scaling"], "quantization": adapter.quantization}
    return {
        "library": f"pretrained-cnn {__version__}",
        "model": spec.name,
        "license": spec.license,
        "kind": "multi_label" if spec.multi_label else "exclusive",
        "thresholds": list(spec.thresholds) if spec.multi_label else None,
        "input": {**taken, "channels": "RGB" if spec.channels == 3 else "gray"},
        "resize": dataclasses.asdict(spec.resize),
        "preprocessing": done,
        "outputs": {name: [None, width] for name, width in outputs.items()},
        "labels": [list(label) for label in spec.labels],
    }


def in_texts(description: Mapping[str, Any]) -> dict[str, str]:
    """The fields as texts, for files that keep nothing else: text as it is, other values as JSON."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in description.items()
        if value is not None
    }
