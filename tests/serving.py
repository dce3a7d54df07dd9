"""A service as a process of its own, for tests, and a client."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

BOUNDARY = "frontier"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
JSON = {"Content-Type": "application/json"}


def form(*files: tuple[str, bytes]) -> bytes:
    """A form of files, as a browser sends it."""
    head = '--{}\r\nContent-Disposition: form-data; name="image"; filename="{}"\r\n\r\n'
    parts = [head.format(BOUNDARY, name).encode() + data + b"\r\n" for name, data in files]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


class Service:
    """``pretrained-cnn serve`` on this machine, at a port that the system chooses."""

    def __init__(
        self,
        *arguments: str | Path,
        environment: Mapping[str, str] | None = None,
        python: Sequence[str | Path] = (sys.executable,),
    ) -> None:
        command = [*map(str, python), "-m", "pretrained_cnn", "serve", *map(str, arguments), "--port", "0"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.port = self._port()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self.lines.append(line)

    def _port(self) -> int:
        until = time.monotonic() + 120
        while time.monotonic() < until and self._reader.is_alive():
            if found := re.search(r"listening on http://127\.0\.0\.1:(\d+)", "".join(self.lines)):
                return int(found[1])
            time.sleep(0.02)
        self.process.kill()
        raise AssertionError("".join(self.lines))

    @contextlib.contextmanager
    def connection(self) -> Iterator[http.client.HTTPConnection]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connected:
            yield connected

    def get(self, path: str) -> tuple[int, str]:
        with self.connection() as connected:
            connected.request("GET", path)
            response = connected.getresponse()
            return response.status, response.read().decode()

    def post(self, path: str, body: bytes, headers: Mapping[str, str] = {}) -> tuple[int, Any]:
        """Status, and the JSON that came."""
        with self.connection() as connected:
            connected.request("POST", path, body, dict(headers))
            response = connected.getresponse()
            return response.status, json.load(response)

    def metric(self, series: str) -> float:
        """A number of ``/metrics``; 0 if it is not there."""
        found = re.search(rf"^pretrained_cnn_{re.escape(series)} (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else 0.0

    def logged(self) -> list[dict[str, Any]]:
        """The log's lines of requests."""
        return [json.loads(line) for line in self.lines if line.startswith("{")]

    def end(self) -> int:
        """Ask it to end; its exit status."""
        self.process.terminate()
        status = self.process.wait(timeout=60)
        self._reader.join()
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()
