"""``pretrained-cnn embed``: images to a file of embeddings."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pretrained_cnn.cli.console import log_to_stderr, quiet, say
from pretrained_cnn.cli.options import Command, argument, option
from pretrained_cnn.cli.shared import ModelOptions, load_classifier
from pretrained_cnn.cli.status import Status
from pretrained_cnn.errors import InvalidArgumentError, MissingDependencyError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(ModelOptions):
    """What ``embed`` takes."""

    source: tuple[str, ...] = argument("SOURCE", nargs="+", help="Image, http(s) address, folder or glob.")
    layer: str | None = option(
        "--layer", metavar="NAME", help="Layer whose output is the embedding (default: the input of the head)."
    )
    output: str = option(
        "-o",
        "--output",
        required=True,
        metavar="FILE",
        help="An .npy file, float32 (N, D), or a .parquet file with the columns path and embedding.",
    )


def _run(options: Options) -> Status:
    log_to_stderr()
    output = Path(options.output)
    write = {".npy": _write_npy, ".parquet": _write_parquet}.get(output.suffix)
    if write is None:
        raise InvalidArgumentError(f"--output {output}: its name ends neither in .npy nor in .parquet")
    if write is _write_parquet:
        _import_pyarrow()
    if not output.parent.is_dir():
        raise InvalidArgumentError(f"--output {output}: there is no folder {output.parent}")
    from pretrained_cnn.images.sources import expand, items

    clf = load_classifier(options)
    found = itertools.chain.from_iterable([expand(source) for source in options.source])
    with quiet():
        clf.embed([], layer=options.layer)  # builds or loads the network
    names = []

    def images() -> Iterator[tuple[str, Any]]:
        for item in items(found):
            names.append(item.name)
            yield item.name, item.image

    write(output, names, clf.embed(images(), layer=options.layer))
    say(f"{output}\t{len(names)}")
    return Status.OK


def _write_npy(output: Path, paths: list[str], vectors: Any) -> None:
    import numpy as np

    np.save(output, vectors)


def _write_parquet(output: Path, paths: list[str], vectors: Any) -> None:
    pa, parquet = _import_pyarrow()
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    parquet.write_table(pa.table({"path": paths, "embedding": column}), output)


def _import_pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise MissingDependencyError("pyarrow", extra="parquet") from None
    return pa, parquet


COMMAND = Command(
    "embed",
    "Write the embeddings of images to a file.",
    Options,
    _run,
    examples=("photos/ -m ResNet50 -o photos.parquet",),
)
