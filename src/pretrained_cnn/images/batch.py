"""From items to batches of pixels: decoded in parallel, in order, never more alive than asked for."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn.errors import ImageError
from pretrained_cnn.images.decode import decode
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.images.resize import enough, resize
from pretrained_cnn.images.sources import Item
from pretrained_cnn.spec import ResizePolicy


class Batch(NamedTuple):
    """Some pictures, side by side."""

    names: list[str]
    errors: list[ImageError | None]
    """For each name the error that its picture met, or None."""
    pixels: NDArray[np.uint8]
    """RGB ``(n, H, W, 3)`` of the pictures without an error, in order; ``n`` may be 0."""


def load(item: Item, size: tuple[int, int], policy: ResizePolicy, reading: ImagePolicy) -> NDArray[np.uint8]:
    """One picture as RGB uint8 ``(H, W, 3)``. Raises ImageError."""
    image = decode(item, reading, enough(size, policy))
    try:
        return resize(image, size, policy)
    except (MemoryError, ValueError) as error:  # one picture's error, and not the run's
        reason = f"its {image.width} x {image.height} pixels cannot be resized: {str(error) or type(error).__name__}"
        raise ImageError(item.name, reason) from error


def batches(
    items: Iterable[Item],
    size: tuple[int, int],
    policy: ResizePolicy,
    reading: ImagePolicy,
    *,
    batch_size: int,
    workers: int | None = None,
    prefetch: int = 2,
) -> Generator[Batch]:
    """Decode and resize ``items`` in ``workers`` threads, and give them in their order.

    At most ``prefetch`` batches are in the making beside the one that the consumer holds; the items are
    taken from their iterable no faster than that. Closing the iterator ends the threads.
    """
    items = iter(items)
    pool = ThreadPoolExecutor(workers or os.cpu_count() or 1, thread_name_prefix="pretrained-cnn")
    try:
        pending: deque[tuple[Item, Future[NDArray[np.uint8]]]] = deque()
        limit = prefetch * batch_size
        while True:
            for item in islice(items, limit - len(pending)):
                pending.append((item, pool.submit(load, item, size, policy, reading)))
            if not pending:
                return
            yield _collect([pending.popleft() for _ in range(min(batch_size, len(pending)))], size)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _collect(pending: list[tuple[Item, Future[NDArray[np.uint8]]]], size: tuple[int, int]) -> Batch:
    names, errors, pixels = [], [], []
    for item, future in pending:
        error = future.exception()
        if error is None:
            pixels.append(future.result())
        elif not isinstance(error, ImageError):
            raise error
        names.append(item.name)
        errors.append(error)
    stacked = np.stack(pixels) if pixels else np.empty((0, *size, 3), np.uint8)
    return Batch(names, errors, stacked)
