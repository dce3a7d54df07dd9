"""Runs of results that are killed before each of their steps in turn, and then continue: ``python steps.py KIND``.

A step is a call that changes the file system, or a result that is written. Each run is a fork, which ends without any
cleaning up, as by SIGKILL. Prints how many kills there were; ends with an error if the next run does not mend
what a kill left.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pretrained_cnn import EmbeddingResult, ImageError, OutputError, Prediction, Result, write_results
from pretrained_cnn.images.sources import Item
from pretrained_cnn.labels import Label
from pretrained_cnn.results.shards import Shards
from pretrained_cnn.results.sorting import Sorter
from pretrained_cnn.results.stream import Found

OLD = [f"old {number}.png" for number in range(3)]
NEW = ["bad 1.png", "a.png", "caf\udce9.png", "bad 2.png", "b.png"]
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "a result"}

steps: Iterator[int] | None = None
last: int | None = None


def count_step(event: str, arguments: tuple[Any, ...]) -> None:
    """Count what changes the file system, or end the process instead of it."""
    is_step = event in CHANGES or (event == "open" and (arguments[2] or 0) & WRITES)
    if steps is not None and is_step and next(steps) == last:
        os._exit(9)


def killed_at(step: int, run: Callable[[], Any]) -> bool:
    """Whether the run, in a process of its own, came as far as that step, at which it was killed."""
    global steps, last
    child = os.fork()
    if not child:
        code = 1
        try:
            steps, last = itertools.count(), step
            run()
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9), code
    return code == 9


def content() -> dict[str, Any]:
    """All files below the working directory, except the temporary ones of a process that was killed."""
    paths = [path for path in Path().rglob("*") if not path.is_dir() and path.suffix not in (".part", ".lock")]
    return {str(path): os.readlink(path) if path.is_symlink() else path.read_bytes() for path in paths}


def begin(prepare: Callable[[], Any]) -> None:
    """An empty working directory, with what was there before the run."""
    here = Path.cwd()
    shutil.rmtree(here)
    here.mkdir()
    os.chdir(here)
    prepare()


def check(
    prepare: Callable[[], Any], run: Callable[[], Any], again: Callable[[], Any], *others: Callable[[], Any]
) -> int:
    """Kill ``run`` before each step and call ``again``. Returns how many kills there were.

    The files must be those of a run that was not killed, or of ``others``, if these are as right.
    """
    allowed = []
    for each in (run, *others):
        begin(prepare)
        each()
        allowed.append(content())
    step = 0
    begin(prepare)
    while killed_at(step, run):
        again()
        found = content()
        assert found in allowed, f"killed before step {step}: {difference(found, allowed[0])}"
        step += 1
        begin(prepare)
    return step


def difference(found: dict[str, Any], right: dict[str, Any]) -> str:
    return "; ".join(
        f"{name}: {found.get(name)!r} is not {right.get(name)!r}"
        for name in {**found, **right}
        if found.get(name) != right.get(name)
    )


def error_of(name: str, mended: bool) -> ImageError | None:
    return ImageError(name, "it is bad") if name.startswith("bad") and not mended else None


def results(names: Iterable[str], mended: bool = False) -> Iterator[Result]:
    for name in names:
        sys.audit("a result")
        error = error_of(name, mended)
        yield Result(
            name, () if error else (Prediction("n1", name[:1], 0.75, 1), Prediction("n2", "x", 0.25, 2)), error
        )


def embeddings(names: Iterable[str], mended: bool = False) -> Iterator[EmbeddingResult]:
    for name in names:
        sys.audit("a result")
        error = error_of(name, mended)
        yield EmbeddingResult(name, None if error else np.full(3, len(name), np.float32), error)


def file_kills(make: Any, path: str) -> int:
    def write(names: Iterable[str], mended: bool = False, made_with: int = 1, **options: Any) -> None:
        write_results(make(names, mended), path, settings={"top": 2, "made": made_with}, **options)

    def go_on_or_replace() -> None:
        try:
            write(NEW, resume=True)
        except OutputError:  # it was made with other settings, and says so
            write(NEW, overwrite=True)

    def new() -> None:
        write(NEW, resume=True)

    def retry() -> None:
        write(NEW, mended=True, resume=True, retry_failed=True)

    return (
        check(lambda: None, new, new)
        + check(lambda: write(NEW[:3]), new, new)
        + check(lambda: write(NEW), retry, retry)
        + check(lambda: write(NEW), retry, lambda: (new(), retry()))  # continues at first without another try
        + check(lambda: write(OLD), lambda: write(NEW, overwrite=True), new, new)
        + check(lambda: write(OLD, made_with=2), lambda: write(NEW, overwrite=True), go_on_or_replace)
    )


def shard_kills(path: str) -> int:
    def write(names: Iterable[str], mended: bool = False, made_with: int = 1, **options: Any) -> None:
        listed = (Found(Item(0, name, name), True) for name in names)
        with Shards(path, {"top": 2, "made": made_with}, listed, size=2, **options) as shards:
            for entry in shards.entries():
                shards.write(next(results([entry.name], mended)), listed=entry.listed)
            shards.finish()

    def new() -> None:
        write(NEW, resume=True)

    def go_on_or_replace() -> None:
        try:
            new()
        except OutputError:  # it was made with other settings, and says so
            write(NEW, overwrite=True)

    def retry() -> None:
        write(NEW, mended=True, resume=True, retry_failed=True)

    return (
        check(lambda: None, new, new)
        + check(lambda: write(NEW), retry, retry)
        + check(lambda: write(OLD), lambda: write(NEW, overwrite=True), new, new)
        + check(lambda: write(OLD, made_with=2), lambda: write(NEW, overwrite=True), go_on_or_replace)
    )


def sorting_kills(link: bool) -> int:
    def prepare() -> None:
        for name in ("a/x.png", "b/x.png", "b/y.png"):
            Path(name).parent.mkdir(exist_ok=True)
            Path(name).write_text(name)

    def sort() -> None:
        sorter = Sorter("sorted", link=link, labels=[Label("n1", "cat")])
        for name in ("a/x.png", "b/x.png", "b/y.png"):
            sorter.put(Result(name, (Prediction("n1", "cat", 1.0, 0),), None))

    return check(prepare, sort, sort)


KINDS: dict[str, Callable[[], int]] = {
    **{suffix: lambda suffix=suffix: file_kills(results, f"r.{suffix}") for suffix in ("csv", "jsonl", "parquet")},
    **{
        f"embeddings.{suffix}": lambda suffix=suffix: file_kills(embeddings, f"e.{suffix}")
        for suffix in ("npy", "parquet")
    },
    **{f"shards.{suffix}": lambda suffix=suffix: shard_kills(f"s.{suffix}") for suffix in ("csv", "parquet")},
    "copies": lambda: sorting_kills(link=False),
    "links": lambda: sorting_kills(link=True),
}

if __name__ == "__main__":
    sys.addaudithook(count_step)
    for kind in sys.argv[1:]:
        print(kind, KINDS[kind]())
