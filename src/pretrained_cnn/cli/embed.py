"""``pretrained-cnn embed``: images to a file of embeddings."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pretrained_cnn.cli.shared import OK, add_model_options, load_classifier, log_to_stderr, quiet
from pretrained_cnn.errors import InvalidArgumentError, MissingDependencyError


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    embed = commands.add_parser("embed", help="write the embeddings of images to a file")
    embed.add_argument("source", nargs="+", metavar="SOURCE", help="an image, an http(s) address, a folder or a glob")
    add_model_options(embed)
    embed.add_argument("--layer", metavar="NAME", help="what this layer gives, in place of the head's input")
    embed.add_argument(
        "--output",
        required=True,
        metavar="FILE",
        help="an .npy file, float32 (N, D), or a .parquet file with the columns path and embedding",
    )
    embed.set_defaults(run=_embed)


def _embed(options: argparse.Namespace) -> int:
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
    print(f"{output}\t{len(names)}")
    return OK


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
