"""The metrics of a service in Prometheus's format, summed over all worker processes.

The numbers are in memory that the processes share, a row for each worker, which only that worker writes. So no lock
is needed, which a killed worker could keep, and its counts stay.
"""

from __future__ import annotations

import bisect
from array import array
from collections.abc import Iterator
from multiprocessing.sharedctypes import RawArray
from typing import Any

__all__ = ["Metrics"]

PATHS = (
    *("/", "/predict", "/predict/batch", "/embed", "/explain"),
    *("/health", "/ready", "/metrics", "/openapi.json", "other"),
)
STATUSES = (200, 304, 400, 401, 403, 404, 405, 408, 413, 415, 422, 500, 501, 503)
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
IMAGES = ("ok", "uncertain", "unknown", "failed")

HELP = {
    "requests_total": "counter Requests that were answered.",
    "request_seconds": "histogram Time from a request's head to the beginning of its answer.",
    "images_total": "counter Images by the status of their result.",
    "batches_total": "counter Batches that passed through the network.",
    "batched_images_total": "counter Images that passed through the network.",
    "images_waiting": "gauge Images that are decoded or wait for the network.",
    "workers_ready": "gauge Worker processes that answer.",
}


def _series() -> Iterator[tuple[str, str]]:
    """Each number's name and its labels."""
    for path in PATHS:
        yield from (("requests_total", f'path="{path}",status="{status}"') for status in STATUSES)
    for path in PATHS:
        yield from (("request_seconds_bucket", f'path="{path}",le="{bound}"') for bound in (*SECONDS, "+Inf"))
        yield "request_seconds_sum", f'path="{path}"'
    yield from (("images_total", f'status="{status}"') for status in IMAGES)
    yield from ((name, "") for name in ("batches_total", "batched_images_total", "images_waiting", "workers_ready"))


COLUMNS = {series: column for column, series in enumerate(_series())}


class Metrics:
    """The numbers of all workers, and the row of one of them.

    >>> metrics = Metrics(workers=2)
    >>> for worker in (0, 1):
    ...     metrics.of(worker).count_request("/predict", 200, seconds=0.02)
    >>> [line for line in metrics.text().splitlines() if "requests_total{" in line]
    ['pretrained_cnn_requests_total{path="/predict",status="200"} 2']
    """

    def __init__(self, workers: int, *, numbers: Any = None, worker: int = 0) -> None:
        self._workers, self._start = workers, worker * len(COLUMNS)
        self._numbers = numbers or (RawArray if workers > 1 else _own_memory)("d", workers * len(COLUMNS))

    def of(self, worker: int) -> Metrics:
        """The same numbers, to be written by this worker."""
        return Metrics(self._workers, numbers=self._numbers, worker=worker)

    def count_request(self, path: str, status: int, *, seconds: float) -> None:
        """A request to ``path`` was answered."""
        path = path if path in PATHS else "other"
        self._add("requests_total", f'path="{path}",status="{status if status in STATUSES else 500}"')
        bound = (*SECONDS, "+Inf")[bisect.bisect_left(SECONDS, seconds)]
        self._add("request_seconds_bucket", f'path="{path}",le="{bound}"')
        self._add("request_seconds_sum", f'path="{path}"', seconds)

    def count_image(self, status: str) -> None:
        """An image has a result of this status."""
        self._add("images_total", f'status="{status}"')

    def count_batch(self, images: int) -> None:
        """A batch passed through the network."""
        self._add("batches_total", "")
        self._add("batched_images_total", "", images)

    def set_waiting(self, images: int) -> None:
        """The number of images that are decoded or wait for the network."""
        self._numbers[self._start + COLUMNS["images_waiting", ""]] = images

    @property
    def is_ready(self) -> bool:
        """Whether the worker answers."""
        return bool(self._numbers[self._start + COLUMNS["workers_ready", ""]])

    @is_ready.setter
    def is_ready(self, ready: bool) -> None:
        self._numbers[self._start + COLUMNS["workers_ready", ""]] = ready
        self.set_waiting(0)

    def text(self) -> str:
        """All numbers in Prometheus's text format. What never happened is left out, except the totals."""
        lines = []
        for name, described in HELP.items():
            kind, text = described.split(" ", 1)
            lines += [f"# HELP pretrained_cnn_{name} {text}", f"# TYPE pretrained_cnn_{name} {kind}"]
            lines += self._histogram(name) if kind == "histogram" else self._totals(name)
        return "\n".join(lines) + "\n"

    def _totals(self, name: str) -> Iterator[str]:
        for (found, labels), column in COLUMNS.items():
            if found == name and ((value := self._sum(column)) or name != "requests_total"):
                yield _line(name, labels, value)

    def _histogram(self, name: str) -> Iterator[str]:
        for path in PATHS:
            below = 0.0
            lines = []
            for bound in (*SECONDS, "+Inf"):
                labels = f'path="{path}",le="{bound}"'
                below += self._sum(COLUMNS[f"{name}_bucket", labels])
                lines.append(_line(f"{name}_bucket", labels, below))
            if below:
                yield from lines
                yield _line(f"{name}_sum", f'path="{path}"', self._sum(COLUMNS[f"{name}_sum", f'path="{path}"']))
                yield _line(f"{name}_count", f'path="{path}"', below)

    def _sum(self, column: int) -> float:
        return float(sum(self._numbers[column :: len(COLUMNS)]))

    def _add(self, name: str, labels: str, amount: float = 1) -> None:
        self._numbers[self._start + COLUMNS[name, labels]] += amount


def _own_memory(kind: str, size: int) -> Any:
    """For a single process, which then needs no place to write: a container may have none."""
    return array(kind, [0.0] * size)


def _line(name: str, labels: str, value: float) -> str:
    return f"pretrained_cnn_{name}{f'{{{labels}}}' if labels else ''} {value:.12g}"
