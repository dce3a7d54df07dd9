"""Messages for a Python caller, in the words of the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pretrained_cnn.cli.options import PROGRAM

__all__ = ["in_options"]

_QUOTED = r"'([^']*)'"
_CALLS = [
    (r"list_models\(\) gives all names", rf"`{PROGRAM} models` lists all names"),
    (rf"list_models\({_QUOTED}\)", rf"`{PROGRAM} models '\1'`"),
    (r"that list_models\(\) gives", rf"that `{PROGRAM} models` lists"),
    (r"\buse EfficientNetLite0\b", "use --model EfficientNetLite0"),
    (r"list_runtimes\(\) gives all names", rf"`{PROGRAM} runtimes` lists all names"),
    (rf"Classifier\(\)\.(?:stream|predict)\({_QUOTED}\)", rf"`{PROGRAM} classify \1`"),
    (rf"Classifier\.train\({_QUOTED}\)", rf"`{PROGRAM} train \1`"),
    (rf"Classifier\({_QUOTED}, weights={_QUOTED}\)", r"--model \1 --weights \2"),
]


def in_options(message: str, options: Iterable[str]) -> str:
    """A message with ``--name value`` in place of ``name='value'``, for the fields that a command has as options.

    >>> in_options("weights='no.h5': no such file; pass overwrite=True or errors='return'", ["weights", "overwrite"])
    "--weights no.h5: no such file; pass --overwrite or errors='return'"
    >>> in_options("give scale=... and mean=..., or wrap it with from_keras(model, mean=...)", ["scale", "mean"])
    'give --scale and --mean, or wrap it with from_keras(model, mean=...)'
    >>> in_options("epochs=... has no meaning here", ["epochs"])
    '--epochs has no meaning here'
    >>> in_options("seed=-1 is not known; leave seed out, or choose by path_column=...", ["seed", "path_column"])
    '--seed -1 is not known; leave --seed out, or choose by --path-column'
    >>> in_options("unknown model 'x'; list_models() gives all names", [])
    "unknown model 'x'; `pretrained-cnn models` lists all names"
    """
    for call, command in _CALLS:
        message = re.sub(call, command, message)
    for name in options:
        flag = f"--{name.replace('_', '-')}"
        message = re.sub(rf"(?<![\w.'\"]){name}=True\b", flag, message)
        message = re.sub(rf"(?<![\w.'\"]){name}={_QUOTED}", rf"{flag} \1", message)
        message = re.sub(rf"^{name}=\.\.\. (?=goes|has|needs)", rf"{flag} ", message)
        message = re.sub(rf"(?<![\w.'\"]){name}=(?=[-\w<])", f"{flag} ", message)
        message = re.sub(rf"\bleave {name} out\b", f"leave {flag} out", message)
        message = re.sub(rf"\b(give|and|or|no|needs|by|,) {name}=(?:\.\.\.|\[\.\.\.\])(?!\))", rf"\1 {flag}", message)
    return message
