"""Streams: order, bounded memory, and threads that end."""

from __future__ import annotations

import io
import itertools
import json
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_classifier import spec

from pretrained_cnn import Classifier, ImageError
from pretrained_cnn.images import batch

CLF = Classifier(spec())


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("pretrained-cnn")]


@settings(deadline=None, max_examples=60)
@given(
    broken=st.lists(st.booleans(), max_size=40),
    batch_size=st.integers(1, 9),
    workers=st.integers(1, 6),
    prefetch=st.integers(1, 4),
    data=st.data(),
)
def test_order_and_memory(broken: list[bool], batch_size: int, workers: int, prefetch: int, data: Any) -> None:
    """Each image has its own result, in order, and never are more batches of pixels alive than ``prefetch``."""
    alive: list[weakref.ref[Any]] = []
    counts: list[int] = []
    original_init, original_load = batch._Pending.__init__, batch.load

    def init(self: Any, *arguments: Any) -> None:
        original_init(self, *arguments)
        alive.append(weakref.ref(self._pixels))

    def load(item: Any, *arguments: Any) -> Any:
        counts.append(sum(ref() is not None for ref in list(alive)))
        time.sleep(delays[item.index % len(delays)])
        return original_load(item, *arguments)

    delays = data.draw(st.lists(st.sampled_from([0, 0, 0.001, 0.003]), min_size=1, max_size=5))
    taken = 0

    def images() -> Iterator[Any]:
        nonlocal taken
        for number, bad in enumerate(broken):
            taken = number + 1
            yield f"{number}", None if bad else np.full((4, 4, 3), np.eye(3)[number % 3] * 255)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch._Pending, "__init__", init)
        patch.setattr(batch, "load", load)
        results = []
        for result in CLF.stream(images(), batch_size=batch_size, workers=workers, prefetch=prefetch):
            begun = len(results) - len(results) % batch_size
            assert taken <= begun + prefetch * batch_size
            counts.append(sum(ref() is not None for ref in alive))
            results.append(result)
    assert [result.source for result in results] == [str(number) for number in range(len(broken))]
    assert [result.error is not None for result in results] == broken
    colors = ["red", "green", "blue"]
    assert all(result.error or result.top.label == colors[number % 3] for number, result in enumerate(results))
    assert max(counts, default=0) <= prefetch
    assert not threads()


def test_the_three_ways_through_the_pipeline_agree() -> None:
    images = [np.full((4, 4, 3), np.eye(3)[number % 3] * 5 * number) for number in range(50)]
    scores = CLF.predict_proba(images, batch_size=7)
    results = CLF.predict_batch(images, top=3, batch_size=11)
    for row, result in zip(scores, results, strict=True):
        np.testing.assert_allclose(sorted(row, reverse=True), [prediction.score for prediction in result], rtol=1e-6)
    assert CLF.embed(images, batch_size=3).shape == (50, 4)


def test_an_error_of_the_source_itself_is_raised_as_it_is() -> None:
    class CameraError(Exception):
        pass

    def images() -> Iterator[Any]:
        yield np.zeros((4, 4, 3))
        raise CameraError("the camera is gone")

    with pytest.raises(CameraError, match="the camera is gone"):
        list(CLF.stream(images()))
    assert not threads()


@pytest.mark.parametrize("how", ["close", "exception", "forgotten"])
def test_a_stream_that_is_left_ends_its_threads(how: str) -> None:
    stream: Any = CLF.stream(itertools.repeat(np.zeros((4, 4, 3))), batch_size=2)
    next(stream)
    assert threads()
    if how == "close":
        stream.close()
    elif how == "exception":
        with pytest.raises(KeyboardInterrupt):
            leave(stream)
        del stream
    else:
        del stream
    assert not threads()


def leave(stream: Any) -> None:
    for _ in stream:
        raise KeyboardInterrupt


def test_a_generator_of_ones_own_can_be_gone_on_with() -> None:
    numbers = itertools.count()
    images = (np.full((4, 4, 3), next(numbers) * 0) for _ in range(1000))
    stream: Any = CLF.stream(images, batch_size=2, prefetch=2)
    next(stream)
    stream.close()
    assert next(numbers) == 4, "two batches of two were taken"
    next(images)


def test_failed_results_can_be_kept_without_their_batches() -> None:
    image = io.BytesIO(b"no image")
    gone = weakref.ref(image)
    results = list(CLF.stream(iter([image, np.zeros((4, 4, 3))])))
    del image
    assert isinstance(results[0].error, ImageError)
    assert gone() is None


MEMORY = """
import json, sys
import pretrained_cnn
from processes import peak_bytes
from test_classifier import spec

clf = pretrained_cnn.Classifier(spec(input_size=(64, 64)))
done = sum(result.error is None for result in clf.stream(sys.argv[1], batch_size=32, workers=2))
print(json.dumps([done, peak_bytes()]))
"""


@pytest.mark.slow
def test_twenty_thousand_images_take_no_more_memory_than_five_hundred(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    photo = tmp_path / "photo.png"
    Image.fromarray(noise).save(photo)
    peaks = {}
    for number in (500, 20_000):
        folder = tmp_path / str(number)
        for i in range(number):
            path = folder / f"{i // 1000}" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(photo)
        program = [sys.executable, "-c", MEMORY, str(folder)]
        done = subprocess.run(program, capture_output=True, check=True, timeout=300, cwd=Path(__file__).parent)
        count, peaks[number] = json.loads(done.stdout.splitlines()[-1])
        assert count == number
    assert peaks[20_000] <= 1.1 * peaks[500], f"bytes: {peaks}"
