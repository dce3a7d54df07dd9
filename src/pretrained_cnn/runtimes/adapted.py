"""A foreign graph run as a serving graph: a runtime around a runtime, with the numbers that the graph lacks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn.presets import PixelScaling
from pretrained_cnn.runtimes import Runtime

__all__ = ["AdaptedRuntime", "Adapter", "Function", "Layout", "Quantization", "Source"]

Layout = Literal["NHWC", "NCHW", "NHW"]
"""The order of a graph's axes: images, rows, columns and channels. ``"NHW"`` is gray without an axis of channels."""

Function = Literal["softmax", "sigmoid"]
"""What makes probabilities of logits."""

Quantization = tuple[float, int]
"""The scale and the zero point of an integer ``q``, which stands for ``(q - zero_point) * scale``."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where an output of the serving graph comes from."""

    place: int
    """Which of the outputs of the foreign graph."""
    quantization: Quantization | None = None
    function: Function | None = None
    binary: bool = False
    """Whether the one number ``p`` is the probability of the second of two classes: ``(1 - p, p)``."""

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """From what the graph gives, ``(N, C)`` or ``(N, C, 1, 1)``, to float32 ``(N, C)``."""
        x = values.reshape(len(values), -1)
        if self.quantization is not None:
            scale, zero = self.quantization
            x = (x - np.float32(zero)) * np.float32(scale)
        if self.function == "softmax":
            powers = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
            x = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
        elif self.function == "sigmoid":
            x = (0.5 * (1 + np.tanh(0.5 * x.astype(np.float64)))).astype(np.float32)
        return np.concatenate([1 - x, x], axis=1) if self.binary else x


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """What lies between a serving graph and a foreign one.

    >>> adapter = Adapter(dtype="int8", layout="NHWC", outputs={"scores": Source(place=0)})
    >>> adapter.to_graph(np.array([[[[0], [255]]]], np.uint8)).ravel()
    array([-128,  127], dtype=int8)
    """

    dtype: str
    """What the foreign graph takes, such as ``"float32"`` or ``"int8"``."""
    layout: Layout
    outputs: Mapping[str, Source]
    """Of the serving graph, by name."""
    scaling: PixelScaling | None = None
    """What is done to pixel values; None if the graph takes them as they are, int8 minus 128."""
    quantization: Quantization | None = None
    """Of the input, where `scaling` is not None."""
    batch: int | None = None
    """How many images the foreign graph takes at once; None for any number."""
    reason: str | None = None
    """Why a graph is run in place of the network in Keras that it was made from, if it was."""
    flat: bool = False
    """Whether the foreign graph takes each image as one row of numbers, in the order of `layout`."""

    def __post_init__(self) -> None:
        np.dtype(self.dtype)
        if self.layout not in get_args(Layout):
            raise ValueError(f"layout={self.layout!r} is not known")

    def to_graph(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """From uint8 ``(N, H, W, C)`` to what the foreign graph takes."""
        dtype = np.dtype(self.dtype)
        x: NDArray[Any] = images
        if self.scaling is not None:
            x = self.scaling(images.astype(np.float32))
            if self.quantization is not None:
                scale, zero = self.quantization
                x = np.rint(x / np.float32(scale)) + zero
            if dtype.kind in "iu":
                limits = np.iinfo(dtype)
                x = np.clip(np.rint(x), limits.min, limits.max)
        elif dtype == np.int8:
            x = images.astype(np.int16) - 128
        if self.layout == "NCHW":
            x = x.transpose(0, 3, 1, 2)
        elif self.layout == "NHW":
            x = x[..., 0]
        if self.flat:
            x = x.reshape(len(x), -1)
        return np.ascontiguousarray(x, dtype=dtype)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON; `from_dict` turns it back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The adapter that `to_dict` described. Raises TypeError, ValueError or KeyError for anything else."""
        scaling = data["scaling"]
        if scaling is not None:
            scaling = PixelScaling(**{**scaling, "mean": tuple(scaling["mean"]), "std": tuple(scaling["std"])})
        outputs = {
            name: Source(**{**source, "quantization": _pair(source["quantization"])})
            for name, source in data["outputs"].items()
        }
        kept = {**data, "scaling": scaling, "quantization": _pair(data["quantization"]), "outputs": outputs}
        return cls(**kept)


def _pair(quantization: Sequence[Any] | None) -> Quantization | None:
    if quantization is None:
        return None
    scale, zero = quantization
    return float(scale), int(zero)


class AdaptedRuntime:
    """Runs a foreign graph, which ``inner`` executes, as a serving graph.

    ``inner`` was opened for the outputs of ``adapter`` that ``outputs`` names, in their order. It is given what the
    foreign graph takes, and gives what that gives, as float32.
    """

    def __init__(self, inner: Runtime, adapter: Adapter, outputs: Sequence[str]) -> None:
        self._inner = inner
        self._adapter = adapter
        self._sources = [adapter.outputs[name] for name in outputs]

    def run(self, batch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        """From uint8 ``(N, H, W, C)`` to one float32 array ``(N, width)`` per output, in the order asked for."""
        given = self._adapter.to_graph(batch)
        size = self._adapter.batch or len(given)
        parts = [self._run(given[start : start + size], size) for start in range(0, len(given), size)]
        found = map(np.concatenate, zip(*parts, strict=True))
        return tuple(source(values) for source, values in zip(self._sources, found, strict=True))

    def close(self) -> None:
        """Close the runtime within."""
        self._inner.close()

    def _run(self, given: NDArray[Any], size: int) -> list[NDArray[np.float32]]:
        """What the graph gives, where ``given`` are at most ``size`` images; too few are filled up."""
        count = len(given)
        if count < size:
            given = np.concatenate([given, np.repeat(given[-1:], size - count, axis=0)])
        found = self._inner.run(given)
        if size == 1:  # what it gives is of this image, also without an axis of images
            found = tuple(values.reshape(1, -1) for values in found)
        if any(len(values) != size for values in found):
            raise ValueError(f"the graph gives {[values.shape for values in found]} for {size} images")
        return [values[:count] for values in found]
