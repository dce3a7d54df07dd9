"""Dynamic batching: the images of many requests pass through the network together.

An image that comes while the network has a lane free runs at once, alone. Images that come while all lanes are busy
wait, and run together when a lane is free again. So no image waits only to fill a batch, and batches grow with the
load.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
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
    """Runs what is given to it in batches.

    Args:
        run: Takes up to ``size`` things, and returns what became of each, in order. It runs in ``executor``.
        executor: Where.
        size: Things at most in a batch.
        lanes: Batches at most that run at a time.

    All methods belong to one event loop.
    """

    def __init__(self, run: Callable[[Sequence[T]], Sequence[R]], executor: Executor, size: int, lanes: int) -> None:
        self._run, self._executor, self._size = run, executor, size
        self._free = lanes
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()

    async def put(self, thing: T) -> R:
        """What became of a thing. Raises what ``run`` raised for it."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((thing, future))
        if self._free:
            self._free -= 1
            task = asyncio.create_task(self._work())
            self._tasks.add(task)  # the loop itself keeps a weak reference only
            task.add_done_callback(self._tasks.discard)
        return await future

    async def _work(self) -> None:
        """Run batches until nothing waits."""
        while self._waiting:
            batch: list[tuple[T, asyncio.Future[R]]] = []
            while self._waiting and len(batch) < self._size:
                thing, future = self._waiting.popleft()
                if not future.done():  # else anyone who waited has gone
                    batch.append((thing, future))
            await self._answer(batch)
        self._free += 1

    async def _answer(self, batch: Sequence[tuple[T, asyncio.Future[R]]]) -> None:
        if not batch:
            return
        try:
            things = [thing for thing, _ in batch]
            found = await asyncio.get_running_loop().run_in_executor(self._executor, self._run, things)
        except Exception as error:  # of the network: whose image it was, running each alone tells
            if len(batch) > 1:
                for each in batch:
                    await self._answer([each])
            elif not batch[0][1].done():
                batch[0][1].set_exception(error)
            return
        for (_, future), result in zip(batch, found, strict=True):
            if not future.done():
                future.set_result(result)
