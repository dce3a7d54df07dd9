"""``pretrained-cnn check``: whether a bundle is intact and answers here as it did where it was made."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pretrained_cnn.cli.console import complain, log_to_stderr, quiet, say
from pretrained_cnn.cli.export import describe
from pretrained_cnn.cli.options import Command, argument, flag, option
from pretrained_cnn.cli.shared import FOLLOW_LINKS, RUNTIME
from pretrained_cnn.cli.status import Status
from pretrained_cnn.runtimes import get_runtime


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What ``check`` takes."""

    bundle: str = argument("Folder of the bundle.", metavar="DIR")
    runtime: str | None = option(f"{RUNTIME} (default: the one that the bundle is made for).")
    follow_links: bool = flag(FOLLOW_LINKS)


def _run(options: Options) -> Status:
    log_to_stderr()
    from pretrained_cnn.bundle.store import agrees, open_bundle, verify

    bundle = open_bundle(Path(options.bundle), follow_links=options.follow_links)
    with quiet():
        runtime = bundle.open(None if options.runtime is None else get_runtime(options.runtime))
        found = verify(bundle, runtime)
    say(f"{options.bundle}\t{describe(found)}")
    if agrees(found, bundle.manifest):
        return Status.OK
    complain(f"{options.bundle} is intact, but does not answer here as it did where it was made")
    return Status.CHECK


COMMAND = Command(
    "check",
    "Check that a bundle is intact and answers here as it did where it was made.",
    Options,
    _run,
    examples=("lite.bundle",),
)
