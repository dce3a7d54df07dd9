"""``pretrained-cnn serve``: as a real server on this machine, and its parts alone."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from paths import EXAMPLES
from servers import Handler, serve
from serving import FORM, JSON, Service, form

from pretrained_cnn import Classifier, _http, _settings
from pretrained_cnn.cli.serve import COMMAND
from pretrained_cnn.errors import InvalidArgumentError
from pretrained_cnn.images import fetch
from pretrained_cnn.serve.app import create_app
from pretrained_cnn.serve.batching import Batcher
from pretrained_cnn.serve.metrics import Metrics
from pretrained_cnn.serve.settings import Settings
from pretrained_cnn.testing import RuntimeConformance

IMAGES = sorted(EXAMPLES.glob("*.png"))
MAX_BODY = 2**20


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served") / "small.bundle"
    Classifier(RuntimeConformance.spec).save(path, format="openvino", output=["scores", "embedding"])
    return path


@pytest.fixture(scope="module")
def clf(bundle: Path) -> Classifier:
    return Classifier.load(bundle)


@pytest.fixture(scope="module")
def service(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """In a process that has neither TensorFlow nor Keras."""
    hidden = tmp_path_factory.mktemp("hidden")
    for name in ("tensorflow", "keras"):
        (hidden / f"{name}.py").write_text("raise ImportError('it is not here')")
    path = os.pathsep.join([str(hidden), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path}
    with Service(bundle, "--max-body", str(MAX_BODY), "--max-images", "8", environment=environment) as running:
        yield running


def expected(clf: Classifier, path: Path, name: str | None = None) -> dict[str, Any]:
    return {**clf.predict(path).to_dict(), "source": name or path.name}


def rounded(answer: tuple[int, Any]) -> tuple[int, Any]:
    """With scores to five digits: in a batch of another size they differ by about 1e-7."""
    status, row = answer
    best = [{**each, "score": round(each["score"], 5)} for each in row["predictions"]]
    return status, {**row, "predictions": best}


# The real server


def test_images_get_the_answers_of_the_classifier(service: Service, clf: Classifier) -> None:
    """In each form, and 48 of them from eight clients at once."""
    answers = [(200, expected(clf, path)) for path in IMAGES]
    assert len({str(answer["predictions"]) for _, answer in answers}) == len(IMAGES) == 6
    assert [service.post("/predict", form((path.name, path.read_bytes())), FORM) for path in IMAGES] == answers
    clock = IMAGES[0].read_bytes()
    packed = base64.b64encode(clock).decode()
    for body, headers in (
        (clock, {"Content-Type": "image/png"}),
        (clock, {}),
        (json.dumps({"image": packed}).encode(), JSON),
        (json.dumps({"image": f"data:image/png;base64,{packed}"}).encode(), JSON),
    ):
        assert service.post("/predict", body, headers) == (200, expected(clf, IMAGES[0], "image"))
    with ThreadPoolExecutor(8) as clients:
        found = clients.map(
            lambda path: service.post("/predict", form((path.name, path.read_bytes())), FORM), IMAGES * 8
        )
        assert list(map(rounded, found)) == list(map(rounded, answers * 8))


def test_a_batch_keeps_its_order_and_has_an_error_a_row(service: Service, clf: Classifier) -> None:
    files = [("note.txt", b"hello"), *((path.name, path.read_bytes()) for path in IMAGES)]
    status, rows = service.post("/predict/batch?top=2", form(*files), FORM)
    assert (status, [row["source"] for row in rows]) == (200, [name for name, _ in files])
    assert (rows[0]["status"], rows[0]["predictions"]) == ("failed", [])
    assert rows[0]["error"].startswith("note.txt: this is not an image")
    best = [[each.label for each in clf.predict(path, top=2)] for path in IMAGES]
    assert [[each["label"] for each in row["predictions"]] for row in rows[1:]] == best
    body = {"images": [base64.b64encode(IMAGES[0].read_bytes()).decode(), {"image": "aGVsbG8=", "name": "b"}]}
    _, rows = service.post("/predict/batch", json.dumps(body).encode(), JSON)
    assert [row["status"] for row in rows] == ["ok", "failed"]


def test_embed_and_min_score(service: Service, clf: Classifier, clock: Path) -> None:
    status, answer = service.post("/embed", clock.read_bytes())
    assert (status, answer["embedding"]) == (200, pytest.approx(clf.embed([clock])[0].tolist(), abs=1e-6))
    assert service.post("/predict?min_score=1", clock.read_bytes())[1]["status"] == "uncertain"


def test_what_a_client_sends_never_names_a_file_or_an_address_here(service: Service, clock: Path) -> None:
    for text in (str(clock), f"file://{clock}", "http://127.0.0.1/", "http://169.254.169.254/latest"):
        for body, headers in (
            (text.encode(), {}),
            (form((text, text.encode())), FORM),
            (json.dumps({"image": base64.b64encode(text.encode()).decode()}).encode(), JSON),
        ):
            status, answer = service.post("/predict", body, headers)
            assert (status, "this is not an image in a format" in answer["detail"]) == (422, True), answer


REFUSED = [
    ("/predict", b"hello", {}, 422, "it begins with b'hello'"),
    ("/predict", b"", {}, 422, "it is empty"),
    ("/predict", b"P5 10000 9000 255 ", {}, 422, "10000 x 9000 pixels are more than 50,000,000"),
    ("/predict?top=0", b"hello", {}, 422, "top: Input should be greater than or equal to 1"),
    ("/predict?min_score=2", b"hello", {}, 422, "min_score: "),
    ("/predict", form(), FORM, 422, "the request holds no image"),
    ("/predict", form(("a", b"1"), ("b", b"2")), FORM, 413, "the request holds 2 images; 1 at most are taken"),
    ("/predict/batch", form(*[("a", b"1")] * 9), FORM, 413, "the request holds 9 images; 8 at most are taken"),
    ("/predict", b"nonsense", FORM, 400, "the form cannot be read"),
    ("/predict", b"x", {"Content-Type": "multipart/form-data"}, 400, "Missing boundary"),
    ("/predict", form(("a", b"1")).replace(b'; filename="a"', b""), FORM, 422, "'image' is not a part of the body"),
    ("/predict", b"{", JSON, 400, "the body is not JSON"),
    ("/predict", b"[" * 100_000, JSON, 400, "the body is not JSON"),
    ("/predict", b"[]", JSON, 422, 'the JSON is not an object such as {"image": "<base64>"}'),
    ("/predict", b"{}", JSON, 422, "an image is base64 text"),
    ("/predict", b'{"image": "@@@"}', JSON, 422, "the image is not base64"),
    ("/predict", b'{"image": 1}', JSON, 422, "are texts"),
    ("/predict", b'{"image": "", "top": 3}', JSON, 422, "'top' is not a part of the body; settings go into the"),
    ("/predict", b'{"url": "http://127.0.0.1/"}', JSON, 403, "this service opens no addresses"),
    ("/predict", b"hello", {"Content-Type": "text/plain"}, 415, "a body of type 'text/plain' is not read; send"),
    ("/explain", b"hello", {}, 501, "heat maps need the network in Keras"),
    ("/nowhere", b"hello", {}, 404, "POST /nowhere is not answered here; /openapi.json lists what is"),
]


@pytest.mark.parametrize(("path", "body", "headers", "status", "sentence"), REFUSED)
def test_what_is_refused(
    service: Service, path: str, body: bytes, headers: dict[str, str], status: int, sentence: str
) -> None:
    found, answer = service.post(path, body, headers)
    assert (found, sentence in answer["detail"]) == (status, True), answer


def test_what_is_too_large_is_refused(service: Service) -> None:
    with service.connection() as connected:  # says how much will come, and sends none of it
        connected.putrequest("POST", "/predict")
        connected.putheader("Content-Length", str(MAX_BODY + 1))
        connected.endheaders()
        assert connected.getresponse().status == 413
    with service.connection() as connected:  # does not say
        connected.request("POST", "/predict", iter([b"x" * (MAX_BODY + 1)]), {}, encode_chunked=True)
        assert connected.getresponse().status == 413
    detail = {"detail": f"the request has more than {MAX_BODY:,} bytes"}
    assert service.post("/predict", bytes(10 * MAX_BODY)) == (413, detail)  # all of it comes, and the answer arrives


def test_probes_metrics_and_log(service: Service, clock: Path) -> None:
    status, text = service.get("/health")
    facts = {"status": "ok", "model": "Conformance", "classes": 7, "calibrated": False, "heat_maps": False}
    assert (status, json.loads(text) | facts) == (200, json.loads(text))
    assert service.get("/ready") == (200, '{"status":"ready"}')
    series = 'requests_total{path="/predict",status="422"}', 'images_total{status="failed"}'
    before = [service.metric(each) for each in series]
    with service.connection() as connected:
        connected.request("POST", "/predict?top=1", b"hello", {"X-Request-ID": "mine-1"})
        assert connected.getresponse().headers["X-Request-ID"] == "mine-1"
    assert [service.metric(each) for each in series] == [number + 1 for number in before]
    assert service.metric("images_waiting") == 0
    (line,) = [each for each in service.logged() if each["id"] == "mine-1"]
    assert line.keys() == {"time", "id", "client", "method", "path", "status", "ms", "images"}
    assert (line["path"], line["status"], line["images"]) == ("/predict", 422, 1)  # the query is not in it


def test_an_answer_is_not_held_back(service: Service) -> None:
    """Without TCP_NODELAY each answer over a connection that is kept takes 40 ms."""
    seconds = []
    with service.connection() as connected:
        for _ in range(12):
            start = time.perf_counter()
            connected.request("GET", "/health")
            connected.getresponse().read()
            seconds.append(time.perf_counter() - start)
    assert min(seconds[2:]) < 0.03


def test_the_page_forbids_itself_what_it_does_not_need(service: Service) -> None:
    with service.connection() as connected:
        connected.request("GET", "/")
        response = connected.getresponse()
        policy = response.headers["Content-Security-Policy"]
        assert (response.status, b"<title>Conformance</title>" in response.read()) == (200, True)
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


def test_the_examples_of_the_api_are_answered(service: Service) -> None:
    paths = json.loads(service.get("/openapi.json")[1])["paths"]
    assert {"/predict", "/predict/batch", "/embed", "/explain", "/health", "/ready", "/metrics"} <= paths.keys()
    for path in ("/predict", "/predict/batch", "/embed"):
        operation = paths[path]["post"]
        assert {"200", "413", "422", "503"} <= operation["responses"].keys()
        example = operation["requestBody"]["content"]["application/json"]["examples"]["base64"]["value"]
        status, answer = service.post(path, json.dumps(example).encode(), JSON)
        shown = operation["responses"]["200"]["content"]["application/json"]["example"]
        assert status == 200
        assert type(answer) is type(shown)
        first, shown = (answer[0], shown[0]) if isinstance(answer, list) else (answer, shown)
        assert first.keys() >= shown.keys()  # FastAPI leaves out what is null


def test_it_answers_what_it_took_before_it_ends(bundle: Path, clf: Classifier, clock: Path) -> None:
    with Service(bundle) as service, service.connection() as connected, service.connection() as idle:
        idle.connect()
        data = clock.read_bytes()
        connected.putrequest("POST", "/predict")
        connected.putheader("Content-Length", str(len(data)))
        connected.endheaders(data[:100])
        service.get("/health")  # so that the request above was seen
        service.process.terminate()
        while is_open(service.port):
            time.sleep(0.02)
        idle.request("POST", "/predict", data)  # sent before the client can know that the service ends
        response = idle.getresponse()
        assert (response.status, response.headers["Connection"]) == (200, "close")
        response.read()
        time.sleep(0.5)  # longer than a server waits that does not wait
        connected.send(data[100:])
        response = connected.getresponse()
        assert (response.status, json.load(response)) == (200, expected(clf, clock, "image"))
        assert service.process.wait(timeout=30) == 0


def test_what_keeps_it_from_starting_is_one_sentence(bundle: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "pretrained_cnn", "serve"]
        done = subprocess.run([*command, bundle, "--port", port], capture_output=True, text=True, timeout=60)
    said = f"pretrained-cnn: 127.0.0.1, port {port}, cannot be listened on: Address already in use; choose another\n"
    assert (done.returncode, done.stderr) == (2, said)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# The application alone

Answer = tuple[int, dict[str, str], bytes]


class App:
    """The application in this process, called as a server calls it."""

    def __init__(self, clf: Classifier, **settings: Any) -> None:
        self.metrics = Metrics(1)
        self.app = create_app(clf, Settings(**settings), self.metrics)

    async def post(self, path: str, *chunks: bytes, pause: float = 0, **headers: str) -> Answer:
        waiting = list(chunks)
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            if len(waiting) < len(chunks):
                await asyncio.sleep(pause)
            return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET" if path in ("/", "/ready", "/health", "/metrics") else "POST"}
        scope |= {"path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http"}
        pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        await self.app({**scope, "headers": pairs, "http_version": "1.1", "state": {}}, receive, send)
        found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], found, b"".join(each.get("body", b"") for each in sent[1:])


def test_the_key_is_asked_for(clf: Classifier, clock: Path) -> None:
    async def check() -> None:
        app = App(clf, api_key="secret")
        for given in ("", "Bearer", "Bearer secre", "Bearer secret2", "secret", "Basic secret", "Bearer \xe9"):
            status, headers, body = await app.post("/predict", clock.read_bytes(), authorization=given)
            assert (status, headers["www-authenticate"]) == (401, "Bearer"), given
            assert b"secret" not in body
        assert (await app.post("/metrics", b""))[0] == 401
        assert (await app.post("/nowhere", b""))[0] == 401
        for path in ("/health", "/ready"):
            assert (await app.post(path, b""))[0] == 200
        assert (await app.post("/predict", clock.read_bytes(), authorization="Bearer secret"))[0] == 200

    asyncio.run(check())


def test_a_heat_map_of_several_labels_asks_for_one(clock: Path) -> None:
    clf = Classifier(RuntimeConformance.spec.replace(multi_label=True))
    status, _, body = asyncio.run(App(clf).post("/explain", clock.read_bytes()))
    assert (status, b"target=" in body) == (422, True), body


def test_a_key_that_cannot_be_sent_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETRAINED_CNN_API_KEY", "two words")
    with pytest.raises(InvalidArgumentError, match="PRETRAINED_CNN_API_KEY has blanks or other") as caught:
        _settings.check()
    assert "two words" not in str(caught.value)


@pytest.fixture
def slow_decoder(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Decoding waits for the event."""
    from pretrained_cnn.serve import model

    real, go = model.load, threading.Event()

    def load(*arguments: Any) -> Any:
        assert go.wait(30)
        return real(*arguments)

    monkeypatch.setattr(model, "load", load)
    yield go
    go.set()


def test_a_full_service_says_when_to_come_again(clf: Classifier, clock: Path, slow_decoder: threading.Event) -> None:
    async def check() -> None:
        app, data = App(clf, max_waiting=2), clock.read_bytes()
        taken = [asyncio.create_task(app.post("/predict", data)) for _ in range(2)]
        await asyncio.sleep(0.05)
        status, headers, body = await app.post("/predict", data)
        assert (status, body) == (503, b'{"detail":"too many images wait; try again later"}')
        assert 1 <= int(headers["retry-after"]) <= 60
        assert (await app.post("/ready", b""))[0] == 503
        assert (await app.post("/health", b""))[0] == 200
        assert "images_waiting 2" in app.metrics.text()
        slow_decoder.set()
        assert [status for status, _, _ in await asyncio.gather(*taken)] == [200, 200]
        assert (await app.post("/ready", b""))[0] == 200

    asyncio.run(check())


def test_time_and_memory_are_limited(clf: Classifier, clock: Path, slow_decoder: threading.Event) -> None:
    async def check() -> None:
        data = clock.read_bytes()
        app = App(clf, timeout=0.1)
        status, _, body = await app.post("/predict", data[:100], data[100:], pause=1)
        assert (status, body) == (408, b'{"detail":"the request did not arrive within 0.1 seconds"}')
        status, headers, _ = await app.post("/predict", data)
        assert (status, "retry-after" in headers) == (503, True)
        slow_decoder.set()
        assert (await app.post("/predict", data))[0] == 200
        app = App(clf, timeout=2, max_body=1000)  # 8,000 bytes of all bodies together
        slow = [asyncio.create_task(app.post("/predict", b"x" * 900, b"y", pause=0.3)) for _ in range(9)]
        await asyncio.sleep(0.05)
        assert [task.result()[0] for task in slow if task.done()] == [503]
        assert [(await task)[0] for task in slow] == [422] * 8 + [503]
        assert (await app.post("/predict", b"x" * 900))[0] == 422

    asyncio.run(check())


def by_url(app: App, url: str) -> tuple[int, str]:
    async def ask() -> Answer:
        return await app.post("/predict", json.dumps({"url": url}).encode(), content_type="application/json")

    status, _, body = asyncio.run(ask())
    return status, str(json.loads(body).get("detail"))


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://127.0.0.1:1/a.png", "127.0.0.1 is at 127.0.0.1, which is not a public address"),
        ("http://localhost/a.png", "which is not a public address"),
        ("http://[::1]/a.png", "which is not a public address"),
        ("http://2130706433/a.png", "which is not a public address"),
        ("http://169.254.169.254/latest/meta-data", "which is not a public address"),
        ("http://rebound.example/a.png", "rebound.example is at 10.1.2.3, which is not a public address"),
        ("file:///etc/hostname", "is not an http or https address"),
        ("s3://bucket/a.png", "is not an http or https address"),
        ("data:image/png;base64,aGVsbG8=", "is not an http or https address"),
        ("/etc/hostname", "is not an http or https address"),
    ],
)
def test_addresses_that_are_not_public_are_never_opened(
    clf: Classifier, monkeypatch: pytest.MonkeyPatch, url: str, sentence: str
) -> None:
    real = socket.getaddrinfo

    def resolve(host: str, *more: Any, **keywords: Any) -> Any:
        return real("10.1.2.3" if host == "rebound.example" else host, *more, **keywords)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    status, detail = by_url(App(clf, allow_urls=True), url)
    assert (status, sentence in detail) == (422, True), detail


def test_an_address_is_checked_after_each_redirect(
    clf: Classifier, clock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if 127.0.0.1 were a public address, and 127.0.0.2 were not."""

    class Site(Handler):
        def get(self) -> None:
            if self.path == "/moved.png":
                self.send(b"", 302, Location=f"http://127.0.0.2:{self.server.server_port}/clock.png")  # type: ignore[attr-defined]
            elif self.path == "/file.png":
                self.send(b"", 302, Location="file:///etc/hostname")
            else:
                self.send(clock.read_bytes())

    monkeypatch.setattr(_http, "is_public", lambda address: str(address) == "127.0.0.1")
    app = App(clf, allow_urls=True)
    with serve(Site) as site:
        assert by_url(app, f"{site.url}/clock.png")[0] == 200
        status, detail = by_url(app, f"{site.url}/moved.png")
        assert (status, "127.0.0.2 is at 127.0.0.2, which is not a public address" in detail) == (422, True)
        status, detail = by_url(app, f"{site.url}/file.png")
        assert (status, "is not allowed" in detail) == (422, True)
    assert fetch.connect_public is _http.connect_public


# Batching


def run_batches(
    run: Callable[[Sequence[int]], Sequence[int]], things: Sequence[int], size: int, cancel: Sequence[int] = ()
) -> list[Any]:
    """The answers, or errors, for things that come while the first one is in the network."""
    started, go = threading.Event(), threading.Event()

    def held(batch: Sequence[int]) -> Sequence[int]:
        started.set()
        assert go.wait(30)
        return run(batch)

    batcher = Batcher(held, size, lanes=1)
    answers: list[Future[int]] = [Future() for _ in things]
    first = threading.Thread(target=batcher.put, args=(things[0], answers[0]))
    first.start()
    assert started.wait(30)
    for thing, answer in zip(things[1:], answers[1:], strict=True):
        batcher.put(thing, answer)  # returns at once: the lane is busy
    for place in cancel:
        answers[place].cancel()
    go.set()
    first.join(30)
    return [None if each.cancelled() else each.exception(1) or each.result(1) for each in answers]


def test_what_comes_while_the_network_is_busy_goes_together() -> None:
    batches = []

    def run(things: Sequence[int]) -> list[int]:
        batches.append(list(things))
        return [-thing for thing in things]

    assert run_batches(run, range(10), size=4, cancel=[6]) == [0, -1, -2, -3, -4, -5, None, -7, -8, -9]
    assert batches == [[0], [1, 2, 3, 4], [5, 7, 8, 9]]  # an image that no client waits for is not run


def test_lanes_share_what_waits() -> None:
    both, go, batches = threading.Barrier(3), threading.Event(), []

    def run(things: Sequence[int]) -> list[int]:
        batches.append(len(things))
        if not go.is_set():
            both.wait(30)
            assert go.wait(30)
        return list(things)

    batcher = Batcher(run, size=16, lanes=2)
    answers: list[Future[int]] = [Future() for _ in range(10)]
    busy = [threading.Thread(target=batcher.put, args=(number, answers[number])) for number in range(2)]
    for thread in busy:
        thread.start()
    both.wait(30)
    for number in range(2, 10):
        batcher.put(number, answers[number])
    go.set()
    assert [answer.result(30) for answer in answers] == list(range(10))
    assert batches[:3] == [1, 1, 4]
    for thread in busy:
        thread.join(30)


def test_an_image_that_breaks_the_network_breaks_no_other() -> None:
    def run(things: Sequence[int]) -> list[int]:
        if 2 in things:
            raise ValueError("two")
        return list(things)

    found = run_batches(run, range(4), size=4)
    assert [str(each) for each in found] == ["0", "1", "two", "3"]


def test_nothing_of_a_service_is_imported_before_it_is_asked_for() -> None:
    program = (
        "import sys, pretrained_cnn, pretrained_cnn.cli\n"
        "try: pretrained_cnn.cli.main(['serve', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'fastapi', 'starlette', 'uvicorn', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, env=dict(os.environ))
    assert done.returncode == 0


# The files for containers

CONTAINERS = EXAMPLES.parent / "serve"


def dockerfile() -> dict[str, str]:
    """The instructions of the Dockerfile, those of one name joined; a line that ends in a backslash continues."""
    found: dict[str, str] = {}
    for line in (CONTAINERS / "Dockerfile").read_text().replace("\\\n", " ").splitlines():
        if line and not line.startswith("#"):
            name, _, rest = line.partition(" ")
            found[name] = f"{found[name]} {rest}" if name in found else rest
    return found


def test_the_image_is_lean_and_runs_as_nobody(service: Service) -> None:
    image = dockerfile()
    installed = set(image["RUN"].split()) - {"pip", "install", "--no-cache-dir", "--no-deps", "pretrained-cnn"}
    served = {"fastapi", "uvicorn", "python-multipart"}
    assert installed == {"numpy", "pillow", "typing-extensions", "filelock", "openvino"} | served
    assert image["USER"] == "65532:65532"
    program, command, *arguments = json.loads(image["ENTRYPOINT"])
    options = COMMAND.parse(arguments)
    assert (program, command, options.host, str(options.port)) == (
        "pretrained-cnn",
        "serve",
        "0.0.0.0",
        image["EXPOSE"],
    )
    assert image["COPY"].split()[1] == options.model
    probe = json.loads(image["HEALTHCHECK"].partition("CMD ")[2])
    code = probe[-1].replace(f":{options.port}/", f":{service.port}/")
    assert code != probe[-1]
    for status, tried in ((0, code), (1, code.replace("/health", "/nowhere"))):
        done = subprocess.run([sys.executable, "-c", tried], capture_output=True, timeout=30)
        assert done.returncode == status


def test_compose_and_kubernetes_agree_with_the_service(service: Service) -> None:
    import yaml

    arguments = json.loads(dockerfile()["ENTRYPOINT"])[2:]
    (composed,) = yaml.safe_load((CONTAINERS / "compose.yaml").read_text())["services"].values()
    options = COMMAND.parse([*arguments, *composed["command"]])
    assert int(composed["stop_grace_period"].removesuffix("s")) > 2 * options.timeout + 1
    assert (composed["read_only"], composed["cap_drop"]) == (True, ["ALL"])
    assert composed["ports"] == [f"127.0.0.1:8000:{options.port}"]
    deployment, balanced = yaml.safe_load_all((CONTAINERS / "kubernetes.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    options = COMMAND.parse([*arguments, *container["args"]])
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > pause + 2 * options.timeout + 1
    assert pod["securityContext"]["runAsUser"] == int(dockerfile()["USER"].partition(":")[0])
    assert container["securityContext"]["readOnlyRootFilesystem"]
    (port,) = container["ports"]
    assert (port["containerPort"], balanced["spec"]["ports"][0]["targetPort"]) == (options.port, port["name"])
    assert balanced["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == port["name"]
        assert service.get(container[probe]["httpGet"]["path"])[0] == 200
    assert service.get(deployment["spec"]["template"]["metadata"]["annotations"]["prometheus.io/path"])[0] == 200
    known = [
        name for composed in (composed["environment"], [each["name"] for each in container["env"]]) for name in composed
    ]
    assert set(known) == {_settings.API_KEY}
