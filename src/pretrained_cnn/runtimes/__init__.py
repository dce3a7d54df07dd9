"""What executes a serving graph: ``run(batch)`` and ``close()``, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Runtime(Protocol):
    """A serving graph, ready to run. May be used from several threads at once."""

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """From RGB uint8 ``(N, H, W, 3)`` to float32 ``(N, C)``; any ``N`` of at least 1."""

    def close(self) -> None:
        """Free what the runtime holds. Closing twice is fine."""


def keras_runtime(graph: Any) -> Runtime:
    """Run a Keras serving graph with Keras itself."""
    from pretrained_cnn.runtimes.keras import KerasRuntime

    return KerasRuntime(graph)


RUNTIMES = {"keras": keras_runtime}
"""By name, how to make a runtime from a Keras serving graph."""
