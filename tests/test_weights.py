"""Finding, checking and downloading weights files, against a server of our own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format
from paths import EXAMPLES
from servers import Handler, serve
from waking import wake

from pretrained_cnn import Classifier, InvalidArgumentError, ModelSpec, ResizePolicy, WeightsError, get_spec, weights
from pretrained_cnn.weights import WeightsFile, ensure

BODY = b"weights " * 1000
CLOCK = EXAMPLES / "clock.png"


class Publisher(Handler):
    def get(self) -> None:
        self.server.requests.append(self.path)  # type: ignore[attr-defined]
        body = self.server.files.get(self.path)  # type: ignore[attr-defined]
        if body is None:
            self.send_error(404)
            return
        self.send(body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Stands in for all publishers: what it has is in its ``files``, and what it was asked for in its ``requests``."""
    with serve(Publisher, requests=[], files={"/net.h5": BODY}) as running:
        monkeypatch.setenv("PRETRAINED_CNN_MIRROR", running.url)
        yield running


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return tmp_path / "models"


MD5 = f"md5:{hashlib.md5(BODY).hexdigest()}"
SHA256 = f"sha256:{hashlib.sha256(BODY).hexdigest()}"


@pytest.mark.parametrize("hash_", [MD5, SHA256])
def test_a_file_is_downloaded_once(server: Any, cache: Path, hash_: str) -> None:
    file = WeightsFile(f"{server.url}/net.h5", hash_)
    for _ in range(2):
        assert ensure(file, needed_by="Net") == cache / "net.h5"
    assert (cache / "net.h5").read_bytes() == BODY
    assert server.requests == ["/net.h5"]
    assert [path.name for path in cache.iterdir()] == ["net.h5"]


@pytest.mark.parametrize(
    ("name", "hash_", "reason"),
    [
        ("missing.h5", MD5, "HTTP Error 404: Not Found"),
        ("net.h5", "md5:0", f"what came is not the file: its md5 is {MD5[4:]}, not 0"),
        ("net.h5", None, "what came is not the file: it is not a complete HDF5 file"),
    ],
)
def test_a_download_that_fails_leaves_nothing(server: Any, cache: Path, name: str, hash_: Any, reason: str) -> None:
    file = WeightsFile(f"{server.url}/{name}", hash_)
    with pytest.raises(WeightsError) as caught:
        ensure(file, needed_by="Net")
    assert (
        f"Net needs the weights file {name}: it is not in {cache}, and {file.url} cannot be downloaded ({reason}"
        in str(caught.value)
    )
    assert f"Fetch it by hand to {cache / name}, or give weights=<path>, or use EfficientNetLite0" in str(caught.value)
    assert list(cache.iterdir()) == []


def test_a_broken_file_in_the_cache_is_replaced(server: Any, cache: Path) -> None:
    cache.mkdir()
    (cache / "net.h5").write_bytes(BODY[:100])
    ensure(WeightsFile(f"{server.url}/net.h5", MD5), needed_by="Net")
    assert (cache / "net.h5").read_bytes() == BODY


def test_no_network_at_all(cache: Path) -> None:
    file = WeightsFile("http://127.0.0.1:9/net.h5", MD5)
    with pytest.raises(WeightsError, match=r"cannot be downloaded \(.*refused\)"):
        ensure(file, needed_by="Net")


def test_the_cache_is_that_of_keras(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights.cache_dir() == tmp_path / ".keras" / "models"


def test_a_file_that_cannot_be_read_is_broken(tmp_path: Path) -> None:
    assert "it cannot be read (" in str(WeightsFile("http://127.0.0.1/net.h5", MD5).problem(tmp_path))


# MobileNet: files without a hash


TINY = "mobilenet_2_5_224_tf.h5"


@pytest.fixture
def mobilenet(assets: Path, server: Any) -> bytes:
    """The published file of MobileNet with alpha 0.25, which the server also has."""
    body = (assets / "keras_home" / "models" / TINY).read_bytes()
    server.files[f"/tensorflow/keras-applications/mobilenet/{TINY}"] = body
    return body


@pytest.fixture
def another(assets: Path) -> bytes:
    """A complete file, but of another network."""
    return (assets / "keras_home" / "models" / "mobilenet_2_5_224_tf_no_top.h5").read_bytes()


def put(cache: Path, body: bytes, name: str = TINY) -> Path:
    cache.mkdir(exist_ok=True)
    (cache / name).write_bytes(body)
    return cache / name


def build_tiny(**options: Any) -> Any:
    return Classifier("MobileNet", alpha=0.25, **options).keras_model


def refusal() -> str:
    with pytest.raises(WeightsError) as caught:
        build_tiny()
    message = str(caught.value)
    assert message.startswith(f"MobileNet needs the weights file {TINY}: ")
    assert "or use EfficientNetLite0, which needs no download" in message
    return message


def test_a_truncated_file_is_replaced(server: Any, cache: Path, mobilenet: bytes) -> None:
    path = put(cache, mobilenet[: len(mobilenet) // 2])
    build_tiny()
    assert path.read_bytes() == mobilenet
    assert len(server.requests) == 1
    build_tiny()
    assert len(server.requests) == 1


def test_a_truncated_file_is_refused_offline(cache: Path, mobilenet: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETRAINED_CNN_OFFLINE", "1")
    path = put(cache, mobilenet[: len(mobilenet) // 2])
    assert f"{path} is broken: it is not a complete HDF5 file (" in refusal()


@pytest.mark.filterwarnings("ignore:.*(was downloaded from|the arrays of the known copies)")
def test_a_file_of_another_network_is_replaced(server: Any, cache: Path, mobilenet: bytes, another: bytes) -> None:
    path = put(cache, another)
    build_tiny()
    assert path.read_bytes() == mobilenet
    assert len(server.requests) == 1


@pytest.mark.filterwarnings("ignore:.*(was downloaded from|the arrays of the known copies)")
def test_a_file_of_another_network_is_refused_offline(
    cache: Path, another: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRETRAINED_CNN_OFFLINE", "1")
    path = put(cache, another)
    for _ in range(2):
        assert f"{path} is broken: it does not hold weights of this network: Layer count mismatch" in refusal()


@pytest.mark.filterwarnings("ignore:.*(was downloaded from|the arrays of the known copies)")
def test_a_mirror_that_has_another_network(server: Any, cache: Path, mobilenet: bytes, another: bytes) -> None:
    address = next(address for address in server.files if address.endswith(TINY))
    server.files[address] = another
    with pytest.raises(WeightsError, match=f"{TINY} does not hold weights of this network: Layer count mismatch"):
        build_tiny()
    server.files[address] = mobilenet
    build_tiny()  # the wrong file was not taken for the right one for ever
    assert (cache / TINY).read_bytes() == mobilenet


def test_the_file_is_not_blamed_for_an_option_that_changes_the_network(
    server: Any, cache: Path, mobilenet: bytes
) -> None:
    put(cache, mobilenet)
    with pytest.raises(WeightsError, match=f"{TINY} does not hold weights of this network"):
        build_tiny(depth_multiplier=2)
    assert server.requests == []


# Images of another size


def publish(name: str, model: keras.Model, cache: Path, **changes: Any) -> ModelSpec:
    """The spec of ``name`` as if ``model``'s weights were its published ones, and in the cache already."""
    cache.mkdir(exist_ok=True)
    path = cache / f"{name}.h5"
    model.save(path)  # legacy HDF5, as the published files
    file = WeightsFile(f"http://127.0.0.1:9/{path.name}", f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}")
    return get_spec(name).replace(weights=[file], **changes)


POOLING = [
    "ResNet50V2",
    "MobileNetV3Small",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in (
            "Xception",
            "ResNet50",
            "InceptionV3",
            "InceptionResNetV2",
            "MobileNet",
            "MobileNetV2",
            "MobileNetV3Large",
            "DenseNet121",
            "NASNetMobile",
            "EfficientNetB0",
            "EfficientNetV2B0",
            "ConvNeXtTiny",
        )
    ),
]


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("name", POOLING)
def test_published_weights_at_another_size(name: str, cache: Path) -> None:
    original = getattr(keras.applications, name)(weights=None)
    spec = publish(name, original, cache)
    height, width = (299, 299) if name == "ResNet50V2" else (spec.input_size[0] + 32, spec.input_size[1] - 32)
    model = Classifier(spec, input_size=(height, width)).keras_model
    assert model.input_shape == (None, height, width, 3)
    assert model.output_shape == (None, 1000)
    for ours, theirs in zip(model.get_weights(), original.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["VGG16", pytest.param("VGG19", marks=pytest.mark.slow)])
def test_published_weights_that_fit_one_size_only(name: str, server: Any, cache: Path) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        Classifier(name, input_size=(256, 256)).predict(CLOCK)
    message = str(caught.value)
    assert message.startswith(f"input_size=(256, 256) does not fit {name}'s published weights: ")
    assert "each of the 8 x 8 pixels of the last map" in message
    assert f"and the published file {get_spec(name).parameters:,}. Leave input_size out, or " in message
    assert server.requests == [], "said before 550 MB are downloaded"


@pytest.mark.slow
def test_a_path_to_weights_that_fit_one_size_only(tmp_path: Path) -> None:
    path = tmp_path / "vgg16.h5"
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, keras.applications.VGG16(weights=None))
    with pytest.raises(WeightsError, match=r"neither with its top nor without: .*\. input_size=\(256, 256\) does not"):
        Classifier("VGG16", weights=path, input_size=(256, 256)).predict(CLOCK)
    path.unlink()  # 550 MB, which pytest would keep


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_the_file_of_a_variant_is_found_and_loaded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETRAINED_CNN_OFFLINE", "1")
    cache.mkdir()
    original = keras.applications.MobileNetV2(weights=None, alpha=0.35, input_shape=(96, 96, 3))
    original.save(cache / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96.h5")
    model = Classifier("MobileNetV2", alpha=0.35, input_size=(96, 96)).keras_model
    np.testing.assert_array_equal(model.get_weights()[0], original.get_weights()[0])


# EfficientNet v1: the graph depends on what the file is, not on how it is named


@pytest.fixture(scope="module")
def efficientnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelSpec, Path, Path]:
    """EfficientNetB0 with two published files, with and without the top, and where these are."""
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 224, 224, 3)).astype(np.float32)
    model = keras.applications.EfficientNetB0(weights=None)
    wake(model, pixels)
    trunk = keras.Model(model.inputs, model.get_layer("top_activation").output)
    folder = tmp_path_factory.mktemp("keras") / "models"
    folder.mkdir()
    files, paths = [], []
    for network, name in ((model, "b0.h5"), (trunk, "b0_notop.h5")):
        path = folder / name
        with h5py.File(path, "w") as file:  # as the published files are: weights alone, in the layout of Keras 2
            legacy_h5_format.save_weights_to_hdf5_group(file, network)
        hash_ = f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}"
        files.append(WeightsFile(f"http://127.0.0.1:9/{name}", hash_, has_head=network is model))
        paths.append(path)
    spec = get_spec("EfficientNetB0").replace(weights=files, resize=ResizePolicy("squash"))
    return spec, paths[0], paths[1]


IMAGE = np.random.default_rng(1).integers(0, 256, (224, 224, 3), dtype=np.uint8)


def of_keras(path: Path, monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> np.ndarray:
    """What Keras answers with ``weights="imagenet"``, for which it is handed the file at ``path``."""
    from keras.src.applications import efficientnet as module

    monkeypatch.setattr(module.file_utils, "get_file", lambda *_, **__: str(path))
    model = keras.applications.EfficientNetB0(weights="imagenet", **arguments)
    return np.asarray(model.predict(IMAGE[None].astype(np.float32), verbose=0))


@pytest.mark.slow
def test_efficientnet_v1_by_name_and_by_path(
    efficientnet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, path, _ = efficientnet
    expected = of_keras(path, monkeypatch)
    monkeypatch.setenv("KERAS_HOME", str(path.parent.parent))
    np.testing.assert_allclose(Classifier(spec).predict_proba([IMAGE]), expected, atol=1e-5, rtol=0)
    copy = tmp_path / "copy.h5"
    copy.write_bytes(path.read_bytes())
    np.testing.assert_allclose(Classifier(spec, weights=copy).predict_proba([IMAGE]), expected, atol=1e-5, rtol=0)
    other_graph = Classifier(spec.replace(weights=()), weights=copy).predict_proba([IMAGE])
    assert abs(other_graph - expected).max() > 1e-3, "else the test would prove nothing"


@pytest.mark.slow
def test_efficientnet_v1_without_its_top(efficientnet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, _, path = efficientnet
    expected = of_keras(path, monkeypatch, include_top=False, pooling="avg")
    np.testing.assert_allclose(Classifier(spec, weights=path).embed([IMAGE]), expected, atol=1e-4, rtol=0)
    other_graph = Classifier(spec.replace(weights=()), weights=path).embed([IMAGE])
    assert abs(other_graph - expected).max() > 1e-2, "else the test would prove nothing"


@pytest.mark.slow
def test_efficientnet_v1_by_its_function(efficientnet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spec may hold the builder itself in place of its name."""
    spec, path, _ = efficientnet
    by_function = spec.replace(builder=keras.applications.EfficientNetB0)
    layers = [len(Classifier(each, weights=path).keras_model.layers) for each in (spec, by_function)]
    assert layers[0] == layers[1]


def test_every_hash_is_the_one_that_keras_checks() -> None:
    """Our catalog against the tables in Keras's own modules, where there are some."""
    from keras.src.applications import convnext, efficientnet, efficientnet_v2, mobilenet_v3

    def hashes(name: str) -> tuple[str | None, ...]:
        return tuple(file.hash and file.hash.partition(":")[2] for file in get_spec(name).weights)

    for i in range(8):
        assert hashes(f"EfficientNetB{i}") == efficientnet.WEIGHTS_HASHES[f"b{i}"]
    for variant in ("b0", "b1", "b2", "b3", "s", "m", "l"):
        assert hashes(f"EfficientNetV2{variant.upper()}") == efficientnet_v2.WEIGHTS_HASHES[f"-{variant}"[-2:]]
    for size in ("tiny", "small", "base", "large", "xlarge"):
        name = f"ConvNeXt{'XLarge' if size == 'xlarge' else size.title()}"
        assert hashes(name) == convnext.WEIGHTS_HASHES[f"convnext_{size}"]
    for size in ("small", "large"):
        table = mobilenet_v3.WEIGHTS_HASHES
        variants = (f"{size}_224_1.0", f"{size}_224_0.75", f"{size}_minimalistic_224_1.0")
        expected = tuple(value for variant in variants for value in table[f"{variant}_float"])
        assert hashes(f"MobileNetV3{size.title()}") == expected
