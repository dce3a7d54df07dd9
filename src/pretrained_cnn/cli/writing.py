"""What `classify` and `embed` share: a file of rows that is written while progress is shown."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from pretrained_cnn.cli.console import complain, kept, quiet
from pretrained_cnn.cli.progress import progress, summary
from pretrained_cnn.cli.status import Status
from pretrained_cnn.results.file import ResultsFile
from pretrained_cnn.results.stream import ResultStream
from pretrained_cnn.results.writing import fill

__all__ = ["build", "write"]


def build(network: Callable[[], Any], stream: ResultStream[Any]) -> None:
    """Build or load the network without its messages, unless there is no image for it."""
    if not stream.is_empty():
        with quiet():
            network()


def write(
    file: ResultsFile,
    stream: ResultStream[Any],
    min_score: float | None,
    *,
    before: Callable[[Any], None] = lambda result: None,
) -> Status:
    """Write the stream to the file, and say on stderr how far it is and what came of it."""
    start = time.monotonic()
    with (
        kept(lambda: f"{file.images:,} images have their rows in {file.path}; continue with --resume"),
        progress(stream.search.count, file.before) as report,
    ):
        fill(file, stream, before=before, after=lambda: report(file.images, file.failed))
    uncertain = None if min_score is None else file.uncertain
    complain(summary(str(file.path), file.images, file.failed, uncertain, time.monotonic() - start, file.before))
    return Status.FAILED if file.failed else Status.OK
