"""From labeled sources to images that a head can be fitted on: every check that needs no network."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._check import number
from pretrained_cnn._process import warn
from pretrained_cnn.errors import DataError, ImageError
from pretrained_cnn.images.decode import check_header, decode, file_content
from pretrained_cnn.images.inputs import is_seekable
from pretrained_cnn.images.labeled import Labeled, LabeledSets
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.images.sources import Item, is_address, iter_items
from pretrained_cnn.images.tables import is_missing

SHARE = 0.2
"""The part of each class that is set aside where no validation images are given."""

LARGEST_WEIGHT = 1_000_000
"""What an image may count at most; sums of larger numbers lose the small ones."""

ENOUGH = 200
"""With this number of validation images, they choose a strength of regularization as well as cross-validation does."""

MISSING = frozenset({"NA", "N/A", "#N/A", "NULL", "null", "None"})
"""What other programs write for a missing value, and what may also be the name of a class."""

NUMBER = re.compile(r"\d{1,15}(\.\d*)?")

FOLDS = 5
"""How many parts cross-validation makes of the images."""


@dataclass
class Images:
    """Images, and the classes of each."""

    name: str
    items: list[Item]
    targets: NDArray[Any]
    """The index of each image's class, ``(n,)``; or ``(n, C)``, which labels it has, where it may have several."""
    digests: list[bytes | None]
    """SHA-256 of what each image is; None for what can be read only once, or may be another one next time."""
    weights: NDArray[np.float64]
    """What each image counts."""
    things: list[str] | None = None
    """The thing that each image is of; None if every image is of another."""

    def keep(self, which: Sequence[bool] | NDArray[np.bool_]) -> Images:
        kept = np.flatnonzero(which).tolist()
        items, digests = [self.items[i] for i in kept], [self.digests[i] for i in kept]
        things = None if self.things is None else [self.things[i] for i in kept]
        return Images(self.name, items, self.targets[kept], digests, self.weights[kept], things)

    def weighted(self, by_class: NDArray[np.float64]) -> Images:
        """The same images, each also weighted by its class."""
        return replace(self, weights=self.weights * by_class[self.targets])

    def moved(self, places: NDArray[np.intp], count: int) -> Images:
        """The same images where there are ``count`` classes, and class i is at ``places[i]``."""
        if self.targets.ndim == 1:
            return replace(self, targets=places[self.targets])
        targets = np.zeros((len(self.items), count), bool)
        targets[:, places] = self.targets
        return replace(self, targets=targets)

    def without_pixels(self) -> Images:
        """The same images, but only their names are kept."""
        return replace(self, items=[replace(item, image=None) for item in self.items])

    def contents(self) -> list[bytes | str]:
        """What tells one content from another: the digest, or the name of an image that has none."""
        return [item.name if digest is None else digest for item, digest in zip(self.items, self.digests, strict=True)]

    def counts(self, classes: Sequence[str]) -> dict[str, int]:
        """How many images each class has."""
        several = self.targets.ndim == 2
        counts = self.targets.sum(axis=0) if several else np.bincount(self.targets, minlength=len(classes))
        return dict(zip(classes, counts.tolist(), strict=True))


def concatenate(first: Images, second: Images) -> Images:
    """The images of both, those of ``first`` before the others."""
    return Images(
        second.name,
        [*first.items, *second.items],
        np.concatenate([first.targets, second.targets]),
        [*first.digests, *second.digests],
        np.concatenate([first.weights, second.weights]),
        _things(first) + _things(second) if first.things or second.things else None,
    )


def _things(images: Images) -> list[str]:
    """What each image is of: where nothing is known, another thing than any other image."""
    return images.things or [item.name for item in images.items]


def find_classes(train: Labeled, validation: Labeled | None = None, *, beside: Sequence[str] = ()) -> tuple[str, ...]:
    """The classes to learn, sorted. Raises DataError unless each can be learned and validation has no others."""
    if train.empty:
        raise DataError(f"{train.name}: no image is in {_list(train.empty)}; put images there, or remove the folder")
    classes = train.classes
    if beside:  # those that are known keep their order
        classes = (*beside, *(name for name in classes if name not in beside))
        classes = tuple(sorted(classes)) if list(beside) == sorted(beside) else classes
    if len(classes) < 2:
        raise DataError(f"{train.name}: all images are of one class, {classes[0]!r}; at least two are needed")
    _warn_of_classes(train.name, classes)
    if validation is not None and (unknown := sorted(set(validation.labels) - set(classes))):
        raise DataError(
            f"{validation.name}: {_list(unknown)} is not in {train.name}, whose classes are {_list(classes)}"
        )
    return classes


def _warn_of_classes(name: str, classes: Sequence[str]) -> None:
    """Warn of classes that may be one class, or none."""
    _warn_of_look_alikes(name, classes)
    if missing := sorted(MISSING.intersection(classes)):
        warn(f"{name}: {_list(missing)} often stands for a missing label; if it does here, leave these images out")


def find_labels(
    train: LabeledSets, validation: LabeledSets | None = None, *, beside: Sequence[str] = ()
) -> tuple[str, ...]:
    """The labels to learn, sorted. Raises DataError if there is none, no image has one, or validation has others."""
    labels = tuple(sorted({label for each in train.labels for label in each}.union(beside)))
    if not labels:
        raise DataError(f"{train.name}: no image has a label, so there is nothing to learn")
    if unused := [label for label in train.columns if label not in labels]:
        raise DataError(
            f"{train.name}: no image has the label {_list(unused)}; add images that have it, or remove its column"
        )
    if max(map(len, train.labels)) == 1 and (blank := next((label for label in labels if " " in label), None)):
        warn(f"{train.name}: {blank!r} is one label; if it is several, write them between commas: a,b")
    _warn_of_classes(train.name, labels)
    if validation is not None:
        unknown = sorted({label for each in validation.labels for label in each} - set(labels))
        if unknown:
            raise DataError(
                f"{validation.name}: {_list(unknown)} is not in {train.name}, whose labels are {_list(labels)}"
            )
        if not any(validation.labels):
            raise DataError(
                f"{validation.name}: no image has a label, so the settings cannot be chosen by these images"
            )
    return labels


def _warn_of_look_alikes(name: str, classes: Sequence[str]) -> None:
    """Warn of classes that differ only by blanks, case, Unicode form, or as 1 and 1.0 do: these are often one class."""
    alike: dict[str, list[str]] = {}
    for each in classes:
        visible = "".join(sign for sign in unicodedata.normalize("NFKC", each) if unicodedata.category(sign) != "Cf")
        key = " ".join(visible.casefold().split())
        alike.setdefault(f"{float(key):g}" if NUMBER.fullmatch(key) else key, []).append(each)
    for names in alike.values():
        if len(names) > 1:
            shown = " and ".join(ascii(each) for each in names)
            number = all(map(NUMBER.fullmatch, names))
            how = "are the same number" if number else "differ only by blanks, case or Unicode form"
            warn(f"{name}: the classes {shown} {how}; if they are one, rename it")


def read(
    data: Labeled | LabeledSets,
    classes: Sequence[str],
    policy: ImagePolicy,
    weights: NDArray[np.float64] | None = None,
    things: list[str] | None = None,
) -> tuple[Images, list[ImageError]]:
    """The images of ``data`` whose files are there and begin as images do, and the errors of the others.

    An image of weight 0 is left out, so that it takes no part in a split.
    """
    index = {name: i for i, name in enumerate(classes)}
    images = list(iter_items(data.images))
    with ThreadPoolExecutor() as pool:
        looks = list(pool.map(lambda item: _look(item, policy), images))
    targets: NDArray[Any]
    if isinstance(data, LabeledSets):
        targets = np.zeros((len(images), len(classes)), bool)
        for row, labels in zip(targets, data.labels, strict=True):
            row[[index[label] for label in labels]] = True
    else:
        targets = np.array([index[label] for label in data.labels], np.intp)
    errors = [look for look in looks if isinstance(look, ImageError)]
    digests = [None if isinstance(look, ImageError) else look for look in looks]
    weights = np.ones(len(images)) if weights is None else weights
    found = Images(data.name, images, targets, digests, weights, things)
    readable = np.array([not isinstance(look, ImageError) for look in looks], bool)
    return found.keep(readable & (weights > 0)), errors


def check_left(
    parts: Sequence[Images], classes: Sequence[str], skipped: Sequence[ImageError], *, beside: Sequence[str] = ()
) -> None:
    """Raise DataError if no image of some class is left to train with, or none to validate with.

    The classes ``beside`` need none.
    """
    train, *validation = parts
    empty = [name for name, count in train.counts(classes).items() if not count and name not in beside]
    if empty:
        raise DataError(
            f"{train.name}: no image of {_list(empty)} can be read; {len(skipped)} failed, such as {skipped[0]}"
        )
    for part in validation:
        if not part.items:
            raise DataError(f"{part.name}: none of these images can be read, such as {skipped[0]}")


class Copies(NamedTuple):
    """Images, by name, whose content is that of an image before them."""

    same_class: list[str]
    """Train images in the class of the first one."""
    other_class: list[str]
    """Train images in another class than the first one."""
    validation: list[str]
    """Validation images, while the first one is in train."""


def find_digests(images: Iterable[Item], policy: ImagePolicy) -> list[bytes | None]:
    """SHA-256 of what each image is; None for one that cannot be read, or can be read only once."""
    with ThreadPoolExecutor() as pool:
        looks = pool.map(lambda item: _look(item, policy), images)
        return [look if isinstance(look, bytes) else None for look in looks]


def find_copies(train: Images, validation: Images | None = None) -> Copies:
    """Which images are there more than once."""
    copies = Copies([], [], [])
    first: dict[bytes | str, int] = {}
    for key, item, target in zip(train.contents(), train.items, train.targets.tolist(), strict=True):
        if key not in first:
            first[key] = target
        else:
            (copies.same_class if first[key] == target else copies.other_class).append(item.name)
    if validation is not None:
        pairs = zip(validation.contents(), validation.items, strict=True)
        copies.validation.extend(item.name for key, item in pairs if key in first)
    return copies


def find_groups(images: Images) -> NDArray[np.intp]:
    """A number for each image, the same for images that belong on one side of a split.

    These are images of one content, images of one thing, and whatever these two connect.
    """
    contents = images.contents()
    joined: dict[Any, Any] = {}

    def first(key: Any) -> Any:
        while (next_ := joined.setdefault(key, key)) != key:
            joined[key] = joined[next_]
            key = next_
        return key

    for known, thing in zip(contents, images.things or (), strict=False):
        joined[first(known)] = first(("thing", thing))
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(first(known), len(numbers)) for known in contents], np.intp)


def deal(targets: NDArray[Any], groups: NDArray[np.intp], shares: Sequence[float], seed: int) -> NDArray[np.intp]:
    """The part, 0 and up, that each image goes to, so that each part has its share of every class; -1 for no part.

    A group goes to one part as a whole, drawn by ``seed``, the smallest groups first. The first parts are served first:
    of two images of a class, part 0 and part 1 get one each. A class of one group is in no part, so that each class is
    left when any part is taken away. ``targets`` are those of `Images`; to have no label counts as a class.
    """
    several = targets.ndim == 2
    if several:
        targets = np.column_stack([targets, ~targets.any(axis=1)])
    order = np.random.default_rng(seed).permutation(len(targets))
    _, first, number, sizes = np.unique(groups[order], return_index=True, return_inverse=True, return_counts=True)
    members = np.split(order[np.argsort(number, kind="stable")], np.cumsum(sizes)[:-1])
    parts = np.empty(len(targets), np.intp)
    filled = np.zeros((len(shares), targets.shape[1] if several else int(targets.max()) + 1))
    for group in np.lexsort((first, sizes)):
        found = targets[members[group]]
        classes, counts = np.unique(np.nonzero(found)[1] if several else found, return_counts=True)
        part = np.argmin(filled[:, classes] @ counts / shares)
        parts[members[group]] = part
        filled[part, classes] += counts
    for target in np.flatnonzero((filled > 0).sum(axis=0) == 1):
        parts[np.isin(groups, groups[targets[:, target] if several else targets == target])] = -1
    return parts


def hold_out(
    targets: NDArray[Any], groups: NDArray[np.intp], seed: int, *, once: bool | None = None, share: float = SHARE
) -> list[NDArray[np.bool_]]:
    """Which images validate, ``(n,)`` each: those of a fold for each of `FOLDS` folds, or, ``once``, a share of all.

    Without ``once``, that is where a share has `ENOUGH` images. Empty if no class has two groups.
    """
    if once is None:
        once = SHARE * len(targets) >= ENOUGH
    parts = deal(targets, groups, [share, 1 - share] if once else [1 / FOLDS] * FOLDS, seed)
    held = [parts == part for part in range(1 if once else FOLDS)]
    return [which for which in held if which.any()]


def class_weights(
    given: str | Mapping[str, float] | None, targets: NDArray[np.intp], classes: Sequence[str]
) -> NDArray[np.float64]:
    """What an image of each class counts: 1, or what ``given`` says.

    ``"balanced"`` lets each class count the same in all. Raises DataError for a class that does not exist,
    InvalidArgumentError for a weight that is not a number above 0.
    """
    if given == "balanced":
        counts = np.bincount(targets, minlength=len(classes))
        return len(targets) / (len(classes) * np.maximum(counts, 1))
    weights = np.ones(len(classes))
    if isinstance(given, Mapping):
        unknown = [name for name in given if str(name) not in classes]
        if unknown:
            raise DataError(f"class_weight names {_list(unknown)}, but the classes are {_list(classes)}")
        for name, weight in given.items():
            weights[classes.index(str(name))] = number(
                f"class_weight of {name!r}", weight, above=0, most=LARGEST_WEIGHT
            )
    return weights


def groups_of(given: Any, data: Labeled | LabeledSets) -> list[str]:
    """The thing that each image of ``data`` is of, from an array or a list ``(n,)``. Raises DataError for others."""
    if not isinstance(given, Iterable) or isinstance(given, Mapping | Set):
        raise DataError(
            f"groups={given!r:.80} is no sequence; give a list with one group for each image, in their order"
        )
    values = np.asarray(given).tolist() if hasattr(given, "shape") else list(given)
    if len(values) != len(data.images):
        raise DataError(f"groups: {len(values)} of them do not fit the {len(data.images)} images of {data.name}")
    for i, value in enumerate(values):
        if is_missing(value) or not isinstance(value, str | int | float):
            raise DataError(f"groups: number {i} is {value!r:.80}; give text or a number for each image")
    return list(map(str, values))


def sample_weights(given: Any, data: Labeled | LabeledSets) -> NDArray[np.float64]:
    """What each image of ``data`` counts, float64 ``(n,)``. Raises DataError for what cannot be that."""
    try:
        weights = np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"sample_weight: these are no numbers: {error}") from None
    if weights.shape != (len(data.labels),):
        raise DataError(
            f"sample_weight has the shape {weights.shape}, but {data.name} has {len(data.labels)} images; give one "
            "number for each image"
        )
    wrong = np.flatnonzero(~((weights >= 0) & (weights <= LARGEST_WEIGHT)))
    if wrong.size:
        raise DataError(
            f"sample_weight of number {wrong[0]} is {weights[wrong[0]]}; give a number from 0 to {LARGEST_WEIGHT:,}"
        )
    sets = data.labels if isinstance(data, LabeledSets) else [(label,) for label in data.labels]
    counted = {label for labels, weight in zip(sets, weights.tolist(), strict=True) if weight for label in labels}
    if missing := sorted({label for labels in sets for label in labels} - counted):
        raise DataError(
            f"sample_weight: all weights of {_list(missing)} are zero; remove the class, or give its images weight"
        )
    return weights


def _look(item: Item, policy: ImagePolicy) -> bytes | ImageError | None:
    """An image's SHA-256, of its file or else of its pixels, or the error that keeps it from being an image.

    A file is not decoded. None for what can be read only once, or is not on this machine.
    """
    image = item.image
    if is_address(image) or (hasattr(image, "read") and not is_seekable(image)):
        return None
    try:
        if (data := file_content(item, policy)) is not None:
            check_header(item, data)
            return hashlib.sha256(data).digest()
        pixels = np.asarray(decode(item, policy))
    except ImageError as error:
        return error
    return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).digest()


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:10])
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"
