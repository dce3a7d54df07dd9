"""Finding, checking and downloading weights files, against a server of our own."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pretrained_cnn import Classifier, WeightsError, get_spec, weights
from pretrained_cnn.weights import WeightsFile, ensure

BODY = b"weights " * 1000


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.requests.append(self.path)  # type: ignore[attr-defined]
        if self.path == "/missing.h5":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY[: len(BODY) // 2] if self.path == "/cut.h5" else BODY)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Any]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.requests = []  # type: ignore[attr-defined]
        running.url = f"http://127.0.0.1:{running.server_port}"  # type: ignore[attr-defined]
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


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
        ("cut.h5", MD5, "4000 of 8000 bytes came"),
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


def test_a_broken_file_that_cannot_be_replaced_is_named(cache: Path, keras_home: Path, monkeypatch: Any) -> None:
    original = (keras_home / "models" / "mobilenet_2_5_224_tf.h5").read_bytes()
    monkeypatch.setenv("KERAS_HOME", str(cache.parent))
    monkeypatch.setattr(weights, "_download", _refuse)
    cache.mkdir()
    path = cache / "mobilenet_2_5_224_tf.h5"
    path.write_bytes(original[: len(original) // 2])
    with pytest.raises(WeightsError) as caught:
        Classifier("MobileNet", alpha=0.25).predict(Path("examples/images/clock.png"))
    assert f"{path} is broken: it is not a complete HDF5 file (" in str(caught.value)
    path.write_bytes(original)
    assert ensure(get_spec("MobileNet").weights_file(options={"alpha": 0.25}), needed_by="MobileNet") == path


def _refuse(*_: object) -> None:
    raise OSError("no network")


def test_no_network_at_all(cache: Path) -> None:
    file = WeightsFile("http://127.0.0.1:9/net.h5", MD5)
    with pytest.raises(WeightsError, match=r"cannot be downloaded \(.*refused\)"):
        ensure(file, needed_by="Net")


def test_the_cache_is_that_of_keras(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights.cache_dir() == tmp_path / ".keras" / "models"


def test_every_hash_is_the_one_that_keras_checks() -> None:
    """Our catalogue against the tables in Keras's own modules, where there are some."""
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
