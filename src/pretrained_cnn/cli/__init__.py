"""The command line: a module for each command, or two that belong together.

Results go to stdout, everything else to stderr. Exit codes: 0 all went well, 1 something failed, 2 usage.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from pretrained_cnn import __version__
from pretrained_cnn.cli import bench, bundles, classify, embed, evaluate, models, report, train, weights
from pretrained_cnn.cli.shared import FAILED, INTERRUPTED, USAGE, complain
from pretrained_cnn.errors import InvalidArgumentError, PretrainedCNNError, UnknownModelError

COMMANDS = (classify, report, train, evaluate, embed, models, bench, bundles, weights)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except PretrainedCNNError as error:
        complain(error)
        return USAGE if isinstance(error, UnknownModelError | InvalidArgumentError) else FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pretrained-cnn", description="Pretrained image classifiers by name.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in COMMANDS:
        module.add(commands)
    return parser
