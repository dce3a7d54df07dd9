"""The default runtime: the serving graph itself, compiled by Keras's backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray


class KerasRuntime:
    """Runs a serving graph on Keras's backend, on the device that the backend chooses.

    With TensorFlow it is one traced function for any batch size. JAX compiles once for each batch size.
    """

    def __init__(self, graph: keras.Model) -> None:
        self._graph: keras.Model | None = graph  # a traced function keeps its variables only weakly
        functions = {"tensorflow": _tensorflow_function, "jax": _jax_function}
        backend = keras.backend.backend()
        self._call: Callable[[NDArray[np.uint8]], Any] | None = (
            functions[backend](graph) if backend in functions else graph.predict_on_batch
        )

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """From RGB uint8 ``(N, H, W, 3)`` to float32 ``(N, C)``."""
        if self._call is None:
            raise ValueError("this runtime is closed")
        return np.asarray(self._call(batch), dtype=np.float32)

    def close(self) -> None:
        """Let go of the graph."""
        self._call = self._graph = None


def _tensorflow_function(graph: keras.Model) -> Callable[[NDArray[np.uint8]], Any]:
    """Trace the graph once, for any number of images.

    ``keras.Model.predict`` builds a data pipeline around every call, which costs several times what a
    small network does. Without XLA, which is slower here than TensorFlow's own kernels on a CPU.
    """
    import tensorflow as tf

    signature = tf.TensorSpec((None, *graph.input_shape[1:]), tf.uint8)
    traced = tf.function(lambda images: graph(images, training=False)).get_concrete_function(signature)
    return lambda batch: traced(tf.constant(batch)).numpy()


def _jax_function(graph: keras.Model) -> Callable[[NDArray[np.uint8]], Any]:
    """Compile the graph as a pure function.

    ``predict_on_batch`` hands its variables' buffers over to the computation, so that only one thread could use it.
    """
    import jax

    compiled = jax.jit(lambda trainable, rest, batch: graph.stateless_call(trainable, rest, batch, training=False)[0])

    def call(batch: NDArray[np.uint8]) -> Any:
        trainable, rest = graph.trainable_variables, graph.non_trainable_variables
        return compiled([variable.value for variable in trainable], [variable.value for variable in rest], batch)

    return call
