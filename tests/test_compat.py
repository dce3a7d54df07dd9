"""Each part of another package that `_compat` stands on, or mends; a failure says what changed."""

from __future__ import annotations

import importlib
import sys

import keras
import numpy as np
import tensorflow  # noqa: F401 - whose version is asked for

from pretrained_cnn import _compat


def test_openvino_still_needs_mending_on_python_3_13() -> None:
    from openvino.frontend.tensorflow import utils

    if utils.get_environment_setup is _compat.environment_setup:  # mended by an earlier test
        importlib.reload(utils)
    upstream = utils.get_environment_setup
    try:
        found = upstream("tf")
    except NameError:
        assert sys.version_info >= (3, 13)
        return
    assert found == _compat.environment_setup("tf")
    assert upstream("other") == _compat.environment_setup("other")
    assert sys.version_info < (3, 13), "OpenVINO works by itself on Python 3.13: remove _compat.mend_openvino"


def nested() -> keras.Model:
    inner = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="inner")], name="trunk")
    inputs = keras.Input((2,))
    return keras.Model(inputs, keras.layers.Dense(1, name="outer")(inner(inputs)), name="whole")


def test_keras_still_flattens_the_layers_of_models_within_models() -> None:
    names = [layer.name for layer in _compat.flatten_layers(nested())]
    assert {"trunk", "inner", "outer"} <= set(names)
    assert names.index("trunk") < names.index("inner"), "the outer ones come first"


def test_keras_still_runs_a_graph_with_another_call_for_each_operation() -> None:
    model, called = nested(), []

    def call(operation: keras.Operation, *args: object, **kwargs: object) -> object:
        called.append(operation.name)
        return operation(*args, **kwargs)

    x = np.ones((4, 2), np.float32)
    np.testing.assert_allclose(_compat.run_graph(model, x, call), model(x))
    assert called[-2:] == ["trunk", "outer"]


def test_keras_still_knows_what_a_layer_was_called_with_last() -> None:
    layer, first, second = keras.layers.Dense(3), keras.Input((2,)), keras.Input((2,))
    layer(first), layer(second)
    (found,) = _compat.last_inputs(layer)
    assert found is second


def test_keras_still_knows_which_call_gives_a_tensor() -> None:
    layer, first, second = keras.layers.Dense(3), keras.Input((2,)), keras.Input((2,))
    outputs = layer(first)
    layer(second)
    operation, taken, given = _compat.origin(outputs)
    assert operation is layer
    assert taken[0] is first
    assert given[0] is outputs


def test_tf2onnx_still_gives_its_optimizers() -> None:
    optimizers = _compat.onnx_optimizers()
    assert len(optimizers) > 10
    assert all(callable(make) for make in optimizers.values())
