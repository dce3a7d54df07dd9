"""Transfer learning: trains a network for your classes from a backbone and labeled images."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._cache import cache_folder
from pretrained_cnn._check import number, whole_number
from pretrained_cnn._process import warn
from pretrained_cnn._types import LabeledImages
from pretrained_cnn.engine import Engine
from pretrained_cnn.errors import DataError, ImageError, InvalidArgumentError, import_package
from pretrained_cnn.images.labeled import columns_of_each, dataset_parts, labeled, labeled_sets
from pretrained_cnn.images.tables import Columns
from pretrained_cnn.runtimes.head import Head
from pretrained_cnn.spec import ModelSpec
from pretrained_cnn.transfer import data
from pretrained_cnn.transfer.embeddings import embed, open_store
from pretrained_cnn.transfer.heads import (
    AnyHead,
    HeadData,
    arrays_of,
    attach,
    best_thresholds,
    last_width,
    measure,
    metric_names,
)
from pretrained_cnn.transfer.history import TrainingHistory
from pretrained_cnn.transfer.report import Trained, TrainingReport, model_card
from pretrained_cnn.transfer.settings import Settings

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure

__all__ = ["Settings", "Trained", "TrainingReport", "add_classes", "model_card", "preview", "train"]

log = logging.getLogger(__name__)

SUFFIX = "-trained"
"""What the name of a trained network ends in."""


@dataclass(frozen=True)
class _Data:
    """The images that a training uses, and what is known of them so far."""

    classes: tuple[str, ...]
    copies: data.Copies
    """The images whose content is that of an image before them."""
    parts: Sequence[data.Images]
    """The images to train with, and, once there are some, those to validate with."""
    vectors: Sequence[NDArray[np.float32]] = ()
    """The embeddings of each part, once they are computed."""
    failed: Sequence[ImageError] = ()
    """What was wrong with the images that are left out."""
    split: str = "given"
    """Where the validation images are from."""
    changed: NDArray[np.float32] | None = None
    """The embeddings ``(n, copies, D)`` of changed copies of the images to train with."""
    share: float | None = None
    """The share of the images that is set aside to validate with, if that is asked for."""
    beside: Sequence[str] = ()
    """Classes that need no images here, since those of an earlier training are available."""


class Known(NamedTuple):
    """What a training has found out, for another one with more classes."""

    engine: Engine
    """The network that gave the embeddings."""
    images: _Data
    settings: Settings


def train(
    engine: Engine,
    source: LabeledImages,
    validation: LabeledImages | float | None,
    settings: Settings,
    sample_weight: Any = None,
    columns: Columns = Columns(),
    groups: Any = None,
) -> Trained:
    """Fit a head for the classes of ``source``, and fine-tune the last layers of the network if so set.

    Raises DataError before any work if the images cannot be used, InvalidArgumentError for settings that do not fit the
    network.
    """
    columns, groups = _with_groups(columns, groups)
    share = None
    if isinstance(validation, int | float | np.number):
        share, validation = number("validation", validation, above=0, most=0.9), None
    if validation is None and (parts := dataset_parts(source)) is not None:
        source, validation = parts["train"], parts.get("validation") if share is None else None
    seconds: dict[str, float] = {}
    with _clock(seconds, "read"):
        images = replace(_read(engine, source, validation, settings, sample_weight, columns, groups), share=share)
    _check_network(engine, settings)
    identity = engine.identity() if settings.cache else None
    with _clock(seconds, "embed"):
        images = _embed(engine, images, settings, identity)
    return _fit(engine, images, settings, identity, seconds)


def add_classes(
    engine: Engine,
    first: Trained | None,
    source: LabeledImages,
    *,
    original: LabeledImages | None,
    validation: LabeledImages | None,
    columns: Columns,
    groups: Any,
    sample_weight: Any,
) -> Trained:
    """Train for more classes; the arguments are those of `Classifier.add_classes`, ``first`` the training of before."""
    if original is not None:
        if groups is not None:
            raise InvalidArgumentError(
                "groups=... does not go with original=...; train on the images of all classes: "
                "Classifier.train(data, groups=...)"
            )
        settings = Settings(multi_label=engine.spec.multi_label)
        pairs = _both(original, source, columns, [label.name for label in engine.spec.labels], settings)
        of_validation = Columns() if validation is None else columns_of_each(columns, original, source, validation)[-1]
        return train(engine.copy(), pairs, validation, settings, sample_weight, of_validation)
    if first is None or first.known is None:
        raise InvalidArgumentError(
            f"{engine.spec.name} does not have the embeddings of its training images, which no bundle keeps; give the "
            "images of its classes: add_classes(data, original=...)"
        )
    return _add(first.known, source, validation, columns, groups, sample_weight)


def _add(
    known: Known,
    source: LabeledImages,
    validation: LabeledImages | None,
    columns: Columns,
    groups: Any,
    sample_weight: Any,
) -> Trained:
    """Train again, with the same settings, on the embeddings that are known and on the images of ``source``."""
    engine, images, settings = known
    if settings.unfreeze:
        raise InvalidArgumentError(
            "a fine-tuned network gives other embeddings than those of its training; train again on all images: "
            "Classifier.train"
        )
    if (validation is not None) != (len(images.parts) > 1):
        raise InvalidArgumentError(
            "the classifier was trained with validation images, which have none of the new classes; give some: "
            "validation=..."
            if validation is None
            else "the classifier was trained without validation images; leave validation out"
        )
    seconds: dict[str, float] = {}
    with _clock(seconds, "read"):
        columns, groups = _with_groups(columns, groups)
        added = _read(engine, source, validation, settings, sample_weight, columns, groups, beside=images.classes)
    identity = engine.identity() if settings.cache else None
    with _clock(seconds, "embed"):
        added = _embed(engine, added, settings, identity)
    places = np.array([added.classes.index(name) for name in images.classes])
    parts = [
        data.concatenate(old.moved(places, len(added.classes)), new)
        for old, new in zip(images.parts, added.parts, strict=True)
    ]
    vectors = [np.concatenate(both) for both in zip(images.vectors, added.vectors, strict=True)]
    failed = [*images.failed, *added.failed]
    joined = replace(added, share=images.share, parts=parts, vectors=vectors, failed=failed, copies=_copies(parts))
    if images.changed is not None and added.changed is not None:
        joined = replace(joined, changed=np.concatenate([images.changed, added.changed]))
    return _fit(engine, joined, settings, identity, seconds)


def _with_groups(columns: Columns, groups: Any) -> tuple[Columns, Any]:
    """The columns, with that of the groups if ``groups`` names one, and the groups otherwise."""
    return (replace(columns, group=groups), None) if isinstance(groups, str) else (columns, groups)


def _both(
    original: LabeledImages, source: LabeledImages, columns: Columns, classes: Sequence[str], settings: Settings
) -> list[Any]:
    """The pairs of two sources. Raises DataError if the first one lacks one of ``classes``."""
    read = labeled_sets if settings.multi_label else labeled
    first, second = (
        read(each, of) for each, of in zip((original, source), columns_of_each(columns, original, source), strict=True)
    )
    found = {label for labels in first.labels for label in ([labels] if isinstance(labels, str) else labels)}
    if missing := [name for name in classes if name not in found]:
        raise DataError(f"{first.name}: no image is of {missing[0]!r}, which the classifier knows; give images of it")
    return [pair for part in (first, second) for pair in zip(part.images, part.labels, strict=True)]


def _fit(engine: Engine, images: _Data, settings: Settings, identity: str | None, seconds: dict[str, float]) -> Trained:
    """Train on images whose embeddings are known."""
    known = Known(engine, replace(images, parts=[part.without_pixels() for part in images.parts]), settings)
    if settings.class_weight is not None:
        weights = data.class_weights(settings.class_weight, images.parts[0].targets, images.classes)
        images = replace(images, parts=[part.weighted(weights) for part in images.parts])
    if len(images.parts) == 1 and (images.share is not None or not settings.is_linear or settings.unfreeze):
        images = _set_aside(images, settings)
    with _clock(seconds, "head"):
        stage = _linear(images, settings) if settings.is_linear else _layers(images, settings)
    _warn_of_unseen(stage.validated, images.classes)
    spec = _spec_with_head(engine, stage, images.classes, settings)
    history, plain, metrics = stage.history, {**settings.to_plain(), **stage.chosen}, stage.metrics
    checkpoint = None
    if settings.unfreeze:
        with _clock(seconds, "fine-tune"):
            spec, rows, checkpoint = _fine_tune(engine, spec, stage.head, images.parts, settings, identity)
        history, metrics = [*history, *rows], _best(rows)
        plain = {**settings.to_plain("fine-tune"), **stage.chosen}
    report = _report(engine.spec, images, stage, plain, metrics, seconds)
    digests = frozenset(digest for part in images.parts for digest in part.digests if digest is not None)
    network = {}
    if engine.graph is not None and isinstance(stage.head, Head):
        network["bundle"] = engine.graph.with_head(stage.head, spec)
    return Trained(engine.derived(spec, **network), TrainingHistory(history), report, digests, known, checkpoint)


def _warn_of_unseen(validated: data.Images, classes: Sequence[str]) -> None:
    """Warn of classes without a validation image."""
    if unseen := [name for name, count in validated.counts(classes).items() if not count]:
        shown = ", ".join(map(repr, unseen[:3])) + (f" and {len(unseen) - 3} more" if len(unseen) > 3 else "")
        warn(f"no validation image is of {shown}; the metrics on validation do not cover these classes")


def preview(engine: Engine, image: Any, augment: Any, copies: int, seed: int) -> Figure:
    """An image, and changed copies of it, as a figure."""
    import_package("matplotlib", extra="plot")
    whole_number("copies", copies)
    from pretrained_cnn.transfer.augmenting import augmentation, changed_copies
    from pretrained_cnn.transfer.curves import draw_copies

    layer, pixels = augmentation(augment), engine.pixels([image])
    if layer is None:
        raise InvalidArgumentError('augment=None changes nothing; give "default" or a keras layer')
    return draw_copies(np.concatenate([pixels, changed_copies(layer, pixels[0], copies, seed)]))


def _read(
    engine: Engine,
    source: LabeledImages,
    validation: LabeledImages | None,
    settings: Settings,
    sample_weight: Any,
    columns: Columns,
    groups: Any = None,
    beside: Sequence[str] = (),
) -> _Data:
    """The images whose files can be read. Raises DataError for data from which nothing can be learned.

    The classes ``beside`` are known already, and need no images.
    """
    sources = [source] if validation is None else [source, validation]
    chosen = columns_of_each(columns, *sources)
    chosen[1:] = [replace(of, group=None) for of in chosen[1:]]  # what is given to validate with is not split
    given: list[Any]
    if settings.multi_label:
        given = [labeled_sets(each, of, policy=engine.image_policy) for each, of in zip(sources, chosen, strict=True)]
        classes = data.find_labels(*given, beside=beside)
    else:
        given = [labeled(each, of, policy=engine.image_policy) for each, of in zip(sources, chosen, strict=True)]
        classes = data.find_classes(*given, beside=beside)
    data.class_weights(settings.class_weight, np.empty(0, np.intp), classes)  # a class that does not exist is refused
    counts = [sample_weight, None] if sample_weight is not None else [part.weights for part in given]
    weights = [None if of is None else data.sample_weights(of, part) for of, part in zip(counts, given, strict=False)]
    if groups is not None:
        given[0].groups = data.groups_of(groups, given[0])
    read = [
        data.read(part, classes, engine.image_policy, of, part.groups) for part, of in zip(given, weights, strict=True)
    ]
    parts = [images for images, _ in read]
    failed = [error for _, errors in read for error in errors]
    data.check_left(parts, classes, failed, beside=beside)
    return _Data(classes, data.Copies([], [], []) if beside else _copies(parts), parts, failed=failed, beside=beside)


def _copies(parts: Sequence[data.Images]) -> data.Copies:
    """The images that are there more than once, which are warned of."""
    copies = data.find_copies(*parts)
    if copies.validation:
        warn(
            f"{len(copies.validation)} validation images are also among the train images, such as "
            f"{copies.validation[0]}; figures on them are too good, so remove them from one of the two"
        )
    if copies.other_class:
        warn(
            f"{len(copies.other_class)} train images are also in another class, such as {copies.other_class[0]}; "
            "report.contradictions lists all: remove each from the wrong class"
        )
    if copies.same_class:
        warn(
            f"{len(copies.same_class)} train images are copies of others in their class, such as "
            f"{copies.same_class[0]}; they are kept on the same side of every split, and report.copies lists all"
        )
    return copies


def _check_network(engine: Engine, settings: Settings) -> None:
    """Raise InvalidArgumentError, before the work, for settings that do not fit the network.

    And BundleError for a bundle that gives no embedding, or has no layers to unfreeze.
    """
    if engine.graph is not None and not settings.unfreeze:
        engine.open(("embedding",))
    if settings.has_layers:
        from pretrained_cnn.transfer.layers import check_head

        check_head(settings.head, _trunk(engine).output_shape[-1])
    if settings.augment is not None:
        from pretrained_cnn.transfer.augmenting import augmentation, check_augmentation

        layer = augmentation(settings.augment)
        if settings.augment != "default":
            check_augmentation(layer, engine.spec.input_size, engine.spec.channels)
    if settings.unfreeze:
        trunk = _trunk(engine)
        from pretrained_cnn.transfer.fine_tune import layers_to_unfreeze

        layers_to_unfreeze(trunk, settings.unfreeze)


def _embed(engine: Engine, images: _Data, settings: Settings, identity: str | None) -> _Data:
    """The images that the network can embed, with their embeddings."""
    store = open_store(identity)
    parts, vectors, failed = [], [], list(images.failed)
    for part in images.parts:
        found, usable, errors = embed(engine, part, store)
        parts.append(part.keep(usable))
        vectors.append(found)
        failed += errors
    data.check_left(parts, images.classes, failed, beside=images.beside)
    changed = None
    if settings.copies is not None:
        from pretrained_cnn.transfer.augmenting import embed_copies

        changed = embed_copies(engine, parts[0], settings.augment, settings.copies, settings.seed, store)
    if failed:
        warn(f"images that cannot be read are left out ({len(failed)}), such as {failed[0]}; report.skipped lists all")
    for error in failed:
        log.info("left out: %s", error)
    return replace(images, parts=parts, vectors=vectors, failed=failed, changed=changed)


def _set_aside(images: _Data, settings: Settings) -> _Data:
    """The images with a share of each class set aside to validate with."""
    share = images.share or data.SHARE
    (every,), (vectors,) = images.parts, images.vectors
    (aside,) = _held_out(every, settings, once=True, share=share)
    return replace(
        images,
        parts=[every.keep(~aside), every.keep(aside)],
        vectors=[vectors[~aside], vectors[aside]],
        changed=None if images.changed is None else images.changed[~aside],
        split=_set_aside_text(settings, share),
    )


def _held_out(
    images: data.Images, settings: Settings, *, once: bool | None = None, share: float = data.SHARE
) -> list[NDArray[np.bool_]]:
    """Which images validate, in turn. Raises DataError if none can."""
    held = data.hold_out(images.targets, data.find_groups(images), settings.seed, once=once, share=share)
    if not held:
        raise DataError(
            f"{images.name}: with one image, or one group, a class, none can be set aside to choose the settings; give "
            "more, or validation=..."
        )
    return held


def _set_aside_text(settings: Settings, share: float = data.SHARE) -> str:
    return f"{100 * share:.0f} % of each class, set aside by seed {settings.seed}"


class _Stage(NamedTuple):
    """A head, and what a report tells of it."""

    head: AnyHead
    history: list[dict[str, Any]]
    """A row for each setting or epoch that was tried."""
    chosen: dict[str, Any]
    """The settings that were chosen."""
    metrics: dict[str, float]
    validated: data.Images
    """The images that the metrics are of."""
    split: str
    """Where they are from."""
    thresholds: tuple[float, ...] = ()
    """The probability from which each label counts as given, where an image may have several."""


def _linear(images: _Data, settings: Settings) -> _Stage:
    """Logistic regression. Where there are no validation images, or few, parts of the train images choose its C."""
    from pretrained_cnn.transfer.linear import fit_linear

    sets = [_head_data(part, vectors) for part, vectors in zip(images.parts, images.vectors, strict=True)]
    train, *given = images.parts
    split, validated = images.split, given[0] if given else train
    if given and len(given[0].items) >= min(len(train.items), data.ENOUGH):
        trials = [(_with_copies(images), sets[1])]
    else:
        held = _held_out(train, settings)
        trials = [(_with_copies(images, ~which), sets[0].keep(which)) for which in held]
        how = f"{len(held)}-fold cross-validation" if len(held) > 1 else _set_aside_text(settings)
        if given:
            split = f"{split}; C was chosen by train images, {how}"
        else:
            split = f"{how}; in the end the head was fitted on all"
            validated = train.keep(np.any(held, axis=0))
    fitted = fit_linear(_with_copies(images), trials, len(images.classes))
    if given:
        found = measure(fitted.head(sets[1].vectors), sets[1].targets, sets[1].weights)
        names = metric_names(settings.multi_label)
        metrics = {f"validation_{name}": value for name, value in zip(names, found, strict=True)}
    else:
        (row,) = (row for row in fitted.rows if row["C"] == fitted.strength)
        metrics = {name: value for name, value in row.items() if name.startswith("validation_")}
    chosen: dict[str, Any] = {"C": fitted.strength}
    thresholds = best_thresholds(fitted.scores, fitted.targets) if settings.multi_label else ()
    if thresholds:
        chosen["thresholds"] = dict(zip(images.classes, thresholds, strict=True))
    return _Stage(fitted.head, fitted.rows, chosen, metrics, validated, split, thresholds)


def _layers(images: _Data, settings: Settings) -> _Stage:
    """A head that is trained epoch by epoch, as it is after the epoch that is best on the validation images."""
    from pretrained_cnn.transfer.layers import fit_layers

    sets = [_head_data(part, vectors) for part, vectors in zip(images.parts, images.vectors, strict=True)]
    schedule = settings.schedule("head")
    head, rows = fit_layers(
        _with_copies(images), sets[1], settings.layers, len(images.classes), schedule, settings.seed
    )
    chosen = {} if settings.unfreeze else settings.to_plain("head")
    return _Stage(head, rows, chosen, _best(rows), images.parts[1], images.split)


def _with_copies(images: _Data, which: NDArray[np.bool_] | None = None) -> HeadData:
    """Some of the images to train with, and their changed copies: together a copy counts what its image did alone."""
    vectors, changed, part = images.vectors[0], images.changed, images.parts[0]
    kept = np.ones(len(vectors), bool) if which is None else which
    if changed is None:
        return _head_data(part, vectors).keep(kept)
    every = np.concatenate([vectors[kept, np.newaxis], changed[kept]], axis=1)
    count = every.shape[1]
    return HeadData(
        every.reshape(-1, every.shape[2]),
        np.repeat(part.targets[kept], count, axis=0),
        np.repeat(part.weights[kept] / count, count),
    )


def _head_data(images: data.Images, vectors: NDArray[np.float32]) -> HeadData:
    return HeadData(vectors, images.targets, images.weights)


def _best(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The metrics of the row that was chosen. It warns if that is the one before the first epoch."""
    best = min(rows, key=lambda row: row["validation_loss"])
    if best.get("epoch") == 0:
        least = min(row["validation_loss"] for row in rows[1:])
        head = "of the linear or MLP head alone" if best["stage"] == "fine-tune" else "that the head began with"
        warn(
            f"{best['stage']}: no epoch lowered the log loss on validation: {best['validation_loss']:.3f} before, "
            f"{least:.3f} at best after; so the weights {head} are kept. Try a lower learning_rate"
        )
    return {name: value for name, value in best.items() if name.startswith("validation_")}


def _spec_with_head(engine: Engine, stage: _Stage, classes: tuple[str, ...], settings: Settings) -> ModelSpec:
    """The spec of the network with the new head in place of its own."""
    return engine.spec.replace(
        name=f"{engine.spec.name.removesuffix(SUFFIX)}{SUFFIX}",
        builder=lambda input_shape: attach(stage.head, _trunk(engine), settings.dropout),
        labels=classes,
        multi_label=settings.multi_label,
        thresholds=stage.thresholds,
        embedding_size=last_width(stage.head),
        parameters=None,
        weights=(),
        published=None,
    )


def _fine_tune(
    engine: Engine,
    spec: ModelSpec,
    head: AnyHead,
    parts: Sequence[data.Images],
    settings: Settings,
    identity: str | None,
) -> tuple[ModelSpec, list[dict[str, Any]], Path | None]:
    """The spec of the fine-tuned network, a row for each epoch, and the file with the state after the last one."""
    from pretrained_cnn.backbones.build import Backbone
    from pretrained_cnn.transfer.fine_tune import fine_tune, layers_to_unfreeze, leaf_layers

    trunk = _trunk(engine)
    network = attach(head, trunk, settings.dropout)
    added = leaf_layers(network)[len(leaf_layers(trunk)) :]
    checkpoint = _checkpoint(head, parts, settings, identity)
    rows = fine_tune(
        Backbone(spec, network, has_head=True),
        [*layers_to_unfreeze(trunk, settings.unfreeze), *added],
        parts[0],
        parts[1],
        image_policy=engine.image_policy,
        augment=settings.augment,
        schedule=settings.schedule("fine-tune"),
        seed=settings.seed,
        checkpoint=checkpoint,
    )
    return spec.replace(builder=lambda input_shape: network), rows, checkpoint


def _report(
    spec: ModelSpec,
    images: _Data,
    stage: _Stage,
    settings: dict[str, Any],
    metrics: dict[str, float],
    seconds: dict[str, float],
) -> TrainingReport:
    return TrainingReport(
        model=spec.name,
        classes=images.classes,
        counts={"train": images.parts[0].counts(images.classes), "validation": stage.validated.counts(images.classes)},
        split=stage.split,
        settings=settings,
        metrics=metrics,
        skipped=[str(error) for error in images.failed],
        duplicates=images.copies.validation,
        copies=images.copies.same_class,
        contradictions=images.copies.other_class,
        seconds=seconds,
    )


def _checkpoint(head: AnyHead, parts: Sequence[data.Images], settings: Settings, identity: str | None) -> Path | None:
    """The file of this very training.

    None if its network or one of its images has no lasting identity, or with callbacks, whose state is not known.
    """
    digests = [digest for part in parts for digest in part.digests]
    if identity is None or None in digests or settings.callbacks:
        return None
    facts = [identity, settings.to_plain(), [[part.targets.tolist(), part.weights.tolist()] for part in parts]]
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for content in (*digests, *(array.tobytes() for array in arrays_of(head))):
        name.update(content or b"")
    return cache_folder("training") / f"{name.hexdigest()}.npz"


def _trunk(engine: Engine) -> keras.Model:
    backbone = engine.backbone()
    from pretrained_cnn.backbones.serving import embedding_model

    return embedding_model(backbone)


@contextmanager
def _clock(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    seconds[stage] = round(time.monotonic() - start, 3)
