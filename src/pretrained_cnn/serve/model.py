"""The classifier of a service: threads decode images, and run them through the network in batches."""

from __future__ import annotations

import asyncio
import io
import math
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn.classifier import Classifier, answers
from pretrained_cnn.errors import BundleError, ImageError
from pretrained_cnn.images.batch import Batch, default_workers, load
from pretrained_cnn.images.fetch import fetch
from pretrained_cnn.images.sources import Item
from pretrained_cnn.results.result import EmbeddingResult, Result
from pretrained_cnn.serve.batching import Batcher, Room
from pretrained_cnn.serve.metrics import Metrics
from pretrained_cnn.serve.settings import Settings
from pretrained_cnn.spec import Output
from pretrained_cnn.trust import OUTPUTS

__all__ = ["Model", "Upload"]

FETCHERS = 8
"""Threads that wait for other servers: more than those that decode, and not the same."""
LANES = 2
"""Most batches in the network at a time: while one begins or ends, the other keeps the cores busy."""
SHOWN = 640
"""The longer side at most, in pixels, of an image with its heat map."""

Pixels = NDArray[np.uint8]
Arrays = tuple[NDArray[np.float32], ...]
T = TypeVar("T")


@dataclass(frozen=True)
class Upload:
    """An image as it came: its bytes, or the address where they are."""

    name: str
    data: bytes = b""
    url: str | None = None


class Model:
    """Answers for images. All coroutines belong to one event loop.

    Args:
        classifier: What answers. Addresses that it is given are never followed to a private network.
        settings: How much is taken at once.
        metrics: Where images and batches are counted.
    """

    def __init__(self, classifier: Classifier, settings: Settings, metrics: Metrics) -> None:
        self.classifier = classifier
        self.room = Room(settings.max_waiting)
        self._settings, self._metrics = settings, metrics
        self._engine = classifier.engine
        policy = self._engine.image_policy
        self._policy = replace(
            policy,
            allow_private=False,
            headers={},
            max_url_bytes=min(policy.max_url_bytes, settings.max_body),
            url_seconds=min(policy.url_seconds, settings.timeout),
        )
        decoders = default_workers()
        self._decoding = threading.BoundedSemaphore(decoders)
        """Keeps the memory for decoding to one image for each core."""
        self._threads = ThreadPoolExecutor(decoders + LANES, thread_name_prefix="answer")
        self._fetchers = ThreadPoolExecutor(FETCHERS, thread_name_prefix="fetch")
        self._explainer = ThreadPoolExecutor(1, thread_name_prefix="explain")  # a heat map takes long
        outputs: tuple[Output, ...] = ("scores",) if classifier.calibration is None else OUTPUTS
        self._scores = Batcher(partial(self._run, outputs), settings.batch_size, LANES)
        self._embeddings = Batcher(partial(self._run, ("embedding",)), settings.batch_size, LANES)
        self._began: dict[int, float] = {}
        """When each thread that is in the network began, by its number."""
        self._seconds = 0.1
        """How long the network takes for an image, as it was lately."""

    @property
    def is_stuck(self) -> bool:
        """Whether the network has been busy with one batch for longer than two requests may take."""
        oldest = min(list(self._began.values()), default=time.monotonic())
        return time.monotonic() - oldest > 2 * self._settings.timeout

    @property
    def retry_after(self) -> int:
        """Seconds, 1 to 60, until what waits now is probably done."""
        return max(1, min(60, math.ceil(self.room.taken * self._seconds)))

    @property
    def explains(self) -> bool:
        """Whether there are heat maps: where the network is Keras's."""
        bundle = self._engine.bundle
        return bundle is None or bundle.manifest.format == "keras"

    async def predict(self, uploads: Sequence[Upload], *, top: int, min_score: float | None) -> list[Result]:
        """A result for each image, in order; of a bad one its error. Raises FullError."""

        async def one(upload: Upload) -> Result:
            try:
                found = await self._outputs(upload, self._scores)
                (answer,) = answers(self._engine, self.classifier.calibration, found, top, min_score)
                result = Result(upload.name, **answer)
            except ImageError as error:
                result = Result(upload.name, (), ImageError(upload.name, error.reason))
            self._metrics.count_image(result.status)
            return result

        return await self._all(uploads, one)

    async def embed(self, uploads: Sequence[Upload]) -> list[EmbeddingResult]:
        """The same for embeddings. Raises BundleError where the network gives none."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, self._engine.open, ("embedding",))  # opened once

        async def one(upload: Upload) -> EmbeddingResult:
            try:
                ((embedding,),) = await self._outputs(upload, self._embeddings)
                result = EmbeddingResult(upload.name, embedding)
            except ImageError as error:
                result = EmbeddingResult(upload.name, None, ImageError(upload.name, error.reason))
            self._metrics.count_image(result.status)
            return result

        return await self._all(uploads, one)

    async def explain(self, upload: Upload, target: int | str | None) -> bytes:
        """A PNG of the image with its heat map over it. Raises ImageError, InvalidArgumentError, and FullError."""
        if not self.explains:
            raise BundleError("heat maps need the network in Keras: a name, a Keras file, or a bundle of format keras")

        def draw(data: bytes) -> bytes:
            image = self.classifier.explain(io.BytesIO(data), target).overlay()
            image.thumbnail((SHOWN, SHOWN))
            stream = io.BytesIO()
            image.save(stream, "PNG")
            return stream.getvalue()

        async def one(upload: Upload) -> bytes:
            data = await self._bytes(upload)
            return await asyncio.get_running_loop().run_in_executor(self._explainer, self._timed, partial(draw, data))

        return (await self._all([upload], one))[0]

    def close(self) -> None:
        """End the threads, when what they are at is done."""
        for threads in (self._threads, self._fetchers, self._explainer):
            threads.shutdown(wait=not self.is_stuck, cancel_futures=True)

    async def _all(self, uploads: Sequence[Upload], one: Callable[[Upload], Awaitable[T]]) -> list[T]:
        try:
            with self.room.share() as take:
                take(len(uploads))
                self._metrics.set_waiting(self.room.taken)
                if len(uploads) == 1:  # without the task that gather makes
                    return [await one(uploads[0])]
                return await asyncio.gather(*map(one, uploads))
        finally:
            self._metrics.set_waiting(self.room.taken)

    async def _outputs(self, upload: Upload, batcher: Batcher[Pixels, Arrays | ImageError]) -> Arrays:
        """The outputs for an image, each as float32 ``(1, width)``. Raises ImageError."""
        data = await self._bytes(upload)
        answer: Future[Arrays | ImageError] = Future()
        self._threads.submit(self._answer, Item(0, upload.name, data), batcher, answer)
        found = await asyncio.wrap_future(answer)
        if isinstance(found, ImageError):
            raise found
        return found

    async def _bytes(self, upload: Upload) -> bytes:
        if upload.url is None:
            return upload.data
        loop = asyncio.get_running_loop()
        return (await loop.run_in_executor(self._fetchers, fetch, upload.url, self._policy)).getvalue()

    def _answer(
        self, item: Item, batcher: Batcher[Pixels, Arrays | ImageError], answer: Future[Arrays | ImageError]
    ) -> None:
        """Decode an image, and set the answer of the network, or the error."""
        if answer.cancelled():  # the client has gone
            return
        spec = self._engine.spec
        try:
            with self._decoding:
                pixels = load(item, spec.input_size, spec.resize, self._policy, spec.channels)
        except Exception as error:  # of the image: it is the answer
            if answer.set_running_or_notify_cancel():
                answer.set_exception(error)
        else:
            batcher.put(pixels, answer)

    def _run(self, outputs: tuple[Output, ...], pixels: Sequence[Pixels]) -> list[Arrays | ImageError]:
        """For each image, each output as float32 ``(1, width)``; or why there is none."""
        nothing = [None] * len(pixels)
        batch = Batch([""] * len(pixels), list(nothing), np.stack(pixels), list(nothing))
        start = time.monotonic()
        answered, found = self._timed(lambda: self._engine.open(outputs).answer(batch))
        self._seconds += 0.2 * ((time.monotonic() - start) / len(pixels) - self._seconds)
        self._metrics.count_batch(len(pixels))
        rows = zip(*(np.split(array, len(array)) for array in found), strict=True)
        return [next(rows) if error is None else error for error in answered.errors]

    def _timed(self, work: Callable[[], T]) -> T:
        """Do it in a thread of the network's, and remember since when."""
        thread = threading.get_ident()
        self._began[thread] = time.monotonic()
        try:
            return work()
        finally:
            del self._began[thread]
