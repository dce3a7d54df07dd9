"""`write_results` writes results to a file as they come, so that an interrupted run can be resumed."""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrained_cnn._process import warn
from pretrained_cnn.errors import InvalidArgumentError, OutputError
from pretrained_cnn.images.sources import SUFFIXES, is_address
from pretrained_cnn.results.failures import IN_A_ROW, has_files, is_missing, may_pass
from pretrained_cnn.results.file import ResultsFile, RunInfo, noted_settings
from pretrained_cnn.results.result import EmbeddingResult, Result
from pretrained_cnn.results.rows import EMBEDDINGS, RESULTS, Schema
from pretrained_cnn.results.stream import Origin, ResultStream

__all__ = ["Written", "fill", "open_results", "write_results"]


MAX_HELD = 1_000
"""Maximum number of results that wait behind a temporary failure."""
MAX_FOLDERS = 100_000
"""Maximum number of folders that are remembered because an image in them could be read."""


@dataclass(frozen=True)
class Written:
    """What `write_results` did.

    >>> Written(Path("r.csv"), images=1_000, failed=2, uncertain=0, before=400)
    Written(path=...Path('r.csv'), images=1000, failed=2, uncertain=0, before=400, unknown=0)
    """

    path: Path
    """The file."""
    images: int
    """Number of images with rows in the file."""
    failed: int
    """Number of these images that failed."""
    uncertain: int
    """Number of these images that are uncertain."""
    before: int
    """Number of these images that had rows before this run."""
    unknown: int = 0
    """Number of these images that are of none of the classes, by a calibrated classifier."""


def fill(
    file: ResultsFile,
    results: Iterable[Any],
    *,
    before: Callable[[Any], None] = lambda result: None,
    after: Callable[[], None] = lambda: None,
) -> None:
    """Write results that the file does not have, as `open_results` gives them, and finish the file.

    ``before`` is called with each result before its rows are written, ``after`` after that. Temporary failures are held
    back until an image succeeds, and are then tried again. Raises OutputError, and leaves them out, if
    `IN_A_ROW` of them follow each other, or if they fail again while their folder or machine does not answer.
    """

    def write(result: Any) -> None:
        before(result)
        file.write(result)
        after()

    held = _Held(file, results if isinstance(results, ResultStream) else None, write)
    try:
        for result, origin in _with_origins(results):
            held.take(result, origin)
        held.release(None)
    except MemoryError as error:
        raise OutputError(held.sentence("the machine has no memory left")) from error
    finally:
        if isinstance(results, ResultStream):
            results.close()
    if held.left_out:
        raise OutputError(held.sentence())
    file.finish()
    _hint(file, results)


class _Held:
    """Results that wait behind a temporary failure."""

    def __init__(self, file: ResultsFile, stream: ResultStream[Any] | None, write: Callable[[Any], None]) -> None:
        self._file, self._stream, self._write = file, stream, write
        self._waiting: list[tuple[Any, Origin]] = []
        self._in_a_row = 0
        self._folders: set[str] = set()
        """Folders in which an image could be read."""
        self.left_out: list[Any] = []
        """Failed results that are not written, so that a run that continues tries their images again."""

    def take(self, result: Any, origin: Origin) -> None:
        """Write a result now, or later."""
        if self._passes(result, origin):
            self._waiting.append((result, origin))
            self._in_a_row += 1
            if self._in_a_row >= IN_A_ROW:
                self.left_out = [each for each, where in self._waiting if self._passes(each, where)]
                raise OutputError(self.sentence())
        elif not self._waiting:
            self._write(result)
        elif result.error is None or len(self._waiting) >= MAX_HELD:
            self.release(origin)
            self._write(result)
        else:  # the image's own error says nothing of the others
            self._waiting.append((result, origin))

    def release(self, success: Origin | None) -> None:
        """Try again what may have passed, and write what is certain. ``success`` is an image that could be read."""
        waiting, self._waiting, self._in_a_row = self._waiting, [], 0
        for result, origin in waiting:
            if self._passes(result, origin):
                if self._stream is not None and origin.image is not None:
                    result = self._stream.again(result)
                if self._passes(result, origin) and not _is_its_own(result, origin, success):
                    self.left_out.append(result)
                    continue
            self._write(result)

    def _passes(self, result: Any, origin: Origin) -> bool:
        """Whether a failure is temporary; also that of a path which a list names, if its folder was there and is
        gone.
        """
        folder = os.path.dirname(origin.image) if isinstance(origin.image, str) else None
        if result.error is None:
            if folder is not None and len(self._folders) < MAX_FOLDERS:
                self._folders.add(folder)
            return False
        if is_missing(result.error) and folder in self._folders and not has_files(folder or ""):
            return True
        return may_pass(result.error, listed=origin.listed)

    def sentence(self, reason: str | None = None) -> str:
        """How the run ended."""
        if reason is None:
            last = self.left_out[-1]
            count = "1 image" if len(self.left_out) == 1 else f"{len(self.left_out):,} images"
            reason = (
                f"{count} could not be read for a temporary reason, the last one {last.source}: {last.error.reason}"
            )
        return (
            f"{self._file.path}: {reason}; no row was written for temporary failures. {self._file.images:,} images "
            "have their rows; solve the problem, then continue with resume=True"
        )


def _is_its_own(result: Any, origin: Origin, success: Origin | None) -> bool:
    """Whether a failure that could have passed is the image's own: others can be read now, and its folder is there."""
    if success is None:
        return False
    if is_missing(result.error) and not has_files(os.path.dirname(origin.image or result.source)):
        return False
    return not (isinstance(success.image, str) and "://" not in success.image) or os.path.exists(success.image)


def _with_origins(results: Iterable[Any]) -> Iterator[tuple[Any, Origin]]:
    """The results, with where they come from."""
    if isinstance(results, ResultStream):
        while not results.is_empty():
            try:
                yield results.next_with_origin()
            except StopIteration:
                return
        return
    nowhere = Origin(None, listed=False)
    for result in results:
        yield result, nowhere


def _hint(file: ResultsFile, results: Iterable[Any]) -> None:
    """Warn about sources without any image in a run that continued: a name may be misspelled."""
    if not file.before or not isinstance(results, ResultStream):
        return
    for source, count in results.search.found.items():
        if count and results.search.fresh[source] == count:
            warn(
                f"{source}: none of its {count:,} images was in {file.path} before; if some were expected, compare the "
                "names"
            )


def write_results(
    results: Iterable[Result] | Iterable[EmbeddingResult],
    path: str | os.PathLike[str],
    *,
    resume: bool = False,
    overwrite: bool = False,
    retry_failed: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Written:
    """Write results or embeddings to a file, the rows of each image as soon as they are known.

    Args:
        results: What ``Classifier.stream`` or ``Classifier.embed_stream`` returns, or any iterable of results.
        path: The file. Results: ``.csv``, ``.jsonl`` (a JSON object in each line) or ``.parquet``, with the columns of
            `to_frame`. Embeddings: ``.parquet``, with the columns ``source``, ``embedding`` and ``error``, or ``.npy``,
            float32 ``(N, D)`` with NaN in failed rows, and the names in ``NAME.npy.sources.csv`` next to it.
        resume: Continue the file, if it exists. Images that already have rows are left out.
        overwrite: Replace the file, if it exists.
        retry_failed: With ``resume``, try the images again that failed. Each keeps its place in the file.
        settings: Everything that the results depend on, as plain data. A resumed run must have the same settings. A
            stream knows its own settings; a plain iterable needs them for resuming.

    A killed process loses no written row and leaves no partial row. Temporary failures, such as those of a network
    drive or of memory, get no rows. The run then ends with OutputError, and ``resume=True`` tries these images again.

    Raises OutputError if the file cannot be written, if it exists and neither ``resume`` nor ``overwrite`` is given, or
    if it was made with other settings; InvalidArgumentError for arguments that exclude each other.

    >>> import tempfile
    >>> from pretrained_cnn import Classifier
    >>> clf = Classifier("EfficientNetLite0")
    >>> path = tempfile.mkdtemp() + "/results.csv"
    >>> write_results(clf.stream("examples/images", top=1), path).images
    6
    >>> written = write_results(clf.stream("examples/images", top=1), path, resume=True)
    >>> written.images, written.before
    (6, 6)
    """
    with open_results(
        results, path, resume=resume, overwrite=overwrite, retry_failed=retry_failed, settings=settings
    ) as (file, found):
        fill(file, found)
        return Written(file.path, file.images, file.failed, file.uncertain, file.before, file.unknown)


@contextlib.contextmanager
def open_results(
    results: Iterable[Any],
    path: str | os.PathLike[str],
    *,
    resume: bool = False,
    overwrite: bool = False,
    retry_failed: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[tuple[ResultsFile, Iterable[Any]]]:
    """The file that `write_results` writes, and the results that `fill` takes."""
    if resume and overwrite:
        raise InvalidArgumentError("resume=True and overwrite=True do not go together; give one of them")
    if retry_failed and not resume:
        raise InvalidArgumentError("retry_failed=True needs resume=True")
    if isinstance(results, ResultStream):
        schema, sources = results.schema, results.search.sources
    else:
        if resume and settings is None:
            raise InvalidArgumentError(
                "resume=True needs settings={...} for an iterable that does not know what its results depend on; "
                "Classifier.stream knows it"
            )
        schema, results = _schema_of(results, path)
        sources = ()

    def known() -> Mapping[str, Any]:
        before = noted_settings(path) if resume else {}
        return {**(results.settings_after(before) if isinstance(results, ResultStream) else {}), **(settings or {})}

    with ResultsFile(
        path, known, schema, run=RunInfo.of(sources), resume=resume, overwrite=overwrite, retry_failed=retry_failed
    ) as file:
        if isinstance(results, ResultStream):
            _check_sources(file, results)
            yield file, results.skip(file.done)
        else:
            folder = file.done.folder
            yield file, (result for result in results if not file.done.take(result.source, folder))


def _check_sources(file: ResultsFile, stream: ResultStream[Any]) -> None:
    """Raise OutputError if a folder or archive of the run is gone, which would be taken for an image's path."""
    for source in stream.search.sources if file.before else ():
        is_other = (
            source == "-" or is_address(source) or Path(source).suffix.lower() in SUFFIXES or glob.has_magic(source)
        )
        if not is_other and not os.path.lexists(source) and source in file.run.sources and source not in file.done:
            raise OutputError(f"{source}: this source of {file.path} is gone; continue when it is there again")


def _schema_of(results: Iterable[Any], path: str | os.PathLike[str]) -> tuple[Schema, Iterable[Any]]:
    """The kind of rows of the first result, and all of the results."""
    rest = iter(results)
    first = list(itertools.islice(rest, 1))
    is_embedding = isinstance(first[0], EmbeddingResult) if first else Path(path).suffix.lower() == ".npy"
    return EMBEDDINGS if is_embedding else RESULTS, itertools.chain(first, rest)
