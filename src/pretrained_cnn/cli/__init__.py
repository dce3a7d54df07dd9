"""The command line: a module for each command.

Results go to stdout, everything else to stderr. `Status` lists the exit statuses.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from pretrained_cnn import __version__, _settings
from pretrained_cnn._registry import nearest
from pretrained_cnn.cli import (
    audit,
    bench,
    cache,
    calibrate,
    check,
    choose,
    classify,
    compare,
    console,
    embed,
    evaluate,
    export,
    fetch,
    label_next,
    models,
    report,
    runtimes,
    serve,
    train,
)
from pretrained_cnn.cli.options import PROGRAM, Command, Parser
from pretrained_cnn.cli.status import Status
from pretrained_cnn.cli.words import in_options
from pretrained_cnn.errors import InvalidArgumentError, PretrainedCNNError, UnknownModelError

__all__ = ["COMMANDS", "Status", "main"]

COMMANDS: Sequence[Command[Any]] = (
    classify.COMMAND,
    report.COMMAND,
    train.COMMAND,
    choose.COMMAND,
    evaluate.COMMAND,
    audit.COMMAND,
    compare.COMMAND,
    calibrate.COMMAND,
    label_next.COMMAND,
    embed.COMMAND,
    models.COMMAND,
    bench.COMMAND,
    fetch.COMMAND,
    cache.COMMAND,
    export.COMMAND,
    check.COMMAND,
    serve.COMMAND,
    runtimes.COMMAND,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status. ``--help``, ``--version`` and wrong calls raise SystemExit."""
    console.open_console()
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        try:
            with console.terminable(), console.warnings_to_stderr():
                return _run(words)
        finally:
            console.flush()
    except console.Terminated:
        return Status.TERMINATED
    except KeyboardInterrupt as interruption:
        if console.KEPT not in getattr(interruption, "__notes__", ()):
            console.complain("interrupted")
        return Status.INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        return Status.FAILED
    except PretrainedCNNError as error:
        console.complain(in_options(str(error), _options(words)))
        return Status.USAGE if isinstance(error, UnknownModelError | InvalidArgumentError) else Status.FAILED
    except OSError as error:  # the system's: a full disk, a vanished share
        console.complain(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else error)
        return Status.FAILED


def _options(words: Sequence[str]) -> list[str]:
    """The names of the options of the command that the words call."""
    return [name for command in COMMANDS if [command.name] == words[:1] for name in command.option_names()]


def _run(words: Sequence[str]) -> int:
    parser = _parser()
    if not words:
        parser.print_help(sys.stderr)
        return Status.USAGE
    if words[0] in ("help", "version"):  # as in many other programs
        words = [*words[1:], f"--{words[0]}"]
    names = [command.name for command in COMMANDS]
    first = words[0]
    if not first.startswith("-") and first not in names:
        parser.error(f"unknown command {first!r}; {nearest(first, names)}".rstrip("; "))
    options = parser.parse_args(words)
    _settings.check()
    return int(options.run(options))


def _parser() -> Parser:
    parser = Parser(prog=PROGRAM, description="Classify images with pretrained networks, and train your own.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser
