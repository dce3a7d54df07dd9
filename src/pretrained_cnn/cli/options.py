"""The options of a command, declared once: as the fields of a frozen dataclass.

`Command` makes a parser from the fields and hands the command an instance, so no ``argparse.Namespace`` goes further.

>>> @dataclasses.dataclass(frozen=True, kw_only=True)
... class Options:
...     name: str = argument("NAME", help="Whom to greet.")
...     times: int = option("-t", "--times", type=count, default=1, metavar="N", help="Number of greetings.")
>>> def run(options: Options) -> int:
...     print(f"Hello {options.name}! " * options.times)
...     return 0
>>> Command("greet", "Greet somebody.", Options, run).parse(["Ada", "-t", "2"])
Options(name='Ada', times=2)
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Generic, NoReturn, TypeVar

from pretrained_cnn._registry import nearest
from pretrained_cnn.cli.console import say

__all__ = ["Command", "Parser", "argument", "count", "flag", "number", "option", "share"]

PROGRAM = "pretrained-cnn"

T = TypeVar("T")


def argument(
    metavar: str, *, help: str, nargs: str | None = None, default: Any = dataclasses.MISSING, **keywords: Any
) -> Any:
    """Declare a positional argument. With ``nargs`` of ``"+"`` or ``"*"`` the field is a tuple."""
    return _field((), help, default, metavar=metavar, nargs=nargs, **keywords)


def option(*flags: str, help: str, default: Any = None, **keywords: Any) -> Any:
    """Declare an option with a value. ``required``, ``type``, ``choices``, ``metavar`` and ``action`` are argparse's.

    ``group`` is the heading under which the help lists it. Options of the same ``exclusive`` exclude each other. The
    help ends with the default, unless it is None: then the text itself says what happens.
    """
    return _field(flags, help, dataclasses.MISSING if keywords.get("required") else default, **keywords)


def flag(*flags: str, help: str, **keywords: Any) -> Any:
    """Declare an option without a value: False unless given. ``group`` and ``exclusive`` are as in `option`."""
    return _field(flags, help, False, action="store_true", **keywords)


def _field(
    flags: tuple[str, ...], help: str, default: Any, *, group: str = "", exclusive: str = "", **keywords: Any
) -> Any:
    if not any(default is none for none in (None, False, dataclasses.MISSING)) and default != ():
        help = f"{help.removesuffix('.')} (default: {default})."
    keywords = {name: value for name, value in keywords.items() if value is not None}
    metadata = {"flags": flags, "group": group, "exclusive": exclusive, "keywords": {**keywords, "help": help}}
    return dataclasses.field(default=default, metadata=metadata)


class Parser(argparse.ArgumentParser):
    """Says in one sentence what is wrong with a command line, and which option may have been meant."""

    def __init__(self, **keywords: Any) -> None:
        keywords.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **keywords)

    def print_help(self, file: Any = None) -> None:
        """As argparse's, which would not say that stdout cannot be written."""
        if file is None:
            say(self.format_help().removesuffix("\n"))
        else:
            super().print_help(file)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, but an option that the command does not have is an error of the command."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(self._unknown(unknown[0]))
        return found, []

    def _unknown(self, word: str) -> str:
        if not word.startswith("-"):
            return f"unexpected argument {word!r}"
        word = word.partition("=")[0]
        flags = [flag for action in self._actions for flag in action.option_strings]
        return f"unknown option {word}; {nearest(word, flags)}".rstrip("; ")

    def error(self, message: str) -> NoReturn:
        """Exit with 2, and a message that ends with the way to the help."""
        stop = "" if message.endswith("?") else ";"
        self.exit(2, f"{self.prog}: {message}{stop} `{self.prog} --help` explains the command line\n")


@dataclasses.dataclass(frozen=True)
class Command(Generic[T]):
    """A command of ``pretrained-cnn``."""

    name: str
    summary: str
    """What it does, in a sentence."""
    options: type[T]
    """A frozen dataclass; each field is declared by `argument`, `option` or `flag`."""
    run: Callable[[T], int]
    """Does it, and returns a `Status`."""
    examples: Sequence[str] = ()
    """Command lines, without the program's name, that the help ends with."""

    def add(self, commands: Any) -> None:
        """Add the command to argparse's subparsers."""
        self._fill(commands.add_parser(self.name, help=self.summary, **self._texts()))

    def parse(self, words: Sequence[str]) -> T:
        """The options that these words give."""
        parser = Parser(prog=f"{PROGRAM} {self.name}", **self._texts())
        self._fill(parser)
        return self.take(parser.parse_args(words))

    def take(self, namespace: argparse.Namespace) -> T:
        """The options that argparse found."""
        found = {field.name: getattr(namespace, field.name) for field in _fields(self.options)}
        return self.options(
            **{name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
        )

    def option_names(self) -> list[str]:
        """The fields that are options, not positional arguments."""
        return [field.name for field in _fields(self.options) if field.metadata["flags"]]

    def start(self, namespace: argparse.Namespace) -> int:
        """Run it with the options that argparse found."""
        return self.run(self.take(namespace))

    def _texts(self) -> dict[str, Any]:
        lines = "".join(f"\n  {PROGRAM} {self.name} {example}" for example in self.examples)
        return {"description": self.summary, "epilog": f"examples:{lines}" if lines else None}

    def _fill(self, parser: argparse.ArgumentParser) -> None:
        places: dict[str, Any] = {"": parser}
        for field in _fields(self.options):
            group, exclusive = field.metadata["group"], field.metadata["exclusive"]
            if group not in places:
                places[group] = parser.add_argument_group(group)
            place = group
            if exclusive:
                place = f"{group}/{exclusive}"
                if place not in places:
                    places[place] = places[group].add_mutually_exclusive_group()
            keywords = dict(field.metadata["keywords"])
            if field.default is not dataclasses.MISSING:
                keywords["default"] = list(field.default) if isinstance(field.default, tuple) else field.default
            flags = field.metadata["flags"]
            if flags:
                keywords["dest"] = field.name
            places[place].add_argument(*(flags or (field.name,)), **keywords)
        parser.set_defaults(run=self.start)


def _fields(options: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(options)


def count(text: str) -> int:
    """A whole number of at least 1, as the type of an option."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def number(text: str) -> float:
    """A positive number, as the type of an option."""
    return _number(text, lambda value: 0 < value < float("inf"), "a number above 0")


def share(text: str) -> float:
    """A number from 0 to 1, as the type of an option."""
    return _number(text, lambda value: 0 <= value <= 1, "a number from 0 to 1")


def _number(text: str, fits: Callable[[float], bool], expected: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not fits(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")
    return value
