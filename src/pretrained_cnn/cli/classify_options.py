"""The options of ``classify``, here or on a cluster."""

from __future__ import annotations

import dataclasses
from typing import Literal

from pretrained_cnn.cli.options import Count, Share, flag, option
from pretrained_cnn.cli.shared import OUTPUT, StreamOptions

SORTING, CLUSTER = "sorting", "cluster"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(StreamOptions):
    """What ``classify`` takes."""

    top: Count | None = option("Number of classes to name (default: 5, with --output 1).")
    min_score: Share | None = option("Mark images whose best score is below S as uncertain (default: mark none).")
    json: bool = flag("Print one JSON object for each image.", group=OUTPUT)
    output: str | None = option(
        "Write rows to FILE, such as rows.csv, rows.jsonl or rows.parquet (default: print them).",
        short="-o",
        group=OUTPUT,
        metavar="FILE",
    )
    copy_to: str | None = option(
        "Copy each image to DIR/class/ (default: do not copy).", group=SORTING, exclusive="sorted", metavar="DIR"
    )
    link_to: str | None = option(
        "Link to each image from DIR/class/ (default: do not link).", group=SORTING, exclusive="sorted", metavar="DIR"
    )
    unknown_to: str | None = option(
        "Copy each image of none of the classes to DIR, or link to it with --link-to; needs a calibrated bundle "
        "(default: sort it as the others).",
        group=SORTING,
        metavar="DIR",
    )
    on: Literal["ray"] | None = option(
        "Classify on a Ray cluster, where --workers is for each worker (default: on this machine).", group=CLUSTER
    )
    address: str | None = option(
        'Address of the cluster, or "auto" for the one that this machine is in (default: a new one, of this machine).',
        group=CLUSTER,
    )
    shard: Count | None = option("With --on, number of images in a file (default: 10000).", group=CLUSTER)

    @property
    def named(self) -> int:
        """How many classes to name."""
        return self.top or (1 if self.output else 5)
