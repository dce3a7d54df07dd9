"""``pretrained-cnn calibrate``: a bundle that knows which images are of none of its classes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pretrained_cnn.cli.console import kept, log_to_stderr, quiet, say
from pretrained_cnn.cli.images import ImageOptions
from pretrained_cnn.cli.looking import check_labeled
from pretrained_cnn.cli.options import Command, Share, argument, flag, option
from pretrained_cnn.cli.progress import stages
from pretrained_cnn.cli.shared import FOLLOW_LINKS, RUNTIME, ColumnOptions, ModelOptions, load_classifier
from pretrained_cnn.cli.status import Status
from pretrained_cnn.errors import InvalidArgumentError
from pretrained_cnn.images.tables import Columns


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(ImageOptions, ColumnOptions):
    """What ``calibrate`` takes."""

    bundle: str = argument("Folder of the bundle, which stays as it is.", metavar="BUNDLE")
    data: str = argument(
        "Labeled images, as `evaluate` takes them, that were neither trained on nor used to choose settings.",
        metavar="DATA",
    )
    output: str = option("Folder of the new bundle.", short="-o", required=True, metavar="NEW")
    coverage: Share = option(
        "Share of images that keep each promise: to be known, and to have their class in the label set.", default=0.95
    )
    runtime: str | None = option(f"{RUNTIME} (default: the one that the bundle is made for).", group="model")
    follow_links: bool = flag(FOLLOW_LINKS, group="model")
    overwrite: bool = flag("Replace NEW, if it is a bundle.")


def _run(options: Options) -> Status:
    log_to_stderr()
    from pretrained_cnn.bundle.store import check_free, is_bundle, write_calibrated

    if not is_bundle(options.bundle):
        raise InvalidArgumentError(
            f"{options.bundle} is not a bundle; write one with `pretrained-cnn train` or `pretrained-cnn export`"
        )
    check_free(Path(options.output), overwrite=options.overwrite)  # before the work
    shared = {field.name: getattr(options, field.name) for field in dataclasses.fields(ImageOptions)}
    model = ModelOptions(model=options.bundle, runtime=options.runtime, follow_links=options.follow_links, **shared)
    check_labeled(model, options.data, Columns(options.path_column, options.label_column))
    clf = load_classifier(model)
    with quiet():
        clf.predict_proba([])
    with kept(lambda: f"{options.output} was not written"), stages() as progress:
        calibration = clf.calibrate(
            options.data,
            path_column=options.path_column,
            label_column=options.label_column,
            coverage=options.coverage,
            progress=progress,
        ).calibration
    bundle = clf.engine.bundle
    assert calibration is not None
    assert bundle is not None
    write_calibrated(bundle, Path(options.output), calibration.to_arrays(), overwrite=options.overwrite)
    say(
        f"{options.output}\t{calibration.images:,} images\tcoverage {calibration.coverage:g}\t"
        f"label sets from a score of {calibration.threshold:.4f}"
    )
    return Status.OK


COMMAND = Command(
    "calibrate",
    "Write a bundle that knows which images are of none of its classes.",
    Options,
    _run,
    examples=(
        "clothes.bundle clothes/calibration -o calibrated.bundle",
        "clothes.bundle clothes/calibration --coverage 0.99 -o calibrated.bundle",
    ),
)
