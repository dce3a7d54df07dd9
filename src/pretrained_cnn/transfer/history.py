"""The history of a training: `TrainingHistory`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pretrained_cnn.errors import DataError, MissingDependencyError, import_package

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["TrainingHistory"]


class TrainingHistory(list[dict[str, Any]]):
    """A list with a row for each strength of regularization, or each epoch, in order.

    A row has ``stage``, ``"head"`` or ``"fine-tune"``; ``C`` or ``epoch``; ``validation_loss``, the log loss in nats,
    and ``validation_accuracy``, 0 to 1; ``loss`` and ``accuracy`` are those of the images that were fitted. Epoch 0 is
    the network before the stage, without ``loss`` and ``accuracy``. In later epochs ``loss`` and ``accuracy`` are means
    over the steps of the epoch, with dropout, augmentation and label smoothing, as in Keras.

    >>> history = TrainingHistory([{"stage": "head", "epoch": 1, "loss": 0.7, "accuracy": 0.5,
    ...     "validation_loss": 0.6, "validation_accuracy": 0.75}])
    >>> history.to_frame()["validation_loss"].tolist()
    [0.6]
    """

    def to_frame(self) -> pd.DataFrame:
        """Convert to a pandas frame; missing values are NaN.

        Raises MissingDependencyError without pandas.

        >>> TrainingHistory().to_frame().shape
        (0, 0)
        """
        return import_package("pandas", extra="pandas").DataFrame(list(self))

    def plot(self) -> Figure:
        """Draw loss and accuracy, of train and validation, over the epochs or strengths: a row of two for each stage.

        Returns the figure. Raises DataError for an empty history, MissingDependencyError without matplotlib.

        >>> TrainingHistory([{"stage": "head", "C": 1.0, "loss": 0.1, "accuracy": 1.0,
        ...     "validation_loss": 0.2, "validation_accuracy": 0.9}]).plot().axes[0].get_xlabel()
        'C'
        """
        if not self:
            raise DataError("the history is empty, so there is nothing to draw; Classifier.train fills it")
        from pretrained_cnn.transfer.curves import draw_history

        return draw_history(self)

    def _repr_png_(self) -> bytes | None:
        """For notebooks: the plot. None if there is nothing to draw, or matplotlib is not installed."""
        try:
            figure = self.plot()
        except (DataError, MissingDependencyError):
            return None
        from pretrained_cnn._figure import png

        return png(figure)
