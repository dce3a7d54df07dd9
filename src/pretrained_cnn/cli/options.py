"""The options of a command, declared once: as the fields of a frozen dataclass.

`Command` makes a parser from the fields and hands the command an instance, so no ``argparse.Namespace`` goes further.
A field's name is that of its option, and its type says what values the option takes: one of a ``Literal``, yes or no
for ``bool | None``, what `Count`, `Number` or `Share` admit, else any text.

>>> @dataclasses.dataclass(frozen=True, kw_only=True)
... class Options:
...     name: str = argument("Whom to greet.")
...     times: int = option("Number of greetings.", default=1, short="-t", type=count, metavar="N")
>>> def run(options: Options) -> int:
...     print(f"Hello {options.name}! " * options.times)
...     return 0
>>> Command("greet", "Greet somebody.", Options, run).parse(["Ada", "-t", "2"])
Options(name='Ada', times=2)
"""

from __future__ import annotations

import argparse
import dataclasses
import types
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, Literal, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from typing_extensions import override

from pretrained_cnn._registry import nearest
from pretrained_cnn.cli.console import say

__all__ = ["Command", "Count", "Number", "Parser", "Share", "argument", "count", "flag", "number", "option", "share"]

PROGRAM = "pretrained-cnn"

T = TypeVar("T")


def argument(help: str, *, default: Any = dataclasses.MISSING, **keywords: Any) -> Any:
    """Declare a positional argument. With ``nargs`` of ``"+"`` or ``"*"`` the field is a tuple."""
    return _field(help, default, positional=True, **keywords)


def option(help: str, default: Any = None, *, required: bool = False, **keywords: Any) -> Any:
    """Declare an option with a value. ``type``, ``choices``, ``metavar`` and ``action`` are argparse's.

    ``short`` is a second name, such as ``-o``. ``group`` is the heading under which the help lists the option. Options
    of the same ``exclusive`` exclude each other. The help ends with the default, unless it is None: then the text
    itself says what happens.
    """
    return _field(help, dataclasses.MISSING if required else default, **keywords)


def flag(help: str, **keywords: Any) -> Any:
    """Declare an option without a value: False unless given. ``group`` and ``exclusive`` are as in `option`."""
    return _field(help, False, action="store_true", **keywords)


def _field(help: str, default: Any, **metadata: Any) -> Any:
    if not any(default is none for none in (None, False, dataclasses.MISSING, ())):
        help = f"{help.removesuffix('.')} (default: {default})."
    return dataclasses.field(default=default, metadata={"help": help, **metadata})


class Parser(argparse.ArgumentParser):
    """Says in one sentence what is wrong with a command line, and which option may have been meant."""

    def __init__(self, **keywords: Any) -> None:
        keywords.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **keywords)

    @override
    def print_help(self, file: Any = None) -> None:
        """As argparse's, which would not say that stdout cannot be written."""
        if file is None:
            say(self.format_help().removesuffix("\n"))
        else:
            super().print_help(file)

    @override
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

    @override
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
        return [field.name for field in _fields(self.options) if "positional" not in field.metadata]

    def start(self, namespace: argparse.Namespace) -> int:
        """Run it with the options that argparse found."""
        return self.run(self.take(namespace))

    def _texts(self) -> dict[str, Any]:
        lines = "".join(f"\n  {PROGRAM} {self.name} {example}".rstrip(" ") for example in self.examples)
        return {"description": self.summary, "epilog": f"examples:{lines}" if lines else None}

    def _fill(self, parser: argparse.ArgumentParser) -> None:
        places: dict[str, Any] = {"": parser}
        kinds = get_type_hints(self.options, include_extras=True)
        for field in _fields(self.options):
            keywords = {**_of_type(kinds[field.name]), **field.metadata}
            place, exclusive = keywords.pop("group", ""), keywords.pop("exclusive", "")
            if place not in places:
                places[place] = parser.add_argument_group(place)
            if exclusive:
                group, place = places[place], f"{place}/{exclusive}"
                if place not in places:
                    places[place] = group.add_mutually_exclusive_group()
            names = [field.name]
            if not keywords.pop("positional", False):
                short = keywords.pop("short", None)
                names = [*([short] if short else []), f"--{field.name.replace('_', '-')}"]
                keywords |= {"dest": field.name, "required": field.default is dataclasses.MISSING}
            if field.default is not dataclasses.MISSING:
                keywords["default"] = list(field.default) if isinstance(field.default, tuple) else field.default
            places[place].add_argument(*names, **keywords)
        parser.set_defaults(run=self.start)


def _fields(options: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(options)


def _of_type(kind: Any) -> dict[str, Any]:
    """What argparse needs to know about the type of a field."""
    optional = isinstance(kind, types.UnionType) or type(None) in get_args(kind)
    kind = get_args(kind)[0] if optional else kind
    if get_origin(kind) is Literal:
        return {"choices": get_args(kind)}
    if get_origin(kind) is Annotated:
        _, convert, metavar = get_args(kind)
        return {"type": convert, "metavar": metavar}
    return {"action": argparse.BooleanOptionalAction} if kind is bool and optional else {}


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


Count = Annotated[int, count, "N"]
Number = Annotated[float, number, "X"]
Share = Annotated[float, share, "S"]
