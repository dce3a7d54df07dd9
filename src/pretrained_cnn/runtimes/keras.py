"""The default runtime: the serving graph itself, compiled by Keras's backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._process import need_eager

_Call = Callable[[NDArray[np.uint8]], list[Any]]


class KerasRuntime:
    """Runs a serving graph on Keras's backend, on the device that the backend chooses.

    With TensorFlow it is one traced function for any batch size. JAX compiles once for each batch size.
    """

    def __init__(self, graph: keras.Model, outputs: Sequence[str]) -> None:
        self._graph: keras.Model | None = graph  # a traced function keeps its variables only weakly
        functions = {"tensorflow": _tensorflow_function, "jax": _jax_function}
        make = functions.get(keras.backend.backend(), _plain_function)
        self._call: _Call | None = make(graph, outputs)

    def run(self, batch: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        """From uint8 ``(N, H, W, C)`` to one float32 array ``(N, width)`` per output, in the order asked for."""
        if self._call is None:
            raise ValueError("this runtime is closed")
        need_eager()
        return tuple(np.asarray(output, dtype=np.float32) for output in self._call(batch))

    def close(self) -> None:
        """Let go of the graph."""
        self._call = self._graph = None


def _tensorflow_function(graph: keras.Model, outputs: Sequence[str]) -> _Call:
    """Trace the graph once, for any number of images.

    ``keras.Model.predict`` builds a data pipeline around every call, which costs several times what a
    small network does. Without XLA, which is slower here than TensorFlow's own kernels on a CPU.
    """
    import tensorflow as tf

    signature = tf.TensorSpec((None, *graph.input_shape[1:]), tf.uint8)

    def call(images: Any) -> list[Any]:
        found = graph(images, training=False)
        return [found[name] for name in outputs]

    traced = tf.function(call).get_concrete_function(signature)
    return lambda batch: [output.numpy() for output in traced(tf.constant(batch))]


def _jax_function(graph: keras.Model, outputs: Sequence[str]) -> _Call:
    """Compile the graph as a pure function.

    ``predict_on_batch`` hands its variables' buffers over to the computation, so that only one thread could use it.
    """
    import jax

    def pure(trainable: Any, rest: Any, batch: Any) -> list[Any]:
        found, _ = graph.stateless_call(trainable, rest, batch, training=False)
        return [found[name] for name in outputs]

    compiled = jax.jit(pure)

    def call(batch: NDArray[np.uint8]) -> list[Any]:
        trainable, rest = graph.trainable_variables, graph.non_trainable_variables
        values: list[Any] = compiled(
            [variable.value for variable in trainable], [variable.value for variable in rest], batch
        )
        return values

    return call


def _plain_function(graph: keras.Model, outputs: Sequence[str]) -> _Call:
    """Keras's own way, for a backend without a way of ours."""

    def call(batch: NDArray[np.uint8]) -> list[Any]:
        found = graph.predict_on_batch(batch)
        return [found[name] for name in outputs]

    return call
