"""From items to batches of pixels: decoded in parallel, in order, never more alive than asked for."""

from __future__ import annotations

import math
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._process import cores
from pretrained_cnn.errors import ImageError
from pretrained_cnn.images.decode import decode
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.images.resize import policy_for, resize, size_needed
from pretrained_cnn.images.sources import Item
from pretrained_cnn.spec import ResizePolicy

BATCH_SIZE = 16
"""On 2 cores, MobileNetV2 took a third more time for one image alone than for one of four. Up to batches of 128
the time per image then stays the same to within a tenth (``benchmarks/batches.py``). 16 is enough for more cores to
share, and takes little memory."""

MAX_WORKERS = 16
"""Decoding and resizing a photo holds Python's interpreter lock for 3 to 6 % of its time (same benchmark), so more
threads would only wait for each other, each with a whole photo in memory."""


MAX_HELD = 256 * 1024 * 1024
"""Bytes of images in memory, not yet decoded, from which on no more are taken."""


class Batch(NamedTuple):
    """Some images, side by side."""

    names: list[str]
    errors: list[ImageError | None]
    """For each name the error that its image met, or None."""
    pixels: NDArray[np.uint8]
    """uint8 ``(n, H, W, channels)``, RGB or gray, of the images without an error, in order; ``n`` may be 0."""
    paths: list[str | None]
    """For each name the path or address of its image, or None if that was in memory."""


def default_workers() -> int:
    """How many threads decode: one for each core that this process may use, and `MAX_WORKERS` at most."""
    return min(cores(), MAX_WORKERS)


def load(
    item: Item, size: tuple[int, int], resize_policy: ResizePolicy, image_policy: ImagePolicy, channels: int = 3
) -> NDArray[np.uint8]:
    """One image as uint8 ``(H, W, channels)``, RGB or gray. Raises ImageError."""
    image = decode(item, image_policy, size_needed(size, resize_policy))
    try:
        return resize(image, size, policy_for(item.image, image.size, size, resize_policy), channels)
    except (MemoryError, ValueError) as error:  # one image's error, and not the run's
        reason = f"its {image.width} x {image.height} pixels cannot be resized: {str(error) or type(error).__name__}"
        raise ImageError(item.name, reason) from error


def batches(
    items: Iterable[Item],
    size: tuple[int, int],
    resize_policy: ResizePolicy,
    image_policy: ImagePolicy,
    *,
    channels: int = 3,
    batch_size: int | None = None,
    workers: int | None = None,
    prefetch: int | None = None,
) -> Generator[Batch]:
    """Decode and resize ``items`` in ``workers`` threads, and give them in their order, ``batch_size`` at a time.

    At most ``prefetch`` batches are alive: the one that the consumer was given last, and those that are in the making
    while it is busy with that. By default these are as many as give each worker two images, and at least two, so
    that an image that takes long does not hold up the consumer. Of images that are in memory already, as those of an
    archive are, no more are taken while they have `MAX_HELD` bytes together. The items are taken from their iterable in
    the consumer's own thread and no faster. Closing the iterator ends the threads.
    """
    batch_size = batch_size or BATCH_SIZE
    workers = workers or default_workers()
    prefetch = prefetch or 1 + max(2, math.ceil(2 * workers / batch_size))
    items = iter(items)

    def load_into(row: NDArray[np.uint8], item: Item) -> None:
        row[:] = load(item, size, resize_policy, image_policy, channels)

    pool = ThreadPoolExecutor(workers, thread_name_prefix="pretrained-cnn")
    pending: deque[_Pending] = deque()
    try:
        while True:
            while len(pending) < prefetch:
                room = MAX_HELD - sum(batch.held for batch in pending)
                if room <= 0 or not (group := list(_group(items, batch_size, room))):
                    break
                pending.append(_Pending(pool, group, (*size, channels), load_into))
                del group  # the images are the workers' now
            if not pending:
                return
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        if isinstance(items, Generator):
            items.close()


def _group(items: Iterator[Item], batch_size: int, room: int) -> Iterator[Item]:
    """The next items: this number, or fewer if they fill the room, in bytes."""
    for item in islice(items, batch_size):
        yield item
        room -= _bytes_of(item)
        if room <= 0:
            return


def _bytes_of(item: Item) -> int:
    """What an item holds that was read already."""
    image = item.image
    return len(image) if isinstance(image, bytes) else 0


class _Pending:
    """A batch in the making: each worker writes its images where they belong."""

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        items: list[Item],
        shape: tuple[int, int, int],
        load_into: Callable[[NDArray[np.uint8], Item], None],
    ) -> None:
        self._names, self._paths = [item.name for item in items], [item.path for item in items]
        self._held = [_bytes_of(item) for item in items]
        self._pixels = np.empty((len(items), *shape), np.uint8)
        self._jobs = [pool.submit(load_into, row, item) for row, item in zip(self._pixels, items, strict=True)]

    @property
    def held(self) -> int:
        """Bytes of its images that are not decoded yet."""
        return sum(size for size, job in zip(self._held, self._jobs, strict=True) if not job.done())

    def result(self) -> Batch:
        """The batch, when all of it is decoded. Raises what a decoder raised that is not an ImageError."""
        errors: list[ImageError | None] = []
        for job in self._jobs:
            error = job.exception()
            if not (error is None or isinstance(error, ImageError)):
                raise error
            _forget_images(error)
            errors.append(error)
        good = [error is None for error in errors]
        return Batch(self._names, errors, self._pixels if all(good) else self._pixels[good], self._paths)


def _forget_images(error: BaseException | None) -> None:
    """Leave an error the lines that it came by, but not the images available there: results are kept for long."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
