"""``pretrained-cnn fetch``: weights files onto this machine, or into a folder for one without a network."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

from pretrained_cnn.cli.console import complain, log_to_stderr, quiet, say
from pretrained_cnn.cli.options import Command, argument, flag, option
from pretrained_cnn.cli.shared import get_specs
from pretrained_cnn.cli.status import Status
from pretrained_cnn.errors import BundleError, InvalidArgumentError, PretrainedCNNWarning, WeightsError
from pretrained_cnn.registry import get_spec, list_models
from pretrained_cnn.runtimes import get_runtime
from pretrained_cnn.spec import ModelSpec
from pretrained_cnn.weights import cache_dir, ensure


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What ``fetch`` takes."""

    names: tuple[str, ...] = argument(
        "Name of a backbone, or a pattern such as 'EfficientNet*'.", metavar="NAME", nargs="*", default=()
    )
    all: bool = flag("Fetch the weights of every backbone.")
    variants: bool = flag("Also fetch the files for other widths and input sizes, and those without a head.")
    to: str | None = option(
        "Write to DIR/models; set KERAS_HOME=DIR to use them (default: Keras's own cache).",
        metavar="DIR",
    )
    runtime: str | None = option(
        "Convert each backbone for this runtime and keep the result in the cache, as for a container image (default: "
        "convert nothing)."
    )


def _run(options: Options) -> Status:
    log_to_stderr()
    folder = Path(options.to, "models") if options.to else cache_dir()
    patterns = ("*",) if options.all else options.names
    if not patterns:
        raise InvalidArgumentError("fetch needs the name of a backbone, or --all")
    if options.runtime and options.to:
        raise InvalidArgumentError("--runtime converts weights in Keras's own cache; set KERAS_HOME in place of --to")
    if options.runtime not in (None, "auto") and get_runtime(options.runtime).format == "keras":
        raise InvalidArgumentError(f"--runtime {options.runtime} runs a network as it is: nothing is converted for it")
    names = [name for pattern in patterns for name in list_models(pattern) or [get_spec(pattern).name]]
    specs, status = get_specs(dict.fromkeys(names))
    for spec in specs:
        if not spec.weights:
            complain(f"{spec.name} needs no download: its weights come with its builder")
        for file in spec.weights if options.variants or not spec.weights else [spec.weights_file()]:
            try:
                say(f"{spec.name}\t{ensure(file, needed_by=spec.name, folder=folder)}")
            except WeightsError as error:
                status = Status.FAILED
                complain(error)
        if options.runtime:
            status = _convert(spec, options.runtime) or status
    return status


def _convert(spec: ModelSpec, runtime: str) -> Status:
    """Fill the cache of conversions with what `Classifier.predict` opens."""
    from pretrained_cnn.bundle import converted
    from pretrained_cnn.engine import Engine

    try:
        with quiet(), warnings.catch_warnings():
            warnings.filterwarnings("error", converted.NOT_KEPT, PretrainedCNNWarning)
            engine = Engine(spec, runtime=runtime)
            engine.open()
            engine.close()
    except (BundleError, WeightsError, PretrainedCNNWarning) as error:
        complain(error)
        return Status.FAILED
    say(f"{spec.name}\t{converted.folder()}\t{engine.runtime.name}")
    return Status.OK


COMMAND = Command(
    "fetch",
    "Download weights, for example for a machine without a network.",
    Options,
    _run,
    examples=("Xception 'resnet*v2' --to stick", "EfficientNetLite0 --runtime openvino"),
)
