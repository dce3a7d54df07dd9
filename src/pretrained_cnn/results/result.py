"""What users get back: a `Result` for each image, made of `Prediction`s; an `EmbeddingResult` for an embedding."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, overload

from typing_extensions import override

from pretrained_cnn._check import no_attribute
from pretrained_cnn.errors import InvalidArgumentError
from pretrained_cnn.labels import Prediction
from pretrained_cnn.results.names import escape

if TYPE_CHECKING:
    import os

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from pretrained_cnn.errors import ImageError

__all__ = ["EmbeddingResult", "Prediction", "Result", "ResultList", "Status", "contact_sheet", "status_of"]

Status = Literal["ok", "uncertain", "unknown", "failed"]
"""How far a result can be used."""


def status_of(predictions: tuple[Prediction, ...], min_score: float | None) -> Status:
    """``"uncertain"`` if the best score is below ``min_score`` or is not a number, else ``"ok"``."""
    uncertain = min_score is not None and bool(predictions) and not predictions[0].score >= min_score
    return "uncertain" if uncertain else "ok"


@dataclass(frozen=True, slots=True)
class Result:
    """The answer for one image: its best classes, or the error that it met.

    Iterating, indexing and ``len`` give the predictions, best first. A failed result has none.

    >>> result = Result("clock.png", (Prediction("n02708093", "analog_clock", 0.7, 409),))
    >>> result.label, result.score, result.status
    ('analog_clock', 0.7, 'ok')
    >>> for wnid, label, score in result:
    ...     print(wnid, label, score)
    n02708093 analog_clock 0.7
    >>> result[0].index, len(result)
    (409, 1)
    >>> result
    Result('clock.png': analog_clock 70.0 %)
    """

    source: str
    """The image's name: its path or URL, else a description such as ``<array 0>``."""
    predictions: tuple[Prediction, ...]
    """Best first; empty if the image failed."""
    error: ImageError | None = None
    """What went wrong with this image, or None."""
    image: Any = field(default=None, repr=False, compare=False)
    """The image that `show` draws: a path or address, which is read again, or the object that you
    gave to `Classifier.predict`, or in a list to `Classifier.predict_batch`. It is not copied. None for an open file,
    for an image in memory from `Classifier.stream`, and for an image in an archive."""
    status: Status = "ok"
    """``"ok"``; ``"uncertain"`` if the best score is below the ``min_score`` asked for; ``"unknown"`` if a calibrated
    classifier finds that the image is of none of its classes; ``"failed"`` if there is an `error`."""
    label_set: tuple[Prediction, ...] | None = None
    """The classes that a calibrated classifier cannot rule out, best first, whatever ``top`` is; at least one. None if
    it is not calibrated, or the image failed."""
    thresholds: tuple[float, ...] = field(default=(), repr=False, compare=False)
    """With several labels for an image, the probability from which each label is predicted, by `Prediction.index`."""

    def __post_init__(self) -> None:
        if self.error is not None:
            object.__setattr__(self, "status", "failed")  # the class is frozen

    @property
    def top(self) -> Prediction:
        """The best prediction.

        Raises the image's own error if it has one, and IndexError if your own decode function returned no
        class.

        >>> Result("a.png", (Prediction("cat", "cat", 0.7, 0),)).top.id
        'cat'
        """
        if self.error is not None:
            raise self.error
        return self.predictions[0]

    @property
    def label(self) -> str:
        """The name of the best class. Raises as `top` does.

        >>> Result("a.png", (Prediction("cat", "cat", 0.7, 0),)).label
        'cat'
        """
        return self.top.label

    @property
    def score(self) -> float:
        """The score of the best class, 0 to 1. Raises as `top` does.

        >>> Result("a.png", (Prediction("cat", "cat", 0.7, 0),)).score
        0.7
        """
        return self.top.score

    def above(self, threshold: float | None = None) -> tuple[Prediction, ...]:
        """The predictions with a score of at least ``threshold``, 0 to 1; best first.

        By default each class has the classifier's own threshold, or 0.5 if it has none. With ``multi_label=True``, a
        result contains every class above its threshold. Any other result contains ``top=`` classes, and only these are
        compared. A failed result has none.

        >>> result = Result("a.png", (Prediction("cat", "cat", 0.7, 0), Prediction("dog", "dog", 0.2, 1)))
        >>> [label for _, label, _ in result.above()], len(result.above(0.1))
        (['cat'], 2)
        """

        def least(prediction: Prediction) -> float:
            if threshold is not None:
                return threshold
            known = self.thresholds and prediction.index is not None
            return self.thresholds[prediction.index] if known else 0.5  # type: ignore[index]

        return tuple(prediction for prediction in self.predictions if prediction.score >= least(prediction))

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self.predictions)

    def __len__(self) -> int:
        return len(self.predictions)

    @overload
    def __getitem__(self, place: int) -> Prediction: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Prediction, ...]: ...
    def __getitem__(self, place: int | slice) -> Prediction | tuple[Prediction, ...]:
        return self.predictions[place]

    if not TYPE_CHECKING:  # a type checker reports a name that does not exist

        def __getattr__(self, name: str) -> Any:
            raise no_attribute(self, name)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON: always valid, and always Unicode, with names as in a file of results.

        >>> Result("a.png", (Prediction("n02708093", "analog_clock", 0.7, 409),)).to_dict()
        {'source': 'a.png', 'predictions': [{'id': 'n02708093', 'label': 'analog_clock', \
'score': 0.7, 'index': 409}], 'status': 'ok', 'label_set': None, 'error': None}
        """
        return {
            "source": escape(self.source),
            "predictions": [prediction.to_dict() for prediction in self.predictions],
            "status": self.status,
            "label_set": None if self.label_set is None else [each.to_dict() for each in self.label_set],
            "error": None if self.error is None else escape(str(self.error)),
        }

    def show(self, *, size: int = 480) -> None:
        """Show the image with its best class below it: in a notebook below the cell, else in the machine's viewer.

        ``size`` is its side in pixels. Raises the image's own error if it has one, ImageError if the image
        cannot be read again, and OutputError where no program shows images, as on a server.

        >>> Result("clock.png", ()).show()
        Traceback (most recent call last):
        ...
        pretrained_cnn.errors.ImageError: clock.png: it was not kept, so it cannot be shown; predict keeps an image, \
and so does predict_batch one in a list; stream keeps paths and addresses only
        """
        from pretrained_cnn.results.drawing import show

        show(self, size)

    def _repr_html_(self) -> str:
        """For notebooks: a thumbnail, and the classes with their scores as bars."""
        from pretrained_cnn.results.drawing import html

        return html(self)

    @override
    def __reduce__(self) -> tuple[object, ...]:
        """A pickle has the path or address, but not an image that is in memory: a pickle must be small and must
        load.
        """
        image = self.image if isinstance(self.image, str) else None
        state = (self.source, self.predictions, self.error, image, self.status, self.label_set, self.thresholds)
        return Result, state

    @override
    def __repr__(self) -> str:
        if self.error is not None:
            return f"Result({self.source!r}: error: {self.error.reason})"
        best = ", ".join(f"{label} {score:.1%}".replace("%", " %") for _, label, score in self)
        return f"Result({self.source!r}: {best}{'' if self.status == 'ok' else f', {self.status}'})"


def contact_sheet(
    results: Iterable[Result] | Result,
    *,
    columns: int | None = None,
    size: int = 160,
    font: str | os.PathLike[str] | None = None,
) -> Image.Image:
    """Draw images side by side, each with its best class, its score and its name. Returns an RGB Pillow image.

    Args:
        results: The results of `Classifier.predict_batch` or `Classifier.stream`, which are all read first, or one
            result.
        columns: The number of images in a row; by default the sheet is a little wider than high.
        size: The side of an image, in pixels, at least 64.
        font: The path of a font file. Pillow's own font has few letters beyond ASCII, and draws others as boxes.

    A result is marked with its `Result.status`, unless that is ``"ok"``. The error of a failed result is drawn in place
    of the image; so is that of an image that cannot be read again, see `Result.image`. Raises InvalidArgumentError
    without results, for invalid arguments, and for a sheet of more pixels than `ImagePolicy.max_pixels`.

    >>> from pretrained_cnn import Classifier
    >>> clf = Classifier("EfficientNetLite0")
    >>> results = clf.predict_batch(["examples/images/clock.png", "no.jpg"], errors="return")
    >>> contact_sheet(results).width
    359
    """
    from pretrained_cnn.results import drawing

    shown = [results] if isinstance(results, Result) else list(results)
    for each in shown:
        if not (hasattr(each, "predictions") and hasattr(each, "source")):
            raise InvalidArgumentError(
                f"an object of type {type(each).__name__} is not a Result; give what predict_batch or stream returns"
            )
    return drawing.contact_sheet(shown, columns, size, font)


class ResultList(list[Result]):
    """The results of several images, as a list that a notebook displays as a contact sheet.

    >>> ResultList([Result("a.png", (Prediction("cat", "cat", 0.7, 0),))])
    [Result('a.png': cat 70.0 %)]
    """

    SHOWN = 24
    """The largest number of images that are drawn."""

    def _repr_png_(self) -> bytes | None:
        """For notebooks: a contact sheet of the first images. None if the list is empty."""
        if not self:
            return None
        file = io.BytesIO()
        contact_sheet(self[: self.SHOWN]).save(file, format="PNG")
        return file.getvalue()


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingResult:
    """The embedding of one image, or the error that the image met.

    >>> import numpy as np
    >>> EmbeddingResult("clock.png", np.zeros(4, np.float32))
    EmbeddingResult('clock.png': 4 numbers)
    """

    source: str
    """The image's name, as in `Result.source`."""
    embedding: NDArray[np.float32] | None
    """Float32 ``(D,)``; None if the image failed."""
    error: ImageError | None = None
    """What went wrong with this image, or None."""
    image: Any = field(default=None, repr=False)
    """The image's path or address; None for an image in memory."""

    @property
    def status(self) -> Status:
        """``"ok"`` or ``"failed"``.

        >>> import numpy as np
        >>> EmbeddingResult("clock.png", np.zeros(4, np.float32)).status
        'ok'
        """
        return "ok" if self.error is None else "failed"

    @override
    def __repr__(self) -> str:
        if self.embedding is None:
            return f"EmbeddingResult({self.source!r}: error: {None if self.error is None else self.error.reason})"
        return f"EmbeddingResult({self.source!r}: {len(self.embedding)} numbers)"
