"""``pretrained-cnn runtimes``: what can execute a network, and what installs it."""

from __future__ import annotations

import dataclasses
import json

from pretrained_cnn.cli.console import say
from pretrained_cnn.cli.options import Command, flag
from pretrained_cnn.cli.status import Status
from pretrained_cnn.runtimes import list_runtimes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What ``runtimes`` takes."""

    json: bool = flag("--json", help="Print one JSON array.")


def _run(options: Options) -> Status:
    rows = list_runtimes()
    if options.json:
        say(json.dumps([row._asdict() for row in rows], indent=2))
    else:
        for row in rows:
            say(f"{row.name:<14}{'installed' if row.installed else row.install}")
    return Status.OK


COMMAND = Command("runtimes", "List what can execute a network, and how to install it.", Options, _run)
