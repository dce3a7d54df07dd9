"""The result of a choice: `Choice`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from pretrained_cnn._statistics import format_p_value
from pretrained_cnn.classifier import Classifier
from pretrained_cnn.errors import ImageError, MissingDependencyError, import_package
from pretrained_cnn.results import drawing
from pretrained_cnn.selection.candidate import Candidate

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

__all__ = ["Choice"]


@dataclass(frozen=True, eq=False)
class Choice:
    """The backbone that was chosen for your images, and a trained classifier.

    The accuracies are those of linear heads on your images. Each image is classified by a head that was not fitted on
    it. They hold for images like these. That of the chosen one is slightly too good, because it is the largest of
    several. Measure `classifier` on images that had no part in the choice. The test assumes that images are drawn
    independently: near copies make a difference look more certain than it is. "Not told apart" does not say that
    candidates are equally good. The times hold for this machine, and include what else ran on it.

    `choose` makes it.

    >>> slow = Candidate("Slow", "keras", 30.0, (29.0, 31.0), "chosen", right=95, judged=100)
    >>> quick = Candidate("Quick", "keras", 10.0, (9.0, 11.0), "not told apart", right=93, judged=100, p_value=0.6)
    >>> choice = Choice([quick, slow], images=100, classes=("cat", "dog"), classifier=Classifier("MobileNet"))
    >>> choice.best.name, [each.name for each in choice.not_told_apart]
    ('Slow', ['Quick'])
    >>> choice.sentence()
    'Slow is most often right; Quick is not told apart from it and takes 20.0 ms less'
    >>> choice.to_dict()["chosen"], choice.to_frame()["accuracy"].tolist(), choice.plot().axes[0].get_xscale()
    ('Slow', [0.93, 0.95], 'log')
    """

    candidates: Sequence[Candidate]
    """All candidates, the fastest first."""
    images: int
    """Number of images that the heads classified."""
    classes: tuple[str, ...] = field(repr=False)
    """The names of the classes."""
    classifier: Classifier = field(repr=False)
    """A classifier of these classes with the chosen backbone, trained on all images as `Classifier.train` does it."""
    budget_ms: float | None = None
    """The longest time for an image, in milliseconds; None for no limit."""
    rounds: int = 15
    """Number of timed images."""
    failed: Sequence[ImageError] = ()
    """The images that could not be read."""

    @property
    def best(self) -> Candidate:
        """The chosen candidate: the most accurate one within the budget; of equally accurate ones the fastest."""
        return next(each for each in self.candidates if each.verdict == "chosen")

    @property
    def not_told_apart(self) -> list[Candidate]:
        """The candidates within the budget that may be as good as the chosen one, the fastest first.

        The truly best candidate is the chosen one or among these in at least 95 % of choices, as far as the test's
        assumptions hold.
        """
        return [each for each in self.candidates if each.verdict == "not told apart"]

    def sentence(self) -> str:
        """The choice in one sentence, with a faster candidate that may be as good."""
        limit = "" if self.budget_ms is None else f" within {self.budget_ms:g} ms"
        within = [each for each in self.candidates if each.verdict != "over budget"]
        text = f"{self.best.name} is {'most often right' if len(within) > 1 else 'the only candidate'}{limit}"
        if self.not_told_apart:
            quickest = self.not_told_apart[0]
            less = self.best.milliseconds - quickest.milliseconds
            text += f"; {quickest.name} is not told apart from it"
            text += f" and takes {less:.1f} ms less" if less > 0 else ""
        return text

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON: everything but the classifier."""
        return {
            "chosen": self.best.name,
            "budget_ms": self.budget_ms,
            "images": self.images,
            "classes": list(self.classes),
            "rounds": self.rounds,
            "candidates": [each.to_dict() for each in self.candidates],
            "failed": [str(error) for error in self.failed],
        }

    def to_frame(self) -> pandas.DataFrame:
        """A row for each candidate, the fastest first, as a pandas DataFrame; `Candidate` describes the columns.

        Raises MissingDependencyError without pandas.
        """
        return import_package("pandas", extra="pandas").DataFrame([each.to_dict() for each in self.candidates])

    def plot(self) -> Figure:
        """Draw the accuracy of each candidate, with its interval, against its time, as a figure of matplotlib.

        Candidates over the budget are marked at their time on the lower edge. Raises MissingDependencyError without
        matplotlib.
        """
        from pretrained_cnn.selection.plot import accuracy_and_time

        return accuracy_and_time(self.candidates, self.images, self.budget_ms)

    @override
    def __str__(self) -> str:
        """A table of the candidates, and the choice in one sentence."""
        room = max(len("NAME"), *(len(each.name) for each in self.candidates))
        runtimes = {each.runtime for each in self.candidates}
        wide = max(len("RUNTIME"), *map(len, runtimes))
        several = len(runtimes) > 1  # else it is in the heading
        where = "" if several else f", {self.best.runtime}"
        heading = f"{'RUNTIME':<{wide}}  " if several else ""
        lines = [
            f"{self.images:,} images of {len(self.classes)} classes, each judged by a head that has not seen it",
            f"MS: median of {self.rounds} of these images, one at a time, file to embedding{where}",
            "P: exact McNemar test against the chosen candidate",
            "",
            f"{'NAME':<{room}}  {heading}{'MS':>6}  RIGHT %  {'95 %':>12}  {'P':>6}",
        ]
        for each in self.candidates:
            right, interval = "-", "-"
            if each.accuracy is not None and each.interval is not None:
                right = f"{100 * each.accuracy:.1f}"
                interval = "{:.1f} to {:.1f}".format(*(100 * end for end in each.interval))
            runtime = f"{each.runtime:<{wide}}  " if several else ""
            p_value = "" if each.p_value is None else format_p_value(each.p_value)
            verdict = each.verdict if each.beaten_by is None else "stopped"
            lines.append(
                f"{each.name:<{room}}  {runtime}{each.milliseconds:6.1f}  {right:>7}  {interval:>12}  {p_value:>6}  "
                f"{verdict}"
            )
        lines += [
            f"{each.name}: worse than {each.beaten_by} whatever comes, stopped after {each.judged:,} images"
            for each in self.candidates
            if each.beaten_by is not None
        ]
        lines += ["", self.sentence()]
        if self.failed:
            lines += ["", f"could not be read: {len(self.failed)}", *map(str, self.failed)]
        return "\n".join(line.rstrip() for line in lines)

    def _repr_html_(self) -> str:
        """For notebooks: the table, and the plot where matplotlib is installed."""
        try:
            figure = self.plot()
        except MissingDependencyError:
            return drawing.text_html(str(self))
        from pretrained_cnn._figure import png

        return drawing.text_html(str(self), image=png(figure))

    @override
    def __repr__(self) -> str:
        return f"Choice({self.images} images: {self.sentence()})"
