"""From a backbone and labeled images to a network with those classes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._cache import cache_folder
from pretrained_cnn._check import choice, number, whole_number
from pretrained_cnn._process import warn
from pretrained_cnn._types import LabeledImages
from pretrained_cnn.engine import Engine
from pretrained_cnn.errors import ImageError, InvalidArgumentError, import_package
from pretrained_cnn.images.labeled import labeled
from pretrained_cnn.runtimes.head import Head
from pretrained_cnn.spec import ModelSpec
from pretrained_cnn.transfer import data, heads
from pretrained_cnn.transfer.embeddings import embed, open_store
from pretrained_cnn.transfer.heads import HeadData
from pretrained_cnn.transfer.report import Trained, TrainingReport, model_card

if TYPE_CHECKING:
    import keras

__all__ = ["Settings", "Trained", "TrainingReport", "model_card", "train"]

log = logging.getLogger(__name__)

SUFFIX = "-trained"
"""What the name of a trained network ends in."""


@dataclass(frozen=True)
class Settings:
    """How to train; the fields are the arguments of `Classifier.train`. Raises InvalidArgumentError."""

    head: Literal["linear", "mlp"] = "linear"
    epochs: int | None = None
    unfreeze: int | str = 0
    augment: Any = None
    learning_rate: float | None = None
    class_weight: Literal["balanced"] | Mapping[str, float] | None = None
    seed: int = 0
    cache: bool = True

    def __post_init__(self) -> None:
        # NumPy's numbers become Python's, since the settings are written as JSON.
        put = partial(object.__setattr__, self)  # the class is frozen
        put("head", choice("head", self.head, ("linear", "mlp")))
        if not isinstance(self.unfreeze, str):
            try:
                put("unfreeze", whole_number("unfreeze", self.unfreeze, least=0))
            except InvalidArgumentError:
                raise InvalidArgumentError(
                    f"unfreeze={self.unfreeze!r} is neither a number of layers nor a layer's name"
                ) from None
        if self.epochs is not None:
            put("epochs", whole_number("epochs", self.epochs))
        put("seed", whole_number("seed", self.seed, least=0))
        if self.learning_rate is not None:
            put("learning_rate", number("learning_rate", self.learning_rate, above=0))
        if not (self.class_weight in (None, "balanced") or isinstance(self.class_weight, Mapping)):
            raise InvalidArgumentError(
                f'class_weight={self.class_weight!r} is not known; give "balanced" or a number for each class'
            )
        if self.augment is not None and not self.unfreeze:
            raise InvalidArgumentError(
                "augment=... needs unfreeze: without it the network sees each image once, and the head embeddings"
            )
        if self.head == "linear" and not self.unfreeze:
            for name in ("epochs", "learning_rate"):
                if getattr(self, name) is not None:
                    raise InvalidArgumentError(
                        f'{name}=... has no meaning for head="linear", which is fitted to convergence; '
                        'leave it out, or give head="mlp" or unfreeze'
                    )


EPOCHS = {"mlp": 100, "fine-tune": 20}
LEARNING_RATES = {"mlp": 3e-4, "fine-tune": 1e-5}


@dataclass(frozen=True)
class _Data:
    """The images that a training uses, and what is known of them so far."""

    classes: tuple[str, ...]
    parts: Sequence[data.Images]
    """The images to train with, and, once there are some, those to validate with."""
    vectors: Sequence[NDArray[np.float32]] = ()
    """The embeddings of each part, once they are computed."""
    failed: Sequence[ImageError] = ()
    """What was wrong with the images that are left out."""
    duplicates: Sequence[str] = ()
    """The validation images that are among the train images too."""
    split: str = "given"
    """Where the validation images are from."""


def train(engine: Engine, source: LabeledImages, validation: LabeledImages | None, settings: Settings) -> Trained:
    """Fit a head for the classes of ``source``, and fine-tune the last layers of the network if so set.

    Raises DataError before any work if the images cannot be used, InvalidArgumentError for settings that do not fit the
    network, MissingDependencyError without scikit-learn where the head needs it.
    """
    if settings.head == "linear":
        import_package("sklearn", extra="train", package="scikit-learn")
    seconds: dict[str, float] = {}
    with _clock(seconds, "read"):
        images = _read(engine, source, validation, settings)
    _check_network(engine, settings)
    identity = engine.identity() if settings.cache else None
    with _clock(seconds, "embed"):
        images = _embed(engine, images, identity)
    if validation is None:
        images = _set_aside(images, settings)
    weights = data.class_weights(settings.class_weight, images.parts[0].targets, images.classes)
    with _clock(seconds, "head"):
        refit = validation is None and settings.head == "linear" and not settings.unfreeze
        head, history, chosen = _fit_head(images, weights, settings, refit=refit)
    spec = _spec_with_head(engine, head, images.classes)
    if settings.unfreeze:
        with _clock(seconds, "fine-tune"):
            spec, rows = _fine_tune(engine, spec, head, images.parts, weights, settings, identity)
        history, chosen = [*history, *rows], {**chosen, **_schedule(settings, "fine-tune")}
    if refit:
        images = replace(images, split=f"{images.split}; in the end the head was fitted on all")
    report = _report(engine.spec, images, {**_plain(settings), **chosen}, history, seconds)
    digests = frozenset(digest for part in images.parts for digest in part.digests if digest is not None)
    network = {} if engine.graph is None else {"bundle": engine.graph.with_head(head, spec)}
    return Trained(engine.derived(spec, **network), history, report, digests)


def _read(engine: Engine, source: LabeledImages, validation: LabeledImages | None, settings: Settings) -> _Data:
    """The images whose files can be read. Raises DataError for data from which nothing can be learnt."""
    given = [labeled(source)] if validation is None else [labeled(source), labeled(validation)]
    classes = data.find_classes(*given)
    data.class_weights(settings.class_weight, np.empty(0, np.intp), classes)  # a class that does not exist is refused
    read = [data.read(part, classes, engine.image_policy) for part in given]
    parts = [images for images, _ in read]
    failed = [error for _, errors in read for error in errors]
    data.check_left(parts, classes, failed)
    duplicates = data.duplicates(*parts) if len(parts) == 2 else []
    if duplicates:
        warn(
            f"{len(duplicates)} validation images are among the train images too, such as {duplicates[0]}; figures on "
            "them are too good, so remove them from one of the two"
        )
    return _Data(classes, parts, failed=failed, duplicates=duplicates)


def _check_network(engine: Engine, settings: Settings) -> None:
    """Raise InvalidArgumentError, before the work, for settings that do not fit the network.

    And BundleError for a bundle that gives no embedding, or has no layers to unfreeze.
    """
    if engine.graph is not None and not settings.unfreeze:
        engine.open(("embedding",))
    if settings.unfreeze:
        trunk = _trunk(engine)
        from pretrained_cnn.transfer.fine_tune import augmentation, layers_to_unfreeze

        augmentation(settings.augment)
        layers_to_unfreeze(trunk, settings.unfreeze)


def _embed(engine: Engine, images: _Data, identity: str | None) -> _Data:
    """The images that the network can embed, with their embeddings."""
    store = open_store(identity)
    parts, vectors, failed = [], [], list(images.failed)
    for part in images.parts:
        found, usable, errors = embed(engine, part, store)
        parts.append(part.keep(usable))
        vectors.append(found)
        failed += errors
    data.check_left(parts, images.classes, failed)
    if failed:
        warn(f"{len(failed)} images cannot be read and are left out, such as {failed[0]}; report.skipped lists all")
    for error in failed:
        log.info("left out: %s", error)
    return replace(images, parts=parts, vectors=vectors, failed=failed)


def _set_aside(images: _Data, settings: Settings) -> _Data:
    """The images with a part of each class set aside to validate with."""
    (every,), (vectors,) = images.parts, images.vectors
    aside = data.split(every, settings.seed)
    return replace(
        images,
        parts=[every.keep(~aside), every.keep(aside)],
        vectors=[vectors[~aside], vectors[aside]],
        split=f"{100 * data.SHARE:.0f} % of each class, set aside by seed {settings.seed}",
    )


def _fit_head(
    images: _Data, weights: NDArray[np.float64], settings: Settings, *, refit: bool
) -> tuple[Head, list[dict[str, Any]], dict[str, Any]]:
    """The head, a row for each setting or epoch that was tried, and the settings that were chosen."""
    fitted, validated = (
        HeadData(vectors, part.targets, weights[part.targets])
        for vectors, part in zip(images.vectors, images.parts, strict=True)
    )
    if settings.head == "linear":
        head, history, strength = heads.linear(fitted, validated, refit=refit)
        return head, history, {"C": strength}
    from pretrained_cnn.transfer.mlp import mlp

    schedule = _schedule(settings, "mlp")
    head, history = mlp(fitted, validated, classes=len(images.classes), seed=settings.seed, **schedule)
    return head, history, {} if settings.unfreeze else schedule


def _spec_with_head(engine: Engine, head: Head, classes: tuple[str, ...]) -> ModelSpec:
    """The spec of the network with the new head in place of its own."""
    return engine.spec.replace(
        name=f"{engine.spec.name.removesuffix(SUFFIX)}{SUFFIX}",
        builder=lambda input_shape: heads.attach(head, _trunk(engine)),
        labels=classes,
        multi_label=False,
        embedding_size=head.layers[-1][0].shape[0],
        parameters=None,
        weights=(),
        published=None,
    )


def _fine_tune(
    engine: Engine,
    spec: ModelSpec,
    head: Head,
    parts: Sequence[data.Images],
    weights: NDArray[np.float64],
    settings: Settings,
    identity: str | None,
) -> tuple[ModelSpec, list[dict[str, Any]]]:
    """The spec of the fine-tuned network, and a row for each epoch."""
    from pretrained_cnn.backbones.build import Backbone
    from pretrained_cnn.transfer.fine_tune import fine_tune, layers_to_unfreeze

    trunk = _trunk(engine)
    network = heads.attach(head, trunk)
    added = network.layers[len(trunk.layers) :]
    checkpoint = _checkpoint(head, parts, settings, identity)
    rows = fine_tune(
        Backbone(spec, network, has_head=True),
        [*layers_to_unfreeze(trunk, settings.unfreeze), *added],
        parts[0],
        parts[1],
        weights[parts[0].targets],
        image_policy=engine.image_policy,
        augment=settings.augment,
        seed=settings.seed,
        checkpoint=checkpoint,
        **_schedule(settings, "fine-tune"),
    )
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return spec.replace(builder=lambda input_shape: network), rows


def _report(
    spec: ModelSpec,
    images: _Data,
    settings: dict[str, Any],
    history: list[dict[str, Any]],
    seconds: dict[str, float],
) -> TrainingReport:
    last_stage = [row for row in history if row["stage"] == history[-1]["stage"]]
    best = min(last_stage, key=lambda row: row["validation_loss"])
    counts = [part.counts(images.classes) for part in images.parts]
    return TrainingReport(
        model=spec.name,
        classes=images.classes,
        counts=dict(zip(("train", "validation"), counts, strict=True)),
        split=images.split,
        settings=settings,
        metrics={name: best[name] for name in ("validation_loss", "validation_accuracy")},
        skipped=[str(error) for error in images.failed],
        duplicates=images.duplicates,
        seconds=seconds,
    )


def _checkpoint(head: Head, parts: Sequence[data.Images], settings: Settings, identity: str | None) -> Path | None:
    """The file of this very training; None if its network or one of its images has no lasting identity."""
    digests = [digest for part in parts for digest in part.digests]
    if identity is None or None in digests:
        return None
    facts = [identity, _plain(settings), [part.targets.tolist() for part in parts]]
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for content in (*digests, *(array.tobytes() for layer in head.layers for array in layer)):
        name.update(content or b"")
    return cache_folder("training") / f"{name.hexdigest()}.npz"


def _trunk(engine: Engine) -> keras.Model:
    backbone = engine.backbone()
    from pretrained_cnn.backbones.serving import embedding_model

    return embedding_model(backbone)


def _schedule(settings: Settings, stage: str) -> dict[str, Any]:
    """How many epochs, and the learning rate. Where two stages are trained, the arguments are the last one's."""
    given = settings if stage == "fine-tune" or not settings.unfreeze else Settings(settings.head)
    return {
        "epochs": given.epochs or EPOCHS[stage],
        "learning_rate": given.learning_rate or LEARNING_RATES[stage],
    }


def _plain(settings: Settings) -> dict[str, Any]:
    """The settings as plain data. A layer that augments stands there by its configuration."""
    plain = {item.name: getattr(settings, item.name) for item in dataclasses.fields(settings)}
    if not isinstance(settings.augment, str | None):
        config = getattr(settings.augment, "get_config", lambda: settings.augment)()
        plain["augment"] = f"{type(settings.augment).__name__} {json.dumps(config, sort_keys=True, default=repr)}"
    if isinstance(settings.class_weight, Mapping):
        plain["class_weight"] = dict(settings.class_weight)
    return {name: value for name, value in plain.items() if name != "cache"}


@contextmanager
def _clock(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    seconds[stage] = round(time.monotonic() - start, 3)
