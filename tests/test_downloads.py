"""Downloads that go wrong, against a server of our own on 127.0.0.1."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import io
import itertools
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import pytest

from pretrained_cnn import InvalidArgumentError, PretrainedCNNWarning, WeightsError, _download, weights
from pretrained_cnn.weights import WeightsFile, ensure

BODY = hashlib.shake_128(b"weights").digest(200_000)
HALF = len(BODY) // 2
MD5 = f"md5:{hashlib.md5(BODY).hexdigest()}"


class Request(http.server.BaseHTTPRequestHandler):
    """A request as the servers below see it: each answer of a server is a function of one."""

    server: Server

    def do_GET(self) -> None:
        number = next(self.server.numbers)
        self.server.ranges.append(self.headers.get("Range"))
        self.server.paths.append(self.path)
        try:
            self.server.answers[min(number, len(self.server.answers) - 1)](self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def head(self, code: int = 200, /, length: int | None = None, **headers: str) -> None:
        self.send_response(code)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()

    def send(self, data: bytes) -> None:
        self.server.sent += len(data)  # first, as the client may be done before this thread continues
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


Answer = Callable[[Request], None]


class Server(http.server.ThreadingHTTPServer):
    """Gives its ``answers`` one after the other, and the last one from then on."""

    daemon_threads = True

    def __init__(self, *answers: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.answers = answers
        self.numbers = itertools.count()
        self.ranges: list[str | None] = []
        self.paths: list[str] = []
        self.sent = 0
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/net.h5"


def whole(request: Request) -> None:
    request.head(length=len(BODY))
    request.send(BODY)


def resumable(request: Request) -> None:
    """The whole, or what ``Range`` asks for."""
    match = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
    if not match:
        whole(request)
    elif (start := int(match[1])) >= len(BODY):
        request.head(416, length=0)
    else:
        request.head(206, length=len(BODY) - start, Content_Range=f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        request.send(BODY[start:])


def cut(request: Request) -> None:
    """Half of what was declared, and then the connection is closed."""
    request.head(length=len(BODY))
    request.send(BODY[:HALF])


def reset(request: Request) -> None:
    """Not a byte but a reset connection."""
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    request.connection.shutdown(socket.SHUT_RD)
    request.close_connection = True


def held(request: Request) -> None:
    """Half of it, and the rest only when the test releases it: until then silence on an open connection."""
    request.head(length=len(BODY))
    request.send(BODY[:HALF])
    request.server.released.wait(30)
    request.send(BODY[HALF:])


def status(code: int) -> Answer:
    return lambda request: request.head(code, length=0)


def redirect(to: str) -> Answer:
    return lambda request: request.head(302, length=0, Location=to)


def endless(request: Request) -> None:
    """No length, and no end."""
    request.head()
    while not request.server.released.is_set():
        request.send(bytes(1000))


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    running: list[tuple[Server, threading.Thread]] = []

    def start(*answers: Answer) -> Server:
        server = Server(*answers)
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02))
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return tmp_path / "models"


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_download, "BACKOFF", 0.01)


def fetch(server: Server, hash_: str | None = MD5) -> Path:
    return ensure(WeightsFile(server.url, hash_), needed_by="Net")


def refusal(server: Server, hash_: str | None = MD5) -> str:
    """The message with which the file cannot be had; it keeps the promise that every such message makes."""
    path = weights.cache_dir() / "net.h5"
    with pytest.raises(WeightsError) as caught:
        fetch(server, hash_)
    message = str(caught.value)
    assert message.startswith("Net needs the weights file net.h5: ")
    assert server.url in message, "what was tried"
    assert f"Fetch it by hand to {path}, or give weights=<path>" in message, "where the file would go"
    assert message.endswith("or use EfficientNetLite0, which needs no download"), "what needs no download"
    return message


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# What may pass


def test_a_cut_connection_is_resumed(serve: Any, cache: Path) -> None:
    server = serve(cut, resumable)
    assert fetch(server).read_bytes() == BODY
    assert server.ranges == [None, f"bytes={HALF}-"]
    assert server.sent == len(BODY), "no byte came twice"
    assert names(cache) == ["net.h5"]


def test_a_cut_connection_to_a_server_that_cannot_resume(serve: Any, cache: Path) -> None:
    server = serve(cut, whole)
    assert fetch(server).read_bytes() == BODY
    assert server.ranges == [None, f"bytes={HALF}-"]
    assert names(cache) == ["net.h5"]


def test_a_server_that_sends_another_range_than_asked_for(serve: Any, cache: Path) -> None:
    def other(request: Request) -> None:
        request.head(206, length=HALF, Content_Range=f"bytes 0-{HALF - 1}/{len(BODY)}")
        request.send(BODY[:HALF])

    server = serve(cut, other, resumable)
    assert fetch(server).read_bytes() == BODY
    assert server.ranges == [None, f"bytes={HALF}-", None]


def test_a_reset_connection(serve: Any, cache: Path) -> None:
    server = serve(reset, whole)
    assert fetch(server).read_bytes() == BODY
    assert len(server.ranges) == 2


def test_a_connection_that_is_always_cut(serve: Any, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = serve(cut)
    assert f"cannot be downloaded ({HALF} of {len(BODY)} bytes came; tried 5 times)" in refusal(server)
    assert len(server.ranges) == _download.ATTEMPTS == 5
    assert [record.getMessage().rpartition("; ")[2] for record in caplog.records if record.levelno > logging.INFO] == [
        f"trying again in {seconds} s" for seconds in (0.01, 0.02, 0.04, 0.08)
    ]
    assert names(cache) == [".net.h5.part"], "what has come stays"


def test_a_later_process_resumes_what_has_come(serve: Any, cache: Path) -> None:
    cache.mkdir()
    (cache / ".net.h5.part").write_bytes(BODY[:1234])
    server = serve(resumable)
    assert fetch(server).read_bytes() == BODY
    assert server.ranges == ["bytes=1234-"]
    assert names(cache) == ["net.h5"]


@pytest.mark.parametrize("part", [b"old" * 100, BODY + b"more"], ids=["older", "longer"])
def test_a_part_of_another_version_is_not_resumed_twice(serve: Any, cache: Path, part: bytes) -> None:
    cache.mkdir()
    (cache / ".net.h5.part").write_bytes(part)
    server = serve(resumable)
    assert fetch(server).read_bytes() == BODY
    assert server.ranges == [f"bytes={len(part)}-", None]
    assert names(cache) == ["net.h5"]


def test_a_part_that_is_complete_already(serve: Any, cache: Path) -> None:
    cache.mkdir()
    (cache / ".net.h5.part").write_bytes(BODY)
    server = serve(resumable)
    assert fetch(server).read_bytes() == BODY
    assert server.sent == 0


def test_the_server_fails_twice(serve: Any, cache: Path) -> None:
    server = serve(status(500), status(503), whole)
    assert fetch(server).read_bytes() == BODY
    assert len(server.ranges) == 3


def test_too_many_requests(serve: Any, cache: Path) -> None:
    assert fetch(serve(status(429), whole)).read_bytes() == BODY


def test_a_server_that_always_fails(serve: Any, cache: Path) -> None:
    assert "(HTTP Error 500: Internal Server Error; tried 5 times)" in refusal(serve(status(500)))
    assert names(cache) == []


def test_silence(serve: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _download.TIMEOUT == 30
    monkeypatch.setattr(_download, "TIMEOUT", 0.2)
    server = serve(held, resumable)
    assert fetch(server).read_bytes() == BODY
    assert server.ranges == [None, f"bytes={HALF}-"]


def test_silence_for_ever(serve: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_download, "TIMEOUT", 0.2)
    monkeypatch.setattr(_download, "ATTEMPTS", 2)
    assert "cannot be downloaded (no byte came for 0.2 s; tried 2 times)" in refusal(serve(held))


# What does not pass


def test_not_found(serve: Any, cache: Path) -> None:
    server = serve(status(404))
    assert "cannot be downloaded (HTTP Error 404: Not Found)" in refusal(server)
    assert len(server.ranges) == 1, "asked once"
    assert names(cache) == []


def test_a_wrong_hash(serve: Any, cache: Path) -> None:
    server = serve(whole)
    assert f"(what came is not the file: its md5 is {MD5[4:]}, not 0)" in refusal(server, "md5:0")
    assert len(server.ranges) == 1
    assert names(cache) == []


def test_a_body_that_is_longer_than_declared(serve: Any, cache: Path) -> None:
    def longer(request: Request) -> None:
        request.head(length=HALF)
        request.send(BODY)

    assert "what came is not the file: its md5 is " in refusal(serve(longer))
    assert names(cache) == []


def test_a_body_without_an_end(serve: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _download.MAX_BYTES == 4 * 2**30
    monkeypatch.setattr(_download, "MAX_BYTES", 50_000)
    server = serve(endless)
    assert "cannot be downloaded (more than 50,000 bytes came)" in refusal(server)
    assert len(server.ranges) == 1
    assert names(cache) == []


def test_a_length_that_no_weights_file_has(serve: Any, cache: Path) -> None:
    server = serve(lambda request: request.head(length=10**13))
    assert "the server announces 10,000,000,000,000 bytes, more than any weights file has" in refusal(server)
    assert names(cache) == []


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/net.h5"])
def test_a_redirect_to_something_else_than_http(serve: Any, cache: Path, to: str) -> None:
    server = serve(redirect(to))
    assert re.search(
        f"cannot be downloaded \\(HTTP Error 302: Found - Redirection to url '{to}' is not", refusal(server)
    )
    assert len(server.ranges) == 1
    assert names(cache) == []


def test_a_redirect_is_followed_with_the_range(serve: Any, cache: Path) -> None:
    goal = serve(cut, resumable)
    server = serve(redirect(goal.url))
    assert fetch(server).read_bytes() == BODY
    assert goal.ranges == [None, f"bytes={HALF}-"]


def test_a_circle_of_redirects(serve: Any, cache: Path) -> None:
    server = serve(redirect("/net.h5"))
    assert "HTTP Error 302: The HTTP server returned a redirect error that would lead to an infinite loop" in refusal(
        server
    )
    assert len(server.ranges) < 20
    assert names(cache) == []


def test_an_address_that_is_not_http(cache: Path) -> None:
    with pytest.raises(WeightsError, match=r"cannot be downloaded \(unknown url type: file\)"):
        ensure(WeightsFile("file:///etc/passwd", MD5), needed_by="Net")


# Files without a hash


@pytest.fixture
def hdf5() -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["numbers"] = list(range(10_000))
    return stream.getvalue()


@pytest.mark.filterwarnings("ignore:.* was downloaded from")
def test_without_a_hash_the_length_is_what_counts(serve: Any, cache: Path, hdf5: bytes) -> None:
    def half(request: Request) -> None:
        request.head(length=len(hdf5))
        request.send(hdf5[: len(hdf5) // 2])

    def full(request: Request) -> None:
        request.head(length=len(hdf5))
        request.send(hdf5)

    server = serve(half, full)
    assert fetch(server, None).read_bytes() == hdf5
    assert server.ranges == [None, None], "without a hash nothing is pieced together"
    assert names(cache) == [".net.h5.sha256", "net.h5"]


def test_without_a_hash_nothing_stays_of_a_failed_download(serve: Any, cache: Path) -> None:
    assert f"{HALF} of {len(BODY)} bytes came" in refusal(serve(cut), None)
    assert names(cache) == []


@pytest.mark.parametrize(("hash_", "left"), [(MD5, [".net.h5.part"]), (None, [])])
def test_an_interrupt_leaves_what_can_be_resumed(
    serve: Any, cache: Path, monkeypatch: pytest.MonkeyPatch, hash_: str | None, left: list[str]
) -> None:
    # Raised, not sent: the handler of a signal may be anything here (a worker of pytest-xdist dies of it).
    def interrupt(count: int) -> None:
        raise KeyboardInterrupt

    @contextlib.contextmanager
    def interrupted(*_: object) -> Iterator[Callable[[int], None]]:
        yield interrupt

    monkeypatch.setattr(_download, "_progress", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(serve(whole), hash_)
    assert names(cache) == left


def test_without_a_hash_it_must_be_hdf5(serve: Any, cache: Path) -> None:
    server = serve(whole)
    assert "what came is not the file: it is not a complete HDF5 file" in refusal(server, None)
    assert len(server.ranges) == 1
    assert names(cache) == []


@pytest.mark.filterwarnings("ignore:.* was downloaded from")
def test_a_copy_that_was_refused_is_replaced(serve: Any, cache: Path, hdf5: bytes) -> None:
    def full(request: Request) -> None:
        request.head(length=len(hdf5))
        request.send(hdf5)

    server = serve(full)
    file = WeightsFile(server.url, None)
    before = ensure(file, needed_by="Net").stat().st_ino
    assert ensure(file, needed_by="Net").stat().st_ino == before
    (cache / ".net.h5.sha256").write_text("of the copy that was refused")
    assert ensure(file, needed_by="Net", refused="it is another network's").stat().st_ino != before
    assert len(server.ranges) == 2


@pytest.fixture
def full(hdf5: bytes) -> Answer:
    def answer(request: Request) -> None:
        request.head(length=len(hdf5))
        request.send(hdf5)

    return answer


def test_without_a_hash_over_http_or_from_a_mirror_a_download_warns(
    serve: Any, cache: Path, full: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(full)
    with pytest.warns(PretrainedCNNWarning, match=rf"net\.h5 was downloaded from {server.url}, and no hash"):
        ensure(WeightsFile(server.url, None), needed_by="Net")
    monkeypatch.setenv("PRETRAINED_CNN_MIRROR", server.url.removesuffix("/net.h5"))
    with pytest.warns(PretrainedCNNWarning, match=r"other\.h5 was downloaded from http://127.*/other\.h5, and no hash"):
        ensure(WeightsFile("https://storage.example/other.h5", None), needed_by="Net")
    ensure(WeightsFile(server.url, None), needed_by="Net")  # it is there, and nothing warns


def test_a_download_whose_arrays_are_known_does_not_warn(serve: Any, cache: Path, full: Answer, hdf5: bytes) -> None:
    (cache.parent / "copy.h5").write_bytes(hdf5)
    known = weights.arrays_digest(cache.parent / "copy.h5")
    assert ensure(WeightsFile(serve(full).url, None, arrays=known), needed_by="Net").read_bytes() == hdf5


@pytest.mark.filterwarnings("ignore:.* was downloaded from")
def test_a_file_without_a_hash_that_changes_after_its_first_use_warns(serve: Any, cache: Path, full: Answer) -> None:
    file = WeightsFile(serve(full).url, None)
    path = ensure(file, needed_by="Net")
    record = cache / ".net.h5.sha256"
    assert record.read_text().strip() == hashlib.sha256(path.read_bytes()).hexdigest()
    with h5py.File(path, "a") as changed:
        changed["another"] = [1, 2, 3]
    with pytest.warns(PretrainedCNNWarning, match=r"net\.h5 has changed since it was first used: its SHA-256"):
        ensure(file, needed_by="Net")
    record.unlink()
    ensure(file, needed_by="Net")


@pytest.mark.filterwarnings("ignore:.* was downloaded from")
def test_other_arrays_than_known_warn(serve: Any, cache: Path, full: Answer) -> None:
    file = WeightsFile(serve(full).url, None, arrays="0" * 64)
    with pytest.warns(PretrainedCNNWarning, match=r"does not hold the arrays of the known copies of net\.h5"):
        ensure(file, needed_by="Net")


def test_arrays_are_compared_whatever_their_names_order_and_layout(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("a.h5", "b.h5", "c.h5"))
    with h5py.File(first, "w") as file:
        file["a/kernel"], file["b/bias"] = [[1.0, 2.0]], [3.0]
    with h5py.File(second, "w") as file:
        file["x/bias"] = [3.0]
        file.create_dataset("x/y/kernel", data=[[1.0, 2.0]], chunks=(1, 1), compression="gzip")
    with h5py.File(third, "w") as file:
        file["a/kernel"], file["b/bias"] = [[1.0, 2.0]], [3.5]
    assert weights.arrays_digest(first) == weights.arrays_digest(second) != weights.arrays_digest(third)


# Planted links


@pytest.mark.parametrize("hash_", [MD5, None])
@pytest.mark.filterwarnings("ignore:.* was downloaded from")
@pytest.mark.parametrize("plant", ["symbolic", "hard", "dangling"])
def test_a_link_in_place_of_the_part_is_removed_and_not_written_to(
    serve: Any, cache: Path, hdf5: bytes, hash_: str | None, plant: str
) -> None:
    def full(request: Request) -> None:
        request.head(length=len(body))
        request.send(body)

    body = hdf5 if hash_ is None else BODY
    victim = cache.parent / "victim"
    victim.write_bytes(b"precious")
    cache.mkdir()
    part = cache / ".net.h5.part"
    if plant == "hard":
        part.hardlink_to(victim)
    else:
        part.symlink_to(victim if plant == "symbolic" else cache.parent / "new")
    assert fetch(serve(full), hash_).read_bytes() == body
    assert victim.read_bytes() == b"precious"
    assert not (cache.parent / "new").exists()
    assert names(cache) == ["net.h5"] if hash_ else [".net.h5.sha256", "net.h5"]


# The environment


@pytest.mark.parametrize("mirror", ["", "/", "/some/prefix", "/some/prefix/"])
def test_a_mirror(serve: Any, cache: Path, monkeypatch: pytest.MonkeyPatch, mirror: str) -> None:
    server = serve(whole)
    monkeypatch.setenv("PRETRAINED_CNN_MIRROR", server.url.removesuffix("/net.h5") + mirror)
    ensure(WeightsFile("https://storage.example/keras/nets/net.h5", MD5), needed_by="Net")
    assert server.paths == [f"{mirror.rstrip('/')}/keras/nets/net.h5"]


def test_a_mirror_is_named_when_it_fails(serve: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(status(404))
    monkeypatch.setenv("PRETRAINED_CNN_MIRROR", server.url.removesuffix("/net.h5"))
    with pytest.raises(WeightsError, match=f"and {server.url} cannot be downloaded"):
        ensure(WeightsFile("https://storage.example/net.h5", MD5), needed_by="Net")


@pytest.mark.parametrize("mirror", ["mirror.example/x", "ftp://mirror.example", "http://mirror.example:x"])
def test_a_mirror_that_is_no_address(cache: Path, monkeypatch: pytest.MonkeyPatch, mirror: str) -> None:
    monkeypatch.setenv("PRETRAINED_CNN_MIRROR", mirror)
    with pytest.raises(InvalidArgumentError, match=rf"PRETRAINED_CNN_MIRROR='{mirror}' is not an http\(s\) address"):
        ensure(WeightsFile("https://storage.example/net.h5", MD5), needed_by="Net")


def test_offline_nothing_is_downloaded(serve: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETRAINED_CNN_OFFLINE", "1")
    server = serve(whole)
    assert f"it is not in {cache}, and PRETRAINED_CNN_OFFLINE=1 forbids downloading {server.url}. " in refusal(server)
    assert server.ranges == []
    assert not cache.exists()


def test_offline_a_file_that_is_there_is_used(serve: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(whole)
    fetch(server)
    monkeypatch.setenv("PRETRAINED_CNN_OFFLINE", "1")
    assert fetch(server) == cache / "net.h5"


def test_offline_a_broken_file_is_named(serve: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir()
    (cache / "net.h5").write_bytes(BODY[:HALF])
    monkeypatch.setenv("PRETRAINED_CNN_OFFLINE", "1")
    assert f"{cache / 'net.h5'} is broken: its md5 is " in refusal(serve(whole))


@pytest.mark.parametrize("value", ["", "0", "false", "No"])
def test_not_offline(serve: Any, cache: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PRETRAINED_CNN_OFFLINE", value)
    assert fetch(serve(whole)).read_bytes() == BODY


# The folder


@pytest.fixture
def read_only() -> Iterator[Callable[[Path], None]]:
    """Makes folders read-only; also to root, who becomes nobody until the test ends."""
    changed: list[Path] = []

    def close(folder: Path) -> None:
        folder.chmod(0o555)
        changed.append(folder)
        if os.getuid() == 0:
            os.seteuid(65534)

    yield close
    if os.getuid() == 0:
        os.seteuid(0)
    for folder in changed:
        folder.chmod(0o755)


@pytest.fixture
def open_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache that everybody may look into, unlike pytest's own temporary folders."""
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o755)
        monkeypatch.setenv("KERAS_HOME", home)
        Path(home, "models").mkdir()
        yield Path(home, "models")


def test_a_read_only_cache_with_the_file(serve: Any, open_folder: Path, read_only: Callable[[Path], None]) -> None:
    server = serve(whole)
    fetch(server)
    read_only(open_folder)
    with pytest.raises(PermissionError):
        (open_folder / "probe").touch()
    assert fetch(server).read_bytes() == BODY
    assert len(server.ranges) == 1


def test_a_read_only_cache_without_the_file(serve: Any, open_folder: Path, read_only: Callable[[Path], None]) -> None:
    read_only(open_folder)
    assert "cannot be downloaded ([Errno 13] Permission denied: " in refusal(serve(whole))


def test_a_lock_that_a_dead_process_left_does_not_block(serve: Any, cache: Path) -> None:
    cache.mkdir()
    (cache / ".net.h5.lock").touch()
    assert fetch(serve(whole)).read_bytes() == BODY
    assert names(cache) == ["net.h5"]


# What a user sees


def test_without_a_terminal_a_line_is_logged(serve: Any, cache: Path, caplog: Any, capfd: Any) -> None:
    caplog.set_level(logging.INFO)
    fetch(serve(cut, resumable))
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.INFO] == [
        "downloading net.h5",
        f"downloading net.h5 from byte {HALF} on",
    ]
    assert capfd.readouterr() == ("", "")


def test_on_a_terminal_a_bar_is_drawn(serve: Any, cache: Path, caplog: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    caplog.set_level(logging.INFO)
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    fetch(serve(whole))
    assert "net.h5" in screen.getvalue()
    assert "200.0/200.0 kB" in screen.getvalue()
    assert caplog.records == []


# Many at once


LOADER = """
import sys
from pathlib import Path
from pretrained_cnn import weights
url, hash_ = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
path = weights.ensure(weights.WeightsFile(url, hash_), needed_by="Net")
print(len(path.read_bytes()), flush=True)
"""


def test_eight_processes_of_which_one_is_killed(serve: Any, cache: Path) -> None:
    """The one that downloads is killed in the middle; another continues from there, and all have the file."""
    server = serve(held, resumable)
    command = [sys.executable, "-c", LOADER, server.url, MD5]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    first, *others = running
    for process in running:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    go(first)
    part = cache / ".net.h5.part"
    wait_until(lambda: part.exists() and part.stat().st_size == HALF)
    for process in others:
        go(process)
    time.sleep(0.5)
    assert [process.poll() for process in running] == [None] * 8, "all wait for the first"
    assert len(server.ranges) == 1
    first.send_signal(signal.SIGKILL)
    first.communicate()
    for process in others:
        assert process.communicate(timeout=60) == (f"{len(BODY)}\n", "")
    assert server.ranges == [None, f"bytes={HALF}-"], "one continued for all"
    assert server.sent == len(BODY), "each byte came once"
    assert names(cache) == ["net.h5"]
    assert (cache / "net.h5").read_bytes() == BODY


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_many_threads_at_once(serve: Any, cache: Path) -> None:
    server = serve(held)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(fetch(server))) for _ in range(16)]
    for thread in threads:
        thread.start()
    wait_until(lambda: server.sent == HALF)
    server.released.set()
    for thread in threads:
        thread.join(60)
    assert found == [cache / "net.h5"] * 16
    assert len(server.ranges) == 1
    assert names(cache) == ["net.h5"]


def test_the_lock_lets_one_in_at_a_time_though_its_file_comes_and_goes(cache: Path) -> None:
    """Each holder removes the lock's file; anyone who had opened it before must not come in with it."""
    cache.mkdir()
    inside, most = 0, 0

    def enter() -> None:
        nonlocal inside, most
        for _ in range(20):
            with weights.exclusive_lock(cache / "net.h5", "downloading net.h5"):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0005)
                inside -= 1

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert names(cache) == []


def test_what_only_a_download_needs_is_imported_only_then() -> None:
    code = "import sys, pretrained_cnn.cli; print(sorted({'filelock', 'rich', 'h5py'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
