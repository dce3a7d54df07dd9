"""What `classify` and `embed` share: a file of rows that is written while progress is shown."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from pretrained_cnn.cli.console import complain, kept, quiet
from pretrained_cnn.cli.progress import progress, summary
from pretrained_cnn.cli.shared import StreamOptions
from pretrained_cnn.cli.status import Status
from pretrained_cnn.results.file import Destination, ResultsFile
from pretrained_cnn.results.stream import ResultStream
from pretrained_cnn.results.writing import fill, open_results

__all__ = ["build", "ended", "shown", "write"]


def build(network: Callable[[], object], stream: ResultStream[Any]) -> None:
    """Build or load the network without its messages, unless there is no image for it."""
    if not stream.is_empty():
        with quiet():
            network()


def write(
    options: StreamOptions,
    stream: ResultStream[Any],
    network: Callable[[], object],
    *,
    min_score: float | None = None,
    calibrated: bool = False,
    opened: Callable[[ResultsFile], None] = lambda file: None,
    before: Callable[[Any], None] = lambda result: None,
) -> Status:
    """Write the stream to the file of the options, and say on stderr how far it is and what came of it.

    ``opened`` is called with the file, ``before`` with each result before its rows are written.
    """
    assert options.output is not None
    with contextlib.ExitStack() as stack:
        with quiet():  # what the settings are may need the network
            file, _ = stack.enter_context(
                open_results(
                    stream,
                    options.output,
                    resume=options.resume,
                    overwrite=options.overwrite,
                    retry_failed=options.retry_failed,
                )
            )
        opened(file)
        build(network, stream)
        start = time.monotonic()
        with shown(file, stream.search.count) as report:
            fill(file, stream, before=before, after=report)
        seconds, skipped = time.monotonic() - start, sum(stream.skipped.values())
        return ended(file, seconds, min_score=min_score, calibrated=calibrated, skipped=skipped)


@contextlib.contextmanager
def shown(file: Destination, count: Callable[[], int | None]) -> Iterator[Callable[[], None]]:
    """Show how far a run is whenever what this yields is called, and, if it is interrupted, what it leaves behind."""
    with (
        kept(lambda: f"{file.images:,} images have their rows in {file.path}; continue with --resume"),
        progress(count, file.before) as report,
    ):
        yield lambda: report(file.images, file.failed)


def ended(file: Destination, seconds: float, *, min_score: float | None, calibrated: bool, skipped: int) -> Status:
    """Say on stderr what came of a run; of the uncertain and the unknown only if these were asked for."""
    complain(
        summary(
            str(file.path),
            file.images,
            file.failed,
            seconds,
            uncertain=None if min_score is None else file.uncertain,
            unknown=file.unknown if calibrated else None,
            before=file.before,
            skipped=skipped,
        )
    )
    return Status.FAILED if file.failed else Status.OK
