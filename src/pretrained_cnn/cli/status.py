"""The exit statuses of the command line: one table for all commands."""

from __future__ import annotations

import enum

__all__ = ["Status"]


class Status(enum.IntEnum):
    """What a command tells the shell.

    >>> Status.FAILED.value
    1
    """

    OK = 0
    FAILED = 1
    USAGE = 2
    CHECK = 3
    INTERRUPTED = 130
    TERMINATED = 143

    @property
    def meaning(self) -> str:
        """One sentence for the documentation."""
        return _MEANINGS[self]


_MEANINGS = {
    Status.OK: "Everything was done. Uncertain, unknown and skipped images do not change this.",
    Status.FAILED: "Something failed: an image, a file, a download, a missing package. stderr names it.",
    Status.USAGE: "The command line is wrong, or names a model or a runtime that is unknown or cannot be right.",
    Status.CHECK: "A check that you asked for was made, and its answer is no.",
    Status.INTERRUPTED: "Interrupted with Ctrl-C (SIGINT). Finished rows of a result file are kept.",
    Status.TERMINATED: "Ended by SIGTERM. Finished rows of a result file are kept.",
}
