"""``classify --on ray``: the images go to a Ray cluster, and their rows come back to a folder of files."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import re
import socket
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pretrained_cnn.cli.classify_options import Options
from pretrained_cnn.cli.console import quiet
from pretrained_cnn.cli.status import Status
from pretrained_cnn.cli.writing import ended, shown
from pretrained_cnn.errors import InvalidArgumentError, OutputError
from pretrained_cnn.images.sources import is_address
from pretrained_cnn.results.file import RunInfo, by_image, noted_settings
from pretrained_cnn.results.names import escape
from pretrained_cnn.results.result import Result
from pretrained_cnn.results.rows import Row, to_result
from pretrained_cnn.results.settings import settings_of
from pretrained_cnn.results.shards import SHARD, Entry, Shards
from pretrained_cnn.results.stream import Sources, find_images

if TYPE_CHECKING:
    from pretrained_cnn.classifier import Classifier
    from pretrained_cnn.spec import ModelSpec

BLOCK = 1_000
"""Images that Ray hands to a worker at once, and hands to another if that one dies."""


def run(clf: Classifier, options: Options) -> Status:
    """Classify on a cluster, into a folder of files."""
    import pretrained_cnn.integrations.ray  # noqa: F401 - says what to install before anything is written
    from pretrained_cnn.bundle.store import looks_like_bundle_path

    assert options.output is not None
    with quiet():
        before = noted_settings(options.output) if options.resume else {}
        settings = settings_of(clf.engine, before, top=options.named, min_score=options.min_score)
    with _explained(options.address):
        _reach(options.address)
    start = time.monotonic()
    skipped = Counter[str]()
    with Shards(
        options.output,
        {**settings, "sources": list(options.source)},
        find_images(Sources(options.source), skipped=skipped),
        size=options.shard or SHARD,
        run=RunInfo.of(options.source),
        resume=options.resume,
        overwrite=options.overwrite,
        retry_failed=options.retry_failed,
    ) as shards:
        model = options.model if looks_like_bundle_path(options.model) else clf.spec
        try:
            with (
                _cluster(shards, options) as cores,
                shown(shards, lambda: shards.total) as report,
            ):
                for result, entry in _results(shards, model, _arguments(options, cores, clf)):
                    shards.write(result, listed=entry.listed)
                    report()
        except InvalidArgumentError:
            shards.discard()
            raise
        shards.finish()
        seconds, calibrated = time.monotonic() - start, clf.calibration is not None
        return ended(shards, seconds, min_score=options.min_score, calibrated=calibrated, skipped=skipped.total())


@contextlib.contextmanager
def _cluster(shards: Shards, options: Options) -> Iterator[int]:
    """A cluster, and how many cores a worker reserves. Raises OutputError if Ray gives up."""
    if shards.images == shards.total and not shards.is_retrying:
        yield 1  # and no cluster is looked for
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    import ray

    with contextlib.redirect_stdout(sys.stderr), quiet():
        with _explained(options.address):
            ray.init(
                options.address or "local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
            )
        try:
            yield _cores(options.workers)
        except ray.exceptions.RayError as error:
            raise OutputError(
                f"{shards.path}: Ray gave up: {_reason(str(error))}; the files in it stay, and resume=True adds the "
                "others"
            ) from error
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _explained(address: str | None) -> Iterator[None]:
    try:
        yield
    except OSError:
        if address is None:
            raise
        raise InvalidArgumentError(f"--address {address}: no Ray cluster can be reached there") from None


def _cores(workers: int | None) -> int:
    """The cores that a worker reserves: those asked for, or all but one of the smallest machine.

    Raises InvalidArgumentError for more than a machine has: Ray would wait for them for ever.
    """
    import ray

    cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    if workers is not None and workers > max(cores):
        raise InvalidArgumentError(
            f"--workers {workers}: no machine of the cluster has that many cores free, but {max(cores)}"
        )
    return workers or max(1, min(filter(None, cores), default=1) - 1)


def _arguments(options: Options, cores: int, clf: Classifier) -> dict[str, Any]:
    """What `pretrained_cnn.integrations.ray.classify` is asked for."""
    weights = options.weights
    if weights is not None and weights != "imagenet":
        weights = os.path.abspath(weights)
    return {
        "runtime": clf.runtime,
        "image_policy": clf.engine.image_policy,
        "top": options.named,
        "min_score": options.min_score,
        "batch_size": options.batch_size,
        "num_cpus": cores,
        **({} if weights is None else {"weights": weights}),
        **({} if clf.precision == "float32" else {"precision": clf.precision}),
        **({"follow_links": True} if options.follow_links else {}),
    }


def _results(shards: Shards, model: str | ModelSpec, arguments: Mapping[str, Any]) -> Iterator[tuple[Result, Entry]]:
    """The results that the folder wants, in its order; once more for the files that wait for another try."""
    while shards.images < shards.total or shards.is_retrying:
        paths = (path_of(shards, entry) for entry in shards.entries() if entry.reason is None)
        found = by_source(_classify(paths, model, arguments))
        for entry in shards.entries():
            if entry.reason is None:
                yield to_result(found(escape(path_of(shards, entry))), entry.name), entry
            else:
                yield Result(entry.name, (), entry.error), entry
        if not shards.again():
            return


def path_of(shards: Shards, entry: Entry) -> str:
    """The path of an image on every machine: absolute, as seen from where the run began. An address stays."""
    return entry.name if is_address(entry.name) else os.path.normpath(os.path.join(shards.run.folder, entry.name))


def by_source(images: Iterator[list[Row]]) -> Any:
    """A function from a name to the rows of the next image of that name, whatever the order in which rows come."""
    early: dict[str, deque[list[Row]]] = defaultdict(deque)

    def take(source: str) -> list[Row]:
        while not early[source]:
            rows = next(images, None)
            if rows is None:
                raise OutputError(f"{source}: Ray gave no rows for this image; continue with resume=True")
            early[rows[0]["source"]].append(rows)
        rows = early[source].popleft()
        if not early[source]:
            del early[source]
        return rows

    return take


def _classify(paths: Iterable[str], model: str | ModelSpec, arguments: Mapping[str, Any]) -> Iterator[list[Row]]:
    """The rows of each image, as Ray gives them."""
    import pandas
    import ray

    from pretrained_cnn.integrations.ray import classify

    logging.getLogger("ray.data").setLevel(logging.WARNING)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.max_consecutive_actor_init_deaths = 3  # a machine that goes while an actor starts there is no reason to end
    blocks = []
    paths = iter(paths)
    while some := list(itertools.islice(paths, BLOCK)):  # as objects, for Arrow has no names that are not UTF-8
        blocks.append(ray.put(pandas.DataFrame({"path": some}, dtype=object)))
    if not blocks:
        return iter(())
    dataset = classify(ray.data.from_pandas_refs(blocks), model, column="path", **arguments)
    tables = dataset.iter_batches(batch_size=None, batch_format="pyarrow")
    return by_image(row for table in tables for row in table.to_pylist())


def _reach(address: str | None) -> None:
    """Raise OSError if nobody answers there: Ray itself would try for minutes."""
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _reason(text: str) -> str:
    """What matters of what Ray says: an error of ours, which it hands on as text alone, or else all of it."""
    ours = re.findall(r"^pretrained_cnn\.errors\.\w+: (.+)$", text, flags=re.MULTILINE)
    return ours[-1] if ours else " ".join(text.split())
