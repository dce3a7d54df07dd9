"""How far a command is, on stderr: a bar on a terminal, else a line every minute."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any

from pretrained_cnn._progress import Progress, describe
from pretrained_cnn.cli.console import complain
from pretrained_cnn.errors import ImageError

INTERVAL = 60.0
"""Seconds between two lines."""

TICK = 1 / 64
"""Seconds between two ticks of Windows' clock: what took less may seem to have taken none."""

Report = Callable[[int, int], None]
"""Takes how many images are done, and how many of them failed."""

Show = Callable[[str, int, int | None], None]
"""Takes a line, how many images are done, and how many there are, if that is known."""


@contextlib.contextmanager
def progress(count: Callable[[], int | None], done: int) -> Iterator[Report]:
    """Show how far the run is. ``done`` images were there before it began.

    ``count`` gives their total number, or None. It runs in a thread, since it may have to list a million files,
    and not before the first image is done.
    """
    total: list[int] = []

    def find_total() -> None:
        with contextlib.suppress(OSError, ImageError):  # the run itself will say so
            if (found := count()) is not None:
                total.append(found)

    counting = threading.Thread(target=find_total, daemon=True)
    start = time.monotonic()
    with (_bar if sys.stderr is not None and sys.stderr.isatty() else _lines)() as show:

        def report(images: int, failed: int) -> None:
            if counting.ident is None:
                counting.start()
            found = total[0] if total else None
            show(line(images, done, failed, found, time.monotonic() - start), images, found)

        yield report


@contextlib.contextmanager
def _lines() -> Iterator[Show]:
    last = time.monotonic()

    def show(text: str, done: int, total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last >= INTERVAL:
            last = time.monotonic()
            complain(text)

    yield show


def line(done: int, before: int, failed: int, total: int | None, seconds: float) -> str:
    """How far a run is, in a line.

    >>> line(13_000, 1_000, 2, 100_000, 60)
    '13,000 of 100,000 images, 200.0 a second, 0:07:15 left, 2 failed'
    """
    rate = (done - before) / max(seconds, TICK)
    of = f" of {total:,}" if total is not None and total >= done else ""
    left = f", {timedelta(seconds=round((total - done) / rate))} left" if total is not None and of and rate else ""
    return f"{done:,}{of} images, {rate:,.1f} a second{left}, {failed:,} failed"


@contextlib.contextmanager
def _bar() -> Iterator[Show]:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
    except ImportError:  # an installation without it
        with _lines() as show:
            yield show
        return
    columns: list[Any] = [SpinnerColumn(), BarColumn(), TextColumn("{task.description}")]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda text, done, total: bar.update(task, total=total, completed=done, description=text)


@contextlib.contextmanager
def stages() -> Iterator[Progress]:
    """Show how far a call with ``progress=`` is."""
    starts: dict[str, float] = {}
    with (_bar if sys.stderr is not None and sys.stderr.isatty() else _lines)() as show:

        def tell(stage: str, done: int, total: int | None) -> None:
            start = starts.setdefault(stage, time.monotonic())
            show(describe(stage, done, total, time.monotonic() - start), done, total)

        yield tell


def count_images(sources: Iterable[str]) -> int | None:
    """How many images there are, or None if only reading them would tell."""
    from pretrained_cnn.images.sources import count

    counts = [count(source) for source in sources]
    return None if None in counts else sum(filter(None, counts))


def summary(
    path: str,
    images: int,
    failed: int,
    seconds: float,
    *,
    uncertain: int | None = None,
    unknown: int | None = None,
    before: int = 0,
    skipped: int = 0,
) -> str:
    """What a run did, in a sentence; ``before`` is how many of the images are from the run that it continued with.

    What is None was not asked for.

    >>> summary("r.csv", 100, 2, 10.0, unknown=5, skipped=3)
    '100 images are in r.csv: 2 failed, 5 unknown, 3 files skipped; 0:00:10, 10.0 a second'
    """
    what = "1 image is" if images == 1 else f"{images:,} images are"
    there = f", {before:,} of them from before" if before else ""
    counts = {"failed": failed, "uncertain": uncertain, "unknown": unknown}
    found = ", ".join(f"{number:,} {status}" for status, number in counts.items() if number is not None)
    other = f", {skipped:,} file{'' if skipped == 1 else 's'} skipped" if skipped else ""
    return (
        f"{what} in {path}{there}: {found}{other}; "
        f"{timedelta(seconds=round(seconds))}, {(images - before) / max(seconds, TICK):,.1f} a second"
    )
