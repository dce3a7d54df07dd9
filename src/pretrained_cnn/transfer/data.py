"""From labeled sources to images that a head can be fitted on: every check that needs no network."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn.errors import DataError, ImageError
from pretrained_cnn.images.decode import check_header
from pretrained_cnn.images.inputs import content
from pretrained_cnn.images.labeled import Labeled
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.images.sources import Item, is_address, iter_items

SHARE = 0.2
"""The part of each class that is set aside where no validation images are given."""


@dataclass
class Images:
    """Images and their classes, by index."""

    name: str
    items: list[Item]
    targets: NDArray[np.intp]
    digests: list[bytes | None]
    """SHA-256 of what each image is; None for what can be read only once, or may be another one next time."""

    def keep(self, which: Sequence[bool] | NDArray[np.bool_]) -> Images:
        kept = np.flatnonzero(which).tolist()
        return Images(self.name, [self.items[i] for i in kept], self.targets[kept], [self.digests[i] for i in kept])

    def counts(self, classes: Sequence[str]) -> dict[str, int]:
        """How many images each class has."""
        return dict(zip(classes, np.bincount(self.targets, minlength=len(classes)).tolist(), strict=True))


def find_classes(train: Labeled, validation: Labeled | None = None) -> tuple[str, ...]:
    """The classes to learn, sorted. Raises DataError unless each can be learnt and validation has no others."""
    if train.empty:
        raise DataError(f"{train.name}: no image is in {_list(train.empty)}; put images there, or remove the folder")
    classes = tuple(sorted(set(train.labels)))
    if len(classes) < 2:
        raise DataError(f"{train.name}: all images are of one class, {classes[0]!r}; at least two are needed")
    if validation is not None and (unknown := sorted(set(validation.labels) - set(classes))):
        raise DataError(
            f"{validation.name}: {_list(unknown)} is not in {train.name}, whose classes are {_list(classes)}"
        )
    return classes


def read(data: Labeled, classes: Sequence[str], policy: ImagePolicy) -> tuple[Images, list[ImageError]]:
    """The images of ``data`` whose files are there and begin as images do, and the errors of the others."""
    index = {name: i for i, name in enumerate(classes)}
    images = list(iter_items(data.images))
    with ThreadPoolExecutor() as pool:
        looks = list(pool.map(lambda item: _look(item, policy), images))
    targets = np.array([index[label] for label in data.labels], np.intp)
    errors = [look for look in looks if isinstance(look, ImageError)]
    digests = [None if isinstance(look, ImageError) else look for look in looks]
    found = Images(data.name, images, targets, digests)
    return found.keep([not isinstance(look, ImageError) for look in looks]), errors


def check_left(parts: Sequence[Images], classes: Sequence[str], skipped: Sequence[ImageError]) -> None:
    """Raise DataError if no image of some class is left to train with, or none to validate with."""
    train, *validation = parts
    empty = [name for name, count in train.counts(classes).items() if not count]
    if empty:
        raise DataError(
            f"{train.name}: no image of {_list(empty)} can be read; {len(skipped)} failed, such as {skipped[0]}"
        )
    for part in validation:
        if not part.items:
            raise DataError(f"{part.name}: none of these images can be read, such as {skipped[0]}")


def find_digests(images: Iterable[Item], policy: ImagePolicy) -> list[bytes | None]:
    """SHA-256 of what each image is; None for one that cannot be read, or can be read only once."""
    with ThreadPoolExecutor() as pool:
        looks = pool.map(lambda item: _look(item, policy), images)
        return [look if isinstance(look, bytes) else None for look in looks]


def duplicates(train: Images, validation: Images) -> list[str]:
    """The names of the validation images whose content is in train too."""
    known = set(train.digests) - {None}
    return [item.name for item, digest in zip(validation.items, validation.digests, strict=True) if digest in known]


def split(images: Images, seed: int) -> NDArray[np.bool_]:
    """Which images are set aside for validation: `SHARE` of each class, at least one where it has two.

    Raises DataError if each class has but one image.
    """
    generator = np.random.default_rng(seed)
    aside = np.zeros(len(images.items), bool)
    for target in np.unique(images.targets):
        members = generator.permutation(np.flatnonzero(images.targets == target))
        aside[members[: max(round(SHARE * len(members)), 1) if len(members) > 1 else 0]] = True
    if not aside.any():
        raise DataError(
            f"{images.name}: with one image a class, none can be set aside to choose the settings; give more, "
            "or validation=..."
        )
    return aside


def class_weights(
    given: str | Mapping[str, float] | None, targets: NDArray[np.intp], classes: Sequence[str]
) -> NDArray[np.float64]:
    """What an image of each class counts: 1, or what ``given`` says.

    ``"balanced"`` lets each class count the same in all. Raises DataError for a class that is not there.
    """
    weights = np.ones(len(classes))
    if given == "balanced":
        counts = np.bincount(targets, minlength=len(classes))
        return len(targets) / (len(classes) * np.maximum(counts, 1))
    if isinstance(given, Mapping):
        unknown = sorted(set(given) - set(classes))
        if unknown:
            raise DataError(f"class_weight names {_list(unknown)}, but the classes are {_list(classes)}")
        for name, weight in given.items():
            weights[classes.index(name)] = weight
    return weights


def _look(item: Item, policy: ImagePolicy) -> bytes | ImageError | None:
    """An image's SHA-256, or the error that keeps it from being one, without decoding it."""
    image = item.image
    if isinstance(image, ImageError):
        return image
    if isinstance(image, np.ndarray):
        pixels = np.ascontiguousarray(image)
        return hashlib.sha256(f"{pixels.shape}{pixels.dtype}".encode() + pixels.tobytes()).digest()
    if not isinstance(image, str | os.PathLike | bytes | bytearray) or is_address(image):
        return None
    try:
        data = content(item, policy)
        if isinstance(data, bytes):
            check_header(item, data)
            return hashlib.sha256(data).digest()
    except ImageError as error:
        return error
    return None


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:10])
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"
