"""``pretrained-cnn serve`` among killed workers, slow clients and broken uploads, and its page in a real Chromium."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from paths import EXAMPLES
from serving import FORM, Service, form
from test_report import LABELS, small_network
from warned import messages

from pretrained_cnn import Classifier
from pretrained_cnn.testing import RuntimeConformance

pytestmark = pytest.mark.slow

CLOCK = EXAMPLES / "clock.png"
KEY = "a-key"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served") / "small.bundle"
    Classifier(RuntimeConformance.spec).save(path, format="openvino")
    return path


def test_a_killed_worker_starts_again_and_what_it_counted_stays(bundle: Path) -> None:
    with Service(bundle, "--workers", "2") as service:
        answered = 'requests_total{path="/predict",status="200"}'
        supervisor = psutil.Process(service.process.pid)

        def workers() -> list[psutil.Process]:
            return [each for each in supervisor.children() if "spawn_main" in " ".join(each.cmdline())]

        data = CLOCK.read_bytes()
        (answer,) = {json.dumps(service.post("/predict", data)) for _ in range(20)}
        assert json.loads(answer)[0] == 200
        assert (service.metric(answered), service.metric("workers_ready"), len(workers())) == (20, 2, 2)
        for number, killed in enumerate(workers(), 1):  # each in turn: whichever answers knows what both counted
            killed.kill()
            until = time.monotonic() + 60
            while (
                sum("it starts again" in line for line in service.lines) < number or service.metric("workers_ready") < 2
            ):
                assert time.monotonic() < until
                time.sleep(0.1)
            assert service.post("/predict", data)[0] == 200
        assert service.metric(answered) == 22
        both = workers()
        assert service.end() == 0
        assert not any(each.is_running() for each in both)


def test_workers_end_with_a_supervisor_that_is_killed(bundle: Path) -> None:
    service = Service(bundle, "--workers", "2")
    children = psutil.Process(service.process.pid).children()
    service.process.kill()
    service.process.wait()
    assert psutil.wait_procs(children, timeout=30)[1] == []
    service.end()


def test_a_worker_that_cannot_start_ends_the_service(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as caught:
        Service(tmp_path / "no.bundle", "--workers", "2")
    assert "pretrained-cnn: a worker ended before it was ready, with status 1" in str(caught.value)
    assert f"{tmp_path / 'no.bundle'} does not exist" in str(caught.value)


def test_slow_clients_and_broken_uploads_beside_good_ones(bundle: Path) -> None:
    """Forty clients send a byte and wait, a thousand uploads are broken in one of six ways, and 200 images are good."""
    data = CLOCK.read_bytes()
    broken = [
        (data[:5000], {}),
        (b"hello", {}),
        (b"P5 100000 90000 255 ", {}),
        (form(("a.png", data))[:-40], FORM),
        (b'{"image": "', {"Content-Type": "application/json"}),
        (b"", {"Content-Type": "multipart/form-data; boundary=none"}),
    ]

    with Service(bundle, "--timeout", "5") as service, contextlib.ExitStack() as held:
        expected = service.post("/predict", data)[1]["predictions"][0]["label"]
        memory = psutil.Process(service.process.pid).memory_info().rss
        for number in range(40):  # half of them do not even send a whole head
            slow = held.enter_context(socket.create_connection(("127.0.0.1", service.port)))
            head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n" + b"\r\nx" * (number % 2)
            slow.sendall(head)

        def send(number: int) -> tuple[int, float]:
            start = time.monotonic()
            if number % 6:
                status, _ = service.post("/predict", *broken[number % len(broken)])
                return status, 0.0
            status, answer = service.post("/predict", data)
            assert (status, answer["predictions"][0]["label"]) == (200, expected)
            return status, time.monotonic() - start

        with ThreadPoolExecutor(8) as clients:
            found = list(clients.map(send, range(1200)))
        statuses = [status for status, _ in found]
        assert (statuses.count(200), set(statuses)) == (200, {200, 400, 422})
        assert max(seconds for _, seconds in found) < 4
        time.sleep(max(0.0, 6 - sum(seconds for _, seconds in found) / 8))
        assert service.post("/predict", data)[0] == 200
        until = time.monotonic() + 15
        while len(psutil.Process(service.process.pid).net_connections()) > 2:  # the port, and one that is kept alive
            assert time.monotonic() < until
            time.sleep(0.2)
        assert service.metric('requests_total{path="/predict",status="408"}') == 20
        assert service.metric("images_waiting") == 0
        assert psutil.Process(service.process.pid).memory_info().rss < memory + 150e6
        assert service.end() == 0


def test_two_workers_end_while_clients_come(bundle: Path) -> None:
    """Connections that wait to be accepted are answered; one may come between the last look and the end."""
    data = CLOCK.read_bytes()
    with Service(bundle, "--workers", "2") as service:

        def send_until_refused(_: int) -> bool:
            while True:
                try:
                    assert service.post("/predict", data)[0] == 200
                except (ConnectionRefusedError, ConnectionResetError) as error:
                    return isinstance(error, ConnectionRefusedError)

        with ThreadPoolExecutor(24) as clients:
            refused = [clients.submit(send_until_refused, number) for number in range(24)]
            time.sleep(1)  # all of them are sending
            assert service.end() == 0
            assert sum(each.result() for each in refused) > 12


# The page


@pytest.fixture(scope="module")
def small() -> Classifier:
    """A classifier with heat maps, labels of somebody who wishes us ill, and one image that is not unknown."""
    clf = Classifier.from_keras(small_network(), labels=LABELS)
    best = clf.predict(CLOCK).top.id
    with messages():  # that a class has no images, which is said once a process, and this fixture may be made twice
        return clf.calibrate([(CLOCK, best)] * 20)


@pytest.fixture(scope="module")
def service(small: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    path = tmp_path_factory.mktemp("page") / "small.bundle"
    small.save(path)
    with Service(path, environment=os.environ | {"PRETRAINED_CNN_API_KEY": KEY}) as running:
        yield running


@pytest.fixture
def page(chromium: Any, service: Service) -> Iterator[Any]:
    """The page of the service, which knows the key. It fails where something happens that may not."""
    context = chromium.new_context(viewport={"width": 400, "height": 800}, permissions=["camera"])
    page, found = context.new_page(), []
    page.set_default_timeout(20_000)
    # Chromium itself reports each answer that is an error.
    page.on("console", lambda message: "status of 4" in message.text or found.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: found.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (found.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    origin = f"http://127.0.0.1:{service.port}/"
    page.on("request", lambda sent: sent.url.startswith((origin, "blob:", "data:")) or found.append(sent.url))
    page.goto(origin)
    page.set_input_files("#file", CLOCK)
    page.fill("#key", "wrong")
    page.click("#key-form button")
    page.wait_for_selector("#message.failed >> text=send the key of this service")
    page.fill("#key", KEY)
    page.click("#key-form button")
    page.wait_for_selector("#classes li")
    yield page
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()
    assert found == []


def labels(page: Any) -> list[str]:
    return [each.text_content() for each in page.query_selector_all("#classes li span:first-child")]


def best(small: Classifier, path: Path) -> list[str]:
    return [label for _, label, _ in small.predict(path)]


def test_the_page_shows_classes_bars_and_a_heat_map(page: Any, small: Classifier) -> None:
    assert labels(page) == best(small, CLOCK)
    scores = [meter.evaluate("meter => meter.value") for meter in page.query_selector_all("#classes meter")]
    assert scores == pytest.approx([score for _, _, score in small.predict(CLOCK)], abs=1e-4)
    assert page.is_hidden("#message")
    page.click("#heat-map")
    wait_until(page, "document.getElementById('heat').naturalWidth > 0")
    assert page.get_attribute("#heat-map", "aria-pressed") == "true"
    assert page.is_hidden("#image")
    page.click("#heat-map")
    assert page.is_visible("#image")


def wait_until(page: Any, expression: str) -> None:
    """The page's policy forbids the eval that Playwright's own function takes."""
    until = time.monotonic() + 20
    while not page.evaluate(expression):
        assert time.monotonic() < until, expression
        page.wait_for_timeout(50)


GIVE = """([kind, name, base64]) => {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type: "image/png" }));
  const event = kind === "paste" ? new ClipboardEvent(kind, { clipboardData: data, bubbles: true })
    : new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
  document.getElementById("drop").dispatchEvent(event);
}"""


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_an_image_is_dropped_or_pasted_and_may_be_unknown(
    page: Any, small: Classifier, kind: str, tmp_path: Path
) -> None:
    from PIL import Image

    white = tmp_path / "white.png"
    Image.fromarray(np.full((48, 32, 3), 255, np.uint8)).save(white)
    assert small.predict(white).status == "unknown"
    page.evaluate(GIVE, [kind, "white.png", base64.b64encode(white.read_bytes()).decode()])
    page.wait_for_selector("#message.unknown >> text=Unknown: this image is probably of none of the classes.")
    assert labels(page) == best(small, white)


def test_a_photo_is_taken(page: Any) -> None:
    page.click("#photograph")
    wait_until(page, "document.getElementById('video').videoWidth > 0")
    page.click("#shoot")
    wait_until(page, "document.getElementById('image').naturalWidth === document.getElementById('video').videoWidth")
    page.wait_for_selector("#classes li")
    assert page.is_hidden("#camera")


def test_a_bad_file_is_explained_and_the_next_one_is_taken(page: Any, small: Classifier, tmp_path: Path) -> None:
    bad = tmp_path / "note.png"
    bad.write_text("hello")
    page.set_input_files("#file", bad)
    page.wait_for_selector("#message.failed >> text=this is not an image in a format that can be read")
    assert labels(page) == []
    page.set_input_files("#file", CLOCK)
    page.wait_for_selector("#classes li")
    assert labels(page) == best(small, CLOCK)


def test_a_terminal_ends_all_workers(bundle: Path) -> None:
    """Ctrl-C reaches every process of the terminal at once."""
    service = Service(bundle, "--workers", "2")
    children = psutil.Process(service.process.pid).children()
    for each in (service.process.pid, *(child.pid for child in children)):
        os.kill(each, signal.SIGINT)
    assert service.process.wait(timeout=30) == 130
    assert psutil.wait_procs(children, timeout=10)[1] == []
    service.end()
