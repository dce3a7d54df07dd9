"""The options of ``classify``, here or on a cluster."""

from __future__ import annotations

import dataclasses
from typing import Literal

from pretrained_cnn.cli.options import argument, count, flag, option, share
from pretrained_cnn.cli.shared import ModelOptions

OUTPUT, SORTING, SPEED = "output", "sorting", "speed and place"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(ModelOptions):
    """What ``classify`` takes."""

    source: tuple[str, ...] = argument(
        "SOURCE",
        nargs="+",
        help="Image, http(s) address, folder, glob, tar or zip archive, .txt file with a path or an address in each "
        "line, or - for the same from stdin.",
    )
    top: int | None = option(
        "--top", type=count, metavar="N", help="Number of classes to name (default: 5, with --output 1)."
    )
    min_score: float | None = option(
        "--min-score",
        type=share,
        metavar="S",
        help="Mark images whose best score is below S as uncertain (default: mark none).",
    )
    json: bool = flag("--json", group=OUTPUT, help="Print one JSON object for each image.")
    output: str | None = option(
        "-o",
        "--output",
        group=OUTPUT,
        metavar="FILE",
        help="Write rows to FILE, such as rows.csv, rows.jsonl or rows.parquet (default: print them).",
    )
    resume: bool = flag(
        "--resume", group=OUTPUT, exclusive="existing", help="Continue FILE where it ends, if it exists."
    )
    overwrite: bool = flag("--overwrite", group=OUTPUT, exclusive="existing", help="Replace FILE if it exists.")
    retry_failed: bool = flag(
        "--retry-failed", group=OUTPUT, help="With --resume, try the images again that failed; each keeps its place."
    )
    copy_to: str | None = option(
        "--copy-to",
        group=SORTING,
        exclusive="sorted",
        metavar="DIR",
        help="Copy each image to DIR/class/ (default: do not copy).",
    )
    link_to: str | None = option(
        "--link-to",
        group=SORTING,
        exclusive="sorted",
        metavar="DIR",
        help="Link to each image from DIR/class/ (default: do not link).",
    )
    batch_size: int | None = option(
        "--batch-size",
        group=SPEED,
        type=count,
        metavar="N",
        help="Number of images in a batch (default: 16).",
    )
    workers: int | None = option(
        "--workers",
        group=SPEED,
        type=count,
        metavar="N",
        help="Number of threads that decode images; with --on, in each worker (default: one per core, at most 16).",
    )
    on: Literal["ray"] | None = option(
        "--on", group=SPEED, choices=("ray",), help="Classify on a Ray cluster (default: on this machine)."
    )
    address: str | None = option(
        "--address",
        group=SPEED,
        metavar="ADDRESS",
        help='Address of the cluster, or "auto" for the one that this machine is in (default: a new one, of this '
        "machine).",
    )
    shard: int | None = option(
        "--shard", group=SPEED, type=count, metavar="N", help="With --on, number of images in a file (default: 10000)."
    )

    @property
    def named(self) -> int:
        """How many classes to name."""
        return self.top or (1 if self.output else 5)
