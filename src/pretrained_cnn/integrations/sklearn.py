"""Images in scikit-learn: `ImageEmbedder`, a transformer, and `ImageClassifier`, an estimator.

>>> from sklearn.linear_model import LogisticRegression
>>> from sklearn.pipeline import make_pipeline
>>> images = ["examples/images/clock.png", "examples/images/candle.png"]
>>> pipeline = make_pipeline(ImageEmbedder("EfficientNetLite0"), LogisticRegression())
>>> pipeline.fit(images, ["clock", "candle"]).predict(images).tolist()
['clock', 'candle']
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from pretrained_cnn.classifier import Classifier
from pretrained_cnn.engine import Engine
from pretrained_cnn.errors import DataError, InvalidArgumentError, MissingDependencyError
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.images.sources import iter_items
from pretrained_cnn.spec import ModelSpec, ResizePolicy
from pretrained_cnn.transfer.embeddings import embed_cached

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, column_or_1d
except ImportError:
    raise MissingDependencyError("scikit-learn", extra="sklearn") from None

__all__ = ["ImageClassifier", "ImageEmbedder"]


class _ImageEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """What both have: their X is images, and no table of numbers; their arguments are open.

    So scikit-learn's ``check_estimator`` skips what would hand them a table; ``docs/how-to/scikit-learn.md`` lists
    these checks.
    """

    classifier_: Classifier

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.no_validation = True  # of X as numbers; the images are checked as everywhere
        return tags

    @override
    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor, by name, with those that are passed to `Classifier`."""
        own: dict[str, Any] = super().get_params(deep)
        return own | {name: getattr(self, name) for name in getattr(self, "_more", ())}

    @override
    def set_params(self, **params: Any) -> Self:
        """Set arguments by name; any that `Classifier` takes, builder options among them, can be set."""
        known = self.get_params()
        own = {name: value for name, value in params.items() if name in known or "__" in name}
        self._take({name: value for name, value in params.items() if name not in own})
        super().set_params(**own)
        return self

    def _take(self, arguments: Mapping[str, Any]) -> None:
        """Keep arguments that are no parameters of the constructor's own. A wrong one is refused by `fit`."""
        for name, value in arguments.items():
            if hasattr(type(self), name) or name.startswith("_") or name.endswith("_"):
                raise InvalidArgumentError(f"{name}={value!r} is no argument of {type(self).__name__}")
            setattr(self, name, value)
        if arguments:
            self._more = tuple(dict.fromkeys((*getattr(self, "_more", ()), *arguments)))


class ImageEmbedder(TransformerMixin, _ImageEstimator):  # type: ignore[misc]
    """A transformer from images to embeddings of a pretrained network, float32 ``(N, D)``.

    Args:
        model: A name that ``list_models`` gives, a ``ModelSpec``, or the folder of a bundle.
        layer: The name of a layer whose output is used in place of the head's input.
        weights: As for ``Classifier``.
        runtime: As for ``Classifier``; None for its default.
        resize: As for ``Classifier``.
        input_size: As for ``Classifier``.
        image_policy: As for ``Classifier``; None for its default.
        batch_size: As for ``Classifier.stream``.
        cache: Keep embeddings on disk, by the content of the images, where ``Classifier.train`` also keeps them: a grid
            search computes each once. Those of a ``layer`` are not kept.
        **arguments: Other arguments of ``Classifier``, builder options such as ``alpha=0.25`` among them.

    X is images as ``Classifier.predict_batch`` takes them, or a table with one column of them. `fit` learns nothing
    from them. It can be pickled; the copy builds the network again. Raises what ``Classifier`` raises.

    >>> ImageEmbedder("EfficientNetLite0").fit_transform(["examples/images/clock.png"]).shape
    (1, 1280)
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | ModelSpec = "Xception",
        *,
        layer: str | None = None,
        weights: str | None = "imagenet",
        runtime: str | None = None,
        resize: ResizePolicy | None = None,
        input_size: tuple[int, int] | None = None,
        image_policy: ImagePolicy | None = None,
        batch_size: int | None = None,
        cache: bool = True,
        **arguments: Any,
    ) -> None:
        self.model = model
        self.layer = layer
        self.weights = weights
        self.runtime = runtime
        self.resize = resize
        self.input_size = input_size
        self.image_policy = image_policy
        self.batch_size = batch_size
        self.cache = cache
        self._take(arguments)

    def fit(self, X: Any = None, y: Any = None) -> ImageEmbedder:  # noqa: N803 - scikit-learn's names
        """Check the arguments. ``X`` and ``y`` are ignored."""
        self._prepare()
        return self

    def _prepare(self) -> None:
        given = self.get_params(deep=False)
        for name in ("layer", "batch_size", "cache"):
            del given[name]
        self.classifier_ = Classifier(**given)
        if self.layer is None:
            self.classifier_.engine.identity()  # finds missing weights, and builds no network that a file determines
        else:
            self.classifier_.embed([], layer=self.layer)

    def transform(self, X: Any) -> NDArray[np.float32]:  # noqa: N803
        """The embedding of each image, float32 ``(N, D)``. Raises the ImageError of the first bad one."""
        check_is_fitted(self)
        images = _images(X)
        if self.cache and self.layer is None:
            items = list(iter_items(images))
            if items:
                return embed_cached(self.classifier_.engine, items, batch_size=self.batch_size)
        return self.classifier_.embed(images, layer=self.layer, batch_size=self.batch_size)

    @override
    def __getstate__(self) -> dict[str, Any]:
        """Everything but the network, which a copy builds again."""
        state: dict[str, Any] = super().__getstate__()
        return {name: None if name == "classifier_" else value for name, value in state.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "classifier_" in state:
            self._prepare()

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """``embedding0``, ``embedding1`` and so on; there are no input features."""
        check_is_fitted(self)
        width = self.classifier_.embed([], layer=self.layer).shape[1]
        return np.array([f"embedding{i}" for i in range(width)], object)


class ImageClassifier(ClassifierMixin, _ImageEstimator):  # type: ignore[misc]
    """``Classifier.train`` as an estimator: X is images, y their classes, of any kind that scikit-learn takes.

    The arguments are those of ``Classifier.train``; ``**arguments`` are its other ones, builder options such as
    ``alpha=0.25`` among them. The trained ``Classifier`` is ``classifier_``, whose labels are the classes as text. A
    fitted one can be pickled, and copied: the pickle holds a bundle, so it is as large as the network.

    X is images as ``Classifier.predict_batch`` takes them, or a table with one column of them. Raises what
    ``Classifier.train`` raises.

    >>> images = [f"examples/images/{name}.png" for name in ("clock", "candle", "hourglass", "umbrella")]
    >>> ImageClassifier("EfficientNetLite0").fit(images, [1, 0, 1, 0]).predict(images).tolist()
    [1, 0, 1, 0]
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | ModelSpec = "Xception",
        *,
        head: Any = "linear",
        epochs: int | None = None,
        unfreeze: int | str = 0,
        augment: Any = None,
        learning_rate: float | None = None,
        class_weight: Literal["balanced"] | Mapping[Any, float] | None = None,
        seed: int = 0,
        cache: bool = True,
        weights: str | None = "imagenet",
        runtime: str | None = None,
        resize: ResizePolicy | None = None,
        input_size: tuple[int, int] | None = None,
        image_policy: ImagePolicy | None = None,
        **arguments: Any,
    ) -> None:
        self.model = model
        self.head = head
        self.epochs = epochs
        self.unfreeze = unfreeze
        self.augment = augment
        self.learning_rate = learning_rate
        self.class_weight = class_weight
        self.seed = seed
        self.cache = cache
        self.weights = weights
        self.runtime = runtime
        self.resize = resize
        self.input_size = input_size
        self.image_policy = image_policy
        self._take(arguments)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> ImageClassifier:  # noqa: N803
        """Train on images and the class of each.

        Args:
            X: Images, ``(n,)``. Those that cannot be read are left out, with a warning.
            y: The class of each image, ``(n,)``: text, whole numbers or booleans, none missing.
            sample_weight: The weight of each image, ``(n,)``, numbers of at least 0; None for 1.

        Raises ValueError for targets that are not classes, as scikit-learn's own classifiers do.
        """
        items = list(iter_items(_images(X)))
        classes, targets = np.unique(_targets(y), return_inverse=True)
        if len(items) != len(targets):
            raise DataError(f"{len(targets)} classes in y do not fit {len(items)} images in X")
        names = _names(classes)
        given = self.get_params(deep=False)
        if given.get("multi_label"):
            raise InvalidArgumentError("multi_label=True: an ImageClassifier gives one class; use Classifier.train")
        if isinstance(self.class_weight, Mapping):
            index = dict(zip(classes.tolist(), names, strict=True))
            weights = self.class_weight.items()
            given["class_weight"] = {index.get(value, str(value)): weight for value, weight in weights}
        pairs = [((item.name, item.image), names[target]) for item, target in zip(items, targets, strict=True)]
        self.classifier_ = Classifier.train(pairs, given.pop("model"), sample_weight=sample_weight, **given)
        places = {label.id: place for place, label in enumerate(self.classifier_.labels)}
        self._columns = [places[name] for name in names]
        self.classes_ = classes
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float32]:  # noqa: N803
        """The probabilities of ``classes_``, float32 ``(N, C)``. Raises the ImageError of the first bad image."""
        check_is_fitted(self)
        return self.classifier_.predict_proba(_images(X))[:, self._columns]

    def predict_log_proba(self, X: Any) -> NDArray[np.float32]:  # noqa: N803
        """The logarithms of `predict_proba`, float32 ``(N, C)``; of a probability of 0 it is minus infinity."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def decision_function(self, X: Any) -> NDArray[np.float32]:  # noqa: N803
        """How far each image is on the side of a class, float32: ``(N,)`` for two classes, else ``(N, C)``.

        For two classes, above 0 means the second one: the logarithm of the ratio of their probabilities. Of more, the
        logarithm of each probability. A probability of 0 counts as the smallest of float32, so all are finite.
        """
        scores = np.log(np.maximum(self.predict_proba(X), np.finfo(np.float32).tiny))
        return np.asarray(scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores)

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """The best class of each image, ``(N,)``. Raises the ImageError of the first bad image."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    @override
    def __getstate__(self) -> dict[str, Any]:
        """Everything, the trained classifier as the files of a bundle."""
        state: dict[str, Any] = super().__getstate__()
        if "classifier_" in state:
            state = {**state, "classifier_": _packed(state["classifier_"])}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "classifier_" in state:
            state = {**state, "classifier_": _unpacked(*state["classifier_"])}
        super().__setstate__(state)


def _images(X: Any) -> Any:  # noqa: N803
    """Images as `Classifier` takes them: of a table with one column, the column."""
    columns = getattr(X, "columns", None)
    if columns is not None:
        if len(columns) != 1:
            raise DataError(f"X has the columns {', '.join(map(str, columns))}; give the one that holds the images")
        return X[columns[0]]
    if len(getattr(X, "shape", ())) == 2 and getattr(getattr(X, "dtype", None), "kind", "") in "OUST":
        if X.shape[1] != 1:
            raise DataError(f"X has {X.shape[1]} columns; give the one that holds the images")
        return X[:, 0]
    return X


def _targets(y: Any) -> NDArray[Any]:
    """The class of each image, ``(n,)``. Raises ValueError for what scikit-learn's classifiers do not take."""
    if y is None:
        raise ValueError("ImageClassifier requires y to be passed, but the target y is None")
    if hasattr(y, "astype"):  # an array or of pandas, whose whole numbers that may be missing would become floats
        y = y.astype(object)
    given = y if hasattr(y, "__array__") else np.array(list(y), object)  # so that NaN does not become the text "nan"
    values = np.asarray(column_or_1d(given, warn=True), object).tolist()
    missing = [i for i, value in enumerate(values) if _is_missing(value)]
    if missing:
        raise ValueError(f"Input y contains NaN or None, such as number {missing[0]}; leave these images out")
    if len({isinstance(value, str) for value in values}) > 1:
        raise ValueError("y has text and numbers; give classes of one kind")
    targets = np.asarray(values)
    check_classification_targets(targets)
    return targets


def _names(classes: NDArray[Any]) -> list[str]:
    """The names of the classes: their text, with a number before it where blanks alone tell two apart."""
    names = [str(value).strip() for value in classes]
    return names if len(set(names)) == len(names) else [f"{i} {value}" for i, value in enumerate(classes)]


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ in ("NAType", "NaTType") or bool(value != value)


def _packed(classifier: Classifier) -> tuple[bytes, dict[str, Any]]:
    """The files of a bundle of the classifier, and what executes it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bundle")
        classifier.save(path)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for file in sorted(path.rglob("*")):
                archive.write(file, file.relative_to(path))
        return packed.getvalue(), {"runtime": classifier.runtime, "precision": classifier.precision}


def _unpacked(files: bytes, how: Mapping[str, Any]) -> Classifier:
    """The classifier that `_packed` packed. Its bundle lies in a temporary folder, as long as it is used."""
    folder = tempfile.mkdtemp(prefix="pretrained-cnn-")
    try:
        with zipfile.ZipFile(io.BytesIO(files)) as archive:
            archive.extractall(folder)
        return Classifier(Engine.from_bundle(folder, temporary=True, **how))
    except BaseException:  # Ctrl-C included: nobody else removes the folder
        shutil.rmtree(folder, ignore_errors=True)
        raise
