"""``manifest.json``: what is in a bundle, and the SHA-256 of each file, its own included."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from pretrained_cnn._statistics import wilson
from pretrained_cnn.bundle.formats import DTYPES, Dtype
from pretrained_cnn.errors import BundleError
from pretrained_cnn.runtimes.adapted import Adapter

NAME = "manifest.json"
VERSION = 4
"""The version of the manifest's form. A bundle of any other version is refused."""

Kind = Literal["exclusive", "binary", "multi_label"]
"""What the scores mean: one class of several, one output for the second of two classes, or each class for itself."""


@dataclass(frozen=True, kw_only=True)
class ExportCheck:
    """The agreement of a saved model with the network that was saved.

    >>> check = ExportCheck(images=60, same_top1=59 / 60, largest_difference=0.04)
    >>> round(check.loss, 3), [round(end, 3) for end in check.loss_interval]
    (0.017, [0.003, 0.089])
    """

    images: int
    """Number of compared images; with ``quantize=``, those that were held back."""
    same_top1: float
    """The share of these images, 0 to 1, with the same best class. A tie within the tolerance counts as the same."""
    largest_difference: float
    """The largest difference of any score; for embeddings, relative to the largest value."""

    @property
    def loss(self) -> float:
        """The share of images, 0 to 1, whose best class changed: no more than this is lost of the accuracy."""
        return 1 - self.same_top1

    @property
    def loss_interval(self) -> tuple[float, float]:
        """The 95 % interval of `loss`, by Wilson's method, as for other images of the same kind."""
        return wilson(round(self.loss * self.images), self.images)


@dataclass(frozen=True, kw_only=True)
class FileInfo:
    """What a file of a bundle must be."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What ``manifest.json`` says."""

    format: str
    """A name of `list_formats`."""
    dtype: Dtype
    """What the model's file stores."""
    input_shape: list[int | None]
    """Of ``images``: ``[None, H, W, channels]``, uint8."""
    channels: int
    """3 for RGB, 1 for gray."""
    outputs: dict[str, list[int | None]]
    """Each output's name and shape, such as ``{"scores": [None, C]}``, float32."""
    kind: Kind
    """What the scores mean."""
    thresholds: list[float] | None
    """For several labels, the score from which each class is given; else None."""
    calibration: dict[str, list[int]] | None
    """The names and shapes of the arrays in ``calibration.npz``; None for a classifier that is not calibrated."""
    head: dict[str, list[int]] | None
    """The names and shapes of the arrays in ``head.npz``, dense layers that give the scores; None if the model does."""
    spec: dict[str, Any]
    """The spec's fields that outlive the code that built the network; the labels have a file of their own."""
    license: str | None
    """Of the weights, as far as the spec says; None if it is not known."""
    image_policy: dict[str, Any]
    """The `ImagePolicy`."""
    tolerance: float
    """How far scores may be from those in ``check.npz``."""
    min_agreement: float
    """The share of images, 0 to 1, that must keep their best class."""
    check: dict[str, Any] | None
    """An `ExportCheck`, found when the bundle was written."""
    library: str
    """The version of this library that wrote the bundle."""
    versions: dict[str, str]
    """Of the other packages that took part."""
    adapter: dict[str, Any] | None = None
    """The `Adapter` through which a graph runs that this library did not write; None for a serving graph."""
    files: dict[str, FileInfo] = field(default_factory=dict)
    """Each file's path within the bundle, with ``/``; its size in bytes and its SHA-256."""

    def __post_init__(self) -> None:
        height, width, channels = self.input_shape[1:]
        whole = (height, width, channels, *(shape[-1] for shape in self.outputs.values()))
        if not all(isinstance(size, int) and size > 0 for size in whole) or channels != self.channels:
            raise ValueError(f"the shapes {self.input_shape} and {self.outputs} are not those of a serving graph")
        if self.dtype not in DTYPES or self.kind not in get_args(Kind) or self.channels not in (1, 3):
            raise ValueError(f"dtype={self.dtype!r}, kind={self.kind!r} or channels={self.channels!r} is not known")
        if (self.thresholds is not None) != (self.kind == "multi_label"):
            raise ValueError("thresholds go with several labels, and with nothing else")
        if self.adapter is not None and Adapter.from_dict(self.adapter).outputs.keys() != self.outputs.keys():
            raise ValueError("the adapter does not give the outputs")

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
            manifest = cls(**{**data, "files": {name: FileInfo(**info) for name, info in data["files"].items()}})
            written = manifest.to_text()
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            raise BundleError(f"{where} is not the manifest of a bundle: {type(error).__name__}: {error}") from None
        if text.replace("\r\n", "\n") != written:
            raise BundleError(f"{where} was changed: its checksum is {checksum}, which is not that of what it says")
        return manifest


def _text(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def _checksum(data: Mapping[str, Any]) -> str:
    return hashlib.sha256(_text(data).encode()).hexdigest()
