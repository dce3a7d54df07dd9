"""``pretrained-cnn export``, ``check`` and ``runtimes``: bundles, and what executes them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pretrained_cnn.bundle.formats import list_formats
from pretrained_cnn.cli.shared import FAILED, OK, add_model_options, complain, load_classifier, log_to_stderr, quiet
from pretrained_cnn.runtimes import get_runtime, list_runtimes


def add(commands: Any) -> None:
    """Add the commands to the parser's."""
    export = commands.add_parser("export", help="write a classifier to a bundle, to be used elsewhere")
    export.add_argument("output", metavar="DIR", help="the bundle's folder")
    add_model_options(export)
    export.add_argument("--format", choices=list_formats(), default="keras", help="default: %(default)s")
    export.add_argument(
        "--dtype",
        choices=["float32", "float16"],
        default="float32",
        help="what the file stores weights in (default: %(default)s)",
    )
    export.add_argument("--quantize", metavar="SOURCE", help="images to quantize an OpenVINO model to int8 by")
    export.add_argument(
        "--min-agreement",
        type=float,
        metavar="SHARE",
        help="share of images, 0 to 1, that must keep their best class (default: 1; with --quantize 0.95)",
    )
    export.add_argument("--overwrite", action="store_true", help="replace the bundle, if one exists already")
    export.set_defaults(run=_export)

    check = commands.add_parser("check", help="see whether a bundle is whole, and answers here as where it was made")
    check.add_argument("bundle", metavar="DIR", help="the bundle's folder")
    check.add_argument("--runtime", help="a name that `runtimes` lists (default: what the bundle is made for)")
    check.set_defaults(run=_check)

    runtimes = commands.add_parser("runtimes", help="list what can execute a network, and what installs it")
    runtimes.add_argument("--json", action="store_true", help="one JSON array")
    runtimes.set_defaults(run=_runtimes)


def _export(options: argparse.Namespace) -> int:
    log_to_stderr()
    clf = load_classifier(options)
    with quiet():
        agreement = clf.save(
            options.output,
            format=options.format,
            dtype=options.dtype,
            quantize=options.quantize,
            min_agreement=options.min_agreement,
            overwrite=options.overwrite,
        )
    print(f"{options.output}\t{_describe(agreement)}")
    return OK


def _check(options: argparse.Namespace) -> int:
    log_to_stderr()
    from pretrained_cnn.bundle.store import agrees, open_bundle, verify

    bundle = open_bundle(Path(options.bundle))
    with quiet():
        runtime = bundle.open(None if options.runtime is None else get_runtime(options.runtime))
        agreement = verify(bundle, runtime)
    print(f"{options.bundle}\t{_describe(agreement)}")
    if agrees(agreement, bundle.manifest):
        return OK
    complain(f"{options.bundle} is whole, but does not answer here as where it was made")
    return FAILED


def _describe(agreement: Any) -> str:
    return (
        f"{agreement.images} images\tsame best class {agreement.same_top1:.0%}\t"
        f"largest difference {agreement.largest_difference:.1e}"
    )


def _runtimes(options: argparse.Namespace) -> int:
    rows = list_runtimes()
    if options.json:
        print(json.dumps([row._asdict() for row in rows], indent=2))
        return OK
    for row in rows:
        print(f"{row.name:<14}{'installed' if row.installed else row.install}")
    return OK
