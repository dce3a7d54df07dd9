"""The FastAPI example, as a real server on this machine."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from paths import EXAMPLES, ROOT

from pretrained_cnn import Classifier
from pretrained_cnn.testing import RuntimeConformance

MAX_BYTES = 10 * 2**20

START = '--frontier\r\nContent-Disposition: form-data; name="image"; filename="{}"\r\n\r\n'
END = "\r\n--frontier--\r\n"
HEADERS = {"Content-Type": "multipart/form-data; boundary=frontier"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served") / "small.bundle"
    Classifier(RuntimeConformance.spec).save(path, format="openvino")
    return path


def start(bundle: Path) -> subprocess.Popen[str]:
    """Start the service on a port that the system chooses."""
    command = [sys.executable, "-m", "uvicorn", "--app-dir", ROOT / "examples", "serve_fastapi:app", "--port", "0"]
    environment = os.environ | {"BUNDLE": str(bundle)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def port_of(server: subprocess.Popen[str]) -> int:
    """Wait until it serves."""
    assert server.stderr is not None
    seen = []
    for line in server.stderr:
        seen.append(line)
        if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
            return int(found[1])
    raise AssertionError("".join(seen))


@pytest.fixture(scope="module")
def port(bundle: Path) -> Iterator[int]:
    with start(bundle) as server:
        try:
            yield port_of(server)
        finally:
            server.kill()


@contextlib.contextmanager
def connection(port: int) -> Iterator[http.client.HTTPConnection]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connected:
        yield connected


def classify(port: int, data: bytes, name: str = "photo.png", query: str = "") -> tuple[int, Any]:
    """Post a file as a browser's form does: status and answer."""
    with connection(port) as connected:
        connected.request("POST", f"/classify{query}", START.format(name).encode() + data + END.encode(), HEADERS)
        response = connected.getresponse()
        return response.status, json.load(response)


def test_health(port: int) -> None:
    with connection(port) as connected:
        connected.request("GET", "/health")
        assert json.load(connected.getresponse()) == {"status": "ok", "model": "Conformance", "classes": 7}


def test_images_get_the_answers_of_the_classifier(port: int, bundle: Path) -> None:
    """One after the other, and then 48 of them from eight clients at once."""
    images = sorted(EXAMPLES.glob("*.png"))
    clf = Classifier.load(bundle)
    expected = [(200, {**clf.predict(image).to_dict(), "source": image.name}) for image in images]
    assert len({str(answer["predictions"]) for _, answer in expected}) == len(images) == 6
    assert [classify(port, image.read_bytes(), image.name) for image in images] == expected
    with ThreadPoolExecutor(8) as clients:
        answers = clients.map(lambda image: classify(port, image.read_bytes(), image.name), images * 8)
        assert list(answers) == expected * 8


def test_top(port: int, clock: Path) -> None:
    status, answer = classify(port, clock.read_bytes(), query="?top=2")
    assert (status, len(answer["predictions"])) == (200, 2)
    status, answer = classify(port, clock.read_bytes(), query="?top=0")
    assert (status, answer["detail"][0]["msg"]) == (422, "Input should be greater than or equal to 1")


def test_what_is_no_image_is_refused_with_the_reason(port: int, clock: Path) -> None:
    reason = "this is not an image in a format that can be read; it begins with b'hello'"
    assert classify(port, b"hello") == (422, {"detail": reason})
    assert classify(port, clock.read_bytes()[:9000]) == (
        422,
        {"detail": "it cannot be decoded: image file is truncated"},
    )
    bomb = b"P5 10000 9000 255 "
    assert classify(port, bomb) == (
        422,
        {"detail": "10000 x 9000 pixels are more than 50,000,000 (ImagePolicy.max_pixels)"},
    )


def test_what_is_too_large_is_refused_before_it_is_read(port: int) -> None:
    with connection(port) as connected:  # says how much will come, and sends none of it
        connected.putrequest("POST", "/classify")
        connected.putheader("Content-Length", str(MAX_BYTES + 1))
        connected.putheader("Content-Type", HEADERS["Content-Type"])
        connected.endheaders()
        assert connected.getresponse().status == 413
    with connection(port) as connected:  # does not say, and sends a byte too much
        connected.putrequest("POST", "/classify")
        connected.putheader("Transfer-Encoding", "chunked")
        connected.putheader("Content-Type", HEADERS["Content-Type"])
        connected.endheaders()
        data = START.format("a.png").encode().ljust(MAX_BYTES + 1)
        connected.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        assert connected.getresponse().status == 413


def test_it_ends_when_told_to(bundle: Path) -> None:
    with start(bundle) as server:
        try:
            port = port_of(server)
            assert server.stderr is not None
            server.send_signal(signal.SIGTERM)
            assert "Application shutdown complete" in server.stderr.read()
            server.wait(timeout=30)
        finally:
            server.kill()
    with connection(port) as connected, pytest.raises(ConnectionRefusedError):
        connected.request("GET", "/health")


def test_a_bundle_that_is_not_there_is_said_at_the_start(tmp_path: Path) -> None:
    with start(tmp_path / "no.bundle") as server:
        _, log = server.communicate(timeout=60)
    assert server.returncode != 0
    assert f"BundleError: {tmp_path / 'no.bundle'} does not exist" in log
