"""The progress of long calls: stages report it, and ``progress=`` shows it."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import timedelta
from typing import TypeAlias

from pretrained_cnn.errors import InvalidArgumentError

__all__ = ["Progress", "describe", "report", "showing"]

Progress: TypeAlias = "Callable[[str, int, int | None], None]"
"""Takes a stage, such as ``"embed"``, how much of it is done, and how much there is, if that is known."""

UNITS = {"head": "settings", "fine-tune": "epochs"}
"""What the stages other than those of images count."""

TICK, MINUTE = 0.2, 60.0
"""Seconds between two lines where one can be written over, and elsewhere."""

_shown: ContextVar[Progress | None] = ContextVar("progress", default=None)


def report(stage: str, done: int, total: int | None = None) -> None:
    """Report the progress of a stage, which begins with ``done=0``. Without `showing`, nothing happens."""
    if (show := _shown.get()) is not None:
        show(stage, done, total)


@contextlib.contextmanager
def showing(progress: bool | Progress | None) -> Iterator[None]:
    """Show what `report` reports: True on stderr, a function by calling it. False and None show nothing.

    Raises InvalidArgumentError for anything else.
    """
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        raise InvalidArgumentError(f"progress={progress!r} is not known; give True, or f(stage, done, total)")
    if not progress:
        yield
        return
    with _on_stderr() if progress is True else contextlib.nullcontext(progress) as show:
        token = _shown.set(show)
        try:
            yield
        finally:
            _shown.reset(token)


def describe(stage: str, done: int, total: int | None, seconds: float) -> str:
    """How far a stage is that began ``seconds`` ago.

    >>> describe("embed", 1_000, 5_000, 10.0)
    'embed: 1,000 of 5,000 images, 100.0 a second, 0:00:40 left'
    >>> describe("fine-tune", 2, 20, 60.0), describe("head", 3, None, 1.0)
    ('fine-tune: 2 of 20 epochs, 0:09:00 left', 'head: 3 settings')
    """
    text = f"{stage}: {done:,}" + (f" of {total:,}" if total else "") + f" {UNITS.get(stage, 'images')}"
    if done and seconds:
        text += f", {done / seconds:,.1f} a second" if stage not in UNITS else ""
        text += f", {timedelta(seconds=round((total - done) * seconds / done))} left" if total else ""
    return text


@contextlib.contextmanager
def _on_stderr() -> Iterator[Progress]:
    """A line on a terminal and in a notebook, written over again and again; elsewhere one every minute."""
    stderr = sys.stderr
    over = stderr is not None and (stderr.isatty() or type(stderr).__module__.startswith("ipykernel"))
    starts: dict[str, float] = {}
    last, width = (0.0 if over else time.monotonic()), 0

    def write(text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # closed, or full
            if stderr is not None:
                stderr.write(text)
                stderr.flush()

    def show(stage: str, done: int, total: int | None) -> None:
        nonlocal last, width
        now = time.monotonic()
        start = starts.setdefault(stage, now)
        if now - last < (TICK if over else MINUTE) and done != total:
            return
        text = describe(stage, done, total, now - start)
        if over:
            write("\r" + text.ljust(width))
            last, width = now, len(text)
        elif now - last >= MINUTE:
            write(text + "\n")
            last = now

    yield show
    if width:
        write("\n")
