"""What users get back: a `Result` for each picture, made of `Prediction` rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pretrained_cnn.errors import ImageError

__all__ = ["Prediction", "Result"]


class Prediction(NamedTuple):
    """One class and its score.

    The first three fields are those of ``keras.applications``' ``decode_predictions``, in its order.

    >>> wnid, label, score, index = Prediction("n02123045", "tabby", 0.83, 281)
    >>> label
    'tabby'
    """

    id: str
    """The class's key: the WordNet id for ImageNet (``n02123045``), else the label itself."""
    label: str
    """The class's name. Not a key: ImageNet has two classes named ``crane``."""
    score: float
    """The probability, 0 to 1."""
    index: int | None  # type: ignore[assignment]  # hides tuple.index, which nobody wants of a prediction
    """The column of the scores, or None where a spec's own ``decode`` function does not tell it."""


@dataclass(frozen=True, slots=True)
class Result:
    """The answer for one picture: its best classes, or the error that it met.

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
    """The picture's name: its path or URL, else a description such as ``<array 0>``."""
    predictions: tuple[Prediction, ...]
    """Best first; empty if the picture failed."""
    error: ImageError | None = None
    """What went wrong with this picture, or None."""

    @property
    def top(self) -> Prediction:
        """The best prediction.

        Raises the picture's own error if it has one, and IndexError if a decode function of the user's own
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

    def __repr__(self) -> str:
        if self.error is not None:
            return f"Result({self.source!r}: error: {self.error.reason})"
        best = ", ".join(f"{label} {score:.1%}".replace("%", " %") for _, label, score, _ in self)
        return f"Result({self.source!r}: {best})"
