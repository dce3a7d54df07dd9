"""``pretrained-cnn serve`` against the bare runtime and a service as one writes it by hand (``serve_fastapi.py``).

Run: ``python benchmarks/serve.py [NAME] [--clients 1 4 16 64] [--seconds 5] [--requests 20000] [--format openvino]``.
Each number of clients posts JPEGs of 500 x 375 over connections that it keeps, to both services in turn; the clients
are one process on the same machine, and take their share of its cores. Last, many requests to ours, and its memory.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import quantiles

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import psutil
from PIL import Image

from pretrained_cnn import Classifier

HERE = Path(__file__).parent
START = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
END = b"\r\n--b--\r\n"
BATCH = 16


def photo(seed: int) -> bytes:
    """A JPEG of 500 x 375 with detail like that of a photo."""
    coarse = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def request(path: str, data: bytes) -> bytes:
    """A request as a browser's form makes it."""
    body = START + data + END
    kind = "Content-Type: multipart/form-data; boundary=b"
    return f"POST {path} HTTP/1.1\r\nHost: a\r\n{kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def client(port: int, requests: Sequence[bytes], until: float, most: float, seconds: list[float]) -> None:
    """Send one request after the other over one connection, and note how long each took. Any but 200 ends the run."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < until and len(seconds) < most:
        start = time.perf_counter()
        writer.write(requests[len(seconds) % len(requests)])
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if not head.startswith(b"HTTP/1.1 200 ") or length is None:
            raise SystemExit(f"the service answered {head!r}")
        await reader.readexactly(int(length[1]))
        seconds.append(time.perf_counter() - start)
    writer.close()


def load(port: int, requests: Sequence[bytes], clients: int, *, most: float = float("inf"), span: float) -> list[float]:
    """What each request took, of a number of clients, for a number of seconds or of requests."""
    seconds: list[float] = []

    async def run() -> None:
        until = time.perf_counter() + span
        await asyncio.gather(*(client(port, requests, until, most, seconds) for _ in range(clients)))

    asyncio.run(run())
    return seconds


@contextlib.contextmanager
def service(command: Sequence[str | Path], **environment: str) -> Iterator[tuple[int, psutil.Process]]:
    """A service's port, and its process."""
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            [sys.executable, "-m", *command], env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=log
        ) as process,
    ):
        try:
            while not (found := re.search(rb"(?:listening|running) on http://127\.0\.0\.1:(\d+)", _read(log))):
                if process.poll() is not None:
                    raise SystemExit(_read(log).decode())
                time.sleep(0.05)
            yield int(found[1]), psutil.Process(process.pid)
        finally:
            process.terminate()


def _read(file: io.BufferedRandom) -> bytes:
    return os.pread(file.fileno(), 100_000, 0)


def bare(clf: Classifier, images: Sequence[bytes]) -> None:
    """What the runtime, and one image after the other, take without a service."""
    network, pixels = clf.engine.open(), clf.engine.pixels([io.BytesIO(image) for image in images] * 2)[:BATCH]

    def best(work: object, n: int) -> float:
        assert callable(work)
        taken = []
        for _ in range(12):
            start = time.perf_counter()
            work()
            taken.append((time.perf_counter() - start) / n)
        return min(taken)

    single, batch = best(lambda: network.run(pixels[:1]), 1), best(lambda: network.run(pixels), len(pixels))
    one = best(lambda: clf.predict(io.BytesIO(images[0])), 1)
    print(
        f"runtime alone, images a second: {1 / single:.0f} one at a time, {1 / batch:.0f} in batches of {len(pixels)}"
    )
    print(f"predict in a loop, JPEG to classes: {1 / one:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", default="EfficientNetLite0")
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 4, 16, 64])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--format", default="openvino")
    options = parser.parse_args()
    images = [photo(seed) for seed in range(BATCH)]
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "served.bundle"
        make = ["export", "-m", options.name, "--format", options.format, "-o", bundle]
        subprocess.run(
            [sys.executable, "-m", "pretrained_cnn", *make], check=True, stderr=subprocess.DEVNULL, stdout=sys.stderr
        )
        with Classifier.load(bundle) as clf:
            bare(clf, images)
        ours = ("pretrained_cnn", "serve", bundle, "--port", "0")
        by_hand = ("uvicorn", "--app-dir", HERE, "serve_fastapi:app", "--port", "0", "--no-access-log")
        print("| service | clients | p50 (ms) | p95 (ms) | images/s | CPU (ms an image) |\n|---|--:|--:|--:|--:|--:|")
        with service(ours) as (port, process), service(by_hand, BUNDLE=str(bundle)) as (port_2, process_2):
            sides = {"`serve`": (port, process, "/predict"), "by hand": (port_2, process_2, "/classify")}
            for clients in options.clients:
                for side, (at, server, path) in sides.items():
                    requests = [request(path, image) for image in images]
                    load(at, requests, clients, span=0.5)
                    start, cpu = time.perf_counter(), sum(server.cpu_times()[:2])
                    taken = load(at, requests, clients, span=options.seconds)
                    rate = len(taken) / (time.perf_counter() - start)
                    cpu = (sum(server.cpu_times()[:2]) - cpu) / len(taken)
                    cuts = [1000 * cut for cut in quantiles(taken, n=20)]
                    row = f"| {side} | {clients} | {cuts[9]:.1f} | {cuts[18]:.1f} | {rate:.0f} | {1000 * cpu:.1f} |"
                    print(row, flush=True)
            requests = [request("/predict", image) for image in images]
            held = []
            for _ in range(10):
                load(port, requests, 16, most=options.requests // 10, span=float("inf"))
                held.append(process.memory_info().rss / 2**20)
            print(f"memory (MiB) after each tenth of {options.requests:,} requests:", *(f"{each:.0f}" for each in held))


if __name__ == "__main__":
    main()
