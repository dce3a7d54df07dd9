"""The processes of a service: one worker, or several workers and a parent that restarts them."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from pretrained_cnn._process import cores, limit_cores
from pretrained_cnn.classifier import Classifier
from pretrained_cnn.errors import InvalidArgumentError, PretrainedCNNError, import_package
from pretrained_cnn.serve.metrics import Metrics
from pretrained_cnn.serve.settings import Settings

__all__ = ["run"]

log = logging.getLogger(__name__)

Load = Callable[[], Classifier]
"""Loads the classifier, and runs it once; each worker calls it in its own process."""

PAUSE = 1.0
"""Seconds before a worker that ended is started again."""


class WorkerError(PretrainedCNNError):
    """A worker ended before it could answer. Its own message says why."""


def run(load: Load, settings: Settings, *, host: str, port: int, workers: int = 1) -> None:
    """Answer requests until SIGTERM or Ctrl-C; then finish those that were taken, and raise what the signal raises.

    Args:
        load: Gives the classifier. For several workers it must be possible to pickle it.
        settings: What is taken from clients.
        host: The name or address to listen on.
        port: The port, or 0 for any that is free; a line in the log says which.
        workers: Processes, each with the classifier, which share the port and the cores.

    Raises MissingDependencyError without the extra ``serve``, InvalidArgumentError for an address that cannot be
    listened on, and what ``load`` raises.
    """
    for module, package in (("fastapi", "fastapi"), ("uvicorn", "uvicorn"), ("python_multipart", "python-multipart")):
        import_package(module, extra="serve", package=package)
    metrics = Metrics(workers)
    with contextlib.closing(_listen(host, port)) as listener:
        if workers == 1:
            _answer(load, settings, listener, metrics, lambda: _announce(listener, workers))
        else:
            _supervise(load, settings, listener, metrics, workers)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None)  # create_server repeats the address in its text
        reason = os.strerror(number) if number and number > 0 else getattr(error, "strerror", None) or error
        raise InvalidArgumentError(f"{host}, port {port}, cannot be listened on: {reason}; choose another") from None


def _announce(listener: socket.socket, workers: int) -> None:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    log.info("listening on http://%s:%s, %s worker%s", shown, port, workers, "" if workers == 1 else "s")


def _answer(
    load: Load, settings: Settings, listener: socket.socket, metrics: Metrics, announce: Callable[[], None]
) -> None:
    """Load the classifier, and answer requests in this process."""
    import uvicorn

    from pretrained_cnn.serve.app import create_app
    from pretrained_cnn.serve.http import Connection, Server

    app = create_app(load(), settings, metrics)
    protocol: Any = partial(Connection, timeout=settings.timeout)  # uvicorn only calls it
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=round(2 * settings.timeout) + 1,
    )
    server = Server(config, app)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent, server), daemon=True).start()
    announce()
    server.run(sockets=[listener])


def _end_with(parent: BaseProcess, server: Any) -> None:
    """End a worker whose supervisor was killed."""
    parent.join()
    server.should_exit = True


def _work(load: Load, settings: Settings, listener: socket.socket, metrics: Metrics, worker: int, workers: int) -> None:
    """What the process of a worker does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes, and the supervisor ends this one
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    limit_cores(max(1, cores() // workers))
    try:
        _answer(load, settings, listener, metrics.of(worker), lambda: None)
    except PretrainedCNNError as error:
        log.error("%s", error)
        sys.exit(1)


def _supervise(load: Load, settings: Settings, listener: socket.socket, metrics: Metrics, workers: int) -> None:
    """Keep this number of workers alive until a signal comes."""
    context = multiprocessing.get_context("spawn")
    ending = threading.Event()

    def start(worker: int) -> BaseProcess:
        process = context.Process(target=_work, args=(load, settings, listener, metrics, worker, workers))
        process.start()
        return process

    with _on_signal(ending.set) as raise_it:
        processes = list(map(start, range(workers)))
        try:
            announced = False
            while not ending.wait(0.1):
                if not announced and all(metrics.of(worker).is_ready for worker in range(workers)):
                    _announce(listener, workers)
                    announced = True
                for worker, process in enumerate(processes):
                    if process.is_alive():
                        continue
                    if not announced:
                        raise WorkerError(f"a worker ended before it was ready, with status {process.exitcode}")
                    log.warning("worker %s ended with status %s; it starts again", process.pid, process.exitcode)
                    metrics.of(worker).is_ready = False
                    ending.wait(PAUSE)
                    processes[worker] = start(worker)
        finally:
            for process in processes:
                process.terminate()
            listener.close()  # each worker also has it, and takes what waits there before it closes it
            for process in processes:
                process.join()
    raise_it()


@contextlib.contextmanager
def _on_signal(act: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Act on SIGTERM and Ctrl-C. Gives a function that does, at last, what they would have done at once."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        act()

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}

    def raise_it() -> None:
        for number in came[:1]:
            signal.raise_signal(number)

    try:
        yield raise_it
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
