"""What files beside a model say of it: the configurations of transformers and of timm, and our ``labels.json``."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pretrained_cnn.errors import ModelFileError
from pretrained_cnn.spec import ResizePolicy

__all__ = ["said_beside", "said_by_timm", "said_by_us"]

MAX_BYTES = 2**24

RESAMPLING = {1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of the interpolations."""


def said_beside(path: Path) -> dict[str, Any]:
    """The preprocessing, the resize and the labels that ``preprocessor_config.json`` and ``config.json`` say.

    A file taken out of a bundle may have its ``labels.json`` beside it. The keys are fields of `Graph`: ``metadata``,
    ``resize`` and ``labels``. What cannot be read says nothing.
    """
    folder = path if path.is_dir() else path.parent
    ours = said_by_us(_read(folder / "labels.json"), path.name)
    if ours:
        return ours
    processor, config = (_read(folder / name) for name in ("preprocessor_config.json", "config.json"))
    found: dict[str, Any] = {}
    if isinstance(config.get("pretrained_cfg"), dict):
        found |= said_by_timm({"label_names": config.get("label_names"), **config["pretrained_cfg"]})
    found |= _said_by_transformers(processor)
    names = config.get("id2label")
    if isinstance(names, dict) and sorted(names) == sorted(map(str, range(len(names)))):
        labels = [names[str(index)] for index in range(len(names))]
        if labels and all(isinstance(label, str) for label in labels) and labels[0] != "LABEL_0":
            found["labels"] = labels
    return found


def said_by_us(says: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What the description says that this library writes into a model's file; empty for anything else.

    ``says`` is the description, or its fields as texts, of the file that is called ``name``. Raises ModelFileError for
    a file that gives embeddings alone.
    """
    found: dict[str, Any] = {}
    if str(says.get("library")).startswith("pretrained-cnn "):
        labels, resize, outputs = (_parsed(says.get(key)) for key in ("labels", "resize", "outputs"))
        if isinstance(outputs, dict) and "scores" not in outputs:
            raise ModelFileError(
                f'{name} gives no scores but {" and ".join(outputs)}; save the classifier with output="scores", or '
                "load the bundle that the file is from"
            )
        if isinstance(labels, list) and labels and all(_is_label(label) for label in labels):
            found["labels"] = [tuple(label) for label in labels]
        with contextlib.suppress(TypeError, ValueError):
            ResizePolicy(**resize)
            found["resize"] = resize
    return found


def _parsed(value: Any) -> Any:
    if isinstance(value, str):
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(value)
    return value


def _is_label(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) for part in value)


def said_by_timm(config: dict[str, Any]) -> dict[str, Any]:
    """What a configuration of timm says: ``mean`` and ``std`` of pixel values of 0 to 1, and how images are resized."""
    mean, std = config.get("mean"), config.get("std")
    if not (_are_numbers(mean) and _are_numbers(std)):
        return {}
    found: dict[str, Any] = {"metadata": {"scale": 1 / 255, "mean": mean, "std": std}}
    fraction, interpolation = config.get("crop_pct"), config.get("interpolation")
    if isinstance(fraction, float | int) and 0 < fraction <= 1 and interpolation in ("bilinear", "bicubic"):
        method = "squash" if config.get("crop_mode") == "squash" else "crop"
        found["resize"] = {"method": method, "crop_fraction": float(fraction), "interpolation": interpolation}
    names = config.get("label_names")
    if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
        found["labels"] = list(names)
    return found


def _said_by_transformers(config: dict[str, Any]) -> dict[str, Any]:
    mean, std = config.get("image_mean"), config.get("image_std")
    if not config.get("do_rescale", True):
        scale: Any = 1.0
    else:
        scale = config.get("rescale_factor", 1 / 255)
    if not config.get("do_normalize", True):
        mean, std = [0.0], [1.0]
    if not (_are_numbers(mean) and _are_numbers(std) and isinstance(scale, float | int) and scale > 0):
        return {}
    found: dict[str, Any] = {"metadata": {"scale": float(scale), "mean": mean, "std": std}}
    interpolation = RESAMPLING.get(config.get("resample", 2))
    size, crop = config.get("size"), config.get("crop_size")
    if interpolation is None or not config.get("do_resize", True) or not isinstance(size, dict):
        return found
    short, height = size.get("shortest_edge"), size.get("height")
    kept = crop.get("height") if isinstance(crop, dict) and config.get("do_center_crop") else None
    if isinstance(short, int) and isinstance(kept, int) and 0 < kept <= short:
        found["resize"] = {"method": "crop", "crop_fraction": kept / short, "interpolation": interpolation}
    elif isinstance(height, int) and kept in (None, height):
        found["resize"] = {"method": "squash", "interpolation": interpolation}
    return found


def _read(path: Path) -> dict[str, Any]:
    """The object in a file of JSON; empty where there is none."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return {}
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) in (1, 3) and all(isinstance(x, float | int) for x in value)
