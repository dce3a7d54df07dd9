"""Each part of another package that `_compat` stands on, or mends; a failure says what changed."""

from __future__ import annotations

import http.client
import io
import socket
import tarfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow  # noqa: F401 - whose version is asked for

from pretrained_cnn import _compat


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


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of NumPy, which tf2onnx asks for old names
def test_keras_still_has_the_patch_of_tf2onnx() -> None:
    from keras.src.export import tf2onnx_lib

    assert callable(tf2onnx_lib.patch_tf2onnx)
    _compat.mend_tf2onnx()
    import tf2onnx.tfonnx

    assert callable(tf2onnx.tfonnx.process_tf_graph)


def test_keras_still_divides_by_these_deviations_in_efficientnet_v1_only() -> None:
    deviations = _compat.efficientnet_deviations(keras.applications.EfficientNetB0)
    assert deviations == pytest.approx([0.229, 0.224, 0.225])
    assert _compat.efficientnet_deviations(keras.applications.EfficientNetV2B0) is None
    assert _compat.efficientnet_deviations(print) is None


def test_tarfile_still_reads_on_when_its_members_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for number in range(5):
            header = tarfile.TarInfo(f"{number}.txt")
            header.size = 1
            archive.addfile(header, io.BytesIO(b"x"))
    names = []
    with tarfile.open(path) as archive:
        while (member := archive.next()) is not None:
            names.append(member.name)
            assert len(archive.members) <= 1, "TarFile.members keeps what forget_members has let go"  # type: ignore
            _compat.forget_members(archive)
    assert names == [f"{number}.txt" for number in range(5)]


def test_tarfile_still_asks_its_headers_what_they_are() -> None:
    """A header that may not fill the memory stands on ``TarInfo._proc_member``, which reads what follows it."""
    seen = []

    class Header(tarfile.TarInfo):
        def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
            seen.append(self.name)
            return super()._proc_member(archive)  # type: ignore[misc, no-any-return]

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"))
    stream.seek(0)
    with tarfile.open(fileobj=stream, tarinfo=Header) as archive:
        archive.getmembers()
    assert seen == ["a.txt"]


def test_keras_still_looks_up_calls_where_they_are_recorded() -> None:
    import keras

    class Doubled(keras.Operation):
        def __call__(self, tensor: object) -> object:
            _compat.record_call(self, [found := keras.ops.multiply(tensor, 2.0)])
            return found

    inputs = keras.Input((2,), name="in")
    layer = {"class_name": "Doubled", "config": {"name": "d"}, "name": "d", "inbound_nodes": [[["in", 0, 0, {}]]]}
    config = keras.Model(inputs, inputs + 1.0).get_config()
    config |= {"layers": [config["layers"][0], layer], "output_layers": ["d", 0, 0]}
    model = keras.Model.from_config(config, custom_objects={"Doubled": Doubled})
    assert model(np.array([[1.0, 2.0]])).numpy().tolist() == [[2.0, 4.0]]


@pytest.mark.parametrize("kind", [http.client.HTTPConnection, http.client.HTTPSConnection])
def test_http_client_still_asks_for_its_sockets(kind: type[http.client.HTTPConnection]) -> None:
    """Without it, ``allow_private=False`` would check nothing: `connect_through` refuses such a Python."""

    def connect(address: tuple[str, int], *_: object, **__: object) -> socket.socket:
        raise ConnectionRefusedError(f"asked for {address}")

    connection = _compat.connect_through(kind, connect)("a.example", 81)
    with pytest.raises(ConnectionRefusedError, match=r"asked for \('a\.example', 81\)"):
        connection.connect()
    with pytest.raises(NotImplementedError, match="no address is checked"):
        _compat.connect_through(object, connect)()
