"""From a backbone and labeled images to a network with those classes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._cache import cache_folder
from pretrained_cnn._types import LabeledImages
from pretrained_cnn.engine import Engine
from pretrained_cnn.errors import ImageError, InvalidArgumentError
from pretrained_cnn.images.labeled import labeled
from pretrained_cnn.spec import ModelSpec
from pretrained_cnn.transfer import data, heads
from pretrained_cnn.transfer.embeddings import embed, open_store
from pretrained_cnn.transfer.heads import Head, Part
from pretrained_cnn.transfer.report import Trained, TrainingReport, model_card

if TYPE_CHECKING:
    import keras

__all__ = ["Settings", "Trained", "TrainingReport", "model_card", "train"]

log = logging.getLogger(__name__)

SUFFIX = "-trained"
"""Of the names of trained backbones."""


@dataclass(frozen=True)
class Settings:
    """How to train; what the arguments mean is told at `Classifier.train`. Raises InvalidArgumentError."""

    head: Literal["linear", "mlp"] = "linear"
    epochs: int | None = None
    unfreeze: int | str = 0
    augment: Any = None
    learning_rate: float | None = None
    class_weight: Literal["balanced"] | Mapping[str, float] | None = None
    seed: int = 0
    cache: bool = True

    def __post_init__(self) -> None:
        if self.head not in ("linear", "mlp"):
            raise InvalidArgumentError(f'head={self.head!r} is not known; choose "linear" or "mlp"')
        if not isinstance(self.unfreeze, str) and not _is_count(self.unfreeze):
            raise InvalidArgumentError(f"unfreeze={self.unfreeze!r} is neither a number of layers nor a layer's name")
        if self.epochs is not None and not (_is_count(self.epochs) and self.epochs):
            raise InvalidArgumentError(f"epochs={self.epochs!r} is not a whole number of at least 1")
        if not _is_count(self.seed):
            raise InvalidArgumentError(f"seed={self.seed!r} is not a whole number of at least 0")
        rate = self.learning_rate
        if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int | float) or not rate > 0):
            raise InvalidArgumentError(f"learning_rate={rate!r} is not a number above 0")
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


def train(engine: Engine, source: LabeledImages, validation: LabeledImages | None, settings: Settings) -> Trained:
    """Fit a head for the classes of ``source``, and train the last layers of the network if so set.

    Raises DataError before any work if the images do not do, InvalidArgumentError for settings that do not fit the
    network, MissingDependencyError without scikit-learn where the head needs it.
    """
    if settings.head == "linear":
        heads.need_sklearn()
    seconds: dict[str, float] = {}
    with _clock(seconds, "read"):
        classes, parts, failed = _read(source, validation, settings, engine)
        twice = data.duplicates(*parts) if len(parts) == 2 else []
        if twice:
            log.warning("%d validation images are among the train images too, such as %s", len(twice), twice[0])
    if settings.unfreeze:
        trunk = _trunk(engine)
        from pretrained_cnn.transfer.fine_tune import augmentation, to_thaw

        augmentation(settings.augment)
        to_thaw(trunk, settings.unfreeze)  # what does not fit is said before the work
    with _clock(seconds, "embed"):
        identity = engine.identity() if settings.cache else None
        store = open_store(identity)
        vectors = []
        for i, part in enumerate(parts):
            found, there, errors = embed(engine, part, store)
            vectors.append(found)
            parts[i] = part.keep(there)
            failed += errors
        data.check_left(parts, classes, failed)
    for error in failed:
        log.warning("left out: %s", error)

    split = "given"
    if validation is None:
        aside = data.split(parts[0], settings.seed)
        parts = [parts[0].keep(~aside), parts[0].keep(aside)]
        vectors = [vectors[0][~aside], vectors[0][aside]]
        split = f"{100 * data.SHARE:.0f} % of each class, set aside by seed {settings.seed}"
    weights = data.class_weights(settings.class_weight, parts[0].targets, classes)
    fitting, held = (
        Part(found, part.targets, weights[part.targets]) for found, part in zip(vectors, parts, strict=True)
    )

    chosen: dict[str, Any] = {}
    with _clock(seconds, "head"):
        if settings.head == "linear":
            refit = validation is None and not settings.unfreeze
            head, history, chosen["C"] = heads.linear(fitting, held, refit=refit)
            split += "; in the end the head was fitted on all" if refit else ""
        else:
            from pretrained_cnn.transfer.mlp import mlp

            loop = _loop(settings, "mlp")
            chosen |= {} if settings.unfreeze else loop
            head, history = mlp(fitting, held, classes=len(classes), seed=settings.seed, **loop)
    spec = engine.spec.replace(
        name=f"{engine.spec.name.removesuffix(SUFFIX)}{SUFFIX}",
        builder=lambda input_shape: head.attach(_trunk(engine)),
        labels=classes,
        multi_label=False,
        embedding_size=head.layers[-1][0].shape[0],
        parameters=None,
        weights=(),
        published=None,
    )
    if settings.unfreeze:
        with _clock(seconds, "fine-tune"):
            chosen |= _loop(settings, "fine-tune")
            spec, rows = _fine_tune(engine, spec, head, parts, fitting.weights, settings, identity)
            history += rows
    best = min((row for row in history if row["stage"] == history[-1]["stage"]), key=lambda row: row["validation_loss"])
    report = TrainingReport(
        model=engine.spec.name,
        classes=classes,
        counts={name: part.counts(classes) for name, part in zip(("train", "validation"), parts, strict=True)},
        split=split,
        settings={**_plain(settings), **chosen},
        metrics={name: best[name] for name in ("validation_loss", "validation_accuracy")},
        skipped=[str(error) for error in failed],
        duplicates=twice,
        seconds=seconds,
    )
    trained = Engine(
        spec,
        runtime=engine.runtime.name,
        precision=engine.precision,
        quantize=engine.quantize,
        image_policy=engine.image_policy,
    )
    return Trained(trained, history, report)


def _read(
    source: LabeledImages, validation: LabeledImages | None, settings: Settings, engine: Engine
) -> tuple[tuple[str, ...], list[data.Images], list[ImageError]]:
    """The classes, the images to train and, where given, to validate with, and what is wrong with the others."""
    given = [labeled(source)] if validation is None else [labeled(source), labeled(validation)]
    classes = data.find_classes(*given)
    data.class_weights(settings.class_weight, np.empty(0, np.intp), classes)
    parts, failed = [], []
    for part in given:
        images, errors = data.read(part, classes, engine.image_policy)
        parts.append(images)
        failed += errors
    data.check_left(parts, classes, failed)
    return classes, parts, failed


def _fine_tune(
    engine: Engine,
    spec: ModelSpec,
    head: Head,
    parts: Sequence[data.Images],
    weights: NDArray[np.float64],
    settings: Settings,
    identity: str | None,
) -> tuple[ModelSpec, list[dict[str, Any]]]:
    from pretrained_cnn.backbones.build import Backbone
    from pretrained_cnn.transfer.fine_tune import fine_tune, to_thaw

    trunk = _trunk(engine)
    network = head.attach(trunk)
    added = network.layers[len(trunk.layers) :]
    checkpoint = _checkpoint(head, parts, settings, identity)
    rows = fine_tune(
        Backbone(spec, network, has_head=True),
        [*to_thaw(trunk, settings.unfreeze), *added],
        parts[0],
        parts[1],
        weights,
        image_policy=engine.image_policy,
        augment=settings.augment,
        seed=settings.seed,
        checkpoint=checkpoint,
        **_loop(settings, "fine-tune"),
    )
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return spec.replace(builder=lambda input_shape: network), rows


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


def _loop(settings: Settings, stage: str) -> dict[str, Any]:
    """How often and how fast. Where two stages are trained, the arguments are the last one's."""
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


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
