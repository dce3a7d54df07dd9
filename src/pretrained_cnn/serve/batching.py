"""Dynamic batching: the images of many requests pass through the network together.

An image that comes while the network has a free lane runs at once, alone. Images that come while all lanes are busy
wait, and run together when a lane is free again. No image waits for a batch to fill, and batches grow with the load.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Generic, TypeVar

__all__ = ["Batcher", "FullError", "Room"]

T = TypeVar("T")
R = TypeVar("R")


class FullError(Exception):
    """There is no room for more at the moment."""


class Room:
    """So much of something at a time, and no more."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken = 0

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """Gives a function that takes an amount, and raises FullError if that is too much."""
        mine = 0

        def take(amount: int) -> None:
            nonlocal mine
            if self.taken + amount > self.size:
                raise FullError
            self.taken += amount
            mine += amount

        try:
            yield take
        finally:
            self.taken -= mine


class Batcher(Generic[T, R]):
    """Runs what it is given in batches, in the threads that give it.

    Args:
        run: Takes up to ``size`` things, and returns the answer for each, in order.
        size: Most things in a batch.
        lanes: Most batches that run at a time.
    """

    def __init__(self, run: Callable[[Sequence[T]], Sequence[R]], size: int, lanes: int) -> None:
        self._run, self._size = run, size
        self._lanes = self._free = lanes
        self._lock = threading.Lock()
        self._waiting: deque[tuple[T, Future[R]]] = deque()

    def put(self, thing: T, answer: Future[R]) -> None:
        """Set the answer for a thing, or the error that ``run`` raised for it.

        While all lanes are busy, the thing waits for one of their threads, and this method returns at once. Otherwise
        the calling thread runs this thing, and then what came meanwhile, until nothing waits. So an image that comes
        alone passes through one thread only: on a busy machine each change of threads waits for a core.
        """
        with self._lock:
            self._waiting.append((thing, answer))
            if not self._free:
                return
            self._free -= 1
        while batch := self._take():
            self._answer(batch)

    def _take(self) -> list[tuple[T, Future[R]]]:
        """The next batch; if nothing waits, an empty one, and the lane is free again."""
        batch: list[tuple[T, Future[R]]] = []
        with self._lock:
            size = min(self._size, math.ceil(len(self._waiting) / self._lanes))  # leaves the other lanes their share
            while self._waiting and len(batch) < size:
                thing, answer = self._waiting.popleft()
                if answer.set_running_or_notify_cancel():  # else the client has gone
                    batch.append((thing, answer))
            self._free += not batch
        return batch

    def _answer(self, batch: Sequence[tuple[T, Future[R]]]) -> None:
        try:
            found = self._run([thing for thing, _ in batch])
        except Exception as error:  # of the network: running each image alone shows which image caused it
            if len(batch) > 1:
                for each in batch:
                    self._answer([each])
            else:
                batch[0][1].set_exception(error)
            return
        for (_, answer), result in zip(batch, found, strict=True):
            answer.set_result(result)
