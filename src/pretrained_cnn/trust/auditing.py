"""From labeled images and a network to an `Audit`."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._check import whole_number
from pretrained_cnn._types import LabeledImages
from pretrained_cnn.bundle.store import open_bundle
from pretrained_cnn.engine import Engine, open_model
from pretrained_cnn.errors import DataError, ImageError, InvalidArgumentError
from pretrained_cnn.foreign.files import ModelFile
from pretrained_cnn.foreign.labels import NUMBERS
from pretrained_cnn.images.labeled import Labeled, columns_of_each, dataset_parts, labeled
from pretrained_cnn.images.policy import ImagePolicy, check_policy
from pretrained_cnn.images.sources import iter_items
from pretrained_cnn.images.tables import Columns
from pretrained_cnn.models import find_model
from pretrained_cnn.spec import ModelSpec
from pretrained_cnn.transfer.data import Images, concatenate, read
from pretrained_cnn.transfer.embeddings import embed, open_store
from pretrained_cnn.trust.confident import find_wrong_labels
from pretrained_cnn.trust.copies import Copies, find_copies, nearest
from pretrained_cnn.trust.findings import KINDS, Audit, Finding
from pretrained_cnn.trust.looks import Looks, look_at

__all__ = ["Part", "audit", "find_problems"]

log = logging.getLogger(__name__)

BLOCK = 4096
"""Images whose whole embeddings are in memory at once."""

WIDTH = 512
"""The number of principal components that are kept of each embedding."""

FEW = 10
"""A class with fewer images, copies not counted, is too small."""

NEIGHBOR = 3
"""An outlier is far from its third nearest image: one odd image, and its near copy, do not make each other usual."""

FAR = 3.0
"""An outlier's distance exceeds the upper quartile by more than this factor times the range between the quartiles."""

DARK, BLURRED = 0.25, 0.4
"""Below these values of `Looks.brightness` and `Looks.sharpness` an image is dark, and blurred."""

UNUSUAL = 0.6
"""Only what is also below this part of the median of all images is dark, blurred or tiny: the data may be like that."""


OPTIONS = frozenset(
    {"weights", "runtime", "precision", "quantize", "image_policy", "threads", "follow_links"}
    | {"labels", "resize", "input_size"}
)
"""The arguments of `pretrained_cnn.Classifier`; all others go to the builder."""


class HasEngine(Protocol):
    """A `pretrained_cnn.Classifier`."""

    @property
    def engine(self) -> Engine:
        """Its network."""


class Part(NamedTuple):
    """Images that can all be used, with what is known of each."""

    images: Images
    looks: Looks
    units: NDArray[np.float32]
    """Embeddings of length 1, ``(n, d)``."""


def audit(
    source: LabeledImages,
    model: str | os.PathLike[str] | ModelSpec | Engine | HasEngine = "Xception",
    against: LabeledImages | None = None,
    *,
    path_column: str | None = None,
    label_column: str | None = None,
    seed: int = 0,
    cache: bool = True,
    **arguments: Any,
) -> Audit:
    """Find problems of labeled images before you train on them.

    The findings are suspicions: look at each. They are not complete. Labels that are wrong in the same way throughout a
    class look right, and rare but correct images look wrong. Copies are found after another compression, size, small
    crop or mirroring. They are not found after a rotation, or if more than about a fifth of each side was cut off. A
    second photo of the same thing may count as a copy. The embeddings of a network that was trained on other kinds of
    images find less. For measurements, see "Audit your data" in the documentation.

    Args:
        source: As for `pretrained_cnn.Classifier.train`. If a folder contains the parts of a data set, ``train`` is
            audited, against the others.
        model: The network for the embeddings: a model as `pretrained_cnn.Classifier` takes it, or a
            ``Classifier``. Its classes do not matter.
        against: Images to evaluate with, given like ``source``, none of which may be in ``source``.
        path_column: As for `pretrained_cnn.Classifier.train`.
        label_column: As for `pretrained_cnn.Classifier.train`.
        seed: The random seed of the folds for cross-validation.
        cache: Keep embeddings on disk, where `pretrained_cnn.Classifier.train` also finds them.
        **arguments: As for `pretrained_cnn.Classifier`, unless ``model`` is one.

    The kinds of findings:

    - ``label``: a linear head, fitted by 5-fold cross-validation to images of the other folds, gives another class
      confidently (confident learning), or its own class next to nothing. Copies are in one fold.
    - ``duplicate``: a copy of an image before it; copies in different classes are all listed.
    - ``leak``: a copy of an image of ``against``.
    - ``outlier``: its embedding is far from all others.
    - ``dark``, ``blurred``, ``tiny``: unlike most of the images; ``tiny`` is below half of the network's input size.
    - ``broken``: it cannot be read.
    - ``small_class``: a class with fewer than 10 images, copies not counted.

    Embeddings are reduced to 512 principal components, and all comparisons are made in blocks. 50,000 images take
    about 0.8 GB with a small network. Raises DataError for data that are no labeled images with one class each, and
    BundleError for a bundle without the output ``embedding``.

    >>> pairs = [("examples/images/clock.png", "clock"), ("examples/images/clock.png", "candle"), ("no.jpg", "candle")]
    >>> audit(pairs, "EfficientNetLite0").to_frame()[["source", "kind", "class", "suggested"]]
                          source         kind   class suggested
    0  examples/images/clock.png    duplicate   clock    candle
    1  examples/images/clock.png    duplicate  candle     clock
    2                     no.jpg       broken  candle      <NA>
    3                       <NA>  small_class  candle      <NA>
    4                       <NA>  small_class   clock      <NA>
    """
    seed = whole_number("seed", seed, least=0)
    given, others = _given(source, against, Columns(path_column, label_column), _policy(model, arguments))
    engine = _engine(model, arguments)
    engine.open(("embedding",))
    identity = engine.identity() if cache else None
    classes = list(dict.fromkeys([*given.classes, *given.empty, *(others.classes if others else ())]))
    parts, findings = [], []
    for data in filter(None, (given, others)):
        images, looks, broken = _look(engine, data, classes)
        parts.append((images, looks))
        findings += [each if data is given else each._replace(place=None) for each in broken]
    usable, units, broken = _embed(engine, [images for images, _ in parts], identity, classes)
    findings += broken
    kept = [
        Part(images.keep(good), looks.keep(good), vectors)
        for (images, looks), good, vectors in zip(parts, usable, units, strict=True)
    ]
    side = min(engine.spec.input_size)
    findings += find_problems(kept, classes, set(given.labels) | set(given.empty), side, seed)
    order = {kind: place for place, kind in enumerate(KINDS)}
    findings.sort(key=lambda each: (order[each.kind], -each.score, each.suggested is None))
    items = list(iter_items(given.images))
    return Audit(
        name=given.name,
        sources=[item.name for item in items],
        labels=given.labels,
        findings=findings,
        items=items,
        others=list(iter_items(others.images)) if others else (),
        image_policy=engine.image_policy,
        weights=given.weights,
    )


def _engine(model: Any, arguments: dict[str, Any]) -> Engine:
    if isinstance(model, Engine) or isinstance(getattr(model, "engine", None), Engine):
        if arguments:
            given = ", ".join(f"{name}=..." for name in arguments)
            raise InvalidArgumentError(f"{given} cannot be given with a Classifier, which has its own")
        return model if isinstance(model, Engine) else model.engine
    if isinstance(find_model(model), ModelFile):  # whose own classes do not matter here
        arguments = {"labels": NUMBERS, **arguments}
    own = {name: arguments.pop(name) for name in OPTIONS if name in arguments}
    return open_model(model, options=arguments, **own)


def _policy(model: Any, arguments: Mapping[str, Any]) -> ImagePolicy:
    """How images are read, as far as that is known before the network is loaded."""
    given = arguments.get("image_policy")
    engine: Engine | None = model if isinstance(model, Engine) else getattr(model, "engine", None)
    if engine is not None:
        return engine.image_policy
    if given is not None:
        return check_policy(given)
    found = find_model(model)
    if not isinstance(found, Path):
        return ImagePolicy()
    return open_bundle(found, follow_links=bool(arguments.get("follow_links"))).image_policy


def _given(source: Any, against: Any, columns: Columns, policy: ImagePolicy) -> tuple[Labeled, Labeled | None]:
    """The images to audit, and those that must not be among them."""
    if against is None and (parts := dataset_parts(source)) is not None:
        others = [_labeled(each, columns, policy) for part, each in parts.items() if part != "train"]
        labels = list(chain.from_iterable(each.labels for each in others))
        images = list(chain.from_iterable(each.images for each in others))
        every = Labeled(others[0].name, images, labels, tuple(dict.fromkeys(labels)))
        return _labeled(parts["train"], columns, policy), every
    if against is None:
        return _labeled(source, columns, policy), None
    of_source, of_others = columns_of_each(columns, source, against)
    return _labeled(source, of_source, policy), _labeled(against, of_others, policy)


def _labeled(source: Any, columns: Columns, policy: ImagePolicy) -> Labeled:
    """Labeled images; what has several labels an image is refused in a sentence of its own."""
    for pair in source if isinstance(source, list) else ():
        if isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[1], tuple | list | set | frozenset):
            raise DataError(
                f"<pairs>: an image has the labels {pair[1]!r}; audit judges images of one class each, so give one "
                "label for each image"
            )
    return labeled(source, columns, policy=policy)


def _look(engine: Engine, data: Labeled, classes: Sequence[str]) -> tuple[Images, Looks, list[Finding]]:
    """The images that can be decoded, what they look like, and findings of the others."""
    every = list(iter_items(data.images))
    images, errors = read(data, classes, engine.image_policy)
    readable = {item.index for item in images.items}
    broken = [
        _broken(every[i], data.labels[i], error)
        for i, error in zip((i for i in range(len(every)) if i not in readable), errors, strict=True)
    ]
    looks, faults = look_at(images.items, engine.image_policy)
    broken += [
        _broken(item, data.labels[item.index], error)
        for item, error in zip(images.items, faults, strict=True)
        if error is not None
    ]
    good = np.array([error is None for error in faults], bool)
    return images.keep(good), looks.keep(good), broken


def _broken(item: Any, label: str, error: ImageError) -> Finding:
    return Finding(item.name, "broken", label, None, 1.0, None, error.reason, item.index)


def _embed(
    engine: Engine, parts: Sequence[Images], identity: str | None, classes: Sequence[str]
) -> tuple[list[NDArray[np.bool_]], list[NDArray[np.float32]], list[Finding]]:
    """For each part: which images have an embedding; these embeddings, of length 1; and findings of the others.

    Images of all parts are embedded in a random order, so that the principal components of the first block fit all of
    them.
    """
    images = parts[0] if len(parts) == 1 else concatenate(*parts)
    first, count = len(parts[0].items), len(images.items)
    store, order = open_store(identity), np.random.default_rng(0).permutation(count)
    basis: NDArray[np.float32] | None = None
    good, every, broken = np.zeros(count, bool), np.empty((0, 1), np.float32), []
    for start in range(0, count, BLOCK):
        block = order[start : start + BLOCK]
        vectors, which, errors = embed(engine, _pick(images, block), store)
        usable = np.array(which, bool)
        for i, error in zip(block[~usable].tolist(), errors, strict=True):
            fault = _broken(images.items[i], classes[images.targets[i]], error)
            broken.append(fault if i < first else fault._replace(place=None))
        good[block[usable]] = True
        if len(vectors):
            if basis is None:
                basis = _principal(_unit(vectors))
                every = np.empty((count, basis.shape[1]), np.float32)
            every[block[usable]] = _unit(_unit(vectors) @ basis)
    units = every if good.all() else every[good[: len(every)]]
    kept = int(good[:first].sum())
    return [good[:first], good[first:]][: len(parts)], [units[:kept], units[kept:]][: len(parts)], broken


def _pick(images: Images, which: NDArray[np.intp]) -> Images:
    """Some of the images, in the order of ``which``."""
    places = which.tolist()
    items, digests = [images.items[i] for i in places], [images.digests[i] for i in places]
    return Images(images.name, items, images.targets[which], digests, images.weights[which])


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vectors at length 1."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), np.float32)


def _principal(units: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first `WIDTH` principal axes of vectors, not centered, ``(D, d)``: what keeps their products best."""
    _, axes = np.linalg.eigh((units.T @ units).astype(np.float64))
    return np.ascontiguousarray(axes[:, ::-1][:, :WIDTH], np.float32)


def find_problems(
    parts: Sequence[Part], classes: Sequence[str], own: set[str], side: int, seed: int
) -> Iterator[Finding]:
    """What is found in the images that can be used: those to audit and, in a second part, those to evaluate with.

    ``own`` are the classes that should have images to audit; ``side`` is the network's input size.
    """
    part = parts[0]
    count = len(part.images.items)
    contents = [key for each in parts for key in each.images.contents()]
    filled = [each.units for each in parts if len(each.units)] or [part.units]
    units = np.concatenate(filled) if len(filled) > 1 else filled[0]
    thumbnails = np.concatenate([each.looks.thumbnails for each in parts])
    copies = _all_copies(contents, units, thumbnails)
    groups = _groups(copies.pairs, len(contents))
    yield from _copied(parts, classes, copies, groups)
    yield from _wrong(part, classes, groups[:count], seed)
    yield from _outliers(part, classes, groups[:count])
    yield from _unusual(part, classes, side)
    targets = part.images.targets
    for number, name in enumerate(classes):
        mine = groups[:count][targets == number]
        distinct = len(set(mine.tolist()))
        if name in own and distinct < FEW:
            copied = f", {len(mine) - distinct} of them copies" if distinct < len(mine) else ""
            reason = f"{len(mine)} {'image' if len(mine) == 1 else 'images'}{copied}; at least {FEW} are needed"
            yield Finding(None, "small_class", name, None, 1 - distinct / FEW, None, reason)


def _all_copies(contents: Sequence[bytes | str], units: NDArray[np.float32], thumbnails: NDArray[np.uint8]) -> Copies:
    """Pairs of copies: each content is compared once, and equal contents are pairs of similarity 1."""
    first: dict[bytes | str, int] = {}
    of = np.array([first.setdefault(key, i) for i, key in enumerate(contents)], np.intp)
    once = np.flatnonzero(of == np.arange(len(of)))
    near = find_copies(units[once], thumbnails[once])
    again = np.flatnonzero(of != np.arange(len(of)))
    pairs = np.concatenate([np.stack([of[again], again], axis=1), once[near.pairs]])
    return Copies(pairs, np.concatenate([np.ones(len(again)), near.similarity]))


def _groups(pairs: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """A number for each image, the same for copies and copies of copies: that of the first of them."""
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    for a, b in pairs.tolist():
        a, b = sorted((root(a), root(b)))
        parent[b] = a
    return np.array([root(i) for i in range(count)], np.intp)


def _copied(
    parts: Sequence[Part], classes: Sequence[str], copies: Copies, groups: NDArray[np.intp]
) -> Iterator[Finding]:
    """Duplicates among the first part's images, and those that are also in the second part."""
    items = [item for part in parts for item in part.images.items]
    targets = np.concatenate([part.images.targets for part in parts]).tolist()
    count = len(parts[0].images.items)
    similar: dict[int, dict[int, float]] = {}
    for (a, b), similarity in zip(copies.pairs.tolist(), copies.similarity.tolist(), strict=True):
        similar.setdefault(a, {})[b] = similar.setdefault(b, {})[a] = similarity
    members: dict[int, list[int]] = {}
    for i in sorted(similar):
        members.setdefault(int(groups[i]), []).append(i)

    def finding(i: int, kind: Any, others: Sequence[int]) -> Finding:
        """Of an image and the one of ``others`` that is most similar to it, a direct copy before a copy of a copy."""
        other = max(others, key=lambda j: (similar[i].get(j, 0), -j))
        score = similar[i].get(other, max(similar[i].values()))
        suggested = None if targets[other] == targets[i] else classes[targets[other]]
        where = "the same content" if score == 1 else "nearly the same image"
        if kind == "leak":
            where += " is in the images to evaluate with"
        else:
            where += " is there before" if suggested is None else " is also there"
        reason = where if suggested is None else f"{where}, in class {suggested}"
        return Finding(
            items[i].name, kind, classes[targets[i]], suggested, score, items[other].name, reason, items[i].index
        )

    for together in members.values():
        mine = [i for i in together if i < count]
        foreign = [i for i in together if i >= count]
        one_class = len({targets[i] for i in mine}) == 1
        for i in mine[1:] if one_class else mine:
            yield finding(i, "duplicate", [j for j in mine if (j < i if one_class else targets[j] != targets[i])])
        for i in mine if foreign else ():
            yield finding(i, "leak", foreign)


def _wrong(part: Part, classes: Sequence[str], groups: NDArray[np.intp], seed: int) -> Iterator[Finding]:
    """Labels that are probably wrong."""
    present, targets = np.unique(part.images.targets, return_inverse=True)
    found = find_wrong_labels(part.units, targets.astype(np.intp), groups, len(present), seed)
    for i, suggested, suspicion, (own, better) in zip(*(column.tolist() for column in found), strict=True):
        item, label, name = part.images.items[i], classes[part.images.targets[i]], classes[present[suggested]]
        reason = f"a head that has not seen it gives {name} {better:.2f} and {label} {own:.2f}"
        yield Finding(item.name, "label", label, name, suspicion, None, reason, item.index)


def _outliers(part: Part, classes: Sequence[str], groups: NDArray[np.intp]) -> Iterator[Finding]:
    """Images whose embeddings are far from all others; of copies, the first counts."""
    once = np.flatnonzero(groups == np.arange(len(groups)))
    if len(once) < 4 * NEIGHBOR:
        return
    units = part.units[once]
    distances = np.concatenate([1 - values[:, -1] for _, values in nearest(units, units, NEIGHBOR, same=True)])
    low, high = np.quantile(distances, (0.25, 0.75))
    for i in np.flatnonzero(distances > high + FAR * (high - low)).tolist():
        item = part.images.items[once[i]]
        score = float(np.clip(distances[i], 0, 1))
        reason = f"its distance to other images is {score:.2f}, and {np.median(distances):.2f} is usual"
        yield Finding(
            item.name, "outlier", classes[part.images.targets[once[i]]], None, score, None, reason, item.index
        )


def _unusual(part: Part, classes: Sequence[str], side: int) -> Iterator[Finding]:
    """Dark, blurred and tiny images, unless most are."""
    looks = part.looks
    measures: Sequence[tuple[Any, NDArray[np.float32], float, str]] = (
        ("dark", looks.brightness, DARK, "95 % of its pixels are darker than {:.2f} of white, and {:.2f} is usual"),
        ("blurred", looks.sharpness, BLURRED, "its sharpness is {:.2f}, and {:.2f} is usual"),
        ("tiny", looks.side, side / 2, "its shorter side has {:.0f} pixels, and {:.0f} are usual"),
    )
    for kind, values, limit, reason in measures:
        usual = float(np.median(values)) if len(values) else 0.0
        for i in np.flatnonzero(values < min(limit, UNUSUAL * usual)).tolist():
            item, value = part.images.items[i], float(values[i])
            label = classes[part.images.targets[i]]
            yield Finding(
                item.name, kind, label, None, 1 - value / limit, None, reason.format(value, usual), item.index
            )
