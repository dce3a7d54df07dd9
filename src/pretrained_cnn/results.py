"""What users get back: a `Result` for each image, made of `Prediction` rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pretrained_cnn.labels import Prediction

if TYPE_CHECKING:
    from pretrained_cnn.errors import ImageError

__all__ = ["Prediction", "Result"]


@dataclass(frozen=True, slots=True)
class Result:
    """The answer for one image: its best classes, or the error that it met.

    Iterating gives the predictions, best first; a failed result has none.

    >>> result = Result("clock.png", (Prediction("n02708093", "analog_clock", 0.7, 409),))
    >>> result.top.label
    'analog_clock'
    >>> [score for _, _, score, _ in result]
    [0.7]
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
    """What `show` draws: the path or address, which is read again; or what was handed over to `Classifier.predict`, or
    in a list to `Classifier.predict_batch`, which is not copied. None where nothing is kept: for an open file, which
    is read only once, and for an image in memory that came through `Classifier.stream`, or from an archive."""

    @property
    def top(self) -> Prediction:
        """The best prediction.

        Raises the image's own error if it has one, and IndexError if a decode function of the user's own
        named nothing.
        """
        if self.error is not None:
            raise self.error
        return self.predictions[0]

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self.predictions)

    def __len__(self) -> int:
        return len(self.predictions)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON.

        >>> Result("a.png", (Prediction("n02708093", "analog_clock", 0.7, 409),)).to_dict()
        {'source': 'a.png', 'predictions': [{'id': 'n02708093', 'label': 'analog_clock', \
'score': 0.7, 'index': 409}], 'error': None}
        """
        return {
            "source": self.source,
            "predictions": [prediction._asdict() for prediction in self.predictions],
            "error": None if self.error is None else str(self.error),
        }

    def show(self, *, size: int = 480) -> None:
        """Open the image, with its best class below it, in the program that shows images on this machine.

        ``size`` is its side in pixels. Raises the image's own error if it has one, and ImageError if the image
        cannot be read again. In a notebook, a result shows itself.

        >>> Result("clock.png", ()).show()
        Traceback (most recent call last):
        ...
        pretrained_cnn.errors.ImageError: clock.png: it was not kept, so it cannot be shown; predict keeps an image, \
and so does predict_batch one in a list; stream keeps paths and addresses only
        """
        from pretrained_cnn.drawing import show

        show(self, size)

    def _repr_html_(self) -> str:
        """For notebooks: a thumbnail, and the classes with their scores as bars."""
        from pretrained_cnn.drawing import html

        return html(self)

    def __reduce__(self) -> tuple[object, ...]:
        """A pickle has the path or address, but not an image that is in memory: it is to be small, and to load."""
        image = self.image if isinstance(self.image, str) else None
        return Result, (self.source, self.predictions, self.error, image)

    def __repr__(self) -> str:
        if self.error is not None:
            return f"Result({self.source!r}: error: {self.error.reason})"
        best = ", ".join(f"{label} {score:.1%}".replace("%", " %") for _, label, score, _ in self)
        return f"Result({self.source!r}: {best})"
