"""A head in NumPy, on the embeddings that a runtime gives: what adds classes to a graph that cannot be changed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pretrained_cnn.runtimes import Runtime

__all__ = ["Head", "WithHead"]


@dataclass(frozen=True, eq=False)
class Head:
    """Dense layers as ``(kernel, bias)``: all but the last are followed by ReLU and dropout, the last by a softmax.

    With ``multi_label``, where an image may have several labels, the last is followed by a sigmoid. Raises
    ValueError unless each layer takes what the one before it gives.

    >>> Head([(np.eye(2, dtype=np.float32), np.zeros(2, np.float32))])(np.array([[1.0, 1.0]])).tolist()
    [[0.5, 0.5]]
    """

    layers: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]
    multi_label: bool = False

    def __post_init__(self) -> None:
        shapes = [kernel.shape for kernel, _ in self.layers]
        fits = bool(shapes) and all(given == taken for (_, given), (taken, _) in itertools.pairwise(shapes))
        if not fits or any(bias.shape != kernel.shape[1:] for kernel, bias in self.layers):
            raise ValueError(f"kernels of shapes {shapes} are not the dense layers of a head")

    @property
    def widths(self) -> tuple[int, int]:
        """The number of values that the head takes of an image, and the number of classes."""
        return self.layers[0][0].shape[0], self.layers[-1][0].shape[1]

    def __call__(self, vectors: NDArray[np.floating]) -> NDArray[np.float64]:
        """Probabilities ``(n, C)`` of embeddings ``(n, D)``."""
        x = vectors.astype(np.float64)
        for kernel, bias in self.layers[:-1]:
            x = np.maximum(x @ kernel + bias, 0)
        kernel, bias = self.layers[-1]
        logits = x @ kernel + bias
        if self.multi_label:
            return np.asarray(np.exp(-np.logaddexp(0, -logits)))
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))

    def to_arrays(self) -> dict[str, NDArray[np.float32]]:
        """The layers by name: ``kernel_0``, ``bias_0`` and so on."""
        names = [f"{name}_{number}" for number in range(len(self.layers)) for name in ("kernel", "bias")]
        return dict(zip(names, (array for layer in self.layers for array in layer), strict=True))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], *, multi_label: bool = False) -> Head:
        """The head whose `to_arrays` gave ``arrays``. Raises ValueError or KeyError for anything else."""
        count = len(arrays) // 2
        layers = [(arrays[f"kernel_{number}"], arrays[f"bias_{number}"]) for number in range(count)]
        return cls(layers, multi_label)


class WithHead:
    """A runtime around a runtime: scores by ``head`` of the only output of ``runtime``, which is the embedding."""

    def __init__(self, runtime: Runtime, head: Head, outputs: Sequence[str]) -> None:
        self._runtime = runtime
        self._head = head
        self._outputs = tuple(outputs)

    def run(self, batch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        """As `Runtime.run`, for the outputs ``"scores"`` and ``"embedding"``."""
        (embedding,) = self._runtime.run(batch)
        found = {"embedding": embedding}
        if "scores" in self._outputs:
            found["scores"] = self._head(embedding).astype(np.float32)
        return tuple(found[name] for name in self._outputs)

    def close(self) -> None:
        """Free what the runtime holds."""
        self._runtime.close()
