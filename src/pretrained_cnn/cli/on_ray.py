"""``classify --on ray``: the images go to a Ray cluster, and their rows come back to a folder of files.

The folder is a data set to whatever reads such: a file for each so many images, in their order, each there at once
and whole. What is to be classified is written down first, in the file ``_sources``, so that going on is to make the
files that are not there yet, whatever has changed among the images meanwhile.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import re
import socket
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pretrained_cnn.cli.console import quiet
from pretrained_cnn.cli.output import Target, read_file, replace, write_file
from pretrained_cnn.errors import ImageError, InvalidArgumentError, OutputError
from pretrained_cnn.images.sources import is_url
from pretrained_cnn.results.result import Result
from pretrained_cnn.results.rows import to_result, to_rows

if TYPE_CHECKING:
    from pretrained_cnn.spec import ModelSpec

SHARD = 10_000
"""Images in a file, unless ``--shard`` says otherwise: what is done again at most after the run was cut off."""

BLOCK = 1_000
"""Images that Ray hands to a worker at once, and hands to another if that one dies."""

Entry = str | list[str]
"""An image's path or address; or, for what could not be listed, its name and what was wrong."""


class Shards(Target):
    """A folder of files, each with the rows of ``size`` images, the last with those that are left.

    Raises OutputError if it cannot be written, if there is one already and neither ``resume`` nor ``overwrite`` is
    said, or if it was made with other settings; InvalidArgumentError for an image in an archive.
    """

    def __init__(
        self,
        path: str,
        settings: Mapping[str, Any],
        images: Iterable[Any],
        *,
        size: int,
        resume: bool = False,
        overwrite: bool = False,
    ) -> None:
        super().__init__(path, {**settings, "shard": size})
        self._size = size
        self._sources = self.path / "_sources"
        self._ready: list[Result] = []
        try:
            with self._explained():
                self._open(images, resume, overwrite)
        except BaseException:  # Ctrl-C included: nobody else will let go of the lock
            self.close()
            raise

    def entries(self) -> Iterator[Entry]:
        """What has no rows yet, in the order in which `write` wants its results."""
        missing = set(self._missing)
        with open(self._sources, "rb") as lines:
            for number, line in enumerate(lines):
                if number // self._size in missing:
                    yield json.loads(line)

    def write(self, result: Result) -> None:
        """Take the next result; with the last of its file, the file is written."""
        self._count(to_rows(result)[0])
        self._ready.append(result)
        number = self._missing[0]
        if len(self._ready) == min(self._size, self.total - number * self._size):
            with self._explained():
                write_file(self._file(number), self._ready)
            self._missing.popleft()
            self._ready = []

    def finish(self) -> None:
        """Say that all images have their rows."""
        with self._explained():
            self._note(finished=True)

    def _open(self, images: Iterable[Any], resume: bool, overwrite: bool) -> None:
        if os.path.lexists(self.path):
            if resume:
                self._check_settings()
            elif overwrite:
                self._remove()
            else:
                raise OutputError(
                    f"{self.path}: it is there already; go on with it by --resume, replace it by --overwrite, or "
                    "choose another name"
                )
        self._note(finished=False)
        self.path.mkdir(exist_ok=True)
        if not self._sources.exists():
            try:
                replace(self._sources, lambda file: _list(images, file))
            except BaseException:  # Ctrl-C included: a folder without its list could not be gone on with
                with contextlib.suppress(OSError):
                    self.path.rmdir()
                raise
        with open(self._sources, "rb") as lines:
            self.total = sum(1 for _ in lines)
        """How many images there are."""
        numbers = range(-(-self.total // self._size))
        self._missing = deque(number for number in numbers if not self._file(number).exists())
        for number in sorted(set(numbers) - set(self._missing)):
            for row in read_file(self._file(number)):
                if row["rank"] in (None, 1):
                    self._count(row)

    def _file(self, number: int) -> Path:
        return self.path / f"{number:06}{self.path.suffix}"

    def _remove(self) -> None:
        """Remove what is ours, and nothing else that is in the folder."""
        if not self.path.is_dir():
            self.path.unlink()
            return
        self._sources.unlink(missing_ok=True)
        for path in self.path.iterdir():
            if re.fullmatch(rf"\d{{6}}{self.path.suffix}", path.name):
                path.unlink()


def _list(images: Iterable[Any], file: BinaryIO) -> None:
    for image in images:
        if isinstance(image, str):
            entry: Entry = image
        elif isinstance(image[1], ImageError):
            entry = [image[0], image[1].reason]
        else:
            raise InvalidArgumentError(
                f"{image[0]}: --on ray takes no archives, which only one process can read; unpack it, or leave "
                "--on ray away"
            )
        file.write(json.dumps(entry).encode() + b"\n")


@contextlib.contextmanager
def results(
    shards: Shards,
    model: str | ModelSpec,
    *,
    weights: str | None,
    runtime: str | None,
    top: int,
    min_score: float | None,
    batch_size: int | None,
    workers: int | None,
    address: str | None,
) -> Iterator[Iterator[Result]]:
    """The results that the folder wants, in its order. Raises OutputError if Ray gives up."""
    if shards.images == shards.total:
        yield iter(())  # and no cluster is looked for
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    import ray

    with contextlib.redirect_stdout(sys.stderr), quiet():
        try:
            _reach(address)
            ray.init(address or "local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except OSError:
            if address is None:
                raise
            raise InvalidArgumentError(f"--address {address}: no Ray cluster can be reached there") from None
        try:
            _check_cores(workers)
            settings: dict[str, Any] = {
                "runtime": runtime,
                "top": top,
                "min_score": min_score,
                "batch_size": batch_size,
            }
            settings["num_cpus"] = workers or 1
            if weights is not None:
                settings["weights"] = weights if weights == "imagenet" else os.path.abspath(weights)
            yield _results(shards, model, settings)
        except ray.exceptions.RayError as error:
            raise OutputError(
                f"{shards.path}: Ray gave up: {_reason(str(error))}; the files in it stay, and --resume adds the others"
            ) from error
        finally:
            ray.shutdown()


def _reach(address: str | None) -> None:
    """Raise OSError if nobody answers there: Ray itself would try for minutes."""
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _check_cores(workers: int | None) -> None:
    """Raise InvalidArgumentError for more cores than a machine has: Ray would wait for one for ever."""
    import ray

    most = max(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"])
    if workers is not None and workers > most:
        raise InvalidArgumentError(
            f"--workers {workers}: no machine of the cluster has so many cores to give, but {most:g}"
        )


def _reason(text: str) -> str:
    """What matters of what Ray says: an error of ours, which it hands on as text alone, or else all of it."""
    ours = re.findall(r"^pretrained_cnn\.errors\.\w+: (.+)$", text, flags=re.MULTILINE)
    return ours[-1] if ours else " ".join(text.split())


def _results(shards: Shards, model: str | ModelSpec, settings: Mapping[str, Any]) -> Iterator[Result]:
    import pandas
    import ray

    from pretrained_cnn.integrations.ray import classify

    logging.getLogger("ray.data").setLevel(logging.WARNING)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.max_consecutive_actor_init_deaths = 3  # a machine that goes while an actor starts there is no reason to end
    paths = (entry if is_url(entry) else os.path.abspath(entry) for entry in shards.entries() if isinstance(entry, str))
    blocks = []
    while some := list(itertools.islice(paths, BLOCK)):  # as objects, for Arrow has no names that are not UTF-8
        blocks.append(ray.put(pandas.DataFrame({"path": some}, dtype=object)))
    dataset = classify(ray.data.from_pandas_refs(blocks), model, column="path", **settings)
    tables = dataset.iter_batches(batch_size=None, batch_format="pyarrow")
    images = _images(row for table in tables for row in table.to_pylist())
    for entry in shards.entries():
        yield to_result(next(images), entry) if isinstance(entry, str) else Result(entry[0], (), ImageError(*entry))


def _images(found: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The rows of an image at a time."""
    image: list[dict[str, Any]] = []
    for row in found:
        if image and row["rank"] in (None, 1):
            yield image
            image = []
        image.append(row)
    yield image
