"""``pretrained-cnn runtimes``: what can execute a network, and what installs it."""

from __future__ import annotations

import dataclasses
import json

from pretrained_cnn.cli.console import say
from pretrained_cnn.cli.options import Command, flag
from pretrained_cnn.cli.status import Status
from pretrained_cnn.runtimes import PrecisionInfo, RuntimeInfo, list_precisions, list_runtimes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What ``runtimes`` takes."""

    precisions: bool = flag("List what OpenVINO can compute in on this machine instead.")
    json: bool = flag("Print one JSON array.")


def _run(options: Options) -> Status:
    rows: list[RuntimeInfo] | list[PrecisionInfo] = list_precisions() if options.precisions else list_runtimes()
    if options.json:
        say(json.dumps([row._asdict() for row in rows], indent=2))
        return Status.OK
    for row in rows:
        if isinstance(row, PrecisionInfo):
            say(f"{row.name:<14}{row.reason or 'available'}")
        else:
            say(f"{row.name:<14}{'installed' if row.installed else row.install}")
    return Status.OK


COMMAND = Command("runtimes", "List what can execute a network, and how to install it.", Options, _run)
