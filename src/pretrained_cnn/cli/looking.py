"""What is wrong with a command's images, said before a network is loaded, downloaded or built."""

from __future__ import annotations

import contextlib
import os

from pretrained_cnn.cli.shared import ModelOptions, find_model, load_classifier
from pretrained_cnn.errors import ImageError
from pretrained_cnn.foreign.files import ModelFile
from pretrained_cnn.images.labeled import labeled, labeled_sets
from pretrained_cnn.images.sources import is_address, iter_items
from pretrained_cnn.images.tables import Columns
from pretrained_cnn.spec import ModelSpec

__all__ = ["check_exists", "check_images", "check_labeled"]


def check_labeled(options: ModelOptions, source: str, columns: Columns = Columns()) -> None:
    """Raise DataError for labeled images that the classifier which ``options`` mean cannot be judged by.

    The classes of a model file are known once it is opened: they are not compared.
    """
    from pretrained_cnn import evaluate
    from pretrained_cnn.bundle.store import open_bundle

    model = find_model(options.model)
    if isinstance(model, ModelSpec):
        evaluate.check_labeled(load_classifier(options).engine, source, columns=columns)
    elif not isinstance(model, ModelFile):
        evaluate.check_labeled(open_bundle(model, follow_links=options.follow_links), source, columns=columns)
    elif options.multi_label:
        labeled_sets(source, columns)
    else:
        labeled(source, columns, wnids=True)


def check_exists(source: str) -> None:
    """Raise DataError for a path of labeled images that leads to nothing."""
    if not os.path.exists(source):
        labeled(source)  # which finds a folder within an archive


def check_images(source: str) -> None:
    """Raise ImageError for a source without an image, and for the path of one image that does not exist."""
    if source == "-":  # can be read only once
        return
    with contextlib.closing(iter_items(source)) as items:
        first = next(items).image
    if first == source and not is_address(source) and not os.path.exists(source):
        raise ImageError(source, "the file or folder does not exist")
