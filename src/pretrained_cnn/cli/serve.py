"""``pretrained-cnn serve``: a classifier as an HTTP service, with a page to try it."""

from __future__ import annotations

import argparse
import dataclasses
from functools import partial
from typing import TYPE_CHECKING

from pretrained_cnn import _settings
from pretrained_cnn.cli.console import Terminated, log_to_stderr, quiet
from pretrained_cnn.cli.options import Command, Count, Number, argument, flag, option
from pretrained_cnn.cli.shared import ModelOptions, load_classifier
from pretrained_cnn.cli.status import Status
from pretrained_cnn.errors import InvalidArgumentError

if TYPE_CHECKING:
    from pretrained_cnn.classifier import Classifier

LIMITS = "limits"


def port(text: str) -> int:
    """A port's number, as the type of an option."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: a whole number from 0 to 65535")
    return int(text)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(ModelOptions):
    """What ``serve`` takes."""

    model: str = argument(
        "Name that `pretrained-cnn models` lists, folder of a bundle, model file, or module:attribute of a ModelSpec.",
        metavar="MODEL_OR_BUNDLE",
    )
    host: str = option("Name or address to listen on; 0.0.0.0 for all networks.", default="127.0.0.1")
    port: int = option("Port to listen on; 0 for any that is free.", default=8000, type=port, metavar="N")
    workers: Count = option("Number of processes, each with the model, that share the cores.", default=1)
    allow_urls: bool = flag("Open http(s) addresses that requests name; addresses that are not public never are.")
    max_pixels: Count = option("Pixels at most that are decoded of an image.", default=50_000_000, group=LIMITS)
    max_body: Count = option("Bytes at most of a request.", default=32 * 2**20, group=LIMITS)
    max_images: Count = option("Images at most of a request to /predict/batch.", default=32, group=LIMITS)
    max_waiting: Count = option("Images at most that wait; beyond, the answer is 503.", default=128, group=LIMITS)
    batch_size: Count = option("Images at most that pass through the network together.", default=16, group=LIMITS)
    timeout: Number = option(
        "Seconds at most until a request has arrived, and again until it is answered.",
        default=30.0,
        group=LIMITS,
        metavar="S",
    )


def _run(options: Options) -> Status:
    log_to_stderr()
    from pretrained_cnn.serve.server import run
    from pretrained_cnn.serve.settings import Settings

    if options.headers:
        raise InvalidArgumentError("headers=... would be sent to any host that a request names")
    if options.allow_private is not None:
        raise InvalidArgumentError("allow_private=... is not for a service: its requests never reach private networks")
    settings = Settings(
        **{
            field.name: getattr(options, field.name)
            for field in dataclasses.fields(Settings)
            if field.name != "api_key"
        },
        api_key=_settings.api_key(),
    )
    try:
        run(partial(_load, options), settings, host=options.host, port=options.port, workers=options.workers)
    except Terminated:  # everything that was taken is answered
        return Status.OK
    return Status.OK


def _load(options: Options) -> Classifier:
    """The classifier, with its network open: what is wrong with it is said before a request comes."""
    import numpy as np

    log_to_stderr()  # in a worker's own process
    clf = load_classifier(options)
    with quiet():
        clf.predict(np.zeros((*clf.spec.input_size, 3), np.uint8))
    return clf


COMMAND = Command(
    "serve",
    "Answer over HTTP, with a page to try the classifier.",
    Options,
    _run,
    examples=("clothes.bundle", "EfficientNetLite0 --runtime openvino --workers 2 --host 0.0.0.0"),
)
