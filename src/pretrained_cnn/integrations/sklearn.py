"""Images in scikit-learn: `ImageEmbedder`, a transformer, and `ImageClassifier`, an estimator.

>>> from sklearn.linear_model import LogisticRegression
>>> from sklearn.pipeline import make_pipeline
>>> images = ["examples/images/clock.png", "examples/images/candle.png"]
>>> pipeline = make_pipeline(ImageEmbedder("EfficientNetLite0"), LogisticRegression())
>>> pipeline.fit(images, ["clock", "candle"]).predict(images).tolist()
['clock', 'candle']
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from pretrained_cnn.classifier import Classifier
from pretrained_cnn.errors import DataError, MissingDependencyError
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.images.sources import iter_items
from pretrained_cnn.spec import ModelSpec, ResizePolicy

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
    from sklearn.utils.validation import check_is_fitted
except ImportError:
    raise MissingDependencyError("scikit-learn", extra="sklearn") from None

__all__ = ["ImageClassifier", "ImageEmbedder"]


class _ImageEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """What both have: their X is images, and no table of numbers.

    So scikit-learn's ``check_estimator`` skips what would hand them one. What it checks beside that, they pass; each
    check that they cannot pass, and why, is in ``tests/test_sklearn.py``.
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.no_validation = True  # of X as numbers; the images are checked as everywhere
        return tags


class ImageEmbedder(TransformerMixin, _ImageEstimator):  # type: ignore[misc]
    """From images to embeddings, float32 ``(N, D)``: what a pretrained network sees in them.

    Args:
        model: A name that ``list_models`` gives, or a ``ModelSpec``.
        layer: The name of a layer whose output is taken, in place of the head's input.
        weights: As for ``Classifier``.
        runtime: As for ``Classifier``.
        resize: As for ``Classifier``.
        input_size: As for ``Classifier``.
        image_policy: As for ``Classifier``; None for its default.
        batch_size: As for ``Classifier.stream``.

    X is images as ``Classifier.predict_batch`` takes them. Nothing is learnt from them: `fit` builds the network, and
    so finds what cannot be right. It can be pickled; the copy builds the network anew. Raises what ``Classifier``
    raises.

    >>> ImageEmbedder("EfficientNetLite0").fit_transform(["examples/images/clock.png"]).shape
    (1, 1280)
    """

    def __init__(
        self,
        model: str | ModelSpec = "Xception",
        *,
        layer: str | None = None,
        weights: str | None = "imagenet",
        runtime: str = "keras",
        resize: ResizePolicy | None = None,
        input_size: tuple[int, int] | None = None,
        image_policy: ImagePolicy | None = None,
        batch_size: int | None = None,
    ) -> None:
        self.model = model
        self.layer = layer
        self.weights = weights
        self.runtime = runtime
        self.resize = resize
        self.input_size = input_size
        self.image_policy = image_policy
        self.batch_size = batch_size

    def fit(self, X: Any, y: Any = None) -> ImageEmbedder:  # noqa: N803 - scikit-learn's names
        """Build the network. ``X`` and ``y`` are not looked at."""
        given = self.get_params(deep=False)
        layer, _ = given.pop("layer"), given.pop("batch_size")
        self.classifier_ = Classifier(**given)
        self._n_features_out = self.classifier_.embed([], layer=layer).shape[1]
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:  # noqa: N803
        """The embedding of each image, float32 ``(N, D)``. Raises the ImageError of the first bad one."""
        check_is_fitted(self)
        return self.classifier_.embed(X, layer=self.layer, batch_size=self.batch_size)

    @override
    def __getstate__(self) -> dict[str, Any]:
        """Everything but the network, which a copy builds anew: that is the same again."""
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "classifier_"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if hasattr(self, "_n_features_out"):
            self.fit(None)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """``embedding0``, ``embedding1`` and so on; there are no input features."""
        check_is_fitted(self)
        return np.array([f"embedding{i}" for i in range(self._n_features_out)], object)


class ImageClassifier(ClassifierMixin, _ImageEstimator):  # type: ignore[misc]
    """``Classifier.train`` as an estimator: X is images, y their classes, of any kind that scikit-learn takes.

    The arguments are those of ``Classifier.train``. The trained ``Classifier`` is ``classifier_``, whose labels are the
    classes as text; once fitted it cannot be pickled, but that one can be saved. Raises what ``Classifier.train``
    raises.

    >>> images = [f"examples/images/{name}.png" for name in ("clock", "candle", "hourglass", "umbrella")]
    >>> ImageClassifier("EfficientNetLite0").fit(images, [1, 0, 1, 0]).predict(images).tolist()
    [1, 0, 1, 0]
    """

    def __init__(
        self,
        model: str | ModelSpec = "Xception",
        *,
        head: Literal["linear", "mlp"] = "linear",
        epochs: int | None = None,
        unfreeze: int | str = 0,
        augment: Any = None,
        learning_rate: float | None = None,
        class_weight: Literal["balanced"] | Mapping[Any, float] | None = None,
        seed: int = 0,
        cache: bool = True,
        weights: str | None = "imagenet",
        runtime: str = "keras",
        resize: ResizePolicy | None = None,
        input_size: tuple[int, int] | None = None,
        image_policy: ImagePolicy | None = None,
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

    def fit(self, X: Any, y: Sequence[Any]) -> ImageClassifier:  # noqa: N803
        """Train on images and the class of each. Images that cannot be read are left out, and logged."""
        images = [(item.name, item.image) for item in iter_items(X)]
        classes, targets = np.unique(np.asarray(y), return_inverse=True)
        if len(images) != len(targets):
            raise DataError(f"{len(targets)} classes in y do not fit {len(images)} images in X")
        width = len(str(len(classes)))
        # Sorted as text, the labels have to come in the order of the classes.
        labels = [f"{i:0{width}} {value}" for i, value in enumerate(classes)]
        given = self.get_params(deep=False)
        if isinstance(self.class_weight, Mapping):
            index = dict(zip(classes.tolist(), labels, strict=True))
            weights = self.class_weight.items()
            given["class_weight"] = {index.get(value, str(value)): weight for value, weight in weights}
        pairs = list(zip(images, [labels[target] for target in targets], strict=True))
        self.classifier_ = Classifier.train(pairs, given.pop("model"), **given)
        self.classes_ = classes
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float32]:  # noqa: N803
        """The probabilities of ``classes_``, float32 ``(N, C)``. Raises the ImageError of the first bad image."""
        check_is_fitted(self)
        return self.classifier_.predict_proba(X)

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """The best class of each image, ``(N,)``. Raises the ImageError of the first bad image."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])
