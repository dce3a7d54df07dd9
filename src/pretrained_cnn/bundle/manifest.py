"""``manifest.json``: what is in a bundle, and the SHA-256 of each file, its own included."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pretrained_cnn.errors import BundleError
from pretrained_cnn.runtimes import Format
from pretrained_cnn.spec import Output

Precision = Literal["float32", "float16", "int8"]

NAME = "manifest.json"
VERSION = 2
"""The version of the manifest's form. A bundle of any other version is refused."""

MODEL: dict[Format, str] = {
    "keras": "model.keras",
    "openvino": "model.xml",
    "onnx": "model.onnx",
    "litert": "model.tflite",
    "saved_model": "model",
}
"""What the model is called in a bundle. OpenVINO's weights lie beside it, in ``model.bin``."""


@dataclass(frozen=True, kw_only=True)
class ExportCheck:
    """How well what was written agrees with the network that it was written from.

    >>> ExportCheck(images=4, same_top1=1.0, largest_difference=3e-7).same_top1
    1.0
    """

    images: int
    """How many images were compared."""
    same_top1: float
    """The share of them, 0 to 1, that both give the same best class; a tie within the tolerance counts as the same."""
    largest_difference: float
    """Of any score of any of them; for embeddings, relative to the largest value."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What ``manifest.json`` says."""

    format: Format
    output: Output
    precision: Precision
    input_shape: list[int | None]
    """``[None, H, W, 3]``, uint8."""
    output_shape: list[int | None]
    """``[None, C]``, float32."""
    spec: dict[str, Any]
    """The spec's fields that outlive the code that built the network; the labels have a file of their own."""
    image_policy: dict[str, Any]
    """The `ImagePolicy`."""
    tolerance: float
    """How far scores may be from those in ``check.npz``."""
    agreement: dict[str, Any] | None
    """An `ExportCheck`, found when the bundle was written."""
    versions: dict[str, str]
    """Of the packages that wrote it."""
    files: dict[str, str] = field(default_factory=dict)
    """Each file's path within the bundle, with ``/``, and its SHA-256."""

    def to_text(self) -> str:
        """The one text that says this, its checksum included."""
        data = {"format_version": VERSION, **dataclasses.asdict(self)}
        return _text({**data, "checksum": _checksum(data)})

    @classmethod
    def from_text(cls, text: str, where: str) -> Manifest:
        """Read what `to_text` wrote. Raises BundleError, which names ``where``, for anything else."""
        try:
            data = json.loads(text)
            version = data.pop("format_version")
            if isinstance(version, int) and version != VERSION:
                age, way_out = (
                    ("a later", "pip install --upgrade pretrained-cnn")
                    if version > VERSION
                    else ("an earlier", "save the classifier again with this release")
                )
                raise BundleError(
                    f"{where} has format version {version} of {age} release, and this release reads version {VERSION}; "
                    f"{way_out}"
                )
            checksum = data.pop("checksum")
            manifest = cls(**data)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            raise BundleError(f"{where} is not the manifest of a bundle: {type(error).__name__}: {error}") from None
        if text != manifest.to_text():
            raise BundleError(f"{where} was changed: its checksum is {checksum}, which is not that of what it says")
        return manifest


def _text(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def _checksum(data: Mapping[str, Any]) -> str:
    return hashlib.sha256(_text(data).encode()).hexdigest()
